//! The header that a load balancer puts in front of a connection to say whose it is (PROXY protocol, versions 1 and 2).
//!
//! Only asked where `net.proxy_protocol` is set, and then the header must be there: one that may be missing is one that a
//! client may write itself.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};

/// Longest header taken. Addresses need 52 bytes; the rest is room for what balancers add.
pub(super) const LONGEST: usize = 2048;
const SIGNATURES: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n"];

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Client and the address that it connected to; `None` where the balancer speaks for itself.
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Its length in bytes.
    pub(super) len: usize,
}

/// There is no header where one must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header")]
pub(super) struct NoHeader;

/// Reads the header that `bytes` start with; `None` while it is not whole.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let possible = |signature: &&[u8]| bytes.iter().zip(*signature).all(|(byte, expected)| byte == expected);
    if !SIGNATURES.iter().any(possible) {
        return Err(NoHeader);
    }
    match ProxyHeader::parse(bytes, ParseConfig::default()) {
        Ok((header, len)) => {
            let addresses = header.proxied_address().map(|address| (address.source, address.destination));
            Ok(Some(Header { addresses, len }))
        }
        Err(Error::BufferTooShort) if bytes.len() < LONGEST => Ok(None),
        Err(_) => Err(NoHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &[u8] =
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0f\xc0\x00\x02\x07\xcb\x00\x71\x01\xc8\x01\x01\xbb\x04\x00\x00";

    /// A header, and client and edge as it names them.
    type Sample = (Vec<u8>, Option<(&'static str, &'static str)>);

    fn headers() -> Vec<Sample> {
        let mut v6 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24".to_vec();
        for ip in ["2001:db8::7", "2001:db8::1"] {
            v6.extend(ip.parse::<std::net::Ipv6Addr>().expect("an address").octets());
        }
        v6.extend([0xc8, 0x01, 0x01, 0xbb]);
        vec![
            (
                b"PROXY TCP4 192.0.2.7 203.0.113.1 51201 443\r\n".to_vec(),
                Some(("192.0.2.7:51201", "203.0.113.1:443")),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 51201 443\r\n".to_vec(),
                Some(("[2001:db8::7]:51201", "[2001:db8::1]:443")),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (V2.to_vec(), Some(("192.0.2.7:51201", "203.0.113.1:443"))),
            (v6, Some(("[2001:db8::7]:51201", "[2001:db8::1]:443"))),
            (b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00".to_vec(), None),
        ]
    }

    #[test]
    fn both_versions_are_read_in_any_pieces_and_leave_what_follows() {
        for (bytes, addresses) in headers() {
            for len in 0..bytes.len() {
                assert_eq!(header(&bytes[..len]), Ok(None), "{len} bytes of {bytes:?}");
            }
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            let addresses = addresses.map(|(from, to)| (parse(from), parse(to)));
            let whole = Header { addresses, len: bytes.len() };
            assert_eq!(header(&[&bytes[..], b"GET / HTTP/1.1"].concat()), Ok(Some(whole)));
        }
    }

    #[test]
    fn anything_else_is_refused_as_soon_as_it_differs() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"PROXX", b"\r\n\r\n\x01", b"\x16\x03\x01", b"\x00"] {
            assert_eq!(header(bytes), Err(NoHeader));
        }
    }

    #[test]
    fn hostile_headers_are_refused_or_wait_below_the_limit() {
        for (bytes, _) in headers() {
            for at in 0..bytes.len() {
                for value in 0..=255 {
                    let mut bytes = bytes.clone();
                    bytes[at] = value;
                    let _ = header(&bytes);
                }
            }
        }
        let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; LONGEST]].concat();
        assert_eq!(header(&endless), Err(NoHeader));
        let large = [b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff".to_vec(), vec![0; LONGEST]].concat();
        assert_eq!(header(&large), Err(NoHeader));
    }
}
