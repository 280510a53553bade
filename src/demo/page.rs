//! The page, built into the program: three scripts, a style, and the document that names them. Nothing is fetched from elsewhere.

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const DOCUMENT: &str = include_str!("page/index.html");

/// Name, type, content.
const ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("demo.js", "text/javascript; charset=utf-8", include_str!("page/demo.js")),
    ("client.js", "text/javascript; charset=utf-8", include_str!("page/client.js")),
    ("source.js", "text/javascript; charset=utf-8", include_str!("page/source.js")),
    ("view.js", "text/javascript; charset=utf-8", include_str!("page/view.js")),
];

/// The page talks to where it came from and to nobody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self' ws: wss:; media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything but the document, which stands at `/`.
pub(super) fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, (name, kind, content)| {
        router.route(&format!("/assets/{name}"), get(|| async { reply(kind, content) }))
    })
}

/// The document.
pub(super) fn document() -> Response {
    reply("text/html; charset=utf-8", &DOCUMENT.replace("{{version}}", env!("CARGO_PKG_VERSION")))
}

fn reply(kind: &'static str, content: &str) -> Response {
    let mut response = (StatusCode::OK, content.to_owned()).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_page_names_is_there_and_nothing_is_fetched_from_elsewhere() {
        for (name, _, content) in ASSETS {
            let named = ASSETS.iter().map(|(_, _, content)| *content).chain([DOCUMENT]);
            assert!(named.clone().any(|content| content.contains(name)), "nobody names {name}");
            assert!(!content.contains("http://") && !content.contains("https://"), "{name}");
        }
        let sources = DOCUMENT.split(['"', '\'']).filter(|part| part.starts_with("/assets/"));
        for source in sources {
            assert!(ASSETS.iter().any(|(name, ..)| source == format!("/assets/{name}")), "{source}");
        }
        assert!(!DOCUMENT.contains("src=\"http"));
    }
}
