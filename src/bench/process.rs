//! What a process uses, read from outside: CPU time, memory. And what a measuring process asks for itself: cores, file
//! descriptors.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::{BenchError, Doing};

/// User and system time of all threads of a process, by the scheduler's nanosecond account where there is one.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    by_scheduler(pid).filter(|time| !time.is_zero()).or_else(|| by_ticks(pid))
}

fn by_scheduler(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let run = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanos = run.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Some(Duration::from_nanos(nanos.sum()))
}

/// 10 ms ticks of proc(5); the name in parentheses may hold anything.
fn by_ticks(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Resident memory in bytes.
pub(super) fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Binds this thread, and the threads and processes that it starts from now on, to one core.
pub(super) fn pin(core: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .doing(|| format!("cannot run on core {core}"))
}

/// Whether this thread has one core only, and a process must share it.
pub(super) fn must_share_core(pid: Option<u32>) -> bool {
    let cores = |pid| {
        let set = sched_getaffinity(Pid::from_raw(pid)).unwrap_or_default();
        (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect::<Vec<_>>()
    };
    let ours = cores(0);
    // Process ids are positive numbers of 22 bits.
    ours.len() == 1 && pid.is_none_or(|pid| cores(pid as i32) == ours)
}

/// Allows as many open files as the system lets us: two sockets per session here, and more in the programs that we start.
pub(super) fn raise_file_limit(wanted: u64) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_err() {
        // Without the right to raise the hard limit: as far as it goes. What is still missing shows when a socket is opened.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
