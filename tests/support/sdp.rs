//! As much of SDP as scripted peers need.

use std::net::SocketAddr;

/// What goes into a description.
pub struct Description<'a> {
    pub ufrag: &'a str,
    pub pwd: &'a str,
    pub fingerprint: &'a str,
    pub setup: &'a str,
    pub addr: SocketAddr,
}

/// One data channel section with one host candidate.
pub fn describe(description: &Description<'_>) -> String {
    let Description { ufrag, pwd, fingerprint, setup, addr } = description;
    let (ip, port) = (addr.ip(), addr.port());
    [
        "v=0",
        &format!("o=- 4355115630419541079 2 IN IP4 {ip}"),
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        &format!("a=candidate:1 1 udp 2113937151 {ip} {port} typ host"),
        "a=end-of-candidates",
        &format!("a=ice-ufrag:{ufrag}"),
        &format!("a=ice-pwd:{pwd}"),
        &format!("a=fingerprint:{fingerprint}"),
        &format!("a=setup:{setup}"),
        "a=mid:0",
        "a=sctp-port:5000",
        "",
    ]
    .join("\r\n")
}

/// Value of the first `a=name:` line.
pub fn value<'a>(sdp: &'a str, name: &'a str) -> Option<&'a str> {
    values(sdp, name).next()
}

/// Values of all `a=name:` lines.
pub fn values<'a>(sdp: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    sdp.lines().filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}
