//! \[pure\] The causes that a probe can name: their stable codes and the exit code of each.
//!
//! It decides nothing about a run; see [`super::verdict`]. `docs/probe.md` lists the same table, and a test compares them.

use serde::{Serialize, Serializer};

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $exit:literal;)*) => {
        /// What is wrong, or that nothing is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause { $($(#[$doc])* $name,)* }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Cause] = &[$(Cause::$name,)*];

            /// The name that tools rely on.
            pub fn code(self) -> &'static str {
                match self { $(Cause::$name => $code,)* }
            }

            /// What the program ends with.
            pub fn exit_code(self) -> u8 {
                match self { $(Cause::$name => $exit,)* }
            }
        }
    };
}

causes! {
    /// Everything that was tried and that the server offers works.
    Works = "works", 0;
    /// The probe itself cannot run on this machine.
    Local = "local", 1;

    /// The name of the URL has no address.
    NameNotFound = "name-not-found", 3;
    /// Nobody listens on the TCP port of the URL.
    ConnectRefused = "connect-refused", 3;
    /// Nothing comes back from the TCP port of the URL.
    ConnectTimeout = "connect-timeout", 3;
    /// The connection cannot be opened or broke off.
    ConnectFailed = "connect-failed", 3;
    /// The certificate's time is over, or has not begun.
    TlsExpired = "tls-expired", 3;
    /// The certificate is for other names.
    TlsName = "tls-name", 3;
    /// Nobody whom this machine trusts vouches for the certificate.
    TlsUnknownCa = "tls-unknown-ca", 3;
    /// The TLS handshake fails in another way.
    TlsFailed = "tls-failed", 3;
    /// No (whole) HTTP or WebSocket answer in time.
    HttpTimeout = "http-timeout", 3;

    /// 404.
    HttpNotFound = "http-not-found", 4;
    /// 401 or 403.
    HttpUnauthorized = "http-unauthorized", 4;
    /// 3xx.
    HttpRedirect = "http-redirect", 4;
    /// 502, 503 or 504: who answers has nobody behind it.
    UpstreamDown = "upstream-down", 4;
    /// Another 5xx.
    HttpServerError = "http-server-error", 4;
    /// Any other status that is not success.
    HttpUnexpected = "http-unexpected", 4;
    /// More bytes than any such answer has.
    AnswerTooLarge = "answer-too-large", 4;
    /// Something else answers there.
    NotJanus = "not-janus", 4;
    /// Something else answers there.
    NotWhip = "not-whip", 4;
    /// The WebSocket upgrade is refused, or without Janus' subprotocol.
    NoWebSocket = "no-websocket", 4;
    /// Janus wants a token or apisecret, or refuses the one that it got.
    JanusUnauthorized = "janus-unauthorized", 4;
    /// Janus has no such plugin.
    PluginMissing = "plugin-missing", 4;
    /// Janus answers with another error.
    JanusError = "janus-error", 4;
    /// No answer to the offer.
    NoAnswer = "no-answer", 4;
    /// The answer is no usable session description.
    BadAnswer = "bad-answer", 4;

    /// The answer names no address at all.
    NoCandidates = "no-candidates", 5;
    /// None of the transports that were asked for is offered.
    TransportNotOffered = "transport-not-offered", 5;
    /// No answer from a private address, while signalling is elsewhere.
    CandidatePrivate = "candidate-private", 5;
    /// No answer from an address that is not the one that signalling was reached at.
    CandidateElsewhere = "candidate-elsewhere", 5;
    /// No answer from a port of the address that signalling was reached at.
    PortSilent = "port-silent", 5;
    /// The port is closed: the host, or a router on the way, says that nobody is there.
    PortRefused = "port-refused", 5;
    /// This machine has no way to the candidate's address.
    NoRoute = "no-route", 5;
    /// The candidate is a name that nobody resolves.
    CandidateName = "candidate-name", 5;
    /// STUN is answered with an error.
    CheckRefused = "check-refused", 5;
    /// STUN is answered by somebody who does not know the session's password.
    CheckForeign = "check-foreign", 5;
    /// Checks are answered, and yet no pair is nominated.
    IceFailed = "ice-failed", 5;

    /// ICE works, and not one DTLS packet comes back.
    DtlsSilent = "dtls-silent", 6;
    /// DTLS packets come, and the handshake does not end.
    DtlsStuck = "dtls-stuck", 6;
    /// Who answers DTLS is not who the answer announced.
    DtlsFingerprint = "dtls-fingerprint", 6;
    /// The handshake is refused.
    DtlsFailed = "dtls-failed", 6;

    /// Connected, and no media comes back.
    MediaSilent = "media-silent", 7;
    /// The media server receives, and nothing of it comes back.
    MediaOneWay = "media-one-way", 7;
    /// One of audio and video comes back.
    MediaPartial = "media-partial", 7;
    /// More than a tenth of the packets is lost.
    MediaLossy = "media-lossy", 7;
    /// Media works, the data channel does not.
    DataMissing = "data-missing", 7;

    /// Some of what is offered works, some does not.
    Degraded = "degraded", 8;
    /// Not done within `--timeout`.
    Timeout = "timeout", 9;
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Something that ends a step: what was seen, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What it is.
    #[serde(rename = "code")]
    pub cause: Cause,
    /// What was seen, one sentence without a full stop.
    pub message: String,
    /// What to do, one sentence without a full stop.
    pub fix: String,
}

impl Fault {
    pub(super) fn new(cause: Cause, message: impl Into<String>, fix: impl Into<String>) -> Fault {
        Fault { cause, message: message.into(), fix: fix.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_no_cause_ends_like_bad_usage() {
        let codes: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        assert_eq!(codes.len(), Cause::ALL.len());
        assert!(Cause::ALL.iter().all(|cause| cause.exit_code() != 2));
        let fine: Vec<_> = Cause::ALL.iter().filter(|cause| cause.exit_code() == 0).collect();
        assert_eq!(fine, [&Cause::Works]);
    }

    #[test]
    fn the_documentation_lists_every_cause_with_its_exit_code() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/probe.md");
        let text = std::fs::read_to_string(file).unwrap();
        let documented: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split_once("` | "))
            .filter_map(|(code, rest)| Some((code, rest.split_once(" | ")?.0)))
            .filter(|(code, exit)| !code.starts_with('-') && exit.parse::<u8>().is_ok())
            .collect();
        let expected: Vec<_> =
            Cause::ALL.iter().map(|cause| (cause.code(), cause.exit_code().to_string())).collect();
        let expected: Vec<_> = expected.iter().map(|(code, exit)| (*code, exit.as_str())).collect();
        assert_eq!(documented, expected, "docs/probe.md");
    }
}
