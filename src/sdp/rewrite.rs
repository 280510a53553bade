//! Changes the lines of a description that tell addresses (janus.md §2.2–2.4), and no others.
//!
//! [`hide`] takes every address and candidate out; [`towards_client`] also puts the edge's ICE in. Fingerprints, setup,
//! codecs and whatever else a description holds stay as they are: the edge holds no media keys.

use super::describe::Description;
use super::lines::{Line, line_ending, lines};

/// What the client is shown in place of the backend's ICE.
#[derive(Clone, Copy, Debug)]
pub struct ClientView<'a> {
    /// The edge's candidate lines, without `a=` and line end.
    pub candidates: &'a [Box<str>],
    /// Ufrag and password per m-section; `None` keeps what the description says.
    pub credentials: &'a [Option<(&'a str, &'a str)>],
    /// The edge answers checks and starts none: one `a=ice-lite` at session level (RFC 8839 §5.3).
    pub lite: bool,
}

/// `sdp` without any candidate and with neutral addresses: what may be shown to the other side.
pub fn hide(sdp: &str) -> String {
    let mut out = String::with_capacity(sdp.len() + SLACK);
    for line in lines(sdp) {
        push_hidden(&mut out, line);
    }
    out
}

/// `sdp` of the backend as the client sees it: neutral addresses, and in every m-section that is not rejected the edge's
/// candidates and credentials. `description` must have been read from the same `sdp`.
pub fn towards_client(sdp: &str, description: &Description<'_>, view: &ClientView<'_>) -> String {
    Writer::new(sdp, description, view).write(sdp)
}

/// Neutral addresses can be longer than what they replace, but seldom all are.
const SLACK: usize = 64;

struct Writer<'a> {
    description: &'a Description<'a>,
    view: &'a ClientView<'a>,
    ending: &'static str,
    /// The m-section the next line belongs to; `None` before the first.
    section: Option<usize>,
    /// Which credential lines the current level has had.
    has_ufrag: bool,
    has_pwd: bool,
    out: String,
}

impl<'a> Writer<'a> {
    fn new(sdp: &str, description: &'a Description<'a>, view: &'a ClientView<'a>) -> Self {
        let per_section: usize = view.candidates.iter().map(|line| line.len() + 4).sum();
        let capacity = sdp.len() + SLACK + description.sections.len() * (per_section + SECTION_SLACK);
        Writer {
            description,
            view,
            ending: line_ending(sdp),
            section: None,
            has_ufrag: false,
            has_pwd: false,
            out: String::with_capacity(capacity),
        }
    }

    fn write(mut self, sdp: &str) -> String {
        for line in lines(sdp) {
            if line.text.starts_with("m=") {
                self.end_level();
                self.section = Some(self.section.map_or(0, |section| section + 1));
            }
            self.line(line);
        }
        self.end_level();
        self.out
    }

    fn line(&mut self, line: Line<'_>) {
        let name = match line.typed() {
            Some((b'a', attribute)) if matches!(attribute.as_bytes().first(), Some(b'i' | b'I')) => {
                attribute.split(':').next().unwrap_or("")
            }
            _ => return push_hidden(&mut self.out, line),
        };
        if name.eq_ignore_ascii_case("ice-lite") && self.view.lite {
            return;
        }
        let Some((ufrag, pwd)) = self.shown() else { return push_hidden(&mut self.out, line) };
        match () {
            () if name.eq_ignore_ascii_case("ice-ufrag") => {
                self.has_ufrag = true;
                self.push(&["a=ice-ufrag:", ufrag, line.ending]);
            }
            () if name.eq_ignore_ascii_case("ice-pwd") => {
                self.has_pwd = true;
                self.push(&["a=ice-pwd:", pwd, line.ending]);
            }
            () => push_hidden(&mut self.out, line),
        }
    }

    /// What to add behind the last line of the session part or of an m-section.
    fn end_level(&mut self) {
        match self.section {
            None if self.view.lite => self.push_line("a=ice-lite", ""),
            Some(section)
                if self.description.sections.get(section).is_some_and(|section| !section.rejected) =>
            {
                self.end_section(section);
            }
            _ => {}
        }
        (self.has_ufrag, self.has_pwd) = (false, false);
    }

    fn end_section(&mut self, section: usize) {
        if let Some((ufrag, pwd)) = self.shown() {
            if !self.has_ufrag && self.needs_own_lines(section) {
                self.push_line("a=ice-ufrag:", ufrag);
            }
            if !self.has_pwd && self.needs_own_lines(section) {
                self.push_line("a=ice-pwd:", pwd);
            }
        }
        let view = self.view;
        for candidate in view.candidates {
            self.push_line("a=", candidate);
        }
        self.push_line("a=end-of-candidates", "");
    }

    /// The credentials for the current level. The session part speaks for the first m-section that has some.
    fn shown(&self) -> Option<(&'a str, &'a str)> {
        let first = || self.view.credentials.iter().flatten().next().copied();
        match self.section {
            None => first(),
            Some(section) => self.view.credentials.get(section).copied().flatten().or_else(|| {
                let rejected = self.description.sections.get(section).is_some_and(|section| section.rejected);
                if rejected { first() } else { None }
            }),
        }
    }

    /// An m-section that lived off the session's credentials needs lines of its own where it is shown other ones.
    fn needs_own_lines(&self, section: usize) -> bool {
        let shown = self.view.credentials.get(section).copied().flatten();
        let session = self.view.credentials.iter().flatten().next().copied();
        let is_tag = self.description.sections.get(section).is_some_and(|it| it.tag == section);
        is_tag && shown != session
    }

    fn push(&mut self, parts: &[&str]) {
        self.out.extend(parts.iter().copied());
    }

    fn push_line(&mut self, start: &str, rest: &str) {
        if !self.out.ends_with(['\n', '\r']) {
            self.out.push_str(self.ending);
        }
        self.push(&[start, rest, self.ending]);
    }
}

/// Room for `a=end-of-candidates` and longer credentials.
const SECTION_SLACK: usize = 96;

fn push_hidden(out: &mut String, line: Line<'_>) {
    let hidden: &[&str] = match line.typed() {
        // The letter counts in one case only (RFC 8866 §5); who reads it in the other must not find an address either.
        Some((b'a' | b'A', attribute)) => match hidden_attribute(attribute) {
            Attribute::Keep => &[line.text],
            Attribute::Remove => return,
            Attribute::Neutral(text) => &[text],
        },
        Some((b'c', _)) => &["c=IN IP4 0.0.0.0"],
        Some((b'o', value)) => &["o=", origin_without_address(value), " IN IP4 127.0.0.1"],
        Some((b'm', value)) => match split_port(value) {
            Some((before, after)) => &["m=", before, "9", after],
            None => &[line.text],
        },
        _ => &[line.text],
    };
    out.extend(hidden.iter().copied());
    out.push_str(line.ending);
}

enum Attribute {
    Keep,
    Remove,
    Neutral(&'static str),
}

/// Attributes that tell an address. `remote-candidates` (RFC 8839 §5.2) names the other side's candidates, which the
/// edge has replaced, so it goes with them. Names are compared in any case, as Janus does.
fn hidden_attribute(attribute: &str) -> Attribute {
    if !matches!(attribute.as_bytes().first(), Some(b'c' | b'C' | b'e' | b'E' | b'r' | b'R')) {
        return Attribute::Keep;
    }
    let name = attribute.split(':').next().unwrap_or("").trim_end();
    match () {
        () if ["candidate", "end-of-candidates", "remote-candidates"]
            .iter()
            .any(|it| name.eq_ignore_ascii_case(it)) =>
        {
            Attribute::Remove
        }
        () if name.eq_ignore_ascii_case("rtcp") => Attribute::Neutral("a=rtcp:9 IN IP4 0.0.0.0"),
        () => Attribute::Keep,
    }
}

/// `<username> <sess-id> <sess-version>` of an o-line (RFC 8866 §5.2).
fn origin_without_address(value: &str) -> &str {
    let third_space = value.match_indices(' ').nth(2).map_or(value.len(), |(at, _)| at);
    &value[..third_space]
}

/// The parts of an m-line before and after a port that is not 0.
fn split_port(value: &str) -> Option<(&str, &str)> {
    let start = value.len() - value[value.find(' ')?..].trim_start_matches(' ').len();
    let digits = value[start..].bytes().take_while(u8::is_ascii_digit).count();
    let port = &value[start..start + digits];
    let is_zero = port.bytes().all(|digit| digit == b'0');
    (!is_zero).then(|| (&value[..start], &value[start + digits..]))
}
