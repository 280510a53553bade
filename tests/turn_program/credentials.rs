//! Credentials that the program gives out are credentials that it takes: over HTTP, with the answer to a WHIP offer, and in a
//! room; and a relay on the port of the page.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite;

use crate::support::within;
use crate::world::*;

const OFFER: &str = include_str!("../vectors/whip/offer.sdp");
const ANSWER: &str = include_str!("../vectors/whip/answer.sdp");
const TURN: &str = "realm: example.org, auth: {secrets: [rest-secret]}";
const MINTED: &str = r#"turn_credentials: {uris: ["turn:turn.example.org:3478?transport=udp", "turns:turn.example.org:5349"], secret: rest-secret, ttl: 1h"#;

fn minting(more: &str) -> World {
    let http = format!("{{routes: {{}}, {MINTED}{more}}}}}");
    World::with(&File { http, ..File::new(TURN) })
}

#[test]
fn what_an_http_route_mints_gets_a_relay() {
    let world = minting("");
    let (status, head, body) = http(world.web, "GET", "/turn/credentials", &[], "");
    assert_eq!(status, 200, "{head}");
    assert!(head.to_lowercase().contains("cache-control: no-store"), "{head}");
    let minted: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(minted["ttl"], 3600);
    assert_eq!(minted["uris"][1], "turns:turn.example.org:5349");
    assert_eq!(minted["iceServers"][0]["credential"], minted["password"]);
    let text = |key: &str| minted[key].as_str().unwrap();
    world.allocated(text("username"), text("password"));
    assert_eq!(world.refused(text("username"), "another"), 401);
    // One that is changed to live longer is nobody's.
    let longer = format!("9{}", text("username"));
    assert_eq!(world.refused(&longer, text("password")), 401);
}

#[test]
fn with_a_token_only_who_has_it_gets_a_credential() {
    let world = minting(", token: a-token-of-sixteen, path: /ice");
    assert_eq!(http(world.web, "GET", "/turn/credentials", &[], "").0, 404);
    assert_eq!(http(world.web, "GET", "/ice", &[], "").0, 401);
    assert_eq!(http(world.web, "GET", "/ice", &[("Authorization", "Bearer wrong")], "").0, 401);
    let (status, _, body) =
        http(world.web, "POST", "/ice", &[("Authorization", "Bearer a-token-of-sixteen")], "");
    assert_eq!(status, 200);
    let minted: Value = serde_json::from_str(&body).unwrap();
    world.allocated(minted["username"].as_str().unwrap(), minted["credential"].as_str().unwrap());
}

/// A WHIP server that takes every offer.
fn whip_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || accept_offer(stream));
        }
    });
    addr
}

fn accept_offer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..len]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= wanted.unwrap_or(0) {
            let len = ANSWER.len();
            let answer = format!(
                "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nLocation: /session/1\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{ANSWER}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            return;
        }
    }
}

#[test]
fn a_whip_client_is_told_of_the_relay_and_gets_it() {
    let backend = whip_server();
    let http_section =
        format!("{{routes: {{whip: {{paths: [/whip], upstream: \"http://{backend}\"}}}}, {MINTED}}}}}");
    let world = World::with(&File { http: http_section, ..File::new(TURN) });
    let offer = [("Content-Type", "application/sdp")];
    let (status, head, body) = http(world.web, "POST", "/whip/live", &offer, OFFER);
    assert_eq!(status, 201, "{head}\n{body}");
    let links: Vec<HashMap<String, String>> = head.lines().filter_map(link).collect();
    assert_eq!(links.len(), 2, "{head}");
    assert_eq!(links[0]["uri"], "turn:turn.example.org:3478?transport=udp");
    for link in &links {
        assert_eq!((&*link["rel"], &*link["credential-type"]), ("ice-server", "password"));
        world.allocated(&link["username"], &link["credential"]);
    }
}

/// `Link: <uri>; rel="…"; username="…"`, taken apart.
fn link(line: &str) -> Option<HashMap<String, String>> {
    let (name, value) = line.split_once(": ")?;
    let value = value.strip_prefix('<').filter(|_| name.eq_ignore_ascii_case("link"))?;
    let (uri, rest) = value.split_once('>')?;
    let pairs = rest.split(';').filter_map(|part| part.trim().split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
    Some(pairs.chain([("uri".to_owned(), uri.to_owned())]).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_room_hands_out_gets_a_relay() {
    let http_section = "{routes: {book: {paths: [/signaling], signalling: {protocol: blueprints, turn: {url: \"turn:turn.example.org:3478\", secret: rest-secret, lifetime: 60s}}}}}";
    let world = World::with(&File { http: http_section.into(), ..File::new(TURN) });
    let url = format!("ws://{}/signaling", world.web);
    let stream = tokio::net::TcpStream::connect(world.web).await.unwrap();
    let (mut room, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    room.send(tungstenite::Message::text(r#"{"type":"GETROOM","value":""}"#)).await.unwrap();
    let answer = within(5, "a room", room.next()).await.unwrap().unwrap();
    let told: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
    assert_eq!(told["url"], "turn:turn.example.org:3478", "{told}");
    let (username, credential) = (told["username"].as_str().unwrap(), told["credential"].as_str().unwrap());
    world.allocated(username, credential);
}

/// `enable_turn` on the port of page and rooms: TURN over TCP, told apart by its first bytes.
#[test]
fn the_port_of_the_page_carries_turn_too() {
    let world = minting("");
    let (_, _, body) = http(world.web, "GET", "/turn/credentials", &[], "");
    let minted: Value = serde_json::from_str(&body).unwrap();
    let text = |key: &str| minted[key].as_str().unwrap();
    let mut stream = TcpStream::connect(world.web).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    allocate_over(&mut stream, text("username"), text("password"));
    world.metric("xrtc_turn_allocations{service=\"turn0\"}", 1);
}
