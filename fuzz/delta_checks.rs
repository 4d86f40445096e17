//! What must hold of any bytes: shared by the fuzz targets and by the test that replays their corpus.

use tombolo_delta::limits::NEW_BYTES_MAX;
use tombolo_delta::{Context, Int, Key, Limits, Map, Value, apply, decode, diff, encode, from_cbor, to_cbor};

/// Bytes that are accepted are the ones that would be written.
pub(crate) fn cbor_decode(input: &[u8]) {
    if let Ok(value) = from_cbor(input, &Limits::default()) {
        assert_eq!(to_cbor(&value), input);
        assert_eq!(Limits::default().check(&value), Ok(()));
    }
}

/// Any bytes are refused, or are a delta that applies, is bounded, and is written again as an equal one.
pub(crate) fn delta_decode(input: &[u8]) {
    let mut input = Input(input);
    let (base, context) = (input.value(0), input.context());
    let bytes = to_cbor(&Value::from(input.0.to_vec()));
    let Ok(delta) = decode(&base, &bytes, &context) else { return };
    let Ok(target) = apply(&base, &delta, &context) else { return };
    assert!(to_cbor(&target).len() <= 2 * to_cbor(&base).len() + 6 * NEW_BYTES_MAX);
    let again = encode(&base, &delta, &context);
    let again = decode(&base, &again, &context).expect("what was read can be written and read again");
    assert_eq!(apply(&base, &again, &context), Ok(target));
}

/// A delta for one base is refused by another, or makes something.
pub(crate) fn delta_apply(input: &[u8]) {
    let mut input = Input(input);
    let (base, target, other, context) = (input.value(0), input.value(0), input.value(0), input.context());
    let delta = diff(&base, &target, &context);
    let _ = apply(&other, &delta, &context);
    let _ = decode(&other, &encode(&base, &delta, &context), &context);
}

/// The difference of any two values makes the second from the first, also through bytes.
pub(crate) fn diff_then_apply(input: &[u8]) {
    let mut input = Input(input);
    let (base, target, context) = (input.value(0), input.value(0), input.context());
    let delta = diff(&base, &target, &context);
    assert_eq!(apply(&base, &delta, &context).as_ref(), Ok(&target));
    let bytes = encode(&base, &delta, &context);
    assert_eq!(decode(&base, &bytes, &context).as_ref(), Ok(&delta));
}

/// Bytes that are eaten up; zeros behind their end.
struct Input<'a>(&'a [u8]);

const TEXTS: [&str; 12] = [
    "running",
    "stopped",
    "1.2.3",
    "v1.3.0",
    "2026-01-01T00:01:00Z",
    "2026-01-01T00:01:00.500Z",
    "",
    "a\nb\nc\n",
    "\u{0}\u{1}\u{2}",
    "id",
    "uptime_secs",
    "mem_used_bytes",
];

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |sum, _| sum << 8 | u64::from(self.byte()))
    }

    fn context(&mut self) -> Context {
        let base_time_ms = if self.byte() < 128 { 1_767_225_660_000 } else { self.number(8) };
        let time_ms = base_time_ms.wrapping_add(self.number(3));
        Context { base_sequence: self.number(1), sequence: self.number(1), base_time_ms, time_ms }
    }

    fn text(&mut self) -> String {
        let kind = self.byte();
        if let Some(text) = TEXTS.get(usize::from(kind)) {
            return (*text).to_owned();
        }
        let repeated = usize::from(self.byte() % 40) + 1;
        let length = usize::from(kind % 32);
        let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if kind > 200 { text.repeat(repeated) } else { text }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.byte() % if depth > 6 { 8 } else { 12 } {
            0 => Value::Null,
            1 => Value::from(self.byte() < 128),
            2 => Value::from(i64::from(self.byte())),
            3 => Value::from(self.number(8)),
            4 => Value::from(self.number(4) << 12),
            5 => Value::from(f64::from_bits(self.number(8))),
            6 => Value::from(self.number(2) as f64 / 100.0),
            7 => Value::Text(self.text()),
            8 => Value::from((0..self.byte() % 32).map(|_| self.byte()).collect::<Vec<u8>>()),
            9 => Value::Array((0..self.byte() % 12).map(|_| self.value(depth + 1)).collect()),
            _ => Value::Map(
                (0..self.byte() % 12).map(|_| (self.key(), self.value(depth + 1))).collect::<Map>(),
            ),
        }
    }

    fn key(&mut self) -> Key {
        if self.byte() < 16 { Key::Int(Int::from(self.number(1))) } else { Key::Text(self.text()) }
    }
}
