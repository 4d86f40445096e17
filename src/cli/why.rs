//! `why`: the router's decisions, and their reasons. `--replay` makes one again from its JSON alone.

use crate::time::Wall;
use std::path::Path;

use serde_json::Value as Json;

use super::error::{CliError, CliResult};
use super::{CliContext, docs, print};
use crate::node::Query;
use crate::router::{Decision, decide};
use crate::system_clock::now;

/// Characters of a line.
const WIDTH: usize = 79;

pub(super) fn run(context: &CliContext, about: Option<String>) -> CliResult {
    let is_listed = about.is_none();
    let reply = context.node.ask(Query::Why { about })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let views = print::items(&reply.json);
    if views.is_empty() {
        print::hint("no decisions yet: the router has had nothing to send since the node started");
        return Ok(());
    }
    let lines = match is_listed {
        true => vec![list(views, now().wall)],
        false => pages(views, now().wall),
    };
    Ok(print::line(&lines.join("\n"))?)
}

/// Makes each decision in a file again, and shows whether the choice is the same; fails if one is not.
pub(super) fn replay(context: &CliContext, file: &Path) -> CliResult {
    let text = docs::read(file)?;
    let json: Json = serde_json::from_str(&text)
        .map_err(|e| CliError::new("bad_json", format!("{} is not JSON: {e}", docs::called_file(file))))?;
    let decisions = decisions(&json)?;
    let mut rows = Vec::new();
    for kept in &decisions {
        let again = decide(kept.question.clone());
        rows.push(serde_json::json!({
            "chosen": kept.chosen(),
            "again": again.chosen(),
            "same": again.judged == kept.judged,
        }));
    }
    let same = rows.iter().filter(|row| row.get("same") == Some(&Json::Bool(true))).count();
    if context.json {
        print::exact(&Json::from(rows).to_string())?;
    } else {
        print::line(&format!(
            "{same} of {} decided the same again",
            print::count(decisions.len() as u64, "decision")
        ))?;
    }
    match same == decisions.len() {
        true => Ok(()),
        false => Err(CliError::new(
            "decided_otherwise",
            "a decision comes out otherwise: its JSON was changed, or another version made it".to_owned(),
        )),
    }
}

/// The decisions in what `why --json` prints: a list of views, one view, or a decision.
fn decisions(json: &Json) -> Result<Vec<Decision>, CliError> {
    let one = |json: &Json| {
        let decision = json.get("decision").unwrap_or(json);
        serde_json::from_value(decision.clone()).map_err(|e| {
            let message = format!("this is no decision: {e}. `tombolo why PEER --json` prints some");
            CliError::new("bad_decision", message)
        })
    };
    match json {
        Json::Array(views) => views.iter().map(one).collect(),
        _ => Ok(vec![one(json)?]),
    }
}

fn list(views: &[Json], now: Wall) -> String {
    let mut table = print::Table::new(&["ID", "WHEN", "PEER", "ABOUT", ">TIMES", "LINK"]);
    for view in views {
        let field = |name: &str| print::text(view, name).to_owned();
        let link = if field("chosen").is_empty() { "none".to_owned() } else { field("chosen") };
        let when = print::age(print::text(view, "at"), now);
        table.row([
            field("id"),
            when,
            field("peer"),
            field("about"),
            print::number(view, "count").to_string(),
            link,
        ]);
    }
    table.lines()
}

/// Each decision with its candidates. Of several about a peer the first is whole, and the others have a line each.
fn pages(views: &[Json], now: Wall) -> Vec<String> {
    let (first, others) = views.split_first().expect("a refusal comes in place of no decision");
    let mut lines = page(first, now);
    if print::text(first, "id") != "now" {
        for view in others {
            lines.push(String::new());
            lines.extend(page(view, now));
        }
    } else if !others.is_empty() {
        lines.extend([String::new(), "The last decisions; `tombolo why ID` explains one:".to_owned()]);
        lines.push(list(others, now));
    }
    lines
}

fn page(view: &Json, now: Wall) -> Vec<String> {
    let field = |name: &str| print::clean(print::text(view, name));
    let head = match field("id").as_str() {
        "now" => format!("{} to {} would go now", field("about"), field("peer")),
        id => {
            let times = match print::number(view, "count") {
                0 | 1 => String::new(),
                times => format!(", the last of {times} alike"),
            };
            format!("{id}: {} to {}, {}{times}", field("about"), field("peer"), print::age(&field("at"), now))
        }
    };
    let by =
        if field("chosen").is_empty() { "by no link".to_owned() } else { format!("by {}", field("chosen")) };
    let mut lines = print::wrapped(&format!("{head}, {by}"), 0, WIDTH);
    lines.extend(print::wrapped(&field("message"), 2, WIDTH));
    for candidate in view.get("candidates").map(print::items).unwrap_or_default() {
        let of = |name: &str| print::text(candidate, name);
        lines.push(format!("  {}", print::clean(of("name"))));
        lines.extend(print::wrapped(of("why"), 4, WIDTH));
        if !of("cost").is_empty() {
            lines.extend(print::wrapped(of("cost"), 4, WIDTH));
        }
        let changes = candidate.get("changes").map(print::items).unwrap_or_default();
        for change in changes.iter().filter_map(Json::as_str) {
            lines.extend(print::wrapped(&format!("- {change}"), 4, WIDTH));
        }
    }
    let kept_off = view.get("not_by_radio").map(print::items).unwrap_or_default();
    for sentence in kept_off.iter().filter_map(Json::as_str) {
        lines.extend(print::wrapped(&print::clean(sentence), 2, WIDTH));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a person sees it who does not know the code.
    #[test]
    fn an_explanation_reads_from_top_to_bottom() {
        let views: Json = serde_json::from_str(
            r#"[{"id":"now","at":"2027-01-15T08:00:00Z","peer":"hut","did":"a","about":"a document of 128 bytes","count":1,
                 "chosen":"tor","message":"class document, 128 bytes, confidential, due within 10 min; auto is set for this node",
                 "candidates":[
                  {"link":2,"name":"tor","why":"used: the cheapest in time","cost":"arrives in 801 ms","changes":[],"margin":[]},
                  {"link":1,"name":"lan","why":"not used: it has just come back, and has to stay up for 21 s","cost":"",
                   "changes":["it counts as steady in 21 s, if it stays up"],"margin":[]}],
                 "not_by_radio":["hut/photos does not go by radio: its owner's policy is `radio never`"],"decision":{}},
                {"id":"d17","at":"2027-01-15T07:58:00Z","peer":"hut","about":"plan@7","count":1,"chosen":"lan","decision":{}}]"#,
        )
        .unwrap();
        let page = pages(print::items(&views), Wall::from_ms(1_800_000_000_000)).join("\n");
        let expected = "\
a document of 128 bytes to hut would go now, by tor
  class document, 128 bytes, confidential, due within 10 min; auto is set for
  this node
  tor
    used: the cheapest in time
    arrives in 801 ms
  lan
    not used: it has just come back, and has to stay up for 21 s
    - it counts as steady in 21 s, if it stays up
  hut/photos does not go by radio: its owner's policy is `radio never`

The last decisions; `tombolo why ID` explains one:
ID   WHEN       PEER  ABOUT   TIMES  LINK
d17  2 min ago  hut   plan@7      1  lan";
        assert_eq!(page, expected, "\n{page}");
    }

    #[test]
    fn what_is_no_decision_is_refused() {
        for text in ["{}", "[1]", "{\"decision\": {\"question\": 1}}"] {
            let error = decisions(&serde_json::from_str(text).unwrap()).expect_err(text);
            assert_eq!(error.code, "bad_decision", "{text}");
        }
        assert_eq!(decisions(&Json::Array(Vec::new())).map(|all| all.len()).ok(), Some(0));
    }
}
