//! \[shell\] What a configuration means for the rooms of a route: who is asked whether somebody may come in, and who is told what
//! happens. A reload replaces it as a whole.

use std::net::IpAddr;
use std::sync::Arc;

use super::bearers::Bearers;
use super::counters::Counters;
use super::protocol::{Answer, Keepalive, Protocol, Question};
use super::told::Told;
use super::{blueprints, gst, live, webrtc_server, webrtcsink};
use crate::auth::{Purpose, Query, Store, WebhookError};
use crate::config::{RoomRules, Signalling};

/// Why rooms cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RoomsError {
    /// The webhook of `auth`.
    #[error("signalling.auth: {0}")]
    Auth(WebhookError),
    /// The webhook for joins and leaves.
    #[error("signalling.webhook: {0}")]
    Hooks(WebhookError),
}

/// What a reload replaces.
pub(super) struct Settings {
    pub(super) config: Signalling,
    pub(super) keepalive: Keepalive,
    auth: Option<Store>,
    bearers: Option<Bearers>,
    pub(super) told: Told,
}

impl Settings {
    /// Who is told stays the same unless the rules say something else: what waits for them is not lost.
    pub(super) fn new(
        config: &Signalling,
        keepalive: Keepalive,
        counters: &Arc<Counters>,
        former: Option<&Settings>,
    ) -> Result<Self, RoomsError> {
        let auth = match &config.rules {
            RoomRules::WebrtcServer(rules) => Some(Store::new(&rules.auth).map_err(RoomsError::Auth)?),
            _ => None,
        };
        let bearers = match &config.rules {
            RoomRules::Live(rules) => rules.auth.webhook.as_ref().map(Bearers::new).transpose(),
            _ => Ok(None),
        };
        let told = match former.filter(|former| Told::is_same(&former.config.rules, &config.rules)) {
            Some(former) => former.told.clone(),
            None => Told::new(&config.rules, counters).map_err(RoomsError::Hooks)?,
        };
        Ok(Settings {
            config: config.clone(),
            keepalive,
            auth,
            bearers: bearers.map_err(RoomsError::Auth)?,
            told,
        })
    }

    /// Finds the answer to a question, which may take seconds.
    pub(super) async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Login { username, password, room, client } => {
                let is_valid = match &self.auth {
                    Some(store) => is_login(store, &username, &password, &room, client).await,
                    None => false,
                };
                Answer::Login { username, is_valid }
            }
            Question::Bearer { bearer, room, client } => {
                let user = match &self.bearers {
                    Some(bearers) => bearers.user(&bearer, &room, client).await,
                    None => None,
                };
                Answer::Bearer { user }
            }
        }
    }
}

/// The state machine of a configuration, without anybody in it yet.
pub(super) fn protocol(config: &Signalling) -> Box<dyn Protocol> {
    let limits = &config.limits;
    match &config.rules {
        RoomRules::WebrtcServer(rules) => Box::new(webrtc_server::WebrtcServer::new(rules, limits)),
        RoomRules::Blueprints(rules) => Box::new(blueprints::Blueprints::new(rules, limits)),
        RoomRules::Gst(rules) => Box::new(gst::Gst::new(rules, limits)),
        RoomRules::Webrtcsink(rules) => Box::new(webrtcsink::Webrtcsink::new(rules, limits)),
        RoomRules::Live(rules) => Box::new(live::Live::new(rules, limits)),
    }
}

async fn is_login(store: &Store, username: &str, password: &str, room: &str, client: IpAddr) -> bool {
    let query = Query { username, purpose: Purpose::Signalling, room: Some(room), remote: client };
    store.login(&query, password).await.is_ok()
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}
