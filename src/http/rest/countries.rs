//! \[shell\] Countries of addresses, from a MaxMind database that is read once, at start.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::{MaxMindDbError, PathElement, Reader};

use super::decide::Country;

/// One database.
#[derive(Debug)]
pub(super) struct Countries(Reader<Vec<u8>>);

/// Why a database is of no use.
#[derive(Debug, thiserror::Error)]
#[error("geoip_db: expected a MaxMind database, found {file}: {source}")]
pub struct CountriesError {
    file: PathBuf,
    source: MaxMindDbError,
}

impl Countries {
    pub(super) fn load(file: &Path) -> Result<Self, CountriesError> {
        let loaded = Reader::open_readfile(file);
        loaded.map(Countries).map_err(|source| CountriesError { file: file.to_owned(), source })
    }

    /// `None` where the database does not know it, does not have its family, or is damaged at that place.
    pub(super) fn of(&self, ip: IpAddr) -> Option<Country> {
        let found = self.0.lookup(ip.to_canonical()).ok()?;
        let code: &str =
            found.decode_path(&[PathElement::Key("country"), PathElement::Key("iso_code")]).ok()??;
        code.as_bytes().try_into().ok()
    }
}

/// Databases by file: services mostly share one, and it has tens of megabytes.
#[derive(Debug, Default)]
pub(super) struct Databases(HashMap<PathBuf, Arc<Countries>>);

impl Databases {
    pub(super) fn get(&mut self, file: &Path) -> Result<Arc<Countries>, CountriesError> {
        if let Some(loaded) = self.0.get(file) {
            return Ok(loaded.clone());
        }
        let loaded = Arc::new(Countries::load(file)?);
        self.0.insert(file.to_owned(), loaded.clone());
        Ok(loaded)
    }
}
