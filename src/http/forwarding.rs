//! One request's way to an upstream: the server it belongs to or whose turn it is, and the next one where nobody was reached.
//!
//! Only a request of which no byte left the edge goes to another server. What an upstream answers is final.

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;

use super::answer::Fault;
use super::forwarded::Arrival;
use super::pools::{Home, Need, Pick};
use super::service::HttpService;
use super::upstream::{self, Failure, Outgoing, OutgoingBody};
use crate::config::ServerUrl;
use crate::route::{Chosen, Evidence};

/// An upstream's answer, and what else must be known of it.
pub(super) struct Forwarded {
    pub(super) response: Response<Incoming>,
    pub(super) server: ServerUrl,
    /// What it was asked for: path and query.
    pub(super) target: String,
    pub(super) home: Option<Home>,
    /// What the client must keep to come back to the same server.
    pub(super) cookie: Option<HeaderValue>,
}

/// Sends a request where it belongs; `upstream` is told the name of the server that it was last sent to.
pub(super) async fn forward(
    service: &HttpService,
    arrival: &Arrival,
    chosen: Chosen,
    need: &Need<'_>,
    head: Parts,
    body: OutgoingBody,
    upstream: &mut Option<String>,
) -> Result<Forwarded, Fault> {
    let mut pick = service.pools.pick(need)?;
    let mut tried = Vec::new();
    let mut body = Some(body);
    loop {
        *upstream = Some(upstream::name(&pick.server));
        let target = service.table.target(chosen, &pick.server, head.uri.path(), head.uri.query());
        let again = body.as_ref().and_then(OutgoingBody::copy).filter(|_| pick.may_move);
        let outgoing =
            Outgoing { head: head.clone(), body: body.take().unwrap_or(OutgoingBody::Whole(Bytes::new())) };
        match service.upstreams.send(&pick.server, &target, outgoing).await {
            Ok(response) => {
                note(service, &pick, None);
                let cookie = service.pools.remember(need, &pick, arrival.tls.is_some());
                return Ok(Forwarded { response, server: pick.server, target, home: pick.home, cookie });
            }
            Err(failure) => {
                note(service, &pick, Some(&failure));
                tried.extend(pick.home.map(|home| home.member));
                let next = match again {
                    Some(_) if failure.reached_nobody() => service.pools.pick_again(need, &tried),
                    _ => None,
                };
                let Some(next) = next else {
                    return Err(failure.into_fault(&pick.server, &service.upstreams));
                };
                (pick, body) = (next, again);
            }
        }
    }
}

/// Tells rotation and log what was met. A server that takes connections keeps its turns, whatever it answers.
fn note(service: &HttpService, pick: &Pick, failure: Option<&Failure>) {
    let upstreams = &service.upstreams;
    match (pick.home, failure) {
        (Some(home), Some(failure)) if failure.reached_nobody() => {
            service.pools.report(home, Evidence::Unreachable, &failure.reason(upstreams));
        }
        (home, failure) => {
            if let Some(home) = home.filter(|_| failure.is_none_or(Failure::is_upstreams)) {
                service.pools.report(home, Evidence::Reached, "");
            }
            upstreams.note(&pick.server, failure);
        }
    }
}
