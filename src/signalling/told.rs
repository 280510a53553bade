//! \[shell\] Those outside who are told what happens in the rooms of a route: a webhook, a broker, a file.

use std::sync::Arc;

use super::broker::Broker;
use super::counters::Counters;
use super::hooks::Hooks;
use super::line_file::LineFile;
use super::protocol::Notice;
use crate::auth::WebhookError;
use crate::config::RoomRules;

/// Clones share everything.
#[derive(Clone, Default)]
pub(super) struct Told {
    hooks: Option<Hooks>,
    broker: Option<Arc<Broker>>,
    file: Option<Arc<LineFile>>,
}

impl Told {
    pub(super) fn new(rules: &RoomRules, counters: &Arc<Counters>) -> Result<Self, WebhookError> {
        let (webhook, events) = match rules {
            RoomRules::WebrtcServer(rules) => (rules.webhook.as_ref(), None),
            RoomRules::Live(rules) => (rules.events.webhook.as_ref(), Some(&rules.events)),
            _ => (None, None),
        };
        let broker = events.and_then(|events| events.amqp.as_ref());
        let file = events.and_then(|events| events.file.as_ref());
        Ok(Told {
            hooks: webhook.map(|webhook| Hooks::new(webhook, counters.clone())).transpose()?,
            broker: broker.map(|broker| Arc::new(Broker::new(broker, counters.clone()))),
            file: file.map(|file| Arc::new(LineFile::new(file, counters.clone()))),
        })
    }

    /// Whether two sets of rules tell the same.
    pub(super) fn is_same(a: &RoomRules, b: &RoomRules) -> bool {
        match (a, b) {
            (RoomRules::WebrtcServer(a), RoomRules::WebrtcServer(b)) => a.webhook == b.webhook,
            (RoomRules::Live(a), RoomRules::Live(b)) => a.events == b.events,
            _ => false,
        }
    }

    /// Takes a notice for everybody; never waits.
    pub(super) fn tell(&self, notice: Notice) {
        if let Some(file) = &self.file {
            file.tell(&notice);
        }
        if let Some(broker) = &self.broker {
            broker.tell(notice.clone());
        }
        if let Some(hooks) = &self.hooks {
            hooks.tell(notice);
        }
    }

    /// Whether a notice would be lost.
    pub(super) fn is_full(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.is_full())
            || self.file.as_ref().is_some_and(|file| file.is_full())
    }

    /// Waits until what a webhook is to hear is delivered or given up.
    pub(super) async fn settle(&self) {
        if let Some(hooks) = &self.hooks {
            hooks.settle().await;
        }
    }
}
