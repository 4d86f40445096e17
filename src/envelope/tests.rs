//! Envelopes on air, read back, cut short and made up.

use std::borrow::Cow;

use super::*;
use crate::clock::Timestamp;
use crate::layer::{Entry, KeyPath};
use crate::time::Wall;
use proptest::prelude::*;
use tombolo_delta::{Context, Value};

fn value(cpu: i64, name: &str) -> Value {
    Value::map([("cpu", Value::from(cpu)), ("name", Value::from(name))])
}

fn changes() -> impl Strategy<Value = MapChanges> {
    let entry = (any::<u64>(), proptest::option::of("[a-z]{0,40}")).prop_map(|(bits, text)| Entry {
        stamp: Timestamp::from_bits(bits),
        value: text.map(|text| Value::from(text.as_str()).into()),
        saw: None,
    });
    let change = ("[a-z]{1,8}(/[a-z]{1,8}){0,2}", proptest::option::of(entry));
    proptest::collection::btree_map(
        "[a-z]{1,8}(/[a-z]{1,8}){0,2}",
        change.prop_map(|(_, entry)| entry),
        0..40,
    )
    .prop_map(|changes| {
        let (put, dropped): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, entry)| entry.is_some());
        let changes = put.into_iter().chain(dropped);
        changes.map(|(key, entry)| (KeyPath::parse(&key).unwrap(), entry.map(Into::into))).collect()
    })
}

fn envelope() -> impl Strategy<Value = CompactEnvelope<()>> {
    let step = prop_oneof![
        (-9_000i64..9_000).prop_map(|s| s * 1000),
        any::<i32>().prop_map(i64::from),
        (1i64..20).prop_map(|n| n * 60_000),
    ];
    let distance = prop_oneof![1u64..20, 1u64..1 << 52];
    (distance, any::<[u8; 2]>(), any::<bool>(), step, -3i64..3, any::<[u8; 32]>()).prop_map(
        |(distance, root_prefix, is_short, time_step_ms, audience_step, half)| {
            let mut signature: [u8; 64] = [half, half].concat().try_into().unwrap();
            // No signature that verifies has these bits.
            signature[63] &= 0x1f;
            let root_prefix = if is_short { [root_prefix[0], 0] } else { root_prefix };
            let base = BaseRef { distance, root_prefix, is_short };
            CompactEnvelope { base, address: None, time_step_ms, audience_step, signature, delta: () }
        },
    )
}

fn fields<D>(envelope: &CompactEnvelope<D>) -> CompactEnvelope<()> {
    envelope.with(())
}

/// Found by a reader of the pages: an entry nested deeper than 61 was packed, and no receiver could read it.
#[test]
fn a_deep_entry_stays_plain_on_air() {
    let time = Wall::from_ms(1_800_000_000_000);
    for depth in [61, 62, 64] {
        let deepest = Value::Array(vec![Value::from("the tide is out, ".repeat(20).as_str())]);
        let value = (1..depth).fold(deepest, |inner, _| Value::Array(vec![inner]));
        let entry = Entry { stamp: Timestamp::new(time, 0), value: Some(value.into()), saw: None };
        let changes: MapChanges = vec![(KeyPath::parse("a").unwrap(), Some(entry.into()))];
        let base = BaseRef { distance: 1, root_prefix: [7, 0], is_short: true };
        let envelope = CompactEnvelope {
            base,
            address: None,
            time_step_ms: 60_000,
            audience_step: 0,
            signature: [9; 64],
            delta: Change::Map { changes: changes.clone(), time },
        };
        let update = join_update(&[encode_update(&envelope, false)]).unwrap();
        let read = decode_update(&update).unwrap();
        assert_eq!(read[0].delta.changes(time), Ok(changes), "{depth}");
        assert_eq!(matches!(read[0].delta, UpdateChange::Plain(_)), depth > 61, "{depth}");
    }
}

proptest! {
    #[test]
    fn an_update_reads_back(
        parts in proptest::collection::vec((envelope(), any::<i32>(), "[a-z]{0,9}"), 1..5),
        old in any::<i32>(),
    ) {
        let (base, context) = (value(i64::from(old), "attic"), Context::default());
        let targets: Vec<Value> = parts.iter().map(|(_, cpu, name)| value(i64::from(*cpu), name)).collect();
        let items: Vec<UpdateItem> = parts.iter().zip(&targets).map(|((envelope, ..), target)| {
            encode_update(&envelope.with(Change::Snapshot { base: base.clone(), target: Cow::Borrowed(target), context }), false)
        }).collect();
        let bytes = join_update(&items).unwrap();
        let room: usize = items.iter().rev().skip(1).map(|item| item.room().unwrap()).sum();
        prop_assert_eq!(bytes.len(), items.last().unwrap().len() + room);
        let read = decode_update(&bytes).unwrap();
        prop_assert_eq!(read.len(), parts.len());
        for ((read, (envelope, ..)), target) in read.iter().zip(&parts).zip(&targets) {
            prop_assert_eq!(&fields(read), envelope);
            let made = read.delta.target(&base, &context);
            prop_assert_eq!(made.as_ref(), Some(target));
        }
    }

    #[test]
    fn changes_of_a_map_read_back(envelope in envelope(), changes in changes(), long in any::<bool>(), plain in any::<bool>()) {
        let mut changes = changes;
        if long {
            // More than is packed.
            let entry = Entry { stamp: Timestamp::from_bits(7), value: Some(Value::from("x".repeat(5_000).as_str()).into()), saw: None };
            changes.insert(0, (KeyPath::parse("0").unwrap(), Some(entry.into())));
        }
        let time = 1_800_000_000_000;
        let item = encode_update(&envelope.with(Change::Map { changes: changes.clone(), time: Wall::from_ms(time) }), plain);
        let raw = encode_changes(&changes, Wall::from_ms(time)).len();
        prop_assert!(item.len() <= 64 + 40 + raw, "{} for {raw}", item.len());
        let read = decode_update(&join_update(&[item]).unwrap()).unwrap();
        prop_assert_eq!(read[0].delta.changes(Wall::from_ms(time)), Ok(changes));
    }

    #[test]
    fn a_provisional_state_reads_back(envelope in envelope(), cpu in any::<i32>(), tags in 1u8..16) {
        let (base, target, context) = (value(1, "attic"), value(i64::from(cpu), "attic"), Context::default());
        let change = Change::Snapshot { base: base.clone(), target: Cow::Borrowed(&target), context };
        let body = encode_provisional(&envelope.with(change), tags).unwrap();
        let bytes = [&body[..], &[7].repeat(4 * usize::from(tags))].concat();
        let ProvisionalUpdate { envelope: read, body: over, tags: found } = decode_provisional(&bytes).unwrap();
        prop_assert_eq!(over, &body[..]);
        prop_assert_eq!(found, &vec![[7; 4]; usize::from(tags)][..]);
        prop_assert_eq!((read.base.distance, read.time_step_ms), (envelope.base.distance, envelope.time_step_ms));
        prop_assert_eq!(read.delta.target(&base, &context), Some(target));
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let base = value(7, "attic");
        let read = |envelope: &CompactEnvelope<UpdateChange>| {
            let _ = envelope.delta.target(&base, &Context::default());
            let _ = envelope.delta.changes(Wall::from_ms(7));
        };
        if let Ok(envelopes) = decode_update(&bytes) {
            envelopes.iter().for_each(read);
        }
        if let Ok(provisional) = decode_provisional(&bytes) {
            read(&provisional.envelope);
        }
    }
}

#[test]
fn what_names_the_base_takes_two_bytes() {
    let (base, target) = (value(1, "attic"), value(2, "attic"));
    let context = Context { base_time_ms: 1, time_ms: 1, ..Context::default() };
    let alone =
        Change::Snapshot { base: base.clone(), target: Cow::Borrowed(&target), context }.encode().len();
    let length = |distance: u64, off_ms: i64| {
        let envelope = CompactEnvelope {
            base: BaseRef { distance, root_prefix: [0xff, 0], is_short: true },
            address: None,
            time_step_ms: 60_000 * distance as i64 + off_ms,
            audience_step: 0,
            signature: [0; 64],
            delta: Change::Snapshot { base: base.clone(), target: Cow::Borrowed(&target), context },
        };
        encode_update(&envelope, false).len()
    };
    // The length byte of a lone delta is saved.
    for distance in 1..16 {
        assert!(length(distance, 0) < 64 + 2 + alone, "{distance}");
    }
    assert!(length(3, 37_000) < 64 + 4 + alone, "at no pace");
}
