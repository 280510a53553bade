//! How long an allocation lives: until its time is over, its client is gone, or somebody ends it. Decides when it is forgotten,
//! and what a reload takes from those that stay; never who gets one, nor over a packet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocation::{Allocation, Client};
use super::outside::{Family, Outside, RelayId};
use super::policy::Policy;
use super::server::Server;

/// An allocation is looked at this often, for what has expired in it.
const TIDY_EVERY: Duration = Duration::from_secs(60);

impl Server {
    /// An allocation begins: its client and its relays lead to it.
    pub(super) fn keep(&mut self, now: Instant, mut allocation: Allocation) {
        allocation.id = self.number();
        let client = allocation.client;
        let index = self.allocations.insert(allocation);
        self.by_client.insert(client, index);
        for relay in self.allocations[index].relays() {
            let number = relay.id.0 as usize;
            if self.by_relay.len() <= number {
                self.by_relay.resize(number + 1, None);
            }
            self.by_relay[number] = Some(index);
        }
        self.set_timer(now, index);
    }

    pub(super) fn set_timer(&mut self, now: Instant, index: usize) {
        let allocation = &mut self.allocations[index];
        let at = allocation.first_end().min(now + TIDY_EVERY);
        allocation.timer = self.timers.set(at, index);
    }

    /// Ends an allocation: its relays are closed, its quota is given back.
    pub(super) fn end(&mut self, index: usize, outside: &mut dyn Outside) {
        let Some(allocation) = self.allocations.try_remove(index) else { return };
        self.by_client.remove(&allocation.client);
        allocation.relays().for_each(|relay| self.close(relay.id, outside));
        outside.release(&allocation.username, allocation.client.remote.ip());
    }

    /// Ends one family of an allocation, and the allocation with the last one.
    pub(super) fn end_family(&mut self, index: usize, family: Family, outside: &mut dyn Outside) {
        let allocation = &mut self.allocations[index];
        let gone = allocation.give_up(family);
        let is_last = allocation.relays().next().is_none();
        gone.into_iter().for_each(|relay| self.close(relay.id, outside));
        if is_last {
            self.end(index, outside);
        }
    }

    fn close(&mut self, relay: RelayId, outside: &mut dyn Outside) {
        if let Some(slot) = self.by_relay.get_mut(relay.0 as usize) {
            *slot = None;
        }
        outside.close(relay);
    }

    /// The client's connection is over, and with it its allocation (RFC 8656 §5).
    pub fn client_gone(&mut self, client: &Client, outside: &mut dyn Outside) {
        if let Some(index) = self.by_client.get(client).copied() {
            self.end(index, outside);
        }
    }

    /// Ends all of them.
    pub fn end_all(&mut self, outside: &mut dyn Outside) {
        let all: Vec<usize> = self.allocations.iter().map(|(index, _)| index).collect();
        all.into_iter().for_each(|index| self.end(index, outside));
    }

    /// When [`Server::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Ends what has expired.
    pub fn handle_timeout(&mut self, now: Instant, outside: &mut dyn Outside) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.fire(now, &mut due);
        for index in due.drain(..) {
            let Some(allocation) = self.allocations.get_mut(index) else { continue };
            if now >= allocation.expires {
                self.end(index, outside);
            } else if now >= allocation.timer {
                allocation.tidy(now);
                let overdue = allocation.overdue(now);
                overdue.into_iter().for_each(|family| self.end_family(index, family, outside));
                self.set_timer(now, index);
            }
        }
        self.due = due;
    }

    /// Other peers may be reached from now on; what no longer may loses its permission. Allocations stay.
    pub fn renew(&mut self, policy: Arc<Policy>, bandwidth: u64, outside: &dyn Outside) {
        for (_, allocation) in &mut self.allocations {
            allocation.revise(
                |ip| policy.peers.check(ip).ok(),
                |peer, permitted| policy.way(peer, permitted, outside).ok(),
            );
        }
        (self.policy, self.bandwidth) = (policy, bandwidth);
    }
}
