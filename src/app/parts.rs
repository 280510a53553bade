//! Services with sockets of their own, such as TURN: started from their section of the file, renewed where they stand when it
//! changes, and let go when it leaves.

use std::net::SocketAddr;
use std::sync::Arc;

use super::StartError;
use super::turn::{Surroundings, TurnPart};
use crate::config::{Service, ServiceKind};
use crate::listener::tcp::Tls;
use crate::listener::turn::TurnSide;

/// A service that runs by itself.
pub(super) trait Part: Send {
    /// What must be done so that it follows `service`, which has its name and its address; everything in it that can fail is
    /// done now, beside what runs.
    fn plan(&self, around: Surroundings<'_>, service: &Service) -> Result<Change, StartError>;

    /// It left the file: what is under way goes on, nothing new begins.
    fn let_go(self: Box<Self>);

    /// Its certificate, to be followed on disk.
    fn tls(&self) -> Option<Arc<Tls>> {
        None
    }

    /// Its TURN server, where it is one.
    fn turn(&self) -> Option<&TurnSide> {
        None
    }
}

/// Carries out what was planned; cannot fail.
pub(super) type Change = Box<dyn FnOnce() + Send>;

/// A part that runs.
pub(super) struct Running {
    service: Arc<str>,
    listen: SocketAddr,
    pub(super) part: Box<dyn Part>,
}

/// What becomes of the parts.
pub(super) enum Planned {
    /// The part with this index goes on, changed.
    GoesOn(usize, Change),
    /// This one is new: its sockets are bound.
    New(Running),
}

/// Plans all parts of `config`.
pub(super) fn plan(running: &[Running], around: Surroundings<'_>) -> Result<Vec<Planned>, StartError> {
    let mut planned = Vec::new();
    for service in &around.config.services {
        let known = running.iter().position(|it| it.service == service.name && it.listen == service.listen);
        match known {
            Some(index) => planned.push(Planned::GoesOn(index, running[index].part.plan(around, service)?)),
            None => planned.extend(start(around, service)?.map(|part| {
                Planned::New(Running { service: service.name.clone(), listen: service.listen, part })
            })),
        }
    }
    Ok(planned)
}

/// The part that serves `service`, its sockets bound; `None` for what is no part.
fn start(around: Surroundings<'_>, service: &Service) -> Result<Option<Box<dyn Part>>, StartError> {
    match &service.kind {
        ServiceKind::Turn(turn) => Ok(Some(Box::new(TurnPart::start(around, service, turn)?))),
        _ => Ok(None),
    }
}

/// Live TURN allocations of all parts.
pub(super) fn allocations(running: &[Running]) -> usize {
    running.iter().filter_map(|running| running.part.turn()).map(TurnSide::allocations).sum()
}

/// The first TURN server that runs.
pub(super) fn first_turn(running: &[Running]) -> Option<&TurnSide> {
    running.iter().find_map(|running| running.part.turn())
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
