//! `xrtc demo`: the edge as it always runs, in front of an echo that is built in, and a page that shows the round trip.
//!
//! Nothing of the edge is special here: it is configured by a [`routes.yml`](edge) in memory and started by [`crate::app`]. What is
//! special stands behind it: a [`backend`] on loopback that speaks the Janus API of EchoTest.

mod addresses;
pub mod backend;
mod certificate;
mod echo;
mod edge;
mod janus;
mod options;
mod page;

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

pub use options::Options;

use crate::app::{self, StartError};
use crate::config::resolve::{self, ResolveError, System};
use crate::config::{Config, ConfigError, Surroundings};
use backend::Backend;
use certificate::{Certificate, in_url};
use edge::Edge;

/// What the configuration is called in messages and logs.
const NAME: &str = "xrtc demo";
/// Requests and sessions of a demo; a stranger on the same network can use it, but not for much.
const MAX_CONNECTIONS: usize = 256;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The port is in use.
    #[error(
        "{proto} port {port} is taken by another program\n  help: choose another one, such as `xrtc demo {flag} {other}`"
    )]
    Taken {
        /// `TCP` or `UDP`.
        proto: &'static str,
        /// Which one.
        port: u16,
        /// How to choose another one.
        flag: &'static str,
        /// A suggestion.
        other: u16,
    },
    /// The built-in echo finds no ports on loopback.
    #[error("the echo behind the edge cannot start on 127.0.0.1: {0}")]
    Backend(io::Error),
    /// The temporary directory is not writable, mostly.
    #[error("cannot make a certificate in {directory}: {reason}")]
    Certificate {
        /// Where.
        directory: String,
        /// Why not.
        reason: io::Error,
    },
    /// `--host` and `--listen` do not go together into a configuration.
    #[error("{0}")]
    Config(String),
    /// A name in `--host` has no address.
    #[error("--host: {0}")]
    Host(ResolveError),
    /// The edge does not start.
    #[error(transparent)]
    Start(StartError),
}

/// Runs the demo until Ctrl-C.
pub fn run(options: &Options) -> Result<(), DemoError> {
    let plan = Plan::new(options);
    if options.show_config {
        return show(&plan.template());
    }
    let backend = Backend::start().map_err(DemoError::Backend)?;
    let certificate = Certificate::new(&plan.names()).map_err(|reason| DemoError::Certificate {
        directory: std::env::temp_dir().display().to_string(),
        reason,
    })?;
    let mut config = plan.config(backend.api, Some(&certificate))?;
    config.limits.http_connections = MAX_CONNECTIONS;
    // Nobody waits for the end of an echo.
    config.drain_timeout = Duration::from_millis(1);
    let candidates = resolve::candidates(&config, &System).map_err(DemoError::Host)?;
    let welcome = plan.welcome();
    let started = move || drop(io::stdout().write_all(welcome.as_bytes()));
    app::run_and_tell(&config, &candidates, started).map_err(explain)
}

/// Where it listens and what it tells.
struct Plan {
    tcp: SocketAddr,
    udp: SocketAddr,
    hosts: Vec<String>,
    /// Whether `hosts` is what somebody said.
    told: bool,
    /// Servers of a Janus that stands where the echo is otherwise.
    janus: Vec<String>,
}

impl Plan {
    fn new(options: &Options) -> Plan {
        let ip = options.listen.unwrap_or_else(every_address);
        let told = !options.hosts.is_empty();
        let hosts = match (told, ip.is_unspecified()) {
            (true, _) => options.hosts.clone(),
            (false, true) => addresses::of_this_machine().iter().map(IpAddr::to_string).collect(),
            (false, false) => vec![ip.to_string()],
        };
        Plan {
            tcp: (ip, options.port).into(),
            udp: (ip, options.udp_port()).into(),
            hosts,
            told,
            janus: options.janus.clone(),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.extend(self.hosts.iter().filter(|host| *host != "127.0.0.1").cloned());
        names
    }

    fn config(&self, api: SocketAddr, certificate: Option<&Certificate>) -> Result<Config, DemoError> {
        let page = format!("http://{api}");
        let servers = self.servers(&[page.clone(), format!("ws://{api}")]);
        let files = certificate.map(|certificate| (certificate.cert(), certificate.key()));
        let text = Edge {
            tls: files.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path())),
            ..self.edge(&servers, Some(&page))
        }
        .routes_yml();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let surroundings = Surroundings { env: &|_| None, readable: &Path::exists, cores };
        let loaded = Config::parse(Path::new(NAME), &text, surroundings);
        Ok(loaded.map_err(|error| DemoError::Config(first_line(&error)))?.config)
    }

    /// What a person starts from: the same edge, in front of the Janus that was named, or of one on this machine.
    fn template(&self) -> String {
        let servers = self.servers(&["http://127.0.0.1:8088".to_owned(), "ws://127.0.0.1:8188".to_owned()]);
        let text = self.edge(&servers, None).routes_yml();
        format!("# The edge of `xrtc demo` in front of a Janus. Run it with: xrtc run -c FILE\n{text}")
    }

    fn servers(&self, otherwise: &[String]) -> Vec<String> {
        if self.janus.is_empty() { otherwise.to_vec() } else { self.janus.clone() }
    }

    fn edge<'e>(&'e self, servers: &'e [String], page: Option<&'e str>) -> Edge<'e> {
        Edge { tcp: self.tcp, udp: self.udp, hosts: &self.hosts, tls: None, servers, page }
    }

    /// What stands in the terminal once it runs.
    fn welcome(&self) -> String {
        let (tcp, udp) = (self.tcp.port(), self.udp.port());
        let behind = if self.janus.is_empty() { "an echo" } else { "your Janus" };
        let mut text = format!(
            "\n  xrtc demo is up: {behind}, the edge in front of it, and a page that shows the round trip.\n\n"
        );
        let here = if self.tcp.ip().is_unspecified() {
            "localhost".to_owned()
        } else {
            in_url(&self.tcp.ip().to_string())
        };
        let _ = writeln!(text, "    open          http://{here}:{tcp}/");
        for host in self.hosts.iter().filter(|host| self.told || !is_loopback(host)).take(3) {
            let _ = writeln!(text, "    from outside  https://{}:{tcp}/", in_url(host));
        }
        let _ =
            writeln!(text, "\n  Page, signalling and ICE over TCP: port {tcp}. Media over UDP: port {udp}.");
        text.push_str("  From outside the browser warns of the certificate, which is made for this run; http:// works too,\n");
        text.push_str("  without a camera. Ctrl-C ends the demo.\n\n");
        text
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `[::]` serves both families, where there is IPv6 at all.
fn every_address() -> IpAddr {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// The file is ours, so only what is wrong with what was said matters, not where it stands.
fn first_line(error: &ConfigError) -> String {
    match error {
        ConfigError::Invalid(invalid) => match invalid.findings.first() {
            Some(finding) => format!("--host, --listen or --janus: {}", finding.message),
            None => error.to_string(),
        },
        error => error.to_string(),
    }
}

fn explain(error: StartError) -> DemoError {
    let taken = |proto, addr: SocketAddr, flag| DemoError::Taken {
        proto,
        port: addr.port(),
        flag,
        other: another(addr.port()),
    };
    match &error {
        StartError::Listen { transport, addr, source, .. } if source.kind() == ErrorKind::AddrInUse => {
            taken(transport, *addr, if *transport == "UDP" { "--udp-port" } else { "--port" })
        }
        _ => DemoError::Start(error),
    }
}

fn another(port: u16) -> u16 {
    if port < 64_000 { port + 1000 } else { port - 1000 }
}

fn show(text: &str) -> Result<(), DemoError> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(DemoError::Start(error.into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plan(flags: &[&str]) -> Plan {
        Plan::new(&Line::parse_from([&["demo"], flags].concat()).options)
    }

    #[test]
    fn without_flags_every_address_of_the_machine_is_told_and_one_number_serves_both() {
        let plan = plan(&[]);
        assert!(plan.tcp.ip().is_unspecified());
        assert_eq!((plan.tcp.port(), plan.udp.port()), (6443, 6443));
        assert!(plan.hosts.contains(&"127.0.0.1".to_owned()));
        assert!(plan.welcome().contains("http://localhost:6443/"), "{}", plan.welcome());
    }

    #[test]
    fn what_is_said_is_told_and_nothing_else() {
        let plan =
            plan(&["--port", "7000", "--udp-port", "7001", "--host", "192.0.2.1", "--host", "2001:db8::1"]);
        assert_eq!(plan.hosts, ["192.0.2.1", "2001:db8::1"]);
        let welcome = plan.welcome();
        assert!(
            welcome.contains("https://192.0.2.1:7000/") && welcome.contains("https://[2001:db8::1]:7000/"),
            "{welcome}"
        );
        let config = plan.config(([127, 0, 0, 1], 9).into(), None).expect("loads");
        let candidates = resolve::candidates(&config, &System).expect("resolves");
        let told: Vec<_> = candidates.iter().map(|each| (each.addr.to_string(), each.tcp)).collect();
        let expected = [
            ("192.0.2.1:7001", false),
            ("[2001:db8::1]:7001", false),
            ("192.0.2.1:7000", true),
            ("[2001:db8::1]:7000", true),
        ];
        assert_eq!(told, expected.map(|(addr, tcp)| (addr.to_owned(), tcp)));
    }

    #[test]
    fn listening_on_one_address_tells_of_that_one() {
        let plan = plan(&["--listen", "127.0.0.1"]);
        assert_eq!(plan.hosts, ["127.0.0.1"]);
        assert!(plan.welcome().contains("http://127.0.0.1:6443/"), "{}", plan.welcome());
    }

    #[test]
    fn a_host_that_is_none_is_named() {
        let error =
            plan(&["--host", "no host"]).config(([127, 0, 0, 1], 9).into(), None).expect_err("refused");
        assert!(error.to_string().contains("no host"), "{error}");
    }

    #[test]
    fn the_template_is_a_configuration() {
        let text = plan(&["--host", "192.0.2.1"]).template();
        assert!(Config::from_text(&text).is_ok(), "{text}");
        let text =
            plan(&["--janus", "http://10.0.0.2:8088/janus", "--janus", "ws://10.0.0.2:8188/"]).template();
        assert!(text.contains(r#"servers: ["http://10.0.0.2:8088", "ws://10.0.0.2:8188"]"#), "{text}");
        assert!(Config::from_text(&text).is_ok(), "{text}");
    }

    #[test]
    fn a_janus_is_named_by_a_url() {
        for bad in ["10.0.0.2:8088", "http://", "ftp://10.0.0.2", "http://10.0.0.2/a/b"] {
            assert!(Line::try_parse_from(["demo", "--janus", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let taken = |transport, addr| {
            let source = io::Error::from(ErrorKind::AddrInUse);
            StartError::Listen { service: "any".into(), key: "addr", transport, addr, source }
        };
        let addr = ([0, 0, 0, 0], 6443).into();
        let error = explain(taken("TCP", addr));
        assert_eq!(
            error.to_string(),
            "TCP port 6443 is taken by another program\n  help: choose another one, such as `xrtc demo --port 7443`"
        );
        let error = explain(taken("UDP", addr));
        assert!(error.to_string().contains("UDP port 6443") && error.to_string().contains("--udp-port 7443"));
    }
}
