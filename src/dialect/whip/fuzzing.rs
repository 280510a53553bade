//! A body for fuzzers.
/// x
pub fn fuzz(_data: &[u8]) {}
