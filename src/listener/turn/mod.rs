//! \[shell\] TURN: threads of its own, one per core, each with a `SO_REUSEPORT` socket, its relay sockets and its own
//! [`Server`](crate::turn::Server). Nothing is decided here but which port a relay gets.
//!
//! They are not the packet workers of ICE: a relay is a socket per client where ICE has one for all, so neither would gain
//! from sharing a thread, and a flood at one port leaves the other one alone. A service without TURN has none of them. What a
//! relay sends to the edge's own ICE port goes from thread to thread, and never leaves the process.

mod inbox;
mod inside;
mod metrics;
mod ports;
mod quotas;
mod streams;
mod worker;
mod world;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::error;

use super::bell::Bell;
use super::parcel::{Parcel, Pool};
use super::tcp::StreamDoor;
use super::{ListenError, socket};
use crate::auth::{Store, WebhookError};
use crate::budget::Rate;
use crate::config::{Auth, Media};
use crate::turn::{Client, Counters, Listed, Nonces, Policy, Realm, RelayId, Server, Setup};
use ports::Ports;
pub use ports::{External, Externals};
pub use quotas::Limits;
use quotas::Quotas;
use streams::TurnLink;
pub use streams::{Ended, TurnDoor};
use worker::Worker;

/// What may wait for a worker besides datagrams; beyond this, connections wait and the rest is dropped.
const QUEUE: usize = 4096;
/// Before a worker whose inbox is full is asked again whether it is well.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// What a TURN service is made of.
pub struct Facts {
    /// Its name, for logs and metrics.
    pub service: Arc<str>,
    /// `net.addr`.
    pub listen: SocketAddr,
    /// Workers, buffers, offload.
    pub media: Media,
    /// What clients sign for.
    pub realm: Realm,
    /// Addresses and ports of relays.
    pub externals: Externals,
    /// Whom relays may reach.
    pub policy: Policy,
    /// How many allocations there may be.
    pub limits: Limits,
    /// Bytes per second and direction of one allocation; 0: any.
    pub bandwidth: u64,
    /// Longest lifetime, seconds.
    pub max_lifetime: u32,
    /// Answers to one source that has shown no credential.
    pub strangers: Rate,
    /// Who may come in.
    pub store: Store,
    /// What stands behind each door of the policy.
    pub doors: Vec<StreamDoor>,
}

/// The running TURN service. Cheap to clone.
#[derive(Clone)]
pub struct TurnSide(Arc<Shared>);

/// What the workers of a service share: nothing that a packet touches.
struct Shared {
    service: Arc<str>,
    address: SocketAddr,
    inboxes: Vec<Inbox>,
    next_stream: AtomicU32,
    store: Store,
    quotas: Quotas,
    ports: Ports,
    asking: AtomicUsize,
    draining: AtomicBool,
    stopped: AtomicBool,
    runtime: tokio::runtime::Handle,
    doors: ArcSwap<Vec<StreamDoor>>,
    /// For packets between the workers and those of the packet side.
    pool: Pool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The way into one worker.
struct Inbox {
    messages: mpsc::SyncSender<ToWorker>,
    bell: Bell,
    published: Published,
}

#[derive(Default)]
struct Published {
    allocations: AtomicUsize,
    counters: Mutex<Counters>,
}

enum ToWorker {
    /// A message of a TCP client.
    Stream(Arc<TurnLink>, Bytes),
    /// Its connection is over.
    Gone(Arc<TurnLink>),
    /// A packet whose user the webhook was asked about.
    Again(Client, Bytes),
    /// The edge's own ICE port sends to a relay, by the way with this number.
    Inside {
        relay: RelayId,
        serial: u64,
        parcel: Parcel,
    },
    /// Whom relays may reach, bytes per second, `media.coalesce`.
    Renew(Arc<Policy>, u64, Duration),
    /// Are you there?
    Ping(mpsc::Sender<()>),
    /// The newest allocations, so many, of this user or of all.
    List(usize, Option<Arc<str>>, oneshot::Sender<Vec<Listed>>),
    /// End the allocation with this id; whether it is there.
    End(u64, oneshot::Sender<bool>),
    Stop,
}

impl Shared {
    /// No worker reads its messages any more.
    fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Inbox {
    /// Whether there was room.
    fn offer(&self, message: ToWorker) -> Result<(), ToWorker> {
        let offered = self.messages.try_send(message).map_err(|error| match error {
            mpsc::TrySendError::Full(message) | mpsc::TrySendError::Disconnected(message) => message,
        });
        self.bell.ring();
        offered
    }

    /// For what must arrive and is rare; waits for room.
    fn tell(&self, message: ToWorker) {
        // Fails only for a worker that has stopped.
        let _ = self.messages.send(message);
        self.bell.ring();
    }
}

impl TurnSide {
    /// Binds the service once per worker and starts the workers. To be called in a tokio runtime, where webhooks are asked.
    pub fn start(facts: Facts) -> Result<TurnSide, ListenError> {
        let failed = |source| ListenError::Bind { addr: facts.listen, source };
        let workers = facts.media.workers.max(1);
        socket::Socket::is_free(facts.listen).map_err(failed)?;
        let mut listeners = Vec::new();
        let mut address = facts.listen;
        for _ in 0..workers {
            // With port 0 the kernel chooses once, for all workers.
            let bound = socket::Socket::listen(address, &facts.media).map_err(failed)?;
            address = bound.local_addr()?;
            listeners.push(bound);
        }
        let mut policy = facts.policy;
        policy.own_ports.push(address.port());
        let policy = Arc::new(policy);
        let (mut inboxes, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let poll = mio::Poll::new()?;
            let bell = Bell::new(&poll, worker::WAKE)?;
            let (messages, queue) = mpsc::sync_channel(QUEUE);
            inboxes.push(Inbox { messages, bell, published: Published::default() });
            ends.push((poll, queue));
        }
        let shared = Arc::new(Shared {
            service: facts.service,
            address,
            inboxes,
            next_stream: AtomicU32::new(1),
            store: facts.store,
            quotas: Quotas::new(facts.limits),
            ports: Ports::new(facts.externals, &facts.media),
            asking: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
            doors: ArcSwap::from_pointee(facts.doors),
            pool: Pool::new(),
            threads: Mutex::default(),
        });
        let (secret, now) = (rand::random(), Instant::now());
        let mut threads = Vec::new();
        for (number, (listener, (poll, queue))) in listeners.into_iter().zip(ends).enumerate() {
            let server = Server::new(Setup {
                realm: facts.realm.clone(),
                nonces: Nonces::new(secret, now),
                policy: policy.clone(),
                bandwidth: facts.bandwidth,
                max_lifetime: facts.max_lifetime,
                strangers: facts.strangers,
                seed: rand::random(),
                now,
            });
            let shared = shared.clone();
            let coalesce = facts.media.coalesce;
            let setup = worker::Setup { number, poll, queue, listener, server, shared, coalesce, now };
            threads.push(spawn(number, Worker::new(setup)?)?);
        }
        *shared.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(TurnSide(shared))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Its name.
    pub fn service(&self) -> &Arc<str> {
        &self.0.service
    }

    /// Where TCP connections meet the workers.
    pub fn door(&self) -> TurnDoor {
        TurnDoor::new(self.0.clone())
    }

    /// Live allocations.
    pub fn allocations(&self) -> usize {
        self.0.inboxes.iter().map(|inbox| inbox.published.allocations.load(Ordering::Relaxed)).sum()
    }

    /// What all workers counted.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for inbox in &self.0.inboxes {
            sum.add(&inbox.published.counters.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }

    /// The newest allocations, at most so many, of this user alone where one is named.
    pub async fn snapshot(&self, most: usize, user: Option<&str>) -> Vec<Listed> {
        let user: Option<Arc<str>> = user.map(Arc::from);
        let mut all = Vec::new();
        for inbox in &self.0.inboxes {
            let (answer, listed) = oneshot::channel();
            if inbox.offer(ToWorker::List(most, user.clone(), answer)).is_ok() {
                all.extend(listed.await.unwrap_or_default());
            }
        }
        all.sort_by_key(|listed| listed.age);
        all.truncate(most);
        all
    }

    /// Ends the allocation with this id; whether there was one.
    pub async fn end(&self, id: u64) -> bool {
        for inbox in &self.0.inboxes {
            let (answer, ended) = oneshot::channel();
            if inbox.offer(ToWorker::End(id, answer)).is_ok() && ended.await.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    /// Whether new allocations are refused.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Whether every worker does its work: returns when all have answered, or `patience` is over. One that was stopped owes no
    /// answer.
    pub fn is_alive(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let (answers, answered) = mpsc::channel();
        let asked = self.0.inboxes.iter().all(|inbox| {
            let mut message = ToWorker::Ping(answers.clone());
            // A full inbox is no reason to give up: the worker may be about to empty it.
            while let Err(back) = inbox.offer(message) {
                if Instant::now() >= until || self.has_stopped() {
                    return false;
                }
                message = back;
                std::thread::sleep(ASK_AGAIN);
            }
            true
        });
        let left = || until.saturating_duration_since(Instant::now());
        let all_answer = || self.0.inboxes.iter().all(|_| answered.recv_timeout(left()).is_ok());
        (asked && all_answer()) || self.has_stopped()
    }

    /// No worker runs any more.
    pub fn has_stopped(&self) -> bool {
        self.0.has_stopped()
    }

    /// Takes other users, peers and limits from a new configuration. No allocation ends; what no peer list allows any more
    /// loses its permissions.
    pub fn renew(
        &self,
        auth: &Auth,
        (mut policy, doors): (Policy, Vec<StreamDoor>),
        limits: Limits,
        bandwidth: u64,
        coalesce: Duration,
    ) -> Result<(), WebhookError> {
        self.0.store.renew(auth)?;
        self.0.quotas.set(limits);
        self.0.doors.store(Arc::new(doors));
        policy.own_ports.push(self.0.address.port());
        let policy = Arc::new(policy);
        self.0
            .inboxes
            .iter()
            .for_each(|inbox| inbox.tell(ToWorker::Renew(policy.clone(), bandwidth, coalesce)));
        Ok(())
    }

    /// No new allocations from now on; those that are there may be refreshed.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Ends every allocation and every worker; returns when they are gone. Blocks for milliseconds.
    pub fn stop(&self) {
        self.0.inboxes.iter().for_each(|inbox| inbox.tell(ToWorker::Stop));
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker that panicked has reported so itself.
            let _ = thread.join();
        }
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

fn spawn(number: usize, mut worker: Worker) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("turn-{number}")).spawn(move || {
        let run = std::panic::AssertUnwindSafe(|| worker.run());
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                error!(worker = number, %error, "TURN worker failed; the process stops");
                std::process::exit(1);
            }
            // Allocations of a dead worker would hang silently: better to be restarted as a whole.
            Err(_) => std::process::abort(),
        }
    })
}
