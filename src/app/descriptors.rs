//! File descriptors: as many as the system lets us, and a word where that is fewer than the configuration may need.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::config::{Config, ServiceKind};

/// Listeners, sockets towards backends, pipes, files.
const OTHERS: u64 = 1000;

/// Raises this process' soft limit to its hard one. Shells and service managers start programs with 1024, for the sake of
/// `select(2)`, which nothing here uses; a relay is a socket, so TURN alone would stop at a thousand allocations.
pub(super) fn make_room(config: &Config) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        debug!(%error, soft, "cannot raise the limit of open files");
    }
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    let needed = needed(config);
    if limit < needed {
        warn!(
            limit,
            needed,
            "fewer open files are allowed than connections and TURN allocations may need; raise LimitNOFILE or `ulimit -Hn`, or \
             lower limits.http_connections and turn.allocations"
        );
    }
}

/// What the configuration allows for: a descriptor per client connection, and one per allocation.
fn needed(config: &Config) -> u64 {
    let allocations = config.services.iter().map(|service| match &service.kind {
        ServiceKind::Turn(turn) => turn.allocations as u64,
        _ => 0,
    });
    allocations.sum::<u64>() + config.limits.http_connections as u64 + OTHERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_and_every_allocation_is_counted_in() {
        let text = "services:\n  t: {proto: turn, net: {addr: \"127.0.0.1:3478\"}, \
                    turn: {allocations: 4000, auth: {users: {a: b}}}}\n\
                    limits: {http_connections: 500}\n";
        let config = Config::from_text(text).unwrap().config;
        assert_eq!(needed(&config), 4000 + 500 + 1000);
    }
}
