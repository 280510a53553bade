//! Which route takes a request, and what becomes of one that none takes (xrtc.md §2). The rules are [`crate::route`]'s.

use hyper::header::HOST;
use hyper::{Method, Request, Response};

use super::answer::{self, Fault};
use super::body::{Body, Received};
use super::headers::{is_websocket_upgrade, offered_protocols};
use super::pools::Belongs;
use super::served_route::ServedRoute;
use super::service::HttpService;
use crate::route::{Asked, Choice, Chosen};

/// The route that a rule gives the request.
pub(super) fn find_route<'a>(
    service: &'a HttpService,
    request: &Request<Received>,
) -> Result<(Chosen, &'a ServedRoute), Fault> {
    let headers = request.headers();
    let protocols = if is_websocket_upgrade(request) { offered_protocols(headers) } else { Vec::new() };
    // In absolute form the target's authority is the host (RFC 9112 §3.2.2).
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let host = authority.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
    let asked = Asked { host, path: request.uri().path(), ws_protocols: &protocols };
    match service.table.choose(&asked) {
        Choice::Misdirected => Err(Fault::Misdirected),
        Choice::Unrouted => Err(Fault::Unrouted),
        Choice::Routed(chosen) => {
            service.route(chosen.route).map(|route| (chosen, route)).ok_or(Fault::Unrouted)
        }
    }
}

/// What becomes of a request that no rule of a route takes.
pub(super) enum Unrouted<'a> {
    /// The client's live sticky session was on this route last.
    Stays(Chosen, &'a ServedRoute),
    Answer(Response<Body>),
}

/// A file that is there comes first: whoever has a page and a route on one port could not reload the page otherwise, once the
/// route has set its cookie.
pub(super) async fn unrouted<'a>(
    service: &'a HttpService,
    request: &Request<Received>,
) -> Result<Unrouted<'a>, Fault> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    if !is_websocket_upgrade(request)
        && let Some(files) = &service.files
        && let Some(response) = files.answer(method, uri.path(), uri.query(), headers).await
    {
        return Ok(Unrouted::Answer(response));
    }
    if let Some((chosen, route)) = stay(service, request) {
        return Ok(Unrouted::Stays(chosen, route));
    }
    if !is_websocket_upgrade(request)
        && let Some(files) = &service.files
        && let Some(response) = files.index(method, headers).await
    {
        return Ok(Unrouted::Answer(response));
    }
    match *method {
        Method::OPTIONS => Ok(Unrouted::Answer(answer::empty())),
        _ => Err(Fault::Unrouted),
    }
}

fn stay<'a>(service: &'a HttpService, request: &Request<Received>) -> Option<(Chosen, &'a ServedRoute)> {
    let key = Belongs::of(request.headers()).key?;
    let route = service.route_numbered(service.pools.last_route(key)?)?;
    let chosen = service.table.stay(route, request.uri().path())?;
    Some((chosen, service.route(route)?))
}
