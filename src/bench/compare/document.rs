//! \[pure\] The part of a document that is written by a program: what stands between two comment lines.

/// Opens the part.
pub(super) const BEGIN: &str = "<!-- bench: from here on written by scripts/bench -->";
/// Closes it.
pub(super) const END: &str = "<!-- bench: until here -->";

/// Why a document cannot be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadDocument {
    /// A marker is missing or stands twice.
    #[error("expected the line `{marker}` exactly once, found it {found} times")]
    Marker {
        /// Which.
        marker: &'static str,
        /// How often it is there.
        found: usize,
    },
    /// The end comes first.
    #[error("expected `{BEGIN}` before `{END}`")]
    Order,
}

/// The document with `part` between the markers; everything else stays, byte for byte.
pub(super) fn replace(document: &str, part: &str) -> Result<String, BadDocument> {
    for marker in [BEGIN, END] {
        let found = document.matches(marker).count();
        if found != 1 {
            return Err(BadDocument::Marker { marker, found });
        }
    }
    let (before, rest) = document.split_once(BEGIN).ok_or(BadDocument::Order)?;
    let (_, after) = rest.split_once(END).ok_or(BadDocument::Order)?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", part.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let document = format!("# A\r\n{BEGIN}\nold\n{END}\nrest");
        let once = replace(&document, "new\n").unwrap();
        assert_eq!(once, format!("# A\r\n{BEGIN}\n\nnew\n\n{END}\nrest"));
        assert_eq!(replace(&once, "new").unwrap(), once, "again changes nothing");
    }

    #[test]
    fn a_document_without_its_markers_is_left_alone() {
        assert_eq!(replace("text", "new"), Err(BadDocument::Marker { marker: BEGIN, found: 0 }));
        assert_eq!(
            replace(&format!("{BEGIN} {BEGIN} {END}"), ""),
            Err(BadDocument::Marker { marker: BEGIN, found: 2 })
        );
        assert_eq!(replace(BEGIN, ""), Err(BadDocument::Marker { marker: END, found: 0 }));
        assert_eq!(replace(&format!("{END} {BEGIN}"), ""), Err(BadDocument::Order));
    }
}
