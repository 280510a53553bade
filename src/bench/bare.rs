//! The floor: a forwarder that knows no session and checks nothing. What a client at 127.0.0.1:P sends to the front goes to
//! 127.0.0.2:P, and what that one sends to the back goes to 127.0.0.1:P. One thread.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use clap::{Args, ValueEnum};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::datagrams::{self, BATCH, Inbox, Outbox};
use super::{BenchError, Doing};

/// Where clients are.
pub(super) const CLIENTS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// Where backends are.
pub(super) const BACKENDS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bare {
    /// UDP port at 127.0.0.1, toward the clients; 0: any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How packets are received and sent
    #[arg(long, value_enum, default_value_t = Mode::Mmsg)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// One packet per system call
    Naive,
    /// Many packets per system call
    Mmsg,
    /// The same, and runs to one destination leave as one GSO send
    Gso,
}

const EXAMPLES: &str = "\
It prints the address that it listens on, and runs until it is ended.

Examples:
  xrtc bench bare --port 7000
  xrtc bench bare --port 7000 --mode gso";

impl Bare {
    /// Forwards until the process is ended.
    pub(super) fn run(&self) -> Result<(), BenchError> {
        let open = |ip, port| {
            let addr = SocketAddrV4::new(ip, port);
            datagrams::bind(addr).doing(|| format!("cannot listen on {addr}"))
        };
        let front = open(CLIENTS, self.port)?;
        let back = open(BACKENDS, 0)?;
        let addr = front.local_addr().doing(|| "listening".to_owned())?;
        println!("{addr}");
        let _ = io::stdout().flush();
        Forwarder::new(&front, &back, self.mode).run().doing(|| "forwarding".to_owned())
    }
}

/// From one socket out of the other one, to this address.
#[derive(Clone, Copy)]
struct Way<'a> {
    from: &'a UdpSocket,
    out: &'a UdpSocket,
    to: Ipv4Addr,
}

struct Forwarder<'a> {
    ways: [Way<'a>; 2],
    mode: Mode,
    inbox: Inbox,
    outbox: Outbox,
}

impl<'a> Forwarder<'a> {
    fn new(front: &'a UdpSocket, back: &'a UdpSocket, mode: Mode) -> Self {
        let up = Way { from: front, out: back, to: BACKENDS };
        let down = Way { from: back, out: front, to: CLIENTS };
        Forwarder { ways: [up, down], mode, inbox: Inbox::new(), outbox: Outbox::new() }
    }

    fn run(&mut self) -> io::Result<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(4);
        for (i, way) in self.ways.iter().enumerate() {
            poll.registry().register(&mut SourceFd(&way.from.as_raw_fd()), Token(i), Interest::READABLE)?;
        }
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let way = self.ways[event.token().0];
                while self.forward(way)? {}
            }
        }
    }

    /// Forwards what one receive brings; whether there may be more.
    fn forward(&mut self, way: Way<'_>) -> io::Result<bool> {
        let count = match self.mode {
            Mode::Naive => self.inbox.receive_one(way.from)?,
            Mode::Mmsg | Mode::Gso => self.inbox.receive(way.from)?,
        };
        self.inbox.readdress(|from| SocketAddrV4::new(way.to, from.port()));
        match self.mode {
            _ if count == 0 => return Ok(false),
            Mode::Naive => self.inbox.send_one_on(way.out),
            Mode::Mmsg => self.outbox.send_on(way.out, &self.inbox),
            Mode::Gso => datagrams::send_on_in_runs(way.out, &self.inbox),
        }
        Ok(count == BATCH || matches!(self.mode, Mode::Naive))
    }
}
