//! The built `xrtc`, as a process, on free loopback ports.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What it says once every one of its ports is open; they are opened one after the other.
pub const ALL_LISTENS: &str = "xrtc starts";

/// A running edge; stopped when dropped.
pub struct Edge {
    child: Child,
    dir: PathBuf,
    /// Its one UDP port.
    pub udp: SocketAddr,
    /// Its HTTP port.
    pub http: SocketAddr,
}

/// What a configuration is made of.
pub struct Ground<'a> {
    /// A free UDP port.
    pub udp: SocketAddr,
    /// A free TCP port.
    pub tcp: SocketAddr,
    /// A directory for files.
    pub dir: &'a Path,
}

impl Edge {
    /// An edge with one route to a Janus at `backend`. A port that was free may be taken before the edge has it, so it
    /// tries again.
    pub fn start(backend: SocketAddr) -> Edge {
        Edge::start_with(|ground| routes(ground.udp, ground.tcp, backend))
    }

    /// An edge with the configuration that `routes` makes.
    pub fn start_with(routes: impl Fn(&Ground<'_>) -> String) -> Edge {
        let mut said = String::new();
        for _ in 0..5 {
            let mut edge = Edge::spawn(&routes);
            if edge.listens() {
                return edge;
            }
            said = edge.log();
        }
        panic!("xrtc does not listen:\n{said}");
    }

    fn spawn(routes: &impl Fn(&Ground<'_>) -> String) -> Edge {
        let (udp, http) = (free_udp(), free_tcp());
        let dir = fresh_dir();
        let config = dir.join("routes.yml");
        fs::write(&config, routes(&Ground { udp, tcp: http, dir: &dir })).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_xrtc"))
            .arg("run")
            .arg("-c")
            .arg(&config)
            .env("XRTC_LOG", "info,xrtc=debug")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Edge { child, dir, udp, http }
    }

    /// All that it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
    }

    /// Waits until it has said `text` so many times, and returns all that it said.
    pub async fn says(&self, text: &str, times: usize) -> String {
        let start = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(start.elapsed() < Duration::from_secs(10), "xrtc does not say {text:?} {times} times");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.log()
    }

    /// Puts another configuration in the place of its file, as an editor does.
    pub fn write_routes(&self, text: &str) {
        let new = self.dir.join("routes.yml.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.join("routes.yml")).unwrap();
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Memory in use, bytes.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// Tells it to end, and does not wait.
    pub fn terminate(&self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
    }

    /// Tells it to end, waits until it has, and returns all that it said.
    pub fn end(self) -> String {
        self.end_with_status().1
    }

    /// The same, and how it ended; `None` if it did not.
    pub fn end_with_status(self) -> (Option<ExitStatus>, String) {
        self.signal("TERM");
        self.ended(Duration::from_secs(20))
    }

    /// Waits until it has ended; how, and all that it said.
    pub fn ended(mut self, patience: Duration) -> (Option<ExitStatus>, String) {
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        (self.child.try_wait().unwrap(), self.log())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn listens(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None)) {
            if self.log().contains(ALL_LISTENS) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of xrtc ---\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn routes(udp: SocketAddr, http: SocketAddr, backend: SocketAddr) -> String {
    format!(
        r#"services:
  udp0:
    proto: udp
    net: {{addr: "{udp}", enable_ice: true, candidate_ips: ["{}"]}}
  http0:
    proto: http
    net: {{addr: "{http}"}}
    http:
      routes:
        janus: {{upstream: "http://{backend}", paths: [/janus]}}
media: {{workers: 2}}
"#,
        udp.ip()
    )
}

/// A port that is free for TCP, too: some services listen on both. It is the rarer one, as a port that a connection had is
/// taken for a minute.
pub fn free_udp() -> SocketAddr {
    let both = || {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = tcp.local_addr().unwrap();
        UdpSocket::bind(addr).ok().map(|_| addr)
    };
    std::iter::repeat_with(both).take(100).flatten().next().unwrap()
}

pub fn free_tcp() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("xrtc-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}
