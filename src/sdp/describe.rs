//! Reads what a session description says of ICE: credentials, candidates, lite, and which m-sections share a transport.
//!
//! It changes nothing and resolves nothing; of a description that breaks a rule it says which line and what was expected.

use thiserror::Error;

use super::candidate::Candidate;
use super::lines::lines;
use super::{MAX_BYTES, MAX_CANDIDATES, MAX_ICE_STRING, MAX_SECTIONS, MAX_TRANSPORTS};

/// What a description says of ICE, borrowed from its text.
#[derive(Clone, Debug, Default)]
pub struct Description<'a> {
    /// The m-sections in order.
    pub sections: Vec<Section<'a>>,
    /// `a=ice-lite`, at session level as RFC 8839 §5.3 says, or anywhere.
    pub ice_lite: bool,
    /// Readable candidates with the index of their m-section; those at session level count to section 0.
    pub candidates: Vec<(usize, Candidate<'a>)>,
    /// `a=ice-options` tokens of the session.
    pub ice_options: Option<&'a str>,
    session: IceLines<'a>,
}

/// One m-section.
#[derive(Clone, Debug, Default)]
pub struct Section<'a> {
    /// Number of its m-line, from 1.
    pub line: usize,
    /// `a=mid`.
    pub mid: Option<&'a str>,
    /// Port 0, and not bundle-only (RFC 9143 §6).
    pub rejected: bool,
    /// `a=end-of-candidates` (RFC 8840).
    pub end_of_candidates: bool,
    /// `a=ice-options` tokens of its own.
    pub ice_options: Option<&'a str>,
    /// The m-section whose transport it uses: the first accepted one of its BUNDLE group, else itself.
    pub tag: usize,
    pub(super) ice: IceLines<'a>,
}

/// A ufrag and its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IceCredentials<'a> {
    /// `a=ice-ufrag`.
    pub ufrag: &'a str,
    /// `a=ice-pwd`.
    pub pwd: &'a str,
}

/// The credentials of one level; either line may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IceLines<'a> {
    pub(super) ufrag: Option<&'a str>,
    pub(super) pwd: Option<&'a str>,
}

/// Why a description cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SdpError {
    /// Over [`MAX_BYTES`].
    #[error("description of {0} bytes, expected at most {MAX_BYTES}")]
    TooLarge(usize),
    /// Does not begin like a description.
    #[error("line 1: expected `v=0`")]
    NoVersion,
    /// Over [`MAX_SECTIONS`].
    #[error("line {0}: expected at most {MAX_SECTIONS} m-sections")]
    TooManySections(usize),
    /// Over [`MAX_TRANSPORTS`].
    #[error("line {0}: expected at most {MAX_TRANSPORTS} m-sections outside of BUNDLE groups")]
    TooManyTransports(usize),
    /// No ufrag where one is needed.
    #[error("line {0}: expected an a=ice-ufrag in this m-section or in the session part")]
    NoUfrag(usize),
    /// No password where one is needed.
    #[error("line {0}: expected an a=ice-pwd in this m-section or in the session part")]
    NoPwd(usize),
    /// Not a ufrag.
    #[error("line {0}: expected an ice-ufrag of 4 to {MAX_ICE_STRING} visible characters")]
    BadUfrag(usize),
    /// Not a password.
    #[error("line {0}: expected an ice-pwd of 22 to {MAX_ICE_STRING} visible characters")]
    BadPwd(usize),
}

impl<'a> Description<'a> {
    /// Reads `sdp`. Every m-section that has a transport of its own must have credentials.
    pub fn read(sdp: &'a str) -> Result<Self, SdpError> {
        if sdp.len() > MAX_BYTES {
            return Err(SdpError::TooLarge(sdp.len()));
        }
        if !sdp.starts_with("v=") {
            return Err(SdpError::NoVersion);
        }
        let mut reader = Reader::default();
        for (index, line) in lines(sdp).enumerate() {
            match line.typed() {
                Some((b'm', value)) => reader.section(index + 1, value)?,
                Some((b'a', value)) => reader.attribute(index + 1, value)?,
                _ => {}
            }
        }
        reader.finish()
    }

    /// The credentials that hold for an m-section: its own, else the session's, else its BUNDLE group's.
    pub fn credentials(&self, section: usize) -> Option<IceCredentials<'a>> {
        let section = self.sections.get(section)?;
        self.own_credentials(section).or_else(|| self.own_credentials(self.sections.get(section.tag)?))
    }

    /// The m-sections that have an ICE transport of their own, by index.
    pub fn transports(&self) -> impl Iterator<Item = usize> {
        self.sections
            .iter()
            .enumerate()
            .filter(|(index, section)| !section.rejected && section.tag == *index)
            .map(|(index, _)| index)
    }

    fn own_credentials(&self, section: &Section<'a>) -> Option<IceCredentials<'a>> {
        let ufrag = section.ice.ufrag.or(self.session.ufrag)?;
        let pwd = section.ice.pwd.or(self.session.pwd)?;
        Some(IceCredentials { ufrag, pwd })
    }

    fn check(&self) -> Result<(), SdpError> {
        for (count, index) in self.transports().enumerate() {
            let section = &self.sections[index];
            if section.ice.ufrag.or(self.session.ufrag).is_none() {
                return Err(SdpError::NoUfrag(section.line));
            }
            if section.ice.pwd.or(self.session.pwd).is_none() {
                return Err(SdpError::NoPwd(section.line));
            }
            if count == MAX_TRANSPORTS {
                return Err(SdpError::TooManyTransports(section.line));
            }
        }
        Ok(())
    }
}

/// Whether `text` can be a ufrag or password of at least `min` characters. RFC 8839 allows letters, digits, `+` and `/`;
/// clients in the field also send `-`, `_` and `=`, so every visible character passes but the one that separates the two
/// ufrags of a USERNAME.
pub fn is_ice_string(text: &str, min: usize) -> bool {
    (min..=MAX_ICE_STRING).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

#[derive(Default)]
struct Reader<'a> {
    description: Description<'a>,
    bundles: Vec<&'a str>,
    bundle_only: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn section(&mut self, line: usize, value: &'a str) -> Result<(), SdpError> {
        let index = self.description.sections.len();
        if index == MAX_SECTIONS {
            return Err(SdpError::TooManySections(line));
        }
        let port = value.split_ascii_whitespace().nth(1).unwrap_or("0");
        let rejected = port.split('/').next().is_none_or(|port| port.trim_start_matches('0').is_empty());
        self.description.sections.push(Section { line, rejected, tag: index, ..Section::default() });
        Ok(())
    }

    fn attribute(&mut self, line: usize, attribute: &'a str) -> Result<(), SdpError> {
        // Most lines of a description are about codecs and end here.
        if !matches!(
            attribute.as_bytes().first(),
            Some(b'b' | b'c' | b'e' | b'g' | b'i' | b'm' | b'B' | b'C' | b'E' | b'G' | b'I' | b'M')
        ) {
            return Ok(());
        }
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        let level = self.description.sections.len().checked_sub(1);
        if is("ice-ufrag") {
            let ufrag =
                Some(value.trim()).filter(|ufrag| is_ice_string(ufrag, 4)).ok_or(SdpError::BadUfrag(line))?;
            self.ice().ufrag = Some(ufrag);
        } else if is("ice-pwd") {
            let pwd =
                Some(value.trim()).filter(|pwd| is_ice_string(pwd, 22)).ok_or(SdpError::BadPwd(line))?;
            self.ice().pwd = Some(pwd);
        } else if is("ice-lite") {
            self.description.ice_lite = true;
        } else if is("candidate") {
            self.candidate(level.unwrap_or(0), attribute);
        } else if is("group") {
            self.group(value);
        } else if is("ice-options") {
            match self.description.sections.last_mut() {
                Some(section) => section.ice_options = Some(value),
                None => self.description.ice_options = Some(value),
            }
        } else if let (Some(index), Some(section)) = (level, self.description.sections.last_mut()) {
            match () {
                () if is("mid") => section.mid = Some(value.trim()),
                () if is("bundle-only") => self.bundle_only.push(index),
                () if is("end-of-candidates") => section.end_of_candidates = true,
                () => {}
            }
        }
        Ok(())
    }

    fn ice(&mut self) -> &mut IceLines<'a> {
        let description = &mut self.description;
        description.sections.last_mut().map_or(&mut description.session, |section| &mut section.ice)
    }

    fn candidate(&mut self, section: usize, attribute: &'a str) {
        let candidates = &mut self.description.candidates;
        if candidates.len() == MAX_CANDIDATES {
            return;
        }
        if let Ok(candidate) = Candidate::parse(attribute) {
            candidates.push((section, candidate));
        }
    }

    fn group(&mut self, value: &'a str) {
        let (semantics, mids) = value.split_once(' ').unwrap_or((value, ""));
        if semantics.eq_ignore_ascii_case("BUNDLE") {
            self.bundles.push(mids);
        }
    }

    fn finish(mut self) -> Result<Description<'a>, SdpError> {
        let sections = &mut self.description.sections;
        for index in self.bundle_only {
            sections[index].rejected = false;
        }
        for mids in self.bundles {
            bundle(sections, mids);
        }
        self.description.check()?;
        Ok(self.description)
    }
}

/// Gives every accepted m-section of a group the first of them as its tag.
fn bundle(sections: &mut [Section<'_>], mids: &str) {
    let mut tag = None;
    for mid in mids.split_ascii_whitespace().take(MAX_SECTIONS) {
        let Some(index) = sections.iter().position(|section| section.mid == Some(mid) && !section.rejected)
        else {
            continue;
        };
        sections[index].tag = *tag.get_or_insert(index);
    }
}
