//! Registrations per CPU second: the built edge as a process, two kept connections, every request a session of its own.
//! The CPU time is that of the whole process: HTTP, JSON, log lines, and the workers that learn each registration.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people, which may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const REGISTRATIONS: usize = 30_000;
const CONNECTIONS: usize = 2;

fn main() {
    let (udp, http) = (free_udp(), free_tcp());
    let config = std::env::temp_dir().join(format!("xrtc-bench-{}.yml", std::process::id()));
    std::fs::write(&config, routes(udp, http)).unwrap();
    let mut edge = Command::new(env!("CARGO_BIN_EXE_xrtc"))
        .arg("run")
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while TcpStream::connect(http).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "xrtc does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (before, start) = (cpu(edge.id()), Instant::now());
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || register(http, connection));
        }
    });
    let (wall, cpu) = (start.elapsed(), cpu(edge.id()) - before);
    let _ = edge.kill();
    let _ = edge.wait();
    let _ = std::fs::remove_file(&config);
    println!(
        "{REGISTRATIONS} registrations: {:.2} s of CPU, {:.0} per CPU second, {:.0} per second",
        cpu.as_secs_f64(),
        REGISTRATIONS as f64 / cpu.as_secs_f64(),
        REGISTRATIONS as f64 / wall.as_secs_f64(),
    );
}

fn register(http: SocketAddr, connection: usize) {
    let stream = TcpStream::connect(http).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    for number in (connection..REGISTRATIONS).step_by(CONNECTIONS) {
        let body = format!(
            r#"{{"session_key":"k{number}","offer_ice":{{"ufrag":"o{number:06x}","pwd":"opwdpwdpwdpwdpwdpwd{number:06x}","options":""}},"answer_ice":{{"ufrag":"a{number:06x}","pwd":"apwdpwdpwdpwdpwdpwd{number:06x}","options":""}},"candidates":["a=candidate:1 1 udp 2013266431 127.0.0.1 {} typ host"]}}"#,
            20_000 + number % 10_000
        );
        let head = format!(
            "POST /webrtc/request HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
        writer.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        read_answer(&mut reader);
    }
}

fn read_answer(reader: &mut impl BufRead) {
    let mut length = 0;
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
}

/// Run time of all threads of a process, as the scheduler counts it.
fn cpu(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let run = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanos = run.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

fn routes(udp: SocketAddr, http: SocketAddr) -> String {
    format!(
        r#"services:
  udp0: {{proto: udp, net: {{addr: "{udp}", enable_ice: true, candidate_ips: ["{}"]}}}}
  http0: {{proto: http, net: {{addr: "{http}"}}}}
"#,
        udp.ip()
    )
}

fn free_udp() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn free_tcp() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
