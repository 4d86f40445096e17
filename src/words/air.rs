//! The airtime of a radio in words.

use serde_json::Value as Json;

use super::figures::seconds;
use super::json::text;

/// What a radio has sent in the sliding hour, of what it may: `36 s of 6 min 0 s this hour`.
pub(crate) fn airtime_used(radio: &Json) -> String {
    let used = seconds(figure(radio, "used_last_hour_s").unwrap_or_default());
    match figure(radio, "budget_hour_s").filter(|budget| *budget > 0.0) {
        Some(budget) => format!("{used} of {} this hour", seconds(budget)),
        None => format!("{used} this hour"),
    }
}

/// The same with what is left and when more may leave; of a radio that cannot or may not send, why.
pub(crate) fn airtime(radio: &Json) -> String {
    let is_up = radio.get("up").and_then(Json::as_bool) == Some(true);
    let used = figure(radio, "used_last_hour_s").unwrap_or_default();
    let left = figure(radio, "budget_hour_s").map(|budget| seconds((budget - used).max(0.0)));
    let waits = [("state", "state_leaves_in_s"), ("document", "document_leaves_in_s")];
    let waits = waits.map(|(what, field)| (what, figure(radio, field)));
    match (is_up, waits) {
        (false, _) => format!("down: {}", text(radio, "why")),
        (true, [(_, None), (_, None)]) => text(radio, "why").to_owned(),
        (true, waits) => {
            let left = left.map(|left| format!(", {left} left")).unwrap_or_default();
            let waits = waits.into_iter().filter_map(|(what, wait)| match wait {
                None => Some(format!("; no {what} ever leaves")),
                Some(wait) if wait > 0.0 => {
                    Some(format!("; the next {what} leaves in {}", seconds(wait.ceil())))
                }
                Some(_) => None,
            });
            format!("{}{left}{}", airtime_used(radio), waits.collect::<String>())
        }
    }
}

fn figure(row: &Json, field: &str) -> Option<f64> {
    row.get(field).and_then(Json::as_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left_and_what_waits_stand_in_one_line() {
        let radio = |up: bool, state: Option<f64>, document: Option<f64>, budget: Option<f64>| {
            airtime(
                &json!({ "up": up, "used_last_hour_s": 324.0, "budget_hour_s": budget, "state_leaves_in_s": state,
                             "document_leaves_in_s": document, "why": "no region is set" }),
            )
        };
        let now = Some(0.0);
        let cases = [
            (radio(true, now, now, Some(360.0)), "5 min 24 s of 6 min 0 s this hour, 36 s left"),
            (
                radio(true, Some(719.2), now, Some(360.0)),
                "5 min 24 s of 6 min 0 s this hour, 36 s left; the next state leaves in 12 min 0 s",
            ),
            (
                radio(true, now, None, Some(300.0)),
                "5 min 24 s of 5 min 0 s this hour, 0 s left; no document ever leaves",
            ),
            (radio(true, now, now, None), "5 min 24 s this hour"),
            (radio(true, None, None, None), "no region is set"),
            (radio(false, now, now, Some(360.0)), "down: no region is set"),
        ];
        for (words, expected) in cases {
            assert_eq!(words, expected);
        }
    }
}
