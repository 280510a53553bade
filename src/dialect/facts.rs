//! What is kept of a description: the credentials and transports of its m-sections, and the backend's candidates.
//!
//! It owns its strings, so that a half-known exchange does not hold on to a message; equal credentials are shared.

use std::sync::Arc;

use crate::sdp::candidate::{Candidate, Kind, TcpType, Transport};
use crate::sdp::{Description, IceCredentials, MAX_CANDIDATES, Section};
use crate::session::registration::{BackendCandidate, CandidateTransport, Credentials, Mode};

/// One description.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) sections: Vec<SectionFacts>,
    pub(super) lite: bool,
    /// Usable candidates, each with the m-section whose transport it belongs to.
    pub(super) candidates: Vec<(usize, BackendCandidate)>,
}

/// One m-section.
#[derive(Clone, Debug)]
pub(super) struct SectionFacts {
    pub(super) mid: Option<Box<str>>,
    pub(super) credentials: Option<Credentials>,
    pub(super) rejected: bool,
    /// The m-section whose transport it uses.
    pub(super) tag: usize,
}

impl Facts {
    /// What `description` says, without candidates.
    pub(super) fn of(description: &Description<'_>) -> Self {
        let mut sections: Vec<SectionFacts> = Vec::with_capacity(description.sections.len());
        for (index, section) in description.sections.iter().enumerate() {
            let credentials = description.credentials(index).map(|it| shared(&sections, it));
            let mid = section.mid.map(Box::from);
            sections.push(SectionFacts { mid, credentials, rejected: section.rejected, tag: section.tag });
        }
        Facts { sections, lite: description.ice_lite, candidates: Vec::new() }
    }

    /// What `description` of the backend says, with the candidates that `mode` can use.
    pub(super) fn of_backend(description: &Description<'_>, mode: Mode) -> Self {
        let mut facts = Facts::of(description);
        for (section, candidate) in &description.candidates {
            if let Some(candidate) = usable(candidate, mode) {
                facts.add(*section, candidate);
            }
        }
        facts
    }

    /// What an ICE restart makes of it: the same m-sections with the credentials that `fragment` gives them, by mid, by the
    /// mid of their transport, or as the only ones there are (RFC 8840 §9), and the candidates that `mode` can use.
    pub(super) fn restarted(&self, fragment: &Description<'_>, mode: Mode) -> Self {
        let first = (0..fragment.sections.len()).find_map(|section| fragment.credentials(section));
        let of_mid = |mid: Option<&str>| {
            let same = |it: &Section<'_>| it.mid.is_some() && it.mid == mid;
            fragment.credentials(fragment.sections.iter().position(same)?)
        };
        let mut new =
            Facts { sections: Vec::new(), lite: self.lite || fragment.ice_lite, candidates: Vec::new() };
        for section in &self.sections {
            let tag = self.sections.get(section.tag).and_then(|tag| tag.mid.as_deref());
            let credentials = of_mid(section.mid.as_deref()).or_else(|| of_mid(tag)).or(first);
            let credentials = credentials.map(|it| shared(&new.sections, it));
            new.sections.push(SectionFacts { credentials, ..section.clone() });
        }
        for (section, candidate) in &fragment.candidates {
            let mid = fragment.sections.get(*section).and_then(|section| section.mid);
            if let Some(candidate) = usable(candidate, mode) {
                new.add(new.named(mid, None), candidate);
            }
        }
        new
    }

    /// Adds a candidate of an m-section; `false` where it is known or one too many.
    pub(super) fn add(&mut self, section: usize, candidate: BackendCandidate) -> bool {
        let entry = (self.tag(section), candidate);
        let fits = self.candidates.len() < MAX_CANDIDATES && !self.candidates.contains(&entry);
        if fits {
            self.candidates.reserve_exact(1);
            self.candidates.push(entry);
        }
        fits
    }

    /// The m-section whose transport an m-section uses.
    pub(super) fn tag(&self, section: usize) -> usize {
        self.sections.get(section).map_or(section, |it| it.tag)
    }

    pub(super) fn credentials(&self, section: usize) -> Option<&Credentials> {
        self.sections.get(section)?.credentials.as_ref()
    }

    /// The m-sections that have a transport of their own.
    pub(super) fn transports(&self) -> impl Iterator<Item = usize> {
        self.sections
            .iter()
            .enumerate()
            .filter(|(index, it)| !it.rejected && it.tag == *index)
            .map(|(index, _)| index)
    }

    /// The m-section a trickled candidate names, else the first that has a transport.
    pub(super) fn named(&self, mid: Option<&str>, line_index: Option<usize>) -> usize {
        let by_mid =
            || mid.and_then(|mid| self.sections.iter().position(|it| it.mid.as_deref() == Some(mid)));
        let by_line = || line_index.filter(|index| *index < self.sections.len());
        by_mid().or_else(by_line).or_else(|| self.transports().next()).unwrap_or(0)
    }
}

/// A backend candidate as the backend leg uses it. What it cannot use is left out without a word: active TCP candidates
/// (RFC 6544 §4.1, nobody listens there), names (the edge does not resolve mDNS), components other than RTP (everything
/// is muxed), and addresses that nobody can be reached at. In transparent mode only host candidates count (xrtc.md §3).
pub(super) fn usable(candidate: &Candidate<'_>, mode: Mode) -> Option<BackendCandidate> {
    let transport = match (candidate.transport, candidate.tcp) {
        (Transport::Udp, _) => CandidateTransport::Udp,
        (Transport::Tcp, Some(TcpType::Passive)) => CandidateTransport::TcpPassive,
        _ => return None,
    };
    let addr = candidate.addr()?;
    let reachable = addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast();
    let wanted = candidate.component == 1 && (mode == Mode::HalfProxy || candidate.kind == Kind::Host);
    (reachable && wanted).then_some(BackendCandidate { transport, addr, priority: candidate.priority })
}

fn shared(sections: &[SectionFacts], new: IceCredentials<'_>) -> Credentials {
    let mut known = sections.iter().rev().filter_map(|it| it.credentials.as_ref());
    let same = known.find(|it| &*it.ufrag == new.ufrag && &*it.pwd == new.pwd);
    same.cloned().unwrap_or_else(|| Credentials { ufrag: Arc::from(new.ufrag), pwd: Arc::from(new.pwd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_candidates_that_the_edge_can_reach_are_usable() {
        let usable = |line, mode| {
            usable(&Candidate::parse(line).unwrap(), mode).map(|it| (it.transport, it.addr.to_string()))
        };
        let udp = Some((CandidateTransport::Udp, "10.0.0.1:5".to_owned()));
        let tcp = Some((CandidateTransport::TcpPassive, "10.0.0.1:5".to_owned()));
        for (line, half, transparent) in [
            ("candidate:1 1 udp 1 10.0.0.1 5 typ host", udp.clone(), udp.clone()),
            ("candidate:1 1 udp 1 10.0.0.1 5 typ srflx raddr 10.0.0.2 rport 6", udp.clone(), None),
            ("candidate:1 1 tcp 1 10.0.0.1 5 typ host tcptype passive", tcp.clone(), tcp.clone()),
            ("candidate:1 1 tcp 1 10.0.0.1 5 typ host tcptype active", None, None),
            ("candidate:1 1 tcp 1 10.0.0.1 5 typ host tcptype so", None, None),
            ("candidate:1 1 tcp 1 10.0.0.1 5 typ host", None, None),
            ("candidate:1 1 tcp 1 10.0.0.1 0 typ host tcptype passive", None, None),
            ("candidate:1 1 udp 1 10.0.0.1 0 typ host", None, None),
            ("candidate:1 2 udp 1 10.0.0.1 5 typ host", None, None),
            ("candidate:1 1 udp 1 abc.local 5 typ host", None, None),
            ("candidate:1 1 udp 1 0.0.0.0 5 typ host", None, None),
            ("candidate:1 1 udp 1 ff02::1 5 typ host", None, None),
            ("candidate:1 1 sctp 1 10.0.0.1 5 typ host", None, None),
        ] {
            assert_eq!(usable(line, Mode::HalfProxy), half, "{line}");
            assert_eq!(usable(line, Mode::Transparent), transparent, "{line}");
        }
    }
}
