//! \[pure\] The configuration of the edge in front of the echo: a `routes.yml` like any other.

use std::net::SocketAddr;
use std::path::Path;

/// What of it changes from run to run.
#[derive(Clone, Debug)]
pub(super) struct Edge<'e> {
    /// Where TCP is taken.
    pub(super) tcp: SocketAddr,
    /// Where UDP is taken.
    pub(super) udp: SocketAddr,
    /// What clients are told.
    pub(super) hosts: &'e [String],
    /// Certificate and key.
    pub(super) tls: Option<(&'e Path, &'e Path)>,
    /// The Janus behind it: servers of the upstream.
    pub(super) servers: &'e [String],
    /// What serves the page, if the edge is to.
    pub(super) page: Option<&'e str>,
}

impl Edge<'_> {
    pub(super) fn routes_yml(&self) -> String {
        let hosts = list(self.hosts);
        let tls = self.tls.map_or(String::new(), |(cert, key)| {
            format!(
                ", tls_crt_file: {}, tls_key_file: {}",
                quoted(&cert.to_string_lossy()),
                quoted(&key.to_string_lossy())
            )
        });
        let page = self.page.map_or(String::new(), |page| {
            format!("        page: {{upstream: {}, paths: [/]}}\n", quoted(page))
        });
        format!(
            "services:
  echo:
    proto: upstream
    servers: {servers}

  tcp:
    proto: tcp
    enable_http: true
    net: {{addr: {tcp}, enable_ice: true, candidate_ips: {hosts}{tls}}}
    http:
      rest: false
      routes:
        janus: {{upstream: \"http://echo\", paths: [/janus], protos: [ws@janus-protocol]}}
{page}
  udp:
    proto: udp
    net: {{addr: {udp}, enable_ice: true, candidate_ips: {hosts}}}
",
            servers = list(self.servers),
            tcp = quoted(&self.tcp.to_string()),
            udp = quoted(&self.udp.to_string()),
        )
    }
}

fn list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::report::Report;
    use crate::config::resolve::{self, System};

    #[test]
    fn it_is_a_configuration_that_serves_everything_on_two_ports() {
        let (hosts, servers) =
            (["192.0.2.7".to_owned()], ["http://127.0.0.1:4".to_owned(), "ws://127.0.0.1:4".to_owned()]);
        let edge = Edge {
            tcp: "[::]:6443".parse().expect("an address"),
            udp: "0.0.0.0:6001".parse().expect("an address"),
            hosts: &hosts,
            tls: Some((Path::new("/tmp/a b/c.pem"), Path::new("/tmp/k.pem"))),
            servers: &servers,
            page: Some("http://127.0.0.1:4"),
        };
        let loaded = Config::from_text(&edge.routes_yml()).expect("loads");
        assert!(loaded.warnings.is_empty(), "{}", loaded.render_warnings(false));
        let candidates = resolve::candidates(&loaded.config, &System).expect("resolves");
        let published: Vec<_> = candidates.iter().map(|each| (each.addr.to_string(), each.tcp)).collect();
        assert_eq!(published, [("192.0.2.7:6001".to_owned(), false), ("192.0.2.7:6443".to_owned(), true)]);
        let report = Report::new(&loaded.config, &candidates).to_string();
        assert!(report.contains("tcp.janus") && report.contains("tcp.page"), "{report}");
        assert_eq!(
            loaded.config.services[0].tls.as_ref().map(|tls| tls.cert.as_path()),
            Some(Path::new("/tmp/a b/c.pem"))
        );
    }
}
