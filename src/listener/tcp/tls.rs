//! TLS of one service: the certificate as it stands on disk, followed when it is replaced there.
//!
//! A certificate that cannot be used makes TLS connections of its service fail, nothing else; one that worked stays until
//! what replaces it works.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use tracing::{info, warn};

use super::validity::Validity;
use crate::config::TlsFiles;

/// TLS of one service.
#[derive(Debug)]
pub struct Tls {
    certificates: Arc<Certificates>,
    pub(super) config: Arc<ServerConfig>,
}

/// What was negotiated on a connection.
#[derive(Clone, Debug)]
pub struct TlsSummary {
    /// Such as `tls13`.
    pub version: &'static str,
    /// Such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: String,
}

impl TlsSummary {
    pub(super) fn new(connection: &ServerConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "tls12",
            _ => "tls13",
        };
        let suite = connection.negotiated_cipher_suite();
        let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or_default().to_owned();
        TlsSummary { version, cipher }
    }
}

impl Tls {
    /// Loads the certificate of `service`. A bad one is told in the log.
    pub fn new(service: Arc<str>, files: TlsFiles) -> Result<Tls, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Arc::new(Certificates {
            service,
            files,
            provider: provider.clone(),
            current: ArcSwapOption::empty(),
            complained: AtomicBool::new(false),
            stamp: Mutex::new(None),
        });
        certificates.renew();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        // The second is TURN's (RFC 7443): who names it would otherwise be refused.
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"stun.turn".to_vec()];
        Ok(Tls { certificates, config: Arc::new(config) })
    }

    /// Which files it reads.
    pub fn files(&self) -> &TlsFiles {
        &self.certificates.files
    }

    /// Reads the files again if they changed. Blocks for as long as two small files take.
    pub fn renew(&self) {
        self.certificates.renew();
    }

    /// Whether there is a certificate that works.
    pub fn is_usable(&self) -> bool {
        self.certificates.current.load().is_some()
    }

    /// Whose it is, and when its certificate expires, since 1970; `None` where there is none or it does not say.
    pub fn expiry(&self) -> Option<(&str, Duration)> {
        let validity = self.certificates.current.load().as_ref()?.validity?;
        Some((&self.certificates.service, validity.until()))
    }
}

#[derive(Debug)]
struct Certificates {
    service: Arc<str>,
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: ArcSwapOption<Current>,
    /// That clients refuse the current one was told.
    complained: AtomicBool,
    /// Of the files as they were last read, whatever came of it.
    stamp: Mutex<Option<Stamp>>,
}

/// The certificate that is shown.
#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    validity: Option<Validity>,
}

impl Current {
    /// Why clients refuse it at this time, as far as it says.
    fn complaint(&self, now: SystemTime) -> Option<String> {
        self.validity?.complaint(now)
    }
}

/// When a file was written, which one it is and how long; `None` where it is not there.
type Stamp = [Option<(SystemTime, u64, u64)>; 2];

impl Certificates {
    fn renew(&self) {
        self.read();
        self.complain(SystemTime::now());
    }

    fn read(&self) {
        let stamp = Some([stamp(&self.files.cert), stamp(&self.files.key)]);
        let mut last = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == stamp {
            return;
        }
        let is_first = last.is_none();
        *last = stamp;
        match load(&self.files, &self.provider) {
            Ok(current) => {
                self.current.store(Some(Arc::new(current)));
                self.complained.store(false, Ordering::Relaxed);
                if !is_first {
                    info!(service = %self.service, file = %self.files.cert.display(), "certificate replaced");
                }
            }
            Err(reason) if self.current.load().is_some() => {
                warn!(service = %self.service, %reason, "new certificate not usable; the one before stays");
            }
            Err(reason) => {
                warn!(service = %self.service, %reason, "certificate not usable; TLS connections fail, plain ones do not");
            }
        }
    }

    /// Says once that the certificate's time is over, or has not come.
    fn complain(&self, now: SystemTime) {
        if let Some(reason) = self.current.load().as_ref().and_then(|current| current.complaint(now))
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            warn!(service = %self.service, file = %self.files.cert.display(), %reason, "clients refuse the certificate; a new file is taken within seconds");
        }
    }
}

/// Whether a service could show this certificate now, and clients would take it for its time; if not, why.
pub fn usable_certificate(files: &TlsFiles) -> Result<(), String> {
    match load(files, &aws_lc_rs::default_provider())?.complaint(SystemTime::now()) {
        Some(reason) => Err(format!("{}: {reason}", files.cert.display())),
        None => Ok(()),
    }
}

fn load(TlsFiles { cert, key }: &TlsFiles, provider: &CryptoProvider) -> Result<Current, String> {
    let said = |file: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let unread = |file: &Path, kind: &str, error: pem::Error| match error {
        pem::Error::Io(error) => said(file, &error),
        pem::Error::NoItemsFound => said(file, &format_args!("expected a PEM {kind}, found none")),
        other => said(file, &other),
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| unread(cert, "certificate", error))?;
    if chain.is_empty() {
        return Err(unread(cert, "certificate", pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, "private key", error))?;
    let validity = chain.first().and_then(|cert| Validity::of(cert));
    let key = CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("the key {} does not belong to the certificate {}", key.display(), cert.display())
        }
        other => said(key, &other),
    })?;
    Ok(Current { key: Arc::new(key), validity })
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|current| current.key.clone())
    }
}

fn stamp(file: &Path) -> Option<(SystemTime, u64, u64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.ino(), meta.len()))
}
