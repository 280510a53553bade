//! The dashboard: one page without anything from elsewhere, so that it works where there is no network but this one.

use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("dashboard.html");

/// The page. It holds nothing secret; what it shows it asks for with the visitor's token.
pub(super) fn dashboard() -> Response {
    let mut response = Html(PAGE).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy());
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Only the page's own script and style run, and only this service is asked.
fn policy() -> HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let built = POLICY.get_or_init(|| {
        let (script, style) = (hash_of("<script>", "</script>"), hash_of("<style>", "</style>"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    });
    built.clone()
}

fn hash_of(open: &str, close: &str) -> String {
    let inside =
        PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map_or("", |(inside, _)| inside);
    STANDARD.encode(Sha256::digest(inside.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else_and_has_one_script_and_one_style() {
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
        for elsewhere in ["http://", "https://", "//cdn", "@import", "style=\"", "onclick="] {
            let allowed = ["http://www.w3.org/2000/svg"];
            let text = allowed.iter().fold(PAGE.to_owned(), |text, allowed| text.replace(allowed, ""));
            assert!(!text.contains(elsewhere), "{elsewhere}");
        }
    }
}
