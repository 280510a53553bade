//! A program and the generator that loads it, which takes turns with those of other programs: a machine that gets slower and faster
//! does so for all of them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use super::Workbench;
use super::case::Case;
use super::child::{Child, Interrupt};
use super::program::{self, Program, Running};
use crate::bench::load::{DONE, READY, Reading};
use crate::bench::{BenchError, Doing};

/// Both end with this value.
pub(super) struct Contender {
    pub(super) program: Program,
    generator: Child,
    ask: ChildStdin,
    said: BufReader<ChildStdout>,
    _running: Running,
}

impl Contender {
    /// Starts both, and returns when all sessions are up.
    pub(super) fn start(
        bench: &Workbench<'_>,
        program: Program,
        case: &Case,
    ) -> Result<Contender, BenchError> {
        let Workbench { compare, binaries, interrupt, .. } = bench;
        // Programs watch their files, and each has its own.
        let dir = bench.dir.join(format!("{program:?}"));
        fs::create_dir_all(&dir).doing(|| format!("cannot make {}", dir.display()))?;
        let running = program::start(program, binaries, &dir, compare.program_core, interrupt)?;
        let command = load(&binaries.xrtc, case, &running, compare.load_core);
        let mut generator = Child::spawn(command, compare.load_core)?;
        let (Some(ask), Some(said)) = (generator.stdin(), generator.stdout()) else {
            return Err(failed(program, "cannot be spoken to"));
        };
        let said = BufReader::new(said);
        let mut contender = Contender { program, generator, ask, said, _running: running };
        contender.expect(READY)?;
        Ok(contender)
    }

    /// Traffic for so many seconds that do not count, then for so many that do.
    pub(super) fn turn(&mut self, warm: f64, measured: f64) -> Result<(), BenchError> {
        writeln!(self.ask, "{warm} {measured}")
            .map_err(|_| failed(self.program, "ended early, see above"))?;
        self.expect(DONE)
    }

    /// What all turns read off.
    pub(super) fn reading(mut self, interrupt: &Interrupt) -> Result<Reading, BenchError> {
        drop(self.ask);
        let said = line(&mut self.said)?;
        let status = self.generator.wait(interrupt)?;
        match serde_json::from_str(&said) {
            Ok(reading) if status.success() => Ok(reading),
            _ => Err(failed(self.program, "left no reading, see above")),
        }
    }

    fn expect(&mut self, word: &str) -> Result<(), BenchError> {
        let said = line(&mut self.said)?;
        if said.trim() == word { Ok(()) } else { Err(failed(self.program, "did not go on, see above")) }
    }
}

fn line(said: &mut BufReader<ChildStdout>) -> Result<String, BenchError> {
    let mut line = String::new();
    said.read_line(&mut line).doing(|| "reading from the load generator".to_owned())?;
    Ok(line)
}

fn failed(program: Program, what: &str) -> BenchError {
    BenchError::Peer { who: program.title(), what: format!("the load generator {what}") }
}

fn load(xrtc: &Path, case: &Case, running: &Running, core: usize) -> Command {
    let mut command = Command::new(xrtc);
    command.args(["bench", "load", "--json", "--in-turns"]).args(&running.reach);
    let mut set = |name: &str, value: String| {
        command.args([name, &value]);
    };
    set("--pid", running.child.pid().to_string());
    set("--core", core.to_string());
    set("--sessions", case.sessions.to_string());
    set("--idle", if running.takes_idle { case.idle } else { 0 }.to_string());
    set("--size", case.size.to_string());
    set("--burst", case.burst.to_string());
    set("--direction", case.direction.clone());
    set("--rate", case.rate.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}
