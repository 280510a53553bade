//! What the service manager is told, and that a process manager can rely on it: `Type=notify-reload` of systemd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xrtc::config::Media;
use xrtc::listener::PacketSide;

/// xrtc under a service manager that is a socket.
struct Managed {
    child: Child,
    told: UnixDatagram,
    dir: PathBuf,
}

impl Managed {
    fn start(name: &str, env: &[(&str, &str)]) -> Managed {
        let dir = std::env::temp_dir().join(format!("xrtc-notify-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let told = UnixDatagram::bind(dir.join("notify")).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "services:\n  u: {{proto: udp, net: {{addr: \"{udp}\", enable_ice: true}}}}\n  \
             h: {{proto: http, net: {{addr: \"{http}\"}}}}\nmedia: {{workers: 2}}\n"
        );
        fs::write(dir.join("routes.yml"), text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_xrtc"))
            .args(["run", "-c"])
            .arg(dir.join("routes.yml"))
            .env("NOTIFY_SOCKET", dir.join("notify"))
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Managed { child, told, dir }
    }

    /// The next message; those of the watchdog are left out.
    fn next(&self) -> String {
        let messages = std::iter::repeat_with(|| self.next_of_all());
        messages.into_iter().find(|message| message != "WATCHDOG=1").unwrap()
    }

    fn next_of_all(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.told.recv(&mut buffer).expect("a message within 10 s");
        String::from_utf8_lossy(&buffer[..len]).trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn ready_comes_first_each_reload_begins_and_ends_and_stopping_has_the_time_it_needs() {
    let mut managed = Managed::start("life", &[]);
    assert_eq!(managed.next(), "READY=1\nSTATUS=2 services, 0 routes");
    for text in [None, Some("services: {broken")] {
        if let Some(text) = text {
            fs::write(managed.dir.join("routes.yml"), text).unwrap();
        }
        managed.signal("HUP");
        let reloading = managed.next();
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
        assert!(since.parse::<u64>().is_ok(), "{since}");
        assert!(managed.next().starts_with("READY=1\n"), "refused or not, the reload is over");
    }
    managed.signal("TERM");
    assert_eq!(managed.next(), "STOPPING=1\nSTATUS=draining, 0 sessions left\nEXTEND_TIMEOUT_USEC=50000000");
    assert_eq!(managed.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_three_times_as_often_as_it_wants() {
    let managed = Managed::start("watchdog", &[("WATCHDOG_USEC", "600000")]);
    let started = Instant::now();
    let messages: Vec<String> = (0..4).map(|_| managed.next_of_all()).collect();
    assert_eq!(messages.iter().filter(|message| *message == "WATCHDOG=1").count(), 3, "{messages:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn workers_that_do_not_answer_are_noticed() {
    let media = Media { socket_buffer: 65_536, ..Media::new(2) };
    let (events, _events) = tokio::sync::mpsc::unbounded_channel();
    let packets = PacketSide::start(&[], &[], &media, 10, events).unwrap();
    assert!(packets.is_alive(Duration::from_secs(5)));
    packets.stop();
    assert!(!packets.is_alive(Duration::from_millis(200)));
}

#[test]
fn a_listener_that_nobody_uses_is_closed_and_its_address_is_free_again() {
    let media = Media { socket_buffer: 65_536, ..Media::new(2) };
    let (events, _events) = tokio::sync::mpsc::unbounded_channel();
    let packets = PacketSide::start(&[], &[], &media, 10, events).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let (one, two) = (packets.bind(any, &media).unwrap(), packets.bind(any, &media).unwrap());
    let (one, _two) = (packets.listen(one), packets.listen(two));
    let addresses = packets.addresses();
    assert!(UdpSocket::bind(addresses[0]).is_err());
    assert!(packets.close_unused(one));
    assert!(packets.is_alive(Duration::from_secs(5)));
    assert!(is_free_soon(addresses[0]));
    assert!(UdpSocket::bind(addresses[1]).is_err(), "the other one stays");
    packets.stop();
}

/// The worker has closed its socket; a process that another test starts at this moment may hold a copy until its program is loaded.
fn is_free_soon(address: SocketAddr) -> bool {
    (0..100).any(|_| {
        UdpSocket::bind(address).is_ok() || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }
    })
}
