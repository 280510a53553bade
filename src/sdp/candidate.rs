//! Reads ICE candidates as SDP and trickle messages carry them (RFC 8839 §5.1, RFC 6544 §4.5), and writes the edge's own.
//!
//! It never resolves a name: a host that is not an address stays a name, and who reads it decides.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

/// A candidate, borrowed from the line it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Groups candidates of one base.
    pub foundation: &'a str,
    /// 1 for RTP and everything that is muxed with it.
    pub component: u16,
    /// What carries it.
    pub transport: Transport,
    /// RFC 8445 §5.1.2.
    pub priority: u32,
    /// Address or name.
    pub host: Host<'a>,
    /// 0 and 9 are placeholders of active TCP candidates.
    pub port: u16,
    /// `typ`.
    pub kind: Kind,
    /// `tcptype`.
    pub tcp: Option<TcpType>,
}

/// What carries a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `udp`.
    Udp,
    /// `tcp`.
    Tcp,
    /// Anything else; nobody here can use it.
    Other,
}

/// Where a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A host name, such as the `.local` names of browsers.
    Name(&'a str),
}

/// How a candidate was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `host`.
    Host,
    /// `srflx`.
    ServerReflexive,
    /// `prflx`.
    PeerReflexive,
    /// `relay`.
    Relayed,
    /// An extension.
    Other,
}

/// RFC 6544 §4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpType {
    /// Dials.
    Active,
    /// Is dialled.
    Passive,
    /// Simultaneous open.
    SimultaneousOpen,
}

/// Why a line is not a candidate.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CandidateError {
    /// The line does not begin with `candidate:`.
    #[error("expected a line that begins with `candidate:`")]
    Prefix,
    /// The line ends too early.
    #[error("candidate ends before its {0}")]
    Missing(&'static str),
    /// A field has a value that it cannot have.
    #[error("candidate has a bad {0}")]
    Bad(&'static str),
}

impl<'a> Candidate<'a> {
    /// Reads `candidate:…`, with or without `a=`, in any case.
    pub fn parse(line: &'a str) -> Result<Self, CandidateError> {
        let line = line.trim();
        let line = strip_prefix(line, "a=").unwrap_or(line);
        let fields = strip_prefix(line, "candidate:").ok_or(CandidateError::Prefix)?;
        let mut fields = fields.split_ascii_whitespace();
        let mut field = |name| fields.next().ok_or(CandidateError::Missing(name));

        let foundation = field("foundation")?;
        let component = number(field("component")?, "component")?;
        let transport = transport(field("transport")?);
        let priority = number(field("priority")?, "priority")?;
        let host = host(field("address")?);
        let port = number(field("port")?, "port")?;
        if !field("typ")?.eq_ignore_ascii_case("typ") {
            return Err(CandidateError::Bad("typ"));
        }
        let kind = kind(field("type")?);
        let tcp = tcp_type(fields)?;
        Ok(Candidate { foundation, component, transport, priority, host, port, kind, tcp })
    }

    /// The address, where it has one.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

/// The line (without `a=`) that publishes one address of the edge, number `index` of its list (xrtc.md §6: one host
/// candidate per address, UDP above TCP).
pub fn edge_line(index: usize, transport: Transport, addr: SocketAddr) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    match transport {
        Transport::Tcp => {
            format!("candidate:{index} 1 tcp {EDGE_TCP_PRIORITY} {ip} {port} typ host tcptype passive")
        }
        _ => format!("candidate:{index} 1 udp {EDGE_UDP_PRIORITY} {ip} {port} typ host"),
    }
}

const EDGE_UDP_PRIORITY: u32 = 2_013_266_431;
const EDGE_TCP_PRIORITY: u32 = 1_010_827_775;

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn number<T: std::str::FromStr>(text: &str, name: &'static str) -> Result<T, CandidateError> {
    text.parse().map_err(|_| CandidateError::Bad(name))
}

fn transport(text: &str) -> Transport {
    match text {
        _ if text.eq_ignore_ascii_case("udp") => Transport::Udp,
        _ if text.eq_ignore_ascii_case("tcp") => Transport::Tcp,
        _ => Transport::Other,
    }
}

fn host(text: &str) -> Host<'_> {
    text.parse().map_or(Host::Name(text), Host::Ip)
}

fn kind(text: &str) -> Kind {
    match text {
        _ if text.eq_ignore_ascii_case("host") => Kind::Host,
        _ if text.eq_ignore_ascii_case("srflx") => Kind::ServerReflexive,
        _ if text.eq_ignore_ascii_case("prflx") => Kind::PeerReflexive,
        _ if text.eq_ignore_ascii_case("relay") => Kind::Relayed,
        _ => Kind::Other,
    }
}

/// What follows the type are pairs of name and value, in any order.
fn tcp_type<'a>(mut extensions: impl Iterator<Item = &'a str>) -> Result<Option<TcpType>, CandidateError> {
    while let (Some(name), Some(value)) = (extensions.next(), extensions.next()) {
        if !name.eq_ignore_ascii_case("tcptype") {
            continue;
        }
        return match value {
            _ if value.eq_ignore_ascii_case("active") => Ok(Some(TcpType::Active)),
            _ if value.eq_ignore_ascii_case("passive") => Ok(Some(TcpType::Passive)),
            _ if value.eq_ignore_ascii_case("so") => Ok(Some(TcpType::SimultaneousOpen)),
            _ => Err(CandidateError::Bad("tcptype")),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_janus_and_of_browsers_are_read() {
        let udp = Candidate::parse("a=candidate:1 1 udp 2015363327 10.77.0.1 20900 typ host").unwrap();
        assert_eq!(udp.addr(), Some("10.77.0.1:20900".parse().unwrap()));
        assert_eq!((udp.component, udp.priority, udp.kind), (1, 2_015_363_327, Kind::Host));

        let passive = "candidate:3 1 tcp 1010827519 10.77.0.1 20509 typ host tcptype passive";
        assert_eq!(Candidate::parse(passive).unwrap().tcp, Some(TcpType::Passive));

        let chrome = "candidate:842163049 1 UDP 1677729535 2001:db8::7 61764 TYP srflx raddr 10.0.0.2 rport 61764 \
                      generation 0 ufrag Vxpl network-cost 999";
        let chrome = Candidate::parse(chrome).unwrap();
        assert_eq!((chrome.transport, chrome.kind), (Transport::Udp, Kind::ServerReflexive));
        assert_eq!(chrome.addr(), Some("[2001:db8::7]:61764".parse().unwrap()));

        let mdns = "CANDIDATE:0 1 udp 2122252543 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 34567 typ host";
        let mdns = Candidate::parse(mdns).unwrap();
        assert_eq!(mdns.host, Host::Name("9b36eaac-bb2e-49bb-bb78-21c41c499900.local"));
        assert_eq!(mdns.addr(), None);
    }

    #[test]
    fn a_bad_candidate_is_told_by_its_field() {
        for (line, error) in [
            ("", CandidateError::Prefix),
            ("a=mid:0", CandidateError::Prefix),
            ("candidate:1 1 udp", CandidateError::Missing("priority")),
            ("candidate:1 x udp 1 1.2.3.4 5 typ host", CandidateError::Bad("component")),
            ("candidate:1 1 udp 99999999999 1.2.3.4 5 typ host", CandidateError::Bad("priority")),
            ("candidate:1 1 udp 1 1.2.3.4 65536 typ host", CandidateError::Bad("port")),
            ("candidate:1 1 udp 1 1.2.3.4 5 host", CandidateError::Bad("typ")),
            ("candidate:1 1 tcp 1 1.2.3.4 5 typ host tcptype sideways", CandidateError::Bad("tcptype")),
        ] {
            assert_eq!(Candidate::parse(line), Err(error), "{line}");
        }
    }

    #[test]
    fn the_edge_publishes_host_candidates_udp_above_tcp() {
        assert_eq!(
            edge_line(1, Transport::Udp, "192.0.2.1:6000".parse().unwrap()),
            "candidate:1 1 udp 2013266431 192.0.2.1 6000 typ host"
        );
        assert_eq!(
            edge_line(2, Transport::Tcp, "[2001:db8::1]:6000".parse().unwrap()),
            "candidate:2 1 tcp 1010827775 2001:db8::1 6000 typ host tcptype passive"
        );
    }
}
