//! JSON pointers (RFC 6901): the place of one value in a JSON text.

use crate::json_edit::{Kind, Value};

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(super) struct Pointer(Vec<Box<str>>);

/// A key on the way stands twice. Parsers differ on which one holds, so nobody may guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous(pub(super) Box<str>);

impl Pointer {
    /// `~1` is `/` and `~0` is `~` (§4).
    pub(super) fn new(text: &str) -> Self {
        let unescape = |token: &str| token.replace("~1", "/").replace("~0", "~").into_boxed_str();
        Pointer(text.split('/').skip(1).map(unescape).collect())
    }

    /// The value at this place of `root`.
    pub(super) fn find<'a>(&self, root: Value<'a>) -> Result<Option<Value<'a>>, Ambiguous> {
        let mut value = root;
        for token in &self.0 {
            let found = match value.kind() {
                Kind::Object => member(value, token)?,
                Kind::Array => index(token).and_then(|index| value.elements().nth(index)),
                _ => None,
            };
            let Some(found) = found else { return Ok(None) };
            value = found;
        }
        Ok(Some(value))
    }
}

fn member<'a>(object: Value<'a>, key: &str) -> Result<Option<Value<'a>>, Ambiguous> {
    let mut found = object.members().filter(|(name, _)| name == key).map(|(_, value)| value);
    let first = found.next();
    if found.next().is_some() { Err(Ambiguous(key.into())) } else { Ok(first) }
}

/// Digits without leading zeros (§4).
fn index(token: &str) -> Option<usize> {
    let is_index = token == "0" || !token.starts_with('0');
    (is_index && token.bytes().all(|byte| byte.is_ascii_digit())).then(|| token.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_edit::first_value;

    #[test]
    fn the_examples_of_the_rfc_are_found() {
        let text =
            br#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"m~n":8,"k\"l":6," ":7,"d":{"d":1,"x":5,"x":6}}"#;
        let root = first_value(text).unwrap();
        for (pointer, expected) in [
            ("/foo/0", Ok(Some("\"bar\""))),
            ("/foo/1", Ok(Some("\"baz\""))),
            ("/foo/2", Ok(None)),
            ("/foo/01", Ok(None)),
            ("/foo/-", Ok(None)),
            ("/", Ok(Some("0"))),
            ("/a~1b", Ok(Some("1"))),
            ("/c%d", Ok(Some("2"))),
            ("/k\"l", Ok(Some("6"))),
            ("/ ", Ok(Some("7"))),
            ("/m~0n", Ok(Some("8"))),
            ("/d/d", Ok(Some("1"))),
            ("/d/x", Err(Ambiguous("x".into()))),
            ("/a~1b/x", Ok(None)),
        ] {
            let found = Pointer::new(pointer).find(root);
            let found = found.map(|it| it.map(|it| std::str::from_utf8(it.raw()).unwrap()));
            assert_eq!(found, expected, "{pointer}");
        }
        assert_eq!(Pointer::new("").find(root), Ok(Some(root)));
    }
}
