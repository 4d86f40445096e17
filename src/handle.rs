//! The library's async face: open a node's folder, start it, ask it, watch it, end it.
//!
//! The command line's `up` and the demo stand on this and on nothing beside it.
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
use tokio::sync::{broadcast, oneshot};
use tombolo_delta::Value;
use tombolo_transports::{Address, LanConfig};

use crate::config::Config;
use crate::daemon::links::Links;
use crate::daemon::local::LocalServer;
use crate::daemon::open::{self, StartError};
use crate::daemon::probe::Publisher;
use crate::daemon::{AskError, Driven, NodeClient, Task, drive};
use crate::layer::{KeyError, KeyPath, Kind};
use crate::node::{Command, CommandError, Event, Reply};

/// What a program decides about a node beside what `tombolo.toml` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's settings.
    pub config: Config,
    /// Publish CPU, memory, disk, uptime and apps as the settings say.
    pub publish: bool,
    /// Answer on `control.sock`.
    pub socket: bool,
}

impl Settings {
    /// What `tombolo up` does with a folder.
    pub fn from_folder(folder: &Path) -> Result<Self, StartError> {
        Ok(Settings { config: open::load_config(folder)?, publish: true, socket: true })
    }

    /// A node that listens on one free port of this machine, finds nobody by itself, publishes nothing
    /// and answers on no socket: for tests and demonstrations.
    pub fn on_loopback(name: &str) -> Self {
        let mut config = Config::new(name);
        config.lan.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        config.lan.mdns = false;
        config.lan.loopback = true;
        Settings { config, publish: false, socket: false }
    }
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node refused, or has ended.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Not a key.
    #[error("not a key: {0}")]
    Key(#[from] KeyError),
    /// The value has no place in a document.
    #[error("this value cannot be kept: {0}")]
    Value(#[from] tombolo_delta::SerdeError),
    /// The node gave another reply than this call asks for.
    #[error("an unexpected reply")]
    Unexpected,
}

/// How a node ended that nobody told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Its thread is gone: after a panic, or because it was told to stop elsewhere.
    #[error("the node ended by itself")]
    Node,
    /// A task that carries messages to and from the links is gone.
    #[error("the part that serves the links ended by itself")]
    Links,
}

/// How long a node that takes its links along may take to be seen ending itself.
const NODE_ENDS_TOO: Duration = Duration::from_millis(500);

/// A running node. Dropping it ends it at once, with nothing lost; [`shutdown`](Self::shutdown) says
/// goodbye to the peers first, and returns when the store is closed.
pub struct Tombolo {
    client: NodeClient,
    links: Links,
    socket: Option<LocalServer>,
    publisher: Option<Publisher>,
    /// None once awaited: it tells only once.
    ended: Option<oneshot::Receiver<()>>,
}

impl Tombolo {
    /// Makes a new node in `folder`: its settings, identity and store. An identity that is there is
    /// never touched.
    pub fn create(folder: &Path, name: &str) -> Result<(), StartError> {
        open::create(folder, name)
    }

    /// Starts the node of `folder` on the present tokio runtime.
    pub async fn start(folder: &Path, settings: Settings) -> Result<Self, StartError> {
        let Settings { config, publish, socket } = settings;
        let (node, secret) = {
            let (folder, config) = (folder.to_owned(), config.clone());
            let opened = tokio::task::spawn_blocking(move || open::open(&folder, &config)).await;
            let stopped = |e| system("the node did not open", std::io::Error::other(e));
            opened.map_err(stopped)??
        };
        let lan = LanConfig {
            listen: config.lan.listen.clone(),
            mdns: config.lan.mdns,
            loopback: config.lan.loopback,
            peers: node.dialable_peers().into_iter().map(|(peer, _)| peer).collect(),
            ..LanConfig::new(*secret)
        };
        let driven = drive(node).map_err(|source| system("cannot start a thread", source))?;
        let Driven { client, effects, ended } = driven;
        let links = match Links::start(lan, &config.radios, client.clone(), effects).await {
            Ok(links) => links,
            Err(error) => {
                end(&client, Some(ended)).await;
                return Err(error.into());
            }
        };
        let mut tombolo = Tombolo { client, links, socket: None, publisher: None, ended: Some(ended) };
        if socket {
            match LocalServer::start(folder, tombolo.client.clone()) {
                Ok(server) => tombolo.socket = Some(server),
                Err(source) => {
                    tombolo.shutdown().await;
                    let path = folder.join(crate::daemon::unix::SOCKET_FILE);
                    return Err(StartError::Socket { path, source });
                }
            }
        }
        if publish {
            tombolo.publisher = Some(Publisher::start(folder.to_owned(), &config, tombolo.client.clone()));
        }
        Ok(tombolo)
    }

    /// Asks anything; for a `Join` the reply comes when both sides agreed.
    pub async fn command(&self, command: Command) -> Result<Reply, AskError> {
        self.client.command(command).await
    }

    /// Makes a document of which many may write each key.
    pub async fn create_map(&self, name: &str) -> Result<(), CallError> {
        self.command(Command::Create { name: name.to_owned(), kind: Kind::Map }).await?;
        Ok(())
    }

    /// Sets one key, written `a/b/c`, to anything that serialises; durable when it returns.
    pub async fn set(&self, doc: &str, key: &str, value: &impl Serialize) -> Result<(), CallError> {
        let value = tombolo_delta::to_value(value)?;
        let command = Command::Set { doc: doc.to_owned(), key: KeyPath::parse(key)?, value };
        self.command(command).await?;
        Ok(())
    }

    /// Reads a document, or what stands under a key.
    pub async fn get(&self, doc: &str, key: Option<&str>) -> Result<Value, CallError> {
        let key = key.map(KeyPath::parse).transpose()?;
        match self.command(Command::Get { doc: doc.to_owned(), key }).await? {
            Reply::Value(value) => Ok(value),
            _ => Err(CallError::Unexpected),
        }
    }

    /// Deletes a key and all below it.
    pub async fn del(&self, doc: &str, key: &str) -> Result<(), CallError> {
        self.command(Command::Del { doc: doc.to_owned(), key: KeyPath::parse(key)? }).await?;
        Ok(())
    }

    /// What changes from now on. A receiver that lags learns how many events it missed.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.client.events()
    }

    /// Where this node may be dialled now.
    pub fn addresses(&self) -> Vec<Address> {
        self.client.addresses()
    }

    /// Where it answers local programs, if it does.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(LocalServer::path)
    }

    /// Waits until the node or what serves its links has ended by itself, which neither ever should.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            biased;
            () = node_ended(&mut self.ended) => return Ended::Node,
            () = self.links.ended() => {}
        }
        // The links end with their node: then it is the node that there is to speak of.
        match tokio::time::timeout(NODE_ENDS_TOO, node_ended(&mut self.ended)).await {
            Ok(()) => Ended::Node,
            Err(_) => Ended::Links,
        }
    }

    /// Ends the node: local programs first, then the links, then the store.
    pub async fn shutdown(self) {
        if let Some(publisher) = self.publisher {
            publisher.shutdown().await;
        }
        if let Some(socket) = self.socket {
            socket.shutdown().await;
        }
        self.links.shutdown().await;
        end(&self.client, self.ended).await;
    }
}

/// Tells the node to end and waits until its store is closed.
async fn end(client: &NodeClient, mut ended: Option<oneshot::Receiver<()>>) {
    let _ = client.tell(Task::Stop).await;
    node_ended(&mut ended).await;
}

/// Waits for the node's end, unless that was awaited before.
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
    /// Why the node refused, if it did.
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

    /// Both wait for the same end, which is told once.
    #[tokio::test]
    async fn a_node_that_ended_by_itself_can_be_shut_down() {
        let folder = tempfile::tempdir().unwrap();
        Tombolo::create(folder.path(), "attic").unwrap();
        let mut node = Tombolo::start(folder.path(), Settings::on_loopback("attic")).await.unwrap();
        node.client.tell(Task::Stop).await.unwrap();
        assert_eq!(node.ended().await, Ended::Node);
        node.shutdown().await;
    }

    /// A node without links hears nobody: that must not look as if it ran.
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
