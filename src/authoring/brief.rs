//! Briefs: `NAME.brief` is a snapshot of its own, made by the author from its full document, with thresholds and rounding
//! per field. It costs less airtime, since most changes do not change it; a reader shows, per field, the later of the two.

use std::borrow::Cow;

use tombolo_delta::{Key, Map, Value};
use tombolo_transports::PeerId;

use crate::authoring::Authoring;
use crate::core::{BriefField, BriefFields, Core, reserved_document};
use crate::federation::RadioUse;
use crate::io::{NodeState, view};
use crate::layer::{Content, DocumentId, DocumentName, Kind, LayerId};
use crate::replica::Replica;

/// The fields of a node state's brief, unless the operator sets others.
pub fn state_brief() -> BriefFields {
    let number = |round: f64, threshold: f64| BriefField { round: Some(round), threshold };
    let mib = 1024.0 * 1024.0;
    [
        ("node_name", BriefField::default()),
        ("apps", BriefField::default()),
        ("tor_active", BriefField::default()),
        ("cpu_usage_percent", number(5.0, 10.0)),
        ("mem_used_bytes", number(64.0 * mib, 256.0 * mib)),
        ("mem_total_bytes", BriefField::default()),
        ("disk_used_bytes", number(1024.0 * mib, 2048.0 * mib)),
        ("disk_total_bytes", BriefField::default()),
    ]
    .into_iter()
    .map(|(name, field)| (name.to_owned(), field))
    .collect()
}

impl Authoring {
    /// The brief that an own document's new content needs signed; `None` if it has no brief, or one that is near enough.
    pub fn brief_due(core: &Core, replica: &Replica, document: &DocumentId) -> Option<(DocumentId, Value)> {
        if document.owner != core.me || replica.federation().policy(document).radio != RadioUse::Brief {
            return None;
        }
        let fields = Self::brief_fields(core, replica, document)?;
        let full = own_snapshot(core, replica, document)?;
        let Value::Map(full) = &*full else { return None };
        let brief = DocumentId { owner: core.me, name: document.name.brief()? };
        let new = brief_of(full, &fields);
        let is_news = match own_snapshot(core, replica, &brief).as_deref() {
            Some(Value::Map(old)) => differs(old, &new, &fields),
            _ => true,
        };
        is_news.then_some((brief, Value::Map(new)))
    }

    /// The fields of a document's brief; `None` if it cannot have one.
    pub fn brief_fields(core: &Core, replica: &Replica, document: &DocumentId) -> Option<BriefFields> {
        let is_snapshot = replica.document(document).is_some_and(|d| d.kind() == Kind::Snapshot);
        let name = document.name.as_str();
        let set = core.settings.briefs.get(name).cloned();
        is_snapshot.then(|| set.or_else(|| (name == DocumentName::STATE).then(state_brief))).flatten()
    }
}

fn own_snapshot<'a>(core: &Core, replica: &'a Replica, document: &DocumentId) -> Option<Cow<'a, Value>> {
    match &replica.layer(&core.own_layer(document))?.content {
        Content::Snapshot(value) => Some(value.get()),
        Content::Map(_) => None,
    }
}

/// The signed node state of an identity, with the fields of its brief where that is newer.
pub fn state_with_brief(replica: &Replica, owner: &PeerId) -> Option<view::StateView> {
    let signed =
        |time, state| view::StateView { timestamp: crate::clock::rfc3339(time), provisional: false, state };
    let full = replica.node_state(owner).map(|(time, state)| signed(time, state));
    let name = reserved_document(*owner, DocumentName::STATE).name.brief()?;
    let id = LayerId { document: DocumentId { owner: *owner, name }, author: *owner };
    let brief = replica.layer(&id).filter(|_| replica.federation().participates(&id.document));
    let Some((Content::Snapshot(value), time)) = brief.map(|layer| (&layer.content, layer.head().time))
    else {
        return full;
    };
    let value = value.get();
    let Some(full) = full else { return Some(signed(time, tombolo_delta::from_value(&value).ok()?)) };
    if full.timestamp >= crate::clock::rfc3339(time) {
        return Some(full);
    }
    let (Ok(Value::Map(under)), Value::Map(over)) = (tombolo_delta::to_value(&full.state), &*value) else {
        return Some(full);
    };
    let kept = under.iter().filter(|(key, _)| find(over, key).is_none());
    let merged = kept.chain(over.iter()).map(|(key, value)| (key.clone(), value.clone()));
    match tombolo_delta::from_value::<NodeState>(&Value::Map(merged.collect())) {
        Ok(state) => Some(signed(time, state)),
        Err(_) => Some(full),
    }
}

fn brief_of(full: &Map, fields: &BriefFields) -> Map {
    let named = |(key, value): (&Key, &Value)| {
        let Key::Text(name) = key else { return None };
        Some((key.clone(), rounded(value, fields.get(name)?.round)))
    };
    full.iter().filter_map(named).collect()
}

fn rounded(value: &Value, to: Option<f64>) -> Value {
    let Some(step) = to.filter(|step| step.is_finite() && *step > 0.0) else { return value.clone() };
    match value {
        Value::Float(number) => Value::Float((number / step).round() * step),
        other => match other.as_u64() {
            // Whole steps only: a byte more or less does not matter here.
            Some(number) if step >= 1.0 => {
                let step = step as u64;
                Value::from((number.saturating_add(step / 2)) / step * step)
            }
            _ => other.clone(),
        },
    }
}

/// Whether a field has come, gone, changed, or moved beyond its threshold.
fn differs(old: &Map, new: &Map, fields: &BriefFields) -> bool {
    let moved = |(key, value): (&Key, &Value)| {
        let Some(before) = find(old, key) else { return true };
        let threshold = match key {
            Key::Text(name) => fields.get(name).map_or(0.0, |field| field.threshold),
            Key::Int(_) => 0.0,
        };
        match (number(before), number(value)) {
            (Some(a), Some(b)) => a != b && (a - b).abs() >= threshold,
            _ => before != value,
        }
    };
    old.iter().any(|(key, _)| find(new, key).is_none()) || new.iter().any(moved)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        other => other.as_u64().map(|number| number as f64),
    }
}

fn find<'a>(map: &'a Map, key: &Key) -> Option<&'a Value> {
    map.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, Value)]) -> Map {
        fields.iter().map(|(key, value)| (Key::Text((*key).to_owned()), value.clone())).collect()
    }

    #[test]
    fn small_moves_make_no_brief_and_other_fields_are_left_out() {
        let fields = state_brief();
        let at = |cpu: f64, uptime: u64| {
            let full = map(&[("cpu_usage_percent", Value::from(cpu)), ("uptime_secs", Value::from(uptime))]);
            brief_of(&full, &fields)
        };
        assert_eq!(at(21.3, 7), map(&[("cpu_usage_percent", Value::from(20.0))]));
        assert!(!differs(&at(21.0, 7), &at(24.0, 900), &fields), "less than the threshold");
        assert!(differs(&at(21.0, 7), &at(44.0, 8), &fields));
        let apps = map(&[("apps", Value::Array(vec![]))]);
        assert!(differs(&apps, &map(&[("apps", Value::array([1u64]))]), &fields));
    }

    #[test]
    fn whole_numbers_are_rounded_to_whole_steps() {
        assert_eq!(rounded(&Value::from(1_500_000u64), Some(1024.0)), Value::from(1_499_136u64 + 1024));
        assert_eq!(rounded(&Value::from(u64::MAX), Some(1e6)).as_u64().map(|n| n % 1_000_000), Some(0));
        assert_eq!(rounded(&Value::from("x"), Some(5.0)), Value::from("x"));
    }
}
