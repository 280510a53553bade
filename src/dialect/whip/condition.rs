//! Whether a PATCH may be carried out, by its condition (RFC 9725 §4.3.1, RFC 9110 §13.1.1, whip.md §3.1).

use crate::dialect::Head;

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    /// 428: it has none, and one is asked for.
    Missing,
    /// 412: it is about an older state of the session.
    Stale,
}

/// Checks the condition of a request against the session's entity tag. An `ETag` header counts as `If-Match`: clients in the
/// field send it. Where the backend gave no tag, any condition holds.
pub(super) fn check(head: &Head<'_>, current: Option<&str>, strict: bool) -> Result<(), Unmet> {
    match (head.if_match.or(head.etag), current) {
        (None, _) if strict => Err(Unmet::Missing),
        (None, _) | (Some(_), None) => Ok(()),
        (Some(condition), Some(current)) if holds(condition.trim(), opaque(current)) => Ok(()),
        _ => Err(Unmet::Stale),
    }
}

/// The whole condition, or one of its list.
fn holds(condition: &str, current: &str) -> bool {
    condition == "*" || opaque(condition) == current || condition.split(',').any(|tag| opaque(tag) == current)
}

/// A tag without quotes and weakness: servers in the field send both forms, and clients may lose either.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_lenient_unless_strict() {
        for (if_match, etag, current, lenient, strict) in [
            (None, None, Some("\"a\""), Ok(()), Err(Unmet::Missing)),
            (Some("\"a\""), None, Some("\"a\""), Ok(()), Ok(())),
            (None, Some("\"a\""), Some("\"a\""), Ok(()), Ok(())),
            (Some("\"b\""), Some("\"a\""), Some("\"a\""), Err(Unmet::Stale), Err(Unmet::Stale)),
            (None, Some("\"b\""), Some("\"a\""), Err(Unmet::Stale), Err(Unmet::Stale)),
            (Some("*"), None, Some("\"a\""), Ok(()), Ok(())),
            (Some("\"x\", \"a\""), None, Some("\"a\""), Ok(()), Ok(())),
            (Some("\"a,b\""), None, Some("\"a,b\""), Ok(()), Ok(())),
            (Some("a"), None, Some("W/\"a\""), Ok(()), Ok(())),
            (Some("\"a\""), None, None, Ok(()), Ok(())),
            (Some(""), None, Some("\"a\""), Err(Unmet::Stale), Err(Unmet::Stale)),
        ] {
            let head = Head { if_match, etag, ..Head::default() };
            assert_eq!(check(&head, current, false), lenient, "{head:?}");
            assert_eq!(check(&head, current, true), strict, "{head:?}");
        }
    }
}
