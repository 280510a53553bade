//! Opens one connection to an upstream server, TLS included, in time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::http::Extensions;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::upstream_tls::UpstreamTls;
use crate::config::UpstreamTuning;

/// Dials upstream servers for the pool.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    tcp: HttpConnector,
    /// Where there is none, no upstream speaks TLS.
    tls: Option<UpstreamTls>,
    timeout: Duration,
}

impl Dial {
    pub(super) fn new(tuning: &UpstreamTuning, tls: Option<UpstreamTls>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(tuning.keepalive));
        // Split among the addresses of a name, so that one dead address does not eat the time of the next.
        tcp.set_connect_timeout(Some(tuning.dial_timeout));
        Dial { tcp, tls, timeout: tuning.dial_timeout }
    }
}

impl Service<Uri> for Dial {
    type Response = Link;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Link, io::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.tcp.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone().filter(|_| uri.scheme_str() == Some("https"));
        let host = uri.host().unwrap_or_default().to_owned();
        let (limit, dialled) = (self.timeout, self.tcp.call(uri));
        Box::pin(async move {
            let opened = async {
                let tcp = dialled.await.map_err(|error| match is_elapsed(&error) {
                    true => too_slow(limit),
                    false => io::Error::other(error),
                })?;
                Ok(match tls {
                    Some(tls) => {
                        let secured = tls.connect(&host, tcp.into_inner()).await?;
                        Wire::Tls(Box::new(TokioIo::new(secured)))
                    }
                    None => Wire::Plain(tcp),
                })
            };
            let wire = timeout(limit, opened).await.unwrap_or_else(|_| Err(too_slow(limit)))?;
            Ok(Link { wire, served: Served::default() })
        })
    }
}

fn too_slow(limit: Duration) -> io::Error {
    io::Error::other(format!("no connection within {limit:?}"))
}

/// Whether the time ran out, the whole of it or that of the last address.
fn is_elapsed(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    let timed_out = |io: &io::Error| io.kind() == io::ErrorKind::TimedOut;
    causes.any(|cause| cause.downcast_ref().is_some_and(timed_out))
}

/// How many requests a connection has been given to.
#[derive(Clone, Debug, Default)]
pub(super) struct Served(Arc<AtomicU32>);

impl Served {
    /// Counts one more request on `connection`; whether it is not the first.
    pub(super) fn is_repeated(connection: &Connected) -> bool {
        let mut extras = Extensions::new();
        connection.get_extras(&mut extras);
        extras.get::<Served>().is_some_and(|served| served.0.fetch_add(1, Ordering::Relaxed) > 0)
    }
}

/// One connection to an upstream server.
#[derive(Debug)]
pub(super) struct Link {
    wire: Wire,
    served: Served,
}

#[derive(Debug)]
enum Wire {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.served.clone())
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Wire::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Wire::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(tcp) => tcp.is_write_vectored(),
            Wire::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Wire::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }
}
