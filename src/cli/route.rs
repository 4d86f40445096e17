//! `route`: shows or changes which links carry what, while the node runs.

use serde_json::Value as Json;

use super::{CliContext, CliResult, print};
use crate::io::view::RouteOrder;
use crate::node::{Admin, Query};

pub(super) fn run(context: &CliContext, order: RouteOrder) -> CliResult {
    let reply = match order == RouteOrder::default() {
        true => context.node.ask(Query::Routes)?,
        false => context.node.ask(Admin::Route(order))?,
    };
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let mut table = print::Table::new(&["FOR", "NAME", "SETTING", "SET BY"]);
    for row in print::items(&reply.json) {
        let field = |name: &str| print::text(row, name).to_owned();
        let set_by = if field("set_by") == "command" { "tombolo route" } else { "tombolo.toml" };
        table.row([field("for"), field("name"), setting(row), set_by.to_owned()]);
    }
    Ok(print::line(&table.lines())?)
}

/// A preference, or the terms that differ from none.
fn setting(row: &Json) -> String {
    let Some(terms) = row.get("terms") else { return print::text(row, "preference").to_owned() };
    let is = |name: &str| terms.get(name) == Some(&Json::Bool(true));
    let mut parts = Vec::new();
    if is("metered") {
        parts.push("metered".to_owned());
    }
    match print::number(terms, "price") {
        0 => {}
        price => parts.push(format!("price {price} a MB")),
    }
    if is("last_resort") {
        parts.push("last resort".to_owned());
    }
    match print::text(terms, "only") {
        "" => {}
        hours => parts.push(format!("only {hours} UTC")),
    }
    if parts.is_empty() { "no terms".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_named_where_they_differ_from_none() {
        let of = |text: &str| setting(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"{"preference":"tor-only"}"#), "tor-only");
        assert_eq!(
            of(r#"{"terms":{"metered":false,"price":0,"last_resort":false,"only":null}}"#),
            "no terms"
        );
        let all = r#"{"terms":{"metered":true,"price":5,"last_resort":true,"only":"02:00-05:00"}}"#;
        assert_eq!(of(all), "metered, price 5 a MB, last resort, only 02:00-05:00 UTC");
    }
}
