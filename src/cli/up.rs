//! `up`: the daemon, in the foreground.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tombolo_transports::tor::Endpoint;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::error::{CliError, CliResult};
use super::service::ServiceManager;
use super::{CliContext, advice, print};
use crate::config::radio::{RadioSettings, check_all};
use crate::config::{Config, LISTEN_MAX, TorSettings, check_log_filter};
use crate::folder::key::KEY_FILE;
use crate::folder::{STORE_FILE, StartError, Vanished};
use crate::handle::{Ended, Settings, Tombolo};
use crate::node::{Query, Reply};

/// Threads for links and local programs, beside the node's own. More would not help: a node signs and
/// writes on one thread.
const WORKERS: usize = 2;
/// How long reads of a disk that hangs may delay the end; then they are abandoned.
const READS_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn run(
    context: &CliContext,
    mesh: Vec<RadioSettings>,
    listen: Vec<SocketAddr>,
    no_lan: bool,
    tor: TorArguments,
    is_new: bool,
) -> CliResult {
    let folder = &context.node.folder;
    context.node.check_there()?;
    if context.node.is_running() {
        return Err(StartError::Running { folder: folder.clone() }.into());
    }
    let mut settings = Settings::from_folder(folder)?;
    if is_new {
        crate::folder::confirm_new(folder)?;
    }
    apply_links(&mut settings.config, mesh, listen, no_lan)?;
    tor.apply(&mut settings.config.tor);
    let is_off = settings.config.lan.listen.is_empty();
    let radios: Vec<String> = settings.config.radios.iter().map(RadioSettings::name).collect();
    start_log(&settings.config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime =
        runtime.map_err(|e| CliError::new("system", format!("the system gives no threads: {e}")))?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut node = Tombolo::start(folder, settings).await?;
        let announced = announce(context, &node, &radios, is_off).await;
        let service = ServiceManager::start(node.client());
        let ended = match announced {
            // A closed standard output does not end the node.
            Err(error) if !error.code.is_empty() => Err(error),
            _ => tokio::select! {
                () = signals.next() => Ok(()),
                ended = node.ended() => Err(ended_by_itself(&ended)),
            },
        };
        tracing::info!("ending");
        service.stopping();
        node.shutdown().await;
        ended
    });
    // Dropping the runtime would wait for them for ever.
    runtime.shutdown_timeout(READS_TIMEOUT);
    outcome
}

/// Why the daemon ends although no signal came, and what helps.
fn ended_by_itself(ended: &Ended) -> CliError {
    match ended {
        Ended::Node | Ended::Links => CliError::new("ended", format!("{ended}: the log has the reason")),
        Ended::Folder(Vanished::Missing { path }) => {
            CliError::new("folder_gone", format!("{ended}, so this node has stopped. {}", put_back(path)))
        }
        Ended::Folder(Vanished::Replaced { .. }) => CliError::new(
            "folder_gone",
            format!(
                "{ended} while this node ran, so it has stopped: `tombolo up` goes on with the file that is there"
            ),
        ),
    }
}

/// What helps where a file of the folder is gone.
fn put_back(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == KEY_FILE {
        return "Put identity.key and tombolo.toml back from a copy, start `tombolo up` and join a peer again; without a copy of \
             the key, `tombolo init` makes a new node";
    }
    if name == STORE_FILE {
        return "Put store.redb back, then `tombolo up` goes on; if it is lost, `tombolo recover` makes a new one, and a peer that \
             is joined again brings back what this node wrote";
    }
    "What was in it is written to store.redb as the node ends: `tombolo up` goes on"
}

/// What the command line sets of radios and the local network: radios beside those of the settings, addresses in their place.
fn apply_links(
    config: &mut Config,
    mesh: Vec<RadioSettings>,
    listen: Vec<SocketAddr>,
    no_lan: bool,
) -> CliResult {
    config.radios.extend(mesh);
    if listen.len() > LISTEN_MAX {
        return Err(CliError::usage(format!(
            "{} addresses to listen on: at most {LISTEN_MAX}",
            listen.len()
        )));
    }
    if no_lan || !listen.is_empty() {
        config.lan.listen = listen;
    }
    check_all(&config.radios).map_err(|why| CliError::usage(why.to_string()))
}

/// What the command line sets of Tor, in place of the settings.
pub(super) struct TorArguments {
    pub(super) socks: Option<Endpoint>,
    pub(super) control: Option<Endpoint>,
    pub(super) cookie: Option<PathBuf>,
    pub(super) off: bool,
}

impl TorArguments {
    fn apply(self, settings: &mut TorSettings) {
        settings.enabled = !self.off && (settings.enabled || self.socks.is_some() || self.control.is_some());
        settings.socks = self.socks.or(settings.socks.take());
        settings.control = self.control.or(settings.control.take());
        settings.cookie = self.cookie.or(settings.cookie.take());
    }
}

/// The signals that end a command in the foreground.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    pub(super) fn new() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|e| CliError::new("system", format!("no signals: {e}")));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn announce(context: &CliContext, node: &Tombolo, radios: &[String], is_off: bool) -> CliResult {
    let Reply::Id(id) = node.command(Query::Id).await? else { return Ok(()) };
    let (addresses, socket) = (node.addresses(), node.socket().map(|path| path.display().to_string()));
    if context.json {
        let json = serde_json::json!({
            "name": id.name, "did": id.did, "addresses": addresses, "socket": socket, "radios": radios,
            "calls": node.calls_address(), "page": page_address(node),
        });
        return Ok(print::exact(&json.to_string())?);
    }
    print::line(&format!("{} is up: {}", id.name, id.did))?;
    let listening = addresses.iter().map(|address| format!("udp {address}"));
    let calls = node.calls_address().map(|address| format!("tcp {address} (JSON calls)"));
    let page = page_address(node).map(|address| format!("http://{address}/ (the page)"));
    for place in
        listening.chain(socket.map(|path| format!("{path} (local programs)"))).chain(calls).chain(page)
    {
        print::line(&format!("listening on {place}"))?;
    }
    for view in rules(node).await? {
        print::line(&format!("radio {}: {}", view.radio, print::clean(&view.rules)))?;
    }
    if let Reply::Status(status) = node.command(Query::Status).await? {
        let at_start = |code: &str| matches!(code, "disk_full" | "unconfirmed" | "stepped_back");
        for alarm in status.alarms.iter().filter(|alarm| at_start(alarm.code)) {
            print::line(&format!(
                "! {}",
                print::clean(&advice::alarm(
                    alarm.code,
                    &alarm.message,
                    alarm.peer.as_deref().unwrap_or_default()
                ))
            ))?;
        }
    }
    if is_off {
        print::line("off the local network: peers are met by radio only")?;
    } else if addresses.is_empty() {
        print::line("no network address yet: peers are met as soon as there is one")?;
        print::hint(advice::ON_ONE_MACHINE);
    }
    Ok(())
}

/// Where browsers find the page.
#[cfg(feature = "web")]
fn page_address(node: &Tombolo) -> Option<SocketAddr> {
    node.web_address()
}

/// This program was built without the page.
#[cfg(not(feature = "web"))]
fn page_address(_: &Tombolo) -> Option<SocketAddr> {
    None
}

/// The rules of each radio, as far as they are known before it has reported.
async fn rules(node: &Tombolo) -> Result<Vec<crate::io::view::AirtimeView>, CliError> {
    match node.command(Query::Airtime).await? {
        Reply::Airtime(views) => Ok(views),
        _ => Ok(Vec::new()),
    }
}

/// Starts the log on standard error; `RUST_LOG` replaces the settings.
fn start_log(setting: &str) -> CliResult {
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let wanted = wanted.as_deref().unwrap_or(setting);
    let filter = check_log_filter(wanted);
    let filter = filter.map_err(|why| CliError::usage(format!("RUST_LOG=`{wanted}` is not {why}")))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    // Only a test starts a second log in one process.
    let _ = tracing_subscriber::registry().with(layer).with(filter).try_init();
    Ok(())
}
