//! \[pure\] Where at the edge the client finds what a `Location` of the backend names (whip.md §3.8).
//!
//! A reference is resolved against what the backend was asked for (RFC 3986 §5); if it leads to a server of the route, the
//! route's rewrite is undone. An absolute one stays absolute, any other becomes a path. It knows no headers.

use crate::config::{Scheme, ServerUrl};
use crate::route::{Chosen, RouteTable};

/// A response whose `Location` is to be read.
pub(super) struct Answered<'a> {
    pub(super) table: &'a RouteTable,
    pub(super) chosen: Chosen,
    /// Who answered.
    pub(super) server: &'a ServerUrl,
    /// All servers of the route.
    pub(super) servers: &'a [ServerUrl],
    /// What it was asked for: path and query.
    pub(super) target: &'a str,
    /// Scheme and authority of the edge as the client knows them, such as `https://example.org`.
    pub(super) origin: &'a str,
}

/// A `Location` for the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// What the header says.
    pub(super) header: String,
    /// Path and query of it.
    pub(super) target: String,
}

/// The `Location` of the edge for one of the backend; `None` where that leads elsewhere and is none of our business.
pub(super) fn map(answered: &Answered<'_>, location: &str) -> Option<Mapped> {
    let location = location.trim();
    let is_plain = location.bytes().all(|byte| byte.is_ascii_graphic());
    if location.is_empty() || !is_plain {
        return None;
    }
    let location = location.split('#').next()?;
    let (server, absolute, reference) = match split_origin(location) {
        Some((scheme, authority, rest)) => (known(answered, scheme, authority)?, true, rest),
        None => (answered.server, false, location),
    };
    let (path, query) = resolve(answered.target, reference)?;
    let path = answered.table.edge_path(answered.chosen, server, &path).unwrap_or(path);
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let header = if absolute { format!("{}{target}", answered.origin) } else { target.clone() };
    Some(Mapped { header, target })
}

/// Scheme, authority and the rest of an absolute or network-path reference.
fn split_origin(location: &str) -> Option<(Option<&str>, &str, &str)> {
    let (scheme, rest) = match location.strip_prefix("//") {
        Some(rest) => (None, rest),
        None => {
            let (scheme, rest) = location.split_once("://")?;
            let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
            (is_scheme.then_some(Some(scheme))?, rest)
        }
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((scheme, &rest[..end], &rest[end..]))
}

/// The server that an origin names. The backend may also name itself as the client named the edge, from the `Host`.
fn known<'a>(answered: &Answered<'a>, scheme: Option<&str>, authority: &str) -> Option<&'a ServerUrl> {
    let tls = scheme.map_or(answered.server.scheme == Scheme::Https, |it| it.eq_ignore_ascii_case("https"));
    if !tls && scheme.is_some_and(|it| !it.eq_ignore_ascii_case("http")) {
        return None;
    }
    let own = answered.origin.split_once("://").map_or("", |(_, authority)| authority);
    let (host, port) = host_and_port(authority, tls)?;
    if host_and_port(own, tls).is_some_and(|(own, at)| own.eq_ignore_ascii_case(host) && at == port) {
        return Some(answered.server);
    }
    let same = |server: &&ServerUrl| server.host.eq_ignore_ascii_case(host) && server.port == port;
    std::iter::once(answered.server).chain(answered.servers).find(same)
}

fn host_and_port(authority: &str, tls: bool) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) if !port.is_empty() => port.parse().ok()?,
        _ if tls => 443,
        _ => 80,
    };
    Some((host, port))
}

/// RFC 3986 §5.2, without an authority.
fn resolve<'a>(base: &str, reference: &'a str) -> Option<(String, Option<&'a str>)> {
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let base = base.split('?').next().unwrap_or("/");
    let path = match path {
        "" if reference.is_empty() => "/".to_owned(),
        "" => base.to_owned(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{}{relative}", &base[..=base.rfind('/')?]),
    };
    Some((without_dots(&path), query))
}

/// RFC 3986 §5.2.4. A path without dot segments stays as it is.
fn without_dots(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').collect();
    if !segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return path.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in &segments[1..] {
        match *segment {
            "." => {}
            ".." => _ = kept.pop(),
            segment => kept.push(segment),
        }
    }
    if matches!(segments.last(), Some(&"." | &"..")) {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
#[path = "location_tests.rs"]
mod tests;
