//! Static files of `http.root` for requests that no route takes (xrtc.md §2, step 7).
//!
//! It decides which file a path names, and never leaves the root: not by dots in any spelling, not by a link that leads out of
//! it. Hidden files are not there, but for `.well-known` (RFC 8615). Ranges, conditional requests and content types are
//! `tower-http`'s.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use hyper::header::{
    ACCEPT_RANGES, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use tower_http::services::ServeFile;
use tracing::warn;

use super::body::{Body, BodyError, whole};

const INDEX: &str = "index.html";
/// What the answer depends on.
const CONDITIONS: [HeaderName; 6] =
    [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// The files below one directory.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// A path that names nothing gives the index of the root.
    has_index_everywhere: bool,
}

enum Found {
    File(PathBuf),
    /// A directory with an index, asked for without the slash that its relative links need.
    Directory,
}

impl Files {
    /// The directory need not be there yet.
    pub(super) fn new(root: PathBuf, has_index_everywhere: bool) -> Self {
        if !root.is_dir() {
            warn!(root = %root.display(), "http.root is no directory; requests for its files get 404 until it is one");
        }
        Files { root, has_index_everywhere }
    }

    /// The answer to a request for a file; `None`: there is none that this request may have.
    pub(super) async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let mut response = match self.find(path).await? {
            Found::File(file) => serve(&file, method, headers).await?,
            Found::Directory => redirect(path, query)?,
        };
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Some(response)
    }

    /// The answer to a request that nothing else answers, for pages that read their own path.
    pub(super) async fn index(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
        if !self.has_index_everywhere {
            return None;
        }
        self.answer(method, "/", None, headers).await
    }

    async fn find(&self, path: &str) -> Option<Found> {
        let below = below(path)?;
        let root = tokio::fs::canonicalize(&self.root).await.ok()?;
        let named = within(&root, &root.join(below)).await?;
        let is_directory = tokio::fs::metadata(&named).await.ok()?.is_dir();
        let file = match is_directory {
            true => within(&root, &named.join(INDEX)).await?,
            false if path.ends_with('/') => return None,
            false => named,
        };
        // Opening a pipe or a device would wait for whoever is behind it.
        if !tokio::fs::metadata(&file).await.ok()?.is_file() {
            return None;
        }
        Some(if is_directory && !path.ends_with('/') { Found::Directory } else { Found::File(file) })
    }
}

/// The path that a raw request path names below the root. `None` where it may name none.
fn below(path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut below = PathBuf::new();
    if path.is_empty() {
        return Some(below);
    }
    for segment in path.split('/') {
        let name = decoded(segment)?;
        let is_name = !name.is_empty() && !name.iter().any(|byte| matches!(byte, 0 | b'/' | b'\\'));
        let is_hidden = name.first() == Some(&b'.') && name != b".well-known";
        if !is_name || is_hidden {
            return None;
        }
        below.push(OsStr::from_bytes(&name));
    }
    Some(below)
}

/// A segment without its percent-encoding, once. `None` where that is broken.
fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut name = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(name)
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Where `path` really is, if that is below `root`. Links are followed first, so none leads out.
async fn within(root: &Path, path: &Path) -> Option<PathBuf> {
    let real = tokio::fs::canonicalize(path).await.ok()?;
    real.starts_with(root).then_some(real)
}

async fn serve(file: &Path, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    for name in CONDITIONS {
        if let Some(value) = headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let served: io::Result<_> = ServeFile::new(file).try_call(request).await;
    let response = served.ok().filter(|response| response.status() != StatusCode::NOT_FOUND)?;
    let mut response = response.map(|body| body.map_err(BodyError::from).boxed_unsync());
    response.headers_mut().entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
    Some(response)
}

/// To the same path with a slash. It stays on this host: no segment is empty, so the path starts with one slash.
fn redirect(path: &str, query: Option<&str>) -> Option<Response<Body>> {
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let location = HeaderValue::from_str(&format!("{path}/{query}")).ok()?;
    let mut response = Response::new(whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}
