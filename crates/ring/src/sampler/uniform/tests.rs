//! Both forms of the rejection.

use super::keep_below;
use crate::cpu::CpuPath;
use crate::modulus::Modulus;

#[test]
fn rejections_agree() {
    let mut blocks = [aes::Block::default(); 12];
    for (i, byte) in blocks
        .iter_mut()
        .flat_map(|block| block.0.iter_mut())
        .enumerate()
    {
        *byte = (i * i * 37 + i) as u8;
    }
    for q in [3, 65_537, 786_433, 1_125_899_906_826_241] {
        let m = Modulus::new(q).unwrap();
        let (mut plain, mut vector) = ([0; 30], [0; 30]);
        let kept = keep_below(false, &mut plain, 5, &blocks, &m);
        assert_eq!(
            keep_below(CpuPath::Ifma.is_available(), &mut vector, 5, &blocks, &m),
            kept
        );
        assert_eq!(plain[..kept], vector[..kept]);
        assert!(plain[..kept].iter().all(|&x| x < q));
    }
}
