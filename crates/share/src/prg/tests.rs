//! The end of a stream, which no caller can reach in a test.

use super::*;

#[test]
fn a_stream_ends_before_it_repeats() {
    for path in CpuPath::all_available() {
        let mut stream = Stream::new(path, &[1; 32], 0);
        stream.next_block = BLOCK_LIMIT - 2;
        let mut out = [7; 5];
        let error = stream.fill(&mut out).unwrap_err();
        assert_eq!(error, StreamExhaustedError { wanted: 5, left: 4 });
        assert_eq!(out, [7; 5]);
        stream.fill(&mut out[..4]).unwrap();
        assert_ne!(out[..4], [7; 4]);
        stream.fill(&mut []).unwrap();
        assert_eq!(stream.xor_to(&mut out[..1]).unwrap_err().left, 0);
    }
}

#[test]
fn shares_of_zero_end_before_they_change_anything() {
    let mut zero = ZeroSharing::new(CpuPath::Portable, &[1; 32], &[2; 32], 0);
    zero.next.next_block = BLOCK_LIMIT - 1;
    let (mut out, mut other) = ([7; 3], [7; 3]);
    assert!(zero.add_to(&mut out).is_err());
    assert!(zero.xor_to(&mut out).is_err());
    assert!(zero.random([&mut out, &mut other]).is_err());
    assert_eq!((out, other), ([7; 3], [7; 3]));
    assert_eq!(zero.own.next_block, 0);
}

#[test]
fn nothing_is_printed() {
    let zero = ZeroSharing::new(CpuPath::detect(), &[1; 32], &[2; 32], 3);
    assert_eq!(
        format!("{zero:?}"),
        "ZeroSharing { own: Stream { .. }, next: Stream { .. } }"
    );
}
