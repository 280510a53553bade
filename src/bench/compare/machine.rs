//! Where and with what was measured, in one line each.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::program::{Binaries, Program};

/// Processor, cores, kernel, day.
pub(super) fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        field(&info, "model name").or_else(|| field(&info, "CPU implementer")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let is_virtual =
        field(&info, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let cores = if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
    let kind = if is_virtual { "virtual, " } else { "" };
    format!("{model}, {kind}{cores}, Linux {}, {}", kernel.trim(), day(seconds / 86_400))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    Some(line.split_once(':')?.1.trim())
}

/// The version of what was measured, as it says itself; each binary once.
pub(super) fn versions(binaries: &Binaries, programs: &[Program]) -> String {
    let mut said: Vec<String> = Vec::new();
    for &program in programs {
        let name = match program {
            Program::Coturn => "coturn",
            Program::Rtpengine => "rtpengine",
            _ => "xrtc",
        };
        let text = format!(
            "{name} {}",
            version(binaries, program).unwrap_or_else(|| "of unknown version".to_owned())
        );
        if !said.contains(&text) {
            said.push(text);
        }
    }
    said.join(", ")
}

fn version(binaries: &Binaries, program: Program) -> Option<String> {
    let out = Command::new(binaries.of(program)).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = [out.stdout, out.stderr].concat();
    first_version(&String::from_utf8_lossy(&text))
}

/// The first word that looks like a version number.
fn first_version(text: &str) -> Option<String> {
    let looks = |word: &&str| word.starts_with(|sign: char| sign.is_ascii_digit()) && word.contains('.');
    text.split(|sign: char| sign.is_whitespace() || sign == '-' || sign == '+').find(looks).map(str::to_owned)
}

/// The date of a day since 1970-01-01, counted in years that begin in March so that leap days come last.
fn day(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        let dates = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_778, "2026-11-21")];
        for (days, date) in dates {
            assert_eq!(day(days), date);
        }
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(first_version("xrtc 0.1.0\n").as_deref(), Some("0.1.0"));
        assert_eq!(first_version("Version: 10.5.3.5-1+deb12u1").as_deref(), Some("10.5.3.5"));
        assert_eq!(first_version("0: log file opened: x\n4.6.1\n").as_deref(), Some("4.6.1"));
        assert_eq!(first_version("none"), None);
    }
}
