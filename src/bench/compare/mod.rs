//! `xrtc bench compare`: several programs under the same load, in turns of a quarter of a second and in several rounds; then tables,
//! a plot, and the part of a document that shows both.
//!
//! Every reading is of a fresh process. All programs of a case are there at once, on one core, their generators on another one, and
//! one of them works at a time: a virtual machine is slower and faster by a third from one second to the next, and so it is so for
//! all of them.

mod case;
mod child;
mod contender;
mod document;
mod machine;
mod plot;
mod program;
mod promises;
mod results;
mod tables;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::load::Reading;
use super::{BenchError, Doing, process};
use case::Case;
use child::Interrupt;
use contender::Contender;
use program::{Binaries, FLOOR, Program};
use results::{Record, Results};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Compare {
    /// Two kinds of traffic, one round: under a minute
    #[arg(long)]
    quick: bool,
    /// A kind of traffic, SIZExBURST[,n=SESSIONS][,idle=SESSIONS][,dir=up|down][,rate=PACKETS]; may be repeated
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<Case>,
    /// A program; may be repeated
    #[arg(long = "program", value_enum, value_name = "PROGRAM")]
    programs: Vec<Program>,
    /// How often each program is measured in each case; 0: only draw what --results has
    #[arg(long)]
    rounds: Option<u64>,
    /// Measured time of each reading
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Keep all readings here, and count those that are there already
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Draw the plot into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write tables and plot into this Markdown file, between its markers
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// xrtc under test [default: this one]
    #[arg(long, value_name = "BINARY")]
    xrtc: Option<PathBuf>,
    /// coturn
    #[arg(long, value_name = "BINARY", default_value = "/usr/bin/turnserver")]
    coturn: PathBuf,
    /// rtpengine
    #[arg(long, value_name = "BINARY", default_value = "/usr/bin/rtpengine")]
    rtpengine: PathBuf,
    /// Core of the program under test
    #[arg(long, default_value_t = 0, value_name = "CORE")]
    program_core: usize,
    /// Core of the generator
    #[arg(long, default_value_t = 1, value_name = "CORE")]
    load_core: usize,
}

const EXAMPLES: &str = "\
The rows, but for the bare forwarder's own, tell the median and the ratio to the bare forwarder (lowest-highest of the rounds).
Nothing else should run meanwhile: two cores are kept busy.

Examples:
  xrtc bench compare --quick
  xrtc bench compare --case 1200x1 --case 1200x10,n=5000 --program bare --program xrtc-half --rounds 5
  xrtc bench compare --results r.jsonl --svg docs/plots/cost.svg --document docs/performance.md
  xrtc bench compare --results r.jsonl --rounds 0      tables of earlier readings";

/// Rounds where nobody says how many: enough for a median and its spread.
const ROUNDS: u64 = 3;
/// The longest turn, seconds: shorter than what the machine does is steady for.
const TURN: f64 = 0.25;
/// Traffic before the first turn, and what each session adds to it, seconds: every one of 5000 has sent its first burst by then, so
/// that what is measured is how sessions go on, not how they begin.
const WARM: f64 = 0.5;
const WARM_PER_SESSION: f64 = 0.001;
/// Traffic before the measured time of each turn, seconds: xrtc has decided over naps by then (`src/listener/coalesce.rs`).
const WARM_AGAIN: f64 = 0.15;

impl Compare {
    /// Measures, and shows what came of it.
    pub(super) fn run(&self) -> Result<(), BenchError> {
        let interrupt = Interrupt::listen()?;
        let mut results = self.earlier()?;
        if self.rounds() > 0 {
            self.measure(&mut results, &interrupt)?;
        }
        let binaries = self.binaries()?;
        let report = Report {
            results: &results,
            machine: machine::describe(),
            versions: machine::versions(&binaries, &results.programs()),
        };
        print!("\n{}", report.terminal());
        if let Some(path) = &self.svg {
            write(path, &report.svg())?;
        }
        if let Some(path) = &self.document {
            self.update(path, &report)?;
        }
        Ok(())
    }

    fn rounds(&self) -> u64 {
        self.rounds.unwrap_or(if self.quick { 1 } else { ROUNDS })
    }

    fn cases(&self) -> Vec<Case> {
        let named = if self.quick { &case::QUICK[..] } else { &case::USUAL[..] };
        match &self.cases[..] {
            [] => named.iter().filter_map(|text| text.parse().ok()).collect(),
            cases => cases.to_vec(),
        }
    }

    fn binaries(&self) -> Result<Binaries, BenchError> {
        let xrtc = match &self.xrtc {
            Some(path) => path.clone(),
            None => std::env::current_exe().doing(|| "looking for this program's file".to_owned())?,
        };
        Ok(Binaries { xrtc, coturn: self.coturn.clone(), rtpengine: self.rtpengine.clone() })
    }

    fn earlier(&self) -> Result<Results, BenchError> {
        let Some(path) = self.results.as_ref().filter(|path| path.exists()) else {
            return Ok(Results::default());
        };
        let text = fs::read_to_string(path).doing(|| format!("cannot read {}", path.display()))?;
        let read = |(number, line): (usize, &str)| {
            serde_json::from_str(line)
                .map_err(|error| BenchError::Usage(format!("{}:{}: {error}", path.display(), number + 1)))
        };
        let records = text.lines().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Results { records })
    }

    fn measure(&self, results: &mut Results, interrupt: &Interrupt) -> Result<(), BenchError> {
        let bench = self.bench(interrupt)?;
        let first = results.records.iter().map(|record| record.round + 1).max().unwrap_or(0);
        let cases = self.cases();
        let steps: Vec<(u64, &Case)> = (first..first + self.rounds())
            .flat_map(|round| cases.iter().map(move |case| (round, case)))
            .collect();
        process::raise_file_limit(FILES);
        for (i, &(round, case)) in steps.iter().enumerate() {
            eprint!("[{:>3}/{}] {}", i + 1, steps.len(), case.title());
            let readings = bench.read(case)?;
            eprintln!();
            for (program, reading) in readings {
                eprintln!("    {:<34} {}", program.title(), in_brief(&reading));
                let record = Record { case: case.clone(), program, round, reading };
                self.keep(&record)?;
                results.records.push(record);
            }
        }
        Ok(())
    }

    fn bench<'a>(&'a self, interrupt: &'a Interrupt) -> Result<Workbench<'a>, BenchError> {
        let binaries = self.binaries()?;
        let mut programs =
            if self.programs.is_empty() { Program::USUAL.to_vec() } else { self.programs.clone() };
        programs.retain(|&program| {
            let there = binaries.of(program).exists();
            if !there {
                eprintln!("{} is left out: there is no {}", program.title(), binaries.of(program).display());
            }
            there
        });
        let dir = std::env::temp_dir().join(format!("xrtc-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).doing(|| format!("cannot make {}", dir.display()))?;
        Ok(Workbench { compare: self, binaries, programs, dir, interrupt })
    }

    fn keep(&self, record: &Record) -> Result<(), BenchError> {
        let Some(path) = &self.results else { return Ok(()) };
        let line = serde_json::to_string(record).unwrap_or_default();
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .doing(|| format!("cannot write {}", path.display()))
    }

    fn update(&self, path: &Path, report: &Report<'_>) -> Result<(), BenchError> {
        let document = fs::read_to_string(path).doing(|| format!("cannot read {}", path.display()))?;
        let plot = self.svg.as_deref().map(|svg| seen_from(path, svg));
        let changed = document::replace(&document, &report.markdown(plot))
            .map_err(|error| BenchError::Usage(format!("{}: {error}", path.display())))?;
        write(path, &changed)
    }
}

/// Two sockets per session here, and up to four in a program; with room for 10 000 sessions.
const FILES: u64 = 50_000;

/// What all readings have in common. Its files go with it.
struct Workbench<'a> {
    compare: &'a Compare,
    binaries: Binaries,
    programs: Vec<Program>,
    dir: PathBuf,
    interrupt: &'a Interrupt,
}

impl Workbench<'_> {
    /// A reading of every program that the case is for.
    fn read(&self, case: &Case) -> Result<Vec<(Program, Reading)>, BenchError> {
        let fits = |program: &Program| case.idle == 0 || *program == FLOOR || program.has_registrations();
        let programs: Vec<Program> = self.programs.iter().copied().filter(fits).collect();
        // Those that rest take the core for a moment now and then, which is little of the cost and much of a p99.
        let at_once = if case.is_full() { usize::MAX } else { 1 };
        let mut readings = Vec::new();
        for some in programs.chunks(at_once) {
            readings.extend(self.read_in_turns(case, some)?);
        }
        Ok(readings)
    }

    /// Starts the programs, loads them in turns, and ends them.
    fn read_in_turns(
        &self,
        case: &Case,
        programs: &[Program],
    ) -> Result<Vec<(Program, Reading)>, BenchError> {
        let mut contenders = Vec::new();
        for &program in programs {
            contenders.extend(self.or_without(Contender::start(self, program, case))?);
        }
        let turns = (self.compare.seconds / TURN).ceil().max(1.0);
        let warm = WARM + WARM_PER_SESSION * case.sessions as f64;
        contenders = self.turn(contenders, warm, 0.0)?;
        for _ in 0..turns as u64 {
            contenders = self.turn(contenders, WARM_AGAIN, self.compare.seconds / turns)?;
            // There and back again: what changes steadily meets all of them alike.
            contenders.reverse();
            eprint!(".");
        }
        contenders.sort_by_key(|contender| contender.program);
        let mut readings = Vec::new();
        for contender in contenders {
            let program = contender.program;
            let reading = self.or_without(contender.reading(self.interrupt))?;
            readings.extend(reading.map(|reading| (program, reading)));
        }
        Ok(readings)
    }

    /// A turn of each; who fails is out.
    fn turn(
        &self,
        contenders: Vec<Contender>,
        warm: f64,
        measured: f64,
    ) -> Result<Vec<Contender>, BenchError> {
        let mut left = Vec::new();
        for mut contender in contenders {
            let went = contender.turn(warm, measured);
            left.extend(self.or_without(went)?.map(|()| contender));
        }
        Ok(left)
    }

    /// The other rows are worth having without one that failed, but not without whoever watches.
    fn or_without<T>(&self, result: Result<T, BenchError>) -> Result<Option<T>, BenchError> {
        self.interrupt.check()?;
        if let Err(error) = &result {
            eprint!("\n    {error}");
        }
        Ok(result.ok())
    }
}

impl Drop for Workbench<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn in_brief(reading: &Reading) -> String {
    let cost = reading.cpu_per_packet.unwrap_or_default();
    let late = if reading.kept_up() { "" } else { "  the generator did not keep up" };
    format!("{cost:>6.2} µs  {:.2} % lost{late}", reading.loss_percent)
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).doing(|| format!("cannot write {}", path.display()))
}

/// How a document names a file beside or below it.
fn seen_from(document: &Path, file: &Path) -> String {
    let here = document.parent().unwrap_or(Path::new(""));
    file.strip_prefix(here).unwrap_or(file).display().to_string()
}

/// What is told of the results.
struct Report<'a> {
    results: &'a Results,
    machine: String,
    versions: String,
}

impl Report<'_> {
    /// Cases with the whole rate, about which CPU is told.
    fn full(&self) -> Vec<Case> {
        self.cases(Case::is_full)
    }

    fn cases(&self, which: impl Fn(&Case) -> bool) -> Vec<Case> {
        self.results.cases().into_iter().filter(which).collect()
    }

    /// Cases about which latency is told: at half load where there are any.
    fn half(&self) -> Vec<Case> {
        let half = self.cases(|case| case.rate == 20_000);
        if half.is_empty() { self.full() } else { half }
    }

    /// Cases with enough sessions that memory per session means something.
    fn crowded(&self) -> Vec<Case> {
        self.cases(|case| case.sessions >= 1000 && case.idle == 0)
    }

    fn svg(&self) -> String {
        let drawn: Vec<Case> = self.full().into_iter().filter(|case| case.idle == 0).collect();
        plot::cost(self.results, &drawn, &self.machine)
    }

    fn terminal(&self) -> String {
        let mut tables =
            vec![tables::cost(self.results, &self.full()), tables::latency(self.results, &self.half())];
        if !self.crowded().is_empty() {
            tables.push(tables::memory(self.results, &self.crowded()));
        }
        let mut out: String = tables.iter().map(|table| table.aligned() + "\n").collect();
        for promise in promises::compare(self.results) {
            let mark = if promise.kept { "kept  " } else { "BROKEN" };
            let _ = writeln!(
                out,
                "{mark}  {}: {}, promised {}",
                promise.what, promise.measured, promise.promised
            );
        }
        let _ = writeln!(out, "\n{}\n{}", self.machine, self.versions);
        out
    }

    fn markdown(&self, plot: Option<String>) -> String {
        let mut out = format!("Measured on: {}. {}.\n\n", self.machine, self.versions);
        if let Some(plot) = plot {
            let _ = writeln!(out, "![CPU time per forwarded packet]({plot})\n");
        }
        out += "Median of the rounds. For the bare forwarder with lowest and highest; for the others followed by the ratio to the \
                bare forwarder in the same round, with its lowest and highest.\n\n";
        out += &tables::cost(self.results, &self.full()).markdown();
        let _ = writeln!(out, "\n{}", tables::latency(self.results, &self.half()).markdown());
        if !self.crowded().is_empty() {
            let _ = writeln!(out, "{}", tables::memory(self.results, &self.crowded()).markdown());
        }
        out += "| promised | measured | |\n|---|---|---|\n";
        for promise in promises::compare(self.results) {
            let mark = if promise.kept { "kept" } else { "**not kept**" };
            let _ =
                writeln!(out, "| {}: {} | {} | {mark} |", promise.what, promise.promised, promise.measured);
        }
        out
    }
}
