//! \[shell\] The packet side's sockets and threads: one worker per core, each with its own `SO_REUSEPORT` socket per
//! listener, its own backend-facing sockets and its own [`Forwarder`](crate::forward::Forwarder). And the TCP ports, in
//! [`tcp`], whose packets go the same way.
//!
//! Nothing is decided here; see [`crate::forward`]. Workers share no data: commands, and packets that arrived at the
//! wrong worker, travel through their inboxes.

mod alarm;
mod batch;
mod bell;
mod coalesce;
mod idle;
mod listeners;
mod metrics;
mod parcel;
mod socket;
pub mod tcp;
pub mod turn;
mod worker;
mod worker_backends;
mod worker_inbox;
mod worker_streams;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tracing::error;

use crate::config::{Limits, Media};
use crate::forward::{Counters, Forwarder};
use crate::session::registration::{Command, SessionEvent, SessionSink};
use bell::Bell;
pub use listeners::{Bound, ListenerIndex};
use listeners::{Slot, tell};
use tcp::{FromStream, StreamDoor};
use worker::Worker;
use worker_inbox::HandedOver;

/// Packets that may wait for another worker. They are the exception (a client that roams, or that has several
/// addresses); more than this is a flood.
const HAND_OVER_QUEUE: usize = 1024;
/// Packets from TCP connections that may wait for a worker; beyond this the connections wait.
const STREAM_QUEUE: usize = 1024;

/// Why the packet side did not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A listener's address cannot be bound.
    #[error("udp {addr}: cannot listen: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Polling or threads are not to be had.
    #[error("packet worker: cannot start: {0}")]
    Worker(#[from] io::Error),
}

/// What goes to a worker besides packets.
enum ToWorker {
    Command(Command),
    /// A listener came, with the next index. One for streams has no socket here.
    Listen(SocketAddr, Option<socket::Socket>),
    /// How many addresses of clients are known at a listener?
    CountClients(u16, mpsc::Sender<usize>),
    /// Are you there?
    Ping(mpsc::Sender<()>),
    /// Close a listener that nobody uses.
    CloseListener(u16),
    /// These listeners answer plain Binding requests from now on, and no other.
    Plain(Arc<[u16]>),
    /// Other limits hold from now on.
    Limits(Arc<Limits>),
    /// Sockets that are opened from now on.
    Media(Media),
    /// Somebody wants to know something.
    Ask(Question),
    /// End every session, then stop.
    Stop,
}

/// What is looked up in a worker's state, between two batches.
type Question = Box<dyn FnOnce(&mut Forwarder, Instant) + Send>;

/// The way into one worker.
struct Inbox {
    commands: mpsc::Sender<ToWorker>,
    packets: mpsc::SyncSender<HandedOver>,
    streams: mpsc::SyncSender<FromStream>,
    /// Rung by whoever sent something.
    bell: Bell,
    published: Published,
}

/// What a worker lets others see, renewed a few times per second.
#[derive(Default)]
struct Published {
    live: AtomicUsize,
    known: AtomicUsize,
    counters: Mutex<Counters>,
}

/// The running packet side. Cheap to clone.
#[derive(Clone)]
pub struct PacketSide {
    inboxes: Arc<[Inbox]>,
    /// By index of the listener, those that are gone included.
    slots: Arc<Mutex<Vec<Slot>>>,
    udp_listeners: usize,
    next_worker: Arc<AtomicU32>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl PacketSide {
    /// Binds every listener once per worker and starts the workers. `stream_listeners` are the addresses of TCP ports
    /// that carry ICE; see [`PacketSide::stream_door`]. `events` gets what happens to sessions. Backends are dialled over
    /// TCP in the tokio runtime that this is called in.
    pub fn start(
        listeners: &[SocketAddr],
        stream_listeners: &[SocketAddr],
        media: &Media,
        max_sessions: usize,
        events: UnboundedSender<SessionEvent>,
    ) -> Result<PacketSide, ListenError> {
        let workers = media.workers.max(1);
        let runtime = tokio::runtime::Handle::try_current().ok();
        let mut inboxes = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..workers {
            let poll = mio::Poll::new()?;
            let (commands, command_queue) = mpsc::channel();
            let (packets, packet_queue) = mpsc::sync_channel(HAND_OVER_QUEUE);
            let (streams, stream_queue) = mpsc::sync_channel(STREAM_QUEUE);
            let bell = Bell::new(&poll, worker::WAKE)?;
            inboxes.push(Inbox { commands, packets, streams, bell, published: Published::default() });
            receivers.push((poll, command_queue, packet_queue, stream_queue));
        }
        let inboxes: Arc<[Inbox]> = inboxes.into();
        let mut threads = Vec::new();
        for (number, (poll, commands, packets, streams)) in receivers.into_iter().enumerate() {
            let setup = worker::Setup {
                number: number as u32,
                poll,
                commands,
                packets,
                streams,
                runtime: runtime.clone(),
                inboxes: inboxes.clone(),
                media: media.clone(),
                max_sessions,
                events: events.clone(),
            };
            threads.push(spawn(number, Worker::new(setup)?)?);
        }
        let side = PacketSide {
            inboxes,
            slots: Arc::default(),
            udp_listeners: listeners.len(),
            next_worker: Arc::default(),
            threads: Arc::new(Mutex::new(threads)),
        };
        match side.open(listeners, stream_listeners, media) {
            Ok(()) => Ok(side),
            Err(error) => {
                side.stop();
                Err(error)
            }
        }
    }

    fn open(
        &self,
        listeners: &[SocketAddr],
        stream_listeners: &[SocketAddr],
        media: &Media,
    ) -> Result<(), ListenError> {
        for addr in listeners {
            self.listen(self.bind(*addr, media)?);
        }
        for addr in stream_listeners {
            self.add_stream_door(*addr);
        }
        Ok(())
    }

    /// Where the connections of the stream listener with this index meet the workers.
    pub fn stream_door(&self, index: usize) -> StreamDoor {
        StreamDoor {
            inboxes: self.inboxes.clone(),
            listener: (self.udp_listeners + index) as u16,
            next_worker: self.next_worker.clone(),
        }
    }

    /// Where the listeners listen, in the order in which they came; those that are gone too.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.slots().iter().map(|slot| slot.addr).collect()
    }

    /// Sessions with a client.
    pub fn live_sessions(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.published.live.load(Ordering::Relaxed)).sum()
    }

    /// Sessions that are registered, with a client or not. Every worker knows all of them.
    pub fn known_sessions(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.published.known.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// What all workers counted.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for inbox in self.inboxes.iter() {
            sum.add(&inbox.published.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
        sum
    }

    /// How many workers there are; they are numbered from 0.
    pub fn workers(&self) -> u32 {
        self.inboxes.len() as u32
    }

    /// Asks a worker something that only it knows. The worker answers between two batches, so `question` must be quick:
    /// bounded, a few microseconds. `None`: there is no such worker, or it has stopped.
    pub async fn ask<T: Send + 'static>(
        &self,
        worker: u32,
        question: impl FnOnce(&mut Forwarder, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let inbox = self.inboxes.get(worker as usize)?;
        let (tell, answer) = tokio::sync::oneshot::channel();
        let question: Question = Box::new(move |forwarder, now| {
            // Whoever asked may be gone.
            let _ = tell.send(question(forwarder, now));
        });
        inbox.commands.send(ToWorker::Ask(question)).ok()?;
        inbox.bell.ring();
        answer.await.ok()
    }

    /// Ends every session and every worker; returns when they are gone. Blocks for milliseconds.
    pub fn stop(&self) {
        self.tell(|| ToWorker::Stop);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for thread in threads {
            // A worker that panicked has reported so itself.
            let _ = thread.join();
        }
    }

    fn tell(&self, message: impl Fn() -> ToWorker) {
        for inbox in self.inboxes.iter() {
            tell(inbox, message());
        }
    }
}

impl SessionSink for PacketSide {
    fn send(&self, command: Command) {
        self.tell(|| ToWorker::Command(command.clone()));
    }

    fn known_sessions(&self) -> usize {
        PacketSide::known_sessions(self)
    }
}

fn spawn(number: usize, mut worker: Worker) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("udp-{number}")).spawn(move || {
        let run = std::panic::AssertUnwindSafe(|| worker.run());
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                error!(worker = number, %error, "packet worker failed; the process stops");
                std::process::exit(1);
            }
            // Sessions of a dead worker would hang silently: better to be restarted as a whole.
            Err(_) => std::process::abort(),
        }
    })
}
