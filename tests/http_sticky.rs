//! Upstream groups: who sticks to which server, by cookie and by Janus session, and how a page may use several routes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::Response;
use hyper::body::Incoming;
use proxy_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xrtc::config::{RouteUpstream, Scheme};
use xrtc::http::{Arrival, Phase, TlsFacts, serve_connection};

#[tokio::test]
async fn a_cookie_keeps_a_client_on_its_server_and_a_client_without_one_takes_turns() {
    let (group, _upstreams) = named_group(3).await;
    let edge = Edge::with_groups(http(vec![in_group("/a")]), &[group]).await;
    for turn in ["0", "1", "2"] {
        let first = get(edge.addr, "/a", &[]).await;
        assert_eq!(first.body, turn);
        let cookie = first.cookie.unwrap();
        for _ in 0..4 {
            let again = get(edge.addr, "/a", &[("cookie", &format!("x=y; {cookie}; z"))]).await;
            assert_eq!((again.body.as_str(), again.cookie), (turn, None));
            let key = cookie.split_once('=').unwrap().1;
            assert_eq!(get(edge.addr, "/a", &[("gosessionid", key)]).await.body, turn);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_cookie_is_for_the_whole_site_and_no_script_and_only_groups_set_one() {
    let (group, upstreams) = named_group(1).await;
    let routes = vec![in_group("/group"), plain("/single", upstreams[0].addr)];
    let edge = Edge::with_groups(http(routes), &[group]).await;
    let sent = get(edge.addr, "/group", &[]).await.set_cookie.unwrap();
    let (pair, attributes) = sent.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly");
    let key = pair.strip_prefix("gosessionid=").unwrap();
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    assert_eq!(get(edge.addr, "/single", &[]).await.set_cookie, None);
    edge.stop().await;
}

#[tokio::test]
async fn on_tls_the_cookie_is_secure() {
    let (group, _upstreams) = named_group(1).await;
    let (service, _record) = service(&http(vec![in_group("/")]), &[group]);
    let tls = TlsFacts { version: "tls13", cipher: "TLS13_AES_128_GCM_SHA256".to_owned() };
    let addr = SocketAddr::from(([127, 0, 0, 1], 443));
    let (mut client, io) = tokio::io::duplex(4096);
    let (_phase, seen) = tokio::sync::watch::channel(Phase::Serving);
    let arrival = Arrival { peer: addr, local: addr, tls: Some(tls) };
    tokio::spawn(serve_connection(io, arrival, service, seen));
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    in_time(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("; Path=/; Max-Age=3600; HttpOnly; Secure\r\n"), "{answer}");
}

#[tokio::test]
async fn a_key_that_the_edge_did_not_give_is_not_taken_over() {
    let (group, _upstreams) = named_group(2).await;
    let edge = Edge::with_groups(http(vec![in_group("/a")]), &[group]).await;
    let foreign = format!("gosessionid={}", "ab".repeat(32));
    let first = get(edge.addr, "/a", &[("cookie", &foreign)]).await;
    let given = first.cookie.unwrap();
    assert_ne!(given, foreign);
    let second = get(edge.addr, "/a", &[("cookie", &foreign)]).await;
    assert_ne!(first.body, second.body, "a foreign key pins nothing");
    edge.stop().await;
}

#[tokio::test]
async fn a_session_pins_the_server_inside_the_matched_route_and_decides_the_route_only_where_nothing_matches()
{
    let (group, upstreams) = named_group(2).await;
    let (mut second, _more) = named_group(2).await;
    second.name = "second".into();
    let mut other = in_group("/b");
    other.upstream = RouteUpstream::Group(1);
    let routes = vec![in_group("/a"), other, plain("/c", upstreams[0].addr)];
    let edge = Edge::with_groups(http(routes), &[group, second]).await;
    // Moves the second group's turn, so that the two routes of this page differ.
    get(edge.addr, "/b", &[]).await;
    let first = get(edge.addr, "/a", &[]).await;
    let cookie = first.cookie.unwrap();
    let cookie = [("cookie", cookie.as_str())];
    for _ in 0..3 {
        assert_eq!(get(edge.addr, "/b", &cookie).await.body, "1");
        assert_eq!(get(edge.addr, "/a", &cookie).await.body, "0");
        assert_eq!(get(edge.addr, "/c", &cookie).await.body, "0");
        assert_eq!(get(edge.addr, "/unrouted", &cookie).await.body, "0", "the route that it used last");
    }
    get(edge.addr, "/b", &cookie).await;
    assert_eq!(get(edge.addr, "/unrouted", &cookie).await.body, "1");
    assert_eq!(get(edge.addr, "/unrouted", &[]).await.status, 404);
    assert_eq!(get(edge.addr, "/unrouted", &[("cookie", "gosessionid=x")]).await.status, 404);
    edge.stop().await;
}

#[tokio::test]
async fn http_and_ws_of_one_machine_go_together() {
    let (mut group, _http) = named_group(2).await;
    let mut sockets = Vec::new();
    for number in 0..2 {
        let upstream = named_socket(number).await;
        group.servers.push(server(Scheme::Ws, upstream.addr));
        sockets.push(upstream);
    }
    let edge = Edge::with_groups(http(vec![in_group("/a")]), &[group]).await;
    for expected in ["0", "1", "0"] {
        let first = get(edge.addr, "/a", &[]).await;
        assert_eq!(first.body, expected);
        let cookie = first.cookie.unwrap();
        for _ in 0..2 {
            assert_eq!(greeting(edge.addr, &cookie).await, expected, "the n-th ws server of the host");
            assert_eq!(get(edge.addr, "/a", &[("cookie", &cookie)]).await.body, expected);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_janus_session_stays_with_the_server_that_made_it_with_and_without_cookie() {
    let (group, _upstreams) = janus_group(2).await;
    let edge = Edge::with_groups(http(vec![janus_route("/janus")]), &[group]).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(create(edge.addr, &[]).await);
    }
    let per_server = sessions.iter().fold(HashMap::new(), |mut counts, (server, _)| {
        *counts.entry(server.clone()).or_insert(0) += 1;
        counts
    });
    assert_eq!(per_server.values().copied().collect::<Vec<_>>(), [3, 3], "{sessions:?}");
    for _ in 0..3 {
        for (server, id) in &sessions {
            let poll = get(edge.addr, &format!("/janus/{id}?maxev=10"), &[]).await.body;
            assert!(poll.contains(&format!("{server:?}")), "{poll}");
            let path = format!("/janus/{id}/42");
            let (_, said) = ask(edge.addr, "POST", &path, r#"{"janus":"message","transaction":"t"}"#).await;
            assert!(said.contains(&format!("{server:?}")), "{said}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_session_id_that_nobody_knows_goes_by_cookie() {
    let (group, _upstreams) = janus_group(2).await;
    let edge = Edge::with_groups(http(vec![janus_route("/janus")]), &[group]).await;
    let first = get(edge.addr, "/janus/info", &[]).await;
    assert!(first.body.contains(r#""server":"0""#), "{}", first.body);
    let cookie = first.cookie.unwrap();
    for _ in 0..4 {
        let unknown = get(edge.addr, "/janus/9999", &[("cookie", &cookie)]).await.body;
        assert!(unknown.contains(r#""server":"0""#), "{unknown}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_server_of_a_dead_janus_session_is_a_502_and_new_sessions_go_elsewhere() {
    let (group, mut upstreams) = janus_group(2).await;
    let edge = Edge::with_groups(http(vec![janus_route("/janus")]), &[group]).await;
    let (a, b) = (create(edge.addr, &[]).await, create(edge.addr, &[]).await);
    assert_ne!(a.0, b.0);
    drop(upstreams.remove(a.0.parse().unwrap()));
    tokio::task::yield_now().await;

    let answer = get(edge.addr, &format!("/janus/{}", a.1), &[]).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    for _ in 0..4 {
        assert_eq!(create(edge.addr, &[]).await.0, b.0);
    }
    let alive = get(edge.addr, &format!("/janus/{}", b.1), &[]).await;
    assert_eq!(alive.status, 200);
    assert_eq!(get(edge.addr, &format!("/janus/{}", a.1), &[]).await.status, 502);
    edge.stop().await;
}

#[tokio::test]
async fn the_cookie_of_a_dead_server_moves_to_the_next_one() {
    let (group, mut upstreams) = named_group(2).await;
    let edge = Edge::with_groups(http(vec![in_group("/a")]), &[group]).await;
    let first = get(edge.addr, "/a", &[]).await;
    assert_eq!(first.body, "0");
    let cookie = first.cookie.unwrap();
    drop(upstreams.remove(0));
    tokio::task::yield_now().await;
    for _ in 0..3 {
        let moved = get(edge.addr, "/a", &[("cookie", &cookie)]).await;
        assert_eq!((moved.body.as_str(), moved.cookie), ("1", None));
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_session_made_over_websocket_is_found_over_rest() {
    let (mut group, _http) = janus_group(2).await;
    let mut sockets = Vec::new();
    for number in 0..2 {
        let created = format!(r#"{{"janus":"success","transaction":"t","data":{{"id":{}}}}}"#, 500 + number);
        let upstream = greeting_socket(created).await;
        group.servers.push(server(Scheme::Ws, upstream.addr));
        sockets.push(upstream);
    }
    let edge = Edge::with_groups(http(vec![janus_route("/janus")]), &[group]).await;
    for number in ["0", "1"] {
        let created = socket_greeting(edge.addr, "/janus", "x=y").await;
        assert!(created.contains(&format!("50{number}")), "{created}");
    }
    for (id, number) in [(501, "1"), (500, "0"), (501, "1"), (501, "1")] {
        let poll = get(edge.addr, &format!("/janus/{id}"), &[]).await.body;
        assert!(poll.contains(&format!(r#""server":"{number}""#)), "{poll}");
    }
    edge.stop().await;
}

/// What a test looks at.
struct Answer {
    status: u16,
    body: String,
    set_cookie: Option<String>,
    /// The pair alone, as a browser would send it.
    cookie: Option<String>,
}

async fn get(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(addr, "GET", path, headers, "").await
}

async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Answer {
    let mut asked = request(method, path, full(body));
    for (name, value) in headers {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        asked.headers_mut().append(name, value.parse().unwrap());
    }
    let response: Response<Incoming> = Client::connect(addr).await.send(asked).await.unwrap();
    let status = response.status().as_u16();
    let set_cookie = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
    let cookie = set_cookie.as_deref().map(|cookie| cookie.split(';').next().unwrap().to_owned());
    Answer { status, body: text(response).await, set_cookie, cookie }
}

/// The server that made a Janus session, and its id.
async fn create(addr: SocketAddr, headers: &[(&str, &str)]) -> (String, u64) {
    let body = r#"{"janus":"create","transaction":"t"}"#;
    let answer = send(addr, "POST", "/janus", headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let made: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    (made["server"].as_str().unwrap().to_owned(), made["data"]["id"].as_u64().unwrap())
}

fn janus_route(prefix: &str) -> xrtc::config::Route {
    xrtc::config::Route { upstream: RouteUpstream::Group(0), ..read(prefix, ([127, 0, 0, 1], 1).into()) }
}

/// Servers that make Janus sessions, and say in every answer who they are.
async fn janus_group(count: usize) -> (xrtc::config::UpstreamGroup, Vec<Upstream>) {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    servers_of(count, |number, request| {
        let about = request.uri().path().trim_start_matches("/janus").trim_start_matches('/').to_owned();
        json(if about.is_empty() {
            let id = NEXT.fetch_add(1, Ordering::Relaxed);
            format!(r#"{{"janus":"success","transaction":"t","data":{{"id":{id}}},"server":"{number}"}}"#)
        } else if about.starts_with("9999") {
            format!(r#"{{"janus":"error","error":{{"code":458}},"server":"{number}"}}"#)
        } else {
            format!(r#"{{"janus":"ack","about":"{about}","server":"{number}"}}"#)
        })
    })
    .await
}

async fn named_socket(number: usize) -> Upstream {
    greeting_socket(number.to_string()).await
}

async fn greeting(addr: SocketAddr, cookie: &str) -> String {
    socket_greeting(addr, "/a", cookie).await
}

/// The first message of a WebSocket.
async fn socket_greeting(addr: SocketAddr, path: &str, cookie: &str) -> String {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut socket, _) = in_time(tokio_tungstenite::client_async(request, stream)).await.unwrap();
    in_time(socket.next()).await.unwrap().unwrap().into_text().unwrap().to_string()
}
