//! TLS as a client: where authorities come from, and how somebody's own judgement of a certificate is put in.
//!
//! It names the crypto provider in one place, because a process may have linked more than one, and it checks every
//! handshake's signature: whatever is believed of a certificate, its owner must have the key. It decides nothing about
//! whom to believe.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// The crypto provider of every TLS client here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Believes whom `roots` vouch for, under the name that is asked for.
pub(crate) fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Believes whom `judge` believes.
pub(crate) fn judged_by(judge: impl Judge + 'static) -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let verifier = Arc::new(Verifier { judge, provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The authorities of this machine, and why there are none where there are none.
pub(crate) fn system_authorities() -> (RootCertStore, Option<String>) {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // A store with old or odd entries is common; the rest of it counts.
    roots.add_parsable_certificates(system.certs);
    let missing =
        roots.is_empty().then(|| system.errors.first().map_or("none found".to_owned(), ToString::to_string));
    (roots, missing)
}

/// Adds the authorities that stand in a PEM file, and returns them; one at least. The error says what is wrong with it.
pub(crate) fn add_file(
    roots: &mut RootCertStore,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut added = Vec::new();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        added.push(certificate);
    }
    if added.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(added) }
}

/// What a server shows, and as whom it is asked for.
pub(crate) struct Shown<'a> {
    pub(crate) certificate: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    pub(crate) name: &'a ServerName<'a>,
    pub(crate) ocsp_response: &'a [u8],
    pub(crate) now: UnixTime,
}

/// Decides whether a certificate is believed.
pub(crate) trait Judge: Debug + Send + Sync {
    /// `Err` ends the handshake.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error>;
}

/// Believes everybody.
#[derive(Debug)]
pub(crate) struct Anybody;

impl Judge for Anybody {
    fn judge(&self, _shown: &Shown<'_>) -> Result<(), rustls::Error> {
        Ok(())
    }
}

#[derive(Debug)]
struct Verifier<J> {
    judge: J,
    provider: Arc<CryptoProvider>,
}

impl<J: Judge> ServerCertVerifier for Verifier<J> {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Shown { certificate, intermediates, name, ocsp_response, now };
        self.judge.judge(&shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};

    use super::*;

    #[test]
    fn who_is_believed_must_have_the_key_all_the_same() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let (certificate, key) = of("edge.example.org");
            assert_eq!(
                shake(judged_by(Anybody).unwrap(), version, &certificate, &key),
                Ok(()),
                "{version:?}"
            );
            let (_, others) = of("edge.example.org");
            let error = shake(judged_by(Anybody).unwrap(), version, &certificate, &others).unwrap_err();
            assert_eq!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature));
        }
    }

    #[test]
    fn a_file_counts_beside_what_is_there_and_says_what_is_wrong_with_it() {
        let (certificate, _) = of("edge.example.org");
        let dir = std::env::temp_dir();
        let write = |text: &str| {
            let path = dir.join(format!("xrtc-tls-client-{}-{}.pem", std::process::id(), text.len()));
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            path
        };
        let mut roots = RootCertStore::empty();
        for (text, expected) in
            [(certificate.pem(), Ok(1)), (String::new(), Err("there is no certificate in it".to_owned()))]
        {
            let path = write(&text);
            assert_eq!(add_file(&mut roots, &path).map(|added| added.len()), expected);
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(roots.len(), 1);
        assert!(add_file(&mut roots, Path::new("/nowhere/ca.pem")).unwrap_err().contains("No such file"));
    }

    fn of(name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap(), key)
    }

    /// A handshake in memory with a server that shows `certificate` and signs with `key`.
    fn shake(
        client: ClientConfig,
        version: &'static rustls::SupportedProtocolVersion,
        certificate: &rcgen::Certificate,
        key: &KeyPair,
    ) -> Result<(), rustls::Error> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let shown = Arc::new(rustls::sign::CertifiedKey::new(vec![certificate.der().clone()], key));
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(shown)));
        let name = ServerName::try_from("edge.example.org").unwrap();
        let mut client = Connection::from(ClientConnection::new(Arc::new(client), name).unwrap());
        let mut server = Connection::from(ServerConnection::new(Arc::new(server)).unwrap());
        while client.is_handshaking() {
            carry(&mut client, &mut server).expect("the server takes what the client says");
            carry(&mut server, &mut client)?;
        }
        Ok(())
    }

    fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
        let mut wire = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            to.read_tls(&mut wire).unwrap();
            to.process_new_packets()?;
        }
        Ok(())
    }

    #[derive(Debug)]
    struct Always(Arc<rustls::sign::CertifiedKey>);

    impl rustls::server::ResolvesServerCert for Always {
        fn resolve(
            &self,
            _hello: rustls::server::ClientHello<'_>,
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }
    }
}
