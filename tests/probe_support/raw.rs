//! Servers that say exactly what a test writes, plain or in TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::scratch::scratch;

/// Hands each connection to `serve`.
pub async fn serve<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    addr
}

/// Answers each request with `answer`, then closes.
pub async fn says(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = Arc::new(answer.into());
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            // What was not read makes the kernel reset the connection and the answer with it.
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await.is_ok_and(|len| len > 0) {}
        }
    })
    .await
}

/// An answer with a length.
pub fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Begins an answer and goes on for ever, with `piece` every time.
pub async fn never_ends(head: &'static str, piece: &'static [u8], pause_ms: u64) -> SocketAddr {
    serve(move |mut stream| async move {
        read_head(&mut stream).await;
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        while stream.write_all(piece).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
        }
    })
    .await
}

pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(len) if len > 0 => head.extend_from_slice(&buffer[..len]),
            _ => return,
        }
    }
}

/// An authority, its certificate in a file, and certificates by it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub file: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let name = format!("probe-ca-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let file = scratch(&name).join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        Authority { issuer: Issuer::new(params, key), file }
    }

    /// Serves what `inner` serves, in TLS, with a certificate for `name` until `year`.
    pub async fn in_front_of(&self, inner: SocketAddr, name: &str, year: i32) -> SocketAddr {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(mut outside) = acceptor.accept(stream).await
                    && let Ok(mut inside) = TcpStream::connect(inner).await
                {
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            }
        })
        .await
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
