//! The body lives in the library, where it always compiles.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xrtc::listener::tcp::fuzz(data));
