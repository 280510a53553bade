//! What the command line of `xrtc probe` says, and the URL as it is meant. Decides what is bad usage; opens nothing.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::facts::Transport;

/// Connects to a media server like a browser, and says what works and why the rest does not.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Janus API (http, https, ws, wss) or WHIP endpoint (http, https), through an edge or straight
    #[arg(value_name = "URL")]
    pub url: Target,
    /// What the media goes over
    #[arg(long, value_enum, default_value = "all")]
    pub transport: Wanted,
    /// What speaks at the URL; auto asks
    #[arg(long, value_enum, default_value = "auto")]
    pub protocol: Protocol,
    /// The whole run ends within this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Janus token, or bearer token for WHIP
    #[arg(long, value_name = "TOKEN", env = "XRTC_PROBE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Janus API secret
    #[arg(long, value_name = "SECRET", env = "XRTC_PROBE_APISECRET", hide_env_values = true)]
    pub apisecret: Option<String>,
    /// Sent with every HTTP request and WebSocket upgrade; may be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(HeaderName, HeaderValue)>,
    /// Janus plugin that sends back what it gets
    #[arg(long, value_name = "NAME", default_value = "janus.plugin.echotest")]
    pub plugin: String,
    /// Go on when the TLS certificate is not trusted, and say what is wrong with it
    #[arg(long)]
    pub insecure: bool,
    /// Trust these certificate authorities (PEM) as well
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// One JSON object instead of text; see docs/probe.md
    #[arg(long)]
    pub json: bool,
    /// Probe again every SECONDS until stopped, one line for each run
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub watch: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  xrtc probe https://edge.example.org/janus            through an edge: UDP, TCP and TLS
  xrtc probe ws://192.0.2.7:8188                       straight at a Janus, over its WebSocket
  xrtc probe --transport tcp https://edge.example.org/janus
  xrtc probe --token t0k3n https://edge.example.org/whip/studio
  xrtc probe --insecure --json https://192.0.2.7:8443/janus | jq .verdict
  xrtc probe --watch 60 https://edge.example.org/janus

Exit codes: 0 works, 1 the probe cannot run, 2 bad usage, 3 signalling not reached, 4 signalling refuses,
5 no ICE path, 6 no DTLS, 7 media or data does not come back, 8 works in part, 9 out of time, 130 Ctrl-C.";

/// What `--transport` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// Each that the server offers
    All,
    /// UDP alone
    Udp,
    /// ICE over TCP alone
    Tcp,
    /// ICE over TCP inside TLS alone
    Tls,
}

impl Wanted {
    /// In the order in which they are tried.
    pub fn transports(self) -> &'static [Transport] {
        match self {
            Wanted::All => &[Transport::Udp, Transport::Tcp, Transport::Tls],
            Wanted::Udp => &[Transport::Udp],
            Wanted::Tcp => &[Transport::Tcp],
            Wanted::Tls => &[Transport::Tls],
        }
    }
}

/// What `--protocol` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// By the URL, and by what answers
    Auto,
    /// The Janus API
    Janus,
    /// WHIP (RFC 9725)
    Whip,
}

/// Where signalling is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether TLS comes first.
    pub tls: bool,
    /// Whether it is WebSocket.
    pub ws: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Said or implied.
    pub port: u16,
    /// From the first `/`, without one at its end.
    pub path: String,
    /// With its `?`, or empty.
    pub query: String,
    /// As in a Host header.
    pub authority: String,
}

impl Target {
    /// As it may be shown: what stands behind a `?` may be a secret.
    pub fn shown(&self) -> String {
        let scheme = match (self.ws, self.tls) {
            (false, false) => "http",
            (false, true) => "https",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// Whether a segment of the path says that this is WHIP.
    pub fn looks_like_whip(&self) -> bool {
        !self.ws && self.path.split('/').any(|segment| segment.eq_ignore_ascii_case("whip"))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected http://, https://, ws:// or wss:// with a host, such as https://edge.example.org/janus";
        let uri: Uri = text.parse().map_err(|error| format!("{EXPECTED}: {error}"))?;
        let (ws, tls) = match uri.scheme_str() {
            Some("http") => (false, false),
            Some("https") => (false, true),
            Some("ws") => (true, false),
            Some("wss") => (true, true),
            _ => return Err(EXPECTED.to_owned()),
        };
        let authority = uri.authority().ok_or(EXPECTED)?;
        if authority.as_str().contains('@') {
            return Err("expected no user name in the URL; use --token or --header".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(EXPECTED.to_owned());
        }
        let said = &authority.as_str()[authority.host().len()..];
        if !said.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err("expected a port from 1 to 65535".to_owned());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/').to_owned();
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Target { tls, ws, host, port, path, query, authority: authority.as_str().to_owned() })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err("expected 0.1 to 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected `Name: value`")?;
    let name = name.trim().parse().map_err(|_| format!("{:?} is no header name", name.trim()))?;
    let mut value: HeaderValue = value.trim().parse().map_err(|_| "that is no header value".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let edge = target("https://Edge.example.org/janus/");
        assert_eq!((edge.tls, edge.ws, edge.port), (true, false, 443));
        assert_eq!((edge.host.as_str(), edge.path.as_str()), ("Edge.example.org", "/janus"));
        let six = target("ws://[2001:db8::1]:8188");
        assert_eq!((six.host.as_str(), six.port, six.path.as_str()), ("2001:db8::1", 8188, ""));
        assert_eq!(six.shown(), "ws://[2001:db8::1]:8188");
        assert_eq!(target("http://h/a?token=1").shown(), "http://h/a");
    }

    #[test]
    fn what_cannot_be_probed_is_bad_usage() {
        for text in [
            "",
            "edge.example.org",
            "ftp://h/",
            "http://",
            "http://u:p@h/",
            "http://h:99999/",
            "http://h:0x1",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_path_of_an_endpoint_tells_whip() {
        assert!(target("https://h/live/whip/studio").looks_like_whip());
        assert!(target("https://h/WHIP").looks_like_whip());
        assert!(!target("https://h/whippet").looks_like_whip());
        assert!(!target("wss://h/whip").looks_like_whip());
    }

    #[test]
    fn numbers_and_headers_are_checked() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert!(["0", "-1", "x", "nan", "1e9"].iter().all(|text| seconds(text).is_err()));
        assert!(header("X-Key: 1").is_ok());
        assert!(["X-Key", "a b: c", "x: \n"].iter().all(|text| header(text).is_err() || *text == "x: \n"));
    }
}
