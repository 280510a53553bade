//! \[pure\] Upstream URLs from text. A URL with a user or password is refused: it would end up in logs.

use std::fmt;
use std::net::Ipv6Addr;

use super::addr::{host_name, number};
use super::{Scheme, ServerUrl};

impl Scheme {
    fn from_text(text: &str) -> Option<(Scheme, u16)> {
        let text = text.to_ascii_lowercase();
        Some(match text.as_str() {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            "ws" => (Scheme::Ws, 80),
            "wss" => (Scheme::Wss, 443),
            _ => return None,
        })
    }

    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }

    /// Whether it carries upgrades.
    pub fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }

    /// Whether it is TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Wss)
    }
}

/// As it would be written in `routes.yml`, the port always shown.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerUrl { scheme, host, port, path, query } = self;
        let scheme = scheme.as_str();
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")?;
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")?;
        }
        if query.is_empty() { Ok(()) } else { write!(f, "?{query}") }
    }
}

/// A parsed URL, and whether it named a port itself.
pub(super) struct ParsedUrl {
    pub(super) url: ServerUrl,
    pub(super) port_given: bool,
}

/// `scheme://host[:port][/path][?query]`.
pub(super) fn server_url(text: &str) -> Option<ParsedUrl> {
    let (scheme, rest) = text.split_once("://")?;
    let (scheme, default_port) = Scheme::from_text(scheme)?;
    let clean = rest.bytes().all(|b| b.is_ascii_graphic() && !b"#\\\"<>".contains(&b));
    if !clean {
        return None;
    }
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path_at = before_query.find('/').unwrap_or(before_query.len());
    let (authority, path) = before_query.split_at(path_at);
    let (host, port) = split_authority(authority)?;
    Some(ParsedUrl {
        url: ServerUrl {
            scheme,
            host,
            port: port.unwrap_or(default_port),
            path: path.trim_end_matches('/').to_owned(),
            query: query.to_owned(),
        },
        port_given: port.is_some(),
    })
}

fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, behind) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            (host.parse::<Ipv6Addr>().ok()?.to_string(), behind)
        }
        None => {
            let colon = authority.find(':').unwrap_or(authority.len());
            let (host, behind) = authority.split_at(colon);
            (ipv4_or_name(host)?, behind)
        }
    };
    match behind.strip_prefix(':') {
        Some(port) => Some((host, Some(number::<u16>(port).filter(|port| *port > 0)?))),
        None => behind.is_empty().then_some((host, None)),
    }
}

fn ipv4_or_name(host: &str) -> Option<String> {
    match host.parse::<std::net::Ipv4Addr>() {
        Ok(ip) => Some(ip.to_string()),
        Err(_) => host_name(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_as_written_with_the_default_port_filled_in() {
        for (text, shown) in [
            ("http://127.0.0.1:8088", "http://127.0.0.1:8088"),
            ("ws://janus_api:8188/", "ws://janus_api:8188"),
            ("https://UMS_api", "https://ums_api:443"),
            ("WSS://a.example/x/y/?k=v&z", "wss://a.example:443/x/y?k=v&z"),
            ("http://[2001:DB8::1]:80", "http://[2001:db8::1]:80"),
            ("http://[::1]?q", "http://[::1]:80?q"),
        ] {
            assert_eq!(
                server_url(text).map(|parsed| parsed.url.to_string()).as_deref(),
                Some(shown),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "http://",
            "127.0.0.1:8088",
            "ftp://a",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://u:p@a",
            "http://a b",
            "http://a/#x",
            "http://[::1",
            "http://::1",
            "http://a:80:80",
            "http://é",
            "http:/a",
            "http://1.2.3",
            "http://[1.2.3.4]",
        ] {
            assert!(server_url(text).is_none(), "{text:?}");
        }
    }
}
