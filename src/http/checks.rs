//! Asks the servers of upstream groups every few seconds whether they are well, so that a dead one leaves the rotation before
//! a request meets it, and comes back when it is well again.
//!
//! Each service checks the groups that its own routes use, with its own TLS settings: what counts is whether *its* requests
//! get through.

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::pools::Home;
use super::service::HttpService;
use crate::config::{HealthCheck, ServerUrl};
use crate::route::{Evidence, RequestKind};

/// Checks all servers of `groups` for ever.
pub(super) async fn check_all(service: &HttpService, groups: impl Iterator<Item = usize>) {
    let mut checks = Vec::new();
    for group in groups {
        let Some(check) = service.pools.get(group).and_then(|pool| pool.check.as_ref()) else { continue };
        let servers = service.pools.servers(group).into_iter();
        checks.extend(servers.map(|(home, server)| check_one(service, home, server, check)));
    }
    join_all(checks).await;
}

async fn check_one(service: &HttpService, home: Home, server: ServerUrl, check: &HealthCheck) {
    loop {
        match ask(service, &server, check).await {
            Ok(()) => service.pools.report(home, Evidence::CheckPassed, ""),
            Err(reason) => service.pools.report(home, Evidence::CheckFailed, &reason),
        }
        sleep(check.interval).await;
    }
}

async fn ask(service: &HttpService, server: &ServerUrl, check: &HealthCheck) -> Result<(), String> {
    let is_http = RequestKind::of(server.scheme) == RequestKind::Http;
    let path = check.path.as_deref().filter(|_| is_http);
    match timeout(check.timeout, service.upstreams.check(server, path)).await {
        Ok(result) => result,
        Err(_) => Err(format!("check: no answer within {:?}", check.timeout)),
    }
}
