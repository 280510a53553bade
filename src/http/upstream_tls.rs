//! TLS towards upstream servers: whom the edge believes, and why it does not believe somebody.
//!
//! A certificate is verified against the host of the upstream's URL, which is also the name in the ClientHello; the client's
//! `Host` has no part in it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use crate::config::UpstreamTuning;
use crate::tls_client::{self, Anybody};

/// Why upstream TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// The file is not there or holds something else.
    #[error("upstream_ca_file: expected certificates in PEM in {}: {reason}", .file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The crypto provider refuses its own defaults.
    #[error("TLS to upstreams: {0}")]
    Provider(#[from] rustls::Error),
}

/// Speaks TLS as a client.
#[derive(Clone)]
pub(super) struct UpstreamTls(TlsConnector);

impl UpstreamTls {
    /// Believes the system's authorities and those of `upstream_ca_file`, or everybody with `upstream_tls_verify: false`.
    pub(super) fn new(tuning: &UpstreamTuning) -> Result<Self, UpstreamTlsError> {
        let mut config = if tuning.tls_verify {
            tls_client::trusting(authorities(tuning)?)?
        } else {
            warn!(
                "upstream_tls_verify is false: whoever sits between edge and upstream can read and change everything"
            );
            tls_client::judged_by(Anybody)?
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(UpstreamTls(TlsConnector::from(Arc::new(config))))
    }

    /// Ends the handshake with `host` over `tcp`; the error says what is wrong with its certificate.
    pub(super) async fn connect(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| io::Error::other(format!("TLS: {bare} is no name a certificate can have")))?;
        self.0.connect(name, tcp).await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::other("TLS: closed the connection during the handshake")
            }
            _ => io::Error::other(format!("TLS: {error}")),
        })
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamTls")
    }
}

fn authorities(tuning: &UpstreamTuning) -> Result<RootCertStore, UpstreamTlsError> {
    let (mut roots, missing) = tls_client::system_authorities();
    match (missing, &tuning.ca_file) {
        (None, _) => {}
        (Some(reason), Some(_)) => {
            warn!(reason, "no system certificate authorities; only those of upstream_ca_file count");
        }
        (Some(reason), None) => warn!(
            reason,
            "no system certificate authorities: every https:// and wss:// upstream gets 502; install \
             ca-certificates or set upstream_ca_file"
        ),
    }
    if let Some(file) = &tuning.ca_file {
        tls_client::add_file(&mut roots, file)
            .map_err(|reason| UpstreamTlsError::CaFile { file: file.clone(), reason })?;
    }
    Ok(roots)
}
