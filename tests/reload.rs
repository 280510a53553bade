//! The built program while its file changes: nothing under way is lost, what is new holds for what comes, and a bad file
//! changes nothing.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use support::backend::Backend;
use support::client::{Client, negotiate};
use support::edge::{Edge, free_tcp, free_udp};
use support::stream::{self, write_certificate};
use support::{sdp, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;

const RELOADED: &str = "reloaded file=";
const REFUSED: &str = "reload refused; the configuration before stays";

/// A file in pieces that tests change one by one.
#[derive(Clone)]
struct File {
    udp: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    /// Behind `net: {addr: …`.
    net: String,
    routes: Vec<(String, String)>,
    groups: Vec<(String, Vec<SocketAddr>)>,
    rest: String,
}

impl File {
    fn new(edge: (SocketAddr, SocketAddr), backend: SocketAddr) -> File {
        let janus = format!("{{upstream: \"http://{backend}\", paths: [/janus]}}");
        File {
            udp: vec![edge.0],
            http: vec![edge.1],
            net: String::new(),
            routes: vec![("janus".into(), janus)],
            groups: Vec::new(),
            rest: "media: {workers: 2}\n".into(),
        }
    }

    fn route(mut self, name: &str, upstream: impl std::fmt::Display) -> File {
        let route = format!("{{dialect: plain, upstream: \"http://{upstream}\", paths: [/{name}]}}");
        self.routes.push((name.to_owned(), route));
        self
    }

    fn text(&self) -> String {
        let routes: String =
            self.routes.iter().map(|(name, route)| format!("        {name}: {route}\n")).collect();
        let mut text = "services:\n".to_owned();
        for (at, addr) in self.udp.iter().enumerate() {
            text += &format!("  udp{at}: {{proto: udp, net: {{addr: \"{addr}\", enable_ice: true}}}}\n");
        }
        for (at, addr) in self.http.iter().enumerate() {
            let net = &self.net;
            text += &format!(
                "  http{at}:\n    proto: http\n    net: {{addr: \"{addr}\"{net}}}\n    http:\n      rest: false\n      routes:\n{routes}"
            );
        }
        for (name, servers) in &self.groups {
            let servers: Vec<String> = servers.iter().map(|addr| format!("\"http://{addr}\"")).collect();
            text += &format!("  {name}: {{proto: upstream, servers: [{}]}}\n", servers.join(", "));
        }
        text + &self.rest
    }
}

fn start(file: impl Fn(File) -> File, backend: SocketAddr) -> (Edge, File) {
    let edge = Edge::start_with(|ground| file(File::new((ground.udp, ground.tcp), backend)).text());
    let file = file(File::new((edge.udp, edge.http), backend));
    (edge, file)
}

/// Has the edge read `file`; its line of the log.
async fn reload(edge: &Edge, file: &File) -> String {
    let before = edge.log().matches(RELOADED).count();
    edge.write_routes(&file.text());
    edge.signal("HUP");
    let log = edge.says(RELOADED, before + 1).await;
    log.lines().rfind(|line| line.contains(RELOADED)).unwrap().to_owned()
}

/// An HTTP server that answers `name`, and echoes WebSocket messages below `/ws`.
async fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, name));
        }
    });
    addr
}

async fn answer(mut stream: TcpStream, name: &str) {
    let mut peeked = [0; 8];
    while stream.peek(&mut peeked).await.unwrap_or(0) > 0 {
        if peeked.starts_with(b"GET /ws") {
            let mut echo = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message @ Message::Text(_))) = echo.next().await {
                echo.send(message).await.unwrap();
            }
            return;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// Asks on a connection that stays open: head and body of the answer, which is short.
async fn ask(stream: &mut TcpStream, path: &str, cookie: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !is_whole(&answer) {
            let mut buffer = [0; 4096];
            let len = stream.read(&mut buffer).await.unwrap();
            assert!(len > 0, "the connection closed");
            answer.extend_from_slice(&buffer[..len]);
        }
    };
    within(5, "an answer", read).await;
    String::from_utf8(answer).unwrap()
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// 1000 packets per second go to the backend and come back while the file changes in every way, badly too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_loses_no_packet() {
    const PACKETS: usize = 4000;
    let backend = Backend::start().await;
    let (edge, file) = start(|file| file, backend.addr);
    let client = Client::connect(edge.http).await;
    let sender = client.peer.clone();
    let sending = tokio::spawn(async move {
        let mut clock = interval(Duration::from_millis(1));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0..PACKETS {
            clock.tick().await;
            sender.send_media(&format!("#{number}")).await;
        }
    });
    let receiver = client.peer.clone();
    let receiving = tokio::spawn(async move {
        let mut numbers = HashSet::new();
        while numbers.len() < PACKETS {
            let next = tokio::time::timeout(Duration::from_secs(2), receiver.next_media()).await;
            let Ok(Some(text)) = next else { break };
            numbers.insert(text.split(' ').next().unwrap().to_owned());
        }
        numbers
    });

    let mut changed = file.clone();
    for step in 0..5 {
        changed = match step {
            0 => changed.route("app", edge.http),
            1 => File { udp: vec![edge.udp, free_udp()], ..changed },
            2 => File {
                rest: "media: {workers: 2}\nlimits: {sessions: 50, tracked_sources: 8}\n".into(),
                ..changed
            },
            3 => File { http: vec![edge.http, free_tcp()], ..changed },
            _ => file.clone(),
        };
        reload(&edge, &changed).await;
        edge.write_routes("services: {nonsense");
        edge.signal("HUP");
        edge.says(REFUSED, step + 1).await;
    }
    assert!(!sending.is_finished(), "the reloads took longer than the load");
    sending.await.unwrap();
    let numbers = receiving.await.unwrap();
    let peer = backend.peer(client.handle);
    let arrived: HashSet<Vec<u8>> =
        peer.tap.received().into_iter().map(|it| it.bytes).filter(|it| it.get(12) == Some(&b'#')).collect();
    assert_eq!((arrived.len(), numbers.len()), (PACKETS, PACKETS), "at the backend, and back at the client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_is_refused_as_check_would_and_changes_nothing() {
    let one = server("one").await;
    let (edge, file) = start(|file| file.route("app", one), one);
    let mut connection = TcpStream::connect(edge.http).await.unwrap();

    edge.write_routes(
        &file.text().replace("proto: http", "proto: http\n    tls: {").replace("paths", "pathz"),
    );
    edge.signal("HUP");
    edge.says(REFUSED, 1).await;
    edge.write_routes(&file.text().replace("127.0.0.1", "127.0.0.999"));
    edge.signal("HUP");
    edge.says(REFUSED, 2).await;
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_xrtc"))
        .args(["check", "-c"])
        .arg(edge.dir().join("routes.yml"))
        .output()
        .unwrap();
    for line in String::from_utf8(checked.stderr).unwrap().lines() {
        edge.says(line, 1).await;
    }
    // An address that cannot be had is no reason to lose those that are there.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = File { http: vec![edge.http, taken.local_addr().unwrap()], ..file.clone().route("new", one) };
    edge.write_routes(&more.text());
    edge.signal("HUP");
    edge.says(REFUSED, 3).await;
    let log = edge.says("services.http1.net.addr: cannot listen on", 1).await;
    assert_eq!(status(&ask(&mut connection, "/app", "").await), 200);
    assert_eq!(status(&ask(&mut connection, "/new", "").await), 404);
    assert!(!log.contains(RELOADED));
    let line = reload(&edge, &file).await;
    assert!(line.contains("changes=\"none\""), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_change_for_the_next_request_and_not_for_what_is_under_way() {
    let (one, two) = (server("one").await, server("two").await);
    let (edge, file) = start(|file| file.route("app", one).route("ws", one), one);
    let mut kept = TcpStream::connect(edge.http).await.unwrap();
    assert!(ask(&mut kept, "/app", "").await.ends_with("one"));
    let stream = TcpStream::connect(edge.http).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://edge/ws", stream).await.unwrap();

    let line = reload(&edge, &File { routes: Vec::new(), ..file.clone() }.route("app", two)).await;
    for change in [
        "-services.http0.http.routes.janus",
        "-services.http0.http.routes.ws",
        "~services.http0.http.routes.app.upstream",
    ] {
        assert!(line.contains(change), "{line} lacks {change}");
    }
    assert!(ask(&mut kept, "/app", "").await.ends_with("two"), "the connection stays, the route is another");
    assert_eq!(status(&ask(&mut kept, "/ws", "").await), 404);
    socket.send(Message::text("still here")).await.unwrap();
    let echo = within(5, "the echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo.into_text().unwrap().as_str(), "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_and_a_bad_one_does_not_replace_a_good_one() {
    let one = server("one").await;
    let with = |file: File, name: &str| {
        let net = format!(", tls_crt_file: {name}/cert.pem, tls_key_file: {name}/key.pem");
        File { net, ..file }.route("app", one)
    };
    let edge = Edge::start_with(|ground| {
        for name in ["a", "b"] {
            std::fs::create_dir_all(ground.dir.join(name)).unwrap();
            write_certificate(&ground.dir.join(name), name);
        }
        let dir = ground.dir.to_str().unwrap();
        with(File::new((ground.udp, ground.tcp), one), &format!("{dir}/a")).text()
    });
    let dir = edge.dir().to_str().unwrap().to_owned();
    let file = |name: &str| with(File::new((edge.udp, edge.http), one), &format!("{dir}/{name}"));
    let shown = async || {
        let stream = TcpStream::connect(edge.http).await.unwrap();
        let tls = stream::tls(stream, rustls::ALL_VERSIONS).await.unwrap();
        tls.get_ref().1.peer_certificates().unwrap()[0].as_ref().to_vec()
    };
    let der = |name: &str| {
        use rustls::pki_types::pem::PemObject;
        let file = format!("{dir}/{name}/cert.pem");
        rustls::pki_types::CertificateDer::from_pem_file(file).unwrap().as_ref().to_vec()
    };
    assert_eq!(shown().await, der("a"));
    reload(&edge, &file("b")).await;
    assert_eq!(shown().await, der("b"));
    // The same files with other contents.
    let replaced = write_certificate(&edge.dir().join("b"), "c");
    edge.signal("HUP");
    edge.says(RELOADED, 2).await;
    assert_eq!(shown().await, replaced.as_ref());
    edge.write_routes(&file("none").text());
    edge.signal("HUP");
    edge.says(REFUSED, 1).await;
    edge.says("services.http0.net.tls_crt_file: the new certificate cannot be used", 1).await;
    assert_eq!(shown().await, replaced.as_ref());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_a_group_come_and_go_and_who_sticks_to_one_that_stays_stays() {
    let (one, two, three) = (server("one").await, server("two").await, server("three").await);
    let group = |file: File, servers: Vec<SocketAddr>| {
        File { groups: vec![("pool".into(), servers)], ..file }.route("app", "pool")
    };
    let (edge, file) = start(|file| group(file, vec![one, two]), one);
    let file = File { routes: file.routes[..1].to_vec(), ..file };
    let mut connection = TcpStream::connect(edge.http).await.unwrap();
    let mut cookies = Vec::new();
    for name in ["one", "two"] {
        let answer = ask(&mut connection, "/app", "").await;
        assert!(answer.ends_with(name), "{answer}");
        let cookie = answer.split("gosessionid=").nth(1).unwrap().split(';').next().unwrap();
        cookies.push(format!("gosessionid={cookie}"));
    }
    reload(&edge, &group(file.clone(), vec![two, three])).await;
    for _ in 0..3 {
        assert!(ask(&mut connection, "/app", &cookies[1]).await.ends_with("two"), "it stayed");
    }
    let mut seen = HashSet::new();
    for _ in 0..2 {
        seen.insert(ask(&mut connection, "/app", "").await.rsplit("\r\n\r\n").next().unwrap().to_owned());
    }
    assert_eq!(seen, HashSet::from(["two".to_owned(), "three".to_owned()]));
    let homeless = ask(&mut connection, "/app", &cookies[0]).await;
    assert!(!homeless.ends_with("one"), "{homeless}");
    reload(&edge, &group(file, vec![one])).await;
    assert!(ask(&mut connection, "/app", &cookies[1]).await.ends_with("one"));
}

/// Returns once nobody is accepted at `addr`; the task that accepts hears of it like everybody else.
async fn is_closed(addr: SocketAddr) {
    let closes = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(2, "the end of accepting", closes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_change_and_sessions_keep_the_one_that_they_have() {
    let backend = Backend::start().await;
    let (edge, file) = start(|file| file, backend.addr);
    let old = Client::connect(edge.http).await;
    let in_between = negotiate(edge.http).await;
    let (udp, http) = (free_udp(), free_tcp());
    let line = reload(&edge, &File { udp: vec![udp], http: vec![http], ..file.clone() }).await;
    for change in [format!("+candidate udp {udp}"), format!("-candidate udp {}", edge.udp)] {
        assert!(line.contains(&change), "{line} lacks {change}");
    }
    is_closed(edge.http).await;
    let new = Client::connect(http).await;
    let candidate = sdp::values(&new.answer, "candidate").next().unwrap();
    assert!(candidate.contains(&format!(" {} typ", udp.port())), "{candidate}");
    assert_eq!(new.peer.remote(), udp);
    // Who was told of the old port before the change still gets in there.
    let late = in_between.connect().await;
    assert_eq!((old.peer.remote(), late.peer.remote()), (edge.udp, edge.udp));
    for client in [&old, &new, &late] {
        assert_eq!(client.ping("a").await, format!("a via {}", client.handle));
    }
    // And back again, while the old one is still open.
    reload(&edge, &file).await;
    let again = Client::connect(edge.http).await;
    assert_eq!(again.peer.remote(), edge.udp);
    for client in [&old, &new, &late, &again] {
        assert_eq!(client.ping("b").await, format!("b via {}", client.handle));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_file_is_followed_and_what_needs_a_restart_is_said() {
    let one = server("one").await;
    let (edge, file) = start(|file| File { rest: "watch: true\nmedia: {workers: 2}\n".into(), ..file }, one);
    let file = file.route("app", one);
    edge.write_routes(&file.text());
    edge.says(RELOADED, 1).await;
    let mut connection = TcpStream::connect(edge.http).await.unwrap();
    assert_eq!(status(&ask(&mut connection, "/app", "").await), 200);
    // In place, with other workers; and the same once more, which is no change.
    let more = File { rest: "watch: true\nmedia: {workers: 1}\n".into(), ..file.clone() };
    std::fs::write(edge.dir().join("routes.yml"), more.text()).unwrap();
    // The last of what it says of it.
    let log = edge.says("~media.workers 2→1", 1).await;
    assert!(log.contains("it needs a restart key=\"media.workers\""), "{log}");
    edge.write_routes(&more.text());
    edge.write_routes("services: {}");
    edge.says(REFUSED, 1).await;
    edge.write_routes(&File { rest: "watch: false\n".into(), ..file.clone() }.text());
    edge.says(RELOADED, 3).await;
    edge.write_routes(&file.text());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(edge.log().matches(RELOADED).count(), 3, "it is not watched any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_from_the_reload_on() {
    let one = server("one").await;
    let (edge, file) = start(|file| file.route("app", one), one);
    let mut connection = TcpStream::connect(edge.http).await.unwrap();
    let limits = |text: &str| File { rest: format!("limits: {{exempt: [], {text}}}\n"), ..file.clone() };
    reload(&edge, &limits("http_rate: 1, http_burst: 3")).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(ask(&mut connection, "/app", "").await);
    }
    assert_eq!(answers.iter().map(|answer| status(answer)).collect::<Vec<_>>(), [200, 200, 200, 429, 429]);
    assert!(answers[4].to_lowercase().contains("retry-after: 1\r\n"), "{}", answers[4]);
    let line = reload(&edge, &limits("http_rate: 0, connections_per_source: 2")).await;
    assert!(line.contains("~limits.http_rate 1→0"), "{line}");
    assert_eq!(status(&ask(&mut connection, "/app", "").await), 200);
    // Connections from before are not counted; two more are its share.
    let mut open = Vec::new();
    for served in [true, true, false] {
        let mut next = TcpStream::connect(edge.http).await.unwrap();
        let _ = next.write_all(b"GET /app HTTP/1.1\r\nHost: edge\r\n\r\n").await;
        let read = within(5, "an answer or an end", next.read(&mut [0; 100])).await;
        assert_eq!(read.is_ok_and(|len| len > 0), served);
        open.push(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_sessions_and_a_second_signal_does_not() {
    let backend = Backend::start().await;
    let (mut edge, _) = start(|file| File { rest: "drain_timeout: 30s\n".into(), ..file }, backend.addr);
    let client = Client::connect(edge.http).await;
    edge.signal("TERM");
    edge.says("draining; a second signal stops at once sessions=1", 1).await;
    is_closed(edge.http).await;
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(500) {
        assert_eq!(client.ping("x").await, format!("x via {}", client.handle));
    }
    assert!(edge.runs());
    edge.signal("TERM");
    let (status, log) = edge.ended(Duration::from_secs(5));
    assert_eq!(status.unwrap().code(), Some(0), "{log}");
    assert!(log.contains("second signal: stopping at once") && log.contains("reason=shutdown"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_at_its_timeout_and_at_once_where_there_is_no_session() {
    let backend = Backend::start().await;
    let with_timeout = |file| File { rest: "drain_timeout: 1s\n".into(), ..file };
    let (edge, _) = start(with_timeout, backend.addr);
    let _client = Client::connect(edge.http).await;
    edge.signal("TERM");
    let (status, log) = edge.ended(Duration::from_secs(6));
    assert_eq!(status.unwrap().code(), Some(0), "{log}");
    assert!(log.contains("drain timeout: who is left ends now sessions=1 relays=0"), "{log}");
    let (idle, _) = start(|file| file, backend.addr);
    idle.signal("TERM");
    let (status, log) = idle.ended(Duration::from_secs(3));
    assert_eq!(status.unwrap().code(), Some(0), "{log}");
    assert!(log.contains("drained: nobody is left"), "{log}");
}
