//! The REST registration over real loopback sockets: each row of its table, its limits, and what it tells the packet side.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use hyper::{Request, Response};
use proxy_support::*;
use xrtc::config::{Http, IpNet, Limits, Optimal};
use xrtc::http::{HttpService, Registrar};
use xrtc::session::registration::{Command, EndReason, Mode, Registration, SessionSink};

const JANUS: &str = include_str!("vectors/rest/janus.json");
const OWN: &str =
    r#"{"session_key":"room 7","candidates":["a=candidate:1 1 udp 2013266431 192.0.2.1 6001 typ host"]}"#;
const PATH: &str = "/webrtc/request";

#[tokio::test]
async fn each_row_of_the_table_has_its_status_and_its_json() {
    let edge = Rest::start(api(), &limits()).await;
    let no_ufrag =
        |side: &str| JANUS.replace(&format!("{side}_ice\":{{\"ufrag\""), &format!("{side}_ice\":{{\"x\""));
    let garbage = r#"{"offer_ice":{"ufrag":"o","pwd":"p"},"answer_ice":{"ufrag":"a","pwd":"q"},"candidates":["nonsense","a=candidate:1 1 udp 1 x.local 5 typ host"]}"#;
    let form = |line, column| {
        format!("expected a registration as JSON, found something else at line {line} column {column}")
    };
    let empty = |name| format!("{name}: expected a value, found none");
    let odd = |name| format!("{name}: expected no space, control character or, in a ufrag, colon, found one");
    let long = JANUS.replace("aFrg", &"a".repeat(257));
    for (body, status, said) in [
        (String::new(), 400, form(1, 0)),
        ("{".to_owned(), 400, form(1, 1)),
        (r#"{"candidates":7}"#.to_owned(), 400, form(1, 15)),
        (JANUS.replace("room 7\"", "room 7\"]"), 400, form(1, 24)),
        (JANUS.replace("\"candidates\"", "\"other\""), 400, "no server candidates".to_owned()),
        (r#"{"candidates":[]}"#.to_owned(), 400, "no server candidates".to_owned()),
        (no_ufrag("offer"), 400, empty("offer_ice.ufrag")),
        (no_ufrag("answer"), 400, empty("answer_ice.ufrag")),
        (JANUS.replace("offerpassword0123456789", ""), 400, empty("offer_ice.pwd")),
        (JANUS.replace("answerpassword01234567", ""), 400, empty("answer_ice.pwd")),
        (JANUS.replace("aFrg", "a Frg"), 400, odd("answer_ice.ufrag")),
        (JANUS.replace("oFrg", "o:rg"), 400, odd("offer_ice.ufrag")),
        (JANUS.replace("answerpass", "answer\\npass"), 400, odd("answer_ice.pwd")),
        (long, 400, "answer_ice.ufrag: expected at most 256 bytes, found more".to_owned()),
        (
            garbage.to_owned(),
            422,
            "candidates: expected a host candidate with an address, udp or tcp passive, found none"
                .to_owned(),
        ),
        (
            JANUS.replace("room", &" ".repeat(65_536)),
            413,
            "request body is larger than 65536 bytes".to_owned(),
        ),
        ("[".repeat(60_000), 400, form(1, 1)),
    ] {
        let response = edge.post(&body, &[]).await;
        let what = &body[..body.len().min(60)];
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(response.headers()["content-type"], "application/json", "{what}");
        assert_cors(&response);
        assert_eq!(text(response).await, serde_json::json!({ "status": said }).to_string(), "{what}");
    }
    assert_eq!(edge.sink.take().len(), 0);

    let mut client = Client::connect(edge.edge.addr).await;
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        let response = client.send(request(method, PATH, full(""))).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST, OPTIONS".parse().unwrap())
        );
        assert_cors(&response);
        assert_eq!(text(response).await, r#"{"status":"Only Post Allowed"}"#);
    }
    assert_eq!(client.ask("GET", "/webrtc/other", "").await, (404, String::new()));
    edge.edge.stop().await;
}

#[tokio::test]
async fn a_registration_is_answered_with_the_edge_and_reaches_the_packet_side_first() {
    let edge = Rest::start(api(), &limits()).await;
    for path in [PATH, "/webrtc/request/", "/webrtc/requests?x=y"] {
        let response = edge.send(path, JANUS.to_owned().into_bytes(), &[]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_cors(&response);
        assert_eq!(text(response).await, OWN);
    }
    let commands = edge.sink.take();
    let registrations: Vec<_> = commands.iter().map(registered).collect();
    assert_eq!(registrations.len(), 3);
    for registration in &registrations {
        assert_eq!(registration.session, registrations[0].session);
        assert_eq!((registration.mode, registration.generation), (Mode::Transparent, 0));
        assert_eq!(&*registration.origin.route, "rest");
        assert_eq!(&*registration.origin.label, "room 7");
        assert_eq!((&*registration.edge.ufrag, &*registration.edge.pwd), ("aFrg", "answerpassword01234567"));
        assert_eq!(
            (&*registration.client.ufrag, &*registration.client.pwd),
            ("oFrg", "offerpassword0123456789")
        );
        let addrs: Vec<_> = registration.candidates.iter().map(|c| c.addr.to_string()).collect();
        assert_eq!(addrs, ["127.0.0.1:20900", "[2001:db8::7]:20901", "10.77.0.1:20509"]);
    }
    edge.edge.stop().await;
}

#[tokio::test]
async fn a_running_session_is_left_alone_until_it_ends() {
    let edge = Rest::start(api(), &limits()).await;
    edge.post(JANUS, &[]).await;
    let first = registered(&edge.sink.take()[0]);
    first.owner.claim(0);
    let other = JANUS.replace("answerpassword01234567", "anotherpassword1234567");
    assert_eq!(text(edge.post(&other, &[]).await).await, OWN);
    assert_eq!(edge.sink.take().len(), 0);

    edge.edge.service.session_ended(first.session, EndReason::ClientSilent);
    edge.post(&other, &[]).await;
    let second = registered(&edge.sink.take()[0]);
    assert_ne!(second.session, first.session);
    assert_eq!(&*second.backend.pwd, "anotherpassword1234567");
    edge.edge.stop().await;
}

#[tokio::test]
async fn the_version_is_told_to_any_method_below_its_path() {
    let edge = Rest::start(api(), &limits()).await;
    let mut client = Client::connect(edge.edge.addr).await;
    for (method, path) in [
        ("GET", "/webrtc/version"),
        ("POST", "/webrtc/version/"),
        ("OPTIONS", "/webrtc/versions"),
        ("DELETE", "/webrtc/version?x"),
    ] {
        let response = client.send(request(method, path, full(""))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_cors(&response);
        assert_eq!(text(response).await, r#"{"version":"xrtc-agent"}"#);
    }
    edge.edge.stop().await;
}

#[tokio::test]
async fn a_preflight_is_granted() {
    let edge = Rest::start(api(), &limits()).await;
    let mut client = Client::connect(edge.edge.addr).await;
    for path in [PATH, "/webrtc/request/x", "/unrouted"] {
        let response = client.send(request("OPTIONS", path, full(""))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_cors(&response);
        assert_eq!(text(response).await, "");
    }
    edge.edge.stop().await;
}

#[tokio::test]
async fn coded_bodies_are_read_and_bombs_are_not() {
    let edge = Rest::start(api(), &limits()).await;
    for (coding, body) in [
        ("gzip", gzip(JANUS.as_bytes())),
        ("deflate", zlib(JANUS.as_bytes())),
        ("identity", JANUS.as_bytes().to_vec()),
    ] {
        let response = edge.send(PATH, body, &[("content-encoding", coding)]).await;
        assert_eq!((response.status().as_u16(), text(response).await.as_str()), (200, OWN), "{coding}");
    }
    let bomb = gzip(&[JANUS.as_bytes(), &vec![b' '; 8 << 20]].concat());
    for (coding, body, status, said) in [
        ("gzip", bomb, 413, "request: body is larger than 65536 bytes when decoded"),
        ("br", JANUS.into(), 400, "request: content coding `br` is not gzip, deflate or identity"),
        ("gzip", JANUS.into(), 400, "request: body is not valid gzip data"),
    ] {
        let response = edge.send(PATH, body, &[("content-encoding", coding)]).await;
        assert_eq!(response.status(), status, "{coding}");
        assert_cors(&response);
        assert_eq!(text(response).await, format!(r#"{{"status":"{said}"}}"#));
    }
    edge.edge.stop().await;
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read_and_a_longer_one_without_length_is_refused() {
    let edge = Rest::start(api(), &limits()).await;
    let exact = format!("{JANUS}{}", " ".repeat((64 << 10) - JANUS.len()));
    assert_eq!(edge.post(&exact, &[]).await.status(), 200);
    let mut client = Client::connect(edge.edge.addr).await;
    let endless = chunked(vec!["                                                                "; 2000]);
    let response = client.send(request("POST", PATH, endless)).await.unwrap();
    assert_eq!(response.status(), 413);
    edge.edge.stop().await;
}

#[tokio::test]
async fn a_request_for_another_name_is_misdirected_before_anything_else() {
    let edge = Rest::start(Http { servername: Some("other.test".to_owned()), ..api() }, &limits()).await;
    let mut client = Client::connect(edge.edge.addr).await;
    for path in [PATH, "/webrtc/version"] {
        assert_eq!(client.ask("POST", path, JANUS).await.0, 421);
    }
    assert_eq!(edge.sink.take().len(), 0);
    edge.edge.stop().await;
}

#[tokio::test]
async fn the_api_comes_before_the_routes_unless_it_is_switched_off() {
    let upstream = Upstream::start(echo).await;
    let config = http(vec![plain("/", upstream.addr)]);
    let edge = Rest::start(config.clone(), &limits()).await;
    assert_eq!(edge.post(JANUS, &[]).await.status(), 200);
    let (_, routed) = ask(edge.edge.addr, "GET", "/webrtc", "").await;
    assert_eq!(routed, "GET /webrtc -/- ");
    edge.edge.stop().await;

    let edge = Rest::start(Http { rest: false, ..config }, &limits()).await;
    for path in [PATH, "/webrtc/version"] {
        let (status, routed) = ask(edge.edge.addr, "POST", path, "x").await;
        assert_eq!((status, routed), (200, format!("POST {path} 1/- x")));
    }
    edge.edge.stop().await;
}

#[tokio::test]
async fn each_client_and_all_together_have_a_limit() {
    let limits = Limits { sessions: 3, registrations_per_client: 2, ..Limits::default() };
    let trusted = IpNet { addr: "127.0.0.1".parse().unwrap(), prefix: 32 };
    let edge = Rest::start(Http { trusted_proxies: vec![trusted], ..api() }, &limits).await;
    let from = |number: u32, client: &'static str| {
        let body = JANUS.replace("oFrg", &format!("o{number}"));
        let edge = &edge;
        async move {
            let response = edge.post(&body, &[("x-forwarded-for", client)]).await;
            let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            (response.status().as_u16(), retry, text(response).await)
        }
    };
    let retry = Some("30".to_owned());
    assert_eq!(from(1, "192.0.2.1").await.0, 200);
    assert_eq!(from(2, "192.0.2.1").await.0, 200);
    let too_many = r#"{"status":"too many sessions of this client"}"#.to_owned();
    assert_eq!(from(3, "192.0.2.1").await, (429, retry.clone(), too_many));
    // Refreshing is not registering.
    assert_eq!(from(2, "192.0.2.1").await.0, 200);
    assert_eq!(from(3, "192.0.2.2").await.0, 200);
    assert_eq!(from(4, "192.0.2.3").await, (503, retry, r#"{"status":"too many sessions"}"#.to_owned()));

    let first = registered(&edge.sink.take()[0]);
    edge.edge.service.session_ended(first.session, EndReason::NeverConnected);
    assert_eq!(from(4, "192.0.2.3").await.0, 200);
    edge.edge.stop().await;
}

#[tokio::test]
async fn a_stranger_does_not_choose_the_address_it_is_counted_by() {
    let limits = Limits { registrations_per_client: 1, ..Limits::default() };
    let edge = Rest::start(api(), &limits).await;
    assert_eq!(edge.post(JANUS, &[("x-forwarded-for", "192.0.2.1")]).await.status(), 200);
    let other = JANUS.replace("oFrg", "o2");
    assert_eq!(edge.post(&other, &[("x-forwarded-for", "192.0.2.2")]).await.status(), 429);
    edge.edge.stop().await;
}

#[tokio::test]
async fn never_hands_out_the_backend_and_registers_nothing() {
    let edge = Rest::start(Http { optimal: Optimal::Never, ..api() }, &limits()).await;
    let told: serde_json::Value = serde_json::from_str(&text(edge.post(JANUS, &[]).await).await).unwrap();
    let asked: serde_json::Value = serde_json::from_str(JANUS).unwrap();
    assert_eq!(told["candidates"], asked["candidates"]);
    assert_eq!(told["session_key"], "room 7");
    assert_eq!(edge.sink.take().len(), 0);
    edge.edge.stop().await;
}

#[tokio::test]
async fn an_edge_without_candidates_says_so() {
    let edge = Rest::publishing(api(), &limits(), Arc::from(Vec::new())).await;
    let response = edge.post(JANUS, &[]).await;
    assert_eq!(
        (response.status().as_u16(), text(response).await.as_str()),
        (400, r#"{"status":"no proxy candidates"}"#)
    );
    edge.edge.stop().await;
}

#[tokio::test]
async fn garbage_of_every_shape_gets_an_answer_in_json_on_a_kept_connection() {
    let edge = Rest::start(api(), &limits()).await;
    let mut client = Client::connect(edge.edge.addr).await;
    let good = JANUS.trim_end().as_bytes();
    let cuts = (0..good.len()).step_by(7).map(|length| good[..length].to_vec());
    let changes = (0..good.len()).step_by(5).map(|at| {
        let mut bad = good.to_vec();
        bad[at] ^= 0x20 | (at % 2) as u8;
        bad
    });
    for body in cuts.chain(changes) {
        let response = client.send(request("POST", PATH, full(body))).await.unwrap();
        let status = response.status().as_u16();
        assert!([200, 400, 422].contains(&status), "{status}");
        serde_json::from_str::<serde_json::Value>(&text(response).await).unwrap();
    }
    edge.edge.stop().await;
}

/// An edge with the REST API, and what it told the packet side.
struct Rest {
    edge: Edge,
    sink: Sink,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<Command>>>);

impl SessionSink for Sink {
    fn send(&self, command: Command) {
        self.0.lock().unwrap().push(command);
    }
}

impl Sink {
    fn take(&self) -> Vec<Command> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Rest {
    async fn start(config: Http, limits: &Limits) -> Rest {
        let candidates = Arc::from([Box::from("candidate:1 1 udp 2013266431 192.0.2.1 6001 typ host")]);
        Rest::publishing(config, limits, candidates).await
    }

    async fn publishing(config: Http, limits: &Limits, candidates: Arc<[Box<str>]>) -> Rest {
        let sink = Sink::default();
        let shared: Arc<dyn SessionSink> = Arc::new(sink.clone());
        let registrar = Arc::new(Registrar::new(limits, &candidates, &shared));
        let service = HttpService::new(&config, &[], limits, &candidates, &shared).unwrap();
        let service = Arc::new(service.with_rest(&config, &registrar).unwrap());
        let edge = Edge::serving(service, Record::default(), 100).await;
        Rest { edge, sink }
    }

    async fn post(&self, body: &str, headers: &[(&'static str, &str)]) -> Response<hyper::body::Incoming> {
        self.send(PATH, body.to_owned().into_bytes(), headers).await
    }

    async fn send(
        &self,
        path: &str,
        body: Vec<u8>,
        headers: &[(&'static str, &str)],
    ) -> Response<hyper::body::Incoming> {
        let mut request: Request<ClientBody> = request("POST", path, full(body));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Client::connect(self.edge.addr).await.send(request).await.unwrap()
    }
}

/// A service that has nothing but the API.
fn api() -> Http {
    http(Vec::new())
}

fn registered(command: &Command) -> Arc<Registration> {
    let Command::Register(registration) = command else {
        panic!("expected a registration, found {command:?}")
    };
    registration.clone()
}

#[track_caller]
fn assert_cors<B>(response: &Response<B>) {
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        response.headers()["access-control-allow-headers"],
        "Content-Type, Content-Range, Content-Disposition, Content-Description"
    );
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}
