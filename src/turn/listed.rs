//! Allocations as operators see them, and the end of one that an operator wants. Looks at all of them, so it is for people who ask,
//! not for packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocation::{Allocation, Client};
use super::counters::Traffic;
use super::outside::Outside;
use super::server::Server;

/// An allocation, for an operator.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Names it, among those of all workers and services.
    pub id: u64,
    /// The client.
    pub client: Client,
    /// Its user.
    pub username: Arc<str>,
    /// Relayed addresses.
    pub relays: Vec<SocketAddr>,
    /// Since when.
    pub age: Duration,
    /// Until it has to be refreshed.
    pub expires_in: Duration,
    /// Live permissions.
    pub permissions: usize,
    /// Live channels.
    pub channels: usize,
    /// What it carried.
    pub traffic: Traffic,
}

impl Server {
    /// The newest allocations, at most so many, and of this user alone where one is named.
    pub fn list(&self, now: Instant, most: usize, user: Option<&str>) -> Vec<Listed> {
        let is_wanted = |it: &&Allocation| user.is_none_or(|user| user == &*it.username);
        let mut wanted: Vec<&Allocation> =
            self.allocations.iter().map(|(_, it)| it).filter(is_wanted).collect();
        wanted.sort_unstable_by_key(|allocation| std::cmp::Reverse(allocation.opened));
        wanted.truncate(most);
        wanted.into_iter().map(|allocation| listed(now, allocation)).collect()
    }

    /// Ends the allocation with this id; whose it was. The client learns of it when it next asks for anything.
    pub fn end_listed(&mut self, id: u64, outside: &mut dyn Outside) -> Option<Client> {
        let (index, client) =
            self.allocations.iter().find(|(_, it)| it.id == id).map(|(index, it)| (index, it.client))?;
        self.end(index, outside);
        Some(client)
    }
}

fn listed(now: Instant, allocation: &Allocation) -> Listed {
    let (permissions, channels) = allocation.peers(now);
    Listed {
        id: allocation.id,
        client: allocation.client,
        username: allocation.username.clone(),
        relays: allocation.relays().map(|relay| relay.address).collect(),
        age: now.saturating_duration_since(allocation.opened),
        expires_in: allocation.expires.saturating_duration_since(now),
        permissions,
        channels,
        traffic: allocation.traffic,
    }
}
