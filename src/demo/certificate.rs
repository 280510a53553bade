//! A certificate for the length of one run: self-signed, so that a page from another machine may use its camera.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Certificate and key in a directory that only this user can read, and that goes with this value.
#[derive(Debug)]
pub(super) struct Certificate {
    directory: PathBuf,
}

impl Certificate {
    /// Makes one for `names`: addresses and host names.
    pub(super) fn new(names: &[String]) -> io::Result<Certificate> {
        let made = rcgen::generate_simple_self_signed(names.to_vec()).map_err(io::Error::other)?;
        let directory = std::env::temp_dir().join(format!("xrtc-demo-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let certificate = Certificate { directory };
        write(&certificate.cert(), &made.cert.pem())?;
        write(&certificate.key(), &made.signing_key.serialize_pem())?;
        Ok(certificate)
    }

    pub(super) fn cert(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// How an address or a name stands in a URL.
pub(super) fn in_url(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_is_readable_for_its_owner_alone_and_goes_when_it_is_not_needed() {
        let certificate = Certificate::new(&["localhost".to_owned(), "192.0.2.1".to_owned()]).expect("made");
        let (cert, key) = (certificate.cert(), certificate.key());
        assert!(fs::read_to_string(&cert).expect("readable").starts_with("-----BEGIN CERTIFICATE"));
        assert!(fs::read_to_string(&key).expect("readable").starts_with("-----BEGIN PRIVATE KEY"));
        assert_eq!(fs::metadata(&key).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(key.parent().expect("a directory")).expect("there").mode() & 0o777, 0o700);
        drop(certificate);
        assert!(!cert.exists() && !key.exists());
    }
}
