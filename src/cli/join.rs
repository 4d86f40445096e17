//! `join`: through the daemon, or with a node that runs just until both sides agreed.

use std::io::Read;
use std::time::Duration;

use super::ask::{JsonReply, runtime, text_of};
use super::error::{CliError, CliResult};
use super::{CliContext, print};
use tombolo_transports::Address;

use crate::clock::rfc3339;
use crate::config::TimeSpan;
use crate::federation::invite::Invite;
use crate::folder::load_config;
use crate::handle::{Settings, Tombolo};
use crate::identity::did;
use crate::limits::INVITE_TEXT_MAX;
use crate::node::{Admin, Query};
use crate::system_clock::now;

/// After this long a hint shows what the command waits for.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(
    context: &CliContext,
    code: String,
    addresses: Vec<Address>,
    timeout: Option<TimeSpan>,
) -> CliResult {
    context.node.check_there()?;
    let code = if code == "-" { from_stdin()? } else { code };
    let code = code.trim().to_owned();
    if let Some(expires) = ended_here(&code).filter(|_| !context.json) {
        print::hint(&format!(
            "note: by this machine's clock the code expired at {expires}; the inviter's clock decides, so it is asked"
        ));
    }
    let running = context.node.is_running();
    let patient = !context.json;
    let inviter = Invite::parse(&code).ok().map(|invite| did(&invite.inviter));
    let reply = runtime()?.block_on(async {
        let joining = join(context, Admin::Join { code, addresses }, running);
        let hinting = async {
            let span = timeout.map(|TimeSpan(span)| span);
            tokio::time::sleep(span.map_or(PATIENCE, |span| span.min(PATIENCE))).await;
            if patient && span.is_none_or(|span| span > PATIENCE) {
                print::hint(
                    "waiting for the inviter: its `tombolo up` must run, and the two must reach each other",
                );
            }
            match span {
                Some(span) => tokio::time::sleep(span.saturating_sub(PATIENCE)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reply = joining => reply.map_err(|error| error.with_advice_for("")),
            () = hinting => Err(no_answer(context, running, inviter.as_deref()).await),
        }
    })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let name = match print::text(&reply.json, "name") {
        "" => print::short_did(print::text(&reply.json, "did")),
        name => print::clean(name),
    };
    print::line(&format!("joined: {name} is a peer now, and you are one of theirs"))?;
    if !running {
        print::hint("start `tombolo up` to stay in step");
    }
    Ok(())
}

async fn join(context: &CliContext, command: Admin, running: bool) -> Result<JsonReply, CliError> {
    if running {
        let answer = crate::api::client::command(&context.node.socket(), &command.into()).await?;
        return super::ask::read(answer.0, &String::from_utf8_lossy(&answer.1));
    }
    let config = load_config(&context.node.folder)?;
    let node =
        Tombolo::start(&context.node.folder, Settings { config, publish: false, socket: true }).await?;
    let reply = node.command(command).await;
    node.shutdown().await;
    JsonReply::read(text_of(&reply?)?)
}

/// When a code expired by this machine's clock, if it did.
fn ended_here(code: &str) -> Option<String> {
    let expires = Invite::parse(code).ok()?.expires?;
    (expires <= now().wall).then(|| rfc3339(expires))
}

async fn no_answer(context: &CliContext, running: bool, inviter: Option<&str>) -> CliError {
    let next = if running { "the running node goes on trying" } else { "start `tombolo up` to go on trying" };
    let why = match inviter.filter(|_| running) {
        Some(inviter) => last_failure(context, inviter).await,
        None => None,
    };
    let why = why.map(|why| format!(". The last try: {why}")).unwrap_or_default();
    CliError::new(
        "no_answer",
        format!("the inviter has not answered yet: {next}; `tombolo peers` shows it{why}"),
    )
}

/// What came of the running node's last call to an inviter.
async fn last_failure(context: &CliContext, inviter: &str) -> Option<String> {
    let answer = crate::api::client::command(&context.node.socket(), &Query::Status.into()).await.ok()?;
    let status: serde_json::Value = serde_json::from_slice(&answer.1).ok()?;
    let alarms = status.get("alarms")?.as_array()?.iter().filter_map(serde_json::Value::as_str);
    let key = inviter.trim_start_matches("did:key:");
    let mut silent = alarms.filter_map(|alarm| alarm.split_once(" has not answered yet: "));
    silent.find(|(name, _)| key.starts_with(name)).map(|(_, why)| why.to_owned())
}

fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let limit = u64::try_from(INVITE_TEXT_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = std::io::stdin().lock().take(limit).read_to_string(&mut text);
    read.map_err(|e| CliError::new("bad_invite", format!("cannot read the code: {e}")))?;
    Ok(text)
}
