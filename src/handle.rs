//! The library's async interface: open a node's folder, start the node, send commands, watch events, stop it.
//!
//! `tombolo up` and the demo use this and nothing beside it.
//!
//! ```no_run
//! use tombolo::handle::{Settings, Tombolo};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = "/var/lib/attic".as_ref();
//! Tombolo::create(folder, "attic")?;
//! let node = Tombolo::start(folder, Settings::from_folder(folder)?).await?;
//! node.create_map("plan").await?;
//! node.set("plan", "monday/watch", &"Ada").await?;
//! assert_eq!(node.get("plan", Some("monday/watch")).await?.as_text(), Some("Ada"));
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{broadcast, mpsc, oneshot};
use tombolo_delta::Value;
use tombolo_transports::tor::OnionSource;
use tombolo_transports::{Address, LanConfig, TorConfig};

use crate::api::rpc::CallServer;
use crate::api::server::LocalServer;
use crate::config::{Config, TorSettings};
use crate::folder::{self, FolderWatch, LinkSecrets, StartError, Vanished};
use crate::layer::{KeyError, KeyPath, Kind};
use crate::node::{Command, CommandError, Event, Node, Query, Reply, Write};
use crate::probe::Publisher;
use crate::runtime::install::{Install, InstallSettings, Installer};
use crate::runtime::links::{Links, LinksError, TorLinks};
use crate::runtime::notify::Notifier;
use crate::runtime::rpc::CallRoutes;
use crate::runtime::{AskError, Driven, Effect, NodeClient, Task, drive};

/// The settings of a node: those of `tombolo.toml`, and what the program that starts it decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The settings of `tombolo.toml`.
    pub config: Config,
    /// Publish CPU, memory, disk, uptime and apps, as configured.
    pub publish: bool,
    /// Serve the local interface on `control.sock`.
    pub socket: bool,
}

impl Settings {
    /// Reads the settings of a folder, to run its node as `tombolo up` does.
    ///
    /// # Errors
    ///
    /// [`StartError`] if no node lives there or its settings are not valid.
    pub fn from_folder(folder: &Path) -> Result<Self, StartError> {
        Ok(Settings { config: folder::load_config(folder)?, publish: true, socket: true })
    }

    /// Settings for a node that listens on one free port of this machine, uses no mDNS, publishes no state and serves
    /// no local interface: for tests and demonstrations.
    pub fn on_loopback(name: &str) -> Self {
        let mut config = Config::new(name);
        config.lan.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        config.lan.mdns = false;
        config.lan.loopback = true;
        config.tor.enabled = false;
        Settings { config, publish: false, socket: false }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The node gave another reply than this call asks for.
    #[error("an unexpected reply")]
    Unexpected,
}

/// How a node ended without [`shutdown`](Tombolo::shutdown).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Its thread is gone: after a panic, or because another clone of its client stopped it.
    #[error("the node ended by itself")]
    Node,
    /// A task that carries messages to and from the links is gone.
    #[error("the part that serves the links ended by itself")]
    Links,
    /// Its key or store is not in its folder any more.
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
    socket: Option<LocalServer>,
    calls: Option<CallServer>,
    publisher: Option<Publisher>,
    installer: Option<Installer>,
    folder: FolderWatch,
    notifier: Option<Notifier>,
    /// None once awaited: the channel resolves only once.
    ended: Option<oneshot::Receiver<()>>,
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

    /// Starts the node of `folder` on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the folder, its store or its links cannot be opened.
    pub async fn start(folder: &Path, settings: Settings) -> Result<Self, StartError> {
        let Settings { config, publish, socket } = settings;
        let (node, secrets) = open(folder, &config).await?;
        let lan = LanConfig {
            listen: config.lan.listen.clone(),
            mdns: config.lan.mdns,
            loopback: config.lan.loopback,
            peers: node.report().dialable_peers().into_iter().map(|(peer, _)| peer).collect(),
            ..LanConfig::new(*secrets.identity)
        };
        let tor = config.tor.enabled.then(|| tor_links(&config.tor, &secrets));
        let driven = drive(node).map_err(|source| system("cannot start a thread", source))?;
        let Driven { client, effects, installs, messages, ended } = driven;
        let (calls, links) = match connect(&config, lan, tor, &client, effects).await {
            Ok(connected) => connected,
            Err(error) => {
                end(&client, Some(ended)).await;
                return Err(error);
            }
        };
        let installer = Some(start_installer(folder, &config, installs, &client));
        let notifier = Some(Notifier::start(config.notify.clone(), messages, client.clone()));
        let mut tombolo = Tombolo {
            client,
            links,
            socket: None,
            calls,
            publisher: None,
            installer,
            folder: FolderWatch::new(folder),
            notifier,
            ended: Some(ended),
        };
        if socket {
            match LocalServer::start(folder, tombolo.client.clone()) {
                Ok(server) => tombolo.socket = Some(server),
                Err(source) => {
                    tombolo.shutdown().await;
                    let path = folder.join(folder::socket::SOCKET_FILE);
                    return Err(StartError::Socket { path, source });
                }
            }
        }
        if publish {
            tombolo.publisher = Some(Publisher::start(folder.to_owned(), &config, tombolo.client.clone()));
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

    /// Makes a document whose keys many may write.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the node refuses or has ended.
    pub async fn create_map(&self, name: &str) -> Result<(), CallError> {
        self.command(Write::Create { name: name.to_owned(), kind: Kind::Map }).await?;
        Ok(())
    }

    /// Sets one key, written `a/b/c`, to anything that serialises; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key or the value is not valid, or the node refuses or has ended.
    pub async fn set(&self, doc: &str, key: &str, value: &impl Serialize) -> Result<(), CallError> {
        let value = tombolo_delta::to_value(value)?;
        let command = Write::Set { doc: doc.to_owned(), key: KeyPath::parse(key)?, value };
        self.command(command).await?;
        Ok(())
    }

    /// Reads a document, or the value at a key.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key is not valid, or the node refuses or has ended.
    pub async fn get(&self, doc: &str, key: Option<&str>) -> Result<Value, CallError> {
        let key = key.map(KeyPath::parse).transpose()?;
        match self.command(Query::Get { doc: doc.to_owned(), key }).await? {
            Reply::Value(value) => Ok(value),
            _ => Err(CallError::Unexpected),
        }
    }

    /// Deletes a key and all below it.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the key is not valid, or the node refuses or has ended.
    pub async fn del(&self, doc: &str, key: &str) -> Result<(), CallError> {
        self.command(Write::Del { doc: doc.to_owned(), key: KeyPath::parse(key)? }).await?;
        Ok(())
    }

    /// The events from now on. A receiver that lags learns how many it missed.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.client.events()
    }

    /// The addresses at which peers can dial this node now.
    pub fn addresses(&self) -> Vec<Address> {
        self.client.addresses()
    }

    /// The path of its local interface, if it serves one; none as long as the disk takes no writes.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(LocalServer::path).filter(|path| path.exists())
    }

    /// The address that takes JSON calls, if the settings name one.
    pub fn calls_address(&self) -> Option<SocketAddr> {
        self.calls.as_ref().map(CallServer::address)
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
        if let Some(publisher) = self.publisher {
            publisher.shutdown().await;
        }
        if let Some(socket) = self.socket {
            socket.shutdown().await;
        }
        if let Some(calls) = self.calls {
            calls.shutdown().await;
        }
        if let Some(installer) = self.installer {
            installer.shutdown().await;
        }
        if let Some(notifier) = self.notifier {
            notifier.shutdown().await;
        }
        self.links.shutdown().await;
        end(&self.client, self.ended).await;
    }
}

/// Opens a folder on a thread that may wait for its disk.
async fn open(folder: &Path, config: &Config) -> Result<(Node, LinkSecrets), StartError> {
    let (folder, config) = (folder.to_owned(), config.clone());
    let opened = tokio::task::spawn_blocking(move || folder::open_to_run(&folder, &config)).await;
    opened.map_err(|e| system("the node did not open", std::io::Error::other(e)))?
}

/// Starts what carries calls and messages: the server of JSON calls, to which the onion service leads too, and the links.
async fn connect(
    config: &Config,
    lan: LanConfig,
    mut tor: Option<TorLinks>,
    client: &NodeClient,
    effects: mpsc::Receiver<Effect>,
) -> Result<(Option<CallServer>, Links), StartError> {
    let calls = start_calls(config, client)?;
    if let (Some(tor), Some(calls)) = (&mut tor, &calls) {
        tor.config.calls = Some(calls.address().to_string());
    }
    let socks = tor.as_ref().map(|tor| tor.config.socks.clone());
    let routes = CallRoutes::new(config.rpc.forward.clone(), socks);
    match Links::start(lan, tor, &config.radios, routes, client.clone(), effects).await {
        Ok(links) => Ok((calls, links)),
        Err(LinksError::Lan(error)) => Err(error.into()),
        Err(LinksError::Tor(error)) => Err(error.into()),
    }
}

/// Starts the server of JSON calls, where the settings or Tor need one.
fn start_calls(config: &Config, client: &NodeClient) -> Result<Option<CallServer>, StartError> {
    let for_tor = config.tor.enabled.then(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let listen = config.rpc.listen.or(for_tor);
    let started = listen.map(|listen| CallServer::start(listen, client.clone())).transpose();
    started.map_err(|source| system("cannot listen for JSON calls (`listen` in section [rpc])", source))
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
}
