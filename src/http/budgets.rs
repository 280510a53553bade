//! \[shell\] What one source may ask of the HTTP services, all of them together. Brings the budgets time and a lock; what is
//! over budget is answered with 429 and counted.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::budget::{OverBudget, Rate, Sources};
use crate::config::{IpNet, Limits};
use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample};

/// The budgets of all sources.
#[derive(Debug)]
pub struct Budgets {
    requests: Counted,
    registrations: Counted,
    exempt: Mutex<Vec<IpNet>>,
}

/// One kind of budget.
#[derive(Debug)]
struct Counted {
    what: &'static str,
    table: Mutex<Option<Table>>,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Table {
    sources: Sources,
    capacity: usize,
}

impl Budgets {
    /// Full budgets for everybody.
    pub fn new(limits: &Limits) -> Self {
        let budgets = Budgets {
            requests: Counted::new("http_requests"),
            registrations: Counted::new("registrations"),
            exempt: Mutex::default(),
        };
        budgets.set_limits(limits);
        budgets
    }

    /// Other limits hold from now on. What was spent stays spent, unless the tables change their size.
    pub fn set_limits(&self, limits: &Limits) {
        self.requests.set(limits.http, limits.tracked_sources);
        self.registrations.set(limits.registrations, limits.tracked_sources);
        self.exempt.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&limits.exempt);
    }

    /// A client asks for something.
    pub(super) fn request(&self, client: IpAddr) -> Result<(), OverBudget> {
        self.take(&self.requests, client)
    }

    /// An application server registers a session.
    pub(super) fn registration(&self, client: IpAddr) -> Result<(), OverBudget> {
        self.take(&self.registrations, client)
    }

    fn take(&self, budget: &Counted, client: IpAddr) -> Result<(), OverBudget> {
        let exempt = self.exempt.lock().unwrap_or_else(PoisonError::into_inner);
        if exempt.iter().any(|net| net.contains(client)) {
            return Ok(());
        }
        drop(exempt);
        budget.take(client)
    }
}

impl Counted {
    fn new(what: &'static str) -> Self {
        Counted { what, table: Mutex::default(), refused: AtomicU64::new(0) }
    }

    fn set(&self, rate: Option<Rate>, capacity: usize) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match (rate, table.as_mut()) {
            (None, _) => *table = None,
            (Some(rate), Some(known)) if known.capacity == capacity => known.sources.set_rate(rate),
            (Some(rate), _) => {
                let sources = Sources::new(rate, capacity, rand::random(), Instant::now());
                *table = Some(Table { sources, capacity });
            }
        }
    }

    fn take(&self, client: IpAddr) -> Result<(), OverBudget> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(table) = table.as_mut() else { return Ok(()) };
        table.sources.take(Instant::now(), client).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn tracked(&self) -> usize {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.as_ref().map_or(0, |table| table.sources.tracked(Instant::now()))
    }
}

impl MetricSource for Budgets {
    fn families(&self) -> Vec<Family> {
        let of_each = |value: &dyn Fn(&Counted) -> f64| {
            let budgets = [&self.requests, &self.registrations];
            budgets
                .map(|budget| Sample {
                    labels: vec![("budget", budget.what.to_owned())],
                    value: value(budget),
                })
                .into()
        };
        vec![
            Family {
                name: "xrtc_over_budget_total",
                help: "Requests that were answered with 429 because their source address was over its budget.",
                kind: Kind::Counter,
                samples: of_each(&|budget| budget.refused.load(Ordering::Relaxed) as f64),
            },
            Family {
                name: "xrtc_budget_sources",
                help: "Source addresses that have spent some of their budget and not got it back yet.",
                kind: Kind::Gauge,
                samples: of_each(&|budget| budget.tracked() as f64),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(http: Option<Rate>) -> Limits {
        Limits { http, tracked_sources: 64, ..Limits::default() }
    }

    #[test]
    fn each_client_has_a_budget_and_refusals_are_counted() {
        let budgets = Budgets::new(&limits(Some(Rate { per_second: 1, burst: 2 })));
        let ask = |ip: &str| budgets.request(ip.parse().unwrap());
        assert!(ask("192.0.2.1").is_ok() && ask("192.0.2.1").is_ok());
        let over = ask("192.0.2.1").unwrap_err();
        assert!(over.retry_after.as_millis() > 500, "{over:?}");
        assert!(ask("192.0.2.2").is_ok());
        for _ in 0..10 {
            assert!(ask("127.0.0.1").is_ok());
        }
        assert!(budgets.registration("192.0.2.1".parse().unwrap()).is_ok(), "it has a budget of its own");
        let families = budgets.families();
        assert_eq!(families[0].samples[0].value, 1.0);
        assert_eq!(families[1].samples[0].value, 2.0);
    }

    #[test]
    fn limits_change_and_go() {
        let budgets = Budgets::new(&limits(Some(Rate { per_second: 1, burst: 1 })));
        let ask = || budgets.request("192.0.2.1".parse().unwrap());
        assert!(ask().is_ok() && ask().is_err());
        budgets.set_limits(&limits(None));
        assert!(ask().is_ok() && ask().is_ok());
    }
}
