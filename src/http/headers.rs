//! \[pure\] Which headers end at this hop, and what makes a request an upgrade. Never touches bodies.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request};

/// RFC 9110 §7.6.1 and what practice adds to it.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    hyper::header::PROXY_AUTHENTICATE,
    hyper::header::PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what is meant for this hop alone: the well-known names and those that `Connection` lists.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        // Whoever lists these tries to make the next hop see another request than this one.
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether a request asks to become a WebSocket (RFC 6455 §4.2.1).
pub(super) fn is_websocket_upgrade<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET && is_websocket(request.headers())
}

/// Whether `Connection` and `Upgrade` speak of a WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let lists =
        |name: &HeaderName, wanted: &str| tokens(headers, name).any(|t| t.eq_ignore_ascii_case(wanted));
    lists(&CONNECTION, "upgrade") && lists(&UPGRADE, "websocket")
}

/// Puts the two headers of an upgrade back, for the next hop.
pub(super) fn set_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// The subprotocols that an upgrade offers, in its order.
pub(super) fn offered_protocols(headers: &HeaderMap) -> Vec<&str> {
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL).collect()
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_this_hop_and_those_that_connection_lists_are_removed() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("connection", "content-length, host"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "h"),
            ("content-length", "5"),
            ("x-other", "2"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-other"]);
    }

    #[test]
    fn an_upgrade_is_known_whatever_its_case_and_company() {
        for (connection, upgrade, expected) in [
            ("Upgrade", "websocket", true),
            ("keep-alive, Upgrade", "WebSocket", true),
            ("keep-alive", "websocket", false),
            ("upgrade", "h2c", false),
        ] {
            let headers = map(&[("connection", connection), ("upgrade", upgrade)]);
            assert_eq!(is_websocket(&headers), expected, "{connection} / {upgrade}");
        }
    }

    #[test]
    fn offered_protocols_may_stand_in_several_headers() {
        let headers = map(&[("sec-websocket-protocol", "a, b"), ("sec-websocket-protocol", "c")]);
        assert_eq!(offered_protocols(&headers), ["a", "b", "c"]);
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }
}
