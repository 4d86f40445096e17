//! `deploy`: asks a peer to install an app, and shows what became of it.

use std::time::Duration;

use serde_json::Value as Json;

use super::ask::JsonReply;
use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::config::TimeSpan;
use crate::node::{Admin, Query};
use crate::time::Millis;

/// How often the answer is looked for with `--wait`.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After this long a hint shows what the command waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a peer is asked to install.
pub(super) struct Order {
    pub(super) peer: String,
    pub(super) app: String,
    pub(super) version: String,
    pub(super) marketplace: Option<String>,
    pub(super) by: DeployWay,
}

/// What carries an order.
pub(super) enum DeployWay {
    /// Sessions and radios, whenever the peer can be reached, for at most so long.
    Links(TimeSpan),
    /// A JSON call, now.
    Call,
}

impl From<Order> for Admin {
    fn from(order: Order) -> Self {
        let Order { peer, app, version, marketplace: marketplace_url, by } = order;
        match by {
            DeployWay::Call => Admin::DeployByCall { peer, app, version, marketplace_url },
            DeployWay::Links(expires) => {
                let expires_in = Millis::from_ms(u64::try_from(expires.0.as_millis()).unwrap_or(u64::MAX));
                Admin::Deploy { peer, app, version, marketplace_url, expires_in }
            }
        }
    }
}

impl Order {
    /// The order of the arguments, of which clap asks for the first three where there is no `--status`.
    pub(super) fn given(
        peer: Option<String>,
        app: Option<String>,
        version: Option<String>,
        marketplace: Option<String>,
        by: DeployWay,
    ) -> Self {
        let [peer, app, version] =
            [peer, app, version].map(|word| word.expect("clap asks for it where there is no --status"));
        Order { peer, app, version, marketplace, by }
    }
}

pub(super) fn deploy(context: &CliContext, order: Order, wait: bool) -> CliResult {
    context.node.check_there()?;
    let is_running = context.node.is_running();
    if wait && !is_running {
        return Err(CliError::new("needs_daemon", "waiting needs a running node: start `tombolo up` first"));
    }
    let reply = context.node.ask(Admin::from(order))?;
    let reply = if wait { awaited(context, &reply)? } else { reply };
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    print::line(&headline(&reply.json))?;
    match print::text(&reply.json, "status") {
        "waiting" | "calling" => {
            let id = short_id(&reply.json);
            print::line(&format!("`tombolo deploy --status {id}` shows what became of it"))?;
            if !is_running {
                print::hint("start `tombolo up`: a running node asks the peer");
            }
            Ok(())
        }
        _ => output(&reply.json),
    }
}

pub(super) fn status(context: &CliContext, id: Option<String>) -> CliResult {
    let is_one = id.is_some();
    let reply = context.node.ask(Query::Deploys { id })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    if is_one {
        return one(&reply.json);
    }
    let rows = reply.json.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return Ok(print::line("no deploys, neither sent nor received")?);
    }
    let mut table = print::Table::new(&["ID", "APP", "VERSION", "", "PEER", "STATUS", "WHEN"]);
    for row in rows {
        let field = |name: &str| print::text(row, name).to_owned();
        let way = if print::text(row, "direction") == "sent" { "to" } else { "from" };
        let status = match print::text(row, "reason") {
            "" => field("status"),
            reason => format!("{}: {reason}", field("status")),
        };
        let cells = [short_id(row), field("app_id"), field("version"), way.to_owned(), field("peer"), status];
        table.row(cells.into_iter().chain([field("created_at")]));
    }
    Ok(print::line(&table.lines())?)
}

/// Asks the node again and again until the deploy is over; fails if the app was not installed.
fn awaited(context: &CliContext, asked: &JsonReply) -> Result<JsonReply, CliError> {
    let id = print::text(&asked.json, "id").to_owned();
    let mut waited = Duration::ZERO;
    loop {
        let reply = context.node.ask(Query::Deploys { id: Some(id.clone()) })?;
        match print::text(&reply.json, "status") {
            "waiting" | "taken" | "calling" => {}
            "installed" => return Ok(reply),
            status => {
                let mut message = headline(&reply.json);
                if status == "unknown" {
                    let peer = print::clean(print::text(&reply.json, "peer"));
                    message += &format!("; `tombolo get {peer}/deploys` shows what the peer has recorded");
                }
                if !print::text(&reply.json, "output").is_empty() {
                    message +=
                        &format!("; `tombolo deploy --status {}` shows its output", short_id(&reply.json));
                }
                return Err(CliError::new(&format!("deploy_{status}"), message));
            }
        }
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
        if waited == PATIENCE && !context.json {
            print::hint(&format!("waiting: {}", print::clean(print::text(&reply.json, "message"))));
        }
    }
}

fn one(json: &Json) -> CliResult {
    print::line(&headline(json))?;
    let field = |name: &str| print::clean(print::text(json, name));
    let mut facts = vec![format!("id {}", field("id")), format!("made {}", field("created_at"))];
    facts.push(match field("ended_at").as_str() {
        "" => format!("expires {}", field("expires")),
        ended => format!("ended {ended}"),
    });
    if !field("marketplace_url").is_empty() {
        facts.push(format!("from {}", field("marketplace_url")));
    }
    print::line(&format!("  {}", facts.join(", ")))?;
    output(json)
}

/// What the operator's command wrote.
fn output(json: &Json) -> CliResult {
    let text = print::clean_lines(print::text(json, "output"));
    if !text.is_empty() {
        print::line("  the last that its command wrote:")?;
        for line in text.lines() {
            print::line(&format!("    {line}"))?;
        }
    }
    Ok(())
}

/// One sentence: which app, where, and how far it is.
fn headline(json: &Json) -> String {
    let field = |name: &str| print::clean(print::text(json, name));
    let (app, peer) = (format!("{} {}", field("app_id"), field("version")), field("peer"));
    let way = if print::text(json, "direction") == "sent" { "at" } else { "for" };
    format!("{app} {way} {peer}: {}: {}", field("status"), field("message"))
}

fn short_id(json: &Json) -> String {
    print::text(json, "id").chars().take(12).collect()
}
