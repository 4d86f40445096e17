//! A node from its folder, and one command on it without a daemon.
//!
//! | file | holds |
//! |---|---|
//! | `tombolo.toml` | the settings |
//! | `identity.key` | the secret, apart from everything else |
//! | `store.redb` | documents, peers, invites; one process at a time |
//! | `control.sock` | where a running daemon answers |

pub mod key;
pub(crate) mod socket;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::config::{BriefSetting, ClockTrust, Config, ConfigError, LinkPreference};
use crate::node::radio::brief::{BriefField, BriefFields};
use crate::node::{Command, CommandError, Input, Node, NodeSettings, OpenError, Output, Reply, RequestId};
use crate::router::Preference;
use crate::store::{Store, StoreError};
use crate::system_clock::{machine_boot, now};
use key::KeyFileError;

/// The store's name in a node's folder.
pub const STORE_FILE: &str = "store.redb";
/// How long another process may take to let go of the store: a command without a daemon holds it for
/// some milliseconds.
pub const STORE_WAIT: Duration = Duration::from_secs(3);
const STORE_RETRY: Duration = Duration::from_millis(20);
/// Turns that one command may take without a daemon; a reply comes in the first.
const TURNS_MAX: usize = 100;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A daemon answers on this folder.
    #[error("a tombolo is running on {} already: end it first, or give this one a folder of its own with --data-dir", folder.display())]
    Running {
        /// The folder.
        folder: PathBuf,
    },
    /// Somebody else has the store open.
    #[error("another process holds {}: wait until it ends", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The store cannot be opened.
    #[error("{}: {source}", path.display())]
    Store {
        /// The store.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The node refuses its store.
    #[error("{}: {source}", path.display())]
    Node {
        /// The store.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The local network.
    #[error(
        "{0}. `tombolo up --listen 0.0.0.0:0` takes any free port, as a second node on one machine needs; `listen` in the [lan] section of tombolo.toml says where for good"
    )]
    Lan(#[from] tombolo_transports::LanError),
    /// The local socket.
    #[error("cannot listen on {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder or thread could not be made.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The settings name another node.
    #[error("{} names this node `{found}`, not `{asked}`: use that name, or edit the file", path.display())]
    OtherName {
        /// The settings.
        path: PathBuf,
        /// The name in them.
        found: String,
        /// The name asked for.
        asked: String,
    },
    /// Not a name.
    #[error("`{name}` cannot be a node's name: {why}")]
    BadName {
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A store without the identity that it belongs to.
    #[error(
        "{} has a {STORE_FILE} but no {}: put the key file back, or choose an empty folder with --data-dir",
        folder.display(), key::KEY_FILE
    )]
    KeyLost {
        /// The folder.
        folder: PathBuf,
    },
    /// A node lives here already.
    #[error("a node lives in {} already: `tombolo id` shows it; nothing was changed", folder.display())]
    Initialised {
        /// The folder.
        folder: PathBuf,
    },
}

/// Why a command without a daemon brought no reply.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// There is no node to ask.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The node said nothing: its reply takes links.
    #[error("this needs a running node: start `tombolo up` first")]
    NeedsDaemon,
}

/// Makes a new node: its folder, settings, identity and store. Settings that are there already stay, if
/// they name the node alike; an identity that is there is never touched.
pub fn create(folder: &Path, name: &str) -> Result<(), StartError> {
    crate::config::check_node_name(name).map_err(|why| StartError::BadName { name: name.to_owned(), why })?;
    make_folder(folder)?;
    let initialised = key::exists(folder);
    if !initialised && holds_store(folder) {
        return Err(StartError::KeyLost { folder: folder.to_owned() });
    }
    match Config::load(folder) {
        Ok(_) if initialised => {
            return Err(StartError::Initialised { folder: folder.to_owned() });
        }
        Ok(config) if config.name != name => {
            let path = folder.join(crate::config::CONFIG_FILE);
            return Err(StartError::OtherName { path, found: config.name, asked: name.to_owned() });
        }
        Ok(_) => {}
        Err(ConfigError::Missing { path }) => write_settings(&path, name)?,
        Err(error) => return Err(error.into()),
    }
    if !initialised {
        key::create(folder)?;
    }
    open(folder, &Config::load(folder)?).map(|_| ())
}

/// Opens the node of a folder; beside it comes the secret for its links. A store that is briefly held by
/// another command is waited for.
pub(crate) fn open(folder: &Path, config: &Config) -> Result<(Node, Zeroizing<[u8; 32]>), StartError> {
    let keypair = key::load(folder)?;
    let path = folder.join(STORE_FILE);
    let store = open_store(folder, &path)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| StartError::Key(KeyFileError::Random(e)))?;
    let secret = keypair.identity_seed();
    let node = Node::open(store, keypair, settings(config), now(), seed)
        .map_err(|source| StartError::Node { path, source })?;
    Ok((node, secret))
}

/// One command on the node of a folder that no daemon holds.
pub fn ask(folder: &Path, command: Command) -> Result<Reply, DirectError> {
    let (mut node, _) = open(folder, &load_config(folder)?)?;
    let request = RequestId(1);
    node.handle_input(now(), Input::Command { request, command });
    for _ in 0..TURNS_MAX {
        let mut quiet = true;
        while let Some(output) = node.poll_output() {
            quiet = false;
            match output {
                Output::Reply { request: of, result } if of == request => return Ok(result?),
                _ => {}
            }
        }
        if quiet {
            break;
        }
    }
    Err(DirectError::NeedsDaemon)
}

/// The settings of a folder; that no node lives there is said first.
pub fn load_config(folder: &Path) -> Result<Config, StartError> {
    check_there(folder)?;
    Ok(Config::load(folder)?)
}

/// Whether a node lives in a folder; if not, what to do about it.
pub fn check_there(folder: &Path) -> Result<(), StartError> {
    if key::exists(folder) {
        return Ok(());
    }
    let folder = folder.to_owned();
    if holds_store(&folder) {
        return Err(StartError::KeyLost { folder });
    }
    Err(StartError::Key(KeyFileError::Missing { folder }))
}

fn holds_store(folder: &Path) -> bool {
    folder.join(STORE_FILE).exists()
}

fn settings(config: &Config) -> NodeSettings {
    NodeSettings {
        name: config.name.clone(),
        operator_clock_set: config.clock == ClockTrust::Set,
        heartbeat_ms: u64::try_from(config.heartbeat.as_millis()).unwrap_or(crate::limits::HEARTBEAT_MS),
        preference: match config.preference {
            LinkPreference::Auto => Preference::Auto,
            LinkPreference::MeshFirst => Preference::MeshFirst,
        },
        briefs: briefs(config),
        machine_boot: machine_boot(),
    }
}

fn briefs(config: &Config) -> BTreeMap<String, BriefFields> {
    let fields = |of: &BTreeMap<String, BriefSetting>| {
        let field = |set: &BriefSetting| BriefField { round: set.round, threshold: set.threshold };
        of.iter().map(|(name, set)| (name.clone(), field(set))).collect()
    };
    config.brief.iter().map(|(document, of)| (document.clone(), fields(of))).collect()
}

fn open_store(folder: &Path, path: &Path) -> Result<Store, StartError> {
    let deadline = now().mono_ms + u64::try_from(STORE_WAIT.as_millis()).unwrap_or(0);
    loop {
        match Store::open(path) {
            Ok(store) => return Ok(store),
            Err(StoreError::InUse) if socket::answers(folder) => {
                return Err(StartError::Running { folder: folder.to_owned() });
            }
            Err(StoreError::InUse) if now().mono_ms < deadline => std::thread::sleep(STORE_RETRY),
            Err(StoreError::InUse) => return Err(StartError::InUse { path: path.to_owned() }),
            Err(source) => return Err(StartError::Store { path: path.to_owned(), source }),
        }
    }
}

/// Makes the folder if it is not there; a new one is closed to others.
fn make_folder(folder: &Path) -> Result<(), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| StartError::System {
        what: format!("cannot make the folder {}", folder.display()),
        source,
    })
}

/// Writes the settings whole or not at all; nobody else may read them. The caller has seen that there are
/// none yet.
fn write_settings(path: &Path, name: &str) -> Result<(), StartError> {
    let new = path.with_extension("toml.new");
    let write = || {
        unless_missing(std::fs::remove_file(&new))?;
        write_closed(&new, Config::template(name).as_bytes())?;
        std::fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
    };
    write().map_err(|source| StartError::System { what: format!("cannot write {}", path.display()), source })
}

/// Writes a new file of mode 0600, durably.
fn write_closed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What is not there need not be removed.
pub(crate) fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
