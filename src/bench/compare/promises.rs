//! \[pure\] The figures that the project promises, beside those that were measured.

use super::case::Case;
use super::program::Program;
use super::results::{Results, Spread};

/// CPU per packet of single packets, times the bare forwarder's.
const SINGLE: f64 = 1.15;
/// The same in bursts of 10.
const BURSTS: f64 = 0.75;
/// Growth of CPU per packet by tens of thousands of sessions that are registered besides.
const GROWTH: f64 = 1.20;
/// Memory of a connected session.
const MEMORY_KIB: f64 = 8.0;
/// One-way p99 at half load above the bare forwarder's.
const ADDED_MICROS: f64 = 200.0;
/// REST registrations per CPU second.
const REGISTRATIONS: f64 = 10_000.0;

/// One promise.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Promise {
    pub(super) what: String,
    pub(super) promised: String,
    pub(super) measured: String,
    /// By the median.
    pub(super) kept: bool,
}

const XRTC: [Program; 2] = [Program::XrtcHalf, Program::XrtcTransparent];
/// Ours, and whose cost it stays below: what does the same work, and what does as little as that.
const RIVALS: [(Program, &[Program]); 3] = [
    (Program::XrtcHalf, &[Program::Coturn, Program::Rtpengine]),
    (Program::XrtcTransparent, &[Program::Coturn, Program::Rtpengine]),
    (Program::XrtcTurn, &[Program::Coturn]),
];

/// All promises that something was measured for.
pub(super) fn compare(results: &Results) -> Vec<Promise> {
    let mut all = Vec::new();
    for case in results.cases().iter().filter(|case| case.idle == 0 && case.is_full()) {
        for program in XRTC {
            all.extend(cost(results, case, program));
        }
    }
    all.extend(beats(results, "CPU per packet, times coturn's and rtpengine's, in every case", &RIVALS[..2]));
    all.extend(beats(results, "TURN: CPU per packet, times coturn's, in every case", &RIVALS[2..]));
    for case in results.cases().iter().filter(|case| case.idle > 0) {
        all.extend(growth(results, case));
    }
    for program in XRTC {
        all.extend(latency(results, program));
        all.extend(memory(results, program));
    }
    all.extend(registrations(results));
    all
}

fn cost(results: &Results, case: &Case, program: Program) -> Option<Promise> {
    let limit = match case.burst {
        1 => SINGLE,
        10 => BURSTS,
        _ => return None,
    };
    let ratio = results.ratio(case, program)?;
    let what = format!("{}, {}: CPU per packet, times the bare forwarder", program.title(), case.title());
    Some(at_most(what, limit, ratio, 2, ""))
}

/// The case in which a rival is nearest.
fn beats(results: &Results, what: &str, rivals: &[(Program, &[Program])]) -> Option<Promise> {
    let mut nearest: Option<(f64, String)> = None;
    for case in results.cases() {
        let pairs = rivals.iter().flat_map(|(ours, peers)| peers.iter().map(|peer| (*ours, *peer)));
        for (ours, peer) in pairs {
            let (Some(own), Some(other)) = (results.ratio(&case, ours), results.ratio(&case, peer)) else {
                continue;
            };
            let share = own.median / other.median;
            if nearest.as_ref().is_none_or(|(most, _)| share > *most) {
                nearest = Some((share, format!("{} to {}, {}", ours.title(), peer.title(), case.title())));
            }
        }
    }
    let (share, place) = nearest?;
    Some(Promise {
        what: what.to_owned(),
        promised: "below 1".to_owned(),
        measured: format!("{share:.3} at most ({place})"),
        kept: share < 1.0,
    })
}

/// What sessions that are only registered add to the same traffic without them.
fn growth(results: &Results, full: &Case) -> Option<Promise> {
    let base = Case { idle: 0, ..full.clone() };
    let program = Program::XrtcTransparent;
    let (with, without) = (results.ratio(full, program)?, results.ratio(&base, program)?);
    let by = with.median / without.median;
    Some(Promise {
        what: format!("growth of CPU per packet, {}", full.title()),
        promised: format!("at most {GROWTH:.2}"),
        measured: format!("{by:.2}"),
        kept: by <= GROWTH,
    })
}

fn latency(results: &Results, program: Program) -> Option<Promise> {
    let cases = results.cases();
    let case = cases.iter().find(|case| case.rate == 20_000)?;
    let added = results.against_floor(case, program, |it| it.latency_p99, |value, floor| value - floor)?;
    let what = format!("{}: one-way p99 at half load, above the bare forwarder", program.title());
    Some(at_most(what, ADDED_MICROS, added, 0, " µs"))
}

fn memory(results: &Results, program: Program) -> Option<Promise> {
    let cases = results.cases();
    let case = cases.iter().find(|case| case.sessions >= 1000)?;
    let each = results.spread(case, program, |it| it.memory_per_session.map(|bytes| bytes / 1024.0))?;
    let what = format!("{}: memory per connected session, {}", program.title(), case.sessions);
    Some(at_most(what, MEMORY_KIB, each, 1, " KiB"))
}

/// The case with the most registrations says most.
fn registrations(results: &Results) -> Option<Promise> {
    let case = results.cases().into_iter().max_by_key(|case| case.idle + case.sessions)?;
    let rate = results.spread(&case, Program::XrtcTransparent, |it| it.registrations_per_cpu_second)?;
    Some(Promise {
        what: "REST registrations per CPU second".to_owned(),
        promised: format!("at least {REGISTRATIONS:.0}"),
        measured: super::tables::spread(Some(rate), 0),
        kept: rate.median >= REGISTRATIONS,
    })
}

fn at_most(what: String, limit: f64, measured: Spread, digits: usize, unit: &str) -> Promise {
    Promise {
        what,
        promised: format!("at most {limit:.digits$}{unit}"),
        measured: format!("{}{unit}", super::tables::spread(Some(measured), digits)),
        kept: measured.median <= limit,
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::Record;
    use super::*;
    use crate::bench::load::Reading;

    fn results(of: &[(&str, Program, f64)]) -> Results {
        let record = |&(case, program, cost): &(&str, Program, f64)| {
            let reading = Reading {
                cpu_per_packet: Some(cost),
                latency_p99: Some(cost * 10.0),
                memory_per_session: Some(9.0 * 1024.0),
                registrations_per_cpu_second: Some(20_000.0),
                ..Reading::default()
            };
            Record { case: case.parse().unwrap(), program, round: 0, reading }
        };
        Results { records: of.iter().map(record).collect() }
    }

    #[test]
    fn each_promise_can_be_kept_and_broken() {
        let results = results(&[
            ("1200x1", Program::Bare, 4.0),
            ("1200x1", Program::XrtcHalf, 4.4),
            ("1200x1", Program::XrtcTransparent, 4.0),
            ("1200x1", Program::XrtcTurn, 4.1),
            ("1200x1", Program::Coturn, 4.2),
            ("1200x10", Program::Bare, 4.0),
            ("1200x10", Program::XrtcHalf, 3.2),
            ("1200x1,idle=50000", Program::Bare, 4.0),
            ("1200x1,idle=50000", Program::XrtcTransparent, 5.2),
            ("1200x1,n=5000", Program::XrtcTransparent, 5.2),
            ("1200x1,rate=20000", Program::Bare, 4.0),
            ("1200x1,rate=20000", Program::XrtcHalf, 5.0),
        ]);
        let told = compare(&results);
        let line = |start: &str| told.iter().find(|promise| promise.what.starts_with(start)).unwrap();
        assert!(line("xrtc, half proxy, 1200 B, single").kept);
        let bursts = line("xrtc, half proxy, 1200 B, bursts");
        assert_eq!((bursts.measured.as_str(), bursts.kept), ("0.80", false));
        let nearest = line("CPU per packet, times coturn");
        assert!(
            !nearest.kept && nearest.measured.starts_with("1.048 at most (xrtc, half proxy"),
            "{nearest:?}"
        );
        let turn = line("TURN: CPU per packet");
        assert!(turn.kept && turn.measured.starts_with("0.976 at most (xrtc, TURN to coturn"), "{turn:?}");
        assert_eq!(line("growth").measured, "1.30");
        assert!(!line("growth").kept && !line("xrtc, transparent: memory").kept);
        assert_eq!(line("xrtc, half proxy: one-way").measured, "10 µs");
        assert!(line("REST").kept);
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        assert_eq!(compare(&Results::default()), []);
    }
}
