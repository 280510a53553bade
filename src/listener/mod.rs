//! \[shell\] The packet side's sockets and threads: one worker per core, each with its own `SO_REUSEPORT` socket per
//! listener, its own backend-facing sockets and its own [`Forwarder`](crate::forward::Forwarder). And the TCP ports, in
//! [`tcp`], whose packets go the same way.
//!
//! Nothing is decided here; see [`crate::forward`]. Workers share no data: commands, and packets that arrived at the
//! wrong worker, travel through their inboxes.

mod batch;
mod socket;
pub mod tcp;
pub mod turn;
mod worker;
mod worker_backends;
mod worker_streams;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;
use tracing::error;

use crate::config::Media;
use crate::forward::Counters;
use crate::session::registration::{Command, SessionEvent, SessionSink};
use tcp::{FromStream, StreamDoor};
use worker::{HandedOver, Worker};

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
    /// End every session, then stop.
    Stop,
}

/// The way into one worker.
struct Inbox {
    commands: mpsc::Sender<ToWorker>,
    packets: mpsc::SyncSender<HandedOver>,
    streams: mpsc::SyncSender<FromStream>,
    waker: mio::Waker,
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
    addresses: Arc<[SocketAddr]>,
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
        let mut sockets: Vec<Vec<socket::Socket>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for addr in listeners {
            // With port 0 the kernel chooses once, for all workers.
            let mut chosen = *addr;
            let failed = |source| ListenError::Bind { addr: *addr, source };
            socket::Socket::is_free(chosen).map_err(failed)?;
            for of_worker in &mut sockets {
                let bound = socket::Socket::listen(chosen, media).map_err(failed)?;
                chosen = bound.local_addr()?;
                of_worker.push(bound);
            }
            addresses.push(chosen);
        }
        addresses.extend_from_slice(stream_listeners);
        let runtime = tokio::runtime::Handle::try_current().ok();
        let mut inboxes = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..workers {
            let poll = mio::Poll::new()?;
            let (commands, command_queue) = mpsc::channel();
            let (packets, packet_queue) = mpsc::sync_channel(HAND_OVER_QUEUE);
            let (streams, stream_queue) = mpsc::sync_channel(STREAM_QUEUE);
            let waker = mio::Waker::new(poll.registry(), worker::WAKE)?;
            inboxes.push(Inbox { commands, packets, streams, waker, published: Published::default() });
            receivers.push((poll, command_queue, packet_queue, stream_queue));
        }
        let inboxes: Arc<[Inbox]> = inboxes.into();
        let mut threads = Vec::new();
        for (number, (sockets, (poll, commands, packets, streams))) in
            sockets.into_iter().zip(receivers).enumerate()
        {
            let setup = worker::Setup {
                number: number as u32,
                poll,
                commands,
                packets,
                streams,
                runtime: runtime.clone(),
                inboxes: inboxes.clone(),
                listeners: sockets,
                addresses: addresses.clone(),
                media: media.clone(),
                max_sessions,
                events: events.clone(),
            };
            threads.push(spawn(number, Worker::new(setup)?)?);
        }
        Ok(PacketSide {
            inboxes,
            addresses: addresses.into(),
            udp_listeners: listeners.len(),
            next_worker: Arc::default(),
            threads: Arc::new(Mutex::new(threads)),
        })
    }

    /// Where the connections of the stream listener with this index meet the workers.
    pub fn stream_door(&self, index: usize) -> StreamDoor {
        StreamDoor {
            inboxes: self.inboxes.clone(),
            listener: (self.udp_listeners + index) as u16,
            next_worker: self.next_worker.clone(),
        }
    }

    /// Gives a packet of a stream to a worker; whether there was room.
    fn offer_stream(&self, worker: u32, message: FromStream) -> bool {
        let Some(inbox) = self.inboxes.get(worker as usize) else { return false };
        let taken = inbox.streams.try_send(message).is_ok();
        // A failed wake means that the worker is awake already, or gone.
        let _ = inbox.waker.wake();
        taken
    }

    /// Where the listeners listen, in the order they were given, those for streams last.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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
            // Fails only for a worker that has stopped, which needs no commands.
            let _ = inbox.commands.send(message());
            let _ = inbox.waker.wake();
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
