//! The built program with a TURN service, and a client of it.

#![allow(unreachable_pub, reason = "a module of helpers")]

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use xrtc::stun::{Message, Method};
use xrtc::turn::wire::{attribute, channel_header, method};

use crate::support::edge::{Edge, free_tcp, free_udp};
use crate::support::stream;
use crate::turn_support::*;

const RELOADED: &str = "reloaded file=";
const REFUSED: &str = "reload refused; the configuration before stays";

/// What the file says.
#[derive(Clone, Default)]
pub struct File {
    /// Of `turn:`.
    pub turn: String,
    /// Of the `http:` on [`World::web`].
    pub http: String,
    /// Further keys of `net:` of the ICE port.
    pub net: String,
    /// A further service.
    pub service: String,
    /// Further sections.
    pub rest: String,
}

impl File {
    pub fn new(turn: &str) -> File {
        let http = "{routes: {}}".into();
        File { turn: turn.into(), http, ..File::default() }
    }

    fn text(&self, at: &Places, dir: &Path) -> String {
        let Places { turn, ice, web, admin } = at;
        let File { turn: section, http, net, service, rest } = self;
        let dir = dir.display();
        let tls = format!(r#"tls_crt_file: "{dir}/cert.pem", tls_key_file: "{dir}/key.pem""#);
        format!(
            r#"services:
  turn0: {{proto: turn, net: {{addr: "{turn}", {tls}}}, turn: {{{section}}}}}
  ice0: {{proto: udp, net: {{addr: "{ice}", enable_ice: true{net}}}}}
  admin0: {{proto: admin, net: {{addr: "{admin}"}}}}
  web0:
    proto: tcp
    enable_http: true
    net: {{addr: "{web}", enable_ice: true, enable_turn: true, {tls}{net}}}
    http: {http}
{service}
media: {{workers: 2}}
drain_timeout: 100ms
{rest}"#
        )
    }
}

#[derive(Clone, Copy)]
struct Places {
    turn: SocketAddr,
    ice: SocketAddr,
    web: SocketAddr,
    admin: SocketAddr,
}

/// The program.
pub struct World {
    edge: Edge,
    /// The TURN service, UDP and TCP.
    pub turn: SocketAddr,
    /// An ICE port, UDP.
    pub ice: SocketAddr,
    /// HTTP, ICE-TCP and TURN on one TCP port.
    pub web: SocketAddr,
    admin: SocketAddr,
}

impl World {
    pub fn new(turn: &str) -> World {
        World::with(&File::new(turn))
    }

    pub fn with(file: &File) -> World {
        let chosen = Cell::new(None);
        let edge = Edge::start_with(|ground| {
            let places = Places { turn: ground.udp, ice: free_udp(), web: ground.tcp, admin: free_tcp() };
            chosen.set(Some(places));
            stream::write_certificate(ground.dir, "edge");
            file.text(&places, ground.dir)
        });
        let Places { turn, ice, web, admin } = chosen.get().unwrap();
        World { edge, turn, ice, web, admin }
    }

    /// Has it read another file; fails where it refuses.
    pub async fn reload(&self, file: &File) {
        self.read_again(file, RELOADED).await;
    }

    /// Has it read a file that it refuses.
    pub async fn reload_badly(&self, file: &File) {
        self.read_again(file, REFUSED).await;
    }

    async fn read_again(&self, file: &File, outcome: &str) {
        let before = self.edge.log().matches(outcome).count();
        let World { turn, ice, web, admin, .. } = *self;
        self.edge.write_routes(&file.text(&Places { turn, ice, web, admin }, self.edge.dir()));
        self.edge.signal("HUP");
        self.edge.says(outcome, before + 1).await;
    }

    pub fn log(&self) -> String {
        self.edge.log()
    }

    /// Asks the admin service.
    pub fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let (status, _, body) = http(self.admin, method, path, &[], "");
        (status, body)
    }

    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.admin("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until a metric has at least this value.
    pub fn metric(&self, name: &str, least: u64) {
        let start = Instant::now();
        loop {
            let text = self.admin("GET", "/metrics").1;
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            if value.is_some_and(|value| value >= least as f64) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "{name}: {value:?}, expected {least}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// A connection to the TURN service.
    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.turn).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// A client of the TURN service.
    pub fn client(&self) -> Client {
        Client { socket: socket_to(self.turn), next: 1, signer: None }
    }

    /// A client with an allocation.
    pub fn allocated(&self, username: &str, password: &str) -> (Client, SocketAddr) {
        let mut client = self.client();
        let relay = client.allocate(username, password).unwrap_or_else(|code| panic!("refused with {code}"));
        (client, relay)
    }

    /// The code with which an Allocate of this user is refused.
    pub fn refused(&self, username: &str, password: &str) -> u16 {
        self.client().allocate(username, password).expect_err("a refusal")
    }
}

/// One request; status, head and body.
pub fn http(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        dechunked(body)
    } else {
        body.into()
    };
    (status, head.to_owned(), body)
}

fn dechunked(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((len, after)) = rest.split_once("\r\n") {
        let len = usize::from_str_radix(len, 16).unwrap();
        if len == 0 {
            break;
        }
        whole += &after[..len];
        rest = &after[len + 2..];
    }
    whole
}

/// Over TCP or TLS.
pub fn ask_over(stream: &mut (impl Read + Write), request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut head = [0; 20];
    stream.read_exact(&mut head).unwrap();
    let mut answer = head.to_vec();
    answer.resize(20 + usize::from(u16::from_be_bytes([head[2], head[3]])), 0);
    stream.read_exact(&mut answer[20..]).unwrap();
    answer
}

/// Gets a relay over TCP or TLS.
pub fn allocate_over(stream: &mut (impl Read + Write), username: &str, password: &str) -> SocketAddr {
    let (realm, nonce) = challenged(&ask_over(stream, &allocate(1, None)));
    let signer = Signer::new(username, password, &realm, &nonce);
    let answer = ask_over(stream, &allocate(2, Some(&signer)));
    assert_eq!(code(&answer), 0);
    Message::parse(&answer).unwrap().xor_address(attribute::XOR_RELAYED_ADDRESS).unwrap()
}

pub fn socket_to(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Sends and takes what comes back.
pub fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    receive(socket).expect("an answer")
}

pub fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut answer = vec![0; 2000];
    let len = socket.recv(&mut answer).ok()?;
    answer.truncate(len);
    Some(answer)
}

/// Whether nothing comes back; an answer would come within a millisecond.
pub fn is_silent(socket: &UdpSocket, request: &[u8]) -> bool {
    socket.send(request).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let answer = receive(socket);
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    answer.is_none()
}

/// Who asks for a relay.
pub struct Client {
    pub socket: UdpSocket,
    next: u64,
    signer: Option<Signer>,
}

impl Client {
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn signer(&self) -> Signer {
        self.signer.clone().unwrap()
    }

    /// Realm and nonce, from a first request without a credential.
    pub fn challenged(&mut self, username: &str, password: &str) -> Signer {
        let number = self.number();
        let answer = ask(&self.socket, &allocate(number, None));
        assert_eq!(code(&answer), 401);
        let (realm, nonce) = challenged(&answer);
        Signer::new(username, password, &realm, &nonce)
    }

    /// A nonce for a second user of the same client, from a request of his that fails.
    pub fn challenged_as(&mut self, username: &str, password: &str) -> Signer {
        let Signer { realm, nonce, .. } = self.signer();
        Signer::new(username, password, &realm, &nonce)
    }

    /// The relay, or the code of a refusal.
    pub fn allocate(&mut self, username: &str, password: &str) -> Result<SocketAddr, u16> {
        let signer = self.challenged(username, password);
        let number = self.number();
        let answer = ask(&self.socket, &allocate(number, Some(&signer)));
        assert_eq!(Message::parse(&answer).unwrap().transaction_id(), id(number));
        match code(&answer) {
            0 => {
                self.signer = Some(signer);
                Ok(Message::parse(&answer).unwrap().xor_address(attribute::XOR_RELAYED_ADDRESS).unwrap())
            }
            code => Err(code),
        }
    }

    /// Any request under the credential of the allocation; the code of its answer.
    pub fn request(&mut self, method: Method, attributes: Attributes<'_>) -> u16 {
        let (number, signer) = (self.number(), self.signer());
        code(&ask(&self.socket, &request(method, number, attributes, Some(&signer))))
    }

    pub fn refresh(&mut self, seconds: u32) -> u16 {
        self.request(method::REFRESH, &[lifetime(seconds)])
    }

    pub fn bind(&mut self, peer: SocketAddr, number: u16) -> u16 {
        let (n, signer) = (self.number(), self.signer());
        code(&ask(&self.socket, &with_peers(method::CHANNEL_BIND, n, &[peer], &[channel(number)], &signer)))
    }

    pub fn permit(&mut self, peer: SocketAddr) -> u16 {
        let (n, signer) = (self.number(), self.signer());
        code(&ask(&self.socket, &with_peers(method::CREATE_PERMISSION, n, &[peer], &[], &signer)))
    }

    pub fn send(&self, number: u16, payload: &[u8]) {
        self.socket.send(&[&channel_header(number, payload.len())[..], payload].concat()).unwrap();
    }
}
