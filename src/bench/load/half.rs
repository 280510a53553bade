//! Sessions in half proxy, the default mode: offers and answers pass through the edge as a `janus` route carries them, STUN ends
//! at the edge on both sides.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{self, Http};
use super::ice::{self, Checker, Credentials};
use super::pair::Pair;
use super::{janus, sdp};
use crate::bench::BenchError;
use crate::sdp::Description;

/// Exchanges descriptions for each pair, and connects the clients to the candidate that the edge put into the answer.
/// `janus_at` is where the edge's upstream is, and where the generator answers as a media server.
pub(super) fn negotiate(
    pairs: &mut [Pair],
    at: SocketAddr,
    janus_at: SocketAddr,
) -> Result<Vec<Checker>, BenchError> {
    janus::start(janus_at, pairs.iter().map(|pair| pair.backend.addr).collect())?;
    let api = Http::new(at);
    let seen = http::converse(pairs.len(), |i| call(&api, i))?;
    let mut checkers = Vec::with_capacity(pairs.len());
    for (i, (pair, (edge, addr))) in pairs.iter_mut().zip(seen).enumerate() {
        let client = client_credentials(i);
        pair.client.connect(addr)?;
        (pair.client.key, pair.backend.key) = (Some(client.key()), Some(janus::credentials(i).key()));
        checkers.push(Checker { remote: edge, local: client });
    }
    Ok(checkers)
}

fn client_credentials(i: usize) -> Credentials {
    Credentials::of("cli", i)
}

/// One client's way through the API; the edge's credentials and address, as its answer tells them.
async fn call(api: &Http, i: usize) -> Result<(Credentials, SocketAddr), BenchError> {
    let created = api.post("/janus", json!({"janus": "create", "transaction": "c"}).to_string()).await?;
    let session = made(&created)?;
    let attach = json!({
        "janus": "attach", "plugin": "janus.plugin.echotest", "opaque_id": i.to_string(), "transaction": "a"
    });
    let attached = api.post(&format!("/janus/{session}"), attach.to_string()).await?;
    let handle = made(&attached)?;
    let offer = json!({
        "janus": "message", "transaction": "m", "body": {"audio": true},
        "jsep": {"type": "offer", "sdp": sdp::offer(&client_credentials(i))},
    });
    api.post(&format!("/janus/{session}/{handle}"), offer.to_string()).await?;
    let events = api.get(&format!("/janus/{session}?maxev=10")).await?;
    read_answer(&events)
        .ok_or_else(|| unexpected("an answer with its own credentials and a udp candidate", &events))
}

/// The id that a `success` names.
fn made(text: &str) -> Result<u64, BenchError> {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    answer["data"]["id"].as_u64().ok_or_else(|| unexpected("a success with an id", text))
}

fn read_answer(events: &str) -> Option<(Credentials, SocketAddr)> {
    let events: Value = serde_json::from_str(events).ok()?;
    let sdp = events.as_array()?.iter().find_map(|event| event["jsep"]["sdp"].as_str())?;
    let description = Description::read(sdp).ok()?;
    let shown = description.credentials(0)?;
    let edge = Credentials { ufrag: shown.ufrag.to_owned(), pwd: shown.pwd.to_owned() };
    let addr = sdp.lines().find_map(ice::udp_address)?;
    Some((edge, addr))
}

fn unexpected(expected: &str, got: &str) -> BenchError {
    BenchError::Peer { who: "xrtc", what: format!("expected {expected} from its janus route, got: {got}") }
}
