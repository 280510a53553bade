//! Sessions registered over REST, as an application server does it: `POST /webrtc/request`. STUN then passes the edge.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{self, Http};
use super::ice::{Checker, Credentials};
use super::pair::Pair;
use crate::bench::BenchError;

/// Registers a session per pair, and connects the clients to the candidate that the edge gives.
pub(super) fn register(pairs: &mut [Pair], at: SocketAddr) -> Result<Vec<Checker>, BenchError> {
    let api = Http::new(at);
    let backends: Vec<SocketAddr> = pairs.iter().map(|pair| pair.backend.addr.into()).collect();
    let edges = http::converse(pairs.len(), |i| request(&api, "Fr", i, backends[i]))?;
    let mut checkers = Vec::with_capacity(pairs.len());
    for (i, (pair, edge)) in pairs.iter_mut().zip(edges).enumerate() {
        let (client, backend) = credentials("Fr", i);
        pair.client.connect(edge)?;
        (pair.client.key, pair.backend.key) = (Some(client.key()), Some(backend.key()));
        checkers.push(Checker { remote: backend, local: client });
    }
    Ok(checkers)
}

/// Registers sessions whose clients never come.
pub(super) fn register_idle(count: usize, at: SocketAddr) -> Result<(), BenchError> {
    let api = Http::new(at);
    let nobody = |i: usize| SocketAddr::from(([127, 0, 0, 3], 10_000 + (i % 20_000) as u16));
    http::converse(count, |i| request(&api, "Idle", i, nobody(i))).map(drop)
}

/// Those of client and backend.
fn credentials(kind: &str, i: usize) -> (Credentials, Credentials) {
    (Credentials::of(&format!("o{kind}"), i), Credentials::of(&format!("a{kind}"), i))
}

/// Registers one session; the edge's UDP candidate.
async fn request(api: &Http, kind: &str, i: usize, backend: SocketAddr) -> Result<SocketAddr, BenchError> {
    let (offer, answer) = credentials(kind, i);
    let body = json!({
        "session_key": format!("load {kind} {i}"),
        "offer_ice": {"ufrag": offer.ufrag, "pwd": offer.pwd, "options": ""},
        "answer_ice": {"ufrag": answer.ufrag, "pwd": answer.pwd, "options": ""},
        "candidates": [format!("a=candidate:1 1 udp 2013266431 {} {} typ host", backend.ip(), backend.port())],
    });
    let text = api.post("/webrtc/request", body.to_string()).await?;
    edge_candidate(&text).ok_or_else(|| BenchError::Peer {
        who: "xrtc",
        what: format!("no udp candidate in its answer to a registration: {text}"),
    })
}

fn edge_candidate(answer: &str) -> Option<SocketAddr> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let mut lines = answer.get("candidates")?.as_array()?.iter().filter_map(Value::as_str);
    lines.find_map(super::ice::udp_address)
}
