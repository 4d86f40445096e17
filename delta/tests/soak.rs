//! Values of all kinds through diff, encode, decode and apply, by the thousand; with flipped bits too.
//!
//! `TOMBOLO_SOAK=5000000 cargo test --release -p tombolo-delta --test soak` takes as many rounds, `TOMBOLO_SEED` another
//! beginning. A failure prints the seed of its round, which replays it alone with one round.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use tombolo_delta::{Context, DecodeError, Int, Key, Map, Value, apply, decode, diff, encode, to_cbor};

/// A few seconds of a debug build.
const ROUNDS: u64 = 4000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Chance from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// The edges of every range often.
    fn float(&mut self) -> f64 {
        let bits = self.next();
        match self.below(8) {
            0 => f64::from_bits(bits & (1 << 63 | 7)),
            1 => f64::from_bits((bits & (1 << 63 | 7)) | 0x7ff0_0000_0000_0000),
            2 => f64::from_bits(bits),
            3 => (bits % 100_000) as f64 / 100.0,
            4 => -((bits % 1000) as f64 / 1e6),
            5 => (bits % 1000) as f64 * 0.1 * 3.0,
            6 => f64::from_bits(((bits % 5000) as f64 / 8.0).to_bits().wrapping_add(bits >> 61)),
            _ => (bits >> 12) as f64 * if bits & 1 == 0 { 1.0 } else { -1.0 },
        }
    }

    fn text(&mut self) -> String {
        const SOME: [&str; 10] = [
            "running",
            "stopped",
            "",
            "1.2.3",
            "v0.10.09",
            "2026-01-01T00:01:00Z",
            "2026-01-01T00:01:00.250Z",
            "a\nb\nc\n",
            "\u{0}\u{1}\u{2}",
            "é",
        ];
        match self.below(4) {
            0 | 1 => SOME[self.below(10) as usize].to_owned(),
            2 => (0..self.below(30)).map(|_| char::from(b' ' + self.below(90) as u8)).collect(),
            _ => (0..self.below(60))
                .map(|_| ["one ", "two ", "three\n", "4, "][self.below(4) as usize])
                .collect(),
        }
    }

    fn key(&mut self) -> Key {
        const SOME: [&str; 9] =
            ["id", "name", "version", "uptime_secs", "mem_used_bytes", "seq", "total", "", "temp"];
        match self.below(10) {
            0 => Key::Int(self.int()),
            1 => Key::from(self.text()),
            _ => Key::from(SOME[self.below(9) as usize]),
        }
    }

    fn int(&mut self) -> Int {
        match self.below(6) {
            0 => [Int::MIN, Int::MAX, Int::from(i64::MIN), Int::from(41u64)][self.below(4) as usize],
            1 => Int::from(self.next()),
            2 => Int::from(self.next() as i64),
            3 => Int::from(self.below(1 << 40) << 12),
            _ => Int::from(self.below(200)),
        }
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth > 3 { 8 } else { 11 }) {
            0 => Value::Null,
            1 => Value::from(self.below(2) == 0),
            2 | 3 => Value::Int(self.int()),
            4 | 5 => Value::from(self.float()),
            6 => Value::from((0..self.below(20)).map(|_| self.next() as u8).collect::<Vec<u8>>()),
            7 => Value::from(self.text()),
            8 => Value::Array((0..self.below(9)).map(|_| self.value(depth + 1)).collect()),
            _ => Value::Map((0..self.below(9)).map(|_| (self.key(), self.value(depth + 1))).collect::<Map>()),
        }
    }

    /// The value with some of its parts replaced, moved or left out.
    fn changed(&mut self, value: &Value, depth: u64) -> Value {
        if self.below(4) == 0 {
            return self.value(depth);
        }
        match value {
            Value::Array(items) => {
                let mut items: Vec<Value> = items.iter().map(|item| self.changed(item, depth + 1)).collect();
                if !items.is_empty() {
                    let places = items.len() as u64;
                    let (a, b) = (self.below(places) as usize, self.below(places) as usize);
                    items.swap(a, b);
                }
                Value::Array(items)
            }
            Value::Map(map) => Value::Map(
                map.iter()
                    .filter_map(|(key, value)| match self.below(9) {
                        0 => None,
                        1 => Some((self.key(), value.clone())),
                        _ => Some((key.clone(), self.changed(value, depth + 1))),
                    })
                    .collect::<Map>(),
            ),
            other if self.below(2) == 0 => other.clone(),
            Value::Float(float) => Value::from(f64::from_bits(float.to_bits() ^ (1 << self.below(64)))),
            Value::Int(int) => {
                let by = i128::from(self.below(9)) - 4;
                Value::Int(Int::new(int.get() + by).unwrap_or(*int))
            }
            _ => self.value(4),
        }
    }
}

/// What comes back is what went in; a delta that is read is written again as one that reads the same, or is refused.
fn round(seed: u64) {
    let mut dice = Dice(seed);
    let base = dice.value(0);
    let target = dice.changed(&base, 0);
    let time_ms = 1_767_225_660_000;
    let context = Context {
        base_sequence: 41,
        sequence: 42,
        base_time_ms: time_ms,
        time_ms: time_ms + dice.below(90_000),
    };
    let delta = diff(&base, &target, &context);
    let bytes = encode(&base, &delta, &context);
    assert_eq!(decode(&base, &bytes, &context).as_ref(), Ok(&delta), "seed {seed}");
    assert_eq!(apply(&base, &delta, &context).as_ref(), Ok(&target), "seed {seed}");
    for _ in 0..4 {
        let Value::Bytes(mut body) = tombolo_delta::from_cbor(&bytes, &Default::default()).unwrap() else {
            return;
        };
        let bits = body.len() as u64 * 8;
        if bits == 0 {
            return;
        }
        let bit = dice.below(bits) as usize;
        body[bit / 8] ^= 1 << (bit % 8);
        let Ok(read) = decode(&base, &to_cbor(&Value::from(body)), &context) else { continue };
        let Ok(made) = apply(&base, &read, &context) else { continue };
        match decode(&base, &encode(&base, &read, &context), &context) {
            Ok(again) => {
                assert_eq!(apply(&base, &again, &context).as_ref(), Ok(&made), "seed {seed}, bit {bit}")
            }
            Err(error) => {
                assert!(matches!(error, DecodeError::TooMuch { .. }), "seed {seed}, bit {bit}: {error}")
            }
        }
    }
}

#[test]
fn values_of_all_kinds_come_back() {
    let (seed, rounds) = (number("TOMBOLO_SEED", 1), number("TOMBOLO_SOAK", ROUNDS));
    println!("{rounds} rounds from TOMBOLO_SEED={seed}");
    (seed..seed.saturating_add(rounds)).for_each(round);
}
