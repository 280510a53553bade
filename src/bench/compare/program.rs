//! The programs that are compared: how each is started, when it is ready, and how the load generator reaches it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::child::{Child, Interrupt};
use crate::bench::{BenchError, Doing};

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Program {
    /// The bare forwarder, one packet per system call
    BareNaive,
    /// The bare forwarder, many packets per system call: the floor
    Bare,
    /// The bare forwarder, with GSO
    BareGso,
    /// xrtc in half proxy, the default
    XrtcHalf,
    /// xrtc in transparent mode, registered over REST
    XrtcTransparent,
    /// xrtc as a TURN server, ChannelData
    XrtcTurn,
    /// coturn, ChannelData
    Coturn,
    /// rtpengine in userspace
    Rtpengine,
}

/// What everything else is divided by.
pub(super) const FLOOR: Program = Program::Bare;

impl Program {
    /// Those that are compared where nobody says which.
    pub(super) const USUAL: [Program; 6] = [
        Program::Bare,
        Program::XrtcHalf,
        Program::XrtcTransparent,
        Program::XrtcTurn,
        Program::Coturn,
        Program::Rtpengine,
    ];

    /// How its row is headed.
    pub(super) fn title(self) -> &'static str {
        match self {
            Program::BareNaive => "bare forwarder, a call per packet",
            Program::Bare => "bare forwarder",
            Program::BareGso => "bare forwarder, GSO",
            Program::XrtcHalf => "xrtc, half proxy",
            Program::XrtcTransparent => "xrtc, transparent",
            Program::XrtcTurn => "xrtc, TURN",
            Program::Coturn => "coturn (ChannelData)",
            Program::Rtpengine => "rtpengine (userspace)",
        }
    }

    pub(super) fn is_xrtc(self) -> bool {
        matches!(self, Program::XrtcHalf | Program::XrtcTransparent | Program::XrtcTurn)
    }

    /// Whether it can have sessions that are registered and never used.
    pub(super) fn has_registrations(self) -> bool {
        self == Program::XrtcTransparent
    }

    /// What the generator calls it.
    fn toward(self) -> &'static str {
        match self {
            Program::BareNaive | Program::Bare | Program::BareGso => "bare",
            Program::XrtcHalf => "half",
            Program::XrtcTransparent => "transparent",
            Program::XrtcTurn | Program::Coturn => "turn",
            Program::Rtpengine => "rtpengine",
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) xrtc: PathBuf,
    pub(super) coturn: PathBuf,
    pub(super) rtpengine: PathBuf,
}

impl Binaries {
    pub(super) fn of(&self, program: Program) -> &Path {
        match program {
            Program::Coturn => &self.coturn,
            Program::Rtpengine => &self.rtpengine,
            _ => &self.xrtc,
        }
    }
}

/// A program that is ready.
pub(super) struct Running {
    pub(super) child: Child,
    /// How `xrtc bench load` reaches it.
    pub(super) reach: Vec<String>,
    /// It can have sessions that are registered and never used.
    pub(super) takes_idle: bool,
}

/// How long a program may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(10);
const USER: &str = "user";
const PASSWORD: &str = "pass";

/// Starts a program on `core`, with its files in `dir`.
pub(super) fn start(
    program: Program,
    binaries: &Binaries,
    dir: &Path,
    core: usize,
    interrupt: &Interrupt,
) -> Result<Running, BenchError> {
    let starting = Starting { program, binary: binaries.of(program), dir, core, interrupt };
    match program {
        Program::BareNaive => starting.bare("naive"),
        Program::Bare => starting.bare("mmsg"),
        Program::BareGso => starting.bare("gso"),
        Program::XrtcHalf | Program::XrtcTransparent => starting.xrtc(),
        Program::XrtcTurn => starting.xrtc_turn(),
        Program::Coturn => starting.coturn(),
        Program::Rtpengine => starting.rtpengine(),
    }
}

struct Starting<'a> {
    program: Program,
    binary: &'a Path,
    dir: &'a Path,
    core: usize,
    interrupt: &'a Interrupt,
}

impl Starting<'_> {
    fn bare(&self, mode: &str) -> Result<Running, BenchError> {
        let mut command = self.command();
        command.args(["bench", "bare", "--mode", mode]).stdout(Stdio::piped());
        let mut child = Child::spawn(command, self.core)?;
        let mut line = String::new();
        if let Some(out) = child.stdout() {
            BufReader::new(out)
                .read_line(&mut line)
                .doing(|| "reading from the bare forwarder".to_owned())?;
        }
        let at = line.trim().parse().map_err(|_| self.failed("printed no address"))?;
        Ok(self.running(child, at))
    }

    fn xrtc(&self) -> Result<Running, BenchError> {
        let (http, janus) = (free_tcp()?, free_tcp()?);
        let mut running = self.run(&xrtc_routes(free_udp()?, http, janus), http)?;
        running.reach.extend(["--janus".to_owned(), janus.to_string()]);
        Ok(running)
    }

    fn xrtc_turn(&self) -> Result<Running, BenchError> {
        // Its TCP listener shares the number; a port that is free for TCP nearly always is for UDP, too.
        let at = free_tcp()?;
        let mut running = self.run(&xrtc_turn_routes(at), at)?;
        running.reach.extend(credentials());
        Ok(running)
    }

    /// Starts xrtc, which is ready once it takes connections at `at`.
    fn run(&self, routes: &str, at: SocketAddr) -> Result<Running, BenchError> {
        let routes = self.write("routes.yml", routes)?;
        let mut command = self.command();
        command.arg("run").arg("-c").arg(routes).env_remove("XRTC_LOG").env_remove("XRTC_CONFIG");
        let child = Child::spawn(command, self.core)?;
        self.when_ready(child, at, || TcpStream::connect(at).is_ok())
    }

    fn coturn(&self) -> Result<Running, BenchError> {
        let at = free_udp()?;
        let conf = self.write("turnserver.conf", &coturn_conf(at, self.dir))?;
        let mut command = self.command();
        command.arg("-c").arg(conf);
        let child = Child::spawn(command, self.core)?;
        let mut running = self.when_ready(child, at, || TcpStream::connect(at).is_ok())?;
        running.reach.extend(credentials());
        Ok(running)
    }

    fn rtpengine(&self) -> Result<Running, BenchError> {
        let at = free_udp()?;
        let mut command = self.command();
        command.args(["--foreground", "--log-stderr", "--log-level=1", "--num-threads=1"]);
        // -1: no kernel module, so that userspace forwards. Each session takes four ports and descriptors, beside those of the generator.
        command.args(["--table=-1", "--interface=127.0.0.1", "--port-min=10000", "--port-max=65000"]);
        command.arg(format!("--listen-ng={at}"));
        let child = Child::spawn(command, self.core)?;
        self.when_ready(child, at, || answers(at, b"ready d7:command4:pinge"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.binary);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, BenchError> {
        let path = self.dir.join(name);
        fs::write(&path, text).doing(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn when_ready(
        &self,
        mut child: Child,
        at: SocketAddr,
        ready: impl Fn() -> bool,
    ) -> Result<Running, BenchError> {
        let start = Instant::now();
        while !ready() {
            self.interrupt.check()?;
            if let Some(status) = child.ended() {
                return Err(self.failed(&format!("ended at once, {status}")));
            }
            if start.elapsed() > PATIENCE {
                return Err(self.failed(&format!("does not listen on {at} after {} s", PATIENCE.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(self.running(child, at))
    }

    fn running(&self, child: Child, at: SocketAddr) -> Running {
        let reach = ["--toward", self.program.toward(), "--at", &at.to_string()].map(str::to_owned);
        Running { child, reach: reach.into(), takes_idle: self.program.has_registrations() }
    }

    fn failed(&self, what: &str) -> BenchError {
        BenchError::Peer { who: self.program.title(), what: format!("{} {what}", self.binary.display()) }
    }
}

fn xrtc_routes(udp: SocketAddr, http: SocketAddr, janus: SocketAddr) -> String {
    format!(
        r#"services:
  udp0: {{proto: udp, net: {{addr: "{udp}", enable_ice: true, candidate_ips: ["{}"]}}}}
  http0:
    proto: http
    net: {{addr: "{http}"}}
    http: {{routes: {{janus: {{upstream: "http://{janus}", paths: [/janus]}}}}}}
limits: {{registrations_per_client: 100000}}
"#,
        udp.ip()
    )
}

fn xrtc_turn_routes(at: SocketAddr) -> String {
    format!(
        r#"services:
  turn0:
    proto: turn
    net: {{addr: "{at}"}}
    turn:
      realm: bench
      auth: {{users: {{{USER}: {PASSWORD}}}}}
      relay_ports: 40000-65000
      allow_peers: [127.0.0.0/8]
      allocations: 20000
      allocations_per_user: 20000
      allocations_per_client: 20000
      stranger_answers: 1000000
"#
    )
}

fn credentials() -> [String; 4] {
    ["--user", USER, "--password", PASSWORD].map(str::to_owned)
}

fn coturn_conf(at: SocketAddr, dir: &Path) -> String {
    let (ip, port, dir) = (at.ip(), at.port(), dir.display());
    format!(
        "listening-ip={ip}\nlistening-port={port}\nrelay-ip={ip}\nmin-port=40000\nmax-port=65000\nrelay-threads=1\n\
         allow-loopback-peers\nlt-cred-mech\nuser={USER}:{PASSWORD}\nrealm=bench\nno-tls\nno-dtls\nno-cli\n\
         log-file={dir}/turn.log\nsimple-log\npidfile={dir}/turn.pid\nuserdb={dir}/turn.db\n"
    )
}

/// Whether a datagram is answered.
fn answers(at: SocketAddr, question: &[u8]) -> bool {
    let asked = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.send_to(question, at)?;
        socket.recv(&mut [0; 1024])
    });
    asked.is_ok()
}

fn free_udp() -> Result<SocketAddr, BenchError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.doing(|| "looking for a free port".to_owned())
}

fn free_tcp() -> Result<SocketAddr, BenchError> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.doing(|| "looking for a free port".to_owned())
}
