//! `optimal: geoip` with a database in the real format: countries of IPv4 and IPv6 networks decide who is proxied.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::path::PathBuf;
use std::sync::Arc;

use proxy_support::*;
use xrtc::config::{Http, IpNet, Optimal};
use xrtc::http::{HttpService, Registrar};
use xrtc::session::registration::{Command, SessionSink};

/// AT 192.0.2.0/24 and 2001:db8:a::/48, US 198.51.100.0/24 and 2001:db8:b::/48, DE 203.0.113.0/24 and 2001:db8:c::/48;
/// 127.0.2.0/24 has no country.
const DATABASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/geoip/countries.mmdb");

#[tokio::test]
async fn only_a_client_in_the_edge_s_country_is_proxied_to_a_backend_in_another_one() {
    for (edge, client, backend, is_proxied) in [
        ("192.0.2.1", "192.0.2.9", "198.51.100.1", true),
        ("192.0.2.1", "2001:db8:a::9", "2001:db8:b::1", true),
        ("2001:db8:a::1", "192.0.2.9", "2001:db8:c::1", true),
        ("192.0.2.1", "::ffff:192.0.2.9", "198.51.100.1", true),
        ("192.0.2.1", "192.0.2.9", "192.0.2.200", false),
        ("192.0.2.1", "2001:db8:a::9", "2001:db8:a::1", false),
        ("192.0.2.1", "203.0.113.9", "198.51.100.1", false),
        ("192.0.2.1", "198.51.100.9", "198.51.100.1", false),
        ("192.0.2.1", "10.1.2.3", "198.51.100.1", false),
        ("192.0.2.1", "127.0.2.1", "198.51.100.1", false),
        ("192.0.2.1", "2001:db8:d::9", "198.51.100.1", false),
        ("192.0.2.1", "192.0.2.9", "10.0.0.1", false),
        ("10.0.0.2", "192.0.2.9", "198.51.100.1", false),
        ("10.0.0.2", "10.0.0.9", "198.51.100.1", false),
    ] {
        let world = World::start(edge).await;
        let told = world.ask(client, &[backend]).await;
        let asked = vec![line(backend)];
        let own = vec![format!("a={}", own(edge))];
        assert_eq!(told, if is_proxied { own } else { asked }, "{edge} {client} {backend}");
        assert_eq!(world.sink.entries().len(), usize::from(is_proxied), "{edge} {client} {backend}");
        world.edge.stop().await;
    }
}

#[tokio::test]
async fn the_first_candidate_with_an_address_says_where_the_backend_is() {
    let world = World::start("192.0.2.1").await;
    let home_first = world.ask("192.0.2.9", &["x.local", "192.0.2.7", "198.51.100.1"]).await;
    assert_eq!(home_first.len(), 3);
    let abroad_first = world.ask("192.0.2.9", &["x.local", "198.51.100.1", "192.0.2.7"]).await;
    assert_eq!(abroad_first, [format!("a={}", own("192.0.2.1"))]);
    world.edge.stop().await;
}

#[test]
fn a_database_that_is_none_keeps_the_service_from_starting() {
    let dir = std::env::temp_dir().join(format!("xrtc-geoip-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let damaged = std::fs::read(DATABASE).unwrap();
    for (name, bytes) in [("empty", &[][..]), ("text", b"AT"), ("cut", &damaged[..damaged.len() / 2])] {
        let file = dir.join(name);
        std::fs::write(&file, bytes).unwrap();
        let error = service("192.0.2.1", file.clone(), &Arc::new(Commands::default())).unwrap_err();
        let expected = format!("geoip_db: expected a MaxMind database, found {}", file.display());
        assert!(error.starts_with(&expected), "{error}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_program_says_at_start_which_service_has_the_bad_database() {
    let dir = std::env::temp_dir().join(format!("xrtc-geoip-start-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("bad.mmdb"), "not a database").unwrap();
    let config =
        "services:\n  web: {proto: http, net: {addr: '127.0.0.1:0'}, optimal: geoip, geoip_db: bad.mmdb}\n";
    std::fs::write(dir.join("r.yml"), config).unwrap();
    let mut edge = std::process::Command::new(env!("CARGO_BIN_EXE_xrtc"));
    let output = edge.args(["run", "-c", "r.yml"]).env("NO_COLOR", "1").current_dir(&dir).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("services.web.geoip_db: expected a MaxMind database, found bad.mmdb"), "{said}");
}

#[test]
fn without_geoip_the_database_is_not_read() {
    let config = Http { optimal: Optimal::Always, geoip_db: Some("/nowhere".into()), ..http(Vec::new()) };
    let sink: Arc<dyn SessionSink> = Arc::new(Commands::default());
    let candidates = Arc::from(Vec::new());
    let registrar = Arc::new(Registrar::new(&limits(), &candidates, &sink));
    let service = HttpService::new(&config, &[], &limits(), &candidates, &sink).unwrap();
    assert!(service.with_rest(&config, &registrar).is_ok());
}

struct World {
    edge: Edge,
    sink: Arc<Commands>,
}

#[derive(Default)]
struct Commands(Record);

impl SessionSink for Commands {
    fn send(&self, command: Command) {
        self.0.push(format!("{command:?}"));
    }
}

impl Commands {
    fn entries(&self) -> Vec<String> {
        self.0.entries()
    }
}

impl World {
    async fn start(edge: &str) -> World {
        let sink = Arc::new(Commands::default());
        let service = Arc::new(service(edge, DATABASE.into(), &sink).unwrap());
        World { edge: Edge::serving(service, Record::default(), 10).await, sink }
    }

    /// The candidates that a client at `client` is told, whose backend is at `backends`.
    async fn ask(&self, client: &str, backends: &[&str]) -> Vec<String> {
        let candidates: Vec<_> = backends.iter().map(|ip| line(ip)).collect();
        let ice = |ufrag| serde_json::json!({"ufrag": ufrag, "pwd": "pwd", "options": ""});
        let body =
            serde_json::json!({"offer_ice": ice("o"), "answer_ice": ice("a"), "candidates": candidates});
        let mut request = request("POST", "/webrtc/request", full(body.to_string()));
        request.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
        let response = Client::connect(self.edge.addr).await.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let told: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        serde_json::from_value(told["candidates"].clone()).unwrap()
    }
}

/// A service behind a proxy on loopback, which may say where a client is.
fn service(edge: &str, database: PathBuf, sink: &Arc<Commands>) -> Result<HttpService, String> {
    let config = Http {
        optimal: Optimal::GeoIp,
        geoip_db: Some(database),
        trusted_proxies: vec![IpNet { addr: "127.0.0.1".parse().unwrap(), prefix: 32 }],
        ..http(Vec::new())
    };
    let candidates = Arc::from([own(edge).into_boxed_str()]);
    let sink: Arc<dyn SessionSink> = sink.clone();
    let registrar = Arc::new(Registrar::new(&limits(), &candidates, &sink));
    let service = HttpService::new(&config, &[], &limits(), &candidates, &sink).unwrap();
    service.with_rest(&config, &registrar).map_err(|error| error.to_string())
}

fn own(ip: &str) -> String {
    format!("candidate:1 1 udp 2013266431 {ip} 6001 typ host")
}

fn line(ip: &str) -> String {
    format!("a=candidate:1 1 udp 2013266431 {ip} 20900 typ host")
}
