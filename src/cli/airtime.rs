//! `airtime`: what each radio has sent, and what it may still send.

use serde_json::Value as Json;

use super::error::CliResult;
use super::{CliContext, print};
use crate::node::Query;

pub(super) fn run(context: &CliContext) -> CliResult {
    let reply = context.node.ask(Query::Airtime)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
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

/// Characters of a line.
const WIDTH: usize = 79;
/// Where the words behind a label begin.
const LABEL: usize = 17;

fn text(radio: &Json) -> String {
    let figure = |field: &str| radio.get(field).and_then(Json::as_f64);
    let mut lines = vec![print::clean(print::text(radio, "radio"))];
    lines.extend(labelled("rules", print::text(radio, "rules")));
    let used = print::seconds(figure("used_last_hour_s").unwrap_or_default());
    lines.extend(labelled(
        "last hour",
        &match figure("budget_hour_s") {
            Some(budget) => format!("{used} of {} on air", print::seconds(budget)),
            None => format!("{used} on air"),
        },
    ));
    if let Some(frame) = figure("frame_of_100_bytes_s").filter(|frame| *frame > 0.0) {
        lines.extend(labelled("100 bytes take", &print::seconds(frame)));
        lines.extend(labelled("a state", &leaves(figure("state_leaves_in_s"))));
        lines.extend(pace(radio).map(|words| labelled("pace", &words)).unwrap_or_default());
    }
    if let Some(never) = radio.get("never").and_then(Json::as_str) {
        lines.extend(labelled("not sent", never));
    }
    let (sent, heard) = (print::number(radio, "frames_sent"), print::number(radio, "frames_heard"));
    lines.extend(labelled("frames", &format!("{sent} sent, {heard} heard since the start")));
    lines.extend(priorities(radio));
    for (title, field) in [("FOR WHAT", "by_account"), ("FOR WHOM, shared", "by_peer")] {
        lines.extend(uses(radio, title, field));
    }
    lines.join("\n")
}

/// `  rules          EU868, …`, the rest of a long text below its beginning.
fn labelled(label: &str, text: &str) -> Vec<String> {
    let mut lines = print::wrapped(text, LABEL, WIDTH);
    if let Some(first) = lines.first_mut() {
        *first = format!("  {label:<15}{}", first.trim_start());
    }
    lines
}

/// What each class has of an hour: what it has sent, the share that no other can spend, the most it may have with what is common to
/// all, what of that is left, and when it may send again.
fn priorities(radio: &Json) -> Vec<String> {
    let rows = radio.get("by_priority").map(print::items).unwrap_or_default();
    let may_send = rows.iter().any(|row| seconds(row, "budget_hour_s") > 0.0);
    if !may_send {
        return Vec::new();
    }
    let head = ["CLASS", ">LAST HOUR", ">OWN SHARE", ">OF AT MOST", ">LEFT NOW", "100 BYTES LEAVE"];
    let mut table = print::Table::new(&head);
    for row in rows {
        let time = |field| print::seconds(seconds(row, field));
        let leaves = match row.get("leaves_in_s").and_then(Json::as_f64) {
            None => "never".to_owned(),
            Some(wait) if wait <= 0.0 => "now".to_owned(),
            Some(wait) => format!("in {}", print::seconds(wait.ceil())),
        };
        let what = print::text(row, "what").to_owned();
        table.row([what, time("hour_s"), time("share_s"), time("budget_hour_s"), time("left_s"), leaves]);
    }
    indented(&table)
}

/// The uses of the airtime, the largest first.
fn uses(radio: &Json, title: &str, field: &str) -> Vec<String> {
    let rows = radio.get(field).map(print::items).unwrap_or_default();
    let mut used: Vec<&Json> = rows.iter().filter(|row| seconds(row, "today_s") > 0.0).collect();
    used.sort_by(|one, other| seconds(other, "today_s").total_cmp(&seconds(one, "today_s")));
    if used.is_empty() {
        return Vec::new();
    }
    let has_hour = used.iter().any(|row| row.get("hour_s").is_some());
    let head: &[&str] = if has_hour { &[title, ">TODAY", ">LAST HOUR"] } else { &[title, ">TODAY"] };
    let mut table = print::Table::new(head);
    for row in used {
        let time = |field| print::seconds(seconds(row, field));
        let hour = has_hour.then(|| time("hour_s"));
        table.row([print::text(row, "what").to_owned(), time("today_s")].into_iter().chain(hour));
    }
    indented(&table)
}

/// How often states and documents leave while there is always one; none where a usual interval is not longer anyway.
fn pace(radio: &Json) -> Option<String> {
    let rows = radio.get("by_priority").map(print::items).unwrap_or_default();
    let every = |what: &str| {
        let row = rows.iter().find(|row| print::text(row, "what") == what)?;
        let seconds = row.get("every_s").and_then(Json::as_f64).filter(|every| *every >= 1.0)?;
        Some(format!("a {what} every {}", print::span(seconds.ceil() as u64)))
    };
    let words: Vec<String> = ["state", "document"].into_iter().filter_map(every).collect();
    (!words.is_empty()).then(|| format!("{}, where there is always one to send", words.join(", ")))
}

fn indented(table: &print::Table) -> Vec<String> {
    table.lines().lines().map(|line| format!("  {line}")).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour whose airtime is spent, as people see it: what waits and for how long, apart from what is never sent.
    #[test]
    fn a_spent_hour_is_shown_by_priority() {
        let radio = r#"{"radio":"meshtastic+tcp://h:4403",
            "rules":"EU868, 869.525 MHz, LongFast: 10 % of any hour [ERC Recommendation 70-03, annex 1, band h1.6]",
            "used_last_hour_s":324.0,"budget_hour_s":360.0,"frame_of_100_bytes_s":1.0,"state_leaves_in_s":719.2,
            "frames_sent":300,"frames_heard":2,"never":"500 ms on air; one transmission may take 400 ms",
            "by_priority":[
              {"what":"control","today_s":0,"hour_s":0,"share_s":21.6,"budget_hour_s":151,"left_s":36,"leaves_in_s":0,"every_s":null},
              {"what":"state","today_s":400,"hour_s":173,"share_s":43.2,"budget_hour_s":173,"left_s":0,"leaves_in_s":719.2,"every_s":27.7},
              {"what":"bulk","today_s":0,"hour_s":0,"share_s":14.4,"budget_hour_s":101,"left_s":0,"leaves_in_s":null,"every_s":null}],
            "by_account":[{"what":"hut/plan by hut","today_s":1,"hour_s":1},{"what":"hut/state by hut","today_s":399,"hour_s":323}],
            "by_peer":[{"what":"boat","did":"b","today_s":400}]}"#;
        let text = text(&serde_json::from_str(radio).unwrap());
        let expected = "\
meshtastic+tcp://h:4403
  rules          EU868, 869.525 MHz, LongFast: 10 % of any hour [ERC
                 Recommendation 70-03, annex 1, band h1.6]
  last hour      5 min 24 s of 6 min 0 s on air
  100 bytes take 1.00 s
  a state        leaves in 12 min 0 s
  pace           a state every 28 s, where there is always one to send
  not sent       500 ms on air; one transmission may take 400 ms
  frames         300 sent, 2 heard since the start
  CLASS     LAST HOUR  OWN SHARE  OF AT MOST  LEFT NOW  100 BYTES LEAVE
  control         0 s       22 s  2 min 31 s      36 s  now
  state    2 min 53 s       43 s  2 min 53 s       0 s  in 12 min 0 s
  bulk            0 s       14 s  1 min 41 s       0 s  never
  FOR WHAT               TODAY   LAST HOUR
  hut/state by hut  6 min 39 s  5 min 23 s
  hut/plan by hut       1.00 s      1.00 s
  FOR WHOM, shared       TODAY
  boat              6 min 40 s";
        assert_eq!(text, expected, "\n{text}");
        assert!(text.lines().all(|line| line.chars().count() < 80));
    }
}
