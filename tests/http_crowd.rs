//! The built `xrtc` and crowds that want nothing good: idle, slow and half-open connections cost bounded memory and delay nobody,
//! and running out of descriptors passes.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::edge::{ALL_LISTENS, Edge, Ground};

/// Connections of each kind.
const CROWD: usize = 1000;
/// What one connection may cost on the client's side: buffers of a started head, task and socket state.
const PER_CONNECTION: usize = 24 << 10;
/// And where its request waits at an upstream: a second connection with buffers of its own.
const PER_WAITING_REQUEST: usize = 64 << 10;
/// How long others may wait meanwhile.
const PROMPT: Duration = Duration::from_secs(2);

#[test]
fn idle_and_slow_connections_cost_little_memory_and_delay_nobody() {
    let upstream = answering();
    let edge = Edge::start_with(|ground| routes(ground, upstream, upstream));
    warm_up(edge.http);
    let before = edge.memory();

    let mut crowd = Vec::new();
    for start in [
        "",
        "GET /well HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "POST /well HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ] {
        for _ in 0..CROWD {
            let mut stream = TcpStream::connect(edge.http).unwrap();
            stream.write_all(start.as_bytes()).unwrap();
            crowd.push(stream);
        }
        assert_prompt(edge.http);
    }
    for stream in &mut crowd[CROWD..2 * CROWD] {
        stream.write_all(b"y").unwrap();
    }
    assert_prompt(edge.http);
    let cost = edge.memory().saturating_sub(before);
    // The third kind reaches the upstream with what it has.
    let allowed = 2 * CROWD * PER_CONNECTION + CROWD * PER_WAITING_REQUEST;
    println!("{} idle and slow connections: {} KiB each", crowd.len(), cost / crowd.len() / 1024);
    assert!(cost < allowed, "{cost} bytes for {} connections", crowd.len());
    drop(crowd);
    assert_prompt(edge.http);
}

#[test]
fn upstreams_that_never_answer_cost_little_memory_and_delay_nobody() {
    let well = answering();
    let mute = accepting();
    let edge = Edge::start_with(|ground| routes(ground, well, mute));
    warm_up(edge.http);
    let before = edge.memory();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut stream = TcpStream::connect(edge.http).unwrap();
        stream.write_all(b"GET /mute HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        crowd.push(stream);
    }
    assert_prompt(edge.http);
    let cost = edge.memory().saturating_sub(before);
    println!("{CROWD} requests at a mute upstream: {} KiB each", cost / CROWD / 1024);
    assert!(cost < CROWD * PER_WAITING_REQUEST, "{cost} bytes for {CROWD} requests");

    // Clients that leave take their requests along: the connections to the upstream end.
    drop(crowd);
    assert_prompt(edge.http);
    let log = edge.end();
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn running_out_of_descriptors_is_survived_without_spinning() {
    let upstream = answering();
    let dir = std::env::temp_dir().join(format!("xrtc-crowd-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let edge = Few::start(&dir, upstream);
    warm_up(edge.http);
    let crowd: Vec<_> = (0..200).map(|_| TcpStream::connect(edge.http).unwrap()).collect();
    wait_for_log(&edge, "cannot accept a connection");
    let before = edge.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let ticks = edge.cpu_ticks() - before;
    assert!(ticks < 40, "{ticks} hundredths of a second of CPU in two seconds without descriptors");
    drop(crowd);
    let start = Instant::now();
    while answer(edge.http, "/well").is_none_or(|answer| !answer.starts_with("HTTP/1.1 200")) {
        assert!(start.elapsed() < Duration::from_secs(15), "not back:\n{}", edge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = edge.log().matches("cannot accept a connection").count();
    assert!(said < 10, "said {said} times");
    let _ = std::fs::remove_dir_all(&dir);
}

fn routes(ground: &Ground<'_>, well: SocketAddr, mute: SocketAddr) -> String {
    let (udp, http) = (ground.udp, ground.tcp);
    format!(
        "services:\n  \
         media: {{proto: udp, net: {{addr: '{udp}', enable_ice: true}}}}\n  \
         web:\n    proto: http\n    net: {{addr: '{http}'}}\n    http:\n      routes:\n        \
         well: {{upstream: 'http://{well}', paths: [/well]}}\n        \
         mute: {{upstream: 'http://{mute}', paths: [/mute]}}\n"
    )
}

fn warm_up(edge: SocketAddr) {
    for _ in 0..20 {
        assert_prompt(edge);
    }
}

fn assert_prompt(edge: SocketAddr) {
    let start = Instant::now();
    let answer = answer(edge, "/well").unwrap_or_default();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
}

fn answer(edge: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(edge).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// An upstream that answers each connection's first request.
fn answering() -> SocketAddr {
    serve(|mut stream| {
        let mut read = [0; 4096];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut read) {
                Ok(0) | Err(_) => return,
                Ok(size) => head.extend_from_slice(&read[..size]),
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    })
}

/// An upstream that takes connections and says nothing, ever.
fn accepting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            held.push(stream);
        }
    });
    addr
}

fn serve(answer: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let thread = std::thread::Builder::new().stack_size(64 << 10);
            let _ = thread.spawn(move || answer(stream));
        }
    });
    addr
}

fn wait_for_log(edge: &Few, text: &str) {
    let start = Instant::now();
    while !edge.log().contains(text) {
        assert!(start.elapsed() < Duration::from_secs(10), "not said: {text}\n{}", edge.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The edge with few descriptors.
struct Few {
    child: Child,
    log: std::path::PathBuf,
    http: SocketAddr,
}

impl Few {
    fn start(dir: &Path, upstream: SocketAddr) -> Few {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = free.local_addr().unwrap();
        let (config, log) = (dir.join("routes.yml"), dir.join("log"));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(&config, routes(&Ground { udp, tcp: http, dir }, upstream, upstream)).unwrap();
        let file = std::fs::File::create(&log).unwrap();
        drop(free);
        let child = Command::new("sh")
            .args(["-c", "ulimit -n 100 && exec \"$0\" run -c \"$1\"", env!("CARGO_BIN_EXE_xrtc")])
            .arg(&config)
            .env("XRTC_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let edge = Few { child, log, http };
        let start = Instant::now();
        while !edge.log().contains(ALL_LISTENS) {
            assert!(start.elapsed() < Duration::from_secs(10), "{}", edge.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        edge
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// User and system time, in hundredths of a second.
    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
