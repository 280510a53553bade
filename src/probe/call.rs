//! One call over one path: ICE to a nominated pair, DTLS with the announced certificate, media and data there and back.
//!
//! It says how far the call came; [`super::verdict`] says what that means.

use std::io;
use std::time::{Duration, Instant};

use str0m::channel::ChannelId;
use str0m::media::{Frequency, MediaTime, Mid};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::{Event, IceConnectionState, Input, Output, RtcError};
use tokio::time::sleep_until;

use super::facts::{Call, Outcome, Transport};
use super::janus;
use super::journal::{Journal, clean, millis, shown};
use super::media::{self, Kind, Track};
use super::path::Path;
use super::signalling::Signalling;
use crate::peer::offer::Offerer;

/// From the first check of the call to a nominated pair. The path has answered checks before.
const ICE: Duration = Duration::from_secs(5);
/// From there to the end of the handshake: three flights may be lost (1, 2 and 4 s).
const DTLS: Duration = Duration::from_secs(8);
/// For media to come back after it has been sent, and for the data channel.
const STRAGGLERS: Duration = Duration::from_millis(1500);
/// Between audio frames.
const AUDIO_PACE: Duration = Duration::from_millis(20);
/// Each audio frame of this many is accompanied by a video frame.
const VIDEO_EVERY: u32 = 5;
/// Messages that go over the data channel, one after the other.
pub(super) const MESSAGES: u32 = 5;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All that was to be tried was tried.
    Done,
    /// No pair was nominated.
    NoPair,
    /// DTLS did not end.
    NoDtls,
    /// Another certificate than announced.
    Fingerprint,
    /// The handshake was refused.
    DtlsRefused(String),
    /// The server ended the call.
    HungUp(String),
    /// The connection broke.
    Broken(String),
}

/// A call under way.
pub(super) struct Caller<'a> {
    pub(super) offerer: &'a mut Offerer,
    pub(super) path: &'a mut Path,
    pub(super) transport: Transport,
    pub(super) signalling: &'a mut Signalling,
    /// What it finds out.
    pub(super) call: &'a mut Call,
    /// Whether what is sent comes back.
    pub(super) echo: bool,
    /// Where steps are noted.
    pub(super) journal: &'a mut Journal,
}

/// Where it stands.
struct State {
    start: Instant,
    phase: Phase,
    deadline: Instant,
    audio: Track,
    video: Track,
    next_frame: Instant,
    ticks: u32,
    data: Pings,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ice,
    Dtls { since: Instant },
    Media,
}

/// Messages over the data channel.
#[derive(Default)]
struct Pings {
    channel: Option<ChannelId>,
    sent_at: Option<Instant>,
    times: Vec<f64>,
}

impl Caller<'_> {
    /// Calls until the end.
    pub(super) async fn run(&mut self) -> End {
        let now = Instant::now();
        let mut state = State {
            start: now,
            phase: Phase::Ice,
            deadline: now + ICE,
            audio: Track::new(Kind::Audio, self.echo),
            video: Track::new(Kind::Video, self.echo),
            next_frame: now,
            ticks: 0,
            data: Pings::default(),
        };
        match self.drive(&mut state).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn drive(&mut self, state: &mut State) -> Result<End, End> {
        let mut buffer = Vec::new();
        self.feed(Input::Timeout(Instant::now()))?;
        for packet in std::mem::take(&mut self.path.early) {
            self.drain(state).await?;
            self.take(Ok(()), &packet, state)?;
        }
        loop {
            let wake = self.drain(state).await?;
            let now = Instant::now();
            if self.is_complete(state) || now >= state.deadline {
                return Ok(state.end());
            }
            if state.phase == Phase::Media && now >= state.next_frame {
                self.send_frame(state, now)?;
                continue;
            }
            let wake = wake.min(state.deadline).min(state.wakes_for_media());
            tokio::select! {
                () = sleep_until(wake.into()) => self.feed(Input::Timeout(Instant::now()))?,
                received = self.path.receive(&mut buffer) => self.take(received, &buffer, state)?,
                event = self.signalling.event() => self.note(event, state)?,
            }
        }
    }

    /// Sends what is to be sent and handles what happened, until the engine wants to sleep.
    async fn drain(&mut self, state: &mut State) -> Result<Instant, End> {
        loop {
            match self.offerer.rtc.poll_output().map_err(|error| self.failed(&error, state))? {
                Output::Timeout(wake) => return Ok(wake),
                Output::Transmit(packet) => {
                    if is_dtls(&packet.contents) && state.phase != Phase::Media {
                        self.call.dtls_packets_out += 1;
                    }
                    let sent = self.path.send(&packet.contents).await;
                    survive(sent)?;
                }
                Output::Event(event) => self.happened(event, state)?,
            }
        }
    }

    fn feed(&mut self, input: Input<'_>) -> Result<(), End> {
        self.offerer.rtc.handle_input(input).map_err(|error| End::Broken(clean(&error.to_string())))
    }

    fn take(&mut self, received: io::Result<()>, packet: &[u8], state: &State) -> Result<(), End> {
        if received.is_err() {
            return survive(received);
        }
        let dtls = is_dtls(packet);
        if dtls && state.phase != Phase::Media {
            self.call.dtls_packets_in += 1;
        }
        // What is no packet of WebRTC is dropped, as a browser does.
        let Ok(contents) = DatagramRecv::try_from(packet) else { return Ok(()) };
        let proto = if self.transport == Transport::Udp { Protocol::Udp } else { Protocol::Tcp };
        let receive = Receive { proto, source: self.path.remote, destination: self.path.local, contents };
        match self.offerer.rtc.handle_input(Input::Receive(Instant::now(), receive)) {
            Err(error) if dtls => Err(self.failed(&error, state)),
            _ => Ok(()),
        }
    }

    fn failed(&mut self, error: &RtcError, state: &State) -> End {
        let text = clean(&error.to_string());
        if text.contains("fingerprint") {
            let shown = self.offerer.rtc.direct_api().remote_dtls_fingerprint().map(ToString::to_string);
            self.call.fingerprint = shown;
            return End::Fingerprint;
        }
        match state.phase {
            Phase::Dtls { .. } => End::DtlsRefused(text),
            _ => End::Broken(text),
        }
    }

    fn happened(&mut self, event: Event, state: &mut State) -> Result<(), End> {
        let now = Instant::now();
        match event {
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) => {
                self.ice_is_up(state, now);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                return Err(if state.phase == Phase::Ice {
                    End::NoPair
                } else {
                    End::Broken("ICE lost its path".to_owned())
                });
            }
            Event::Connected => self.dtls_is_up(state, now),
            Event::MediaData(data) => {
                let (track, facts) = match data.mid == self.offerer.video {
                    true => (&mut state.video, &mut self.call.video),
                    false => (&mut state.audio, &mut self.call.audio),
                };
                track.came_back(&data.data, data.network_time, facts);
            }
            Event::ChannelOpen(channel, _) => {
                self.call.data.opened = true;
                state.data.channel = Some(channel);
                self.ping(state, now);
            }
            Event::ChannelData(data) => self.pong(&data.data, state, now),
            Event::MediaEgressStats(stats) => {
                let facts = self.media(stats.mid);
                facts.reported_lost = stats.remote.map(|remote| remote.packets_lost).or(facts.reported_lost);
            }
            Event::Closed => return Err(End::HungUp("it closes DTLS".to_owned())),
            _ => {}
        }
        Ok(())
    }

    fn ice_is_up(&mut self, state: &mut State, now: Instant) {
        if state.phase == Phase::Ice {
            let took = millis(now - state.start);
            self.call.ice_ms = Some(took);
            self.note_step(format!("ICE connected in {}", shown(took)));
            state.phase = Phase::Dtls { since: now };
            state.deadline = now + DTLS;
        }
    }

    fn dtls_is_up(&mut self, state: &mut State, now: Instant) {
        self.ice_is_up(state, now);
        if let Phase::Dtls { since } = state.phase {
            let took = millis(now - since);
            self.call.dtls_ms = Some(took);
            self.note_step(format!("DTLS connected in {}, with the announced certificate", shown(took)));
            self.call.fingerprint =
                self.offerer.rtc.direct_api().remote_dtls_fingerprint().map(ToString::to_string);
            state.phase = Phase::Media;
            state.next_frame = now;
            let frames = media::WARM_UP + media::COUNTED_AUDIO;
            state.deadline = now + AUDIO_PACE * frames + STRAGGLERS;
        }
    }

    fn note_step(&mut self, text: String) {
        self.journal.note(self.transport.step(), Outcome::Ok, text);
    }

    fn media(&mut self, mid: Mid) -> &mut super::facts::Media {
        if mid == self.offerer.video { &mut self.call.video } else { &mut self.call.audio }
    }

    fn send_frame(&mut self, state: &mut State, now: Instant) -> Result<(), End> {
        // One frame for each turn of the loop: the engine wants to be drained in between.
        let video = state.ticks % (VIDEO_EVERY + 1) == VIDEO_EVERY;
        state.ticks += 1;
        if !video {
            state.next_frame = now.max(state.next_frame + AUDIO_PACE);
        }
        let (mid, track, facts) = match video {
            true => (self.offerer.video, &mut state.video, &mut self.call.video),
            false => (self.offerer.audio, &mut state.audio, &mut self.call.audio),
        };
        if !facts.negotiated {
            return Ok(());
        }
        let Some(writer) = self.offerer.rtc.writer(mid) else { return Ok(()) };
        let Some(payload) = writer.payload_params().next().map(|params| params.pt()) else { return Ok(()) };
        let (number, bytes) = track.frame(now, facts);
        let time = match video {
            true => MediaTime::from_90khz(u64::from(number) * 9000),
            false => MediaTime::new(u64::from(number) * 960, Frequency::FORTY_EIGHT_KHZ),
        };
        writer.write(payload, now, time, bytes).map_err(|error| End::Broken(clean(&error.to_string())))
    }

    fn ping(&mut self, state: &mut State, now: Instant) {
        let facts = &mut self.call.data;
        let Some(channel) = state.data.channel.filter(|_| facts.sent < MESSAGES) else { return };
        let Some(mut channel) = self.offerer.rtc.channel(channel) else { return };
        if let Ok(true) = channel.write(false, ping_text(facts.sent).as_bytes()) {
            facts.sent += 1;
            state.data.sent_at = Some(now);
        }
    }

    /// EchoTest puts words of its own in front of a text.
    fn pong(&mut self, message: &[u8], state: &mut State, now: Instant) {
        let expected = ping_text(self.call.data.sent.saturating_sub(1));
        let Some(sent_at) = state.data.sent_at else { return };
        if memchr::memmem::find(message, expected.as_bytes()).is_none() {
            return;
        }
        state.data.sent_at = None;
        state.data.times.push(millis(now - sent_at));
        self.call.data.returned += 1;
        self.call.data.rtt_ms = media::median(&state.data.times);
        self.ping(state, now);
    }

    fn note(&mut self, event: janus::Event, state: &State) -> Result<(), End> {
        match event {
            janus::Event::Media { audio, receiving } => {
                let facts = if audio { &mut self.call.audio } else { &mut self.call.video };
                facts.server_receives = Some(receiving);
            }
            janus::Event::Hangup(reason) => {
                self.call.hangup = Some(reason.clone());
                return Err(End::HungUp(reason));
            }
            // Without signalling the media may go on.
            janus::Event::Gone(fault) if state.phase != Phase::Media => {
                return Err(End::HungUp(fault.message));
            }
            _ => {}
        }
        Ok(())
    }

    fn is_complete(&self, state: &State) -> bool {
        if state.phase != Phase::Media {
            return false;
        }
        let track = |track: &Track, facts: &super::facts::Media| {
            !facts.negotiated || if self.echo { track.is_back() } else { track.is_sent() }
        };
        let data = !self.call.data.negotiated || self.call.data.returned >= MESSAGES;
        // A publisher waits for the reports.
        let may_end = self.echo || Instant::now() >= state.deadline;
        may_end && track(&state.audio, &self.call.audio) && track(&state.video, &self.call.video) && data
    }
}

impl State {
    fn end(&self) -> End {
        match self.phase {
            Phase::Ice => End::NoPair,
            Phase::Dtls { .. } => End::NoDtls,
            Phase::Media => End::Done,
        }
    }

    fn wakes_for_media(&self) -> Instant {
        if self.phase == Phase::Media { self.next_frame } else { self.deadline }
    }
}

fn ping_text(number: u32) -> String {
    format!("xrtc probe {number}.")
}

/// RFC 7983 §7.
fn is_dtls(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| (20..64).contains(first))
}

/// An ICMP error may be about one packet only; whether it was is seen by what still comes.
fn survive(outcome: io::Result<()>) -> Result<(), End> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(End::Broken("the server closes the connection".to_owned()))
        }
        Err(error) => Err(End::Broken(clean(&error.to_string()))),
        Ok(()) => Ok(()),
    }
}
