//! \[pure\] Addresses, blocks, port ranges and candidate hosts from text. Nothing is resolved here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::{CandidateHost, IpNet};

/// What to write where a listen address is expected.
pub(super) const A_LISTEN_ADDRESS: &str = "\"ip:port\", \":port\" or \"[ipv6]:port\"";
/// What to write where a block is expected.
pub(super) const A_BLOCK: &str = "an IP address or a block such as 10.0.0.0/8";
/// What to write where a candidate host is expected.
pub(super) const A_CANDIDATE_HOST: &str = "an IP address, a host name or candidate_host_ip";
/// What to write where ports are expected.
pub(super) const A_PORT_RANGE: &str = "a range of ports such as 40000-50000";

/// `ip:port`, `[v6]:port`, or `:port` for all IPv4 addresses.
pub(super) fn listen(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        return Some((Ipv4Addr::UNSPECIFIED, number(port)?).into());
    }
    text.parse().ok()
}

/// An address, or a block in CIDR notation with no bit set behind the prefix.
pub(super) fn block(text: &str) -> Option<IpNet> {
    let Some((addr, prefix)) = text.split_once('/') else {
        let addr: IpAddr = text.parse().ok()?;
        return Some(IpNet { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } });
    };
    let net = IpNet { addr: addr.parse().ok()?, prefix: number(prefix)? };
    let fits = match net.addr {
        IpAddr::V4(ip) => net.prefix <= 32 && u32::from(ip).checked_shl(net.prefix.into()).unwrap_or(0) == 0,
        IpAddr::V6(ip) => {
            net.prefix <= 128 && u128::from(ip).checked_shl(net.prefix.into()).unwrap_or(0) == 0
        }
    };
    fits.then_some(net)
}

/// `first-last`, or one port.
pub(super) fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first > 0 && first <= last).then_some(first..=last)
}

/// An entry of `candidate_ips`.
pub(super) fn candidate_host(text: &str) -> Option<CandidateHost> {
    if matches!(text, "candidate_host_ip" | "auto") {
        return Some(CandidateHost::HostInterface);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return (!ip.is_unspecified() && !ip.is_multicast()).then_some(CandidateHost::Ip(ip));
    }
    host_name(text).map(CandidateHost::Name)
}

/// A host name in lower case. Underscores are no DNS, but container names have them.
pub(super) fn host_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // All digits and dots was meant to be an address, and is not one.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (name.len() <= 253 && !numeric && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
}

/// Decimal digits alone.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_read_as_written() {
        for (text, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            (":6443", "0.0.0.0:6443"),
            ("[::]:6000", "[::]:6000"),
            ("[2001:db8::1]:0", "[2001:db8::1]:0"),
        ] {
            assert_eq!(listen(text), expected.parse().ok(), "{text}");
        }
        for text in [
            "",
            "80",
            ":",
            ":+80",
            ":65536",
            "localhost:80",
            "::1:80",
            "[::1]",
            "1.2.3.4",
            "1.2.3:80",
            " :80",
        ] {
            assert_eq!(listen(text), None, "{text:?}");
        }
    }

    #[test]
    fn blocks_must_be_exact() {
        assert_eq!(block("10.0.0.0/8"), Some(IpNet { addr: [10, 0, 0, 0].into(), prefix: 8 }));
        assert_eq!(block("0.0.0.0/0").map(|net| net.prefix), Some(0));
        assert_eq!(block("::/0").map(|net| net.prefix), Some(0));
        assert_eq!(block("192.0.2.1").map(|net| net.prefix), Some(32));
        assert_eq!(block("2001:db8::/32").map(|net| net.prefix), Some(32));
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10/8", "host/8", "10.0.0.0/-1"]
        {
            assert_eq!(block(text), None, "{text:?}");
        }
    }

    #[test]
    fn port_ranges_are_ascending() {
        assert_eq!(ports("40000-50000"), Some(40000..=50000));
        assert_eq!(ports("40000 - 50000"), Some(40000..=50000));
        assert_eq!(ports("6000"), Some(6000..=6000));
        for text in ["", "0-1", "2-1", "1-70000", "a-b", "1-2-3", "-5"] {
            assert_eq!(ports(text), None, "{text:?}");
        }
    }

    #[test]
    fn candidate_hosts_are_addresses_names_or_the_literal() {
        assert_eq!(candidate_host("candidate_host_ip"), Some(CandidateHost::HostInterface));
        assert_eq!(candidate_host("auto"), Some(CandidateHost::HostInterface));
        assert_eq!(candidate_host("203.0.113.7"), Some(CandidateHost::Ip([203, 0, 113, 7].into())));
        assert_eq!(candidate_host("Edge.example.org."), Some(CandidateHost::Name("edge.example.org".into())));
        for text in
            ["", "0.0.0.0", "224.0.0.1", "999.1.1.1", "1.2.3", "a b", "http://x", "x:1", "[::1]", ".", "a..b"]
        {
            assert_eq!(candidate_host(text), None, "{text:?}");
        }
    }
}
