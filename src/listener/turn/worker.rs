//! One TURN worker: waits, receives what is there from all its sockets, lets the server decide, sends. What comes and goes by
//! TCP is in `streams`, what goes to the edge's own ICE port in `inside`, what comes by the inbox in `inbox`.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tracing::{info, trace};

use super::inbox::PUBLISH_EVERY;
use super::inside::Insides;
use super::streams::TurnLink;
use super::world::World;
use super::{Shared, ToWorker};
use crate::listener::alarm::ALARM;
use crate::listener::batch::{Datagram, Head, Outgoing, REPLIES, Receiver, Sender};
use crate::listener::idle::Idle;
use crate::listener::socket::Socket;
use crate::telemetry::plain;
use crate::turn::wire::{DATA_HEAD_MAX, channel_header, data_head};
use crate::turn::{Client, FromPeer, RelayId, Server, Transport, TurnDrop, Verdict};

/// The waker's token; sockets have the others.
pub(super) const WAKE: Token = Token(usize::MAX);
const LISTENER: Token = Token(0);
/// Relay sockets have tokens from here on.
pub(super) const RELAYS: usize = 1;
/// How often connections without an allocation and reserved ports are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Setup {
    pub(super) number: usize,
    pub(super) poll: Poll,
    pub(super) queue: mpsc::Receiver<ToWorker>,
    pub(super) listener: Socket,
    pub(super) server: Server,
    pub(super) shared: Arc<Shared>,
    /// `media.coalesce`.
    pub(super) coalesce: Duration,
    pub(super) now: Instant,
}

/// One of the worker's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Listener,
    Relay(u32),
}

pub(super) struct Worker {
    pub(super) number: usize,
    poll: Poll,
    pub(super) queue: mpsc::Receiver<ToWorker>,
    pub(super) has_more: bool,
    listener: Socket,
    /// What waits to be sent to clients, in order.
    to_clients: Vec<Outgoing>,
    pub(super) server: Server,
    pub(super) world: World,
    pub(super) shared: Arc<Shared>,
    pub(super) receiver: Receiver,
    sender: Sender,
    ready: VecDeque<Via>,
    pub(super) idle: Idle,
    dirty: Vec<Via>,
    replies: usize,
    /// TCP clients by the number of their connection.
    pub(super) links: HashMap<u32, Arc<TurnLink>>,
    pub(super) insides: Insides,
    pub(super) published: Instant,
    swept: Instant,
    pub(super) unpublished: bool,
    pub(super) stopping: bool,
}

impl Worker {
    pub(super) fn new(setup: Setup) -> io::Result<Worker> {
        let registry = setup.poll.registry();
        registry.register(&mut SourceFd(&setup.listener.fd()), LISTENER, Interest::READABLE)?;
        let world = World::new(setup.shared.clone(), registry.try_clone()?);
        let idle = Idle::new(&setup.poll, setup.coalesce, setup.now)?;
        Ok(Worker {
            number: setup.number,
            poll: setup.poll,
            queue: setup.queue,
            has_more: false,
            listener: setup.listener,
            to_clients: Vec::new(),
            server: setup.server,
            world,
            insides: Insides::new(setup.shared.clone(), setup.number),
            shared: setup.shared,
            receiver: Receiver::new(),
            sender: Sender::new(),
            ready: VecDeque::from([Via::Listener]),
            idle,
            dirty: Vec::new(),
            replies: 0,
            links: HashMap::new(),
            published: setup.now,
            swept: setup.now,
            unpublished: true,
            stopping: false,
        })
    }

    /// Works until it is told to stop.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        while !self.stopping {
            let now = self.wait(&mut events)?;
            // What was told before a packet came holds for it: a reload that closes a peer, above all.
            if self.shared.inboxes[self.number].bell.answer() || self.has_more {
                self.read_messages(now);
            }
            self.read_sockets(now);
            if self.server.next_timeout().is_some_and(|at| at <= now) {
                self.unpublished = true;
                self.server.handle_timeout(now, &mut self.world);
            }
            self.settle();
            self.tell_notices();
            self.sweep(now);
            if now >= self.published + PUBLISH_EVERY {
                self.publish(now);
            }
        }
        self.server.end_all(&mut self.world);
        self.settle();
        self.links.values().for_each(|link| link.close());
        self.publish(Instant::now());
        Ok(())
    }

    /// Until there is something to do. Returns the time then.
    fn wait(&mut self, events: &mut Events) -> io::Result<Instant> {
        let now = if !self.ready.is_empty() || self.has_more {
            self.idle.look(&mut self.poll, events)?
        } else {
            let publish = self.unpublished.then_some(self.published + PUBLISH_EVERY);
            let sweep = (!self.links.is_empty()).then_some(self.swept + SWEEP_EVERY);
            let wake_at = [self.server.next_timeout(), publish, sweep].into_iter().flatten().min();
            self.idle.wait(&mut self.poll, events, wake_at)?
        };
        for event in events.iter() {
            match event.token() {
                WAKE | ALARM => {}
                LISTENER => self.mark_ready(Via::Listener),
                Token(relay) => self.mark_ready(Via::Relay((relay - RELAYS) as u32)),
            }
        }
        Ok(now)
    }

    fn mark_ready(&mut self, via: Via) {
        if let Some(socket) = self.socket_mut(via)
            && !socket.ready
        {
            socket.ready = true;
            self.ready.push_back(via);
        }
    }

    /// One turn of every socket that has something; what all of them bring is sent together where it fits.
    fn read_sockets(&mut self, now: Instant) {
        if self.ready.is_empty() {
            return;
        }
        self.unpublished = true;
        self.receiver.clear();
        for _ in 0..self.ready.len() {
            let Some(via) = self.ready.pop_front() else { break };
            if self.receiver.is_full() {
                self.flush();
                self.receiver.clear();
            }
            self.read_socket(now, via);
            if self.socket_mut(via).is_some_and(|socket| socket.ready) {
                self.ready.push_back(via);
            }
        }
        self.flush();
    }

    fn read_socket(&mut self, now: Instant, via: Via) {
        let Some(socket) = self.socket_mut(via) else { return };
        let fd = socket.fd();
        let new = match self.receiver.receive(fd) {
            Ok(new) => new,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            // WouldBlock, or an error that the kernel attributes to an earlier send: nothing to read.
            Err(_) => 0..0,
        };
        if !self.receiver.is_full()
            && let Some(socket) = self.socket_mut(via)
        {
            // The queue is empty; the next datagram raises a new edge.
            socket.ready = false;
        }
        if !new.is_empty() {
            self.idle.busy();
        }
        for i in new {
            let Some(datagram) = self.receiver.datagram(i) else { continue };
            match via {
                Via::Listener => self.hear_client(now, datagram),
                Via::Relay(relay) => self.hear_peer(now, RelayId(relay), datagram),
            }
        }
    }

    fn hear_client(&mut self, now: Instant, datagram: Datagram) {
        let client =
            Client { transport: Transport::Udp, stream: 0, remote: datagram.from, local: datagram.local };
        for segment in datagram.segments() {
            self.decide(now, client, segment, false);
        }
    }

    /// Decides over what a client sent. `is_again`: the webhook was asked already.
    pub(super) fn decide(&mut self, now: Instant, client: Client, segment: (usize, usize), is_again: bool) {
        // A request may close a relay: what came before it leaves before.
        if self.replies == REPLIES || is_request(self.receiver.packet(segment)) {
            self.flush();
        }
        let (packet, reply) = self.receiver.packet_and_reply(segment, self.replies);
        let start = segment.0;
        match self.server.handle(now, client, packet, reply, &mut self.world) {
            Verdict::Relay { relay, to, at, len } => {
                let out = Outgoing { to, local: None, offset: start + at, len, head: Head::Empty };
                self.queue_at_relay(relay, out);
            }
            Verdict::Reply { len } => self.reply(client, len),
            Verdict::Inside { relay, door, to, at, len } => {
                let payload = self.receiver.packet((start + at, len));
                if !self.insides.send(relay, door, to, payload) {
                    self.server.count_drops(TurnDrop::SendBufferFull, 1);
                }
            }
            Verdict::Ask if is_again => self.server.count_drops(TurnDrop::Unexpected, 1),
            Verdict::Ask => self.ask(client, segment),
            Verdict::Done => {}
            Verdict::Drop(reason) => {
                trace!(worker = self.number, client = %plain(client.remote), reason = %reason.label(), "dropped");
            }
        }
    }

    fn reply(&mut self, client: Client, len: usize) {
        let offset = Receiver::reply_offset(self.replies);
        if client.is_stream() {
            self.send_by_stream(client, &[], (offset, len));
            return;
        }
        self.replies += 1;
        self.queue_to_client(Outgoing {
            to: client.remote,
            local: client.local,
            offset,
            len,
            head: Head::Empty,
        });
    }

    fn hear_peer(&mut self, now: Instant, relay: RelayId, datagram: Datagram) {
        let (mut packets, mut bytes) = (0, 0);
        for (_, len) in datagram.segments() {
            (packets, bytes) = (packets + 1, bytes + len);
        }
        let verdict = self.server.handle_peer(now, relay, datagram.from, (packets, bytes), &self.world);
        for segment in datagram.segments() {
            self.deliver(verdict, segment);
        }
    }

    /// Lets a peer's packet, which lies at `segment`, go to the client.
    pub(super) fn deliver(&mut self, verdict: FromPeer, segment: (usize, usize)) {
        match verdict {
            FromPeer::Channel { client, number } => {
                let head = channel_header(number, segment.1);
                if client.is_stream() {
                    return self.send_by_stream(client, &head, segment);
                }
                self.queue_to_client(outgoing(&client, segment, Head::Bytes(head)));
            }
            FromPeer::Indication { client, peer } => self.indicate(client, peer, segment),
            FromPeer::Drop(_) => {}
        }
    }

    fn indicate(&mut self, client: Client, peer: SocketAddr, segment: (usize, usize)) {
        let id = self.server.indication_id();
        if client.is_stream() {
            let mut head = [0; DATA_HEAD_MAX];
            if let Some(len) = data_head(&mut head, id, peer, segment.1) {
                self.send_by_stream(client, &head[..len], segment);
            }
            return;
        }
        if self.replies == REPLIES {
            self.flush();
        }
        let (_, head) = self.receiver.packet_and_reply(segment, self.replies);
        let Some(len) = data_head(head, id, peer, segment.1) else { return };
        let offset = Receiver::reply_offset(self.replies);
        self.replies += 1;
        self.queue_to_client(outgoing(&client, segment, Head::Reply { offset, len }));
    }

    fn send_by_stream(&mut self, client: Client, head: &[u8], segment: (usize, usize)) {
        let Some(link) = self.links.get(&client.stream) else { return };
        let dropped = link.send(head, self.receiver.packet(segment));
        self.server.count_drops(TurnDrop::TcpClientSlow, dropped);
    }

    fn queue_to_client(&mut self, out: Outgoing) {
        if self.to_clients.is_empty() {
            self.dirty.push(Via::Listener);
        }
        self.to_clients.push(out);
    }

    fn queue_at_relay(&mut self, relay: RelayId, out: Outgoing) {
        let Some(socket) = self.world.relays.get_mut(relay.0 as usize) else { return };
        if socket.queue.is_empty() {
            self.dirty.push(Via::Relay(relay.0));
        }
        socket.queue.push(out);
    }

    /// Sends what waits. What was received stays where it is.
    pub(super) fn flush(&mut self) {
        self.replies = 0;
        while let Some(via) = self.dirty.pop() {
            let (socket, queue) = match via {
                Via::Listener => (&mut self.listener, &mut self.to_clients),
                Via::Relay(relay) => match self.world.relays.get_mut(relay as usize) {
                    Some(relay) => (&mut relay.socket, &mut relay.queue),
                    None => continue,
                },
            };
            let sent = self.sender.send(socket.fd(), &self.receiver, queue, socket.offload);
            socket.offload &= !sent.offload_broken;
            queue.clear();
            self.server.count_drops(TurnDrop::SendBufferFull, sent.full);
            self.server.count_drops(TurnDrop::SendRefused, sent.refused);
        }
    }

    /// What the server did to its relays concerns their sockets too.
    fn settle(&mut self) {
        while let Some(relay) = self.world.closed.pop() {
            self.insides.close(relay);
            self.world.relays.try_remove(relay.0 as usize);
        }
        while let Some(relay) = self.world.opened.pop() {
            if self.world.relays.contains(relay as usize) {
                self.ready.push_back(Via::Relay(relay));
            }
        }
    }

    fn tell_notices(&mut self) {
        while let Some(notice) = self.server.poll_notice() {
            let service = &self.shared.service;
            info!(%service, peer = %notice.peer, reason = %notice.reason.label(), client = %plain(notice.client),
                "peer denied; more of this reason are only counted for a minute");
        }
    }

    fn sweep(&mut self, now: Instant) {
        if now < self.swept + SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.shared.ports.forget_reserved(now);
        for link in self.links.values() {
            link.note(self.server.has_allocation(&link.client));
        }
    }

    fn socket_mut(&mut self, via: Via) -> Option<&mut Socket> {
        match via {
            Via::Listener => Some(&mut self.listener),
            Via::Relay(relay) => self.world.relays.get_mut(relay as usize).map(|relay| &mut relay.socket),
        }
    }
}

/// Whether a packet is a STUN request, by the two bits of its class (RFC 8489 §5).
#[inline]
fn is_request(packet: &[u8]) -> bool {
    matches!(packet, [high, low, ..] if high & 0xC1 == 0 && low & 0x10 == 0)
}

fn outgoing(client: &Client, (offset, len): (usize, usize), head: Head) -> Outgoing {
    Outgoing { to: client.remote, local: client.local, offset, len, head }
}
