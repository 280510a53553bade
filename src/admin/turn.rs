//! TURN for the API: services, and their allocations, the newest first; the end of one.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::RelayService;
use super::router::{self, Problem};
use super::service::Admin;
use crate::telemetry::plain;
use crate::turn::{Flow, Listed};

/// Allocations in one answer: where nothing is said, and at most.
const LIMIT: (usize, usize) = (100, 10_000);

/// Everything about TURN.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/api/turn", get(list)).route("/api/turn/{id}", delete(end))
}

#[derive(Deserialize)]
struct Wanted {
    limit: Option<usize>,
    /// Allocations of this user alone.
    user: Option<String>,
}

async fn list(
    State(admin): State<Arc<Admin>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| Problem(StatusCode::BAD_REQUEST, error.body_text()))?;
    let limit = wanted.limit.unwrap_or(LIMIT.0).min(LIMIT.1);
    let services = admin.0.relays.list(limit, wanted.user).await;
    let mut listed: Vec<(&str, &Listed)> =
        services.iter().flat_map(|it| it.listed.iter().map(|listed| (&*it.service, listed))).collect();
    listed.sort_by_key(|(_, listed)| listed.age);
    let rows: Vec<Value> =
        listed.into_iter().take(limit).map(|(service, it)| allocation(service, it)).collect();
    let total: usize = services.iter().map(|service| service.allocations).sum();
    let services: Vec<Value> = services.iter().map(figures).collect();
    Ok(Json(json!({"services": services, "allocations": rows, "total": total})).into_response())
}

async fn end(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let number = router::id(&id, "an allocation")?;
    if !admin.0.relays.end(number).await {
        return Err(Problem(StatusCode::NOT_FOUND, "no such allocation is there".into()));
    }
    info!(allocation = id, "ended by an operator");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn figures(it: &RelayService) -> Value {
    let counters = &it.counters;
    json!({
        "service": &*it.service,
        "listen": it.listen.to_string(),
        "draining": it.draining,
        "allocations": it.allocations,
        "allocated": counters.allocated,
        "refused": counters.refused_quota + counters.refused_capacity,
        "up": flow(counters.traffic.up),
        "down": flow(counters.traffic.down),
    })
}

fn allocation(service: &str, it: &Listed) -> Value {
    json!({
        "id": format!("{:016x}", it.id),
        "service": service,
        "user": &*it.username,
        "transport": it.client.transport.label(),
        "client": plain(it.client.remote).to_string(),
        "relays": it.relays.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "permissions": it.permissions,
        "channels": it.channels,
        "age_ms": it.age.as_millis() as u64,
        "expires_in_ms": it.expires_in.as_millis() as u64,
        "up": flow(it.traffic.up),
        "down": flow(it.traffic.down),
    })
}

fn flow(flow: Flow) -> Value {
    json!({"packets": flow.packets, "bytes": flow.bytes})
}
