//! The command line: the tree of commands, and one file per noun that carries them out.
//!
//! Each command asks the node of a folder (`ask`), through the daemon where one runs, and prints what
//! comes back: for people as text, with `--json` as the JSON that `/v1` answers. Exit codes: 0 done, 1
//! failed, 2 wrong arguments; an error is one sentence on standard error, or one JSON object.

mod adopt;
mod advice;
mod airtime;
mod alarms;
mod ask;
mod backup;
mod bundle;
mod catalogue;
mod config;
mod demo;
mod deploy;
mod docs;
mod doctor;
mod error;
mod exchange;
mod init;
mod invite;
mod join;
mod links;
mod log;
mod notify;
mod peers;
mod ping;
mod policy;
mod print;
mod qr;
mod revoke;
mod route;
mod service;
mod state;
mod status;
mod tools;
mod tree;
mod up;
mod values;
mod watch;
mod watch_for;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::api::routes::WatchRequest;
use crate::io::view::RouteOrder;
use error::{CliError, CliResult};
use tree::{Cli, CliCommand, InvitesAct};
use values::flat;

/// The node's folder and the form of the output, which every command needs.
struct CliContext {
    node: ask::NodeFolder,
    json: bool,
}

/// Parses the arguments, runs the command, prints one error if it failed.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.json;
    ask::survive_file_limits();
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(json),
    }
}

fn execute(cli: Cli) -> CliResult {
    if let CliCommand::Demo { tor_socks, tor_control } = cli.command {
        return demo::run(cli.json, tor_socks, tor_control);
    }
    let command = match cli.command {
        CliCommand::Tool(tool) => match tools::without_node(tool, cli.json) {
            Ok(done) => return done,
            Err(tool) => CliCommand::Tool(tool),
        },
        command => command,
    };
    let folder = folder_of(cli.data_dir)?;
    let context = CliContext { node: ask::NodeFolder { folder }, json: cli.json };
    dispatch(&context, command)
}

fn folder_of(data_dir: Option<OsString>) -> Result<PathBuf, CliError> {
    match data_dir {
        // An empty variable is none; an empty argument is a script's mistake.
        Some(dir) if dir.is_empty() && std::env::var_os("TOMBOLO_DATA_DIR").is_some_and(|v| v.is_empty()) => {
            ask::default_folder()
        }
        Some(dir) if dir.is_empty() => Err(CliError::usage("--data-dir needs a folder: it is empty")),
        Some(dir) => Ok(PathBuf::from(dir)),
        None => ask::default_folder(),
    }
}

/// Carries out a command that is about the node of a folder.
fn dispatch(context: &CliContext, command: CliCommand) -> CliResult {
    match command {
        CliCommand::Init { name } => init::init(context, name),
        CliCommand::Id => init::id(context),
        CliCommand::Recover => init::recover(context),
        CliCommand::Up { mesh, listen, no_lan, tor_socks, tor_control, tor_cookie, no_tor, new } => {
            let tor =
                up::TorArguments { socks: tor_socks, control: tor_control, cookie: tor_cookie, off: no_tor };
            up::run(context, mesh, listen, no_lan, tor, new)
        }
        CliCommand::Invite { level, expires, qr, addresses } => {
            invite::run(context, level, expires, qr, flat(addresses))
        }
        CliCommand::Invites { act: None } => invite::list(context),
        CliCommand::Invites { act: Some(InvitesAct::Withdraw { id }) } => invite::withdraw(context, id),
        CliCommand::Join { code, addresses, timeout } => join::run(context, code, flat(addresses), timeout),
        CliCommand::Adopt { dir } => adopt::run(context, &dir),
        CliCommand::Peers => peers::list(context),
        CliCommand::Trust { peer, level } => peers::trust(context, peer, level),
        CliCommand::Rename { peer, name } => peers::rename(context, peer, name),
        CliCommand::Dial { peer, addresses } => peers::dial(context, peer, flat(addresses)),
        CliCommand::Policy { doc, radio, confidential } => policy::policy(context, doc, radio, confidential),
        CliCommand::Revoke { own, peer, stolen: _ } => revoke::run(context, own, peer),
        CliCommand::Remove { peer } => peers::remove(context, peer),
        CliCommand::Create { doc, snapshot } => docs::create(context, doc, snapshot),
        CliCommand::Set { doc, key, value } => docs::set(context, doc, key, &value),
        CliCommand::Get { doc, key } => docs::get(context, doc, key),
        CliCommand::Del { doc, key } => docs::del(context, doc, key),
        CliCommand::Delete { doc, undo } => docs::delete(context, doc, undo),
        CliCommand::Put { doc, file, whole, base } => docs::put(context, doc, &file, whole, base),
        CliCommand::Ls { all } => docs::list(context, all),
        CliCommand::Watch { doc, since, snapshot } => {
            watch::run(context, &WatchRequest { doc, since, snapshot })
        }
        CliCommand::WatchFor { act } => watch_for::run(context, act),
        CliCommand::Alarms { act } => alarms::run(context, act),
        CliCommand::Notify { act } => notify::run(context, &act),
        CliCommand::State { peer, via } => state::run(context, peer, via.is_some()),
        CliCommand::Status => status::run(context),
        CliCommand::Doctor => doctor::run(context),
        CliCommand::Log { last } => log::run(context, last),
        CliCommand::Links => links::run(context),
        CliCommand::Why { replay: Some(file), .. } => why::replay(context, &file),
        CliCommand::Why { about, replay: None } => why::run(context, about),
        CliCommand::Route {
            preference,
            peer,
            doc,
            link,
            radio,
            metered,
            price,
            last_resort,
            only,
            reset,
        } => {
            let order =
                RouteOrder { peer, doc, link, radio, preference, metered, price, last_resort, only, reset };
            route::run(context, order)
        }
        CliCommand::Airtime => airtime::run(context),
        CliCommand::Conflicts { doc: Some(doc), key: Some(key), keep, by, .. } => {
            docs::settle(context, doc, key, keep, by)
        }
        CliCommand::Conflicts { doc, .. } => docs::conflicts(context, doc),
        CliCommand::Deploy { status: Some(id), .. } => deploy::status(context, id),
        CliCommand::Deploy { peer, app, version, marketplace, wait, via, expires, status: None } => {
            let by = via.map_or(deploy::DeployWay::Links(expires), |_| deploy::DeployWay::Call);
            let order = deploy::Order::given(peer, app, version, marketplace, by);
            deploy::deploy(context, order, wait)
        }
        CliCommand::Catalogue => catalogue::run(context),
        CliCommand::Tool(tool) => tools::run(context, tool),
        CliCommand::Demo { .. } => unreachable!("a demo makes its own folders, and has run"),
    }
}

/// Prints what clap returns: help on standard output, mistakes on standard error.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let text = text.trim_start_matches("error: ");
        let sentence =
            text.split("\n\n").next().unwrap_or(text).split_whitespace().collect::<Vec<_>>().join(" ");
        return CliError::usage(sentence).report(true);
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
