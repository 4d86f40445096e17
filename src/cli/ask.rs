//! Asks the node of a folder: the daemon, if one answers on `control.sock`, else the store itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value as Json;

use super::error::CliError;
use crate::api::routes;
use crate::api::unix::{self, Lines, UnixError};
use crate::folder::socket::{self, SOCKET_FILE};
use crate::folder::{self, DirectError, StartError};
use crate::node::Command;

/// Tries to find the store free or a daemon behind the socket: a daemon may start or end meanwhile.
const TRIES: usize = 3;
/// How long a daemon may take to answer; then the command ends with an error. `join` and `watch` wait for
/// others and do not come by here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A reply as the JSON text that programs see, and the same read for people.
pub(crate) struct Reply {
    /// The text: what `--json` prints and `/v1` answers.
    pub(crate) text: String,
    /// The same, to pick from.
    pub(crate) json: Json,
}

impl Reply {
    pub(crate) fn read(text: String) -> Result<Self, CliError> {
        let text = text.trim_end().to_owned();
        let json = serde_json::from_str(&text);
        let json =
            json.map_err(|e| CliError::new("bad_answer", format!("the node's answer is not JSON: {e}")))?;
        Ok(Reply { text, json })
    }
}

/// The folder that a command speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
}

impl Node {
    /// Asks, with or without a daemon.
    pub(crate) fn ask(&self, command: &Command) -> Result<Reply, CliError> {
        self.check_there()?;
        let mut last = None;
        for _ in 0..TRIES {
            match self.ask_daemon(command) {
                Some(reply) => return reply,
                None => match folder::ask(&self.folder, command.clone()) {
                    Ok(reply) => return Reply::read(text_of(&reply)?),
                    Err(DirectError::Start(e @ (StartError::Running { .. } | StartError::InUse { .. }))) => {
                        last = Some(e);
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Err(last.map_or_else(|| CliError::new("in_use", "the store is in use"), CliError::from))
    }

    /// Asks the daemon; none if there is none.
    pub(crate) fn ask_daemon(&self, command: &Command) -> Option<Result<Reply, CliError>> {
        let Some((method, target, body)) = routes::write(command) else {
            return Some(Err(CliError::new("internal", "this is nothing that a daemon is asked")));
        };
        let socket = self.socket();
        let asking = async {
            tokio::time::timeout(ANSWER_TIMEOUT, unix::request(&socket, method, &target, body)).await
        };
        let answer = match runtime() {
            Ok(runtime) => runtime.block_on(asking),
            Err(error) => return Some(Err(error)),
        };
        let Ok(answer) = answer else { return Some(Err(too_slow())) };
        match answer {
            Ok((status, body)) => Some(read(status, &String::from_utf8_lossy(&body))),
            Err(UnixError::NobodyThere { .. }) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// What happens from now on, as the daemon tells it; `None` without a daemon.
    pub(crate) async fn watch(&self, doc: Option<&str>) -> Result<Option<Lines>, CliError> {
        self.check_there()?;
        match unix::request_lines(&self.socket(), &routes::write_watch(doc)).await {
            Ok((StatusCode::OK, lines)) => Ok(Some(lines)),
            Ok((status, mut lines)) => {
                let line = lines.next().await?.unwrap_or_default();
                read(status, &String::from_utf8_lossy(&line)).map(|_| None)
            }
            Err(UnixError::NobodyThere { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a daemon answers.
    pub(crate) fn is_running(&self) -> bool {
        socket::answers(&self.folder)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET_FILE)
    }

    /// That no node lives in the folder is said before anything else.
    pub(crate) fn check_there(&self) -> Result<(), CliError> {
        Ok(folder::check_there(&self.folder)?)
    }
}

fn too_slow() -> CliError {
    let seconds = ANSWER_TIMEOUT.as_secs();
    let message = format!(
        "the running node has not answered within {seconds} s; it may still do what it was asked: its log says more"
    );
    CliError::new("no_answer", message)
}

/// A small runtime for one exchange.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| CliError::new("system", format!("the system gives no event queue: {e}")))
}

/// The folder to use when none is named: by the platform's convention.
pub(crate) fn default_folder() -> Result<PathBuf, CliError> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))
    };
    let none =
        || CliError::usage("no folder to keep a node in: HOME is not set. Name one with --data-dir DIR");
    data.map(|data| data.join("tombolo")).ok_or_else(none)
}

/// The JSON of a reply.
pub(crate) fn text_of(reply: &crate::node::Reply) -> Result<String, CliError> {
    let text = serde_json::to_string(reply);
    text.map_err(|e| CliError::new("not_json", format!("this content cannot be written as JSON: {e}")))
}

pub(crate) fn read(status: StatusCode, text: &str) -> Result<Reply, CliError> {
    if status.is_success() {
        return Reply::read(text.to_owned());
    }
    let error: Json = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| error.pointer(&format!("/error/{name}")).and_then(Json::as_str);
    let message = field("message").map_or_else(|| format!("the node answers {status}"), str::to_owned);
    Err(CliError::new(field("code").unwrap_or("bad_answer"), message))
}

/// The folder as a person writes it.
pub(crate) fn show(folder: &Path) -> String {
    folder.display().to_string()
}
