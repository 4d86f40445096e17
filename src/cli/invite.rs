//! `invite`.

use std::net::SocketAddr;

use super::error::{CliError, Outcome};
use super::{Context, print, qr};
use crate::config::Span;
use crate::federation::TrustLevel;
use crate::node::Command;

pub(super) fn run(
    context: &Context,
    level: TrustLevel,
    expires: Span,
    draw: bool,
    addresses: Vec<SocketAddr>,
) -> Outcome {
    let expires_ms = u64::try_from(expires.0.as_millis()).unwrap_or(u64::MAX);
    let reply = context.node.ask(&Command::Invite { level, expires_ms, addresses })?;
    if context.json {
        return Ok(print::line(&reply.text)?);
    }
    if draw {
        let drawn = qr::draw(print::text(&reply.json, "compact"));
        print::line(
            &drawn.map_err(|e| CliError::new("qr", format!("{e}: `tombolo invite` prints it as text")))?,
        )?;
    } else {
        print::line(print::text(&reply.json, "code"))?;
    }
    let until = print::text(&reply.json, "expires");
    print::hint(&format!("works once, until {until}; whoever joins with it is {level} here"));
    if !context.node.is_running() {
        print::hint("no node is running here: start `tombolo up`, so that the other one finds it");
    }
    Ok(())
}
