#![no_main]

use libfuzzer_sys::fuzz_target;
use tacit_ckks::PublicKey;

fuzz_target!(|input: &[u8]| {
    tacit_fuzz::check(input, |params, bytes| Ok(PublicKey::from_bytes(params, bytes)?.to_bytes()));
});
