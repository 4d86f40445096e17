//! Fields that run with the signed time: what the context predicts is neither sent nor counted as a change.
//!
//! Three kinds of leaf run. A *clock* is an RFC 3339 text that shows the base's signed time, give or take
//! [`CLOCK_SLACK_MS`]: it moves on by the difference of the two signed times, in whole units of its own. An *uptime* is
//! an integer under a key for uptimes: it moves on by the whole seconds between them. A *counter* is an integer that
//! is the base's sequence, under a key for counters: it becomes the target's sequence.

use crate::hint::FieldKey;
use crate::time::WrittenTime;
use crate::value::Int;
use crate::{Context, Value, steps};

/// How far a clock may be from the base's signed time and still run with it: the pause between two samples at most.
/// Other times in a document name moments that stand still.
const CLOCK_SLACK_MS: i64 = 90_000;

/// The two signed times and sequences, or nothing: a delta whose fields stand still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    context: Context,
    on: bool,
}

/// A leaf that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    Clock(WrittenTime),
    Uptime(Int),
    Counter,
}

impl Running {
    pub(crate) fn new(context: &Context, on: bool) -> Running {
        Running { context: *context, on }
    }

    /// How this leaf runs, if it does; an item of an array has the array's key.
    pub(crate) fn runner(&self, key: &FieldKey<'_>, value: &Value) -> Option<Runner> {
        if !self.on {
            return None;
        }
        match value {
            Value::Text(text) => {
                let moment = WrittenTime::parse(text)?;
                let apart = moment.time_ms.checked_sub(self.context.base_time_signed())?;
                (apart.unsigned_abs() <= CLOCK_SLACK_MS.unsigned_abs()).then_some(Runner::Clock(moment))
            }
            Value::Int(int) if key.hint().uptime => Some(Runner::Uptime(*int)),
            Value::Int(int) if self.is_counter(key, *int) => Some(Runner::Counter),
            _ => None,
        }
    }

    fn is_counter(&self, key: &FieldKey<'_>, int: Int) -> bool {
        let base = self.context.base_sequence;
        base > 0 && int == Int::from(base) && key.hint().counter
    }

    /// Where the clock stands that stood at `moment`.
    pub(crate) fn clock(&self, moment: WrittenTime) -> WrittenTime {
        let unit = WrittenTime::unit_ms(moment.fine);
        let units = |time_ms: i64| time_ms.div_euclid(unit);
        let moved = units(self.context.time_signed()).saturating_sub(units(self.context.base_time_signed()));
        WrittenTime { time_ms: moment.time_ms.saturating_add(moved.saturating_mul(unit)), fine: moment.fine }
    }

    /// Where the uptime stands that stood at `int`; a number outside the range stays.
    pub(crate) fn uptime(&self, int: Int) -> Int {
        let seconds = |time_ms: i64| i128::from(time_ms.div_euclid(1000));
        let moved = seconds(self.context.time_signed()) - seconds(self.context.base_time_signed());
        Int::new(int.get() + moved).unwrap_or(int)
    }

    /// A copy of the value in which everything that runs has moved on.
    pub(crate) fn advanced(&self, key: &FieldKey<'_>, value: &Value) -> Value {
        steps::bytes(value.own_bytes());
        match value {
            Value::Array(items) => Value::Array(items.iter().map(|item| self.advanced(key, item)).collect()),
            Value::Map(map) => {
                Value::Map(map.with_values(|key, value| self.advanced(&FieldKey::new(key.name()), value)))
            }
            leaf => self.moved_leaf(key, leaf).unwrap_or_else(|| leaf.clone()),
        }
    }

    /// Whether `target` is what becomes of `base` by itself.
    pub(crate) fn predicts(&self, key: &FieldKey<'_>, base: &Value, target: &Value) -> bool {
        steps::bytes(base.own_bytes());
        match (base, target) {
            (Value::Array(base), Value::Array(target)) => {
                base.len() == target.len() && base.iter().zip(target).all(|(b, t)| self.predicts(key, b, t))
            }
            (Value::Map(base), Value::Map(target)) => {
                base.len() == target.len()
                    && base
                        .iter()
                        .zip(target.iter())
                        .all(|(b, t)| b.0 == t.0 && self.predicts(&FieldKey::new(b.0.name()), b.1, t.1))
            }
            _ => self.moved_leaf(key, base).map_or_else(|| base == target, |moved| moved == *target),
        }
    }

    fn moved_leaf(&self, key: &FieldKey<'_>, leaf: &Value) -> Option<Value> {
        if !matches!(leaf, Value::Text(_) | Value::Int(_)) {
            return None;
        }
        match self.runner(key, leaf)? {
            Runner::Clock(moment) => self.clock(moment).print().map(Value::Text),
            Runner::Uptime(int) => Some(Value::Int(self.uptime(int))),
            Runner::Counter => Some(Value::from(self.context.sequence)),
        }
    }
}

impl Context {
    /// The base's signed time as a number that differences can be taken of.
    pub(crate) fn base_time_signed(&self) -> i64 {
        i64::try_from(self.base_time_ms).unwrap_or(i64::MAX)
    }

    /// The target's signed time as a number that differences can be taken of.
    pub(crate) fn time_signed(&self) -> i64 {
        i64::try_from(self.time_ms).unwrap_or(i64::MAX)
    }
}
