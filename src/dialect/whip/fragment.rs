//! `application/trickle-ice-sdpfrag` (RFC 8840 §9): what a fragment says of ICE, and the same fragment as the client sees it.
//!
//! A fragment is an SDP without its session part, so it is read and changed by the rules of one, with that part put in
//! front and taken away again.

use thiserror::Error;

use crate::sdp::candidate::{Candidate, CandidateError};
use crate::sdp::{Description, MAX_BYTES, SdpError, line_ending, lines};

/// Why a fragment cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum FragmentError {
    #[error("expected a fragment in UTF-8")]
    NotText,
    #[error("fragment of {0} bytes, expected at most {MAX_BYTES}")]
    TooLarge(usize),
    #[error("line {0} of the fragment: expected a letter and `=`")]
    NotALine(usize),
    #[error("line {0} of the fragment: {1}")]
    Candidate(usize, CandidateError),
    #[error("expected candidates, a=end-of-candidates, or a=ice-ufrag and a=ice-pwd in the fragment")]
    SaysNothing,
    #[error("fragment: {0}")]
    Sdp(SdpError),
}

/// Checks the syntax of a fragment of the client, and lists the ufrags that it names.
pub(super) fn check(body: &[u8]) -> Result<(&str, Vec<&str>), FragmentError> {
    let text = std::str::from_utf8(body).map_err(|_| FragmentError::NotText)?;
    if text.len() > MAX_BYTES {
        return Err(FragmentError::TooLarge(text.len()));
    }
    let (mut ufrags, mut says_something) = (Vec::new(), false);
    for (index, line) in lines(text).enumerate().filter(|(_, line)| !line.text.trim().is_empty()) {
        line.typed().ok_or(FragmentError::NotALine(index + 1))?;
        let Some((name, value)) = line.attribute() else { continue };
        let is = |wanted: &str| name.trim_end().eq_ignore_ascii_case(wanted);
        says_something |= ["candidate", "end-of-candidates", "ice-ufrag"].into_iter().any(is);
        if is("ice-ufrag") {
            ufrags.push(value.trim());
        }
        // Browsers end their candidates with an empty one.
        if is("candidate") && !value.trim().is_empty() {
            Candidate::parse(line.text).map_err(|error| FragmentError::Candidate(index + 1, error))?;
        }
    }
    if says_something { Ok((text, ufrags)) } else { Err(FragmentError::SaysNothing) }
}

/// A fragment as a description.
pub(super) struct Fragment {
    sdp: String,
    head: String,
    /// The m-line that a fragment without any lacks.
    section: Option<String>,
}

impl Fragment {
    pub(super) fn new(text: &str) -> Self {
        let ending = line_ending(text);
        let head = format!("v=0{ending}");
        let has_section = lines(text).any(|line| line.text.starts_with("m="));
        let section = (!has_section).then(|| format!("m=audio 9 RTP/AVP 0{ending}"));
        let ends = text.is_empty() || text.ends_with(['\r', '\n']);
        let gap = if section.is_none() || ends { "" } else { ending };
        let sdp = format!("{head}{text}{gap}{}", section.as_deref().unwrap_or_default());
        Fragment { sdp, head, section }
    }

    pub(super) fn sdp(&self) -> &str {
        &self.sdp
    }

    pub(super) fn read(&self) -> Result<Description<'_>, FragmentError> {
        Description::read(&self.sdp).map_err(FragmentError::Sdp)
    }

    /// The fragment again, from its changed description.
    pub(super) fn cut(&self, sdp: &str) -> String {
        let text = sdp.strip_prefix(&self.head).unwrap_or(sdp);
        match &self.section {
            Some(section) => text.replacen(section.as_str(), "", 1),
            None => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_of_a_fragment_is_checked() {
        let candidate = "a=candidate:1 1 udp 1 x.local 5 typ host\r\n";
        let section = "a=ice-ufrag:EsAw\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 X 0\r\na=mid:0\r\n";
        assert_eq!(check(format!("{section}{candidate}").as_bytes()).map(|it| it.1), Ok(vec!["EsAw"]));
        for good in [candidate, "a=end-of-candidates", "a=candidate:\r\n", "\r\na=ice-ufrag:x"] {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        let bad = "a=mid:0\r\na=candidate:1 1 udp";
        for (body, error) in [
            ("", FragmentError::SaysNothing),
            ("m=audio 9 X 0\r\na=mid:0\r\n", FragmentError::SaysNothing),
            ("a=end-of-candidates\r\n{}", FragmentError::NotALine(2)),
            (bad, FragmentError::Candidate(2, CandidateError::Missing("priority"))),
        ] {
            assert_eq!(check(body.as_bytes()), Err(error), "{body}");
        }
        assert_eq!(check(b"a=end-of-candidates\xff"), Err(FragmentError::NotText));
        assert_eq!(check(&[b'a'; MAX_BYTES + 1]), Err(FragmentError::TooLarge(MAX_BYTES + 1)));
    }

    #[test]
    fn a_fragment_comes_back_from_its_description_as_it_was() {
        for text in [
            "",
            "a=ice-ufrag:EsAw\na=ice-pwd:0123456789012345678901",
            "a=ice-ufrag:EsAw\r\nm=audio 9 X 0\r\na=mid:0\r\n",
            "m=audio 9 X 0",
        ] {
            let fragment = Fragment::new(text);
            let back = fragment.cut(fragment.sdp());
            assert_eq!(back.trim_end(), text.trim_end());
        }
    }
}
