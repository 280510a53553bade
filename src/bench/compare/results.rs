//! \[pure\] What was read off, and what may be said of it: medians, spread, and ratios to the floor of the same round, so that a
//! machine that gets slower and faster in between does not count.

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::program::{FLOOR, Program};
use crate::bench::load::Reading;

/// One reading, and what it was of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) case: Case,
    pub(super) program: Program,
    /// Readings of one round were taken one after the other.
    pub(super) round: u64,
    pub(super) reading: Reading,
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Spread {
    /// `None` without values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&low, &high) = values.first().zip(values.last())?;
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { low, median, high })
    }
}

/// All readings.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    pub(super) records: Vec<Record>,
}

impl Results {
    /// The cases in the order of their first reading.
    pub(super) fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for record in &self.records {
            if !cases.contains(&record.case) {
                cases.push(record.case.clone());
            }
        }
        cases
    }

    /// The programs, in the order of their declaration.
    pub(super) fn programs(&self) -> Vec<Program> {
        let mut programs: Vec<Program> = self.records.iter().map(|record| record.program).collect();
        programs.sort_unstable();
        programs.dedup();
        programs
    }

    /// One figure of all readings of a program in a case.
    pub(super) fn spread(
        &self,
        case: &Case,
        program: Program,
        figure: impl Fn(&Reading) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.of(case, program).filter_map(|record| figure(&record.reading)))
    }

    /// CPU per packet in relation to the floor, round by round.
    pub(super) fn ratio(&self, case: &Case, program: Program) -> Option<Spread> {
        self.against_floor(case, program, |reading| reading.cpu_per_packet, |value, floor| value / floor)
    }

    /// A figure compared with the floor's of the same round.
    pub(super) fn against_floor(
        &self,
        case: &Case,
        program: Program,
        figure: impl Fn(&Reading) -> Option<f64>,
        compare: impl Fn(f64, f64) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.of(case, program).filter_map(|record| {
            let floor = self.of(case, FLOOR).find(|floor| floor.round == record.round)?;
            Some(compare(figure(&record.reading)?, figure(&floor.reading)?))
        }))
    }

    fn of<'a>(&'a self, case: &'a Case, program: Program) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.case == *case && record.program == program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(case: &str, program: Program, round: u64, cost: f64) -> Record {
        let reading = Reading { cpu_per_packet: Some(cost), ..Reading::default() };
        Record { case: case.parse().unwrap(), program, round, reading }
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { low: 1.0, median: 2.0, high: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { low: 1.0, median: 2.5, high: 4.0 }));
    }

    #[test]
    fn a_slow_round_is_slow_for_both_and_does_not_count() {
        let mut results = Results::default();
        for (round, slow) in [1.0, 3.0, 1.5].into_iter().enumerate() {
            results.records.push(record("1200x1", Program::Bare, round as u64, 4.0 * slow));
            results.records.push(record("1200x1", Program::Coturn, round as u64, 6.0 * slow));
        }
        let case = &results.cases()[0];
        assert_eq!(results.ratio(case, Program::Coturn), Some(Spread { low: 1.5, median: 1.5, high: 1.5 }));
        assert_eq!(results.ratio(case, Program::Bare).map(|ratio| ratio.median), Some(1.0));
        assert_eq!(
            results.spread(case, Program::Coturn, |it| it.cpu_per_packet).map(|it| it.median),
            Some(9.0)
        );
        assert_eq!(results.ratio(case, Program::Rtpengine), None);
        assert_eq!(results.programs(), [Program::Bare, Program::Coturn]);
    }

    #[test]
    fn records_survive_being_written() {
        let line = serde_json::to_string(&record("172x10,n=5000", Program::XrtcHalf, 7, 2.5)).unwrap();
        let read: Record = serde_json::from_str(&line).unwrap();
        assert_eq!((read.round, read.program, read.case.sessions), (7, Program::XrtcHalf, 5000));
    }
}
