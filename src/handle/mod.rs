//! The library's async interface: open a node's folder, keep documents in step, follow what changes, federate, stop.
//!
//! `tombolo up` and the demo use this and nothing beside it. [`Tombolo`] is the running node; [`MapHandle`] and [`SnapshotHandle`] are cheap
//! handles to its documents, which may be cloned and sent to other tasks; [`Changes`] is a stream of what changes in one.

mod changes;
mod documents;
mod federation;
#[cfg(not(feature = "cli"))]
mod no_program;
#[cfg(feature = "cli")]
mod program;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tombolo_transports::tor::OnionSource;
use tombolo_transports::{Address, LanConfig, TorConfig};

use crate::config::{Config, TorSettings};
use crate::folder::{self, FolderWatch, LinkSecrets, StartError, Vanished};
use crate::io::{SENSORS_MAX, SensorError};
use crate::layer::KeyError;
use crate::node::{Command, CommandError, Node, Reply};
use crate::runtime::clock_watch::ClockWatch;
use crate::runtime::install::{Install, InstallSettings, Installer};
use crate::runtime::journal::EventReader;
use crate::runtime::links::{Links, LinksError, TorLinks};
use crate::runtime::rpc::CallRoutes;
use crate::runtime::{AskError, Driven, Effect, NodeClient, Task, drive};
pub use changes::{Changes, KeyChange};
pub use documents::{MapHandle, SnapshotHandle};
#[cfg(not(feature = "cli"))]
use no_program::NoProgram as ProgramParts;
#[cfg(feature = "cli")]
use program::ProgramParts;

/// The settings of a node: those of `tombolo.toml`, and what the program that starts it decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The settings of `tombolo.toml`.
    pub config: Config,
    /// Publish CPU, memory, disk, uptime and apps, as configured; only with the feature `cli`.
    pub publish: bool,
    /// Serve the local interface on `control.sock`; only with the feature `cli`.
    pub socket: bool,
}

impl Settings {
    /// Reads the settings of a folder, to run its node as `tombolo up` does.
    ///
    /// # Errors
    ///
    /// [`StartError`] if no node lives there or its settings are not valid.
    pub fn from_folder(folder: &Path) -> Result<Self, StartError> {
        let has_program = cfg!(feature = "cli");
        Ok(Settings { config: folder::load_config(folder)?, publish: has_program, socket: has_program })
    }

    /// All defaults under a name, for a node inside another program: it publishes no state of the machine and serves no local
    /// interface.
    pub fn named(name: &str) -> Self {
        Settings { config: Config::new(name), publish: false, socket: false }
    }

    /// Settings for a node that listens on one free port of this machine, uses no mDNS, publishes no state and serves
    /// no local interface: for tests and demonstrations.
    pub fn on_loopback(name: &str) -> Self {
        let mut settings = Settings::named(name);
        let config = &mut settings.config;
        config.lan.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        config.lan.mdns = false;
        config.lan.loopback = true;
        config.tor.enabled = false;
        settings
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The node refused the command, or has ended.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The text is not a key.
    #[error("not a key: {0}")]
    Key(#[from] KeyError),
    /// The value cannot be part of a document.
    #[error("this value cannot be kept: {0}")]
    Value(#[from] tombolo_delta::SerdeError),
    /// The value is there, and not of the type that was asked for.
    #[error("the value is of another type: {0}")]
    Type(tombolo_delta::SerdeError),
    /// A sensor that a state cannot have.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// As many sensors as a state has are set.
    #[error("a state has at most {SENSORS_MAX} sensors")]
    TooManySensors,
    /// A document of that name is there, and of the other kind.
    #[error("{name} is a {found}")]
    OtherKind {
        /// The name of the document.
        name: String,
        /// The kind that it has: `map` or `snapshot`.
        found: &'static str,
    },
    /// The node gave another reply than this call asks for.
    #[error("an unexpected reply")]
    Unexpected,
}

/// How a node ended without [`shutdown`](Tombolo::shutdown).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// Its thread is gone: after a panic, or because another clone of its client stopped it.
    #[error("the node ended by itself")]
    Node,
    /// A task that carries messages to and from the links is gone.
    #[error("the part that serves the links ended by itself")]
    Links,
    /// Its key, store or log is not in its folder any more.
    #[error(transparent)]
    Folder(#[from] Vanished),
}

/// How long the end of a node may take to show after its links have ended with it.
const NODE_ENDS_TOO: Duration = Duration::from_millis(500);

/// A running node. Dropping it ends it at once, with nothing lost; [`shutdown`](Self::shutdown) closes the links with
/// notice to the peers first, and returns when the store is closed.
pub struct Tombolo {
    client: NodeClient,
    links: Links,
    installer: Installer,
    folder: FolderWatch,
    /// Whether the state of the machine is published.
    publishes: bool,
    program: ProgramParts,
    _clock: ClockWatch,
    /// None once awaited: the channel resolves only once.
    ended: Option<oneshot::Receiver<()>>,
    _stop: StopWhenDropped,
}

/// Stops the node of a `Tombolo` that is dropped: handles to its documents do not keep it.
struct StopWhenDropped(NodeClient);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Tombolo {
    /// Makes a new node in `folder`: its settings, identity and store. An identity that is there is never touched.
    ///
    /// # Errors
    ///
    /// [`StartError`] if a node lives there already, or the folder or its files cannot be written.
    pub fn create(folder: &Path, name: &str) -> Result<(), StartError> {
        folder::create(folder, name)
    }

    /// Starts the node of `folder`, and makes it first where there is none: with the name in the settings, which are then written
    /// there. A node that is there keeps its identity and takes these settings.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the folder, its store or its links cannot be opened.
    pub async fn open(folder: impl AsRef<Path>, settings: Settings) -> Result<Self, StartError> {
        let folder = folder.as_ref();
        if !folder::key::exists(folder) {
            folder::create(folder, &settings.config.name)?;
        }
        Tombolo::start(folder, settings).await
    }

    /// Starts the node of `folder` on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the folder, its store or its links cannot be opened, or the settings ask for what this program was built
    /// without.
    pub async fn start(folder: &Path, settings: Settings) -> Result<Self, StartError> {
        check_features(&settings)?;
        let config = &settings.config;
        let (node, secrets) = open(folder, config).await?;
        let own_did = node.report().id().did;
        let lan = lan_config(config, &node, &secrets);
        let mut tor = config.tor.enabled.then(|| tor_links(&config.tor, &secrets));
        let driven = drive(node).map_err(|source| system("cannot start a thread", source))?;
        let Driven { client, effects, installs, messages, ended } = driven;
        let connected = async {
            let program = ProgramParts::begin(config, own_did, &client, messages, &mut tor)?;
            Ok((program, connect(config, lan, tor, &client, effects).await?))
        };
        let (program, links) = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                end(&client, Some(ended)).await;
                return Err(error);
            }
        };
        let installer = start_installer(folder, config, installs, &client);
        let mut tombolo = Tombolo {
            _stop: StopWhenDropped(client.clone()),
            client: client.clone(),
            links,
            installer,
            folder: FolderWatch::new(folder),
            publishes: settings.publish,
            program,
            _clock: ClockWatch::start(client),
            ended: Some(ended),
        };
        if let Err(error) = tombolo.program.start(folder, &settings, &tombolo.client) {
            tombolo.shutdown().await;
            return Err(error);
        }
        Ok(tombolo)
    }

    /// Sends any command; for a `Join` the reply comes when both sides have agreed.
    ///
    /// # Errors
    ///
    /// [`AskError`] if the node refuses or has ended.
    pub async fn command(&self, command: impl Into<Command>) -> Result<Reply, AskError> {
        self.client.command(command).await
    }

    /// All events of the node from now on, each with an id and a time. A reader that is far behind learns how many it missed. [`MapHandle::watch`]
    /// has the changes of one document, as a stream.
    pub fn watch(&self) -> EventReader {
        self.client.events()
    }

    /// The addresses at which peers can dial this node now.
    pub fn addresses(&self) -> Vec<Address> {
        self.client.addresses()
    }

    /// Sends commands to the node and receives its events; cheap to clone, and no use once the node has ended.
    pub fn client(&self) -> NodeClient {
        self.client.clone()
    }

    /// The path of its local interface, if it serves one; none as long as the disk takes no writes.
    #[cfg(feature = "cli")]
    pub fn socket(&self) -> Option<&Path> {
        self.program.socket()
    }

    /// The address that takes JSON calls, if the settings name one.
    #[cfg(feature = "cli")]
    pub fn calls_address(&self) -> Option<SocketAddr> {
        self.program.calls_address()
    }

    /// The address of the page, if the settings name one.
    #[cfg(feature = "web")]
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.program.web_address()
    }

    /// Waits until the node or the tasks of its links end by themselves, or its folder is gone: each is a fault.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            biased;
            () = node_ended(&mut self.ended) => return Ended::Node,
            () = self.links.ended() => {}
            vanished = self.folder.vanished() => return vanished.into(),
        }
        // The links end with their node: then the node is the cause.
        match tokio::time::timeout(NODE_ENDS_TOO, node_ended(&mut self.ended)).await {
            Ok(()) => Ended::Node,
            Err(_) => Ended::Links,
        }
    }

    /// Ends the node: the local interface first, then the links, then the store.
    pub async fn shutdown(self) {
        self.program.shutdown().await;
        self.installer.shutdown().await;
        self.links.shutdown().await;
        end(&self.client, self.ended).await;
    }
}

/// Refuses settings that ask for a part that this program was built without: none of it would run.
fn check_features(settings: &Settings) -> Result<(), StartError> {
    let config = &settings.config;
    let wants_program = settings.publish || settings.socket || config.rpc.listen.is_some();
    let what = match () {
        () if cfg!(not(feature = "cli")) && wants_program => {
            "the local interface, JSON calls and the published state come with the feature `cli`"
        }
        () if cfg!(not(feature = "web")) && config.web.listen.is_some() => {
            "the page and the metrics come with the feature `web`"
        }
        () if cfg!(not(feature = "mqtt")) && config.mqtt.broker.is_some() => {
            "the bridge to a broker comes with the feature `mqtt`"
        }
        () => return Ok(()),
    };
    Err(system(what, std::io::Error::from(std::io::ErrorKind::Unsupported)))
}

/// Opens a folder on a thread that may wait for its disk.
async fn open(folder: &Path, config: &Config) -> Result<(Node, LinkSecrets), StartError> {
    let (folder, config) = (folder.to_owned(), config.clone());
    let opened = tokio::task::spawn_blocking(move || folder::open_to_run(&folder, &config)).await;
    opened.map_err(|e| system("the node did not open", std::io::Error::other(e)))?
}

/// Starts the links that the settings ask for.
async fn connect(
    config: &Config,
    lan: LanConfig,
    tor: Option<TorLinks>,
    client: &NodeClient,
    effects: mpsc::Receiver<Effect>,
) -> Result<Links, StartError> {
    let socks = tor.as_ref().map(|tor| tor.config.socks.clone());
    let routes = CallRoutes::new(config.rpc.forward.clone(), socks);
    match Links::start(lan, tor, &config.radios, routes, client.clone(), effects).await {
        Ok(links) => Ok(links),
        Err(LinksError::Lan(error)) => Err(error.into()),
        Err(LinksError::Tor(error)) => Err(error.into()),
    }
}

fn start_installer(
    folder: &Path,
    config: &Config,
    installs: mpsc::Receiver<Install>,
    client: &NodeClient,
) -> Installer {
    let settings = InstallSettings {
        template: config.deploy.command.clone(),
        timeout: config.deploy.timeout,
        catalogue: folder::catalogue_path(folder, config),
    };
    Installer::start(settings, installs, client.clone())
}

fn lan_config(config: &Config, node: &Node, secrets: &LinkSecrets) -> LanConfig {
    LanConfig {
        listen: config.lan.listen.clone(),
        mdns: config.lan.mdns,
        loopback: config.lan.loopback,
        peers: node.report().dialable_peers().into_iter().map(|(peer, _)| peer).collect(),
        ..LanConfig::new(*secrets.identity)
    }
}

fn tor_links(settings: &TorSettings, secrets: &LinkSecrets) -> TorLinks {
    let onion = match settings.onion {
        Some(host) => OnionSource::Fixed { host, listen: settings.listen.clone() },
        None => OnionSource::Control { client_auth: settings.client_auth },
    };
    let config = TorConfig {
        control: settings.control(),
        credentials: settings.credentials(),
        onion,
        asked_for: settings.is_asked_for(),
        ..TorConfig::new(*secrets.identity, *secrets.onion, settings.socks())
    };
    TorLinks { config, required: settings.is_asked_for() }
}

/// Stops the node and waits until its store is closed.
async fn end(client: &NodeClient, mut ended: Option<oneshot::Receiver<()>>) {
    let _ = client.send(Task::Stop).await;
    node_ended(&mut ended).await;
}

/// Waits for the end of the node, unless that was awaited before.
async fn node_ended(ended: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = ended {
        let _ = receiver.await;
        *ended = None;
    }
}

fn system(what: &str, source: std::io::Error) -> StartError {
    StartError::System { what: what.to_owned(), source }
}

impl CallError {
    /// The reason of the node, if it refused the command.
    pub fn refusal(&self) -> Option<&CommandError> {
        match self {
            CallError::Ask(AskError::Refused(error)) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Query, Write};
    use crate::layer::{KeyPath, Kind};
    use tombolo_delta::Value;

    /// Both wait for the same end, on a channel that resolves once.
    #[tokio::test]
    async fn a_node_that_ended_by_itself_can_be_shut_down() {
        let folder = tempfile::tempdir().unwrap();
        Tombolo::create(folder.path(), "attic").unwrap();
        let mut node = Tombolo::start(folder.path(), Settings::on_loopback("attic")).await.unwrap();
        node.client.send(Task::Stop).await.unwrap();
        assert_eq!(node.ended().await, Ended::Node);
        node.shutdown().await;
    }

    /// A node without links receives nothing: that must not look as if it ran.
    #[tokio::test]
    async fn links_that_fail_end_a_node() {
        let folder = tempfile::tempdir().unwrap();
        Tombolo::create(folder.path(), "attic").unwrap();
        let mut node = Tombolo::start(folder.path(), Settings::on_loopback("attic")).await.unwrap();
        node.links.fail();
        assert_eq!(node.ended().await, Ended::Links);
        node.shutdown().await;
    }

    fn numbers(count: u64) -> Vec<(String, Value)> {
        (0..count).map(|n| (format!("k{n}"), Value::from(n))).collect()
    }

    /// A snapshot that was made and not yet written has no state, whatever its type asks for.
    #[tokio::test]
    async fn a_new_snapshot_has_no_state_yet() {
        let folder = tempfile::tempdir().unwrap();
        let node = Tombolo::open(folder.path(), Settings::on_loopback("attic")).await.unwrap();
        let report = node.create_snapshot::<(u8, String)>("report").await.unwrap();
        assert_eq!(report.get().await.unwrap(), None);
        report.put(&(1, "a".to_owned())).await.unwrap();
        assert_eq!(report.get().await.unwrap(), Some((1, "a".to_owned())));
        let other = node.snapshot::<u8>("report").get().await.unwrap_err().to_string();
        assert!(other.starts_with("the value is of another type: invalid type"), "{other}");
        node.shutdown().await;
    }

    /// A peer that gets another name here has still the same document: a watcher of it sees no change but those that are made.
    #[tokio::test]
    async fn a_watched_document_does_not_depend_on_the_name_of_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let attic = Tombolo::open(folder.path().join("attic"), Settings::on_loopback("attic")).await.unwrap();
        let boat = Tombolo::open(folder.path().join("boat"), Settings::on_loopback("boat")).await.unwrap();
        let plan = attic.create_map("plan").await.unwrap();
        plan.set("monday", &1).await.unwrap();
        let code = attic.invite(crate::TrustLevel::Trusted, Duration::from_secs(60)).await.unwrap();
        boat.join(&code).await.unwrap();
        attic.in_step("boat").await.unwrap();
        let mut changes = boat.map("attic/plan").watch().await.unwrap();
        let name = crate::node::Admin::Rename { peer: "attic".into(), name: "loft".into() };
        boat.command(name).await.unwrap();
        plan.set("tuesday", &2).await.unwrap();
        let change = changes.next().await.unwrap();
        assert_eq!((change.key.as_str(), change.new), ("tuesday", Some(Value::from(2u64))));
        attic.shutdown().await;
        boat.shutdown().await;
    }

    /// An address that this machine does not have is named.
    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::on_loopback("attic");
        settings.config.lan.listen = vec![SocketAddr::from(([192, 0, 2, 1], 1))];
        let Err(error) = Tombolo::open(folder.path(), settings).await else { panic!("it listens") };
        assert!(error.to_string().contains("192.0.2.1:1"), "{error}");
    }

    /// A large write is one commit: others see what was there before or all of it.
    #[tokio::test]
    async fn a_large_write_is_seen_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        Tombolo::create(folder.path(), "attic").unwrap();
        let node = Tombolo::start(folder.path(), Settings::on_loopback("attic")).await.unwrap();
        let client = node.client();
        client.command(Write::Create { name: "plan".to_owned(), kind: Kind::Map }).await.unwrap();
        let document = async || match client.command(Query::Document { doc: "plan".to_owned() }).await {
            Ok(Reply::Document(document)) => document,
            other => panic!("{other:?}"),
        };
        let put = |count: u64, whole| {
            let value = Value::map(numbers(count));
            Write::Put { doc: "plan".to_owned(), value, whole }
        };
        let on = |base: &str, write: Write| Write::OnBase { base: base.to_owned(), write: Box::new(write) };
        let (mut version, mut sequence) = (document().await.version, 1);
        for (keys, is_based, write) in [
            (30_000, false, put(30_000, true)),
            (20_000, true, put(20_000, false)),
            (25_000, false, put(25_000, false)),
            (24_999, true, Write::Del { doc: "plan".to_owned(), key: KeyPath::parse("k0").unwrap() }),
        ] {
            let write = if is_based { on(&version, write) } else { write };
            let before = document().await;
            let writer = {
                let client = client.clone();
                tokio::spawn(async move { client.command(write).await })
            };
            while !writer.is_finished() {
                let now = document().await;
                let Value::Map(members) = &now.value else { panic!() };
                assert!(now.version == before.version || members.len() == keys, "{}", members.len());
            }
            let Ok(Reply::Written(written)) = writer.await.unwrap() else { panic!("not written") };
            assert_eq!(written.sequence, sequence + 1, "one commit");
            sequence = written.sequence;
            version = document().await.version;
        }
        let stale = client.command(on(&"0".repeat(20), put(30_000, false))).await;
        assert!(matches!(stale, Err(AskError::Refused(CommandError::Stale { .. }))), "{stale:?}");
        let too_long = ("k1".to_owned(), Value::from("x".repeat(70_000).as_str()));
        let value = Value::map([numbers(6_000), vec![too_long]].concat());
        client.command(Write::Put { doc: "plan".to_owned(), value, whole: false }).await.unwrap_err();
        assert_eq!(document().await.version, version);
        node.shutdown().await;
    }

    /// A large write to a document that another program changes all the time is done as well, and so is what that program writes.
    #[tokio::test]
    async fn a_large_write_and_many_small_ones_do_not_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        Tombolo::create(folder.path(), "attic").unwrap();
        let node = Tombolo::start(folder.path(), Settings::on_loopback("attic")).await.unwrap();
        let client = node.client();
        client.command(Write::Create { name: "plan".to_owned(), kind: Kind::Map }).await.unwrap();
        for whole in [false, true] {
            let writer = {
                let value = Value::map([("put".to_owned(), Value::map(numbers(30_000)))]);
                let (client, write) = (client.clone(), Write::Put { doc: "plan".to_owned(), value, whole });
                tokio::spawn(async move { client.command(write).await })
            };
            let mut n = 0u64;
            while !writer.is_finished() {
                n += 1;
                let key = KeyPath::parse("between").unwrap();
                let set = Write::Set { doc: "plan".to_owned(), key, value: Value::from(n) };
                client.command(set).await.unwrap();
            }
            match writer.await.unwrap() {
                Err(AskError::Refused(CommandError::Changing(_))) if whole => continue,
                written => drop(written.unwrap()),
            }
            let key = Some(KeyPath::parse("put").unwrap());
            let put = client.command(Query::Get { doc: "plan".to_owned(), key }).await.unwrap();
            assert_eq!(put, Reply::Value(Value::map(numbers(30_000))));
            client
                .command(Write::Del { doc: "plan".to_owned(), key: KeyPath::parse("put").unwrap() })
                .await
                .unwrap();
        }
        node.shutdown().await;
    }
}
