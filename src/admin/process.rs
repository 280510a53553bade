//! What the process as a whole uses: read from /proc at a scrape.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample};

/// Clock ticks per second in /proc; Linux has shown 100 to user space on all architectures since it exists.
const TICKS: f64 = 100.0;

/// Version, memory, processor time and descriptors.
#[derive(Debug)]
pub struct ProcessMetrics {
    started: SystemTime,
}

impl ProcessMetrics {
    /// Of a process that starts now.
    pub fn new() -> Self {
        ProcessMetrics { started: SystemTime::now() }
    }
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        ProcessMetrics::new()
    }
}

impl MetricSource for ProcessMetrics {
    fn families(&self) -> Vec<Family> {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let version = Sample::new([("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let (user, system) = processor_seconds().unwrap_or_default();
        let modes = [("user", user), ("system", system)];
        let mut families = vec![
            Family::of("xrtc_build_info", "Version of the program; always 1.", Kind::Gauge, [version]),
            Family::single(
                "xrtc_start_time_seconds",
                "When the process started, seconds since 1970.",
                Kind::Gauge,
                started,
            ),
            Family::of(
                "xrtc_cpu_seconds_total",
                "Processor time used, all threads together.",
                Kind::Counter,
                modes.map(|(mode, seconds)| Sample::new([("mode", mode)], seconds)),
            ),
        ];
        let gauge = |name, help, value: f64| Family::single(name, help, Kind::Gauge, value);
        families.extend(
            resident_bytes()
                .map(|value| gauge("xrtc_memory_bytes", "Resident memory of the process.", value)),
        );
        families.extend(
            open_files().map(|value| gauge("xrtc_open_fds", "Open file descriptors of the process.", value)),
        );
        families.extend(
            file_limit().map(|value| gauge("xrtc_max_fds", "Limit of open file descriptors.", value)),
        );
        families
    }
}

/// User and system time.
fn processor_seconds() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name stands in parentheses and may hold anything (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
    Some((next()?, next()?))
}

pub(super) fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn file_limit() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_there_and_makes_sense() {
        let families = ProcessMetrics::new().families();
        assert_eq!(families.len(), 6);
        let value = |name| families.iter().find(|it| it.name == name).unwrap().samples[0].value;
        assert!(value("xrtc_memory_bytes") > 1e6);
        assert!(value("xrtc_open_fds") >= 3.0 && value("xrtc_max_fds") >= value("xrtc_open_fds"));
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 50 {}
        assert!(processor_seconds().unwrap().0 > 0.0);
    }
}
