//! A WebSocket through the edge: replays the client's handshake to the upstream and, when both sides agree, hands the two
//! connections to the relay (xrtc.md §2.2).
//!
//! An answer other than 101 is the client's answer. Where no dialect reads messages the bytes pass as they are.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{SEC_WEBSOCKET_EXTENSIONS, SET_COOKIE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::answer::Fault;
use super::body::{self, Body, Received};
use super::conversation::Conversation;
use super::forwarding::{Forwarded, forward};
use super::headers::{is_websocket, remove_hop_by_hop, set_websocket};
use super::pools::{Home, Need};
use super::proxy::outgoing_head;
use super::served_route::ServedRoute;
use super::server::{ClientConnection, Phase, wait_for};
use super::service::HttpService;
use super::upstream::{self, OutgoingBody};
use super::ws_relay::{Judge, relay, tunnel};
use crate::dialect::{Carrier, ConnectionId, Message, Side, Verdict};
use crate::route::{Chosen, session_in_answer};

/// Replays an upgrade; what the upstream says is what the client gets.
pub(super) async fn upgrade(
    service: &Arc<HttpService>,
    client: &Arc<ClientConnection>,
    route: &ServedRoute,
    chosen: Chosen,
    need: &Need<'_>,
    mut request: Request<Received>,
    upstream: &mut Option<String>,
) -> Result<Response<Body>, Fault> {
    let on_client = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let mut head = outgoing_head(service, &client.arrival, route, head);
    set_websocket(&mut head.headers);
    // Compressed messages could not be read; without the offer nobody compresses.
    head.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    let body = OutgoingBody::Whole(Bytes::new());
    let forwarded = forward(service, &client.arrival, chosen, need, head, body, upstream).await?;
    let Forwarded { mut response, server, home, cookie, .. } = forwarded;

    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches
        && (!is_websocket(response.headers()) || response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS))
    {
        let reason = "switched to something other than was asked for".to_owned();
        return Err(Fault::Upstream { server: upstream::name(&server), reason });
    }
    let on_upstream = hyper::upgrade::on(&mut response);
    let (mut head, incoming) = response.into_parts();
    remove_hop_by_hop(&mut head.headers);
    head.headers.extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    if !switches {
        return Ok(Response::from_parts(head, body::streamed(incoming)));
    }
    set_websocket(&mut head.headers);
    let open = route.conversation.clone().map(|conversation| Open {
        conversation,
        connection: service.next_connection(),
        message_limit: service.message_limit,
        pins: home.filter(|_| route.pins_janus).map(|home| (service.clone(), home)),
    });
    client.become_relay(run(on_client, on_upstream, open, client.phase.clone()));
    Ok(Response::from_parts(head, body::whole(Bytes::new())))
}

/// Both connections from the end of their handshakes to their close.
async fn run(
    on_client: OnUpgrade,
    on_upstream: OnUpgrade,
    open: Option<Open>,
    mut phase: tokio::sync::watch::Receiver<Phase>,
) {
    let (client, upstream) = match tokio::try_join!(on_client, on_upstream) {
        Ok((client, upstream)) => (TokioIo::new(client), TokioIo::new(upstream)),
        Err(error) => return debug!(%error, "a side left during the WebSocket handshake"),
    };
    let stop = wait_for(&mut phase, Phase::Stopping);
    match open {
        Some(open) => relay(client, upstream, &open, open.message_limit, stop).await,
        None => tunnel(client, upstream, stop).await,
    }
}

/// A WebSocket whose messages a dialect reads; tells the dialect of its end, however it ends.
struct Open {
    conversation: Arc<Conversation>,
    connection: ConnectionId,
    message_limit: usize,
    /// Where Janus sessions that are made here are at home.
    pins: Option<(Arc<HttpService>, Home)>,
}

impl Judge for Open {
    fn judge(&self, from: Side, data: &[u8]) -> Verdict {
        if from == Side::Backend
            && let Some((service, home)) = &self.pins
            && memchr::memmem::find(data, b"\"success\"").is_some()
            && let Some(id) = session_in_answer(None, data)
        {
            service.pools.learn_janus(*home, id);
        }
        self.conversation.handle(Message { from, carrier: Carrier::WebSocket(self.connection), body: data })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.conversation.closed(self.connection);
    }
}
