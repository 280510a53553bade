//! A client that reaches the backend through an edge: Janus signalling over REST, then ICE, DTLS and media.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::http::Http;
use super::peer::{Connected, Peer, Side};
use super::{sdp, within};

/// Offer and answer are exchanged, nothing is connected.
pub struct Negotiated {
    pub peer: Peer,
    pub handle: u64,
    /// The offer as it was sent.
    pub offer: String,
    /// The answer as it arrived.
    pub answer: String,
}

/// Connected through the edge.
pub struct Client {
    pub peer: Arc<Connected>,
    pub handle: u64,
    pub offer: String,
    pub answer: String,
    /// Ufrag and password that the edge showed.
    pub edge_ufrag: String,
    pub edge_pwd: String,
    pub ufrag: String,
}

/// Exchanges offer and answer with the Janus, or the edge in front of it, at `addr`, as janus.js does.
pub async fn negotiate(addr: SocketAddr) -> Negotiated {
    negotiate_as(Peer::new().await, addr).await
}

/// The same for a peer that is there already.
pub async fn negotiate_as(peer: Peer, addr: SocketAddr) -> Negotiated {
    let (http, base) = (Http::new(), format!("http://{addr}/janus"));
    let created = post(&http, &base, json!({"janus": "create", "transaction": "t1"})).await;
    let session = created["data"]["id"].as_u64().unwrap();
    let attach = json!({"janus": "attach", "plugin": "janus.plugin.echotest", "transaction": "t2"});
    let attached = post(&http, &format!("{base}/{session}"), attach).await;
    let handle = attached["data"]["id"].as_u64().unwrap();

    let offer = peer.description(Side::Offerer);
    let message = json!({
        "janus": "message",
        "transaction": "t3",
        "body": {"audio": true},
        "jsep": {"type": "offer", "sdp": offer},
    });
    let url = format!("{base}/{session}/{handle}");
    assert_eq!(post(&http, &url, message).await["janus"], "ack");
    let completed = json!({"janus": "trickle", "transaction": "t4", "candidate": {"completed": true}});
    assert_eq!(post(&http, &url, completed).await["janus"], "ack");
    let answer = within(10, "the answer", poll(&http, &format!("{base}/{session}?maxev=10"))).await;
    Negotiated { peer, handle, offer, answer }
}

impl Client {
    /// Negotiates and connects.
    pub async fn connect(addr: SocketAddr) -> Client {
        negotiate(addr).await.connect().await
    }

    /// Sends `text` as media and returns what comes back.
    pub async fn ping(&self, text: &str) -> String {
        self.peer.send_media(text).await;
        within(5, &format!("the echo of {text}"), self.peer.next_media()).await.unwrap()
    }

    /// Sends `text` as DTLS application data and returns what comes back.
    pub async fn ping_data(&self, text: &str) -> String {
        self.peer.dtls.write(text.as_bytes(), None).await.unwrap();
        self.next_data(&format!("the encrypted echo of {text}")).await
    }

    /// The next DTLS application data, which is `what`.
    pub async fn next_data(&self, what: &str) -> String {
        let mut buffer = vec![0; 2048];
        let len = within(5, what, self.peer.dtls.read(&mut buffer, None)).await.unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }
}

impl Negotiated {
    pub async fn connect(self) -> Client {
        let ufrag = self.peer.ufrag.clone();
        let connected = within(30, "ICE and DTLS", self.peer.connect(Side::Offerer, &self.answer)).await;
        Client {
            peer: Arc::new(connected),
            handle: self.handle,
            edge_ufrag: sdp::value(&self.answer, "ice-ufrag").unwrap().to_owned(),
            edge_pwd: sdp::value(&self.answer, "ice-pwd").unwrap().to_owned(),
            ufrag,
            offer: self.offer,
            answer: self.answer,
        }
    }
}

async fn post(http: &Http, url: &str, message: Value) -> Value {
    let (status, reply) = http.post(url, &message).await;
    assert!(status.is_success(), "{message} was answered with {status} {reply}");
    reply
}

async fn poll(http: &Http, url: &str) -> String {
    loop {
        let (status, events) = http.get(url).await;
        assert!(status.is_success(), "the poll was answered with {status} {events}");
        let events = events.as_array().unwrap();
        if let Some(sdp) = events.iter().find_map(|event| event["jsep"]["sdp"].as_str()) {
            return sdp.to_owned();
        }
    }
}
