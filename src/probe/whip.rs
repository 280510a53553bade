//! A WHIP publisher (RFC 9725): one POST with the offer, one DELETE at the end; each refusal with its cause.

use bytes::Bytes;
use hyper::header::LOCATION;
use hyper::{Method, StatusCode};

use super::cause::{Cause, Fault};
use super::http::{Ask, Http, refusal};
use super::options::{Options, Target};

/// An endpoint, and the session at it.
pub(super) struct Whip {
    http: Http,
    path: String,
    url: String,
    token: Option<String>,
    session: Option<String>,
}

impl Whip {
    pub(super) fn new(http: Http, options: &Options) -> Whip {
        let target = &options.url;
        let path = if target.path.is_empty() { "/" } else { &target.path };
        Whip {
            http,
            path: format!("{path}{}", target.query),
            url: target.shown(),
            token: options.token.clone(),
            session: None,
        }
    }

    /// Whether the endpoint says that it takes offers (RFC 9725 §4.2).
    pub(super) async fn says_so(&mut self) -> Result<bool, Fault> {
        let ask = Ask { method: Method::OPTIONS, ..Ask::get(self.path.clone()) };
        let answer = self.http.ask(ask).await?;
        let accepted = answer.headers.get("accept-post").and_then(|value| value.to_str().ok());
        let takes_sdp = accepted.is_some_and(|kinds| kinds.to_ascii_lowercase().contains("application/sdp"));
        Ok(answer.status.is_success() && takes_sdp)
    }

    /// Sends the offer, returns the answer.
    pub(super) async fn offer(&mut self, sdp: &str) -> Result<String, Fault> {
        let body = Bytes::copy_from_slice(sdp.as_bytes());
        let ask =
            Ask { bearer: self.token.as_deref(), ..Ask::post(self.path.clone(), "application/sdp", body) };
        let answer = self.http.ask(ask).await?;
        self.session = answer
            .headers
            .get(LOCATION)
            .and_then(|to| to.to_str().ok())
            .and_then(|to| path_of(to, &self.path));
        match answer.status {
            StatusCode::CREATED | StatusCode::OK => {}
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                return Err(self.stranger(&format!("HTTP {}", answer.status.as_u16())));
            }
            StatusCode::BAD_REQUEST | StatusCode::NOT_ACCEPTABLE | StatusCode::UNPROCESSABLE_ENTITY => {
                let mut fault = refusal(answer.status, &answer.headers, &answer.body, &self.url);
                fault.cause = Cause::NoAnswer;
                fault.message = format!("the endpoint refuses the offer (opus, VP8): {}", fault.message);
                "look at its log: which codecs does it take?".clone_into(&mut fault.fix);
                return Err(fault);
            }
            status => return Err(refusal(status, &answer.headers, &answer.body, &self.url)),
        }
        match String::from_utf8(answer.body.to_vec()) {
            Ok(sdp) if sdp.trim_start().starts_with("v=0") => Ok(sdp),
            _ => Err(self.stranger("its answer is no session description")),
        }
    }

    /// Ends the session.
    pub(super) async fn end(&mut self) {
        let Some(path) = self.session.take() else { return };
        let ask = Ask { method: Method::DELETE, bearer: self.token.as_deref(), ..Ask::get(path) };
        let _ = self.http.ask(ask).await;
    }

    fn stranger(&self, why: &str) -> Fault {
        Fault::new(
            Cause::NotWhip,
            format!("{} is no WHIP endpoint: {why}", self.url),
            "correct the URL; say --protocol janus if it is Janus",
        )
    }
}

/// The path of a session URL, however it is written. The request for it goes to the server that was probed, whatever host the
/// URL has: the token is for nobody else.
fn path_of(location: &str, endpoint: &str) -> Option<String> {
    if let Ok(target) = location.parse::<Target>() {
        return Some(format!("{}{}", target.path, target.query)).filter(|path| !path.is_empty());
    }
    if location.contains("://") || location.starts_with("//") || location.is_empty() {
        return None;
    }
    if location.starts_with('/') {
        return Some(location.to_owned());
    }
    let folder =
        endpoint.split('?').next().unwrap_or_default().rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{folder}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_url_is_found_however_it_is_written() {
        for (location, path) in [
            ("/s/1", Some("/s/1")),
            ("1?x=2", Some("/whip/1?x=2")),
            ("http://h/s/1", Some("/s/1")),
            ("ftp://h/s/1", None),
            ("//h/s", None),
            ("", None),
        ] {
            assert_eq!(path_of(location, "/whip/studio?a=b").as_deref(), path, "{location}");
        }
    }
}
