//! The endpoint that offers: audio, video and, where wanted, a data channel; a controlling full ICE agent.
//!
//! It decides what the offer says. Candidates are the caller's: it knows the sockets. The peer's are given one by one with
//! [`Offerer::accept`], whatever its answer lists, so that a caller can try one path alone.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::{Candidate, Rtc};

use crate::sdp;

/// Why an endpoint cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// `str0m` makes no offer out of what it was given.
    #[error("no offer came out of the WebRTC library")]
    NoOffer,
    /// The answer is no session description, or none that fits the offer.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// A candidate that cannot be one.
    #[error("the candidate cannot be used: {0}")]
    Candidate(String),
}

/// What is offered besides audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Both ways, or only towards the peer.
    pub echo: bool,
    /// A data channel.
    pub data: bool,
}

/// An endpoint that has made its offer.
#[derive(Debug)]
pub struct Offerer {
    /// The engine, to be driven by who owns the sockets.
    pub rtc: Rtc,
    /// The audio m-section.
    pub audio: Mid,
    /// The video m-section.
    pub video: Mid,
    /// The data channel, if one was wanted.
    pub channel: Option<ChannelId>,
    pending: Option<SdpPendingOffer>,
}

impl Offerer {
    /// An endpoint and its offer, which has no candidates yet; see [`with_candidate`].
    pub fn new(wants: Wants, now: Instant) -> Result<(Offerer, String), OfferError> {
        let config = super::settings().clear_codecs().enable_opus(true, false).enable_vp8(true);
        let mut rtc = config.set_stats_interval(Some(std::time::Duration::from_millis(500))).build(now);
        let direction = if wants.echo { Direction::SendRecv } else { Direction::SendOnly };
        let mut changes = rtc.sdp_api();
        let audio = changes.add_media(MediaKind::Audio, direction, None, None, None);
        let video = changes.add_media(MediaKind::Video, direction, None, None, None);
        let channel = wants.data.then(|| changes.add_channel("JanusDataChannel".to_owned()));
        let (offer, pending) = changes.apply().ok_or(OfferError::NoOffer)?;
        Ok((Offerer { rtc, audio, video, channel, pending: Some(pending) }, offer.to_sdp_string()))
    }

    /// Takes the answer, with `local` and `remote` as the only pair, whatever the answer lists.
    pub fn accept(&mut self, answer: &str, local: Candidate, remote: Candidate) -> Result<(), OfferError> {
        let bad = |error: &dyn std::fmt::Display| OfferError::Answer(error.to_string());
        let pending = self.pending.take().ok_or(OfferError::NoOffer)?;
        let answer = SdpAnswer::from_sdp_string(&sdp::hide(answer)).map_err(|error| bad(&error))?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|error| bad(&error))?;
        self.rtc.add_local_candidate(local);
        self.rtc.add_remote_candidate(remote);
        Ok(())
    }
}

/// The offer with one host candidate of ours in each m-section. TCP is always dialled by the offerer, so that port is the
/// placeholder of RFC 6544 §4.5.
pub fn with_candidate(offer: &str, udp: bool, addr: SocketAddr) -> String {
    let ip = addr.ip();
    let line = match udp {
        true => format!("a=candidate:1 1 udp 2130706431 {ip} {} typ host", addr.port()),
        false => format!("a=candidate:1 1 tcp 1518280447 {ip} 9 typ host tcptype active"),
    };
    let mut out = String::with_capacity(offer.len() + 4 * line.len());
    for each in sdp::lines(offer) {
        out.push_str(each.text);
        out.push_str(each.ending);
        if each.text.starts_with("a=ice-pwd:") {
            out.push_str(&line);
            out.push_str(each.ending);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offer_has_audio_video_and_data_and_candidates_where_the_credentials_are() {
        let (_, offer) = Offerer::new(Wants { echo: true, data: true }, Instant::now()).unwrap();
        let offer = with_candidate(&offer, true, "192.0.2.1:5000".parse().unwrap());
        let described = sdp::Description::read(&offer).unwrap();
        assert_eq!(described.sections.len(), 3, "{offer}");
        assert!(described.candidates.iter().any(|(section, _)| *section == 0), "{offer}");
        assert!(offer.contains("a=setup:actpass") && offer.contains("a=fingerprint:sha-256"), "{offer}");
    }

    #[test]
    fn an_answer_that_is_none_is_refused_with_its_reason() {
        for answer in ["", "v=0", "hello", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"] {
            let (mut peer, _) = Offerer::new(Wants { echo: true, data: true }, Instant::now()).unwrap();
            let addr: SocketAddr = "192.0.2.1:5000".parse().unwrap();
            let candidate = || Candidate::host(addr, "udp").unwrap();
            assert!(peer.accept(answer, candidate(), candidate()).is_err(), "{answer:?}");
        }
    }
}
