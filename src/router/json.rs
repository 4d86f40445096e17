//! Times as whole milliseconds in the JSON of a decision.

use serde::{Deserialize, Deserializer, Serializer};

use crate::time::{Millis, Mono};

/// A length of time.
pub(super) mod millis {
    use super::*;

    pub(in crate::router) fn serialize<S: Serializer>(value: &Millis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.ms())
    }

    pub(in crate::router) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
        u64::deserialize(from).map(Millis::from_ms)
    }
}

/// A length of time, or none.
pub(super) mod maybe_millis {
    use super::*;

    pub(in crate::router) fn serialize<S: Serializer>(
        value: &Option<Millis>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_some(&value.ms()),
            None => to.serialize_none(),
        }
    }

    pub(in crate::router) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Millis>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Millis::from_ms))
    }
}

/// An instant of the node's own clock.
pub(super) mod mono {
    use super::*;

    pub(in crate::router) fn serialize<S: Serializer>(value: &Mono, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.ms())
    }

    pub(in crate::router) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mono, D::Error> {
        u64::deserialize(from).map(Mono::from_ms)
    }
}
