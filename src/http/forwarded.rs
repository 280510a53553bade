//! \[pure\] What an upstream is told about the client (xrtc.md §2.1).
//!
//! A trusted proxy in front of the edge is believed and its chain is continued; from anyone else every forwarding header
//! is replaced, so no client chooses the address it is seen with.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use hyper::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};

use crate::config::IpNet;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How a client's connection reached the edge.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The edge's end.
    pub local: SocketAddr,
    /// Set when the connection is TLS.
    pub tls: Option<TlsFacts>,
}

/// What was negotiated, as the `Forwarded` header names it.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// Such as `tls13`.
    pub version: &'static str,
    /// Such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: String,
}

/// The client's address: the socket's, unless a trusted proxy names another one.
///
/// `X-Forwarded-For` is read from its end, where the proxies themselves wrote; the first address there that is no trusted
/// proxy is the client's. `X-Real-Ip` counts where there is no `X-Forwarded-For`.
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(ip));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = None;
    for hop in chain(headers).rev() {
        let Some(ip) = hop else { break };
        client = Some(ip);
        if !is_trusted(ip) {
            break;
        }
    }
    client.or_else(|| headers.get(X_REAL_IP).and_then(address)).unwrap_or(peer)
}

/// Sets the forwarding headers of a request to an upstream; `fresh_id` is used when the request has no id yet.
pub(super) fn set_forwarded(
    headers: &mut HeaderMap,
    arrival: &Arrival,
    trusted: &[IpNet],
    fresh_id: impl FnOnce() -> HeaderValue,
) {
    let peer = arrival.peer.ip().to_canonical();
    let client = client_ip(peer, headers, trusted);
    if !trusted.iter().any(|net| net.contains(peer)) {
        forget_forwarded(headers);
    }
    append(headers, X_FORWARDED_FOR, &peer.to_string());
    append(headers, FORWARDED, &forwarded_element(peer, arrival));
    insert(headers, X_REAL_IP, &client.to_string());
    set_default(headers, X_FORWARDED_PROTO, || HeaderValue::from_static(proto(arrival)));
    set_default(headers, X_FORWARDED_PORT, || HeaderValue::from(arrival.local.port()));
    if let Some(host) = headers.get(HOST).cloned() {
        set_default(headers, X_FORWARDED_HOST, || host);
    }
    set_default(headers, X_REQUEST_ID, fresh_id);
}

/// A version 4 UUID (RFC 9562 §5.4) made of `random`.
pub(super) fn request_id(random: [u8; 16]) -> HeaderValue {
    let mut id = u128::from_be_bytes(random);
    id = id & !(0xf << 76) | 4 << 76;
    id = id & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{id:032x}");
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}

fn forget_forwarded(headers: &mut HeaderMap) {
    let named = |name: &&HeaderName| name.as_str().starts_with("x-forwarded-");
    let names: Vec<HeaderName> = headers.keys().filter(named).cloned().collect();
    for name in names.iter().chain(&[FORWARDED, X_REAL_IP]) {
        headers.remove(name);
    }
}

/// One element of `Forwarded` (RFC 7239 §4); an IPv6 address and a version with a slash need quotes.
fn forwarded_element(peer: IpAddr, arrival: &Arrival) -> String {
    let mut element = match peer {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    };
    let _ = write!(element, "; proto={}; httpproto=\"http/1.1\"", proto(arrival));
    if let Some(tls) = &arrival.tls {
        let _ = write!(element, "; tlsver={}; tlscipher={}", tls.version, tls.cipher);
    }
    element
}

fn proto(arrival: &Arrival) -> &'static str {
    if arrival.tls.is_some() { "https" } else { "http" }
}

/// The addresses of `X-Forwarded-For`, `None` where an entry is none.
fn chain(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = Option<IpAddr>> {
    let values = headers.get_all(X_FORWARDED_FOR).into_iter().map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).map(|entry| parse_address(entry.trim()))
}

fn address(value: &HeaderValue) -> Option<IpAddr> {
    parse_address(value.to_str().ok()?.trim())
}

/// Some proxies write the port too.
fn parse_address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|addr| addr.ip());
    text.parse().ok().or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

fn append(headers: &mut HeaderMap, name: HeaderName, own: &str) {
    let mut list: Vec<&str> = headers.get_all(&name).into_iter().filter_map(|v| v.to_str().ok()).collect();
    list.push(own);
    let joined = list.join(", ");
    insert(headers, name, &joined);
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn set_default(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> HeaderValue) {
    headers.entry(name).or_insert_with(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_forwarding_headers_are_replaced() {
        let mut headers = map(&[
            ("host", "edge.example.org:8443"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-request-id", "mine"),
        ]);
        set_forwarded(&mut headers, &arrival("198.51.100.7:5000"), &[], || HeaderValue::from_static("new"));
        for (name, expected) in [
            ("x-forwarded-for", "198.51.100.7"),
            ("x-real-ip", "198.51.100.7"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-host", "edge.example.org:8443"),
            ("forwarded", "for=198.51.100.7; proto=http; httpproto=\"http/1.1\""),
            ("x-request-id", "mine"),
        ] {
            assert_eq!(headers[name], expected, "{name}");
        }
        assert!(!headers.contains_key("x-forwarded-prefix"));
    }

    #[test]
    fn a_trusted_proxys_chain_is_continued() {
        let mut headers = map(&[
            ("host", "h"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "198.51.100.1, 10.0.0.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example.org"),
            ("forwarded", "for=198.51.100.1"),
        ]);
        set_forwarded(&mut headers, &arrival("10.0.0.2:5000"), &ten(), || HeaderValue::from_static("new"));
        for (name, expected) in [
            ("x-forwarded-for", "203.0.113.9, 198.51.100.1, 10.0.0.3, 10.0.0.2"),
            ("x-real-ip", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example.org"),
            ("forwarded", "for=198.51.100.1, for=10.0.0.2; proto=http; httpproto=\"http/1.1\""),
            ("x-request-id", "new"),
        ] {
            assert_eq!(headers[name], expected, "{name}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_the_client() {
        for (peer, headers, expected) in [
            ("192.0.2.1", &[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "2.2.2.2")][..], "192.0.2.1"),
            ("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1")][..], "1.1.1.1"),
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:99")][..], "2001:db8::1"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, garbage")][..], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "10.0.0.9, 10.0.0.8")][..], "10.0.0.9"),
            ("10.0.0.1", &[("x-real-ip", "2.2.2.2")][..], "2.2.2.2"),
            ("10.0.0.1", &[][..], "10.0.0.1"),
        ] {
            let found = client_ip(peer.parse().unwrap(), &map(headers), &ten());
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
        }
    }

    #[test]
    fn an_ipv6_client_and_tls_are_spelled_as_rfc_7239_wants() {
        let tls = Some(TlsFacts { version: "tls13", cipher: "AES".to_owned() });
        let arrival = Arrival { tls, ..arrival("[2001:db8::1]:5000") };
        let mut headers = HeaderMap::new();
        set_forwarded(&mut headers, &arrival, &[], || HeaderValue::from_static("new"));
        let expected =
            "for=\"[2001:db8::1]\"; proto=https; httpproto=\"http/1.1\"; tlsver=tls13; tlscipher=AES";
        assert_eq!(headers["forwarded"], expected);
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn a_request_id_is_a_version_4_uuid() {
        assert_eq!(request_id([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(request_id([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    fn arrival(peer: &str) -> Arrival {
        let local = "192.0.2.1:8443".parse().unwrap();
        Arrival { peer: peer.parse().unwrap(), local, tls: None }
    }

    fn ten() -> [IpNet; 1] {
        [IpNet { addr: "10.0.0.0".parse().unwrap(), prefix: 8 }]
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }
}
