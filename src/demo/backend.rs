//! The echo backend as a whole: an HTTP port and a UDP port on loopback, a thread of its own for both.
//!
//! Only the edge in front of it is reached from outside.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use super::{echo, janus, page};

/// Commands that may wait for the media loop; it takes them within milliseconds.
const COMMANDS: usize = 256;

/// A running backend. It ends when this is dropped.
#[derive(Debug)]
pub struct Backend {
    /// Where the Janus API and the page are served.
    pub api: SocketAddr,
    /// Where its media arrives.
    pub media: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Starts it on ports that the system chooses.
    pub fn start() -> io::Result<Backend> {
        let http = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        http.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        let (api, media) = (http.local_addr()?, udp.local_addr()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("demo backend".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    served = serve(http, udp) => if let Err(error) = served {
                        tracing::error!(%error, "the echo backend has ended");
                    },
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Backend { api, media, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic in there has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(http: std::net::TcpListener, udp: std::net::UdpSocket) -> io::Result<()> {
    let (http, udp) = (TcpListener::from_std(http)?, UdpSocket::from_std(udp)?);
    let (command, commands) = mpsc::channel(COMMANDS);
    let (happening, happenings) = mpsc::unbounded_channel();
    let routes = janus::router(command, happenings, page::document).merge(page::router());
    tokio::select! {
        served = axum::serve(http, routes) => served,
        echoed = echo::run(udp, commands, happening) => echoed,
    }
}
