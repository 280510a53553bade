//! TLS towards the server that is probed: whom to believe, and what is wrong with a certificate.
//!
//! It keeps what the verification found, so that `--insecure` goes on and still says it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use tokio_rustls::TlsConnector;

use super::cause::{Cause, Fault};
use super::journal::clean;
use crate::tls_client::{self, Judge, Shown};

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
        let provider = tls_client::provider();
        let inner = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| error.to_string())?,
            ),
        };
        let verdict = Arc::new(Mutex::new(None));
        let witness = Witness { inner, own, insecure, verdict: verdict.clone() };
        let mut config = tls_client::judged_by(witness).map_err(|error| error.to_string())?;
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
    let (mut roots, _) = tls_client::system_authorities();
    let Some(file) = ca_file else { return Ok((roots, Vec::new())) };
    let own = tls_client::add_file(&mut roots, file).map_err(|reason| {
        local(&format!("--ca-file {}: {reason}", file.display()), "name a file with certificates in PEM")
    })?;
    Ok((roots, own))
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

/// Judges as anybody would, and keeps what it found.
#[derive(Debug)]
struct Witness {
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that count themselves, as self-signed ones must.
    own: Vec<CertificateDer<'static>>,
    insecure: bool,
    verdict: Arc<Mutex<Option<rustls::Error>>>,
}

impl Judge for Witness {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let found = self.find(shown);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = found.as_ref().err().cloned();
        if self.insecure { Ok(()) } else { found }
    }
}

impl Witness {
    fn find(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let Shown { certificate, intermediates, name, ocsp_response, now } = *shown;
        let found = match &self.inner {
            Some(inner) => {
                inner.verify_server_cert(certificate, intermediates, name, ocsp_response, now).map(|_| ())
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match found {
            Err(error) if self.own.contains(certificate) && is_of_nobody(&error) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
            }
            found => found,
        }
    }
}
