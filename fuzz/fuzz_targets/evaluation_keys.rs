#![no_main]

use libfuzzer_sys::fuzz_target;
use tacit_ckks::EvaluationKeys;

fuzz_target!(|input: &[u8]| {
    tacit_fuzz::check(input, |params, bytes| EvaluationKeys::from_bytes(params, bytes)?.to_bytes(params));
});
