//! What becomes of a command: refused with a typed reason, run to an end, or unknown.

use serde::{Deserialize, Serialize};

/// Bytes of a program's output that are kept: its end.
pub const OUTPUT_BYTES_MAX: usize = 4 * 1024;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was not run.
    Refused(CommandRefusal),
    /// The operator's command ran.
    Ended(RunResult),
    /// The receiver stopped between taking the command and its end, or its store has gone back since and does not know whether
    /// it was taken. It is not run again.
    Unknown,
}

/// How the operator's command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// How the program ended.
    pub end: RunEnd,
    /// The last of what it wrote to standard output and standard error, or why it did not start.
    pub output: String,
}

/// The end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// It ended with exit code 0.
    Success,
    /// It ended with another exit code.
    Exit(u8),
    /// A signal ended it.
    Signal(u8),
    /// It took longer than the operator allows, and was ended.
    TimedOut,
    /// The system did not start it.
    NotStarted,
}

impl RunEnd {
    /// The two numbers that travel.
    pub(super) fn code(self) -> (u8, u8) {
        match self {
            RunEnd::Success => (0, 0),
            RunEnd::Exit(code) => (1, code),
            RunEnd::Signal(number) => (2, number),
            RunEnd::TimedOut => (3, 0),
            RunEnd::NotStarted => (4, 0),
        }
    }

    /// The end with two numbers from outside.
    pub(super) fn from_code(kind: u64, number: u64) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        match (kind, number) {
            (0, 0) => Some(RunEnd::Success),
            (1, 1..) => Some(RunEnd::Exit(number)),
            (2, 1..) => Some(RunEnd::Signal(number)),
            (3, 0) => Some(RunEnd::TimedOut),
            (4, 0) => Some(RunEnd::NotStarted),
            _ => None,
        }
    }
}

impl std::fmt::Display for RunEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunEnd::Success => f.write_str("the command ended without an error"),
            RunEnd::Exit(code) => write!(f, "the command ended with exit code {code}"),
            RunEnd::Signal(number) => write!(f, "the command was ended by signal {number}"),
            RunEnd::TimedOut => {
                f.write_str("the command took longer than its operator allows, and was ended")
            }
            RunEnd::NotStarted => f.write_str("the command could not be started"),
        }
    }
}

/// Why a receiver does not run a command. The sentences are read at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
pub enum CommandRefusal {
    /// The sender is not trusted.
    #[error("the receiver does not list the sender as trusted")]
    NotTrusted,
    /// The receiver takes no deploys.
    #[error("deploys are off at the receiver: it has no command for them, or its catalogue is empty")]
    Off,
    /// The app is not in the catalogue.
    #[error("the app is not in the receiver's catalogue")]
    NotInCatalogue,
    /// The app is, this version is not.
    #[error("the receiver's catalogue has the app in other versions only")]
    VersionNotInCatalogue,
    /// The catalogue names another marketplace for it.
    #[error("the receiver's catalogue has the app from another marketplace")]
    OtherMarketplace,
    /// The catalogue does not read.
    #[error("the receiver's catalogue cannot be read: its operator has to correct it")]
    CatalogueDamaged,
    /// It arrived too late.
    #[error("the command had expired when it arrived, by the receiver's clock")]
    Expired,
    /// It would live longer than allowed.
    #[error(
        "the command would expire more than 7 days from now, by the receiver's clock: one of the clocks is wrong"
    )]
    TooFar,
    /// Its outcome, if it has one, is no longer remembered.
    #[error(
        "the command is older than what the receiver remembers: it was not run now, whether before is not known"
    )]
    Forgotten,
    /// The signature does not hold for this sender and receiver.
    #[error("the signature of the command does not hold")]
    Signature,
    /// The fields are not those of the kind.
    #[error("the command is not well-formed")]
    Malformed,
    /// A kind of a later version.
    #[error("the receiver does not know this kind of command: its version is older")]
    UnknownKind,
    /// As many run as may, or one for the same app.
    #[error("the receiver is busy with other installs: the command is offered again")]
    Busy,
    /// Its sender's clock is ahead.
    #[error(
        "the command was made in the future, by the receiver's clock: it is offered again until that time has come"
    )]
    MadeAhead,
}

impl CommandRefusal {
    /// All reasons; the place of each is its number on the wire, from 1.
    pub const ALL: [CommandRefusal; 14] = [
        CommandRefusal::NotTrusted,
        CommandRefusal::Off,
        CommandRefusal::NotInCatalogue,
        CommandRefusal::VersionNotInCatalogue,
        CommandRefusal::OtherMarketplace,
        CommandRefusal::CatalogueDamaged,
        CommandRefusal::Expired,
        CommandRefusal::TooFar,
        CommandRefusal::Forgotten,
        CommandRefusal::Signature,
        CommandRefusal::Malformed,
        CommandRefusal::UnknownKind,
        CommandRefusal::Busy,
        CommandRefusal::MadeAhead,
    ];

    /// The number that travels.
    pub fn code(self) -> u8 {
        let place = CommandRefusal::ALL.iter().position(|why| *why == self);
        place
            .and_then(|place| u8::try_from(place + 1).ok())
            .expect("every reason stands in the list, which is short")
    }

    /// The reason with a number from outside.
    pub fn from_code(code: u64) -> Option<Self> {
        let place = usize::try_from(code).ok()?.checked_sub(1)?;
        CommandRefusal::ALL.get(place).copied()
    }

    /// The label in JSON, documents and counters.
    pub fn label(self) -> &'static str {
        match self {
            CommandRefusal::NotTrusted => "not_trusted",
            CommandRefusal::Off => "off",
            CommandRefusal::NotInCatalogue => "not_in_catalogue",
            CommandRefusal::VersionNotInCatalogue => "version_not_in_catalogue",
            CommandRefusal::OtherMarketplace => "other_marketplace",
            CommandRefusal::CatalogueDamaged => "catalogue_damaged",
            CommandRefusal::Expired => "expired",
            CommandRefusal::TooFar => "expires_too_far_ahead",
            CommandRefusal::Forgotten => "forgotten",
            CommandRefusal::Signature => "signature",
            CommandRefusal::Malformed => "malformed",
            CommandRefusal::UnknownKind => "unknown_kind",
            CommandRefusal::Busy => "busy",
            CommandRefusal::MadeAhead => "made_ahead",
        }
    }

    /// Whether the sender offers the command again.
    pub fn is_passing(self) -> bool {
        matches!(self, CommandRefusal::Busy | CommandRefusal::MadeAhead)
    }
}

impl Outcome {
    /// The word for it in JSON and documents.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Refused(_) => "refused",
            Outcome::Ended(RunResult { end: RunEnd::Success, .. }) => "installed",
            Outcome::Ended(_) => "failed",
            Outcome::Unknown => "unknown",
        }
    }

    /// Whether the app was installed.
    pub fn is_installed(&self) -> bool {
        matches!(self, Outcome::Ended(RunResult { end: RunEnd::Success, .. }))
    }

    /// What happened, as a sentence without a full stop.
    pub fn sentence(&self) -> String {
        match self {
            Outcome::Refused(why) => why.to_string(),
            Outcome::Ended(result) => result.end.to_string(),
            Outcome::Unknown => {
                "the receiver stopped while it ran, or its store was restored after the command was made or shortly before: whether the app is installed is not known, it is not run again"
                    .to_owned()
            }
        }
    }

    /// What the operator's command wrote, as far as it is kept.
    pub fn output(&self) -> Option<&str> {
        match self {
            Outcome::Ended(result) if !result.output.is_empty() => Some(&result.output),
            Outcome::Ended(_) | Outcome::Refused(_) | Outcome::Unknown => None,
        }
    }

    /// The same outcome with at most so many bytes of output.
    pub fn with_output_max(&self, bytes_max: usize) -> Outcome {
        match self {
            Outcome::Ended(RunResult { end, output }) => {
                Outcome::Ended(RunResult { end: *end, output: tail_of(output, bytes_max).to_owned() })
            }
            Outcome::Refused(_) | Outcome::Unknown => self.clone(),
        }
    }
}

/// The end of a text: at most so many bytes, from the start of a character.
pub fn tail_of(text: &str, bytes_max: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).expect("the start is at a boundary of characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_ends_have_numbers_that_read_back() {
        for why in CommandRefusal::ALL {
            assert_eq!(CommandRefusal::from_code(u64::from(why.code())), Some(why));
        }
        assert_eq!(CommandRefusal::from_code(0), None);
        assert_eq!(CommandRefusal::from_code(99), None);
        for end in [RunEnd::Success, RunEnd::Exit(3), RunEnd::Signal(9), RunEnd::TimedOut, RunEnd::NotStarted]
        {
            let (kind, number) = end.code();
            assert_eq!(RunEnd::from_code(kind.into(), number.into()), Some(end));
        }
        assert_eq!(RunEnd::from_code(1, 0), None);
        assert_eq!(RunEnd::from_code(1, 256), None);
    }

    #[test]
    fn a_tail_begins_with_a_whole_character() {
        assert_eq!(tail_of("abc", 2), "bc");
        assert_eq!(tail_of("aäb", 2), "b");
        assert_eq!(tail_of("aäb", 3), "äb");
        assert_eq!(tail_of("ab", 0), "");
    }
}
