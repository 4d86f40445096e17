//! Commands around a node: what a shell, a packager and an administrator look for.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::error::{CliError, CliResult};
use super::{Cli, CliContext, backup, bundle, config, exchange, ping, print};

/// The commands around a node, beside those that a federation needs.
#[derive(Debug, Subcommand)]
pub(super) enum ToolCommand {
    /// Ask a peer for a sign of life over each link, and show how long it took
    #[command(
        after_help = "Examples:\n  tombolo ping hut\n  tombolo ping hut --json\n\nOver LAN and Tor the peer's program answers at once. A radio is not asked, since that takes airtime: its row shows when the peer was last heard there. The exit code is 1 if no link has answered."
    )]
    Ping {
        /// A name, a DID or the start of one
        peer: String,
    },
    /// Check that the running node answers: exit code 0 if it does, within 5 s; for containers and monitors
    #[command(
        after_help = "Examples:\n  tombolo health\n  tombolo health --json\n\n`tombolo status` shows how the federation fares."
    )]
    Health,
    /// Carry what peers lack in a file: for nodes that share no link
    #[command(
        after_help = "Examples:\n  tombolo bundle write /media/stick/for-boat --for boat\n  tombolo bundle read /media/stick/for-boat\n  tombolo bundle read /media/stick/for-boat.receipt"
    )]
    Bundle {
        #[command(subcommand)]
        act: bundle::BundleAct,
    },
    /// Write a document with its name and kind into a file, for `import`
    #[command(
        after_help = "Examples:\n  tombolo export plan plan.json\n  tombolo export hut/plan -\n\n`tombolo get plan` prints the content alone. A file that is there is not overwritten."
    )]
    Export {
        /// A document, or peer/document
        doc: String,
        /// The file; - writes to standard output
        file: PathBuf,
    },
    /// Make a document of what `export` wrote
    #[command(
        after_help = "Examples:\n  tombolo import plan.json\n  tombolo import plan.json --name old-plan\n  tombolo import plan.json --replace\n\nThe document is one of this node's own. One that is there is changed only with --replace; keys that the file does not have are deleted then."
    )]
    Import {
        /// The file; - reads standard input
        file: PathBuf,
        /// Another name for the document
        #[arg(long)]
        name: Option<String>,
        /// Make a document that is there equal to the file
        #[arg(long)]
        replace: bool,
    },
    /// Check tombolo.toml, or show every setting with what is not the default
    #[command(
        after_help = "Examples:\n  tombolo config check\n  tombolo config show\n  tombolo config show --changed\n  tombolo config show --json"
    )]
    Config {
        #[command(subcommand)]
        act: config::ConfigAct,
    },
    /// Write settings and store of this node into one file, and verify it; the node may run
    #[command(
        after_help = "Examples:\n  tombolo backup hut.tombolo\n  tombolo backup hut.tombolo --with-key --passphrase-file pass.txt\n  tombolo backup hut.tombolo --check\n\nWithout --with-key the file does not have the identity: keep a copy of identity.key elsewhere. With it the whole file is encrypted under a passphrase (argon2id, ChaCha20-Poly1305), which is asked for, or read from a file or from TOMBOLO_PASSPHRASE. Documents are readable in a file without the key: keep it as closed as the node's folder."
    )]
    Backup {
        /// The file to write; one that is there is not overwritten
        file: PathBuf,
        /// Include the identity; the file is encrypted then
        #[arg(long, conflicts_with = "check")]
        with_key: bool,
        /// Verify a file and show what is in it; nothing is written
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        passphrase: PassphraseArguments,
    },
    /// Make a node of what `backup` wrote; a node that is there is never overwritten
    #[command(
        after_help = "Examples:\n  tombolo restore hut.tombolo\n  tombolo --data-dir /srv/hut restore hut.tombolo --passphrase-file pass.txt\n\nA backup without the key needs identity.key in the folder. The restored node signs nothing until a peer has shown what the node wrote after the backup: start `tombolo up`, and it goes on by itself. Where no peer has seen newer writes, `tombolo up --new` goes on at once."
    )]
    Restore {
        /// The file that `backup` wrote
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArguments,
    },
    /// Print the completions of a shell: bash, elvish, fish, powershell or zsh
    #[command(
        after_help = "Examples:\n  tombolo completions bash > /etc/bash_completion.d/tombolo\n  tombolo completions zsh > ~/.zfunc/_tombolo\n  tombolo completions fish > ~/.config/fish/completions/tombolo.fish"
    )]
    Completions {
        /// The shell to write them for
        shell: Shell,
    },
    /// Write a manual page for each command into a folder
    #[command(
        after_help = "Examples:\n  tombolo man /usr/local/share/man/man1\n  tombolo man man && man -l man/tombolo.1"
    )]
    Man {
        /// The folder; it is made if it is not there
        dir: PathBuf,
    },
    /// Show the version of the program and of its formats
    #[command(after_help = "Examples:\n  tombolo version\n  tombolo version --json")]
    Version,
}

/// Where a passphrase comes from.
#[derive(Debug, Args)]
pub(super) struct PassphraseArguments {
    /// Read the passphrase from the first line of a file
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
}

/// Carries out a command that needs no node; gives back one that does.
pub(super) fn without_node(command: ToolCommand, json: bool) -> Result<CliResult, ToolCommand> {
    match command {
        ToolCommand::Completions { shell } => Ok(completions(shell)),
        ToolCommand::Man { dir } => Ok(manual(&dir, json)),
        ToolCommand::Version => Ok(version(json)),
        ToolCommand::Backup { file, check: true, passphrase, .. } => {
            Ok(backup::check(&file, &passphrase, json))
        }
        ToolCommand::Ping { .. }
        | ToolCommand::Health
        | ToolCommand::Bundle { .. }
        | ToolCommand::Export { .. }
        | ToolCommand::Import { .. }
        | ToolCommand::Config { .. }
        | ToolCommand::Backup { .. }
        | ToolCommand::Restore { .. } => Err(command),
    }
}

/// Carries out a command that is about the node of a folder.
pub(super) fn run(context: &CliContext, command: ToolCommand) -> CliResult {
    let command = match without_node(command, context.json) {
        Ok(done) => return done,
        Err(command) => command,
    };
    match command {
        ToolCommand::Ping { peer } => ping::run(context, peer),
        ToolCommand::Health => ping::health(context),
        ToolCommand::Bundle { act } => bundle::run(context, act),
        ToolCommand::Export { doc, file } => exchange::export(context, doc, &file),
        ToolCommand::Import { file, name, replace } => exchange::import(context, &file, name, replace),
        ToolCommand::Config { act } => config::run(context, act),
        ToolCommand::Backup { file, with_key, passphrase, check: _ } => {
            backup::write(context, &file, with_key, &passphrase)
        }
        ToolCommand::Restore { file, passphrase } => backup::restore(context, &file, &passphrase),
        ToolCommand::Completions { .. } | ToolCommand::Man { .. } | ToolCommand::Version => {
            unreachable!("these need no node, and have run")
        }
    }
}

fn completions(shell: Shell) -> CliResult {
    // Into memory first: the generator ends the process where its output closes.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tombolo", &mut text);
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(&text).and_then(|()| out.flush())?)
}

/// Writes `tombolo.1` and one page for each command, `tombolo-set.1`.
fn manual(dir: &std::path::Path, json: bool) -> CliResult {
    let failed = |path: &std::path::Path, error: std::io::Error| {
        CliError::new("file", format!("cannot write {}: {error}", path.display()))
    };
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    let mut root = Cli::command();
    root.build();
    let mut written = Vec::new();
    write_pages(&root, dir, &mut written).map_err(|(path, e)| failed(&path, e))?;
    if json {
        return Ok(print::exact(&serde_json::json!({ "pages": written }).to_string())?);
    }
    Ok(print::line(&format!("{} in {}", print::count(written.len() as u64, "page"), dir.display()))?)
}

fn write_pages(
    command: &clap::Command,
    dir: &std::path::Path,
    written: &mut Vec<String>,
) -> Result<(), (PathBuf, std::io::Error)> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let file = format!("{name}.1");
    let page = clap_mangen::Man::new(command.clone().disable_help_subcommand(true));
    let mut text = Vec::new();
    let path = dir.join(&file);
    page.render(&mut text)
        .and_then(|()| std::fs::write(&path, &text))
        .map_err(|error| (path.clone(), error))?;
    written.push(file);
    let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set());
    inner.into_iter().try_for_each(|inner| write_pages(inner, dir, written))
}

fn version(json: bool) -> CliResult {
    let version = env!("CARGO_PKG_VERSION");
    let (wire, store, codec) = (
        u64::from(tombolo_transports::stream::VERSION),
        crate::store::FORMAT,
        crate::sync::message::CODEC_VERSION,
    );
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    if json {
        let json = serde_json::json!({
            "name": "tombolo", "version": version, "wire": wire, "store": store, "codec": codec, "target": target,
        });
        return Ok(print::exact(&json.to_string())?);
    }
    print::line(&format!("tombolo {version} for {target}"))?;
    Ok(print::line(&format!("wire {wire}, store {store}, codec {codec}"))?)
}
