//! The one error that a command ends with: a stable word for programs, a sentence for people.

use std::io;
use std::process::ExitCode;

use crate::api::unix::UnixError;
use crate::folder::{DirectError, StartError};
use crate::handle::CallError;
use crate::node::CommandError;
use crate::runtime::AskError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CliError {
    /// A stable word.
    pub(crate) code: String,
    /// What happened, why, and what to do next.
    pub(crate) message: String,
    exit: u8,
}

/// A command's outcome.
pub(crate) type Outcome = Result<(), CliError>;

impl CliError {
    /// A failure: exit code 1.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        CliError { code: code.to_owned(), message: message.into(), exit: 1 }
    }

    /// A mistake in the arguments: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        CliError { code: "usage".to_owned(), message: message.into(), exit: 2 }
    }

    /// Whoever read our output has gone, like `head`: no error to speak of.
    fn reader_gone() -> Self {
        CliError { code: String::new(), message: String::new(), exit: 0 }
    }

    /// Says it on standard error, and gives the exit code.
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        use std::io::Write;
        let line = if json {
            crate::api::server::error_json(&self.code, &self.message)
        } else {
            format!("error: {}", super::print::clean_lines(&self.message))
        };
        if self.exit != 0 {
            // Without standard error there is nobody to tell.
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
            StartError::Key(crate::folder::key::KeyFileError::Missing { .. }) => "no_node",
            StartError::Key(_) => "bad_key_file",
            StartError::Running { .. } => "already_running",
            StartError::InUse { .. } => "in_use",
            StartError::Store { .. } | StartError::Node { .. } => "store",
            StartError::Lan(_) => "listen",
            StartError::Socket { .. } => "socket",
            StartError::System { .. } => "system",
            StartError::OtherName { .. } => "other_name",
            StartError::BadName { .. } => "bad_name",
            StartError::Initialised { .. } => "already_initialised",
            StartError::KeyLost { .. } => "no_key",
        };
        Self::new(code, error.to_string())
    }
}

impl From<CommandError> for CliError {
    fn from(error: CommandError) -> Self {
        Self::new(error.code(), error.to_string())
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
            DirectError::NeedsDaemon => Self::new("needs_daemon", error.to_string()),
        }
    }
}

impl From<UnixError> for CliError {
    fn from(error: UnixError) -> Self {
        match &error {
            UnixError::NobodyThere { .. } => Self::new("needs_daemon", error.to_string()),
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
