//! What a dialect sees of the headers around a body, and the headers that sessions named by URL need in responses
//! (whip.md §3.8, §3.9): `Location` and CORS.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    LOCATION,
};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};

use super::location::{Answered, map};
use super::proxy::AskedFor;
use super::served_route::ServedRoute;
use super::service::HttpService;
use crate::config::ServerUrl;
use crate::dialect::Head;

/// Scheme and authority of the edge as the client knows them, by the head that goes to the upstream.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let scheme = text(headers, &HeaderName::from_static("x-forwarded-proto")).unwrap_or("http");
    let forwarded = text(headers, &HeaderName::from_static("x-forwarded-host"));
    let authority = forwarded.or_else(|| text(headers, &HOST)).unwrap_or_default();
    format!("{scheme}://{authority}")
}

pub(super) fn request_head<'a>(asked: &'a AskedFor, headers: &'a HeaderMap) -> Head<'a> {
    Head {
        exchange: asked.exchange,
        query: asked.query.as_deref(),
        content_type: text(headers, &CONTENT_TYPE),
        if_match: text(headers, &IF_MATCH),
        etag: text(headers, &ETAG),
        ..Head::default()
    }
}

pub(super) fn response_head<'a>(
    asked: &'a AskedFor,
    server: &'a ServerUrl,
    status: StatusCode,
    headers: &'a HeaderMap,
    location: Option<&'a str>,
) -> Head<'a> {
    Head {
        exchange: asked.exchange,
        query: asked.query.as_deref(),
        status: status.as_u16(),
        content_type: text(headers, &CONTENT_TYPE),
        etag: text(headers, &ETAG),
        location,
        server: Some(server),
        ..Head::default()
    }
}

/// Where a dialect names sessions by URL: makes `Location` one of the edge, and lets scripts of any origin read the
/// response where the backend says nothing of origins. Returns path and query of the new `Location`.
pub(super) fn of_edge(
    service: &HttpService,
    route: &ServedRoute,
    asked: &AskedFor,
    server: &ServerUrl,
    head: &mut Parts,
) -> Option<String> {
    route.conversation.as_deref().filter(|it| it.names_sessions_by_url())?;
    let headers = &mut head.headers;
    if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        allow_any_origin(headers, &asked.method);
    }
    let answered = Answered {
        table: &service.table,
        chosen: asked.chosen,
        server,
        servers: service.servers(route),
        target: &asked.target,
        origin: &asked.origin,
    };
    let mapped = map(&answered, text(headers, &LOCATION)?)?;
    headers.insert(LOCATION, HeaderValue::try_from(mapped.header).ok()?);
    Some(mapped.target)
}

fn allow_any_origin(headers: &mut HeaderMap, method: &Method) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let mut unless_there = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    if method == Method::OPTIONS {
        unless_there(ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match, ETag");
        unless_there(ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, PATCH, DELETE, OPTIONS");
    } else {
        unless_there(ACCESS_CONTROL_EXPOSE_HEADERS, "Location, ETag, Link");
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
