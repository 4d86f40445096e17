//! Sends commands to the node of a folder: to the daemon, if one answers on `control.sock`, else to a node that is opened
//! for the command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value as Json;
use tokio::signal::unix::SignalKind;

use super::error::CliError;
use crate::api::client::{self, ClientError};
use crate::api::routes::WatchRequest;
use crate::folder::socket::{self, SOCKET_FILE};
use crate::folder::{self, DirectError, StartError};
use crate::node::{Admin, Command, Query, Write};
use crate::unix_http::{LineStream, UnixError};

/// Tries to find the store free or a daemon behind the socket: a daemon may start or end meanwhile.
const TRIES: usize = 3;
/// How long a daemon may take to answer; then the command ends with an error. `join` and `watch` wait for peers and have
/// no such limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same where the daemon calls a peer first, which takes it 30 s at most.
const CALL_ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
/// The same where many keys may be written, slice by slice beside what else is asked.
const LONG_WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// The JSON of a reply, as text for programs and parsed for people.
pub(crate) struct JsonReply {
    /// The text that `--json` prints and `/v1` answers.
    pub(crate) text: String,
    pub(crate) json: Json,
}

impl JsonReply {
    pub(crate) fn read(text: String) -> Result<Self, CliError> {
        let text = text.trim_end().to_owned();
        let json = serde_json::from_str(&text);
        let json =
            json.map_err(|e| CliError::new("bad_answer", format!("the node's answer is not JSON: {e}")))?;
        Ok(JsonReply { text, json })
    }
}

/// The folder of the node that a command is for.
#[derive(Clone, Debug)]
pub(crate) struct NodeFolder {
    pub(crate) folder: PathBuf,
}

impl NodeFolder {
    /// Sends a command, with or without a daemon.
    pub(crate) fn ask(&self, command: impl Into<Command>) -> Result<JsonReply, CliError> {
        self.check_there()?;
        let command = command.into();
        let doc = document_of(&command).unwrap_or_default().to_owned();
        self.exchange(command).map_err(|error| error.with_advice_for(&doc))
    }

    fn exchange(&self, command: Command) -> Result<JsonReply, CliError> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.ask_daemon(command.clone()) {
                Some(reply) => return reply,
                None => match folder::ask(&self.folder, command.clone()) {
                    Ok(reply) => return JsonReply::read(text_of(&reply)?),
                    Err(DirectError::Start(e @ (StartError::Running { .. } | StartError::InUse { .. }))) => {
                        last = Some(e);
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Err(last.map_or_else(|| CliError::new("in_use", "the store is in use"), CliError::from))
    }

    /// Sends a command to the daemon; `None` if there is none.
    pub(crate) fn ask_daemon(&self, command: impl Into<Command>) -> Option<Result<JsonReply, CliError>> {
        let command = command.into();
        let span = match &command {
            Command::Admin(Admin::FetchState { .. }) => CALL_ANSWER_TIMEOUT,
            Command::Write(Write::Put { .. } | Write::Del { .. }) => LONG_WRITE_TIMEOUT,
            Command::Write(_) | Command::Admin(_) | Command::Query(_) => ANSWER_TIMEOUT,
        };
        self.ask_daemon_within(command, span)
    }

    /// The same with another limit of the time.
    pub(crate) fn ask_daemon_within(
        &self,
        command: impl Into<Command>,
        span: Duration,
    ) -> Option<Result<JsonReply, CliError>> {
        let (socket, command) = (self.socket(), command.into());
        let asking = async { tokio::time::timeout(span, client::command(&socket, &command)).await };
        let answer = match runtime() {
            Ok(runtime) => runtime.block_on(asking),
            Err(error) => return Some(Err(error)),
        };
        let Ok(answer) = answer else { return Some(Err(too_slow(span))) };
        match answer {
            Ok((status, body)) => Some(read(status, &String::from_utf8_lossy(&body))),
            Err(ClientError::Unix(UnixError::NotListening { .. })) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// The events that are asked for, from the daemon; `None` without a daemon.
    pub(crate) async fn watch(&self, request: &WatchRequest) -> Result<Option<LineStream>, CliError> {
        self.check_there()?;
        match client::watch(&self.socket(), request).await {
            Ok((StatusCode::OK, lines)) => Ok(Some(lines)),
            Ok((status, mut lines)) => {
                let line = lines.next().await?.unwrap_or_default();
                let read = read(status, &String::from_utf8_lossy(&line)).map(|_| None);
                read.map_err(|error| error.with_advice_for(request.doc.as_deref().unwrap_or_default()))
            }
            Err(UnixError::NotListening { .. }) => Ok(None),
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

    /// Checks that a node lives in the folder.
    pub(crate) fn check_there(&self) -> Result<(), CliError> {
        Ok(folder::check_there(&self.folder)?)
    }
}

/// The document that a command is about.
fn document_of(command: &Command) -> Option<&str> {
    match command {
        Command::Write(Write::Create { name: doc, .. })
        | Command::Write(
            Write::Set { doc, .. }
            | Write::Del { doc, .. }
            | Write::Delete { doc, .. }
            | Write::Settle { doc, .. }
            | Write::Put { doc, .. },
        )
        | Command::Admin(Admin::Policy { doc, .. })
        | Command::Query(
            Query::Get { doc, .. } | Query::Document { doc } | Query::Conflicts { doc: Some(doc) },
        ) => Some(doc),
        Command::Write(Write::OnBase { write, .. }) => match &**write {
            Write::Set { doc, .. }
            | Write::Del { doc, .. }
            | Write::Put { doc, .. }
            | Write::Delete { doc, .. } => Some(doc),
            _ => None,
        },
        Command::Write(_) | Command::Admin(_) | Command::Query(_) => None,
    }
}

fn too_slow(span: Duration) -> CliError {
    let seconds = span.as_secs();
    let message = format!(
        "the running node has not answered within {seconds} s; it may still do what it was asked: its log has more"
    );
    CliError::new("no_answer", message)
}

/// A runtime for the exchange of one command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| CliError::new("system", format!("the system gives no event queue: {e}")))
}

/// A limit of file sizes (`ulimit -f`) becomes an error of the write, as a full disk is, and does not end the process.
pub(super) fn survive_file_limits() {
    let Ok(runtime) = runtime() else { return };
    let _context = runtime.enter();
    // The handler stays for as long as the process does. Without it the limit ends the process, as it does any other.
    let _ = tokio::signal::unix::signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
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

/// The JSON text of a reply.
pub(crate) fn text_of(reply: &crate::node::Reply) -> Result<String, CliError> {
    let text = serde_json::to_string(reply);
    text.map_err(|e| CliError::new("not_json", format!("this content cannot be written as JSON: {e}")))
}

pub(crate) fn read(status: StatusCode, text: &str) -> Result<JsonReply, CliError> {
    if status.is_success() {
        return JsonReply::read(text.to_owned());
    }
    let error: Json = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| error.pointer(&format!("/error/{name}")).and_then(Json::as_str);
    let message = field("message").map_or_else(|| format!("the node answers {status}"), str::to_owned);
    Err(CliError::refused(field("code").unwrap_or("bad_answer"), message))
}

/// The path of the folder, as text.
pub(crate) fn show(folder: &Path) -> String {
    folder.display().to_string()
}
