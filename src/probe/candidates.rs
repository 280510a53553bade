//! \[pure\] The server's candidates: which can be tried over which transport, and what their addresses give away.
//!
//! It opens nothing and resolves nothing.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::facts::{PathFacts, PathState, Scope, Transport};
use super::journal::clean;
use crate::config::blocked_ports;
use crate::sdp::candidate::{Candidate, Host, Kind, TcpType};
use crate::sdp::{self, Description};

/// Most candidates that are tried over one transport: the edge takes eight addresses of a client, and a host with more
/// is told by these.
pub(super) const MOST: usize = 8;

/// A candidate of the server that can be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) host: RemoteHost,
    pub(super) port: u16,
    pub(super) tcp: bool,
    pub(super) kind: &'static str,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RemoteHost {
    Ip(IpAddr),
    Name(String),
}

/// What the server offers, in its order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remotes {
    pub(super) list: Vec<Remote>,
    /// Whether it said that no more come.
    pub(super) complete: bool,
}

impl Remotes {
    /// Those of an answer.
    pub(super) fn of(answer: &Description<'_>) -> Remotes {
        let mut remotes = Remotes::default();
        for (_, candidate) in &answer.candidates {
            remotes.add(candidate);
        }
        remotes.complete = answer.sections.iter().any(|section| section.end_of_candidates);
        remotes
    }

    /// One more, as a trickle message has it.
    pub(super) fn add_line(&mut self, line: &str) {
        match Candidate::parse(line) {
            Ok(candidate) => self.add(&candidate),
            // Some end the list with an empty one.
            Err(_) if line.trim().is_empty() => self.complete = true,
            Err(_) => {}
        }
    }

    /// Those for `transport`, at most [`MOST`].
    pub(super) fn over(&self, transport: Transport) -> Vec<Remote> {
        let tcp = transport != Transport::Udp;
        self.list.iter().filter(|remote| remote.tcp == tcp).take(MOST).cloned().collect()
    }

    fn add(&mut self, candidate: &Candidate<'_>) {
        let tcp = match candidate.transport {
            sdp::candidate::Transport::Udp => false,
            // An active one has no port to dial.
            sdp::candidate::Transport::Tcp if candidate.tcp != Some(TcpType::Active) => true,
            _ => return,
        };
        if candidate.component != 1 || candidate.port == 0 || self.list.len() >= sdp::MAX_CANDIDATES {
            return;
        }
        let host = match candidate.host {
            Host::Ip(ip) => RemoteHost::Ip(ip),
            Host::Name(name) => RemoteHost::Name(clean(name)),
        };
        let remote = Remote { host, port: candidate.port, tcp, kind: kind(candidate.kind) };
        let known =
            |other: &Remote| (&other.host, other.port, other.tcp) == (&remote.host, remote.port, remote.tcp);
        if !self.list.iter().any(known) {
            self.list.push(remote);
        }
    }
}

impl Remote {
    /// A row about it, with nothing tried yet.
    pub(super) fn row(&self, signalling: IpAddr) -> PathFacts {
        let (candidate, scope, same) = match &self.host {
            RemoteHost::Ip(ip) => (
                SocketAddr::new(*ip, self.port).to_string(),
                scope(*ip),
                ip.to_canonical() == signalling.to_canonical(),
            ),
            RemoteHost::Name(name) => (format!("{name}:{}", self.port), Scope::Name, false),
        };
        let private = matches!(scope, Scope::Private | Scope::Loopback);
        PathFacts {
            candidate,
            kind: self.kind,
            scope,
            same_address_as_signalling: same,
            browsers: blocked_ports::objection(self.port, private),
            checks_sent: 0,
            checks_answered: 0,
            rtt_ms: None,
            connect_ms: None,
            state: PathState::Skipped,
            detail: None,
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Host => "host",
        Kind::ServerReflexive => "srflx",
        Kind::PeerReflexive => "prflx",
        Kind::Relayed => "relay",
        Kind::Other => "other",
    }
}

/// Where an address is valid.
pub(super) fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        IpAddr::V4(v4) => match v4.octets() {
            [127, ..] => Scope::Loopback,
            [169, 254, ..] => Scope::LinkLocal,
            [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Scope::Private,
            [0, ..] | [224..=255, ..] => Scope::Unusable,
            _ if v4.is_documentation() => Scope::Unusable,
            _ => Scope::Public,
        },
        IpAddr::V6(v6) => scope_of_six(v6),
    }
}

fn scope_of_six(v6: Ipv6Addr) -> Scope {
    match v6.segments() {
        _ if v6.is_loopback() => Scope::Loopback,
        _ if v6.is_unspecified() || v6.is_multicast() => Scope::Unusable,
        [0x2001, 0xdb8, ..] => Scope::Unusable,
        [0xfe80..=0xfebf, ..] => Scope::LinkLocal,
        [0xfc00..=0xfdff, ..] => Scope::Private,
        _ => Scope::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_counts_once_and_only_if_it_can_be_dialled() {
        let mut remotes = Remotes::default();
        for line in [
            "candidate:1 1 udp 1 192.0.2.1 6001 typ host",
            "candidate:1 1 udp 1 192.0.2.1 6001 typ host",
            "candidate:1 2 udp 1 192.0.2.1 6002 typ host",
            "candidate:2 1 tcp 1 192.0.2.1 9 typ host tcptype active",
            "candidate:2 1 tcp 1 192.0.2.1 0 typ host tcptype passive",
            "candidate:2 1 tcp 1 192.0.2.1 6001 typ host tcptype passive",
            "candidate:3 1 udp 1 x.local 6001 typ srflx",
            "candidate:3 1 sctp 1 192.0.2.1 6001 typ host",
            "nonsense",
        ] {
            remotes.add_line(line);
        }
        assert_eq!(remotes.over(Transport::Udp).len(), 2);
        assert_eq!(remotes.over(Transport::Tcp), remotes.over(Transport::Tls));
        assert_eq!(remotes.over(Transport::Tcp).len(), 1);
        assert!(!remotes.complete);
        remotes.add_line("");
        assert!(remotes.complete);
    }

    #[test]
    fn a_row_says_what_the_address_gives_away() {
        let mut remotes = Remotes::default();
        remotes.add_line("candidate:1 1 udp 1 10.0.0.5 6000 typ host");
        let row = remotes.list[0].row("203.0.113.7".parse().unwrap());
        assert_eq!((row.scope, row.same_address_as_signalling), (Scope::Private, false));
        assert!(row.browsers.is_some());
        let row = remotes.list[0].row("::ffff:10.0.0.5".parse().unwrap());
        assert!(row.same_address_as_signalling);
    }

    #[test]
    fn addresses_are_told_by_where_they_are_valid() {
        for (text, expected) in [
            ("127.0.0.1", Scope::Loopback),
            ("10.1.2.3", Scope::Private),
            ("172.31.0.1", Scope::Private),
            ("172.32.0.1", Scope::Public),
            ("100.64.0.1", Scope::Private),
            ("169.254.1.1", Scope::LinkLocal),
            ("0.0.0.0", Scope::Unusable),
            ("192.0.2.1", Scope::Unusable),
            ("8.8.8.8", Scope::Public),
            ("::1", Scope::Loopback),
            ("fe80::1", Scope::LinkLocal),
            ("fd00::1", Scope::Private),
            ("2001:db8::1", Scope::Unusable),
            ("2a00::1", Scope::Public),
            ("::ffff:10.0.0.1", Scope::Private),
        ] {
            assert_eq!(scope(text.parse().unwrap()), expected, "{text}");
        }
    }
}
