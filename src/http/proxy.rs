//! A request through the edge, in the order of its phases:
//! route → request dialect → upstream choice → headers → send → response dialect → client.
//!
//! Bodies stream in both directions unless the route's dialect must read them; then they are read whole up to a limit.
//! Dropping the returned future drops the request to the upstream: a client that leaves takes its request along.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, SET_COOKIE, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::answer::{self, Fault};
use super::body::{self, Body, ReadError, Received};
use super::coding;
use super::conversation::Conversation;
use super::forwarded::{Arrival, client_ip, request_id, set_forwarded};
use super::forwarding::{Forwarded, forward};
use super::headers::{is_websocket_upgrade, remove_hop_by_hop};
use super::pools::Need;
use super::rooms;
use super::routing::{Unrouted, find_route, unrouted};
use super::served_route::ServedRoute;
use super::server::ClientConnection;
use super::service::HttpService;
use super::session_urls;
use super::sound;
use super::turn_credentials;
use super::upstream::{self, OutgoingBody};
use super::websocket;
use crate::dialect::{Carrier, ExchangeId, Head, Message, Side, Verdict};
use crate::route::{Chosen, RequestKind, session_in_answer};

/// A client has this long to send a body that a dialect reads: 1 MiB on a line of 300 kbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers one request.
pub(super) async fn respond(
    service: &Arc<HttpService>,
    client: &Arc<ClientConnection>,
    request: Request<Incoming>,
) -> Response<Body> {
    let request = request.map(Received::new);
    let started = Instant::now();
    let method = request.method().clone();
    // The query may hold tokens.
    let path = request.uri().path().to_owned();
    let mut trace = Trace::default();
    let outcome = phases(service, client, request, &mut trace).await;
    let (response, fault) = match outcome {
        Ok(response) => (response, None),
        Err(fault) => {
            let text = fault.to_string();
            (fault.into_response(), Some(text))
        }
    };
    service.requests.count(trace.route.as_ref(), response.status());
    debug!(
        peer = %client.arrival.peer,
        %method,
        path,
        route = trace.route.as_deref(),
        upstream = trace.upstream,
        status = response.status().as_u16(),
        millis = started.elapsed().as_millis(),
        fault,
        "request"
    );
    response
}

/// What the log line of a request says beyond its request and status.
#[derive(Default)]
struct Trace {
    route: Option<Arc<str>>,
    upstream: Option<String>,
}

async fn phases(
    service: &Arc<HttpService>,
    client: &Arc<ClientConnection>,
    request: Request<Received>,
    trace: &mut Trace,
) -> Result<Response<Body>, Fault> {
    sound::check(&request, !request.body().is_end_stream()).map_err(Fault::Malformed)?;
    within_budget(service, client, &request)?;
    let found = find_route(service, &request);
    if let Some((rest, resource)) = service.rest(request.uri().path())
        && !matches!(found, Err(Fault::Misdirected))
    {
        trace.route = Some(Arc::from("rest"));
        return rest.respond(resource, client.arrival.peer.ip(), request).await;
    }
    if let Some(config) = service.turn_credentials().filter(|config| config.path == request.uri().path())
        && !matches!(found, Err(Fault::Misdirected))
    {
        trace.route = Some(Arc::from("turn_credentials"));
        return Ok(turn_credentials::respond(config, &request));
    }
    let (chosen, route) = match found {
        Ok(found) => found,
        Err(Fault::Unrouted) => match unrouted(service, &request).await? {
            Unrouted::Stays(chosen, route) => (chosen, route),
            Unrouted::Answer(response) => return Ok(response),
        },
        Err(fault) => return Err(fault),
    };
    trace.route = Some(route.name.clone());
    if let Some(hub) = &route.rooms {
        return rooms::answer(service, client, hub, chosen, request).await;
    }
    if sound::climbs(request.uri().path()) {
        return Err(Fault::Malformed("a path with .. in it leads out of its route"));
    }
    let kind = if is_websocket_upgrade(&request) { RequestKind::WebSocket } else { RequestKind::Http };
    let mut need = route.need(kind, request.uri().path(), request.headers());
    need.takes_turn = request.method() != Method::OPTIONS;
    let arrival = &client.arrival;
    if kind == RequestKind::WebSocket {
        return websocket::upgrade(service, client, route, chosen, &need, request, &mut trace.upstream).await;
    }

    let mut asked = AskedFor {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        chosen,
        exchange: service.next_exchange(),
        target: String::new(),
        origin: String::new(),
    };
    // However this ends, the dialect is told that no response comes any more.
    let _concluded = route.conversation.as_deref().map(|it| Concluded(it, asked.exchange));
    let (head, body) = match ask_dialect(service, route, &asked, request).await? {
        Decided::SendOn(head, body) => (head, body),
        Decided::Answer(response) => return Ok(response),
    };
    need.server = route.conversation.as_deref().and_then(|it| it.pinned(&asked.path, asked.query.as_deref()));
    let head = outgoing_head(service, arrival, route, head);
    asked.origin = session_urls::origin(&head.headers);
    let forwarded = forward(service, arrival, chosen, &need, head, body, &mut trace.upstream).await?;
    asked.target.clone_from(&forwarded.target);
    returning(service, route, &asked, &need, forwarded).await
}

/// The request as the client sent it, for the response's turn.
pub(super) struct AskedFor {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) chosen: Chosen,
    pub(super) exchange: ExchangeId,
    /// What the upstream was asked for: path and query.
    pub(super) target: String,
    /// Scheme and authority that the client used.
    pub(super) origin: String,
}

/// Tells the dialect of the end of an exchange, however it ends.
struct Concluded<'a>(&'a Conversation, ExchangeId);

impl Drop for Concluded<'_> {
    fn drop(&mut self) {
        self.0.concluded(self.1);
    }
}

/// Registrations have a budget of their own: an application server asks for many clients.
fn within_budget(
    service: &HttpService,
    client: &ClientConnection,
    request: &Request<Received>,
) -> Result<(), Fault> {
    let Some(budgets) = &service.budgets else { return Ok(()) };
    let ip = client_ip(client.arrival.peer.ip(), request.headers(), &service.trusted_proxies);
    let taken = match service.rest(request.uri().path()) {
        Some(_) => budgets.registration(ip),
        None => budgets.request(ip),
    };
    taken.map_err(Fault::OverBudget)
}

enum Decided {
    SendOn(Parts, OutgoingBody),
    Answer(Response<Body>),
}

/// Lets the route's dialect decide over the request, where it wants to.
async fn ask_dialect(
    service: &HttpService,
    route: &ServedRoute,
    asked: &AskedFor,
    request: Request<Received>,
) -> Result<Decided, Fault> {
    let (mut head, mut incoming) = request.into_parts();
    let reader = route.conversation.as_deref();
    let Some(conversation) = reader.filter(|c| c.reads_request(asked.method.as_str(), &asked.path)) else {
        let body = match incoming.is_end_stream() {
            true => OutgoingBody::Whole(Bytes::new()),
            false => OutgoingBody::Streamed(incoming.boxed_unsync()),
        };
        return Ok(Decided::SendOn(head, body));
    };

    let sent = read_request(&mut incoming, service.body_limit).await?;
    let decoded = decode(&head.headers, &sent, service.body_limit).map_err(Fault::Coding)?;
    let about = session_urls::request_head(asked, &head.headers);
    match speak(conversation, Side::Client, asked, &about, decoded.as_deref().unwrap_or(&sent)) {
        Verdict::Pass if sent.is_empty() => Ok(Decided::SendOn(head, OutgoingBody::Whole(sent))),
        Verdict::Pass => {
            set_length(&mut head.headers, sent.len());
            Ok(Decided::SendOn(head, OutgoingBody::Whole(sent)))
        }
        Verdict::Replace(replacement) => {
            replaced(&mut head.headers, replacement.len());
            Ok(Decided::SendOn(head, OutgoingBody::Whole(replacement.into())))
        }
        Verdict::Answer(body) => Ok(Decided::Answer(answer::json(body))),
        Verdict::Respond { status, headers, body } => {
            Ok(Decided::Answer(answer::respond(status, headers, body)))
        }
        Verdict::Swallow => Ok(Decided::Answer(answer::empty())),
        Verdict::Refuse { reason, body } => Err(Fault::Refused { reason, body }),
    }
}

pub(super) async fn read_request(incoming: &mut Received, limit: usize) -> Result<Bytes, Fault> {
    match timeout(BODY_TIMEOUT, body::read_whole(incoming, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(ReadError::Cut)) => Err(Fault::RequestCut),
        Ok(Err(ReadError::TooLarge)) => Err(Fault::RequestTooLarge(limit)),
        Err(_) => Err(Fault::RequestSlow(BODY_TIMEOUT)),
    }
}

/// The head as the upstream gets it, but for the target, which depends on the server.
pub(super) fn outgoing_head(
    service: &HttpService,
    arrival: &Arrival,
    route: &ServedRoute,
    mut head: Parts,
) -> Parts {
    let headers = &mut head.headers;
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, host);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        // Only one of the two frames the body (RFC 9112 §6.3); the chunks are written anew.
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    // The edge itself has told the client to continue by reading the body.
    headers.remove(EXPECT);
    if route.conversation.is_some() {
        headers.remove(ACCEPT_ENCODING);
    }
    set_forwarded(headers, arrival, &service.trusted_proxies, || request_id(rand::random()));
    head.version = Version::HTTP_11;
    head.extensions.clear();
    head
}

/// Lets the route's dialect decide over the response, where it wants to, and gives it to the client.
async fn returning(
    service: &HttpService,
    route: &ServedRoute,
    asked: &AskedFor,
    need: &Need<'_>,
    forwarded: Forwarded,
) -> Result<Response<Body>, Fault> {
    let Forwarded { response, server, home, cookie, .. } = forwarded;
    let server = &server;
    let upstream_fault = |reason: String| Fault::Upstream { server: upstream::name(server), reason };
    let (mut head, mut incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(upstream_fault("switched protocols without being asked".to_owned()));
    }
    remove_hop_by_hop(&mut head.headers);
    head.headers.extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    head.version = Version::HTTP_11;
    let found_at = session_urls::of_edge(service, route, asked, server, &mut head);
    turn_credentials::link(service, route, asked, &mut head);
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (method, status) = (asked.method.as_str(), head.status.as_u16());
    let reader = route.conversation.as_deref();
    let reader = reader.filter(|_| asked.method != Method::HEAD);
    let Some(conversation) = reader.filter(|c| c.reads_response(method, &asked.path, status, content_type))
    else {
        return Ok(Response::from_parts(head, body::streamed(incoming)));
    };

    let sent = match timeout(
        service.upstreams.patience(),
        body::read_whole(&mut incoming, service.body_limit),
    )
    .await
    {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(ReadError::Cut)) => return Err(upstream_fault("broke off its answer".to_owned())),
        Ok(Err(ReadError::TooLarge)) => {
            return Err(upstream_fault(format!("answer is larger than {} bytes", service.body_limit)));
        }
        Err(_) => {
            let limit = service.upstreams.patience();
            return Err(Fault::UpstreamSlow { server: upstream::name(server), limit });
        }
    };
    let decoded =
        decode(&head.headers, &sent, service.body_limit).map_err(|why| upstream_fault(why.to_string()))?;
    let plain = match decoded {
        Some(decoded) => {
            head.headers.remove(CONTENT_ENCODING);
            Bytes::from(decoded)
        }
        None => sent,
    };
    if route.pins_janus
        && let Some(home) = home
        && let Some(id) = session_in_answer(need.belongs.janus_session, &plain)
    {
        service.pools.learn_janus(home, id);
    }
    let about = session_urls::response_head(asked, server, head.status, &head.headers, found_at.as_deref());
    match speak(conversation, Side::Backend, asked, &about, &plain) {
        // A 204 or 304 must not get a length (RFC 9110 §8.6).
        Verdict::Pass if plain.is_empty() => Ok(Response::from_parts(head, body::whole(plain))),
        Verdict::Pass => {
            set_length(&mut head.headers, plain.len());
            Ok(Response::from_parts(head, body::whole(plain)))
        }
        Verdict::Replace(replacement) => {
            replaced(&mut head.headers, replacement.len());
            Ok(Response::from_parts(head, body::whole(replacement.into())))
        }
        Verdict::Refuse { reason, .. } => {
            warn!(route = %route.name, upstream = %upstream::name(server), reason, "response refused");
            Err(upstream_fault(reason))
        }
        // A response has no way back to its sender, and its request must be answered with something.
        Verdict::Answer(_) | Verdict::Respond { .. } | Verdict::Swallow => Ok(answer::empty()),
    }
}

fn speak(
    conversation: &Conversation,
    from: Side,
    asked: &AskedFor,
    about: &Head<'_>,
    body: &[u8],
) -> Verdict {
    let carrier = Carrier::Rest { method: asked.method.as_str(), path: &asked.path };
    conversation.handle_rest(Message { from, carrier, body }, about)
}

/// The body without its content coding, where it has one. Nothing is not coded, whatever the header says.
pub(super) fn decode(
    headers: &HeaderMap,
    body: &[u8],
    limit: usize,
) -> Result<Option<Vec<u8>>, coding::CodingError> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut codings = headers.get_all(CONTENT_ENCODING).into_iter();
    let Some(first) = codings.next() else { return Ok(None) };
    match (first.to_str(), codings.next()) {
        (Ok(label), None) => coding::decode(label, body, limit),
        _ => Err(coding::CodingError::Unknown("several or unreadable ones".to_owned())),
    }
}

/// Makes the headers fit a body that took the place of another one.
fn replaced(headers: &mut HeaderMap, length: usize) {
    const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];
    for digest in DIGESTS {
        headers.remove(HeaderName::from_static(digest));
    }
    headers.remove(CONTENT_ENCODING);
    set_length(headers, length);
}

fn set_length(headers: &mut HeaderMap, length: usize) {
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}
