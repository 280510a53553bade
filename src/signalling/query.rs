//! \[pure\] Percent-encoding in paths and queries of an upgrade (RFC 3986 §2.1).

/// The first value of `name` in a query, decoded.
pub(super) fn value(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    // Forms write a space as a plus.
    decoded(&value.replace('+', " "))
}

/// `text` without its percent-encoding; `None` where that is broken or no UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_decoded() {
        for (query, expected) in [
            ("token=abc", Some("abc")),
            ("a=1&token=a%2Fb+c", Some("a/b c")),
            ("token", Some("")),
            ("xtoken=1", None),
            ("token=%4", None),
            ("token=%ff", None),
            ("token=first&token=second", Some("first")),
        ] {
            assert_eq!(value(query, "token").as_deref(), expected, "{query}");
        }
    }
}
