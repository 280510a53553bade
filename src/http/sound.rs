//! \[pure\] Which requests the edge passes on at all: none that two servers would read differently, and none whose path
//! leads out of the route that it was let in by. Never looks at what a request is for.

use hyper::header::{HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Version};

use super::headers::is_websocket_upgrade;

/// `Err`: why a request with this head is refused.
pub(super) fn check<B>(request: &Request<B>, has_body: bool) -> Result<(), &'static str> {
    let headers = request.headers();
    // RFC 9112 §3.2: whoever sends two wants two servers to disagree about the target.
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => return Err(ONE_HOST),
        (_, Some(_)) => return Err(ONE_HOST),
        (Some(host), None) if !is_host(host) => {
            return Err("Host is not a name or address with or without a port");
        }
        _ => {}
    }
    if request.method() == Method::CONNECT {
        return Err("this is no forward proxy");
    }
    if !is_chunked_alone(headers) {
        return Err("a Transfer-Encoding other than chunked");
    }
    // The upstream would wait for a body, and take the first messages for it.
    if has_body && is_websocket_upgrade(request) {
        return Err("a WebSocket upgrade has no body");
    }
    Ok(())
}

const ONE_HOST: &str = "a request has exactly one Host";

/// RFC 9110 §7.2. Nothing at all is what is sent for a target without authority.
fn is_host(host: &HeaderValue) -> bool {
    host.is_empty() || !host.as_bytes().contains(&b'@') && Authority::try_from(host.as_bytes()).is_ok()
}

/// RFC 9112 §6.1: any other coding would be taken off the body's description and left on the body.
fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TRANSFER_ENCODING);
    codings.iter().count() <= 1
        && codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Whether an upstream could take a raw path for one that lies above where it begins: a segment `..` in any encoding, or with
/// what some servers cut off behind a `;`. Browsers resolve it before they ask.
pub(super) fn climbs(path: &str) -> bool {
    if !path.contains("..") && !path.contains('%') {
        return false;
    }
    let mut plain = path.replace('\\', "/");
    for (encoded, character) in
        [("%2e", "."), ("%2E", "."), ("%2f", "/"), ("%2F", "/"), ("%5c", "/"), ("%5C", "/")]
    {
        plain = plain.replace(encoded, character);
    }
    plain.split('/').any(|segment| segment.split(';').next() == Some(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_climbs_by_a_segment_of_two_dots_however_it_is_written() {
        for path in [
            "/a/..",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a%2f..%2Fb",
            "/a/..\\b",
            "/a%5c..",
            "/a/..;x=1/b",
        ] {
            assert!(climbs(path), "{path}");
        }
        for path in
            ["/", "/a/...", "/a..b/c", "/a/.b/.", "/%2e/a", "/a;..", "/a/%2e%2", "/a%252e%252e/b", "/100%"]
        {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in ["a", "A.example:443", "192.0.2.1:80", "[2001:db8::1]:8443", "a.example.", "a_b", ""] {
            assert!(is_host(&HeaderValue::from_static(host)), "{host}");
        }
        for host in ["a b", "a/b", "u@a", "a?b", "a#b", "[::1"] {
            assert!(!is_host(&HeaderValue::from_static(host)), "{host}");
        }
    }
}
