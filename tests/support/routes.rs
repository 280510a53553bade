//! Configurations with one shared TCP port in front of a Janus.

use std::net::SocketAddr;

use super::edge::Ground;
use super::stream;

/// One TCP port for everything, no UDP.
pub fn shared(ground: &Ground<'_>, backend: SocketAddr) -> String {
    stream::write_certificate(ground.dir, "edge");
    one_port(
        ground,
        "",
        &format!("{{routes: {{janus: {{upstream: \"http://{backend}\", paths: [/janus]}}}}}}"),
    )
}

/// One TCP port with the certificate in `cert.pem` and `key.pem`, with `net` added to its keys of that name, and `http`.
pub fn one_port(ground: &Ground<'_>, net: &str, http: &str) -> String {
    let (tcp, ip, dir) = (ground.tcp, ground.tcp.ip(), ground.dir.display());
    format!(
        r#"services:
  mux0:
    proto: tcp
    enable_http: true
    net:
      addr: "{tcp}"
      enable_ice: true
      candidate_ips: ["{ip}"]
      tls_crt_file: "{dir}/cert.pem"
      tls_key_file: "{dir}/key.pem"
      {net}
    http: {http}
media: {{workers: 2}}
drain_timeout: 100ms
"#
    )
}

/// The same, and a UDP port for ICE.
pub fn with_udp(ground: &Ground<'_>, backend: SocketAddr) -> String {
    let (udp, ip) = (ground.udp, ground.udp.ip());
    let service = format!(
        "  udp0: {{proto: udp, net: {{addr: \"{udp}\", enable_ice: true, candidate_ips: [\"{ip}\"]}}}}"
    );
    shared(ground, backend).replace("services:\n", &format!("services:\n{service}\n"))
}
