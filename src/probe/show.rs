//! What a run looks like: lines as they happen and a table at the end, or JSON, or one line for each run of `--watch`.
//!
//! It decides nothing about a run; the exit code is the report's.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::cause::Cause;
use super::facts::{Attempt, AttemptState, Call, Media, Outcome, PathFacts, PathState, Report, Step};
use super::journal::shown;
use super::options::Options;
use super::run::run;
use super::verdict;

/// Probes as the command line says. Returns the exit code, or why the output cannot be written.
pub fn main(options: &Options) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(async {
        match options.watch {
            Some(pause) => watch(options, pause).await,
            None => once(options).await,
        }
    });
    // A name server that never answers must not hold the program.
    runtime.shutdown_background();
    code
}

/// What shells make of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

async fn once(options: &Options) -> io::Result<u8> {
    let screen = Screen::new();
    if options.json {
        let Some(report) = run(options, Box::new(|_| ())).await else { return Ok(INTERRUPTED) };
        screen.write(&format!("{}\n", json(&report, true)))?;
        return Ok(report.exit_code);
    }
    screen.write(&format!("probe {}\n\n", options.url.shown()))?;
    let steps = screen.clone();
    let report = run(
        options,
        Box::new(move |step| {
            if step.step != "verdict" {
                let _ = steps.write(&steps.line(step));
            }
        }),
    )
    .await;
    let Some(report) = report else { return Ok(INTERRUPTED) };
    screen.write(&screen.summary(&report))?;
    Ok(report.exit_code)
}

async fn watch(options: &Options, pause: std::time::Duration) -> io::Result<u8> {
    let screen = Screen::new();
    let mut worst = 0;
    loop {
        let again = tokio::time::Instant::now() + pause;
        let Some(report) = run(options, Box::new(|_| ())).await else { return Ok(worst) };
        worst = worst.max(report.exit_code);
        let line = if options.json { json(&report, false) } else { screen.one_line(&report) };
        screen.write(&format!("{line}\n"))?;
        tokio::select! {
            () = tokio::time::sleep_until(again) => {}
            _ = tokio::signal::ctrl_c() => return Ok(worst),
        }
    }
}

fn json(report: &Report, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(report) } else { serde_json::to_string(report) };
    // Nothing in a report can fail to be written.
    text.unwrap_or_default()
}

/// Standard output, with colours where they are wanted.
#[derive(Clone)]
struct Screen {
    out: Arc<Mutex<io::Stdout>>,
    colour: bool,
}

impl Screen {
    fn new() -> Screen {
        // https://no-color.org
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let out = io::stdout();
        let colour = wanted && out.is_terminal();
        Screen { out: Arc::new(Mutex::new(out)), colour }
    }

    /// A reader that went away is no failure.
    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, step: &Step) -> String {
        let mark = match step.outcome {
            Outcome::Ok => self.paint(GREEN, "ok  "),
            Outcome::Info => self.paint(DIM, "--  "),
            Outcome::Warn => self.paint(YELLOW, "warn"),
            Outcome::Fail => self.paint(RED, "FAIL"),
        };
        let at = self.paint(DIM, &format!("{:>8.3} s", step.at_ms / 1000.0));
        format!("{at}  {mark}  {:<8} {}\n", step.step, step.text)
    }

    fn summary(&self, report: &Report) -> String {
        // The verdict is a step, too, and not shown as one.
        let mut out = String::from(if report.steps.len() > 1 { "\n" } else { "" });
        let rows = table(&report.transports);
        if rows.len() > 1 {
            for (index, row) in rows.iter().enumerate() {
                let line = format!("  {}\n", row.trim_end());
                out.push_str(&if index == 0 { self.paint(DIM, &line) } else { line });
            }
            out.push('\n');
        }
        let colour = match report.cause() {
            Cause::Works => GREEN,
            Cause::Degraded => YELLOW,
            _ => RED,
        };
        let verdict = &report.verdict;
        out.push_str(&format!("{}: {}\n", self.paint(colour, verdict.cause.code()), verdict.message));
        if !verdict.fix.is_empty() {
            out.push_str(&format!("{}: {}\n", self.paint(BOLD, "fix"), verdict.fix));
        }
        for warning in &report.warnings {
            out.push_str(&format!("{}: {warning}\n", self.paint(YELLOW, "warning")));
        }
        out
    }

    fn one_line(&self, report: &Report) -> String {
        let colour = if report.ok { GREEN } else { RED };
        let code = self.paint(colour, report.verdict.cause.code());
        let rtt = report.transports.iter().flat_map(|attempt| &attempt.paths).find_map(|path| path.rtt_ms);
        let rtt = rtt.map(|rtt| format!(" rtt={}", shown(rtt).replace(' ', ""))).unwrap_or_default();
        format!(
            "{} {code} took={:.1}s{rtt} {}",
            time_of_day(report.started_unix_ms),
            report.took_ms / 1000.0,
            report.verdict.message
        )
    }
}

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const DIM: &str = "2";
const BOLD: &str = "1";

/// UTC, as the logs have it.
fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Lines with aligned columns: a heading, then a row for each path.
fn table(attempts: &[Attempt]) -> Vec<String> {
    let heading = ["path", "checks", "rtt", "connect", "ice", "dtls", "audio", "video", "data", ""];
    let mut rows: Vec<Vec<String>> = vec![heading.iter().map(ToString::to_string).collect()];
    for attempt in attempts {
        for path in &attempt.paths {
            rows.push(row(attempt, path));
        }
        if attempt.paths.is_empty() && attempt.state == AttemptState::NotOffered {
            rows.push(empty_row(format!("{} not offered", attempt.transport.name())));
        }
    }
    aligned(&rows)
}

fn row(attempt: &Attempt, path: &PathFacts) -> Vec<String> {
    let call = attempt.call.as_ref().filter(|call| call.candidate == path.candidate);
    let of_call = |value: fn(&Call) -> String| call.map_or("-".to_owned(), value);
    let remark = match path.state {
        PathState::Answers => String::new(),
        _ => verdict::outcome(path),
    };
    vec![
        format!("{} {}", attempt.transport.name(), path.candidate),
        count(path.checks_answered, path.checks_sent),
        ms(path.rtt_ms),
        ms(path.connect_ms),
        of_call(|call| ms(call.ice_ms)),
        of_call(|call| ms(call.dtls_ms)),
        of_call(|call| media(&call.audio)),
        of_call(|call| media(&call.video)),
        of_call(|call| count(call.data.returned, call.data.sent)),
        remark,
    ]
}

fn empty_row(path: String) -> Vec<String> {
    let mut row = vec![String::new(); 10];
    row[0] = path;
    row
}

fn ms(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), shown)
}

fn media(media: &Media) -> String {
    count(media.returned, media.sent)
}

fn count(returned: u32, sent: u32) -> String {
    if sent == 0 { "-".to_owned() } else { format!("{returned}/{sent}") }
}

fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect::<String>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["ccc".to_owned(), "ä".to_owned()]];
        assert_eq!(aligned(&rows), ["a    b  ", "ccc  ä  "]);
    }

    #[test]
    fn the_time_of_a_line_is_in_utc() {
        assert_eq!(time_of_day(1_763_716_361_000), "09:12:41Z");
    }

    #[test]
    fn without_a_terminal_nothing_is_coloured() {
        let screen = Screen { out: Arc::new(Mutex::new(io::stdout())), colour: false };
        let step = Step { at_ms: 12.0, step: "udp", outcome: Outcome::Fail, text: "no".to_owned() };
        assert_eq!(screen.line(&step), "   0.012 s  FAIL  udp      no\n");
        let screen = Screen { colour: true, ..screen };
        assert!(screen.line(&step).contains("\x1b[31mFAIL\x1b[0m"));
    }
}
