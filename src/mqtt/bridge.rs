//! The connection to the broker, and when something is published: all of it when the broker or Home Assistant is new, presence when it
//! changes, figures when a node was heard again.

use std::collections::BTreeMap;
use std::time::Duration;

use rumqttc::{AsyncClient, Event as MqttEvent, EventLoop, LastWill, MqttOptions, Packet, QoS};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::discovery::{BrokerDevice, Topics, devices};
use crate::config::MqttSettings;
use crate::node::{Event, Query};
use crate::runtime::NodeClient;
use crate::runtime::journal::EventGap;

/// Messages that wait for the broker. When full, the newest are dropped: the next round carries what they had.
const QUEUE_MAX: usize = 512;
/// Bytes of one message: a device with many apps.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Between two tries to reach the broker: doubled up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the good-bye to the broker may take.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Changes that follow each other are published together.
const SETTLE: Duration = Duration::from_millis(300);

/// What the connection reports.
enum Notice {
    /// The broker has accepted the connection.
    Connected,
    /// The connection is gone.
    Lost,
    /// Home Assistant has started.
    Birth,
    /// The broker keeps the description of a device of this bridge.
    Kept(String),
}

/// The bridge of a running node. Dropped, it ends without a good-bye, and the broker publishes its last will.
#[derive(Debug)]
pub struct MqttBridge {
    client: AsyncClient,
    bridge_topic: String,
    tasks: JoinSet<()>,
}

impl MqttBridge {
    /// Connects to the broker of the settings, now and whenever it is gone; none where they name none.
    pub fn start(settings: &MqttSettings, node: NodeClient, own_did: &str) -> Option<Self> {
        let broker = settings.broker.as_ref()?;
        let topics = Topics::new(&settings.discovery, &settings.prefix, own_did);
        let mut options = MqttOptions::new(topics.base.replace('/', "-"), &broker.host, broker.port);
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
        options.set_last_will(LastWill::new(topics.bridge(), "offline", QoS::AtLeastOnce, true));
        if !settings.user.is_empty() {
            options.set_credentials(&settings.user, settings.password.text().unwrap_or_default());
        }
        let (client, connection) = AsyncClient::new(options, QUEUE_MAX);
        let (notices_in, notices) = mpsc::channel(QUEUE_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_connected(connection, topics.clone(), notices_in));
        let bridge_topic = topics.bridge();
        let publisher = BridgePublisher {
            topics,
            node,
            client: client.clone(),
            is_connected: false,
            shown: BTreeMap::new(),
        };
        tasks.spawn(publisher.run(notices, settings.every));
        Some(MqttBridge { client, bridge_topic, tasks })
    }

    /// Shows the bridge as offline, and ends.
    pub async fn shutdown(mut self) {
        let ended = async {
            let _ = self.client.publish(self.bridge_topic.as_str(), QoS::AtLeastOnce, true, "offline").await;
            let _ = self.client.disconnect().await;
            // The connection ends once both have left.
            let _ = self.tasks.join_next().await;
        };
        let _ = tokio::time::timeout(END_TIMEOUT, ended).await;
    }
}

/// Keeps the connection, and hands on what the broker sends.
async fn keep_connected(mut connection: EventLoop, topics: Topics, notices: mpsc::Sender<Notice>) {
    let mut pause = RETRY.0;
    let mut is_ending = false;
    loop {
        let notice = match connection.poll().await {
            Ok(MqttEvent::Incoming(Packet::ConnAck(_))) => {
                tracing::info!("connected to the MQTT broker");
                pause = RETRY.0;
                Notice::Connected
            }
            Ok(MqttEvent::Incoming(Packet::Publish(message))) if message.topic == topics.birth() => {
                match message.payload.as_ref() {
                    b"online" => Notice::Birth,
                    _ => continue,
                }
            }
            Ok(MqttEvent::Incoming(Packet::Publish(message))) => match topics.device_of(&message.topic) {
                Some(device) if !message.payload.is_empty() => Notice::Kept(device.to_owned()),
                _ => continue,
            },
            Ok(MqttEvent::Outgoing(rumqttc::Outgoing::Disconnect)) => {
                is_ending = true;
                continue;
            }
            Ok(_) => continue,
            Err(_) if is_ending => return,
            Err(error) => {
                tracing::warn!(
                    "the MQTT broker is not reached, tried again in {} s: {error}",
                    pause.as_secs()
                );
                let _ = notices.send(Notice::Lost).await;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
                continue;
            }
        };
        if notices.send(notice).await.is_err() {
            return;
        }
    }
}

/// What of a device was published last.
#[derive(Default)]
struct Shown {
    config: Json,
    presence: Json,
    figures: Option<Json>,
    /// When the node was heard, for the figures: heard again, they are published again though they are equal.
    heard: Json,
}

/// Whether an event changes what the broker is shown.
fn is_shown(event: &Event) -> bool {
    match event {
        Event::Presence(_) | Event::PeersChanged | Event::Link(_) => true,
        Event::Changed(_)
        | Event::Ended(_)
        | Event::JoiningChanged { .. }
        | Event::Alarm(_)
        | Event::Deploy(_) => false,
    }
}

/// Publishes what has changed.
struct BridgePublisher {
    topics: Topics,
    node: NodeClient,
    client: AsyncClient,
    is_connected: bool,
    shown: BTreeMap<String, Shown>,
}

impl BridgePublisher {
    async fn run(mut self, mut notices: mpsc::Receiver<Notice>, every: Duration) {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = self.node.events();
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    None => return,
                    Some(notice) => self.noticed(notice).await,
                },
                event = events.recv() => match event {
                    Ok(event) if !is_shown(&event.event) => {}
                    Ok(_) | Err(EventGap::Missed(_)) => {
                        tokio::time::sleep(SETTLE).await;
                        events.skip_to_now();
                        self.publish().await;
                    }
                    Err(EventGap::Ended) => return,
                },
                _ = ticks.tick() => self.publish().await,
            }
        }
    }

    async fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Lost => self.is_connected = false,
            Notice::Connected => {
                self.is_connected = true;
                for topic in [self.topics.birth(), self.topics.all_configs()] {
                    if let Err(error) = self.client.try_subscribe(topic, QoS::AtLeastOnce) {
                        tracing::debug!("mqtt: {error}");
                    }
                }
                self.start_over().await;
            }
            Notice::Birth => self.start_over().await,
            Notice::Kept(id) if !self.shown.contains_key(&id) && !self.shown.is_empty() => {
                // A device of a peer that was removed while this bridge was away.
                self.send(self.topics.config(&id), true, String::new());
            }
            Notice::Kept(_) => {}
        }
    }

    /// Publishes everything once more.
    async fn start_over(&mut self) {
        self.shown.clear();
        self.send(self.topics.bridge(), true, "online".to_owned());
        self.publish().await;
    }

    async fn publish(&mut self) {
        if !self.is_connected {
            return;
        }
        let Some(devices) = self.devices().await else { return };
        let gone: Vec<String> =
            self.shown.keys().filter(|id| devices.iter().all(|device| device.id != **id)).cloned().collect();
        for id in gone {
            self.shown.remove(&id);
            self.send(self.topics.config(&id), true, String::new());
        }
        devices.into_iter().for_each(|device| self.show(device));
    }

    async fn devices(&self) -> Option<Vec<BrokerDevice>> {
        let status = self.ask(Query::Status).await?;
        let peers = self.ask(Query::Peers).await?;
        let own = self.ask(Query::State { peer: None }).await.unwrap_or_default();
        Some(devices(&self.topics, &status, &peers, &own))
    }

    async fn ask(&self, query: Query) -> Option<Json> {
        serde_json::to_value(self.node.command(query).await.ok()?).ok()
    }

    fn show(&mut self, device: BrokerDevice) {
        let mut shown = self.shown.remove(&device.id).unwrap_or_default();
        if shown.config != device.config {
            self.send(self.topics.config(&device.id), true, device.config.to_string());
            shown.config = device.config.clone();
        }
        if shown.presence != device.presence {
            self.send(device.presence_topic(), true, device.presence.to_string());
            shown.presence = device.presence.clone();
        }
        let heard = device.presence.get("heard").cloned().unwrap_or_default();
        match &device.figures {
            Some(figures) if shown.figures.as_ref() != Some(figures) || shown.heard != heard => {
                self.send(device.figures_topic(), false, figures.to_string());
                (shown.figures, shown.heard) = (device.figures.clone(), heard);
            }
            Some(_) | None => {}
        }
        self.shown.insert(device.id, shown);
    }

    fn send(&self, topic: String, retain: bool, payload: String) {
        if let Err(error) = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload) {
            tracing::debug!("mqtt: {error}");
        }
    }
}
