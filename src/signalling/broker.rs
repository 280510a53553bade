//! \[shell\] Publishes notices at a broker that speaks AMQP 0-9-1, such as RabbitMQ: in order, confirmed, again after the broker
//! was away. Signalling never waits for it: what finds no place in the queue is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::counters::Counters;
use super::protocol::Notice;
use crate::config::LiveBroker;

/// Notices that wait for the broker; at some 500 bytes each 5 MB, a minute of a very busy edge.
const QUEUE: usize = 10_000;
/// Pauses between attempts to reach the broker grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// For a connection with its channel, and for a confirmation.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// The way to the broker; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    queue: mpsc::Sender<Notice>,
    counters: Arc<Counters>,
}

impl Broker {
    pub(super) fn new(config: &LiveBroker, counters: Arc<Counters>) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE);
        tokio::spawn(publish_all(config.clone(), notices, counters.clone()));
        Broker { queue, counters }
    }

    /// Takes a notice for publication; never waits.
    pub(super) fn tell(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.counters.noticed(false);
            warn!("the broker is too slow or away: an event is dropped");
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.capacity() == 0
    }
}

async fn publish_all(config: LiveBroker, mut notices: mpsc::Receiver<Notice>, counters: Arc<Counters>) {
    let mut held = None;
    let mut pause = FIRST_PAUSE;
    loop {
        match connect(&config).await {
            Ok((connection, channel)) => {
                info!(exchange = %config.exchange, "events are published");
                pause = FIRST_PAUSE;
                match publish(&config, &channel, &mut notices, &mut held, &counters).await {
                    Ok(()) => {
                        let _ = connection.close(200, "the edge stops".into()).await;
                        return;
                    }
                    Err(error) => warn!(%error, "the broker is gone; events wait"),
                }
            }
            Err(error) => warn!(%error, again_in = ?pause, "the broker cannot be reached; events wait"),
        }
        if notices.is_closed() && held.is_none() && notices.is_empty() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Publishes until the broker is gone (an error) or nobody has anything to tell any more. What is not confirmed is held.
async fn publish(
    config: &LiveBroker,
    channel: &Channel,
    notices: &mut mpsc::Receiver<Notice>,
    held: &mut Option<Notice>,
    counters: &Counters,
) -> Result<(), Trouble> {
    loop {
        if held.is_none() {
            *held = notices.recv().await;
        }
        let Some(notice) = held.as_ref() else { return Ok(()) };
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions::default();
        let (exchange, topic) = (name(&config.exchange), name(notice.topic));
        let publish = channel.basic_publish(exchange, topic, options, &notice.body, properties);
        let confirmed =
            timeout(TIMEOUT, async { publish.await?.await }).await.map_err(|_| Trouble::Silent)??;
        counters.noticed(!matches!(confirmed, Confirmation::Nack(_)));
        *held = None;
    }
}

async fn connect(config: &LiveBroker) -> Result<(Connection, Channel), Trouble> {
    let connecting = async {
        let properties = ConnectionProperties::default().with_connection_name("xrtc".into());
        let connection = Connection::connect(config.url.expose(), properties).await?;
        let channel = declared(config, &connection).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok((connection, channel))
    };
    timeout(TIMEOUT, connecting).await.map_err(|_| Trouble::Silent)?
}

/// An exchange that exists is used as it is, whatever its type; a failed look closes the channel it was made on.
async fn declared(config: &LiveBroker, connection: &Connection) -> Result<Channel, lapin::Error> {
    let kind = || match &*config.exchange_type {
        "direct" => ExchangeKind::Direct,
        "fanout" => ExchangeKind::Fanout,
        "headers" => ExchangeKind::Headers,
        _ => ExchangeKind::Topic,
    };
    let look = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let channel = connection.create_channel().await?;
    let looked = channel.exchange_declare(name(&config.exchange), kind(), look, FieldTable::default()).await;
    if looked.is_ok() {
        return Ok(channel);
    }
    let make = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let channel = connection.create_channel().await?;
    channel.exchange_declare(name(&config.exchange), kind(), make, FieldTable::default()).await?;
    Ok(channel)
}

/// Names of exchanges and topics are at most 255 bytes; the configuration and the protocol keep to that.
fn name(text: &str) -> ShortString {
    ShortString::from(text)
}

/// Why the broker does not take what is published.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Broker(#[from] lapin::Error),
    #[error("it does not answer")]
    Silent,
}
