//! `invite` prints an invite code or its QR code, `invites` lists and withdraws them.

use tombolo_transports::Address;

use super::error::{CliError, CliResult};
use super::{CliContext, advice, print, qr};
use crate::config::TimeSpan;
use crate::federation::TrustLevel;
use crate::folder::load_config;
use crate::node::{Admin, Query};
use crate::time::Millis;

pub(super) fn run(
    context: &CliContext,
    level: TrustLevel,
    expires: TimeSpan,
    draw: bool,
    addresses: Vec<Address>,
) -> CliResult {
    let addresses = if addresses.is_empty() { known_addresses(context)? } else { addresses };
    let addresses = if draw { qr::fitting(&addresses) } else { addresses };
    let is_nowhere = addresses.is_empty() && context.node.is_running();
    let expires_in = Millis::from_ms(u64::try_from(expires.0.as_millis()).unwrap_or(u64::MAX));
    let reply = context.node.ask(Admin::Invite { level, expires_in, addresses })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let until = print::text(&reply.json, "expires");
    let notes = || {
        print::hint(&format!("works once, until {until}; the node that joins with it is {level} here"));
        if reply.json.get("clock_is_set").and_then(serde_json::Value::as_bool) == Some(false) {
            print::hint(
                "note: this machine's clock is not set. When it is set, the invite may expire at once: set it first, then make another",
            );
        }
        if is_nowhere {
            print::hint("note: this machine has no network address, so the code names none");
            print::hint(advice::ON_ONE_MACHINE);
        }
        if !context.node.is_running() {
            print::hint("no node is running here: start `tombolo up`, so that the other one finds it");
        }
    };
    if draw {
        let drawn = qr::draw(print::text(&reply.json, "compact"))
            .map_err(|e| CliError::new("qr", format!("{e}: `tombolo invite` prints it as text")))?;
        // The picture needs every line but one of a small terminal: what stands below it would push its top out.
        notes();
        print::exact(&if print::in_colour() { qr::coloured(&drawn) } else { drawn })?;
    } else {
        print::exact(print::text(&reply.json, "code"))?;
        notes();
    }
    Ok(())
}

/// Lists the invites that have not expired.
pub(super) fn list(context: &CliContext) -> CliResult {
    let reply = context.node.ask(Query::Invites)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let invites = print::items(&reply.json);
    if invites.is_empty() {
        print::hint("no invite is open: `tombolo invite` prints a code");
        return Ok(());
    }
    let mut table = print::Table::new(&["ID", "LEVEL", "MADE", "EXPIRES", "USED BY"]);
    for invite in invites {
        let used = print::text(invite, "accepted");
        table.row([
            print::text(invite, "id").to_owned(),
            print::text(invite, "level").to_owned(),
            print::text(invite, "created_at").to_owned(),
            print::text(invite, "expires").to_owned(),
            if used.is_empty() { "-".to_owned() } else { print::short_did(used) },
        ]);
    }
    Ok(print::line(&table.lines())?)
}

/// Withdraws one that was not used yet.
pub(super) fn withdraw(context: &CliContext, id: String) -> CliResult {
    let reply = context.node.ask(Admin::WithdrawInvite { id })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    Ok(print::line(&format!("the code of {} works no more", print::text(&reply.json, "id")))?)
}

/// The addresses of this node: those of the running one, else those of the settings.
fn known_addresses(context: &CliContext) -> Result<Vec<Address>, CliError> {
    if context.node.is_running() {
        let status = context.node.ask(Query::Status)?;
        let addresses = status.json.get("addresses").map(print::items).unwrap_or_default();
        return Ok(addresses.iter().filter_map(|a| a.as_str()?.parse().ok()).collect());
    }
    let listen = load_config(&context.node.folder)?.lan.listen;
    let fixed = listen.into_iter().filter(|a| !a.ip().is_unspecified() && a.port() != 0);
    Ok(fixed.map(Address::from).collect())
}
