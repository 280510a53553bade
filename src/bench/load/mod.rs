//! `xrtc bench load`: sets sessions up through one program, sends their traffic through it, and says what that cost.
//!
//! The program is measured from outside, as a whole process. What is between the ends (STUN, TURN, control messages) is set up
//! before the measured time begins.

mod half;
mod http;
mod ice;
mod janus;
mod pair;
mod proof;
mod reading;
mod rest;
mod rtpengine;
mod sdp;
mod traffic;
mod turn;
mod turns;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{BenchError, Doing, process};
use pair::Pair;
pub(super) use reading::Reading;
use traffic::{MAX_BURST, MAX_SIZE, MIN_SIZE, Plan, Traffic};
use turns::Turn;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Load {
    /// What the sessions go through
    #[arg(long, value_enum)]
    toward: Toward,
    /// Its address: HTTP of xrtc, UDP of a TURN server or of `bench bare`, control port of rtpengine
    #[arg(long, value_name = "IP:PORT", required_if_eq_any([("toward", "half"), ("toward", "transparent"), ("toward", "turn"), ("toward", "rtpengine"), ("toward", "bare")]))]
    at: Option<SocketAddr>,
    /// Process whose CPU time and memory are taken
    #[arg(long)]
    pid: Option<u32>,
    /// half: where the generator answers as a Janus; the upstream of xrtc's route /janus
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:18088")]
    janus: SocketAddr,
    /// Sessions that carry traffic
    #[arg(short = 'n', long, default_value_t = 100)]
    sessions: usize,
    /// transparent: sessions that are registered besides, and carry none
    #[arg(long, default_value_t = 0, value_name = "N")]
    idle: usize,
    /// Packets per second, both directions together
    #[arg(long, default_value_t = 40_000.0)]
    rate: f64,
    /// Bytes per packet
    #[arg(long, default_value_t = 1200)]
    size: usize,
    /// Packets that a sender sends at once
    #[arg(long, default_value_t = 1)]
    burst: usize,
    /// Time between the moments of sending: as network cards do, it hands over together what is due
    #[arg(long, default_value_t = 100, value_name = "MICROSECONDS")]
    tick: u64,
    /// up: clients send; down: backends send
    #[arg(long, value_enum, default_value_t = Direction::Both)]
    direction: Direction,
    /// Measured time
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Time with traffic before it
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    warm: f64,
    /// Measure in turns with other generators: says `ready`, takes from each line of standard input the seconds before and the
    /// seconds of measured time, says `done` after each, and ends with the input
    #[arg(long, conflicts_with_all = ["seconds", "warm"])]
    in_turns: bool,
    /// Core for the generator; the program under test should have another one
    #[arg(long)]
    core: Option<usize>,
    /// turn: user name
    #[arg(long, default_value = "user")]
    user: String,
    /// turn: password
    #[arg(long, default_value = "pass")]
    password: String,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What stands between clients and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Toward {
    /// xrtc with a `janus` route: offers and answers pass through it, STUN ends at it
    Half,
    /// xrtc with REST registration: STUN passes
    Transparent,
    /// A TURN server: ChannelData
    Turn,
    /// rtpengine: RTP, no ICE
    Rtpengine,
    /// `xrtc bench bare`
    Bare,
    /// Nothing: clients and backends talk directly
    None,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    Both,
    Up,
    Down,
}

const EXAMPLES: &str = "\
Clients are at 127.0.0.1, backends at 127.0.0.2, on ports from 10240 up.
CPU per packet is user and system time of the whole process, divided by the packets that arrived.

Examples:
  xrtc bench bare --port 7000 &
  xrtc bench load --toward bare --at 127.0.0.1:7000 --pid $!
  xrtc bench load --toward transparent --at 127.0.0.1:8080 --pid $(pidof xrtc) -n 1000 --burst 10
  xrtc bench load --toward half --at 127.0.0.1:8080 --pid $(pidof xrtc) --janus 127.0.0.1:8088
  xrtc bench load --toward turn --at 127.0.0.1:3478 --pid $(pidof turnserver) --user john --password s3cr3t

half needs a route to the generator: janus: {upstream: \"http://127.0.0.1:18088\", paths: [/janus]}
Many sessions from one address need `limits: {registrations_per_client: 100000}`.";

/// Said when the first turn may come.
pub(super) const READY: &str = "ready";
/// Said after each turn.
pub(super) const DONE: &str = "done";
/// How long sessions may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the generator sleeps at most where the program under test needs its core.
const NAP: Duration = Duration::from_millis(1);

impl Load {
    /// Runs it and prints what came of it.
    pub(super) fn run_and_print(&self) -> Result<(), BenchError> {
        let reading = self.run()?;
        if self.json {
            println!("{}", serde_json::to_string(&reading).unwrap_or_default());
        } else {
            print!("{reading}");
        }
        Ok(())
    }

    fn run(&self) -> Result<Reading, BenchError> {
        self.check()?;
        if let Some(core) = self.core {
            process::pin(core)?;
        }
        process::raise_file_limit(2 * self.sessions as u64 + 1000);
        let mut pairs = Pair::open(self.sessions)?;
        let mut reading = Reading { sessions: self.sessions, offered: self.rate, ..Reading::default() };
        let before = self.usage();
        reading.registrations_per_cpu_second = self.set_up(&mut pairs)?;
        proof::both_ways(&pairs)?;
        reading.setup_seconds = before.at.elapsed().as_secs_f64();
        // Those that only wait are another kind, and smaller.
        let memory = before.memory.filter(|_| self.idle == 0);
        reading.note_memory(memory, self.usage().memory);

        let plan = self.plan();
        let mut marks = Vec::new();
        let traffic = Traffic::new(&pairs, &plan).and_then(|mut traffic| {
            self.send(&mut traffic, || marks.push(self.usage()))?;
            Ok(traffic)
        });
        let account = traffic.doing(|| "sending traffic".to_owned())?.account();
        if account.duration.is_zero() {
            return Err(BenchError::Usage(
                "--in-turns: standard input asked for no measured time".to_owned(),
            ));
        }
        let cpu = marks.chunks_exact(2).map(|turn| cpu_between(&turn[0], &turn[1])).sum();
        reading.note_cpu(cpu, &account);
        reading.note_traffic(account);
        Ok(reading)
    }

    /// All traffic. `mark` is called at the beginning and at the end of each measured time.
    fn send(&self, traffic: &mut Traffic<'_>, mut mark: impl FnMut()) -> io::Result<()> {
        if !self.in_turns {
            let [warm, measured] = [self.warm, self.seconds].map(Duration::from_secs_f64);
            return traffic.run(Turn { warm, measured }, mark);
        }
        let turns = traffic.turns()?;
        println!("{READY}");
        while let Some(turn) = traffic.rest(&turns)? {
            traffic.run(turn, &mut mark)?;
            println!("{DONE}");
        }
        Ok(())
    }

    /// What the process under test uses now.
    fn usage(&self) -> Usage {
        Usage {
            at: Instant::now(),
            cpu: self.pid.and_then(process::cpu),
            memory: self.pid.and_then(process::memory),
        }
    }

    fn check(&self) -> Result<(), BenchError> {
        let wrong = |what: String| Err(BenchError::Usage(what));
        if !(MIN_SIZE..=MAX_SIZE).contains(&self.size) {
            return wrong(format!("--size {}: expected {MIN_SIZE} to {MAX_SIZE}", self.size));
        }
        if !(1..=MAX_BURST).contains(&self.burst) {
            return wrong(format!("--burst {}: expected 1 to {MAX_BURST}", self.burst));
        }
        // Not a number is none of these either.
        let fits = self.rate >= 1.0 && self.seconds >= 0.1 && self.warm >= 0.0;
        if self.sessions == 0 || !fits {
            return wrong("--sessions and --rate: expected 1 or more; --seconds: 0.1 or more".to_owned());
        }
        if self.idle > 0 && self.toward != Toward::Transparent {
            return wrong("--idle: expected with --toward transparent only".to_owned());
        }
        if self.pid.is_some_and(|pid| process::cpu(pid).is_none()) {
            return wrong(format!("--pid {}: there is no such process", self.pid.unwrap_or_default()));
        }
        Ok(())
    }

    /// Brings all sessions up; registrations per CPU second where there were any.
    fn set_up(&self, pairs: &mut [Pair]) -> Result<Option<f64>, BenchError> {
        let at = self.at.unwrap_or(self.janus);
        match self.toward {
            Toward::Half => {
                let checkers = half::negotiate(pairs, at, self.janus)?;
                ice::connect(pairs, &checkers, PATIENCE)?;
            }
            Toward::Transparent => {
                let before = self.usage();
                rest::register_idle(self.idle, at)?;
                let checkers = rest::register(pairs, at)?;
                let cpu = cpu_between(&before, &self.usage());
                ice::connect(pairs, &checkers, PATIENCE)?;
                return Ok(cpu.map(|cpu| (self.idle + pairs.len()) as f64 / cpu.as_secs_f64()));
            }
            Toward::Turn => {
                turn::allocate(pairs, at, &turn::User { name: &self.user, password: &self.password })?
            }
            Toward::Rtpengine => rtpengine::call(pairs, at)?,
            Toward::Bare => proof::introduce(pairs, at)?,
            Toward::None => {
                for pair in &*pairs {
                    pair.client.connect(pair.backend.addr.into())?;
                    pair.backend.connect(pair.client.addr.into())?;
                }
            }
        }
        Ok(None)
    }

    fn plan(&self) -> Plan {
        Plan {
            rate: self.rate,
            size: self.size,
            burst: self.burst,
            up: self.direction != Direction::Down,
            down: self.direction != Direction::Up,
            tick: Duration::from_micros(self.tick),
            nap: if process::must_share_core(self.pid) { NAP } else { Duration::ZERO },
        }
    }
}

/// What a process used up to a moment.
struct Usage {
    at: Instant,
    cpu: Option<Duration>,
    memory: Option<u64>,
}

fn cpu_between(start: &Usage, end: &Usage) -> Option<Duration> {
    Some(end.cpu?.saturating_sub(start.cpu?))
}
