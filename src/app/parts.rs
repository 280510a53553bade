//! Services with sockets of their own, such as TURN: started from their section of the file, renewed where they stand when it
//! changes, and let go when it leaves.

use std::net::SocketAddr;
use std::sync::Arc;

use super::StartError;
use crate::config::{Config, Service};

/// A service that runs by itself.
pub(super) trait Part: Send {
    /// What must be done so that it follows `service`, which has its name and its address; everything in it that can fail is
    /// done now, beside what runs.
    fn plan(&self, config: &Config, service: &Service) -> Result<Change, StartError>;

    /// It left the file: what is under way goes on, nothing new begins.
    fn let_go(self: Box<Self>);
}

/// Carries out what was planned; cannot fail.
pub(super) type Change = Box<dyn FnOnce() + Send>;

/// A part that runs.
pub(super) struct Running {
    service: Arc<str>,
    listen: SocketAddr,
    part: Box<dyn Part>,
}

/// What becomes of the parts.
pub(super) enum Planned {
    /// The part with this index goes on, changed.
    GoesOn(usize, Change),
    /// This one is new: its sockets are bound.
    New(Running),
}

/// Plans all parts of `config`.
pub(super) fn plan(running: &[Running], config: &Config) -> Result<Vec<Planned>, StartError> {
    let mut planned = Vec::new();
    for service in &config.services {
        let known = running.iter().position(|it| it.service == service.name && it.listen == service.listen);
        match known {
            Some(index) => planned.push(Planned::GoesOn(index, running[index].part.plan(config, service)?)),
            None => planned.extend(start(config, service)?.map(|part| {
                Planned::New(Running { service: service.name.clone(), listen: service.listen, part })
            })),
        }
    }
    Ok(planned)
}

/// The part that serves `service`, its sockets bound; `None` for what is no part.
fn start(_config: &Config, _service: &Service) -> Result<Option<Box<dyn Part>>, StartError> {
    Ok(None)
}

/// Carries out what was planned, and lets go of the parts that were not.
pub(super) fn run(running: &mut Vec<Running>, planned: Vec<Planned>) {
    let mut before: Vec<Option<Running>> = std::mem::take(running).into_iter().map(Some).collect();
    for planned in planned {
        match planned {
            Planned::GoesOn(index, change) => {
                change();
                running.extend(before[index].take());
            }
            Planned::New(part) => running.push(part),
        }
    }
    before.into_iter().flatten().for_each(|gone| gone.part.let_go());
}
