//! Rooms and the operator's own servers: who may log in, who hears of joins and leaves, and what a changed file does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;
mod rooms_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use proxy_support::Upstream;
use rooms_support::*;
use serde_json::{Value, json};
use sha2::Sha256;

/// What was told: the JSON, its signature, its bytes.
type Told = (Value, Option<String>, Vec<u8>);

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Told>>>);

impl Seen {
    fn events(&self) -> Vec<String> {
        let seen = self.0.lock().unwrap();
        seen.iter()
            .map(|(body, ..)| format!("{} {}", body["event"], body["username"]).replace('"', ""))
            .collect()
    }
}

/// A server that keeps what it is told, and answers what `answer` says to the n-th request.
async fn told(answer: fn(usize, &Value) -> (u16, Value)) -> (Upstream, Seen) {
    let seen = Seen::default();
    let (keep, count) = (seen.clone(), Arc::new(AtomicUsize::new(0)));
    let upstream = Upstream::start(move |request, _| {
        let (keep, count) = (keep.clone(), count.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes().to_vec();
            let value: Value = serde_json::from_slice(&body).unwrap();
            let (status, reply) = answer(count.fetch_add(1, Ordering::Relaxed), &value);
            if status == 200 {
                let signature = head.headers.get("x-signature").map(|it| it.to_str().unwrap().to_owned());
                keep.0.lock().unwrap().push((value, signature, body));
            }
            Response::builder().status(status).body(Full::new(Bytes::from(reply.to_string()))).unwrap()
        }
    })
    .await;
    (upstream, seen)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(8), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_webhook_says_who_may_log_in() {
    let (upstream, seen) = told(|_, question| match question["username"].as_str() {
        Some("web") => (200, json!({"password": "secret"})),
        _ => (404, json!({})),
    })
    .await;
    let routes = format!(
        "        rooms: {{signalling: {{protocol: webrtc-server, auth: {{users: {{ann: a}}, webhook: 'http://{}/auth'}}}}}}",
        upstream.addr
    );
    let (edge, _) = rooms(&routes).await;
    let (_ann, _) = join(&edge, "/websocket/r", "ann", "a").await;
    assert_eq!(seen.events().len(), 0, "the table knows ann");
    let (_web, _) = join(&edge, "/websocket/r", "web", "secret").await;
    let question = seen.0.lock().unwrap()[0].0.clone();
    let expected =
        json!({"username": "web", "purpose": "signalling", "room": "r", "remote_addr": "127.0.0.1"});
    assert_eq!(question, expected);
    let mut nobody = dial(&edge, "/websocket/r").await;
    for data in
        [json!({"username": "web", "password": "x"}), json!({"username": "nobody", "password": "secret"})]
    {
        say(&mut nobody, &format!(r#"{{"event":"authenticate","data":{data}}}"#)).await;
        // What is sent before the answer waits for it, and is answered after it.
        say(&mut nobody, "ping").await;
        assert_eq!(hear(&mut nobody).await, r#"{"event":"unauthorized"}"#);
        assert_eq!(hear(&mut nobody).await, "pong");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_webhook_that_hangs_does_not_stop_the_clock_of_the_login() {
    let upstream = Upstream::raw(|_stream, _| std::future::pending()).await;
    let routes = format!(
        "        rooms: {{signalling: {{protocol: webrtc-server, auth_timeout: 400ms, auth: {{webhook: 'http://{}'}}}}}}",
        upstream.addr
    );
    let (edge, _) = rooms(&routes).await;
    let mut socket = dial(&edge, "/websocket/r").await;
    let start = Instant::now();
    say(&mut socket, r#"{"event":"authenticate","data":{"username":"a","password":"b"}}"#).await;
    assert_eq!(closed(&mut socket).await.0, 1000);
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    edge.stop().await;
}

#[tokio::test]
async fn joins_and_leaves_are_told_in_order_signed_and_again_when_it_fails() {
    // The second notice fails once; the third one must wait for it.
    let (upstream, seen) =
        told(|number, _| if number == 1 { (500, json!({})) } else { (200, json!({})) }).await;
    let routes = format!(
        "        rooms: {{signalling: {{protocol: webrtc-server, auth: {{password: x}}, webhook: {{url: 'http://{}/h', secret: key}}}}}}",
        upstream.addr
    );
    let (edge, rooms) = rooms(&routes).await;
    let start = Instant::now();
    let (mut ann, _) = join(&edge, "/websocket/r", "ann", "x").await;
    let (bob, bob_id) = join(&edge, "/websocket/r", "bob", "x").await;
    hear(&mut ann).await;
    drop(bob);
    assert!(hear(&mut ann).await.contains("left"));
    assert!(start.elapsed() < Duration::from_secs(1), "the call does not wait");
    let (_cid, _) = join(&edge, "/websocket/other", "cid", "x").await;
    until("three notices", || seen.events().len() == 4).await;
    let of_r: Vec<String> = seen.events().into_iter().filter(|event| !event.contains("cid")).collect();
    assert_eq!(of_r, ["join ann", "join bob", "leave bob"]);
    assert_eq!(seen.events()[1], "join cid", "another room does not wait");
    for (body, signature, bytes) in seen.0.lock().unwrap().iter() {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(b"key").unwrap();
        mac.update(bytes);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signature.as_deref(), Some(&*format!("sha256={hex}")), "{body}");
        if body["event"] == "leave" {
            assert_eq!((&body["peer_id"], &body["room"]), (&json!(bob_id), &json!("r")));
            assert_eq!(body["others"].as_array().unwrap().len(), 1);
        }
    }
    drop(ann);
    rooms.settle(Duration::from_secs(5)).await;
    until("the last one", || seen.events().contains(&"leave ann".to_owned())).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_changed_file_keeps_everybody_in_and_holds_from_then_on() {
    let before = "        rooms: {signalling: {protocol: webrtc-server, auth: {users: {ann: a}}}}";
    let after =
        "        rooms: {signalling: {protocol: webrtc-server, auth: {users: {bob: b}}, max_peers: 2}}";
    let (edge, rooms) = rooms(before).await;
    let (mut ann, id) = join(&edge, "/websocket/r", "ann", "a").await;
    let planned = service("", after, &rooms);
    let (_other, _) = join(&edge, "/websocket/s", "ann", "a").await;
    // Nothing holds before the new configuration takes over.
    drop(xrtc::http::Current::from(planned));
    let (mut bob, _) = join(&edge, "/websocket/r", "bob", "b").await;
    assert!(hear(&mut ann).await.contains("joined"));
    say(&mut bob, &format!(r#"{{"event":"e","to":"{id}"}}"#)).await;
    assert!(hear(&mut ann).await.contains("from"));
    assert_eq!(refused(&edge, "/websocket/r", &[]).await, 503, "the new limit");
    let mut stale = dial(&edge, "/websocket/t").await;
    say(&mut stale, r#"{"event":"authenticate","data":{"username":"ann","password":"a"}}"#).await;
    assert_eq!(hear(&mut stale).await, r#"{"event":"unauthorized"}"#, "the new users");
    edge.stop().await;
}
