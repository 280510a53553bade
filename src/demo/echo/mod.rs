//! The media half of the echo backend: one loop, one UDP socket on loopback, a [`call::Call`] per PeerConnection.
//!
//! It knows nothing of HTTP or Janus; commands come in, [`Happening`]s go out.

mod call;
mod track;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::Input;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::peer;
use call::{Call, Outbox};

/// PeerConnections at a time. A person who tries something out needs two; this is a demo, not a server for a crowd.
pub(super) const MAX_CALLS: usize = 32;
/// Addresses that are remembered; a call has one or a few. Beyond it they are learnt anew.
const MAX_SOURCES: usize = 32 * MAX_CALLS;
/// Datagrams that are read before the clock and the commands have their turn.
const BATCH: usize = 64;
/// No WebRTC datagram is larger.
const MAX_DATAGRAM: usize = 2048;

/// Janus session and handle: there is one PeerConnection per handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallId {
    pub(super) session: u64,
    pub(super) handle: u64,
}

/// What is asked of this half.
#[derive(Debug)]
pub(super) enum Command {
    /// Answer this; the outcome comes as [`Happening::Answer`] or [`Happening::Refused`] with the same transaction.
    Offer { transaction: String, sdp: String },
    /// What to echo from now on.
    Wish(Wishes),
    /// A candidate of the peer.
    Candidate(String),
    /// The end.
    HangUp,
}

/// What a person who calls wants back; what is not said stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) audio: Option<bool>,
    pub(super) video: Option<bool>,
    /// Bits per second that the browser may send; 0 for as many as it likes.
    pub(super) bitrate: Option<u64>,
}

impl Wishes {
    fn update(&mut self, wishes: &Wishes) {
        self.audio = wishes.audio.or(self.audio);
        self.video = wishes.video.or(self.video);
        self.bitrate = wishes.bitrate.or(self.bitrate);
    }

    fn wants(&self, video: bool) -> bool {
        if video { self.video } else { self.audio }.unwrap_or(true)
    }
}

/// What this half tells of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// Here is the answer.
    Answer { transaction: String, sdp: String },
    /// There will be none.
    Refused { transaction: String, reason: String },
    /// Connected: ICE and DTLS are done.
    Up,
    /// Media of an m-section comes, or no longer.
    Media { mid: String, video: bool, receiving: bool },
    /// It is over; nothing follows.
    Ended { reason: &'static str },
}

/// The loop's state.
struct Echo {
    socket: UdpSocket,
    local: SocketAddr,
    calls: HashMap<CallId, Call>,
    /// Where a call's packets came from last. STUN is told by its username instead.
    calls_by_source: HashMap<SocketAddr, CallId>,
    happenings: mpsc::UnboundedSender<(CallId, Happening)>,
}

/// Serves until the other end of `commands` is gone.
pub(super) async fn run(
    socket: UdpSocket,
    mut commands: mpsc::Receiver<(CallId, Command)>,
    happenings: mpsc::UnboundedSender<(CallId, Happening)>,
) -> std::io::Result<()> {
    let local = socket.local_addr()?;
    let mut echo = Echo { socket, local, calls: HashMap::new(), calls_by_source: HashMap::new(), happenings };
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some((id, command)) => echo.obey(id, command),
                None => return Ok(()),
            },
            readable = echo.socket.readable() => {
                readable?;
                echo.receive(&mut buffer);
            }
            () = tokio::time::sleep_until(echo.wake_at().into()) => echo.wake(),
        }
    }
}

impl Echo {
    fn wake_at(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(1);
        self.calls.values().map(Call::wake_at).fold(idle, Instant::min)
    }

    fn wake(&mut self) {
        let now = Instant::now();
        let due: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.wake_at() <= now).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.work(id, now));
    }

    fn obey(&mut self, id: CallId, command: Command) {
        let now = Instant::now();
        match command {
            Command::Offer { transaction, sdp } => self.answer(id, transaction, &sdp, now),
            Command::Wish(wishes) => self.change(id, |call| call.wish(wishes)),
            Command::Candidate(line) => self.change(id, |call| call.add_candidate(&line)),
            Command::HangUp => self.change(id, Call::hang_up),
        }
        self.work(id, now);
    }

    fn change(&mut self, id: CallId, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.get_mut(&id) {
            change(call);
        }
    }

    fn answer(&mut self, id: CallId, transaction: String, sdp: &str, now: Instant) {
        let full = self.calls.len() >= MAX_CALLS && !self.calls.contains_key(&id);
        let answered = match full {
            true => Err(format!("{MAX_CALLS} calls are going on, that is all a demo serves")),
            false => self.calls.entry(id).or_insert_with(|| Call::new(self.local, now)).answer(sdp),
        };
        // What never began takes no place.
        self.calls.retain(|_, call| call.has_begun());
        let _ = self.happenings.send(match answered {
            Ok(sdp) => (id, Happening::Answer { transaction, sdp }),
            Err(reason) => (id, Happening::Refused { transaction, reason }),
        });
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            // An ICMP error of an earlier datagram is nothing that concerns this one.
            let Ok((length, source)) = self.socket.try_recv_from(buffer) else { return };
            let now = Instant::now();
            let Some(received) = peer::datagram(source, self.local, &buffer[..length]) else { continue };
            let received = Input::Receive(now, received);
            let Some(id) = self.whose(source, buffer[0] < 4, &received) else { continue };
            self.change(id, |call| call.receive(received));
            self.work(id, now);
        }
    }

    /// A source may have belonged to a call that ended, so STUN says itself whom it means (RFC 7983: first byte 0 to 3).
    fn whose(&mut self, source: SocketAddr, is_stun: bool, received: &Input<'_>) -> Option<CallId> {
        if let (false, Some(id)) = (is_stun, self.calls_by_source.get(&source)) {
            return Some(*id);
        }
        let id = *self.calls.iter().find(|(_, call)| call.accepts(received))?.0;
        if self.calls_by_source.len() >= MAX_SOURCES {
            self.calls_by_source.clear();
        }
        self.calls_by_source.insert(source, id);
        Some(id)
    }

    fn work(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (socket, happenings) = (&self.socket, &self.happenings);
        call.work(
            now,
            Outbox {
                // A full socket loses a datagram, as networks do.
                datagrams: &mut |out| drop(socket.try_send_to(&out.contents, out.destination)),
                happenings: &mut |happening| drop(happenings.send((id, happening))),
            },
        );
        if let Some(reason) = call.ended() {
            self.calls.remove(&id);
            self.calls_by_source.retain(|_, owner| *owner != id);
            let _ = self.happenings.send((id, Happening::Ended { reason }));
        }
    }
}
