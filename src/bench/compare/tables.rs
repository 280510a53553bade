//! \[pure\] The comparison in words: aligned for a terminal, Markdown for the documents.

use std::fmt::Write;

use super::case::Case;
use super::program::{FLOOR, Program};
use super::results::{Results, Spread};
use crate::bench::load::Reading;

/// Rows of cells, the first one the head.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With columns padded to their widest cell.
    pub(super) fn aligned(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        out
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            let _ = writeln!(out, "| {} |", row.join(" | "));
            if i == 0 {
                let _ = writeln!(out, "|{}", "---|".repeat(row.len()));
            }
        }
        out
    }
}

/// CPU time per packet: a row per case, a column per program.
pub(super) fn cost(results: &Results, cases: &[Case]) -> Table {
    let programs = results.programs();
    let head = programs.iter().map(|program| program.title().to_owned());
    let mut rows = vec![std::iter::once("CPU per packet, µs".to_owned()).chain(head).collect::<Vec<_>>()];
    for case in cases {
        let cells = programs.iter().map(|&program| cost_cell(results, case, program));
        rows.push(std::iter::once(case.title()).chain(cells).collect());
    }
    Table { rows }
}

/// The median; and for all but the floor the ratio, with its extremes.
fn cost_cell(results: &Results, case: &Case, program: Program) -> String {
    let Some(cost) = results.spread(case, program, |reading| reading.cpu_per_packet) else {
        return String::new();
    };
    match results.ratio(case, program) {
        Some(ratio) if program != FLOOR => {
            format!("{:.2}; {:.2} ({:.2}–{:.2})", cost.median, ratio.median, ratio.low, ratio.high)
        }
        _ => format!("{:.2} ({:.2}–{:.2})", cost.median, cost.low, cost.high),
    }
}

/// One-way times: a row per case and program.
pub(super) fn latency(results: &Results, cases: &[Case]) -> Table {
    let head = ["one way, µs", "traffic", "median", "p99", "p99 above the bare forwarder"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for case in cases {
        for program in results.programs() {
            let figure = |figure: fn(&Reading) -> Option<f64>| results.spread(case, program, figure);
            let Some(p50) = figure(|reading| reading.latency_p50) else { continue };
            let p99 = figure(|reading| reading.latency_p99);
            let above = match program {
                FLOOR => None,
                _ => results.against_floor(case, program, |it| it.latency_p99, |value, floor| value - floor),
            };
            rows.push(vec![
                program.title().to_owned(),
                case.title(),
                spread(Some(p50), 0),
                spread(p99, 0),
                spread(above, 0),
            ]);
        }
    }
    Table { rows }
}

/// Memory per session: a row per case, a column per program.
pub(super) fn memory(results: &Results, cases: &[Case]) -> Table {
    let programs: Vec<Program> = results.programs().into_iter().filter(|it| *it != FLOOR).collect();
    let head = programs.iter().map(|program| program.title().to_owned());
    let mut rows =
        vec![std::iter::once("memory per session, KiB".to_owned()).chain(head).collect::<Vec<_>>()];
    for case in cases {
        let cells = programs.iter().map(|&program| {
            let each = results.spread(case, program, |it| it.memory_per_session.map(|bytes| bytes / 1024.0));
            spread(each, 1)
        });
        rows.push(std::iter::once(case.title()).chain(cells).collect());
    }
    Table { rows }
}

/// Median and extremes; one figure where they are all the same.
pub(super) fn spread(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { low, median, high }) = spread else { return String::new() };
    let [low, median, high] = [low, median, high].map(|value| format!("{value:.digits$}"));
    if low == high { median } else { format!("{median} ({low}–{high})") }
}

#[cfg(test)]
mod tests {
    use super::super::results::Record;
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        for (round, factor) in [1.0, 1.2, 1.1].into_iter().enumerate() {
            for (program, cost) in [(Program::Bare, 4.0), (Program::XrtcHalf, 4.4 * factor)] {
                let reading = Reading {
                    cpu_per_packet: Some(cost),
                    latency_p50: Some(20.0),
                    latency_p99: Some(10.0 * cost),
                    memory_per_session: Some(2048.0),
                    ..Reading::default()
                };
                results.records.push(Record {
                    case: "1200x1".parse().unwrap(),
                    program,
                    round: round as u64,
                    reading,
                });
            }
        }
        results
    }

    #[test]
    fn a_cell_tells_median_ratio_and_extremes() {
        let results = results();
        let table = cost(&results, &results.cases());
        assert_eq!(table.rows[1], ["1200 B, single", "4.00 (4.00–4.00)", "4.84; 1.21 (1.10–1.32)"]);
        let text = table.markdown();
        assert!(text.starts_with(
            "| CPU per packet, µs | bare forwarder | xrtc, half proxy |\n|---|---|---|\n| 1200 B"
        ));
        let aligned = table.aligned();
        let lines: Vec<&str> = aligned.lines().collect();
        let column = |line: &str, cell| line.split(cell).next().map(|before| before.chars().count());
        assert_eq!(column(lines[0], "bare"), column(lines[1], "4.00"), "{aligned}");
    }

    #[test]
    fn latency_and_memory_are_told_with_what_is_above_the_floor() {
        let results = results();
        let rows = latency(&results, &results.cases()).rows;
        assert_eq!(rows[1], ["bare forwarder", "1200 B, single", "20", "40", ""]);
        assert_eq!(rows[2], ["xrtc, half proxy", "1200 B, single", "20", "48 (44–53)", "8 (4–13)"]);
        assert_eq!(memory(&results, &results.cases()).rows[1], ["1200 B, single", "2.0"]);
    }
}
