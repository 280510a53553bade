//! What comes to a TURN worker from the rest of the program (messages of TCP clients, packets of the edge's own ICE port, requests
//! whose user a webhook was asked about, what the file and operators want), and what it shows of itself.
//!
//! Decides how much of it comes between two receives, never over a packet: each is laid where a received one would be, and goes
//! the same way.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ToWorker;
use super::worker::Worker;
use crate::auth::{Purpose, Query};
use crate::stun::{self, AttributeType};
use crate::turn::{Client, TurnDrop};

/// Messages per turn, so that datagrams get theirs.
const MESSAGES: usize = 256;
/// Packets that wait for the webhook. A client sends its request again anyway.
const ASKING: usize = 256;
/// How often the counters are shown to others.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_millis(100);

impl Worker {
    /// What packets among them lead to is sent together, as it is after a receive.
    pub(super) fn read_messages(&mut self, now: Instant) {
        self.receiver.clear();
        let mut count = 0;
        while count < MESSAGES
            && let Ok(message) = self.queue.try_recv()
        {
            count += 1;
            self.unpublished = true;
            self.take(now, message);
        }
        self.has_more = count == MESSAGES;
        if count > 0 {
            self.flush();
        }
    }

    fn take(&mut self, now: Instant, message: ToWorker) {
        match message {
            ToWorker::Stream(link, packet) => self.hear_stream(now, &link, &packet),
            ToWorker::Gone(link) => {
                self.flush();
                self.links.remove(&link.client.stream);
                self.server.client_gone(&link.client, &mut self.world);
            }
            // Its connection has ended meanwhile: nobody would end what it gets now.
            ToWorker::Again(client, _) if client.is_stream() && !self.links.contains_key(&client.stream) => {}
            ToWorker::Again(client, packet) => self.decide_loaded(now, client, &packet, true),
            ToWorker::Inside { relay, serial, parcel } => {
                if let Some(from) = self.insides.sender(relay, serial) {
                    let verdict = self.server.handle_inside(now, relay, from, parcel.len());
                    let segment = self.lay_in(&parcel);
                    self.deliver(verdict, segment);
                }
            }
            ToWorker::Renew(policy, bandwidth, coalesce) => {
                self.server.renew(policy, bandwidth, &self.world);
                self.idle.set_nap(coalesce, now);
            }
            // Who asked may have gone.
            ToWorker::Ping(answer) => drop(answer.send(())),
            ToWorker::List(most, user, answer) => {
                drop(answer.send(self.server.list(now, most, user.as_deref())));
            }
            ToWorker::End(id, answer) => {
                let ended = self.server.end_listed(id, &mut self.world);
                // A connection has nothing to say any more, and its end is how the client learns of it.
                if let Some(link) = ended.and_then(|client| self.links.get(&client.stream)) {
                    link.close();
                }
                let _ = answer.send(ended.is_some());
            }
            ToWorker::Stop => self.stopping = true,
        }
    }

    pub(super) fn decide_loaded(&mut self, now: Instant, client: Client, packet: &[u8], is_again: bool) {
        let segment = self.lay_in(packet);
        self.decide(now, client, segment, is_again);
    }

    /// Puts a packet of a message where a received one would be.
    fn lay_in(&mut self, packet: &[u8]) -> (usize, usize) {
        if self.receiver.is_full() {
            self.flush();
            self.receiver.clear();
        }
        self.receiver.append(packet)
    }

    /// Has the webhook asked about the user of a request; the answer brings the request back.
    pub(super) fn ask(&mut self, client: Client, segment: (usize, usize)) {
        let packet = Bytes::copy_from_slice(self.receiver.packet(segment));
        let username = stun::Message::parse(&packet)
            .ok()
            .and_then(|message| message.get(AttributeType::USERNAME).map(<[u8]>::to_vec))
            .and_then(|name| String::from_utf8(name).ok());
        let Some(username) = username else { return };
        if self.shared.asking.fetch_add(1, Ordering::Relaxed) >= ASKING {
            self.shared.asking.fetch_sub(1, Ordering::Relaxed);
            return self.server.count_drops(TurnDrop::OverBudget, 1);
        }
        let (shared, number) = (self.shared.clone(), self.number);
        self.shared.runtime.spawn(async move {
            let remote = client.remote.ip();
            let query = Query { username: &username, purpose: Purpose::Turn, room: None, remote };
            // What came of it is kept by the store, where the request finds it.
            let _ = shared.store.passwords(&query).await;
            shared.asking.fetch_sub(1, Ordering::Relaxed);
            let _ = shared.inboxes[number].offer(ToWorker::Again(client, packet));
        });
    }

    pub(super) fn publish(&mut self, now: Instant) {
        self.published = now;
        self.unpublished = false;
        let published = &self.shared.inboxes[self.number].published;
        published.allocations.store(self.server.allocations(), Ordering::Relaxed);
        if let Ok(mut counters) = published.counters.try_lock() {
            counters.clone_from(self.server.counters());
        }
    }
}
