//! \[no I/O\] One PeerConnection: what the browser sends comes back to it, media packet by packet, data message by message.
//!
//! It answers offers (the first one, renegotiations and ICE restarts alike), repeats what was lost, and asks for a whole picture
//! when the browser asks it for one. It decodes nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::channel::ChannelData;
use str0m::media::{KeyframeRequest, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::Transmit;
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite, StreamRx};
use str0m::{Candidate, Event, IceConnectionState, Input, Rtc, RtcError};

use super::track::Track;
use super::{Happening, Wishes};
use crate::peer::{self, Out};

/// A call that does not connect ends, as with Janus' `candidates_timeout`.
const CONNECT_WITHIN: Duration = Duration::from_secs(45);
/// A call without its peer waits so long for an ICE restart.
const LOST_FOR: Duration = Duration::from_secs(20);
/// m-sections of one description. EchoTest has three.
const MAX_SECTIONS: usize = 32;
/// What a browser that was told to send less may send again.
const NO_LIMIT: u64 = 10_000_000;

/// What stands before an echoed text.
pub(super) const TEXT_PREFIX: &str = "xrtc demo here! You wrote: ";

/// One PeerConnection.
pub(super) struct Call {
    rtc: Rtc,
    tracks: HashMap<Mid, Track>,
    wishes: Wishes,
    answered: bool,
    /// When it has to be connected (again); `None` while it is.
    deadline: Option<Instant>,
    wake_at: Instant,
    ended: Option<&'static str>,
}

/// What a call hands out.
pub(super) struct Outbox<'o> {
    pub(super) datagrams: &'o mut dyn FnMut(&Transmit),
    pub(super) happenings: &'o mut dyn FnMut(Happening),
}

impl Call {
    /// A call whose media arrives at `local`.
    pub(super) fn new(local: SocketAddr, now: Instant) -> Call {
        // What every browser has; with the packets passed on as they are, the codec matters to nobody here.
        let settings =
            peer::settings().clear_codecs().enable_opus(true, false).enable_vp8(true).enable_h264(true);
        let settings =
            settings.enable_vp9(true).set_rtp_mode(true).set_pause_threshold(Duration::from_secs(1));
        let mut rtc = settings.build(now);
        if let Ok(candidate) = Candidate::host(local, "udp") {
            rtc.add_local_candidate(candidate);
        }
        Call {
            rtc,
            tracks: HashMap::new(),
            wishes: Wishes::default(),
            answered: false,
            deadline: Some(now + CONNECT_WITHIN),
            wake_at: now,
            ended: None,
        }
    }

    /// The answer, or what is wrong with the offer.
    pub(super) fn answer(&mut self, offer: &str) -> Result<String, String> {
        let sections = offer.lines().filter(|line| line.starts_with("m=")).count();
        if sections > MAX_SECTIONS {
            return Err(format!("{sections} m-sections, at most {MAX_SECTIONS} are taken"));
        }
        let offer = SdpOffer::from_sdp_string(offer).map_err(|error| error.to_string())?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|error| error.to_string())?;
        self.answered = true;
        Ok(answer.to_sdp_string())
    }

    /// Whether there was ever an offer that could be answered.
    pub(super) fn has_begun(&self) -> bool {
        self.answered
    }

    pub(super) fn wish(&mut self, wishes: Wishes) {
        for (wish, kind) in [(wishes.audio, MediaKind::Audio), (wishes.video, MediaKind::Video)] {
            if wish == Some(false) {
                let rtc = &self.rtc;
                let paused = self.tracks.iter_mut().filter(|(mid, _)| is_of(rtc, **mid, kind));
                paused.for_each(|(_, track)| track.pause());
            }
        }
        self.wishes.update(&wishes);
        if wishes.bitrate.is_some() {
            self.limit();
        }
    }

    pub(super) fn add_candidate(&mut self, line: &str) {
        // What is no candidate here (TCP, a name) the peer's checks will make up for.
        if let Ok(candidate) = Candidate::from_sdp_string(line) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// Whether `received` is meant for this call: by its username or by where it comes from.
    pub(super) fn accepts(&self, received: &Input<'_>) -> bool {
        self.rtc.accepts(received)
    }

    pub(super) fn receive(&mut self, received: Input<'_>) {
        let done = self.rtc.handle_input(received);
        self.unless_broken(done);
    }

    pub(super) fn hang_up(&mut self) {
        // Says goodbye to the peer; the datagrams leave with the next work.
        let done = self.rtc.close();
        self.ended.get_or_insert("Close PC");
        self.unless_broken(done);
    }

    /// When [`Self::work`] has to be called at the latest.
    pub(super) fn wake_at(&self) -> Instant {
        self.deadline.map_or(self.wake_at, |deadline| deadline.min(self.wake_at))
    }

    /// Why the call is over.
    pub(super) fn ended(&self) -> Option<&'static str> {
        self.ended
    }

    /// Hands out what there is to hand out. Has to follow everything else.
    pub(super) fn work(&mut self, now: Instant, out: Outbox<'_>) {
        if self.wake_at <= now {
            let done = peer::wake(&mut self.rtc, now);
            self.unless_broken(done);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.ended.get_or_insert("ICE failed");
        }
        let mut events = Events {
            tracks: &mut self.tracks,
            wishes: &self.wishes,
            now,
            state: None,
            closed: false,
            out: out.happenings,
        };
        let done = peer::drain(&mut self.rtc, |rtc, each| match each {
            Out::Datagram(datagram) => (out.datagrams)(&datagram),
            Out::Event(event) => events.on(rtc, event),
        });
        let (state, closed) = (events.state, events.closed);
        match state {
            Some(Reach::There) => self.deadline = None,
            Some(Reach::Lost) => self.deadline = Some(now + LOST_FOR),
            None => {}
        }
        if closed || !self.rtc.is_alive() {
            self.ended.get_or_insert("DTLS alert");
        }
        match done {
            Ok(at) => self.wake_at = at,
            Err(error) => self.unless_broken(Err(error)),
        }
    }

    fn limit(&mut self) {
        for mid in self.tracks.keys().copied() {
            if is_of(&self.rtc, mid, MediaKind::Video)
                && let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None)
            {
                ask_for(stream, &self.wishes);
            }
        }
    }

    fn unless_broken(&mut self, done: Result<(), RtcError>) {
        if let Err(error) = done {
            tracing::debug!(%error, "the echo of a call ends");
            self.ended.get_or_insert("WebRTC error");
        }
    }
}

/// Asks the browser to send no more than is wished.
fn ask_for(stream: &mut StreamRx, wishes: &Wishes) {
    if let Some(bitrate) = wishes.bitrate {
        stream.request_remb(Bitrate::from(if bitrate == 0 { NO_LIMIT } else { bitrate }));
    }
}

fn is_of(rtc: &Rtc, mid: Mid, kind: MediaKind) -> bool {
    rtc.media(mid).is_some_and(|media| media.kind() == kind)
}

enum Reach {
    There,
    Lost,
}

/// What is done about each event of one turn.
struct Events<'e> {
    tracks: &'e mut HashMap<Mid, Track>,
    wishes: &'e Wishes,
    now: Instant,
    state: Option<Reach>,
    closed: bool,
    out: &'e mut dyn FnMut(Happening),
}

impl Events<'_> {
    fn on(&mut self, rtc: &mut Rtc, event: Event) {
        match event {
            Event::Connected => (self.out)(Happening::Up),
            Event::IceConnectionStateChange(state) => self.reached(state),
            Event::RtpPacket(packet) => self.packet(rtc, &packet),
            Event::KeyframeRequest(request) => whole_picture(rtc, &request),
            Event::StreamPaused(stream) => self.receiving(rtc, stream.mid, !stream.paused),
            Event::ChannelData(data) => echo_data(rtc, &data),
            Event::Closed => self.closed = true,
            _ => {}
        }
    }

    fn reached(&mut self, state: IceConnectionState) {
        match state {
            IceConnectionState::Connected | IceConnectionState::Completed => self.state = Some(Reach::There),
            IceConnectionState::Disconnected => self.state = Some(Reach::Lost),
            _ => {}
        }
    }

    fn packet(&mut self, rtc: &mut Rtc, packet: &RtpPacket) {
        let ssrc = packet.header.ssrc;
        let Some(mid) = rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid()) else { return };
        let Some(kind) = rtc.media(mid).map(|media| media.kind()) else { return };
        let track = self.tracks.entry(mid).or_insert_with(|| {
            (self.out)(Happening::Media { mid: mid.to_string(), video: kind.is_video(), receiving: true });
            Track::new(if kind.is_video() { 90_000 } else { 48_000 })
        });
        if !self.wishes.wants(kind.is_video()) {
            return;
        }
        let time = packet.header.timestamp;
        let Some(place) = track.place(*ssrc, *packet.seq_no, time, self.now) else { return };
        let mut api = rtc.direct_api();
        if let (true, true, Some(stream)) = (place.first, kind.is_video(), api.stream_rx(&ssrc)) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            ask_for(stream, self.wishes);
        }
        // Without one, the browser does not want anything back.
        let Some(stream) = api.stream_tx_by_mid(mid, None) else { return };
        let write = RtpWrite::new(
            packet.header.payload_type,
            place.sequence.into(),
            place.time,
            packet.timestamp,
            packet.payload.clone(),
        );
        let values = what_travels(&packet.header.ext_vals);
        stream.write_rtp(write.marker(packet.header.marker).ext_vals(values).nackable(kind.is_video()));
    }

    fn receiving(&mut self, rtc: &Rtc, mid: Mid, receiving: bool) {
        if let (Some(media), true) = (rtc.media(mid), self.tracks.contains_key(&mid)) {
            let video = media.kind().is_video();
            (self.out)(Happening::Media { mid: mid.to_string(), video, receiving });
        }
    }
}

/// Header extensions that say something about the media; those about the way are made anew.
fn what_travels(values: &ExtensionValues) -> ExtensionValues {
    ExtensionValues {
        audio_level: values.audio_level,
        voice_activity: values.voice_activity,
        video_orientation: values.video_orientation,
        ..ExtensionValues::default()
    }
}

/// The browser's decoder needs a whole picture, so its encoder has to make one.
fn whole_picture(rtc: &mut Rtc, request: &KeyframeRequest) {
    if let Some(stream) = rtc.direct_api().stream_rx_by_mid(request.mid, None) {
        stream.request_keyframe(request.kind);
    }
}

fn echo_data(rtc: &mut Rtc, data: &ChannelData) {
    let Some(mut channel) = rtc.channel(data.id) else { return };
    let written = match data.binary {
        true => channel.write(true, &data.data),
        false => channel.write(false, &[TEXT_PREFIX.as_bytes(), &data.data].concat()),
    };
    // A browser that does not read what comes back hears less of itself.
    if !matches!(written, Ok(true)) {
        tracing::trace!(bytes = data.data.len(), "a message is not echoed");
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
