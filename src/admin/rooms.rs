//! Rooms for the API: who is in them, messages of the operator's application into them, and somebody out of them.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::router::Problem;
use super::service::Admin;
use crate::json_edit;
use crate::signalling::{Listed, ServerEvent};

/// Rooms in one answer, where nothing is said.
const LIMIT: usize = 1000;

/// Everything about rooms.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/rooms", get(rooms))
        .route("/api/rooms/{room}/peers", get(peers))
        .route("/api/rooms/{room}/peers/{peer}", delete(remove))
        .route("/api/rooms/{room}/publish", post(publish))
        .route("/api/send", post(send))
}

#[derive(Deserialize)]
struct Wanted {
    limit: Option<usize>,
}

async fn rooms(
    State(admin): State<Arc<Admin>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| malformed(&error.body_text()))?;
    let listed = admin.0.rooms.list();
    let limit = wanted.limit.unwrap_or(LIMIT);
    let row = |listed: &Listed| {
        json!({
            "room": listed.room.name, "protocol": listed.protocol, "service": &*listed.service, "route": &*listed.route,
            "peers": listed.room.people.len(),
        })
    };
    let rows: Vec<Value> = listed.iter().take(limit).map(row).collect();
    Ok(Json(json!({"rooms": rows, "total": listed.len()})).into_response())
}

/// `[{"peer_id","username"}]`, also of a room that is not there.
async fn peers(State(admin): State<Arc<Admin>>, Path(room): Path<String>) -> Response {
    let people = admin.0.rooms.named(&room).into_iter().flat_map(|listed| listed.room.people);
    let row =
        |person: crate::signalling::protocol::Person| json!({"peer_id": person.id, "username": person.name});
    Json(people.map(row).collect::<Vec<_>>()).into_response()
}

async fn remove(
    State(admin): State<Arc<Admin>>,
    Path((room, peer)): Path<(String, String)>,
) -> Result<Response, Problem> {
    if !admin.0.rooms.remove(&room, &peer) {
        return Err(nobody());
    }
    info!(room, peer, "removed by an operator");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn publish(
    State(admin): State<Arc<Admin>>,
    Path(room): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let (event, _) = message(&body)?;
    Ok(Json(json!({"delivered": admin.0.rooms.publish(&room, &event)})).into_response())
}

async fn send(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Problem> {
    let (event, peer) = message(&body)?;
    let peer = peer.ok_or_else(|| malformed("peer_id: expected a text"))?;
    if !admin.0.rooms.send(&peer, &event) {
        return Err(nobody());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `{"event":…,"data":…}` and perhaps a `peer_id`. The data goes on byte for byte.
fn message(body: &[u8]) -> Result<(ServerEvent, Option<String>), Problem> {
    let is_text = std::str::from_utf8(body).is_ok();
    let object =
        json_edit::whole_value(body).ok().filter(|it| is_text && it.kind() == json_edit::Kind::Object);
    let object = object.ok_or_else(|| malformed("expected a JSON object"))?;
    let text = |key| Some(object.member(key)?.string()?.into_owned());
    let event = text("event").ok_or_else(|| malformed("event: expected a text"))?;
    let data = object.member("data").map(|data| data.raw().to_vec());
    Ok((ServerEvent { event, data }, text("peer_id")))
}

fn malformed(what: &str) -> Problem {
    Problem(StatusCode::BAD_REQUEST, what.into())
}

fn nobody() -> Problem {
    Problem(StatusCode::NOT_FOUND, "nobody of that id is there".into())
}
