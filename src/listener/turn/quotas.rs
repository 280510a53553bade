//! How many allocations there may be: in all, of one user, of one source address. Shared by the workers of a service, and
//! touched when an allocation begins or ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::budget::Held;
use crate::turn::Full;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// Of one user.
    pub per_user: usize,
    /// Of one source: an IPv4 address, an IPv6 network.
    pub per_client: usize,
}

pub(super) struct Quotas(Mutex<State>);

struct State {
    limits: Limits,
    by_user: HashMap<Box<str>, usize>,
    by_source: Held,
}

impl Quotas {
    pub(super) fn new(limits: Limits) -> Self {
        Quotas(Mutex::new(State { limits, by_user: HashMap::new(), by_source: Held::default() }))
    }

    /// Other limits from now on; what is there stays.
    pub(super) fn set(&self, limits: Limits) {
        self.state().limits = limits;
    }

    pub(super) fn take(&self, user: &str, source: IpAddr) -> Result<(), Full> {
        let mut state = self.state();
        let Limits { all, per_user, per_client } = state.limits;
        if state.by_source.total() >= all {
            return Err(Full::Server);
        }
        if state.by_user.get(user).is_some_and(|held| *held >= per_user)
            || !state.by_source.take(source, per_client)
        {
            return Err(Full::Quota);
        }
        *state.by_user.entry(user.into()).or_default() += 1;
        Ok(())
    }

    pub(super) fn give_back(&self, user: &str, source: IpAddr) {
        let mut state = self.state();
        state.by_source.give_back(source);
        if let Some(held) = state.by_user.get_mut(user) {
            *held -= 1;
            if *held == 0 {
                state.by_user.remove(user);
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_sources_and_the_server_have_limits_of_their_own() {
        let quotas = Quotas::new(Limits { all: 4, per_user: 2, per_client: 3 });
        let (here, there): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert_eq!(quotas.take("a", here), Ok(()));
        assert_eq!(quotas.take("a", here), Ok(()));
        assert_eq!(quotas.take("a", there), Err(Full::Quota));
        assert_eq!(quotas.take("b", here), Ok(()));
        assert_eq!(quotas.take("c", here), Err(Full::Quota));
        assert_eq!(quotas.take("c", there), Ok(()));
        assert_eq!(quotas.take("d", there), Err(Full::Server));
        quotas.give_back("a", here);
        assert_eq!(quotas.take("a", there), Ok(()));
        for (user, source) in [("a", here), ("b", here), ("c", there), ("a", there)] {
            quotas.give_back(user, source);
        }
        let state = quotas.state();
        assert!(state.by_user.is_empty() && state.by_source.sources() == 0);
    }
}
