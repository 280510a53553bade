//! What one run read off, as a table for people and as JSON for `bench compare`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::traffic::Account;

/// One run's figures. What could not be measured is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::bench) struct Reading {
    /// Sessions with traffic.
    pub(in crate::bench) sessions: usize,
    /// Packets per second that were to be sent.
    pub(in crate::bench) offered: f64,
    /// Packets per second that were sent, and that arrived.
    pub(in crate::bench) sent: f64,
    pub(in crate::bench) arrived: f64,
    /// Of those that were sent.
    pub(in crate::bench) loss_percent: f64,
    /// CPU time of the process per packet that arrived, microseconds.
    pub(in crate::bench) cpu_per_packet: Option<f64>,
    /// Share of one core that it used.
    pub(in crate::bench) cpu_percent: Option<f64>,
    /// One-way times, microseconds.
    pub(in crate::bench) latency_p50: Option<f64>,
    pub(in crate::bench) latency_p99: Option<f64>,
    /// Memory of the process with all sessions up, and what that is per session above the start, bytes.
    pub(in crate::bench) memory: Option<u64>,
    pub(in crate::bench) memory_per_session: Option<f64>,
    /// Until all sessions carried packets, seconds.
    pub(in crate::bench) setup_seconds: f64,
    /// Of REST registrations alone.
    pub(in crate::bench) registrations_per_cpu_second: Option<f64>,
}

impl Reading {
    /// Memory before and after the sessions came up.
    pub(super) fn note_memory(&mut self, before: Option<u64>, after: Option<u64>) {
        self.memory = after;
        let each = |(before, after): (u64, u64)| after.saturating_sub(before) as f64 / self.sessions as f64;
        self.memory_per_session = before.zip(after).map(each);
    }

    pub(super) fn note_cpu(&mut self, cpu: Option<Duration>, account: &Account) {
        let arrived = (account.up + account.down).max(1) as f64;
        self.cpu_per_packet = cpu.map(|cpu| 1e6 * cpu.as_secs_f64() / arrived);
        self.cpu_percent = cpu.map(|cpu| 100.0 * cpu.as_secs_f64() / account.duration.as_secs_f64());
    }

    pub(super) fn note_traffic(&mut self, mut account: Account) {
        let seconds = account.duration.as_secs_f64();
        let arrived = (account.up + account.down) as f64;
        self.sent = account.sent as f64 / seconds;
        self.arrived = arrived / seconds;
        self.loss_percent = 100.0 * (1.0 - arrived / account.sent.max(1) as f64);
        account.latencies.sort_unstable();
        let micros = |share| quantile(&account.latencies, share).map(|nanos| f64::from(nanos) / 1e3);
        (self.latency_p50, self.latency_p99) = (micros(0.5), micros(0.99));
    }

    /// Whether the generator sent what it was to send. Where it did not, the figures are those of a lower rate.
    pub(in crate::bench) fn kept_up(&self) -> bool {
        self.sent >= 0.97 * self.offered
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<22} {value}");
        row("sessions", format!("{} in {:.2} s", self.sessions, self.setup_seconds))?;
        row("packets sent", format!("{:.0} /s of {:.0} /s offered", self.sent, self.offered))?;
        row("packets arrived", format!("{:.0} /s, {:.2} % lost", self.arrived, self.loss_percent))?;
        if let (Some(cost), Some(percent)) = (self.cpu_per_packet, self.cpu_percent) {
            row("CPU per packet", format!("{cost:.2} µs ({percent:.0} % of a core)"))?;
        }
        if let (Some(p50), Some(p99)) = (self.latency_p50, self.latency_p99) {
            row("one way", format!("{p50:.0} µs median, {p99:.0} µs p99"))?;
        }
        if let (Some(all), Some(each)) = (self.memory, self.memory_per_session) {
            row(
                "memory",
                format!("{:.1} MiB, {:.1} KiB per session", all as f64 / 1048576.0, each / 1024.0),
            )?;
        }
        if let Some(rate) = self.registrations_per_cpu_second {
            row("registrations", format!("{rate:.0} per CPU second"))?;
        }
        if !self.kept_up() {
            row("note", "the generator could not send as much as it was to".to_owned())?;
        }
        Ok(())
    }
}

/// The value that `share` of the sorted ones do not exceed.
fn quantile(sorted: &[u32], share: f64) -> Option<u32> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.5), Some(50));
        assert_eq!(quantile(&values, 0.99), Some(99));
        assert_eq!(quantile(&[7], 0.99), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn cost_is_cpu_time_by_what_arrived() {
        let account = Account {
            sent: 1000,
            up: 400,
            down: 400,
            duration: Duration::from_secs(2),
            latencies: vec![3000, 1000],
        };
        let mut reading = Reading { sessions: 10, offered: 500.0, ..Reading::default() };
        reading.note_cpu(Some(Duration::from_millis(4)), &account);
        reading.note_memory(Some(1000), Some(21_000));
        reading.note_traffic(account);
        assert_eq!((reading.cpu_per_packet, reading.memory_per_session), (Some(5.0), Some(2000.0)));
        assert_eq!((reading.sent, reading.arrived), (500.0, 400.0));
        assert!((reading.loss_percent - 20.0).abs() < 1e-9 && reading.kept_up());
        assert_eq!((reading.latency_p50, reading.latency_p99), (Some(1.0), Some(3.0)));
        let text = reading.to_string();
        assert!(text.contains("5.00 µs") && text.contains("20.00 % lost"), "{text}");
    }
}
