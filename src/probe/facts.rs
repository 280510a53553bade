//! \[pure\] What a run found out, in the form of `--json`: names here are a contract, see `docs/probe.md`.
//!
//! It holds values and judges none of them; [`super::verdict`] does.

use serde::Serialize;

use super::cause::{Cause, Fault};

/// The form of the output. It grows when a field changes its meaning or goes away, not when one is added.
pub const VERSION: u32 = 1;

/// All that a run found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// What was probed, without what stands behind a `?`.
    pub url: String,
    /// Milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long it took.
    pub took_ms: f64,
    /// Whether the exit code is 0.
    pub ok: bool,
    /// What the program ends with.
    pub exit_code: u8,
    /// The one sentence.
    pub verdict: Fault,
    /// What is not wrong and still worth knowing.
    pub warnings: Vec<String>,
    /// Who answered.
    pub server: Server,
    /// UDP, TCP, TLS, as far as they were tried.
    pub transports: Vec<Attempt>,
    /// Everything, in the order of time.
    pub steps: Vec<Step>,
}

/// Who answered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Server {
    /// `janus` or `whip`.
    pub protocol: Option<&'static str>,
    /// The address that signalling was reached at.
    pub address: Option<String>,
    /// What it calls itself.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Whether something ends ICE in front of the media server: the answer says ice-lite, and the server does not.
    pub edge: Option<bool>,
}

/// One line of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Since the start.
    pub at_ms: f64,
    /// What was tried.
    pub step: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub text: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Well.
    Ok,
    /// Not asked for, not offered, or only told.
    Info,
    /// Well, but.
    Warn,
    /// Badly.
    Fail,
}

/// What carries the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    Udp,
    /// ICE-TCP (RFC 6544), packets framed by RFC 4571.
    Tcp,
    /// The same inside TLS.
    Tls,
}

impl Transport {
    /// As in the output.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// The name of its steps. The TLS of signalling has `tls` already.
    pub(super) fn step(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls-ice",
        }
    }
}

/// One PeerConnection over one transport.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Which.
    pub transport: Transport,
    /// How far it came.
    pub state: AttemptState,
    /// What is wrong with it.
    pub fault: Option<Fault>,
    /// Every candidate that was tried.
    pub paths: Vec<PathFacts>,
    /// What went over the best of them.
    pub call: Option<Call>,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// To the end.
    Works,
    /// The server has nothing of the kind.
    NotOffered,
    /// Not to the end.
    Failed,
}

/// One candidate over one transport.
#[derive(Clone, Debug, Serialize)]
pub struct PathFacts {
    /// Address and port, or the name that stands in its place.
    pub candidate: String,
    /// `host`, `srflx`, `prflx`, `relay` or `other`.
    pub kind: &'static str,
    /// Where such an address is valid.
    pub scope: Scope,
    /// Whether its IP is the one that signalling was reached at.
    pub same_address_as_signalling: bool,
    /// Why browsers would not use it.
    pub browsers: Option<&'static str>,
    /// Checks that left.
    pub checks_sent: u32,
    /// Checks with a good answer.
    pub checks_answered: u32,
    /// The quickest of them.
    pub rtt_ms: Option<f64>,
    /// How long TCP, and TLS on it, took to connect.
    pub connect_ms: Option<f64>,
    /// How it ended.
    pub state: PathState,
    /// More about that.
    pub detail: Option<String>,
}

/// Where an address is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everywhere.
    Public,
    /// In one network: RFC 1918, RFC 4193, RFC 6598.
    Private,
    /// On one host.
    Loopback,
    /// On one wire.
    LinkLocal,
    /// Nowhere: unspecified, multicast, reserved for documentation.
    Unusable,
    /// It is a name.
    Name,
}

/// What came of the checks of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathState {
    /// Good answers.
    Answers,
    /// Nothing at all.
    Silent,
    /// The host says that nobody listens, or closes.
    Refused,
    /// This machine has no way there.
    NoRoute,
    /// An error in STUN.
    CheckRefused,
    /// An answer that is not signed with the session's password.
    CheckForeign,
    /// TCP connects, and TLS does not begin.
    NoTls,
    /// A name that cannot be resolved.
    NoAddress,
    /// Not tried.
    Skipped,
}

/// What went over a path.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Call {
    /// Over which.
    pub candidate: String,
    /// From the first check of the call to a nominated pair.
    pub ice_ms: Option<f64>,
    /// From there to the end of the DTLS handshake.
    pub dtls_ms: Option<f64>,
    /// DTLS packets that came, until the handshake ended.
    pub dtls_packets_in: u32,
    /// DTLS packets that left, until the handshake ended.
    pub dtls_packets_out: u32,
    /// The fingerprint that was shown, if the handshake came so far.
    pub fingerprint: Option<String>,
    /// Audio.
    pub audio: Media,
    /// Video.
    pub video: Media,
    /// The data channel.
    pub data: Data,
    /// Why the server hung up, in its words.
    pub hangup: Option<String>,
}

/// One kind of media, there and back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Media {
    /// Whether the answer takes it.
    pub negotiated: bool,
    /// Frames that left.
    pub sent: u32,
    /// Frames that came back as they were sent. 0 where nothing is expected back.
    pub returned: u32,
    /// The median of there and back.
    pub rtt_ms: Option<f64>,
    /// What the server said: whether it receives them.
    pub server_receives: Option<bool>,
    /// Packets lost on the way there, as the server's RTCP reports say.
    pub reported_lost: Option<u64>,
}

/// Messages there and back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Data {
    /// Whether it was offered.
    pub offered: bool,
    /// Whether the answer takes it.
    pub negotiated: bool,
    /// Whether the channel opened.
    pub opened: bool,
    /// Messages that left.
    pub sent: u32,
    /// Messages that came back.
    pub returned: u32,
    /// The median of there and back.
    pub rtt_ms: Option<f64>,
}

impl Report {
    /// The code of its verdict.
    pub fn cause(&self) -> Cause {
        self.verdict.cause
    }
}
