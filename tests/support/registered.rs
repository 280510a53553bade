//! Sessions registered by REST, whose STUN passes the edge unchanged, and sockets that know no more ICE than a check.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use xrtc::stun::{AttributeType, Builder, Class, Key, Message, Method};

pub const CLIENT_PWD: &str = "offerpassword0123456789";
pub const BACKEND_PWD: &str = "answerpassword01234567";
pub const MEDIA: [u8; 24] = [0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
/// How long something would have to come that must not; the edge forwards within a millisecond.
pub const SILENCE: Duration = Duration::from_millis(200);

/// Registers the pair `aFrg:oFrg` and returns what the edge answers.
pub fn register(edge: SocketAddr, backend_pwd: &str, candidates: &[String]) -> Value {
    let body = json!({
        "session_key": "room 7",
        "offer_ice": {"ufrag": "oFrg", "pwd": CLIENT_PWD, "options": ""},
        "answer_ice": {"ufrag": "aFrg", "pwd": backend_pwd, "options": ""},
        "candidates": candidates,
    });
    post(edge, &body)
}

/// The candidate line for `transport` at `addr`.
pub fn candidate(transport: &str, addr: SocketAddr) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    let tcptype = if transport == "tcp" { " tcptype passive" } else { "" };
    format!("a=candidate:1 1 {transport} 2013266431 {ip} {port} typ host{tcptype}")
}

fn post(addr: SocketAddr, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!(
        "POST /webrtc/request HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap()
}

/// A UDP socket of one side.
pub struct Peer(UdpSocket);

impl Peer {
    pub fn new() -> Peer {
        Peer::at("127.0.0.1:0")
    }

    /// The same on an address of one's choice.
    pub fn at(addr: &str) -> Peer {
        Peer(UdpSocket::bind(addr).unwrap())
    }

    /// The candidate line that names it.
    pub fn candidate(&self) -> String {
        candidate("udp", self.addr())
    }

    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn send(&self, packet: &[u8], to: SocketAddr) {
        self.0.send_to(packet, to).unwrap();
    }

    pub fn waits(&self, time: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 2048];
        let (length, from) = self.0.recv_from(&mut buffer).ok()?;
        Some((buffer[..length].to_vec(), from))
    }

    #[track_caller]
    pub fn next(&self) -> (Vec<u8>, SocketAddr) {
        self.waits(Duration::from_secs(5)).expect("a packet within 5 s")
    }
}

/// A check of `sender`, which knows the receiver's password; the same for the same number.
pub fn request(receiver: &str, sender: &str, pwd: &str, number: u32) -> Vec<u8> {
    let mut id = *b"checked!----";
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut buffer = [0; 256];
    let length = Builder::new(&mut buffer, Class::Request, Method::BINDING, id)
        .ufrags(receiver, sender)
        .priority(0x6e7f_1eff)
        .ice_controlling(1)
        .use_candidate()
        .integrity(&Key::short_term(pwd))
        .fingerprint()
        .finish()
        .unwrap();
    buffer[..length].to_vec()
}

pub fn success(check: &[u8], mapped: SocketAddr, pwd: &str) -> Vec<u8> {
    let id = Message::parse(check).unwrap().transaction_id();
    let mut buffer = [0; 256];
    let length = Builder::new(&mut buffer, Class::Success, Method::BINDING, id)
        .xor_mapped_address(mapped)
        .attribute(AttributeType::SOFTWARE, b"a backend")
        .integrity(&Key::short_term(pwd))
        .fingerprint()
        .finish()
        .unwrap();
    buffer[..length].to_vec()
}
