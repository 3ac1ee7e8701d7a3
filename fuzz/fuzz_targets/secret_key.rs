#![no_main]

use libfuzzer_sys::fuzz_target;
use tacit_ckks::SecretKey;

fuzz_target!(|input: &[u8]| {
    tacit_fuzz::check(input, |params, bytes| Ok(SecretKey::from_bytes(params, bytes)?.reveal_bytes()));
});
