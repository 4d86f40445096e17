//! The error that a command ends with: a stable code for programs, a sentence for people. The errors of the library carry
//! facts; what to do next on the command line is added here.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;

use super::advice;
use crate::api::client::ClientError;
use crate::config::ConfigError;
use crate::folder::key::KeyFileError;
use crate::folder::{DirectError, STORE_FILE, StartError};
use crate::handle::CallError;
use crate::node::{CommandError, OpenError};
use crate::runtime::AskError;
use crate::store::StoreError;
use crate::unix_http::UnixError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CliError {
    /// The stable code of the error.
    pub(crate) code: String,
    /// What happened, why, and what to do next.
    pub(crate) message: String,
    exit: u8,
}

/// The result of a command.
pub(crate) type CliResult = Result<(), CliError>;

impl CliError {
    /// A failure: exit code 1.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        CliError { code: code.to_owned(), message: message.into(), exit: 1 }
    }

    /// A refusal of the node.
    pub(crate) fn refused(code: &str, message: String) -> Self {
        Self::new(code, advice::refusal(code, message))
    }

    /// A mistake in the arguments: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        CliError { code: "usage".to_owned(), message: message.into(), exit: 2 }
    }

    /// Adds the command that helps against a refusal of the node; `doc` is the document of the refused command.
    pub(crate) fn with_advice_for(mut self, doc: &str) -> Self {
        self.message = advice::refusal_for(&self.code, self.message, doc);
        self
    }

    /// A failure that the output of the command shows already: exit code 1, and no further line.
    pub(crate) fn shown(code: &str) -> Self {
        CliError::new(code, "")
    }

    /// The reader of the output has gone, like `head`: the command ends quietly.
    fn reader_gone() -> Self {
        CliError { code: String::new(), message: String::new(), exit: 0 }
    }

    /// Writes it to standard error, and returns the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        use std::io::Write;
        let line = if json {
            crate::api::server::error_json(&self.code, &self.message)
        } else {
            format!("error: {}", super::print::clean_lines(&self.message))
        };
        if self.exit != 0 && !self.message.is_empty() {
            // Without standard error it is reported by the exit code alone.
            let _ = writeln!(io::stderr(), "{line}");
        }
        ExitCode::from(self.exit)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::reader_gone(),
            _ => Self::new("io", format!("cannot write the output: {error}")),
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Config(_) => "bad_settings",
            StartError::Key(KeyFileError::Missing { .. }) => "no_node",
            StartError::Key(_) => "bad_key_file",
            StartError::Running { .. } => "already_running",
            StartError::InUse { .. } => "in_use",
            StartError::Store { source, .. } | StartError::Node { source: OpenError::Store(source), .. } => {
                source.code()
            }
            StartError::NotDamaged { .. } => "not_damaged",
            StartError::Lan(_) => "listen",
            StartError::Tor(_) => "tor",
            StartError::Socket { .. } => "socket",
            StartError::System { .. } => "system",
            StartError::OtherName { .. } => "other_name",
            StartError::BadName { .. } => "bad_name",
            StartError::Initialised { .. } => "already_initialised",
            StartError::KeyLost { .. } => "no_key",
            StartError::Closed { .. } => "closed_folder",
        };
        Self::new(code, with_advice(&error))
    }
}

/// What happened, and which command or file helps.
fn with_advice(error: &StartError) -> String {
    match error {
        StartError::Config(ConfigError::Missing { .. }) => {
            format!("{error}: `tombolo init --name NAME` writes it and keeps your identity")
        }
        StartError::Config(ConfigError::Read { path, source })
        | StartError::Key(KeyFileError::Io { path, source })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            format!("{error}. {}", take_over(path))
        }
        StartError::Socket { path, .. }
            if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) =>
        {
            format!("{error}. What stands there is no socket: move it away")
        }
        StartError::Key(KeyFileError::Missing { .. }) => {
            format!("{error}: `tombolo init --name NAME` makes one")
        }
        StartError::Key(KeyFileError::Open { path, .. }) => {
            format!("{error}: `chmod 600 {}` closes it", path.display())
        }
        StartError::Running { .. } => {
            format!("{error}: end it first, or give this one a folder of its own with --data-dir")
        }
        StartError::Store { path, source } | StartError::Node { path, source: OpenError::Store(source) } => {
            store_advice(error, path, source)
        }
        StartError::NotDamaged { .. } => {
            format!("{error}: `tombolo doctor` shows what else may be wrong")
        }
        StartError::Key(KeyFileError::Malformed { .. }) => {
            format!("{error}. Put identity.key back from a copy; the store stays as it is")
        }
        StartError::Lan(_) => format!(
            "{error}. `tombolo up --listen 0.0.0.0:0` takes any free port, as a second node on one machine needs; `listen` in the [lan] section of tombolo.toml sets it for good"
        ),
        StartError::Tor(_) => format!(
            "{error}. `listen` in the [tor] section of tombolo.toml sets another place; `tombolo up --no-tor` goes without Tor"
        ),
        StartError::Closed { .. } => {
            format!(
                "{error}: run it as the user of the node, `sudo -u USER tombolo …`, or let a group use it, `group` in section [socket] of its tombolo.toml"
            )
        }
        StartError::KeyLost { .. } => {
            format!("{error}: put the key file back, or choose an empty folder with --data-dir")
        }
        StartError::Initialised { folder } => {
            format!(
                "a node lives in {} already: `tombolo id` shows it; nothing was changed",
                folder.display()
            )
        }
        StartError::InUse { .. }
        | StartError::Config(_)
        | StartError::Key(_)
        | StartError::Socket { .. }
        | StartError::System { .. }
        | StartError::OtherName { .. }
        | StartError::BadName { .. } => error.to_string(),
    }
}

/// What helps where the store of a node cannot be used.
fn store_advice(error: &StartError, path: &Path, source: &StoreError) -> String {
    match source {
        StoreError::InUse => format!("{error}: stop it, or use another --data-dir"),
        StoreError::Damaged(_) => format!("{error}: {}", advice::RECOVER),
        StoreError::Disk(_) => format!("{error}. If that stays so, {}", advice::RECOVER),
        StoreError::NoRoom(_) => format!("{error}. Free some space, or make the file system writable"),
        StoreError::Away => {
            format!("{error}: put {STORE_FILE} back. If it is lost, {}", advice::RECOVER_LOG)
        }
        StoreError::Denied(_) => format!("{error}. {}", take_over(path)),
        StoreError::NoTarget => {
            format!("{error}: mount its disk, or put the file back; nothing was changed")
        }
        StoreError::OtherNode { .. } => format!(
            "{error}: put the key file of this store back, or the store of this key. If that is lost, {}",
            advice::RECOVER
        ),
        StoreError::TooNew { .. } | StoreError::Closed => error.to_string(),
    }
}

/// What helps where a file of a node belongs to another user, or is closed to its own.
fn take_over(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    format!(
        "All files in {folder} have to belong to the user that runs tombolo (`chown -R USER {folder}`, as root) and be open to it (`chmod 600 {}`)",
        path.display()
    )
}

impl From<CommandError> for CliError {
    fn from(error: CommandError) -> Self {
        Self::refused(error.code(), error.to_string())
    }
}

impl From<AskError> for CliError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(error) => error.into(),
            AskError::Gone(error) => Self::new("gone", error.to_string()),
        }
    }
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Ask(error) => error.into(),
            other => Self::new("bad_value", other.to_string()),
        }
    }
}

impl From<DirectError> for CliError {
    fn from(error: DirectError) -> Self {
        match error {
            DirectError::Start(error) => error.into(),
            DirectError::Refused(error) => error.into(),
            DirectError::NeedsDaemon => {
                Self::new("needs_daemon", format!("{error}: start `tombolo up` first"))
            }
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NoRoute => Self::new("internal", error.to_string()),
            ClientError::Unix(error) => error.into(),
        }
    }
}

impl From<UnixError> for CliError {
    fn from(error: UnixError) -> Self {
        match &error {
            UnixError::NotListening { .. } => Self::new("needs_daemon", error.to_string()),
            UnixError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::new("socket", format!("{error}. The node runs as another user: use that one, or sudo"))
            }
            UnixError::Connect { .. } => Self::new("socket", error.to_string()),
            UnixError::Broken { .. } | UnixError::Answer { .. } => {
                Self::new("gone", format!("{error}. Has the node ended? `tombolo up` starts it"))
            }
        }
    }
}
