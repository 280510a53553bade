//! The descriptions that client and backend exchange: one audio section, and the ICE lines that matter here.

use std::net::SocketAddrV4;

use super::ice::Credentials;

/// What a client offers. It trickles, and never gets to it: its candidates are of no use to an edge.
pub(super) fn offer(credentials: &Credentials) -> String {
    description(credentials, "actpass", "a=ice-options:trickle\r\n")
}

/// What a backend at `addr` answers.
pub(super) fn answer(credentials: &Credentials, addr: SocketAddrV4) -> String {
    let candidate = format!("a=candidate:1 1 udp 2015363327 {} {} typ host", addr.ip(), addr.port());
    description(credentials, "active", &format!("{candidate}\r\na=end-of-candidates\r\n"))
}

fn description(credentials: &Credentials, setup: &str, candidates: &str) -> String {
    let Credentials { ufrag, pwd } = credentials;
    // Nobody does DTLS here; any fingerprint will do.
    let fingerprint = ["5A"; 32].join(":");
    let session = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n";
    let media = "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 opus/48000/2\r\n";
    let keys = format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n"
    );
    [session, media, &keys, candidates].concat()
}
