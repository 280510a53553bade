//! \[shell\] All rooms of the edge: what the operator sees of them and may do, what is counted, and what survives a reload.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{interval, timeout};

use super::counters::Counters;
use super::hub::Hub;
use super::protocol::{Room, ServerEvent, Size};
use super::settings::{RoomsError, Settings};
use crate::config::Signalling;
use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample};

const PROTOCOLS: [&str; 5] = ["webrtc-server", "blueprints", "gst", "webrtcsink", "live"];

/// The rooms of every route. Clones share everything.
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

struct Shared {
    hubs: Mutex<Vec<Arc<Hub>>>,
    counters: [Arc<Counters>; PROTOCOLS.len()],
    next_peer: Arc<AtomicU64>,
}

/// A room, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Service.
    pub service: Arc<str>,
    /// Route.
    pub route: Arc<str>,
    /// Protocol.
    pub protocol: &'static str,
    /// The room.
    pub room: Room,
}

/// The rooms of a route as a configuration has them.
#[derive(Debug)]
pub struct PlannedRooms {
    hub: Arc<Hub>,
    renewal: Option<Arc<Settings>>,
}

impl PlannedRooms {
    /// Who serves them.
    pub fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    /// The configuration takes over.
    pub fn carry_out(&self) {
        if let Some(settings) = &self.renewal {
            self.hub.renew(settings.clone());
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Rooms(Arc::new(Shared {
            hubs: Mutex::default(),
            counters: std::array::from_fn(|_| Arc::default()),
            next_peer: Arc::new(AtomicU64::new(1)),
        }))
    }
}

impl Rooms {
    /// The rooms of a route. Those that it had under a former configuration go on, unless it has another protocol now; they are
    /// told of the new one with [`PlannedRooms::carry_out`], which cannot fail.
    pub fn plan(
        &self,
        service: &Arc<str>,
        route: &Arc<str>,
        config: &Signalling,
    ) -> Result<PlannedRooms, RoomsError> {
        let place = (service.clone(), route.clone());
        let name = config.rules.name();
        let mut hubs = self.lock();
        if let Some(hub) = hubs.iter().find(|hub| hub.place == place && hub.protocol == name) {
            return Ok(PlannedRooms { renewal: hub.plan(config)?, hub: hub.clone() });
        }
        let at = PROTOCOLS.iter().position(|known| *known == name).unwrap_or(0);
        let hub = Hub::new(place, config, self.0.counters[at].clone(), self.0.next_peer.clone())?;
        hubs.push(hub.clone());
        Ok(PlannedRooms { hub, renewal: None })
    }

    /// Runs what is bound to no connection, for as long as the edge does.
    pub async fn run(&self) {
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            self.hubs().iter().for_each(|hub| hub.tick());
            // Those whose route left the file go with their last client.
            self.lock().retain(|hub| Arc::strong_count(hub) > 1);
        }
    }

    /// Waits until everybody who wants to know of joins and leaves knows, at most so long.
    pub async fn settle(&self, patience: Duration) {
        let all = async {
            for hub in self.hubs() {
                hub.settle().await;
            }
        };
        let _ = timeout(patience, all).await;
    }

    /// All rooms, sorted by name.
    pub fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = self.hubs().iter().flat_map(|hub| listed(hub)).collect();
        listed.sort_by(|a, b| (&a.room.name, &a.route).cmp(&(&b.room.name, &b.route)));
        listed
    }

    /// The rooms of that name, which may be on several routes.
    pub fn named(&self, room: &str) -> Vec<Listed> {
        self.list().into_iter().filter(|listed| listed.room.name == room).collect()
    }

    /// Sends an event into a room and says to how many. Only protocols that have such a message take part.
    pub fn publish(&self, room: &str, event: &ServerEvent) -> usize {
        self.hubs().iter().filter_map(|hub| hub.publish(room, event)).sum()
    }

    /// Sends an event to somebody; false: there is nobody of that id.
    pub fn send(&self, id: &str, event: &ServerEvent) -> bool {
        self.hubs().iter().any(|hub| hub.send(id, event))
    }

    /// Closes the connection of somebody in a room; false: there is nobody of that id.
    pub fn remove(&self, room: &str, id: &str) -> bool {
        let mut removed = false;
        for hub in self.hubs() {
            let rooms = hub.rooms().into_iter().filter(|it| it.name == room);
            let people = rooms.flat_map(|room| room.people).filter(|person| person.id == id);
            for person in people {
                removed |= hub.remove(&person);
            }
        }
        removed
    }

    fn hubs(&self) -> Vec<Arc<Hub>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Hub>>> {
        self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much there is of a protocol.
    fn size(&self, protocol: &str) -> Size {
        let sizes = self.hubs().into_iter().filter(|hub| hub.protocol == protocol).map(|hub| hub.size());
        sizes.fold(Size::default(), |sum, size| Size {
            rooms: sum.rooms + size.rooms,
            people: sum.people + size.people,
        })
    }
}

impl MetricSource for Rooms {
    fn families(&self) -> Vec<Family> {
        let sizes = PROTOCOLS.map(|protocol| self.size(protocol));
        let gauge = |name, help, value: &dyn Fn(usize) -> f64| {
            let samples =
                PROTOCOLS.iter().enumerate().map(|(at, protocol)| sample(protocol, None, value(at)));
            Family { name, help, kind: Kind::Gauge, samples: samples.collect() }
        };
        let count = |name, help, label, values: &dyn Fn(&Counters) -> Vec<(&'static str, u64)>| {
            let samples = PROTOCOLS.iter().zip(&self.0.counters).flat_map(|(protocol, counters)| {
                let sample = |(value, count)| sample(protocol, Some((label, value)), count as f64);
                values(counters).into_iter().map(sample).collect::<Vec<_>>()
            });
            Family { name, help, kind: Kind::Counter, samples: samples.collect() }
        };
        vec![
            gauge("xrtc_rooms", "Rooms with somebody in them.", &|at| sizes[at].rooms as f64),
            gauge("xrtc_room_peers", "Peers in rooms.", &|at| sizes[at].people as f64),
            gauge("xrtc_room_connections", "Open connections of room protocols.", &|at| {
                self.0.counters[at].connections() as f64
            }),
            count("xrtc_room_messages_total", "Messages, seen from the edge.", "direction", &|it| {
                it.messages().to_vec()
            }),
            count("xrtc_room_closes_total", "Ended connections by close code.", "code", &|it| {
                it.closes().collect()
            }),
            count("xrtc_room_refusals_total", "Upgrades that were refused.", "reason", &|it| {
                it.refusals().collect()
            }),
            count(
                "xrtc_room_notices_total",
                "Notices to webhooks by what became of them.",
                "result",
                &|it| it.notices().collect(),
            ),
        ]
    }
}

fn listed(hub: &Hub) -> Vec<Listed> {
    let (service, route) = &hub.place;
    let listed =
        |room| Listed { service: service.clone(), route: route.clone(), protocol: hub.protocol, room };
    hub.rooms().into_iter().map(listed).collect()
}

fn sample(protocol: &str, label: Option<(&'static str, &str)>, value: f64) -> Sample {
    let mut labels = vec![("protocol", protocol.to_owned())];
    labels.extend(label.map(|(name, value)| (name, value.to_owned())));
    Sample { labels, value }
}
