//! Rooms under load: the built edge as a process, 5 000 idle peers, then rooms in which 200 messages per second are relayed.
//! Prints memory of the process per idle peer, its CPU time per message, and the time from one client's write to the other's
//! read.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people, which may panic")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

const IDLE: usize = 5_000;
const PER_ROOM: usize = 4;
const BUSY_ROOMS: usize = 20;
const PER_SECOND: u32 = 200;
const SECONDS: u32 = 20;
/// As long as a trickled candidate with what surrounds it.
const FILLING: usize = 400;

fn main() {
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = std::env::temp_dir().join(format!("xrtc-bench-rooms-{}.yml", std::process::id()));
    let routes = format!(
        "services: {{h: {{proto: http, net: {{addr: '{http}'}}, http: {{routes: {{r: {{signalling: \
         {{protocol: webrtc-server, idle_timeout: infinity, auth_timeout: 60s, auth: {{password: x}}}}}}}}}}}}}}\n"
    );
    std::fs::write(&config, routes).unwrap();
    // Another one may be measured, such as one that was built for release while this is not.
    let binary = std::env::var("XRTC_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_xrtc").to_owned());
    let mut edge = Command::new(binary)
        .args(["run", "-c"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(http, &edge));
    let _ = edge.kill();
    let _ = edge.wait();
    let _ = std::fs::remove_file(&config);
}

async fn measure(http: SocketAddr, edge: &Child) {
    let start = Instant::now();
    while TcpStream::connect(http).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "xrtc does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What the first connections load once does not count.
    let warm: Vec<TcpStream> = idle(http, 0..200).await;
    let before = memory(edge);
    let start = Instant::now();
    let peers = idle(http, 200..200 + IDLE).await;
    let took = start.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let per_peer = (memory(edge) - before) as f64 / IDLE as f64;
    println!(
        "{IDLE} idle peers in rooms of {PER_ROOM}: {per_peer:.0} bytes each, logged in within {:.2} s",
        took.as_secs_f64()
    );

    let (cpu_before, start) = (cpu(edge), Instant::now());
    let rooms = (0..BUSY_ROOMS).map(|room| tokio::spawn(busy(http, room)));
    let mut latencies: Vec<Duration> = Vec::new();
    for room in rooms.collect::<Vec<_>>() {
        latencies.extend(room.await.unwrap());
    }
    let wall = start.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "{BUSY_ROOMS} rooms with {PER_SECOND} messages/s each ({:.0}/s in all): p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs; \
         {:.1} µs of CPU per message",
        latencies.len() as f64 / wall.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        (cpu(edge) - cpu_before).as_secs_f64() * 1e6 / latencies.len() as f64,
    );
    drop((peers, warm));
}

/// Peers that log in and say nothing more.
async fn idle(http: SocketAddr, numbers: std::ops::Range<usize>) -> Vec<TcpStream> {
    let mut peers = Vec::new();
    for number in numbers {
        let mut stream = TcpStream::connect(http).await.unwrap();
        let head = format!(
            "GET /websocket/idle{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            number / PER_ROOM
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let login = format!(r#"{{"event":"authenticate","data":{{"username":"u{number}","password":"x"}}}}"#);
        // A mask of zeros leaves the payload as it is.
        let mut frame = vec![0x81, 0x80 | u8::try_from(login.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(login.as_bytes());
        stream.write_all(&frame).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(13).any(|window| window == b"authenticated") {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
        }
        peers.push(stream);
    }
    peers
}

/// Two peers, of whom one sends and the other tells how long each message was under way.
async fn busy(http: SocketAddr, room: usize) -> Vec<Duration> {
    let path = format!("/websocket/busy{room}");
    let (mut sender, _) = join(http, &path).await;
    let (mut receiver, id) = join(http, &path).await;
    let origin = Instant::now();
    let sending = async {
        let mut times = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
        times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for _ in 0..PER_SECOND * SECONDS {
            times.tick().await;
            let filling = "x".repeat(FILLING);
            let now = origin.elapsed().as_nanos();
            let text = format!(r#"{{"event":"candidate","to":"{id}","at":"{now}","data":"{filling}"}}"#);
            sender.send(Message::text(text)).await.unwrap();
        }
        sender.send(Message::text(format!(r#"{{"event":"end","to":"{id}"}}"#))).await.unwrap();
    };
    let receiving = async {
        let mut latencies = Vec::new();
        loop {
            let text = receiver.next().await.unwrap().unwrap().into_text().unwrap();
            let Some((_, at)) = text.split_once(r#""at":""#) else { return latencies };
            let at = Duration::from_nanos(at.split_once('"').unwrap().0.parse().unwrap());
            latencies.push(origin.elapsed() - at);
        }
    };
    tokio::join!(sending, receiving).1
}

async fn join(http: SocketAddr, path: &str) -> (WebSocketStream<TcpStream>, String) {
    let stream = TcpStream::connect(http).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut socket, _) = client_async(format!("ws://{http}{path}"), stream).await.unwrap();
    let login = r#"{"event":"authenticate","data":{"username":"u","password":"x"}}"#;
    socket.send(Message::text(login)).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let (_, id) = reply.split_once(r#""peer_id":""#).unwrap();
    let id = id.split_once('"').unwrap().0.to_owned();
    (socket, id)
}

fn memory(edge: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// User and system time of the process.
fn cpu(edge: &Child) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", edge.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // In ticks of 10 ms.
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}
