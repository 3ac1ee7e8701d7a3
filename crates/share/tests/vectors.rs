//! Every file of `vectors/shares`, on every path: right answers bit for bit, refusals by what they say.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use serde_json::Value;
use tacit_share::conv::{self, Convolution};
use tacit_share::gemm::{self, Shape};
use tacit_share::prg::{Stream, ZeroSharing};
use tacit_share::sum::{Sum, Summand};
use tacit_share::{CpuPath, bits, dcf, product, trunc};

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn words(value: &Value) -> Vec<u64> {
    let bytes = bytes(value);
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn stream(path: CpuPath, vector: &Value) {
    let seed = bytes(&vector["seed"]).try_into().unwrap();
    let number = vector["number"].as_str().unwrap().parse().unwrap();
    let mut stream = Stream::new(path, &seed, number);
    for expected in vector["outputs"].as_array().unwrap() {
        let expected = words(expected);
        let mut out = vec![0; expected.len()];
        stream.fill(&mut out).unwrap();
        assert_eq!(out, expected);
    }
}

fn matrices(path: CpuPath, vector: &Value) {
    let (shape, inputs) = (&vector["shape"], &vector["inputs"]);
    let shape = Shape {
        rows: size(&shape["rows"]),
        depth: size(&shape["depth"]),
        columns: size(&shape["columns"]),
    };
    let [x1, x2, y1, y2] = ["x1", "x2", "y1", "y2"].map(|name| words(&inputs[name]));
    let mut out = vec![0; shape.rows * shape.columns];
    gemm::replicated_product(path, None, &mut out, shape, [&x1, &x2], [&y1, &y2]);
    assert_eq!(out, words(&vector["output"]));
}

fn convolution(path: CpuPath, vector: &Value) {
    let (given, inputs) = (&vector["sizes"], &vector["inputs"]);
    let pair = |name: &str| [0, 1].map(|i| size(&given[name][i]));
    let sizes = Convolution {
        samples: size(&given["samples"]),
        channels: size(&given["channels"]),
        image: pair("image"),
        filters: size(&given["filters"]),
        kernel: pair("kernel"),
        strides: pair("strides"),
        pads: [0, 1, 2, 3].map(|i| size(&given["pads"][i])),
        dilations: pair("dilations"),
        groups: size(&given["groups"]),
    };
    let [x1, x2, k1, k2] = ["x1", "x2", "k1", "k2"].map(|name| words(&inputs[name]));
    let mut out = vec![0; sizes.words().map_or(0, |[_, _, result]| result)];
    conv::replicated_convolve(path, None, &mut out, &sizes, [&x1, &x2], [&k1, &k2]);
    assert_eq!(out, words(&vector["output"]));
}

fn masked(path: CpuPath, vector: &Value) {
    let seed = |name: &str| -> [u8; 32] { bytes(&vector[name]).try_into().unwrap() };
    let number = vector["number"].as_u64().unwrap();
    let [x1, x2, y1, y2, z] =
        ["x1", "x2", "y1", "y2", "z"].map(|name| words(&vector["inputs"][name]));
    let mut zero = ZeroSharing::new(path, &seed("own"), &seed("next"), number);
    let mut third = Stream::new(path, &seed("third"), number);
    let mut sum = Sum {
        constant: 1 << 62,
        plus: vec![Summand::Zero(&mut zero), Summand::Words(&z)],
        minus: vec![Summand::Stream(&mut third)],
    };
    let mut out = vec![0; x1.len()];
    product::replicated_product(path, &mut out, [&x1, &x2], [&y1, &y2], &mut sum).unwrap();
    assert_eq!(out, words(&vector["output"]));
}

fn planes(path: CpuPath, vector: &Value) {
    let numbers = words(&vector["inputs"]["numbers"]);
    let mut out = vec![0; 64 * bits::plane_words(numbers.len())];
    bits::to_planes(path, &mut out, &numbers, None);
    assert_eq!(out, words(&vector["output"]));
    let mut back = vec![0; numbers.len()];
    bits::from_planes(path, &mut back, &out);
    assert_eq!(back, numbers);
}

fn truncate(path: CpuPath, vector: &Value) {
    let (x, r) = (words(&vector["inputs"]["x"]), words(&vector["inputs"]["r"]));
    let cut = size(&vector["bits"]) as u32;
    let [mut high, mut top, mut opened, mut out] = [(); 4].map(|()| vec![0; x.len()]);
    trunc::mask_parts(path, &mut high, &mut top, &r, cut);
    trunc::masked(path, &mut opened, &x, &r, true);
    assert_eq!(opened, words(&vector["opened"]));
    trunc::quotient(path, &mut out, &opened, &high, &top, cut, true);
    assert_eq!(out, words(&vector["quotient"]));
}

fn compare(path: CpuPath, vector: &Value) {
    let batch = dcf::Batch {
        bits: size(&vector["bits"]) as u32,
        prg_key: bytes(&vector["prg_key"]).try_into().unwrap(),
    };
    let inputs = &vector["inputs"];
    let roots = [words(&inputs["roots0"]), words(&inputs["roots1"])];
    let (alpha, flips) = (words(&inputs["alpha"]), words(&inputs["flips"]));
    let mut keys = vec![0; words(&vector["keys"]).len()];
    dcf::generate(
        path,
        &batch,
        [&roots[0], &roots[1]],
        &alpha,
        &flips,
        &mut keys,
    );
    assert_eq!(keys, words(&vector["keys"]));
    for evaluation in vector["evaluations"].as_array().unwrap() {
        let mut keys = keys.clone();
        if let [row, bit] = &evaluation["damage"].as_array().unwrap()[..] {
            // This bit of the block of that row, in each key.
            let (row, bit, n) = (size(row), size(bit), alpha.len());
            for block in keys[2 * n * row..][..2 * n].chunks_mut(2) {
                block[bit / 64] ^= 1 << (bit % 64);
            }
        }
        let points = words(&evaluation["points"]);
        for (second, expected) in [(false, "output0"), (true, "output1")] {
            let mut out = vec![0; points.len().div_ceil(64)];
            let roots = &roots[usize::from(second)];
            dcf::evaluate(path, &batch, second, roots, &keys, &points, &mut out);
            assert_eq!(out, words(&evaluation[expected]));
        }
    }
}

#[test]
fn every_vector() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/shares");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut refused = 0;
    for file in &files {
        let vector: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let (name, expect) = (file.display(), vector["expect"].as_str().unwrap());
        let operation = match vector["operation"].as_str().unwrap() {
            "compare" => compare,
            "stream" => stream,
            "product" => matrices,
            "convolution" => convolution,
            "masked" => masked,
            "planes" => planes,
            "truncate" => truncate,
            other => panic!("{name}: there is no operation `{other}`"),
        };
        for path in CpuPath::all_available() {
            let outcome = catch_unwind(|| operation(path, &vector));
            match outcome {
                Ok(()) => assert_eq!(expect, "ok", "{name}, {path}"),
                Err(said) => {
                    let said = said
                        .downcast_ref::<String>()
                        .map(String::as_str)
                        .or(said.downcast_ref::<&str>().copied())
                        .unwrap();
                    assert!(
                        expect != "ok" && said.contains(expect),
                        "{name}, {path}: {said}"
                    );
                }
            }
        }
        refused += usize::from(expect != "ok");
    }
    assert!(
        2 * refused > files.len() / 2,
        "{refused} of {} are refusals",
        files.len()
    );
}
