//! For tests: everything that one cut or one wrong byte makes of a good message.

/// Hands `meet` every beginning of `sample`, and `sample` with each byte replaced by each of `values`. They are the bytes that
/// mean something where the sample is read: a sweep of all 256 would take minutes and meet nothing new.
pub(crate) fn sweep(sample: &[u8], values: &[u8], mut meet: impl FnMut(&[u8])) {
    for length in 0..=sample.len() {
        meet(&sample[..length]);
    }
    let mut wrong = sample.to_vec();
    for at in 0..sample.len() {
        for value in values {
            wrong[at] = *value;
            meet(&wrong);
        }
        wrong[at] = sample[at];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_and_every_wrong_byte_is_met_once() {
        let mut met = Vec::new();
        sweep(b"ab", b"xy", |bytes| met.push(String::from_utf8(bytes.to_vec()).unwrap()));
        assert_eq!(met, ["", "a", "ab", "xb", "yb", "ax", "ay"]);
    }
}
