//! `xrtc bench` against the programs that it measures, for a moment each: that it still sets sessions up, counts what arrives, and
//! leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use support::edge::{Edge, Ground};

#[test]
fn packets_pass_the_bare_forwarder_in_every_mode() {
    for mode in ["naive", "mmsg", "gso"] {
        let bare = Bare::start(mode);
        let at = bare.addr.to_string();
        let reading =
            load(&["--toward", "bare", "--at", &at, "--pid", &bare.child.id().to_string(), "--burst", "4"]);
        carries_packets(&reading);
        assert!(reading["cpu_per_packet"].as_f64().unwrap() > 0.0, "{reading}");
    }
}

#[test]
fn a_direction_is_only_that_direction() {
    let bare = Bare::start("mmsg");
    let at = bare.addr.to_string();
    for direction in ["up", "down"] {
        carries_packets(&load(&["--toward", "bare", "--at", &at, "--direction", direction]));
    }
}

#[test]
fn sessions_come_up_through_an_edge_in_both_modes() {
    let janus = free_tcp();
    let edge = Edge::start_with(|ground| routes(ground, janus));
    let (at, janus) = (edge.http.to_string(), janus.to_string());
    let transparent = load(&["--toward", "transparent", "--at", &at, "--idle", "50"]);
    carries_packets(&transparent);
    let half = load(&["--toward", "half", "--at", &at, "--janus", &janus, "--size", "172"]);
    carries_packets(&half);
    let log = edge.end();
    assert!(log.contains("origin=janus session") && log.contains("route=rest"), "{log}");
}

#[test]
fn a_generator_that_nothing_answers_says_so() {
    let nobody = free_tcp().to_string();
    for toward in ["half", "transparent"] {
        let out = bench().args(["load", "--toward", toward, "--at", &nobody]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(&nobody), "{said}");
    }
    let out = bench().args(["load", "--toward", "none", "--size", "7"]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("--size 7: expected 20 to 1400"), "{out:?}");
}

#[test]
fn a_comparison_writes_plot_and_document() {
    let _alone = alone();
    let dir = std::env::temp_dir().join(format!("xrtc-test-compare-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (document, svg, results) = (dir.join("a.md"), dir.join("a.svg"), dir.join("r.jsonl"));
    let begin = "<!-- bench: from here on written by scripts/bench -->";
    let end = "<!-- bench: until here -->";
    std::fs::write(&document, format!("before\n{begin}\n{end}\nafter\n")).unwrap();
    let out = bench()
        .args(["compare", "--case", "172x1,n=4,rate=2000", "--rounds", "1", "--seconds", "0.2"])
        .args(["--case", "172x4,n=4"])
        .args(["--program", "bare", "--program", "xrtc-half", "--program", "xrtc-turn"])
        .args(["--program-core", "0", "--load-core", "0"])
        .arg("--document")
        .arg(&document)
        .arg("--svg")
        .arg(&svg)
        .arg("--results")
        .arg(&results)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = std::fs::read_to_string(&document).unwrap();
    assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"), "{text}");
    assert!(text.contains("| xrtc, half proxy | xrtc, TURN |") && text.contains("](a.svg)"), "{text}");
    assert!(std::fs::read_to_string(&svg).unwrap().contains("xrtc, half proxy"));
    assert_eq!(std::fs::read_to_string(&results).unwrap().lines().count(), 6);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What 10 sessions and 2000 packets per second come to.
fn load(args: &[&str]) -> Value {
    let _alone = alone();
    let usual = ["load", "--json", "-n", "10", "--rate", "2000", "--seconds", "0.5", "--warm", "0.1"];
    let out = bench().args(usual).args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[track_caller]
fn carries_packets(reading: &Value) {
    let figure = |name: &str| reading[name].as_f64().unwrap();
    // How many in half a second depends on what else runs here; that they arrive does not.
    assert!(figure("arrived") > 50.0 && figure("loss_percent") < 5.0, "{reading}");
    assert!(figure("latency_p50") > 0.0 && figure("latency_p99") >= figure("latency_p50"), "{reading}");
}

/// A generator takes a core and a range of ports for itself: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xrtc"));
    command.arg("bench").stdin(Stdio::null());
    command
}

struct Bare {
    child: Child,
    addr: SocketAddr,
}

impl Bare {
    fn start(mode: &str) -> Bare {
        let mut child = bench().args(["bare", "--mode", mode]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Bare { child, addr: line.trim().parse().unwrap() }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_tcp() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn routes(ground: &Ground<'_>, janus: SocketAddr) -> String {
    format!(
        r#"services:
  udp0: {{proto: udp, net: {{addr: "{}", enable_ice: true, candidate_ips: ["127.0.0.1"]}}}}
  http0:
    proto: http
    net: {{addr: "{}"}}
    http: {{routes: {{janus: {{upstream: "http://{janus}", paths: [/janus]}}}}}}
"#,
        ground.udp, ground.tcp
    )
}
