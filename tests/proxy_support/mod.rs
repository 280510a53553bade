//! An edge on a loopback port for the proxy tests: real sockets, a dialect that does what a message tells it to, and a
//! record of everything that dialect and packet side were told.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test helpers; each test file uses its part"
)]

#[path = "../scratch/mod.rs"]
mod scratch;
pub mod tls;

pub use scratch::scratch;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use xrtc::config::{
    DialectKind, Http, IpNet, Limits, Optimal, PathRule, Route, RouteUpstream, Scheme, ServerUrl,
    UpstreamGroup, UpstreamTuning,
};
use xrtc::dialect::{Carrier, ConnectionId, Context, Dialect, Message, Settings, Side, Verdict};
use xrtc::http::{Arrival, HttpService, Phase, serve_connection};
use xrtc::listener::tcp::{Arrived, ByteStream, Connections, Front, StreamCounters, Web};
use xrtc::session::registration::{Command, EndReason, SessionId, SessionSink};

/// What dialect and packet side were told, in order.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Vec<String>>>);

impl Record {
    pub fn push(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    pub fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl SessionSink for Record {
    fn send(&self, command: Command) {
        let Command::End(session, _) = command else { panic!("the test dialect only ends sessions") };
        self.push(format!("command {}", session.0));
    }
}

/// Does what a message asks for: `answer`, `refuse`, `swallow`, `replace`, `replace-response`, anything else passes.
struct Obedient(Record);

impl Dialect for Obedient {
    fn reads_request(&self, method: &str, _path: &str) -> bool {
        matches!(method, "POST" | "PUT")
    }

    fn reads_response(&self, _method: &str, _path: &str, status: u16, content_type: Option<&str>) -> bool {
        status == 200 && content_type.is_some_and(|kind| kind.starts_with("application/json"))
    }

    fn handle(&mut self, cx: &mut Context<'_>, message: Message<'_>) -> Verdict {
        let text = String::from_utf8_lossy(message.body).into_owned();
        let short: String = text.chars().take(40).collect();
        let carrier = match message.carrier {
            Carrier::Rest { method, path } => format!("{method} {path}"),
            Carrier::WebSocket(_) => "ws".to_owned(),
        };
        self.0.push(format!("{:?} {carrier}: {short}", message.from));
        if text.contains("command") {
            cx.commands.push(Command::End(SessionId(7), EndReason::Hangup));
        }
        let wanted = |word: &str| text.contains(&format!("\"{word}\""));
        match message.from {
            Side::Client if wanted("answer") => Verdict::Answer(br#"{"janus":"ack"}"#.to_vec()),
            Side::Client if wanted("refuse") => {
                Verdict::Refuse { reason: "no ufrag in m-section 0".to_owned(), body: Vec::new() }
            }
            Side::Client if wanted("replace") => {
                Verdict::Replace(text.replace("secret", "hidden-from-backend").into_bytes())
            }
            Side::Backend if wanted("replace-response") => {
                Verdict::Replace(text.replace("secret", "hidden-from-client").into_bytes())
            }
            _ if wanted("swallow") => Verdict::Swallow,
            _ => Verdict::Pass,
        }
    }

    fn renew(&mut self, _: Settings) {}

    fn closed(&mut self, _cx: &mut Context<'_>, connection: ConnectionId) {
        self.0.push(format!("closed {}", connection.0));
    }

    fn ended(&mut self, session: SessionId, reason: EndReason) {
        self.0.push(format!("ended {} {}", session.0, reason.label()));
    }

    fn sweep(&mut self, _cx: &mut Context<'_>) {
        self.0.push("sweep");
    }
}

struct Website {
    service: Arc<HttpService>,
    phase: watch::Receiver<Phase>,
}

impl Web for Website {
    fn serve(
        &self,
        stream: Box<dyn ByteStream>,
        arrived: Arrived,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let arrival = Arrival { peer: arrived.peer, local: arrived.local, tls: None };
        Box::pin(serve_connection(stream, arrival, self.service.clone(), self.phase.clone()))
    }
}

/// A running edge.
pub struct Edge {
    pub addr: SocketAddr,
    pub record: Record,
    pub service: Arc<HttpService>,
    pub phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

impl Edge {
    pub async fn start(config: Http) -> Edge {
        Edge::with_groups(config, &[]).await
    }

    pub async fn with_groups(config: Http, groups: &[UpstreamGroup]) -> Edge {
        let (service, record) = service(&config, groups);
        Edge::serving(service, record, 1000).await
    }

    /// Behind a TCP port as the program has it, with at most so many connections at once.
    pub async fn serving(service: Arc<HttpService>, record: Record, connections: usize) -> Edge {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (phase, seen) = watch::channel(Phase::Serving);
        let (stop, stopping) = watch::channel(false);
        let (mut draining, mut last) = (seen.clone(), seen.clone());
        tokio::spawn(async move {
            let _ = last.wait_for(|phase| *phase == Phase::Stopping).await;
            stop.send_replace(true);
        });
        let front = Front {
            turn: None,
            web: Some(Arc::new(Website { service: service.clone(), phase: seen })),
            door: None,
            tls: None,
            proxies: None,
            trusted: Vec::new(),
            connections: Connections::new(&Limits { http_connections: connections, ..Limits::default() }),
            counters: Arc::new(StreamCounters::default()),
            stopping,
        };
        let task = tokio::spawn(front.run(listener, async move {
            let _ = draining.wait_for(|phase| *phase >= Phase::Draining).await;
        }));
        Edge { addr, record, service, phase, task }
    }

    /// Stops it and waits for the end of all its connections.
    pub async fn stop(self) {
        self.phase.send(Phase::Stopping).unwrap();
        in_time(self.task).await.unwrap();
    }
}

/// A service with the test dialect on every route that has one, and what it is told.
pub fn service(config: &Http, groups: &[UpstreamGroup]) -> (Arc<HttpService>, Record) {
    let record = Record::default();
    let sink: Arc<dyn SessionSink> = Arc::new(record.clone());
    let for_dialect = record.clone();
    let dialects = move |_: &DialectKind, _| -> Option<Box<dyn Dialect>> {
        Some(Box::new(Obedient(for_dialect.clone())))
    };
    let candidates = Arc::from(Vec::new());
    let service = HttpService::with_dialects(config, groups, &limits(), &candidates, &sink, &dialects);
    (Arc::new(service.unwrap()), record)
}

pub fn limits() -> Limits {
    Limits { sessions: 10, http_connections: 1000, ..Limits::default() }
}

/// A service with `routes`.
pub fn http(routes: Vec<Route>) -> Http {
    Http {
        turn_credentials: None,
        servername: None,
        root: None,
        root_index: false,
        rest: true,
        routes,
        upstream: UpstreamTuning {
            max_idle: 100,
            idle_timeout: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(5),
            response_header_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(1200),
            flush_interval: Duration::from_millis(100),
            global_flush_interval: Duration::from_millis(100),
            tls_verify: true,
            ca_file: None,
        },
        trusted_proxies: Vec::<IpNet>::new(),
        optimal: Optimal::Always,
        geoip_db: None,
    }
}

/// A route that passes everything.
pub fn plain(prefix: &str, upstream: SocketAddr) -> Route {
    Route {
        name: Arc::from(format!("plain {prefix}")),
        dialect: None,
        upstream: RouteUpstream::Server(server(Scheme::Http, upstream)),
        ice_tcp: false,
        ice_direct: false,
        hosts: Vec::new(),
        ws_protocols: Vec::new(),
        paths: vec![PathRule { prefix: prefix.to_owned(), replacement: None }],
    }
}

/// A route whose messages the test dialect reads.
pub fn read(prefix: &str, upstream: SocketAddr) -> Route {
    Route { dialect: Some(DialectKind::Janus), ..plain(prefix, upstream) }
}

pub fn server(scheme: Scheme, addr: SocketAddr) -> ServerUrl {
    ServerUrl {
        scheme,
        host: addr.ip().to_string(),
        port: addr.port(),
        path: String::new(),
        query: String::new(),
    }
}

/// An HTTP upstream; ends when dropped.
pub struct Upstream {
    pub addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Serves `answer`, which is told the number of the connection a request came on.
    pub async fn start<F, R>(answer: F) -> Upstream
    where
        F: Fn(Request<Incoming>, usize) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Upstream::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    pub fn on<F, R>(listener: TcpListener, answer: F) -> Upstream
    where
        F: Fn(Request<Incoming>, usize) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Upstream::raw_on(listener, move |stream, number| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    let response = answer(request, number);
                    async move { Ok::<_, std::convert::Infallible>(response.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
    }

    /// Serves connections byte by byte.
    pub async fn raw<F, R>(serve: F) -> Upstream
    where
        F: Fn(TcpStream, usize) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Upstream::raw_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
    }

    fn raw_on<F, R>(listener: TcpListener, serve: F) -> Upstream
    where
        F: Fn(TcpStream, usize) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, number));
            }
        });
        Upstream { addr, _tasks: tasks }
    }
}

/// One kept client connection.
pub struct Client {
    sender: hyper::client::conn::http1::SendRequest<ClientBody>,
}

pub type ClientBody = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

impl Client {
    pub async fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        // Ends with the sender and the last response.
        tokio::spawn(connection);
        Client { sender }
    }

    pub async fn send(&mut self, request: Request<ClientBody>) -> hyper::Result<Response<Incoming>> {
        in_time(async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        })
        .await
    }

    /// Sends a request and reads its answer whole.
    pub async fn ask(&mut self, method: &str, path: &str, body: &'static str) -> (u16, String) {
        let response = self.send(request(method, path, full(body))).await.unwrap();
        let status = response.status().as_u16();
        (status, text(response).await)
    }
}

/// One request on its own connection.
pub async fn ask(addr: SocketAddr, method: &str, path: &str, body: &'static str) -> (u16, String) {
    Client::connect(addr).await.ask(method, path, body).await
}

pub fn request(method: &str, path: &str, body: ClientBody) -> Request<ClientBody> {
    Request::builder().method(method).uri(path).header("host", "edge.test").body(body).unwrap()
}

pub fn full(body: impl Into<Bytes>) -> ClientBody {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

/// A body that is sent in chunks.
pub fn chunked(parts: Vec<&'static str>) -> ClientBody {
    let frames =
        parts.into_iter().map(|part| Ok(hyper::body::Frame::data(Bytes::from_static(part.as_bytes()))));
    http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

pub async fn text(response: Response<Incoming>) -> String {
    let bytes = in_time(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn json(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().header("content-type", "application/json").body(Full::new(body.into())).unwrap()
}

/// Waits, but never as long as a hanging test would.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing happened for 20 s")
}

/// Says what it was asked: method, target, framing and body.
pub async fn echo(request: Request<hyper::body::Incoming>, _: usize) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let framing = ["content-length", "transfer-encoding"]
        .map(|name| head.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned());
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    Response::new(Full::from(format!("{} {} {}/{} {text}", head.method, head.uri, framing[0], framing[1])))
}

/// An upstream that reads a request head, says `answer` and closes.
pub async fn raw_answer(answer: &'static str) -> Upstream {
    Upstream::raw(move |mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

pub async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

pub async fn post_coded(edge: &Edge, coding: &str, body: Vec<u8>) -> (u16, String) {
    let mut request = request("POST", "/d", full(body));
    request.headers_mut().insert("content-encoding", coding.parse().unwrap());
    let response = Client::connect(edge.addr).await.send(request).await.unwrap();
    (response.status().as_u16(), text(response).await)
}

pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A plain route to the first group.
pub fn in_group(prefix: &str) -> Route {
    Route { upstream: RouteUpstream::Group(0), ..plain(prefix, ([127, 0, 0, 1], 1).into()) }
}

/// A group of HTTP servers that answer with their number.
pub async fn named_group(count: usize) -> (UpstreamGroup, Vec<Upstream>) {
    servers_of(count, |number, _| Response::new(Full::from(number.to_string()))).await
}

/// A group of HTTP servers that are told their number.
pub async fn servers_of(
    count: usize,
    answer: fn(usize, Request<Incoming>) -> Response<Full<Bytes>>,
) -> (UpstreamGroup, Vec<Upstream>) {
    let mut upstreams = Vec::new();
    for number in 0..count {
        upstreams.push(Upstream::start(move |request, _| async move { answer(number, request) }).await);
    }
    let servers = upstreams.iter().map(|upstream| server(Scheme::Http, upstream.addr)).collect();
    let group = UpstreamGroup {
        name: Arc::from("pool"),
        mode: xrtc::config::Balance::RoundRobin,
        servers,
        health: None,
    };
    (group, upstreams)
}

/// A WebSocket upstream that says `greeting` and waits for the end.
pub async fn greeting_socket(greeting: String) -> Upstream {
    Upstream::raw(move |stream, _| {
        let greeting = greeting.clone();
        async move {
            use futures_util::{SinkExt, StreamExt};
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(tokio_tungstenite::tungstenite::Message::text(greeting)).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await
}
