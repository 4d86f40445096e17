//! `backup` and `restore`, for people: where the passphrase comes from, and what was written.

use std::io::{IsTerminal, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::{CliError, CliResult};
use super::tools::PassphraseArguments;
use super::{CliContext, print};
use crate::folder::backup::{self, BackupContents, BackupError};

/// The variable that may hold the passphrase.
const VARIABLE: &str = "TOMBOLO_PASSPHRASE";
/// Bytes of a passphrase; a longer one is a mistake.
const PASSPHRASE_BYTES_MAX: u64 = 4_096;
/// Characters below which a passphrase is refused.
const PASSPHRASE_CHARS_MIN: usize = 8;

pub(super) fn write(
    context: &CliContext,
    file: &Path,
    with_key: bool,
    passphrase: &PassphraseArguments,
) -> CliResult {
    context.node.check_there()?;
    let passphrase = match with_key {
        true => Some(new_passphrase(passphrase)?),
        false => None,
    };
    let contents = backup::write(&context.node.folder, file, passphrase.as_deref().map(String::as_str))?;
    report(context.json, file, "is written and was read back", &contents)?;
    if !context.json && !with_key {
        print::hint("the identity is not in it: keep a copy of identity.key elsewhere, or use --with-key");
    }
    Ok(())
}

pub(super) fn check(file: &Path, passphrase: &PassphraseArguments, json: bool) -> CliResult {
    let contents = match backup::check(file, None) {
        Err(BackupError::NeedsPassphrase) => backup::check(file, Some(asked(passphrase)?.as_str()))?,
        checked => checked?,
    };
    report(json, file, "is whole", &contents)
}

pub(super) fn restore(context: &CliContext, file: &Path, passphrase: &PassphraseArguments) -> CliResult {
    let folder = &context.node.folder;
    let restored = match backup::restore(file, folder, None) {
        Err(BackupError::NeedsPassphrase) => {
            backup::restore(file, folder, Some(asked(passphrase)?.as_str()))?
        }
        restored => restored?,
    };
    report(context.json, file, &format!("is restored into {}", folder.display()), &restored)?;
    if !context.json {
        print::hint(
            "next: `tombolo up`; the node signs again as soon as a peer has shown what it wrote after the backup",
        );
    }
    Ok(())
}

fn report(json: bool, file: &Path, done: &str, contents: &BackupContents) -> CliResult {
    if json {
        let mut json = serde_json::to_value(contents).expect("the contents have text keys");
        if let Some(object) = json.as_object_mut() {
            object.insert("file".to_owned(), serde_json::json!(file));
        }
        return Ok(print::exact(&json.to_string())?);
    }
    print::line(&format!("{} {done}", file.display()))?;
    print::line(&format!("  node    {}, {}", print::clean(&contents.name), contents.did))?;
    print::line(&format!("  made    {}", print::clean(&contents.made_at)))?;
    print::line(&format!(
        "  key     {}",
        if contents.has_key { "included, encrypted" } else { "not included" }
    ))?;
    for part in &contents.files {
        print::line(&format!("  {:<22}{}", print::clean(&part.name), print::size(part.bytes)))?;
    }
    Ok(())
}

/// A passphrase for a new backup: one that is typed is typed twice.
fn new_passphrase(arguments: &PassphraseArguments) -> Result<Zeroizing<String>, CliError> {
    let passphrase = match given(arguments)? {
        Some(passphrase) => passphrase,
        None => {
            let first = typed("passphrase: ")?;
            if typed("the same again: ")? != first {
                return Err(CliError::usage("the two passphrases differ: nothing was written"));
            }
            first
        }
    };
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(CliError::usage(format!(
            "the passphrase has fewer than {PASSPHRASE_CHARS_MIN} characters"
        )));
    }
    Ok(passphrase)
}

/// The passphrase of a backup that is there.
fn asked(arguments: &PassphraseArguments) -> Result<Zeroizing<String>, CliError> {
    given(arguments)?.map_or_else(|| typed("passphrase: "), Ok)
}

/// The passphrase in a file or in the variable.
fn given(arguments: &PassphraseArguments) -> Result<Option<Zeroizing<String>>, CliError> {
    if let Some(path) = &arguments.passphrase_file {
        let failed =
            |e: std::io::Error| CliError::new("file", format!("cannot read {}: {e}", path.display()));
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(PASSPHRASE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        return Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())));
    }
    Ok(std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()).map(Zeroizing::new))
}

/// Asks on the terminal, without showing what is typed.
fn typed(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let message =
            format!("a passphrase is needed: --passphrase-file FILE names one, or {VARIABLE} holds it");
        return Err(CliError::usage(message));
    }
    let failed = |e: std::io::Error| CliError::new("system", format!("the terminal cannot be read: {e}"));
    use std::io::Write;
    let mut err = std::io::stderr();
    let _ = write!(err, "{prompt}").and_then(|()| err.flush());
    let before = rustix::termios::tcgetattr(&stdin).map_err(|e| failed(e.into()))?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(rustix::termios::LocalModes::ECHO);
    let set = |modes| rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Now, modes);
    set(&quiet).map_err(|e| failed(e.into()))?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.read_line(&mut line);
    let _ = set(&before);
    let _ = writeln!(err);
    read.map_err(failed)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        let advice = match &error {
            BackupError::Start(_) => "",
            BackupError::Exists { .. } => ": choose another name, or move it away",
            BackupError::Occupied { .. } => {
                ": choose an empty folder with --data-dir, or move this one away first"
            }
            BackupError::KeyMissing { .. } => ": put identity.key of that node into the folder first",
            BackupError::Busy => ": stop the node, make the backup, and start it again",
            BackupError::NeedsPassphrase => ": --passphrase-file FILE names its passphrase",
            BackupError::NoBackup
            | BackupError::TooNew(_)
            | BackupError::Damaged(_)
            | BackupError::Passphrase
            | BackupError::OtherNode { .. }
            | BackupError::Random(_)
            | BackupError::Io { .. } => "",
        };
        let (code, text) = (error.code(), format!("{error}{advice}"));
        match error {
            BackupError::Start(error) => error.into(),
            _ => CliError::new(code, text),
        }
    }
}
