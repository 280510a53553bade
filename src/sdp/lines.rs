//! Cuts a session description into lines without losing a byte: the pieces put together are the input again.
//!
//! It never judges a line. RFC 8866 §5 ends lines with CRLF and tells parsers to accept a bare LF; a bare CR counts as a
//! line end as well, because a parser behind us may take it for one, and what it would see as a line must not hide here.

use memchr::memchr2;

/// One line of a session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Everything before the line end.
    pub text: &'a str,
    /// `\r\n`, `\n`, `\r`, or empty where the last line has no end.
    pub ending: &'a str,
}

impl<'a> Line<'a> {
    /// Type letter and value: `a=mid:0` is `('a', "mid:0")`.
    pub fn typed(&self) -> Option<(u8, &'a str)> {
        let bytes = self.text.as_bytes();
        (bytes.len() >= 2 && bytes[1] == b'=' && bytes[0].is_ascii()).then(|| (bytes[0], &self.text[2..]))
    }

    /// Name and value of an attribute line: `a=mid:0` is `("mid", "0")`, `a=ice-lite` is `("ice-lite", "")`.
    pub fn attribute(&self) -> Option<(&'a str, &'a str)> {
        match self.typed()? {
            (b'a', attribute) => Some(attribute.split_once(':').unwrap_or((attribute, ""))),
            _ => None,
        }
    }
}

/// The lines of `sdp`, in order.
pub fn lines(sdp: &str) -> Lines<'_> {
    Lines { rest: sdp }
}

/// The line end that `sdp` uses, by its first line; CRLF where it has none.
pub fn line_ending(sdp: &str) -> &'static str {
    match lines(sdp).next().map(|line| line.ending) {
        Some("\n") => "\n",
        Some("\r") => "\r",
        _ => "\r\n",
    }
}

/// Iterator over [`lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = self.rest.as_bytes();
        let end = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        let ending = match (bytes.get(end), bytes.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => 2,
            (Some(_), _) => 1,
            (None, _) => 0,
        };
        let (line, rest) = self.rest.split_at(end + ending);
        let (text, ending) = line.split_at(end);
        self.rest = rest;
        Some(Line { text, ending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_put_together_are_the_input() {
        for sdp in ["", "\n", "v=0", "v=0\r\no=x\r\n", "v=0\no=x", "a\rb\r\rc\r\n\n", "ä=ö\r\n"] {
            let joined: String = lines(sdp).flat_map(|line| [line.text, line.ending]).collect();
            assert_eq!(joined, sdp);
        }
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        let texts: Vec<_> = lines("v=0\r\na=b\nc=d\ra=e").map(|line| line.text).collect();
        assert_eq!(texts, ["v=0", "a=b", "c=d", "a=e"]);
    }

    #[test]
    fn the_first_line_tells_the_style() {
        for (sdp, style) in
            [("v=0\r\n", "\r\n"), ("v=0\nx\r\n", "\n"), ("v=0\r", "\r"), ("v=0", "\r\n"), ("", "\r\n")]
        {
            assert_eq!(line_ending(sdp), style);
        }
    }

    #[test]
    fn attributes_split_at_the_first_colon() {
        let attribute = |text| Line { text, ending: "" }.attribute();
        assert_eq!(attribute("a=mid:0"), Some(("mid", "0")));
        assert_eq!(attribute("a=ice-lite"), Some(("ice-lite", "")));
        assert_eq!(attribute("a=extmap:1 urn:x"), Some(("extmap", "1 urn:x")));
        assert_eq!(attribute("m=audio 9"), None);
        assert_eq!(attribute("a"), None);
        assert_eq!(attribute("ä=x"), None);
    }
}
