//! TLS towards the server that is probed: whom to believe, and what is wrong with a certificate.
//!
//! It keeps what the verification found, so that `--insecure` goes on and still says it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::cause::{Cause, Fault};
use super::journal::clean;

/// Speaks TLS, and remembers what was wrong with the last certificate.
#[derive(Clone)]
pub(super) struct Trust {
    pub(super) connector: TlsConnector,
    verdict: Arc<Mutex<Option<rustls::Error>>>,
}

impl Trust {
    /// Believes the authorities of this machine and of `ca_file`; everybody, where `insecure`.
    pub(super) fn new(ca_file: Option<&Path>, insecure: bool) -> Result<Trust, Fault> {
        let (roots, own) = authorities(ca_file)?;
        if roots.is_empty() && !insecure {
            return Err(local(
                "this machine has no certificate authorities",
                "install ca-certificates, or name a file with --ca-file",
            ));
        }
        Trust::with(roots, own, insecure)
            .map_err(|error| local(&error, "report this, it is a defect of xrtc"))
    }

    /// For TLS around ICE, where the certificate proves nothing: DTLS inside has the fingerprint.
    pub(super) fn anybody() -> Result<Trust, Fault> {
        Trust::with(RootCertStore::empty(), Vec::new(), true)
            .map_err(|error| local(&error, "report this, it is a defect of xrtc"))
    }

    fn with(
        roots: RootCertStore,
        own: Vec<CertificateDer<'static>>,
        insecure: bool,
    ) -> Result<Trust, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| error.to_string())?,
            ),
        };
        let verdict = Arc::new(Mutex::new(None));
        let verifier =
            Verifier { inner, own, provider: provider.clone(), insecure, verdict: verdict.clone() };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Trust { connector: TlsConnector::from(Arc::new(config)), verdict })
    }

    /// What the verification of the last certificate found wrong.
    pub(super) fn objection(&self) -> Option<rustls::Error> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn local(message: &str, fix: &str) -> Fault {
    Fault::new(Cause::Local, message, fix)
}

/// Those of this machine and of `ca_file`, and the latter once more.
fn authorities(ca_file: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(file) = ca_file else { return Ok((roots, Vec::new())) };
    let bad = |reason: String| {
        local(&format!("--ca-file {}: {reason}", file.display()), "name a file with certificates in PEM")
    };
    let mut own = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate.clone()).map_err(|error| bad(error.to_string()))?;
        own.push(certificate);
    }
    if own.is_empty() { Err(bad("there is no certificate in it".to_owned())) } else { Ok((roots, own)) }
}

/// What is wrong with the certificate of `host`, and what to do.
pub(super) fn explain(error: &rustls::Error, host: &str) -> Fault {
    use CertificateError as Bad;
    let fault = |cause, message: String, fix: &str| Fault::new(cause, message, fix);
    let renew = "renew it on the server; --insecure goes on without";
    match error {
        rustls::Error::InvalidCertificate(Bad::ExpiredContext { not_after, .. }) => {
            fault(Cause::TlsExpired, format!("the certificate of {host} expired {}", ago(*not_after)), renew)
        }
        rustls::Error::InvalidCertificate(Bad::Expired) => {
            fault(Cause::TlsExpired, format!("the certificate of {host} has expired"), renew)
        }
        rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => fault(
            Cause::TlsExpired,
            format!("the certificate of {host} is not valid yet"),
            "compare the clocks of both machines, and when the certificate was made",
        ),
        rustls::Error::InvalidCertificate(Bad::NotValidForNameContext { presented, .. }) => fault(
            Cause::TlsName,
            format!("the certificate is not for {host}{}", names(presented)),
            "use a name that it is for in the URL, or give the server a certificate for this one",
        ),
        rustls::Error::InvalidCertificate(Bad::NotValidForName) => fault(
            Cause::TlsName,
            format!("the certificate is not for {host}"),
            "use a name that it is for in the URL, or give the server a certificate for this one",
        ),
        error if is_of_nobody(error) => fault(
            Cause::TlsUnknownCa,
            format!(
                "nobody whom this machine trusts vouches for the certificate of {host} (self-signed, a private authority, or the intermediate certificate is missing)"
            ),
            "serve the whole chain; give a private authority's or a self-signed certificate with --ca-file; --insecure goes on without",
        ),
        rustls::Error::InvalidCertificate(reason) => fault(
            Cause::TlsFailed,
            format!("the certificate of {host} is not accepted: {}", clean(&reason.to_string())),
            "give the server another certificate; --insecure goes on without",
        ),
        other => fault(
            Cause::TlsFailed,
            format!("TLS with {host} fails: {}", clean(&other.to_string())),
            "is it HTTPS that listens on this port?",
        ),
    }
}

fn ago(not_after: UnixTime) -> String {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let past = now.saturating_sub(Duration::from_secs(not_after.as_secs()));
    match past.as_secs() / 86_400 {
        0 => format!("{} hours ago", past.as_secs() / 3600),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

/// Most names of a certificate that are shown.
const MOST_NAMES: usize = 5;

fn names(presented: &[String]) -> String {
    // Written as DnsName("edge.example.org").
    let bare = |name: &String| clean(name.split('"').nth(1).unwrap_or(name));
    match presented.len() {
        0 => ", and names nobody".to_owned(),
        count => {
            let shown: Vec<_> = presented.iter().take(MOST_NAMES).map(bare).collect();
            let more = if count > MOST_NAMES { ", …" } else { "" };
            format!(" but for {}{more}", shown.join(", "))
        }
    }
}

/// No authority stands behind the certificate, or it is one itself, as most self-signed ones say.
fn is_of_nobody(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            format!("{other:?}").contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that count themselves, as self-signed ones must.
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    insecure: bool,
    verdict: Arc<Mutex<Option<rustls::Error>>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checked = match &self.inner {
            Some(inner) => {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let checked = match checked {
            Err(error) if self.own.contains(end_entity) && is_of_nobody(&error) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
                    .map(|()| ServerCertVerified::assertion())
            }
            other => other,
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = checked.as_ref().err().cloned();
        if self.insecure { Ok(ServerCertVerified::assertion()) } else { checked }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
