//! \[no I/O\] What every WebRTC endpoint of this program has in common, whether it answers (`demo`) or offers (`probe`):
//! its cryptography, and how an [`Rtc`] is driven.
//!
//! It never opens a socket and never reads the clock: datagrams and times come in, datagrams and events go out.

pub mod offer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Event, Input, Output, Rtc, RtcConfig, RtcError};

/// A configuration to build on: the cryptography is given explicitly, the certificate is fresh per endpoint and the peer's
/// fingerprint is verified.
pub fn settings() -> RtcConfig {
    RtcConfig::new().set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
}

/// What came in over UDP, if it is anything that a peer could mean. Everything else is not worth a word.
pub fn datagram(source: SocketAddr, destination: SocketAddr, bytes: &[u8]) -> Option<Receive<'_>> {
    Receive::new(Protocol::Udp, source, destination, bytes).ok()
}

/// What a drained endpoint hands out.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives for one call, on the stack, as str0m's own does")]
pub enum Out {
    /// To be sent, from `source` to `destination`.
    Datagram(Transmit),
    /// To be acted upon, before the next thing comes out.
    Event(Event),
}

/// Takes everything out of `rtc`, each thing through `take`, and says when it next wants to be woken with [`wake`]. Has to
/// follow every change to `rtc`, before the next one; `take` itself may change it.
pub fn drain(rtc: &mut Rtc, mut take: impl FnMut(&mut Rtc, Out)) -> Result<Instant, RtcError> {
    loop {
        match rtc.poll_output()? {
            Output::Timeout(at) => return Ok(at),
            Output::Transmit(datagram) => take(rtc, Out::Datagram(datagram)),
            Output::Event(event) => take(rtc, Out::Event(event)),
        }
    }
}

/// Tells `rtc` what time it is.
pub fn wake(rtc: &mut Rtc, now: Instant) -> Result<(), RtcError> {
    rtc.handle_input(Input::Timeout(now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use str0m::Candidate;
    use str0m::change::{SdpAnswer, SdpOffer};

    use super::*;

    fn addr(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn end(port: u16, now: Instant) -> Rtc {
        let mut rtc = settings().build(now);
        rtc.add_local_candidate(Candidate::host(addr(port), "udp").expect("a candidate"));
        rtc
    }

    /// Offer and answer as text, the way they travel.
    fn negotiate([offering, answering]: &mut [Rtc; 2]) {
        let mut change = offering.sdp_api();
        change.add_channel("echo".to_owned());
        let (offer, pending) = change.apply().expect("a change");
        let offer = SdpOffer::from_sdp_string(&offer.to_sdp_string()).expect("an offer");
        let answer = answering.sdp_api().accept_offer(offer).expect("an answer").to_sdp_string();
        let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
        offering.sdp_api().accept_answer(pending, answer).expect("accepted");
    }

    #[test]
    fn two_ends_find_each_other_and_carry_a_word() {
        let mut now = Instant::now();
        let mut ends = [end(1, now), end(2, now)];
        negotiate(&mut ends);
        let (mut heard, mut wire) = (Vec::new(), Vec::new());
        let mut empty = |rtc: &mut Rtc, wire: &mut Vec<Transmit>| {
            drain(rtc, |rtc, out| match out {
                Out::Datagram(datagram) => wire.push(datagram),
                Out::Event(Event::ChannelOpen(id, _)) => {
                    rtc.channel(id).expect("open").write(false, b"hello").expect("written");
                }
                Out::Event(Event::ChannelData(data)) => heard.push(data.data),
                Out::Event(_) => {}
            })
            .expect("lives");
        };
        for _ in 0..200 {
            for rtc in &mut ends {
                wake(rtc, now).expect("lives");
                empty(rtc, &mut wire);
            }
            while let Some(sent) = wire.pop() {
                let got = datagram(sent.source, sent.destination, &sent.contents).expect("means something");
                let to = &mut ends[usize::from(sent.destination == addr(2))];
                to.handle_input(Input::Receive(now, got)).expect("taken");
                empty(to, &mut wire);
            }
            now += Duration::from_millis(10);
        }
        assert!(heard.contains(&b"hello".to_vec()), "{heard:?}");
    }

    #[test]
    fn what_is_no_stun_dtls_or_rtp_is_nothing() {
        for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 4], &[255; 40]] {
            assert!(datagram(addr(1), addr(2), bytes).is_none(), "{bytes:?}");
        }
    }
}
