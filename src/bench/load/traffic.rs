//! The traffic itself: packets of both sides at a steady rate, every one stamped with the time it left, and the account of what
//! arrived.
//!
//! One thread, which never sleeps where it has a core for itself: waking it would cost the program under test. A packet counts
//! where its stamp lies inside the measured time, so what is still under way at its end is waited for and is no loss.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::ice;
use super::pair::{End, Pair};
use super::turns::{self, NEXT_TURN, Turn, Turns};
use crate::bench::datagrams::{BATCH, Inbox, Outbox};
use crate::stun::{self, Class, Message};

/// Smallest payload: an RTP header and the stamp.
pub(super) const MIN_SIZE: usize = 12 + 8;
/// Largest payload: with headers and a TURN channel it stays below a common MTU.
pub(super) const MAX_SIZE: usize = 1400;
/// Most packets of one burst: what goes by one system call.
pub(super) const MAX_BURST: usize = BATCH;
/// What is still under way when sending ends is waited for this long.
const DRAIN: Duration = Duration::from_millis(200);
/// A generator that is further behind than this does not catch up: it would offer more than the rate.
const DEBT: Duration = Duration::from_millis(50);
/// How long a wait lasts at most where nothing is to be sent.
const REST: Duration = Duration::from_secs(1);
/// Sends between two looks at what arrived.
const SENDS_PER_TURN: usize = 16;

/// What is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Packets per second, both directions together.
    pub(super) rate: f64,
    pub(super) size: usize,
    pub(super) burst: usize,
    pub(super) up: bool,
    pub(super) down: bool,
    /// Packets leave at moments this far apart, all that are due by then: as a network card hands them over, not evenly.
    pub(super) tick: Duration,
    /// How long a wait for packets may last; zero: never sleep.
    pub(super) nap: Duration,
}

/// What came of it, within the measured time.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) sent: u64,
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) duration: Duration,
    /// One-way times in nanoseconds, in no order.
    pub(super) latencies: Vec<u32>,
}

/// The packets of all sessions, sent and received as planned.
pub(super) struct Traffic<'a> {
    pairs: &'a [Pair],
    plan: &'a Plan,
    poll: Poll,
    events: Events,
    inbox: Inbox,
    outbox: Outbox,
    packets: Packets,
    epoch: Instant,
    /// When the next burst is due, since `epoch`.
    due: Duration,
    /// Time from one burst to the next.
    period: Duration,
    /// Number of the next burst.
    turn: usize,
    /// Stamps that count: from, to.
    window: (u64, u64),
    account: Account,
}

impl<'a> Traffic<'a> {
    /// Nothing is sent yet.
    pub(super) fn new(pairs: &'a [Pair], plan: &'a Plan) -> io::Result<Traffic<'a>> {
        let poll = Poll::new()?;
        for (i, pair) in pairs.iter().enumerate() {
            for (side, end) in [&pair.client, &pair.backend].into_iter().enumerate() {
                let fd = end.socket.as_raw_fd();
                poll.registry().register(&mut SourceFd(&fd), Token(2 * i + side), Interest::READABLE)?;
            }
        }
        Ok(Traffic {
            pairs,
            plan,
            poll,
            events: Events::with_capacity(1024),
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            packets: Packets::new(plan.size),
            epoch: Instant::now(),
            due: Duration::ZERO,
            period: Duration::from_secs_f64(plan.burst as f64 / plan.rate),
            turn: 0,
            window: (u64::MAX, u64::MAX),
            account: Account::default(),
        })
    }

    /// One turn. `mark` is called where its measured time begins, and where that ends.
    pub(super) fn run(&mut self, turn: Turn, mut mark: impl FnMut()) -> io::Result<()> {
        let samples = self.plan.rate * turn.measured.as_secs_f64() * 1.1;
        self.account.latencies.reserve(samples as usize);
        self.phase(turn.warm)?;
        mark();
        self.open_window();
        self.phase(turn.measured)?;
        mark();
        self.close_window();
        self.drain()
    }

    /// Sends nothing, and answers checks, until there is another turn; `None`: there will be none.
    pub(super) fn rest(&mut self, turns: &Turns) -> io::Result<Option<Turn>> {
        loop {
            match turns.try_recv() {
                Ok(turn) => return Ok(Some(turn?)),
                Err(TryRecvError::Disconnected) => return Ok(None),
                Err(TryRecvError::Empty) => self.receive(REST)?,
            }
        }
    }

    /// The turns that lines of standard input ask for.
    pub(super) fn turns(&self) -> io::Result<Turns> {
        turns::read(self.poll.registry())
    }

    /// What came of all of it.
    pub(super) fn account(self) -> Account {
        self.account
    }

    fn open_window(&mut self) {
        self.window = (self.now(), u64::MAX);
    }

    fn close_window(&mut self) {
        self.window.1 = self.now();
        self.account.duration += Duration::from_nanos(self.window.1 - self.window.0);
    }

    fn now(&self) -> u64 {
        // 584 years fit.
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sends at the planned rate, and receives, for this long.
    fn phase(&mut self, length: Duration) -> io::Result<()> {
        let end = self.epoch.elapsed() + length;
        loop {
            let now = self.epoch.elapsed();
            if now >= end {
                return Ok(());
            }
            self.send_what_is_due(now);
            self.receive(if self.due <= now { Duration::ZERO } else { self.plan.nap })?;
        }
    }

    /// Until everything has arrived, or will not.
    fn drain(&mut self) -> io::Result<()> {
        let start = Instant::now();
        while self.account.up + self.account.down < self.account.sent && start.elapsed() < DRAIN {
            self.receive(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Sends what was due at the last moment of sending.
    fn send_what_is_due(&mut self, now: Duration) {
        if self.due + DEBT < now {
            self.due = now;
        }
        let tick = self.plan.tick.as_nanos().max(1);
        let moment = now.as_nanos() / tick * tick;
        for _ in 0..SENDS_PER_TURN {
            if self.due.as_nanos() > moment {
                return;
            }
            self.due += self.period;
            self.send_burst();
        }
    }

    /// One burst of one side of one session; the sides take turns where both send.
    fn send_burst(&mut self) {
        let both = self.plan.up && self.plan.down;
        let of_session = if both { self.turn / 2 } else { self.turn };
        let pair = &self.pairs[of_session % self.pairs.len()];
        let up = if both { self.turn.is_multiple_of(2) } else { self.plan.up };
        self.turn += 1;
        let (end, channel) = if up { (&pair.client, pair.channel) } else { (&pair.backend, None) };
        let stamp = self.now();
        let sent = self.packets.send(&mut self.outbox, end, channel, self.plan.burst, stamp);
        if self.counts(stamp) {
            self.account.sent += sent as u64;
        }
    }

    fn counts(&self, stamp: u64) -> bool {
        (self.window.0..self.window.1).contains(&stamp)
    }

    fn receive(&mut self, wait: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        // Readiness comes once per change, so each socket is read until it is empty.
        let sockets = self.events.iter().map(|event| event.token()).filter(|token| *token != NEXT_TURN);
        let ready: Vec<usize> = sockets.map(|token| token.0).collect();
        for token in ready {
            while self.receive_from(token)? == BATCH {}
        }
        Ok(())
    }

    fn receive_from(&mut self, token: usize) -> io::Result<usize> {
        let pair = &self.pairs[token / 2];
        let (end, channel) =
            if token.is_multiple_of(2) { (&pair.client, pair.channel) } else { (&pair.backend, None) };
        let count = self.inbox.receive(&end.socket)?;
        let now = self.now();
        for (from, datagram) in self.inbox.datagrams() {
            match stamp_of(datagram, channel.is_some()) {
                Some(stamp) if (self.window.0..self.window.1).contains(&stamp) => {
                    *(if token.is_multiple_of(2) { &mut self.account.down } else { &mut self.account.up }) +=
                        1;
                    let nanos = now.saturating_sub(stamp);
                    self.account.latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
                }
                Some(_) => {}
                None => answer_check(end, datagram, from.map(SocketAddr::V4)),
            }
        }
        Ok(count)
    }
}

fn answer_check(end: &End, datagram: &[u8], from: Option<SocketAddr>) {
    if let (Ok(message), Some(from)) = (Message::parse(datagram), from)
        && message.is_binding(Class::Request)
    {
        ice::answer(end, &message, from);
    }
}

/// The time when a packet of ours left; `None` for anything else.
fn stamp_of(datagram: &[u8], in_channel: bool) -> Option<u64> {
    let packet = if in_channel { datagram.get(4..)? } else { datagram };
    if stun::is_stun(packet) || packet.first()? >> 6 != 2 {
        return None;
    }
    Some(u64::from_be_bytes(packet.get(12..20)?.try_into().ok()?))
}

/// Room for one burst, in which only header and stamp change.
struct Packets {
    slots: Vec<[u8; SLOT]>,
    size: usize,
    sequence: u16,
}

/// A TURN channel's header, then the payload.
const SLOT: usize = CHANNEL_HEADER + MAX_SIZE;
const CHANNEL_HEADER: usize = 4;

impl Packets {
    fn new(size: usize) -> Packets {
        let mut slot = [0x5a; SLOT];
        // RTP of version 2, dynamic payload type, SSRC 1.
        slot[CHANNEL_HEADER..][..12].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        // A payload is never longer than MAX_SIZE.
        slot[2..4].copy_from_slice(&(size as u16).to_be_bytes());
        Packets { slots: vec![slot; MAX_BURST], size, sequence: 0 }
    }

    /// Sends `count` packets of `end` at once; how many went.
    fn send(
        &mut self,
        outbox: &mut Outbox,
        end: &End,
        channel: Option<u16>,
        count: usize,
        stamp: u64,
    ) -> usize {
        for slot in &mut self.slots[..count] {
            self.sequence = self.sequence.wrapping_add(1);
            slot[..2].copy_from_slice(&channel.unwrap_or_default().to_be_bytes());
            slot[CHANNEL_HEADER + 2..][..2].copy_from_slice(&self.sequence.to_be_bytes());
            slot[CHANNEL_HEADER + 12..][..8].copy_from_slice(&stamp.to_be_bytes());
        }
        let start = if channel.is_some() { 0 } else { CHANNEL_HEADER };
        let range = start..CHANNEL_HEADER + self.size;
        if count == 1 {
            return usize::from(end.socket.send(&self.slots[0][range]).is_ok());
        }
        let slices: [[IoSlice<'_>; 1]; MAX_BURST] =
            std::array::from_fn(|i| [IoSlice::new(&self.slots[i][range.clone()])]);
        outbox.send(&end.socket, &slices[..count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_channel_header_and_stun_has_none() {
        let mut packets = Packets::new(100);
        let pairs = Pair::open(1).unwrap();
        let pair = &pairs[0];
        pair.client.connect(pair.backend.addr.into()).unwrap();
        for channel in [None, Some(0x4001)] {
            assert_eq!(packets.send(&mut Outbox::new(), &pair.client, channel, 2, 77), 2);
            let mut buffer = [0; 2048];
            for _ in 0..2 {
                let (got, _) = pair.backend.wait(&mut buffer, Duration::from_secs(5)).unwrap();
                assert_eq!(got.len(), 100 + 4 * usize::from(channel.is_some()));
                assert_eq!(stamp_of(got, channel.is_some()), Some(77));
            }
        }
        assert_eq!(stamp_of(&[0; 40], false), None);
        assert_eq!(stamp_of(&[], true), None);
    }
}
