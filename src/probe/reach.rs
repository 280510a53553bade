//! From a name to a connection: resolves, dials, opens TLS, and says which of the three fails and how.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::cause::{Cause, Fault};
use super::facts::Outcome;
use super::journal::{Journal, clean, millis, shown};
use super::options::{Options, Target};
use super::trust::{self, Trust};

/// For one address to answer a connection: three SYNs of Linux (0, 1 and 3 s) and a moment.
const DIAL: Duration = Duration::from_secs(4);
/// For a name server.
const RESOLVE: Duration = Duration::from_secs(5);
/// For a TLS handshake.
const TLS: Duration = Duration::from_secs(5);
/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

/// A connection of whichever kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that HTTP or WebSocket goes over.
pub(super) type Stream = Box<dyn Io>;

/// A server that a connection was opened to; opens further ones.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    /// This machine's address towards it.
    pub(super) local: IpAddr,
    pub(super) target: Target,
    trust: Option<Trust>,
}

impl Server {
    /// One more connection.
    pub(super) async fn open(&self) -> Result<Stream, Fault> {
        let tcp = dial(self.addr).await.map_err(|error| not_connected(&[(self.addr, error)]))?;
        match &self.trust {
            Some(trust) => secure(trust, &self.target.host, tcp).await,
            None => Ok(Box::new(tcp)),
        }
    }
}

/// Opens the first connection, and notes each step.
pub(super) async fn reach(options: &Options, journal: &mut Journal) -> Result<(Server, Stream), Fault> {
    let target = options.url.clone();
    let trust = match target.tls {
        true => Some(Trust::new(options.ca_file.as_deref(), options.insecure)?),
        false => None,
    };
    let addresses = resolve(&target, journal).await?;
    let (addr, tcp) = connect(&addresses, journal).await?;
    let local = tcp.local_addr().map_or(IpAddr::from([0, 0, 0, 0]), |local| local.ip().to_canonical());
    let stream = match &trust {
        Some(trust) => begin_tls(trust, &target, tcp, journal).await?,
        None => Box::new(tcp),
    };
    Ok((Server { addr, local, target, trust }, stream))
}

async fn resolve(target: &Target, journal: &mut Journal) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let host = &target.host;
    journal.waits_for(format!("the name server, which was asked for {host}"));
    let unknown = |reason: &str| {
        Fault::new(
            Cause::NameNotFound,
            format!("{host} has no address: {reason}"),
            "is the name written right, and does this machine's name server know it?",
        )
    };
    let found = timeout(RESOLVE, lookup_host((host.as_str(), target.port))).await;
    let found = found.map_err(|_| unknown("the name server does not answer"))?;
    let mut addresses: Vec<SocketAddr> =
        found.map_err(|error| unknown(&clean(&error.to_string())))?.collect();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
    if addresses.is_empty() {
        return Err(unknown("the name server knows none"));
    }
    let listed: Vec<_> = addresses.iter().map(|addr| addr.ip().to_string()).collect();
    journal.note("name", Outcome::Ok, format!("{host} is {}", listed.join(", ")));
    Ok(addresses)
}

async fn connect(addresses: &[SocketAddr], journal: &mut Journal) -> Result<(SocketAddr, TcpStream), Fault> {
    let mut failed = Vec::new();
    for addr in addresses {
        journal.waits_for(format!("TCP {addr} to accept the connection"));
        let start = Instant::now();
        match dial(*addr).await {
            Ok(tcp) => {
                for (addr, error) in &failed {
                    journal.warn(
                        "connect",
                        format!("TCP {addr}: {}; another address of the name works", said(error)),
                    );
                }
                journal.note(
                    "connect",
                    Outcome::Ok,
                    format!("TCP {addr} in {}", shown(millis(start.elapsed()))),
                );
                return Ok((*addr, tcp));
            }
            Err(error) => failed.push((*addr, error)),
        }
    }
    Err(not_connected(&failed))
}

/// TCP, without a delay for small packets.
pub(super) async fn dial(addr: SocketAddr) -> io::Result<TcpStream> {
    let tcp = timeout(DIAL, TcpStream::connect(addr))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// What a failed dial means, in words.
pub(super) fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused, nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => format!("no answer within {} s", DIAL.as_secs()),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "no route there".to_owned(),
        _ => clean(&error.to_string()),
    }
}

fn not_connected(failed: &[(SocketAddr, io::Error)]) -> Fault {
    let told: Vec<_> = failed.iter().map(|(addr, error)| format!("TCP {addr}: {}", said(error))).collect();
    let is = |kind| failed.iter().any(|(_, error): &(_, io::Error)| error.kind() == kind);
    let (cause, fix) = if is(io::ErrorKind::ConnectionRefused) {
        (Cause::ConnectRefused, "is the server running, and is this its port?")
    } else if is(io::ErrorKind::TimedOut) {
        (Cause::ConnectTimeout, "open this TCP port in the firewall, or correct the address")
    } else {
        (Cause::ConnectFailed, "can this machine reach that network at all?")
    };
    Fault::new(cause, told.join("; "), fix)
}

async fn begin_tls(
    trust: &Trust,
    target: &Target,
    tcp: TcpStream,
    journal: &mut Journal,
) -> Result<Stream, Fault> {
    journal.waits_for("the TLS handshake");
    let start = Instant::now();
    let stream = secure(trust, &target.host, tcp).await?;
    let took = shown(millis(start.elapsed()));
    match trust.objection() {
        Some(objection) => {
            let what = trust::explain(&objection, &target.host).message;
            journal.warn("tls", format!("{what}; going on because of --insecure, browsers will not"));
        }
        None => journal.note(
            "tls",
            Outcome::Ok,
            format!("the certificate is good for {}, in {took}", target.host),
        ),
    }
    Ok(stream)
}

async fn secure(trust: &Trust, host: &str, tcp: TcpStream) -> Result<Stream, Fault> {
    let broken = |what: &str| {
        Fault::new(
            Cause::TlsFailed,
            format!("TLS with {host}: {what}"),
            "is it HTTPS that listens on this port?",
        )
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| broken("that is no name a certificate can have"))?;
    let handshake = timeout(TLS, trust.connector.connect(name, tcp)).await;
    match handshake.map_err(|_| broken("the handshake does not end"))? {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(reason) => trust::explain(reason, host),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                broken("the server closes the connection")
            }
            None => broken(&clean(&error.to_string())),
        }),
    }
}
