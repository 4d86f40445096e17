//! `airtime`.

use serde_json::Value as Json;

use super::error::Outcome;
use super::{Context, print};
use crate::node::Command;

pub(super) fn run(context: &Context) -> Outcome {
    let reply = context.node.ask(&Command::Airtime)?;
    if context.json {
        return Ok(print::line(&reply.text)?);
    }
    let radios = print::items(&reply.json);
    if radios.is_empty() {
        let hint = if context.node.is_running() {
            "no radios: `tombolo up --mesh URL` uses one, `tombolo up --help` shows how a URL looks"
        } else {
            "no radios: the node does not run. Start `tombolo up`"
        };
        print::hint(hint);
        return Ok(());
    }
    let texts: Vec<String> = radios.iter().map(text).collect();
    Ok(print::line(&texts.join("\n\n"))?)
}

fn text(radio: &Json) -> String {
    let figure = |field: &str| radio.get(field).and_then(Json::as_f64);
    let mut lines = vec![
        print::clean(print::text(radio, "radio")),
        format!("  rules          {}", print::clean(print::text(radio, "rules"))),
    ];
    let used = print::seconds(figure("used_last_hour_s").unwrap_or_default());
    lines.push(match figure("budget_hour_s") {
        Some(budget) => format!("  last hour      {used} of {} on air", print::seconds(budget)),
        None => format!("  last hour      {used} on air"),
    });
    if let Some(frame) = figure("frame_of_100_bytes_s").filter(|frame| *frame > 0.0) {
        lines.push(format!("  100 bytes take {}", print::seconds(frame)));
        lines.push(format!("  a state        {}", leaves(figure("state_leaves_in_s"))));
    }
    if let Some(never) = radio.get("never").and_then(Json::as_str) {
        lines.push(format!("  not sent       {}", print::clean(never)));
    }
    let (sent, heard) = (print::number(radio, "frames_sent"), print::number(radio, "frames_heard"));
    lines.push(format!("  frames         {sent} sent, {heard} heard"));
    for (title, field) in [("FOR", "by_priority"), ("OF", "by_account")] {
        let rows = radio.get(field).map(print::items).unwrap_or_default();
        let used: Vec<&Json> = rows.iter().filter(|row| seconds(row, "today_s") > 0.0).collect();
        if used.is_empty() {
            continue;
        }
        let mut table = print::Table::new(&[title, ">TODAY", ">LAST HOUR"]);
        for row in used {
            let time = |field| print::seconds(seconds(row, field));
            table.row([print::text(row, "what").to_owned(), time("today_s"), time("hour_s")]);
        }
        lines.extend(table.lines().lines().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

fn leaves(seconds: Option<f64>) -> String {
    match seconds {
        None => "never leaves".to_owned(),
        Some(seconds) if seconds <= 0.0 => "leaves now".to_owned(),
        Some(seconds) => format!("leaves in {}", print::seconds(seconds.ceil())),
    }
}

fn seconds(row: &Json, field: &str) -> f64 {
    row.get(field).and_then(Json::as_f64).unwrap_or_default()
}
