//! The folder of a node: making it, opening its node, and one command on the node without a daemon.
//!
//! | file | holds |
//! |---|---|
//! | `tombolo.toml` | the settings |
//! | `identity.key` | the secret, apart from everything else |
//! | `revocation.txt` | the notice with which the identity can end itself |
//! | `store.redb` | documents, peers, invites; one process at a time |
//! | `store.wal` | the newest commits, until the store takes them |
//! | `store.seq` | how many commits the store has had |
//! | `store.redb.damaged-…` | a store that [`recover`] put aside |
//! | `catalogue.toml` | the apps that peers may have installed here, where the operator has written one |
//! | `control.sock` | the local interface of a running daemon |

#[cfg(feature = "cli")]
pub mod backup;
pub mod key;
mod memory;
mod recover;
pub mod socket;
mod watch;

pub use recover::recover;
pub(crate) use watch::FolderWatch;
pub use watch::Vanished;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::{ClockVouchers, KernelClock};
use crate::commands::{CATALOGUE_BYTES_MAX, Catalogue, CatalogueState, RevocationNotice};
use crate::config::{BriefSetting, ClockTrust, Config, ConfigError};
use crate::core::{BriefField, BriefFields};
use crate::federation::name::{NodeNameError, check_new_node_name};
use crate::identity::Keypair;
use crate::node::{
    Admin, Command, CommandError, Input, Node, NodeSettings, OpenError, Output, Query, Reply, RequestId,
};
use crate::replica::Replica;
use crate::store::{Store, StoreError, StoreOrigin};
use crate::system_clock::{kernel_clock, machine_boot, now};
use crate::time::Millis;
use crate::watches::{AlarmSettings, OperatorGroup};
use key::KeyFileError;

/// The store's name in a node's folder.
pub const STORE_FILE: &str = "store.redb";
/// The name of the file with which an identity ends itself.
pub const REVOCATION_FILE: &str = "revocation.txt";
/// How long another process may take to let go of the store: a command without a daemon holds it for
/// some milliseconds.
pub const STORE_WAIT: Duration = Duration::from_secs(3);
const STORE_RETRY: Duration = Duration::from_millis(20);
/// Rounds of outputs that one command may take without a daemon; the reply comes in the first.
const TURNS_MAX: usize = 100;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file cannot be made or read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A daemon runs on this folder.
    #[error("a tombolo is running on {} already", folder.display())]
    Running {
        /// The path of the folder.
        folder: PathBuf,
    },
    /// Another process has the store open.
    #[error("{} is in use, by another process or another handle of this one: wait until that ends", path.display())]
    InUse {
        /// The path of the store.
        path: PathBuf,
    },
    /// The store cannot be opened.
    #[error("{}: {source}", path.display())]
    Store {
        /// The path of the store.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The node cannot use its store.
    #[error("{}: {source}", path.display())]
    Node {
        /// The path of the store.
        path: PathBuf,
        /// The reason of the node.
        source: OpenError,
    },
    /// The local network cannot be used.
    #[error(transparent)]
    Lan(#[from] tombolo_transports::LanError),
    /// Tor cannot be used, and the settings ask for it.
    #[error(transparent)]
    Tor(#[from] tombolo_transports::TorError),
    /// The socket of the local interface cannot be made.
    #[error("cannot listen on {}: {source}", path.display())]
    Socket {
        /// The path of the socket.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// A folder or thread could not be made.
    #[error("{what}: {source}")]
    System {
        /// The step that failed.
        what: String,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The settings name another node.
    #[error("{} names this node `{found}`, not `{asked}`: use that name, or edit the file", path.display())]
    OtherName {
        /// The path of the settings.
        path: PathBuf,
        /// The name in them.
        found: String,
        /// The name asked for.
        asked: String,
    },
    /// The text cannot be the name of a node.
    #[error("`{name}` cannot be a node's name: {why}")]
    BadName {
        /// The text in question.
        name: String,
        /// The rule that it breaks.
        why: NodeNameError,
    },
    /// This user may not enter the folder, so it is not known whether a node lives there.
    #[error("this user may not enter {}", folder.display())]
    Closed {
        /// The path of the folder.
        folder: PathBuf,
    },
    /// A store without the identity that it belongs to.
    #[error("{} has a store but no {}", folder.display(), key::KEY_FILE)]
    KeyLost {
        /// The path of the folder.
        folder: PathBuf,
    },
    /// A node lives here already.
    #[error("a node lives in {} already; nothing was changed", folder.display())]
    Initialised {
        /// The path of the folder.
        folder: PathBuf,
    },
    /// A store that is to be put aside reads well.
    #[error("{} is not damaged; nothing was changed", path.display())]
    NotDamaged {
        /// The path of the store.
        path: PathBuf,
    },
}

/// Why a command without a daemon got no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// The node of the folder cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The node refused the command.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The reply needs links to peers, which only a running node has.
    #[error("this needs a running node")]
    NeedsDaemon,
}

/// Makes a new node: its folder, settings, identity and store. Settings that are there already stay if they have the same
/// name; an identity that is there is never touched.
///
/// # Errors
///
/// [`StartError`] if a node lives there already, the names differ, or a file cannot be written.
pub fn create(folder: &Path, name: &str) -> Result<(), StartError> {
    check_new_node_name(name).map_err(|why| StartError::BadName { name: name.to_owned(), why })?;
    make_folder(folder)?;
    let initialised = key::exists(folder);
    let lacks_key = || Store::log_is_alone(&folder.join(STORE_FILE)).unwrap_or(true) || holds_store(folder);
    if !initialised && lacks_key() {
        return Err(StartError::KeyLost { folder: folder.to_owned() });
    }
    let mut made_first = vec![];
    match Config::load(folder) {
        Ok(_) if initialised => {
            return Err(StartError::Initialised { folder: folder.to_owned() });
        }
        Ok(config) if config.name != name => {
            let path = folder.join(crate::config::CONFIG_FILE);
            return Err(StartError::OtherName { path, found: config.name, asked: name.to_owned() });
        }
        Ok(_) => {}
        Err(ConfigError::Missing { path }) => {
            write_settings(&path, name)?;
            made_first.push(path);
        }
        Err(error) => return Err(error.into()),
    }
    if !initialised {
        let keypair = key::create(folder)?;
        let made = write_revocation(folder)
            .and_then(|()| create_store(folder, &keypair, StoreOrigin::Known))
            .and_then(|()| open(folder, &Config::load(folder)?));
        return made.map(drop).inspect_err(|_| {
            // An identity that has signed nothing is no loss, and the next `init` draws its own.
            made_first.extend(Store::files(&folder.join(STORE_FILE)));
            made_first.extend([REVOCATION_FILE, key::KEY_FILE].map(|name| folder.join(name)));
            for path in &made_first {
                let _ = std::fs::remove_file(path);
            }
        });
    }
    open(folder, &Config::load(folder)?).map(|_| ())
}

/// Makes the store of a folder that has none.
fn create_store(folder: &Path, keypair: &Keypair, origin: StoreOrigin) -> Result<(), StartError> {
    let path = folder.join(STORE_FILE);
    let made = Store::create(&path, keypair.peer_id(), origin);
    made.map_err(|source| StartError::Store { path, source })
}

/// Notes that the operator states the node to be new: it signs from now on, whatever its identity may have signed elsewhere.
///
/// # Errors
///
/// [`StartError`] if the folder cannot be opened or its disk takes no writes.
pub fn confirm_new(folder: &Path) -> Result<(), StartError> {
    let keypair = key::load(folder)?;
    let path = folder.join(STORE_FILE);
    let mut store = open_store(folder, &path, &keypair)?;
    store.commit(StoreOrigin::Known.marks()).map_err(|source| StartError::Store { path, source })
}

/// Writes the notice by which the new identity can end itself, with mode 0600. An operator keeps a copy elsewhere.
fn write_revocation(folder: &Path) -> Result<(), StartError> {
    let keypair = key::load(folder)?;
    let notice = RevocationNotice::sign(&keypair, keypair.peer_id(), now().wall.ms() / 1000);
    let path = folder.join(REVOCATION_FILE);
    let text = format!(
        "# Ends this identity for good, wherever it is published: `tombolo revoke --self FILE`, on this node or on a peer.\n\
         # Keep a copy where the node is not, and let no one have it.\n{}\n",
        notice.to_text()
    );
    let write = || {
        unless_missing(std::fs::remove_file(&path))?;
        write_closed(&path, text.as_bytes())
    };
    write().map_err(|source| StartError::System { what: format!("cannot write {}", path.display()), source })
}

/// The secrets of a node that its links need, wiped when dropped.
pub(crate) struct LinkSecrets {
    pub(crate) identity: Zeroizing<[u8; 32]>,
    pub(crate) onion: Zeroizing<[u8; 32]>,
}

/// Opens the node of a folder; returns it with the secrets for its links. Waits for a store that another command holds
/// briefly.
pub(crate) fn open(folder: &Path, config: &Config) -> Result<(Node, LinkSecrets), StartError> {
    let keypair = key::load(folder)?;
    let store = open_store(folder, &folder.join(STORE_FILE), &keypair)?;
    node_on(folder, config, keypair, store)
}

/// The same for a node that is to remove a peer: the peer's documents leave the disk before the store is read, so that one which is
/// too large for the memory of this machine can be made smaller.
fn open_to_remove(folder: &Path, config: &Config, peer: &str) -> Result<(Node, LinkSecrets), StartError> {
    let keypair = key::load(folder)?;
    let path = folder.join(STORE_FILE);
    let mut store = open_store(folder, &path, &keypair)?;
    let mut clear = || -> Result<(), StoreError> {
        let mut peers = Replica::new(keypair.peer_id(), now().mono);
        store.peers()?.into_iter().for_each(|peer| peers.put_peer(peer));
        match peers.resolve_peer(peer) {
            Ok(owner) => store.clear_documents_of(&owner, &keypair.peer_id()).map(drop),
            // The node answers what is wrong with the text.
            Err(_) => Ok(()),
        }
    };
    clear().map_err(|source| StartError::Store { path, source })?;
    node_on(folder, config, keypair, store)
}

/// The same for a node that is to run. Whether the disk takes writes is known from the start.
pub(crate) fn open_to_run(folder: &Path, config: &Config) -> Result<(Node, LinkSecrets), StartError> {
    let keypair = key::load(folder)?;
    let path = folder.join(STORE_FILE);
    let mut store = open_store(folder, &path, &keypair)?;
    store.try_writing().map_err(|source| StartError::Store { path, source })?;
    if let Some(why) = store.read_only() {
        tracing::warn!(%why, "this node can be read, not written");
    }
    node_on(folder, config, keypair, store)
}

fn node_on(
    folder: &Path,
    config: &Config,
    keypair: Keypair,
    store: Store,
) -> Result<(Node, LinkSecrets), StartError> {
    let path = folder.join(STORE_FILE);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| StartError::Key(KeyFileError::Random(e)))?;
    let onion = Zeroizing::new(*keypair.onion_seed());
    let secrets = LinkSecrets { identity: keypair.identity_seed(), onion };
    let node = Node::open(store, keypair, settings(folder, config), now(), seed)
        .map_err(|source| StartError::Node { path, source })?;
    Ok((node, secrets))
}

/// Runs one command on the node of a folder that no daemon holds.
///
/// # Errors
///
/// [`DirectError`] if the folder cannot be opened, the node refuses, or the reply needs links.
pub fn ask(folder: &Path, command: impl Into<Command>) -> Result<Reply, DirectError> {
    let command = command.into();
    // It would stand on disk as called, and nothing here calls.
    if matches!(command, Command::Admin(Admin::DeployByCall { .. })) {
        check_there(folder)?;
        return Err(DirectError::NeedsDaemon);
    }
    let needs_links = matches!(command, Command::Query(Query::Ping { .. }));
    let (mut node, _) = match &command {
        Command::Admin(Admin::Remove { peer }) => open_to_remove(folder, &load_config(folder)?, peer)?,
        Command::Admin(_) | Command::Query(_) | Command::Write(_) => open(folder, &load_config(folder)?)?,
    };
    let request = RequestId(1);
    let mut query = if let Command::Query(query) = &command { Some(query.clone()) } else { None };
    node.handle_input(now(), Input::Command { request, command });
    let mut turns = 0;
    while turns < TURNS_MAX {
        turns += 1;
        let mut quiet = true;
        while let Some(output) = node.poll_output() {
            quiet = false;
            match output {
                // An unknown peer is reported all the same.
                Output::Reply { request: of, result } if of == request => {
                    // What time had brought was to be written with it: the second answer waits for no write.
                    if is_without_room(&result)
                        && let Some(query) = query.take()
                    {
                        node.handle_input(now(), Input::Command { request, command: query.into() });
                        continue;
                    }
                    let reply = result?.complete();
                    return if needs_links { Err(DirectError::NeedsDaemon) } else { Ok(reply) };
                }
                // No links carry them, and no watcher receives them.
                Output::Reply { .. }
                | Output::Send { .. }
                | Output::Frame { .. }
                | Output::Close { .. }
                | Output::DialJoin { .. }
                | Output::JoinAnswer { .. }
                | Output::CallAnswer { .. }
                | Output::DialCall { .. }
                | Output::Install { .. }
                | Output::Notify { .. }
                | Output::Event(_) => {}
            }
        }
        if node.is_under_way() {
            // Each turn brings it on.
            turns = 0;
            node.handle_input(now(), Input::Timeout);
        } else if quiet {
            break;
        }
    }
    Err(DirectError::NeedsDaemon)
}

fn is_without_room(result: &Result<Reply, CommandError>) -> bool {
    matches!(result, Err(CommandError::Store(StoreError::NoRoom(_))))
}

/// Reads the settings of a folder. A folder without a node is reported first.
///
/// # Errors
///
/// [`StartError`] if no node lives there or its settings are not valid.
pub fn load_config(folder: &Path) -> Result<Config, StartError> {
    check_there(folder)?;
    Ok(Config::load(folder)?)
}

/// Checks that a node lives in a folder.
///
/// # Errors
///
/// [`StartError::Closed`] if this user cannot look into it; [`StartError::KeyLost`] if only its store is there;
/// [`KeyFileError::Missing`] if there is none.
pub fn check_there(folder: &Path) -> Result<(), StartError> {
    let looked = std::fs::symlink_metadata(folder.join(key::KEY_FILE));
    let folder = folder.to_owned();
    match looked {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(StartError::Closed { folder });
        }
        Err(_) => {}
    }
    if holds_store(&folder) {
        return Err(StartError::KeyLost { folder });
    }
    Err(StartError::Key(KeyFileError::Missing { folder }))
}

fn holds_store(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder.join(STORE_FILE)).is_ok()
}

/// How long node states of peers wait for the disk. With twenty peers that publish each minute, a flash card is then written sixty
/// commits at a time.
const PEER_STATES_WAIT: Millis = Millis::from_secs(180);

fn settings(folder: &Path, config: &Config) -> NodeSettings {
    NodeSettings {
        name: config.name.clone(),
        clock_vouchers: ClockVouchers {
            operator: config.clock == ClockTrust::Set,
            kernel: kernel_clock() == KernelClock::Synchronised,
        },
        heartbeat: u64::try_from(config.heartbeat.as_millis())
            .map_or(crate::limits::HEARTBEAT, Millis::from_ms),
        routes: config.routes(),
        onion: config.tor.onion.filter(|_| config.tor.enabled),
        briefs: briefs(config),
        machine_boot: machine_boot(),
        rpc_legacy_install: config.rpc.legacy_install,
        deploys: !config.deploy.command.is_empty(),
        catalogue: load_catalogue(&catalogue_path(folder, config)),
        peer_states_wait: PEER_STATES_WAIT,
        peers_memory_max: peers_memory_max(config.peers_memory_mib),
        alarms: AlarmSettings {
            rules: config.watches.clone(),
            channels: config.notify.channels(),
            quiet: config.notify.quiet,
            urgent: config.notify.urgent.iter().copied().collect(),
            group: OperatorGroup::named(&config.notify.operator),
        },
    }
}

/// Bytes that the documents of all peers may take in memory: as the settings have it, else half of what this process may use.
fn peers_memory_max(mib: u32) -> usize {
    let bytes = match mib {
        0 => memory::for_this_process().map(|bytes| bytes / 2),
        mib => Some(u64::from(mib) << 20),
    };
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX)
}

/// The file of the catalogue that the settings name.
pub fn catalogue_path(folder: &Path, config: &Config) -> PathBuf {
    folder.join(&config.deploy.catalogue)
}

/// Reads a catalogue. What is wrong with it is part of the result: the node runs on, and refuses deploys.
pub fn load_catalogue(path: &Path) -> CatalogueState {
    let damaged = |why: &dyn std::fmt::Display| CatalogueState::Damaged(format!("{}: {why}", path.display()));
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return CatalogueState::Missing,
        Err(error) => return damaged(&error),
    };
    if !metadata.is_file() {
        return damaged(&"it is no regular file");
    }
    if metadata.len() > CATALOGUE_BYTES_MAX {
        return damaged(&format!("it is longer than {CATALOGUE_BYTES_MAX} bytes"));
    }
    match crate::plain_file::read_text(path, CATALOGUE_BYTES_MAX) {
        Ok(text) => match Catalogue::parse(&text) {
            Ok(catalogue) => CatalogueState::Read(catalogue),
            Err(error) => damaged(&error),
        },
        Err(error) => damaged(&error),
    }
}

fn briefs(config: &Config) -> BTreeMap<String, BriefFields> {
    let fields = |of: &BTreeMap<String, BriefSetting>| {
        let field = |set: &BriefSetting| BriefField { round: set.round, threshold: set.threshold };
        of.iter().map(|(name, set)| (name.clone(), field(set))).collect()
    };
    config.brief.iter().map(|(document, of)| (document.clone(), fields(of))).collect()
}

/// Opens the store of a folder. A folder that has the key but no store gets a new one, which waits for what the federation
/// has of this identity before anything is signed.
fn open_store(folder: &Path, path: &Path, keypair: &Keypair) -> Result<Store, StartError> {
    if matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        match create_store(folder, keypair, StoreOrigin::Unconfirmed) {
            // Another command was first.
            Err(_) if holds_store(folder) => {}
            made => made?,
        }
    }
    let deadline = now().mono.ms() + u64::try_from(STORE_WAIT.as_millis()).unwrap_or(0);
    loop {
        match Store::open(path).and_then(|mut store| store.belongs_to(keypair.peer_id()).map(|()| store)) {
            Ok(store) => return Ok(store),
            Err(StoreError::InUse) if socket::answers(folder) => {
                return Err(StartError::Running { folder: folder.to_owned() });
            }
            Err(StoreError::InUse) if now().mono.ms() < deadline => std::thread::sleep(STORE_RETRY),
            Err(StoreError::InUse) => return Err(StartError::InUse { path: path.to_owned() }),
            Err(source) => return Err(StartError::Store { path: path.to_owned(), source }),
        }
    }
}

/// Makes the folder if it is not there; a new one has mode 0700.
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

/// Writes the settings whole or not at all, with mode 0600. The caller has checked that there are none yet.
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

/// The result of a removal, where a missing file counts as removed.
pub(crate) fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
