//! What holds for any two states, and for any bytes.

mod common;

use common::{context, pair, value};
use proptest::prelude::*;
use tombolo_delta::{
    CborReader, Limits, Value, apply, cbor_len, decode, diff, encode, from_cbor, from_value, to_cbor,
    to_value,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Applying the difference of two states to the first gives the second, bit for bit, also through bytes.
    #[test]
    fn a_delta_makes_the_target((base, target) in pair(), context in context()) {
        let delta = diff(&base, &target, &context);
        prop_assert_eq!(apply(&base, &delta, &context), Ok(target.clone()));
        let bytes = encode(&base, &delta, &context);
        let decoded = decode(&base, &bytes, &context);
        prop_assert_eq!(decoded, Ok(delta.clone()));
        prop_assert_eq!(to_cbor(&apply(&base, &delta, &context).unwrap()), to_cbor(&target));
    }

    /// A value has one byte string, and that byte string has no other value.
    #[test]
    fn cbor_comes_back(value in value()) {
        let bytes = to_cbor(&value);
        prop_assert_eq!(cbor_len(&value), bytes.len());
        prop_assert_eq!(from_cbor(&bytes, &Limits::default()), Ok(value));
    }

    /// Arrays that are read item by item have the items that they have as a whole, and end where it ends; cut short or changed, they are
    /// refused as the whole is.
    #[test]
    fn cbor_reads_the_same_item_by_item(
        lists in prop::collection::vec(prop::collection::vec(value(), 0..4), 0..4), at in any::<prop::sample::Index>(), bit in 0u8..9,
    ) {
        let mut bytes = to_cbor(&Value::Array(lists.into_iter().map(Value::Array).collect()));
        if bit < 8 {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let limits = Limits { items_max: 40, depth_max: 5, ..Limits::default() };
        let by_item = || {
            let mut reader = CborReader::new(&bytes, &limits);
            let mut lists = Vec::new();
            for _ in 0..reader.enter_array().ok()?? {
                let items = reader.enter_array().ok()??;
                let next = |_| reader.next_value().ok();
                lists.push(Value::Array((0..items).map(next).collect::<Option<_>>()?));
            }
            reader.finish().ok()?;
            Some(Value::Array(lists))
        };
        let is_list = |item: &Value| matches!(item, Value::Array(_));
        let whole = from_cbor(&bytes, &limits).ok().filter(|whole| whole.as_array().is_some_and(|lists| lists.iter().all(is_list)));
        prop_assert_eq!(by_item(), whole);
    }

    /// Bytes that are accepted are the ones that would be written.
    #[test]
    fn cbor_has_one_form(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        if let Ok(value) = from_cbor(&bytes, &Limits::default()) {
            prop_assert_eq!(to_cbor(&value), bytes);
        }
    }

    /// Any bytes are a delta or are refused, and what a delta makes is bounded.
    #[test]
    fn any_bytes_are_bounded((base, _) in pair(), body in prop::collection::vec(any::<u8>(), 0..200), context in context()) {
        let bytes = to_cbor(&Value::Bytes(body));
        if let Ok(delta) = decode(&base, &bytes, &context)
            && let Ok(target) = apply(&base, &delta, &context)
        {
            prop_assert!(to_cbor(&target).len() <= 2 * to_cbor(&base).len() + 2 * tombolo_delta::limits::NEW_BYTES_MAX);
        }
    }

    /// A delta for one base is refused by another, or makes something: it never panics.
    #[test]
    fn the_wrong_base_is_refused((base, target) in pair(), (other, _) in pair(), context in context()) {
        let _ = apply(&other, &diff(&base, &target, &context), &context);
        let _ = decode(&other, &encode(&base, &diff(&base, &target, &context), &context), &context);
    }

    /// A value is its own Rust type.
    #[test]
    fn serde_keeps_every_bit(value in value()) {
        prop_assert_eq!(to_value(&value), Ok(value.clone()));
        prop_assert_eq!(from_value::<Value>(&value), Ok(value.clone()));
    }
}
