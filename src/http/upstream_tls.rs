//! TLS towards upstream servers: whom the edge believes, and why it does not believe somebody.
//!
//! A certificate is verified against the host of the upstream's URL, which is also the name in the ClientHello; the client's
//! `Host` has no part in it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use crate::config::UpstreamTuning;

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
        // Named, because a process may have linked more than one.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let mut config = if tuning.tls_verify {
            builder.with_root_certificates(authorities(tuning)?).with_no_client_auth()
        } else {
            warn!(
                "upstream_tls_verify is false: whoever sits between edge and upstream can read and change everything"
            );
            let believer = Arc::new(AnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(believer).with_no_client_auth()
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
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // A store with old or odd entries is common; the rest of it counts.
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        let reason = system.errors.first().map_or("none found".to_owned(), ToString::to_string);
        match &tuning.ca_file {
            Some(_) => {
                warn!(reason, "no system certificate authorities; only those of upstream_ca_file count")
            }
            None => warn!(
                reason,
                "no system certificate authorities: every https:// and wss:// upstream gets 502; install \
                 ca-certificates or set upstream_ca_file"
            ),
        }
    }
    if let Some(file) = &tuning.ca_file {
        let failed = |reason: String| UpstreamTlsError::CaFile { file: file.clone(), reason };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
        let mut found = false;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            found = true;
        }
        if !found {
            return Err(failed("there is none in it".to_owned()));
        }
    }
    Ok(roots)
}

/// Takes any certificate, as long as its owner has the key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
