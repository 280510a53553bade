//! \[pure\] Who may ask. With a token: whoever shows it as `Authorization: Bearer`. Without one the service is on loopback, and
//! a page of somebody else must not reach it through the visitor's browser: the Host must be a name of this machine
//! (DNS rebinding), and whatever a browser marks as cross-site is refused.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this needs `Authorization: Bearer <token>`, with the admin.token of routes.yml")]
    NoToken,
    #[error("the token is not the admin.token of routes.yml")]
    WrongToken,
    #[error("without admin.token only this host's own names are answered: use localhost or 127.0.0.1")]
    ForeignHost,
    #[error("without admin.token requests of other sites are refused")]
    CrossSite,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refusal::NoToken | Refusal::WrongToken => StatusCode::UNAUTHORIZED,
            Refusal::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Refusal::CrossSite => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether a request with these headers may see and do everything.
pub(super) fn admit(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Refusal> {
    match token {
        Some(token) => with_token(token, headers),
        None => without_token(headers),
    }
}

fn with_token(token: &Secret, headers: &HeaderMap) -> Result<(), Refusal> {
    let shown = headers.get(header::AUTHORIZATION).ok_or(Refusal::NoToken)?;
    let (scheme, shown) = shown.as_bytes().split_at_checked(7).ok_or(Refusal::NoToken)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(Refusal::NoToken);
    }
    // Only its length can be learnt from how long this takes.
    match bool::from(shown.trim_ascii().ct_eq(token.expose().as_bytes())) {
        true => Ok(()),
        false => Err(Refusal::WrongToken),
    }
}

fn without_token(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).map(without_port).unwrap_or_default();
    let is_own = host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !is_own {
        return Err(Refusal::ForeignHost);
    }
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return Err(Refusal::CrossSite);
    }
    Ok(())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_whole_token_opens() {
        let token = Secret::new("sixteen-characters");
        let shown = |value: &str| admit(Some(&token), &headers(&[("authorization", value)]));
        assert_eq!(shown("Bearer sixteen-characters"), Ok(()));
        assert_eq!(shown("bearer  sixteen-characters "), Ok(()));
        for wrong in
            ["Bearer sixteen-character", "Bearer sixteen-characters1", "Bearer Sixteen-characters", "Bearer "]
        {
            assert!(matches!(shown(wrong), Err(Refusal::WrongToken | Refusal::NoToken)), "{wrong:?}");
        }
        for wrong in ["sixteen-characters", "Basic sixteen-characters", "", "Bear"] {
            assert_eq!(shown(wrong), Err(Refusal::NoToken), "{wrong:?}");
        }
        assert_eq!(admit(Some(&token), &headers(&[("host", "localhost")])), Err(Refusal::NoToken));
    }

    #[test]
    fn without_a_token_a_page_of_somebody_else_gets_nothing() {
        for host in
            ["localhost", "localhost:9090", "127.0.0.1:9090", "[::1]:9090", "LOCALHOST:1", "127.0.0.9"]
        {
            assert_eq!(admit(None, &headers(&[("host", host)])), Ok(()), "{host}");
        }
        for host in
            ["", "rebound.example:9090", "127.0.0.1.example", "[::2]:9090", "localhost.example", "10.0.0.1"]
        {
            assert_eq!(admit(None, &headers(&[("host", host)])), Err(Refusal::ForeignHost), "{host}");
        }
        assert_eq!(admit(None, &HeaderMap::new()), Err(Refusal::ForeignHost));
        for (site, expected) in [
            ("same-origin", Ok(())),
            ("none", Ok(())),
            ("cross-site", Err(Refusal::CrossSite)),
            ("same-site", Err(Refusal::CrossSite)),
        ] {
            assert_eq!(admit(None, &headers(&[("host", "localhost"), ("sec-fetch-site", site)])), expected);
        }
    }
}
