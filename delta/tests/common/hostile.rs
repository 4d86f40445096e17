//! Inputs that made a delta cost more than its bytes explain, or might: shared by the test that counts steps and the bench.

use tombolo_delta::{Context, Value};

/// One input.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) base: Value,
    pub(crate) target: Value,
}

/// The context of all of them.
pub(crate) const CONTEXT: Context =
    Context { base_sequence: 41, sequence: 42, base_time_ms: 1_767_225_660_000, time_ms: 1_767_225_720_000 };

/// Letters by chance, the same on every run.
fn letters(count: usize, mut seed: u64) -> String {
    let mut letter = || {
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        char::from(b'a' + ((seed >> 33) % 26) as u8)
    };
    (0..count).map(|_| letter()).collect()
}

/// The numbers below `count`, shuffled.
fn shuffled(count: usize) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count as u64).collect();
    let mut seed = 7u64;
    for at in (1..count).rev() {
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        numbers.swap(at, (seed >> 33) as usize % (at + 1));
    }
    numbers
}

fn under(key: &str, value: Value) -> Value {
    Value::map([(key, value)])
}

/// All of them, a part of their size each.
pub(crate) fn cases(part: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, base, target| cases.push(Case { name, base, target });
    long_keys(part, &mut case);
    texts(part, &mut case);
    lists(part, &mut case);
    cases
}

fn long_keys(part: usize, case: &mut impl FnMut(&'static str, Value, Value)) {
    let (key, n) = (letters(200_000 / part, 1), 40_000 / part);
    let empty = || under(&key, Value::array(Vec::<Value>::new()));
    let texts =
        |text: &dyn Fn(usize) -> String| under(&key, Value::array((0..n).map(|at| Value::from(text(at)))));
    case("a long key, many new empty texts", empty(), texts(&|_| String::new()));
    let few = |n: usize| under(&key, Value::array((0..n).map(|at| Value::from(format!("t{at}")))));
    case("a long key, distinct new texts", empty(), few(400 / part));
    case(
        "a long key, many texts change",
        texts(&|at| format!("{}", at % 7)),
        texts(&|at| format!("{}", at % 5)),
    );
    let numbers = |by: usize| under(&key, Value::array((0..n).map(|at| Value::from((at + by) as u64))));
    case("a long key, many integers", numbers(0), numbers(1));
    let uptime = format!("uptime{key}");
    let numbers = |by: usize| under(&uptime, Value::array((0..n).map(|at| Value::from((at + by) as u64))));
    case("a long key of uptimes", numbers(0), numbers(60));
    let mixed = |text: &str| {
        let record = Value::map([("a", text)]);
        under(&key, Value::array((0..n / 4).flat_map(|_| [Value::from(text), record.clone()])))
    };
    case("a long key, texts and records in turn", mixed("x"), mixed("y"));
}

fn texts(part: usize, case: &mut impl FnMut(&'static str, Value, Value)) {
    let n = 250_000 / part;
    case("equal letters", Value::Null, Value::from("a".repeat(n)));
    case("a few equal letters", Value::Null, Value::from("a".repeat(500)));
    case("letters by chance", Value::Null, Value::from(letters(n, 3)));
    case("a few letters by chance", Value::Null, Value::from(letters(400, 3)));
    let words = letters(n / 6, 5);
    let text: String = (0..n / 12)
        .map(|at| words.split_at(at * 7919 % (n / 6 - 12)).1.split_at(11).0)
        .fold(String::new(), |text, word| text + word + " ");
    case("words that repeat", Value::Null, Value::from(text));
    let old = letters(n, 9);
    let mut new = old.clone();
    new.replace_range(100..101, "ZZ");
    new.replace_range(n - 100..n - 99, "YY");
    case("a long text, two edits far apart", Value::from(old.as_str()), Value::from(new));
    let line = letters(n / 2, 11);
    let before: String = (0..n / 8).map(|at| format!("{}\n", at % 10)).collect();
    case(
        "many lines come before a long one",
        Value::from(format!("{line}\nlast")),
        Value::from(format!("{before}{line}\nlast")),
    );
    let behind = |by: usize| -> String { (0..n / 8).map(|at| format!("\n{}", (at + by) % 10)).collect() };
    case(
        "many lines change behind a long one",
        Value::from(format!("{line}{}", behind(0))),
        Value::from(format!("{line}{}", behind(3))),
    );
    let beside = |count: usize| {
        Value::array(
            (0..count).map(|at| Value::from(format!("{}", at % 3))).chain([Value::from(line.as_str())]),
        )
    };
    case("many texts come beside a long one", beside(0), beside(n / 10));
}

fn lists(part: usize, case: &mut impl FnMut(&'static str, Value, Value)) {
    let n = 120_000 / part;
    let nulls = |n: usize| Value::array(vec![Value::Null; n]);
    let list = |numbers: &[u64]| Value::array(numbers.iter().map(|n| Value::from(*n)));
    let order = shuffled(n / 2);
    case("nulls become shuffled numbers", nulls(n), list(&order));
    let mixed = |at: &u64| if at.is_multiple_of(2) { Value::Null } else { Value::from(at % 31) };
    case("nulls become a mixture", nulls(n), Value::array(order.iter().map(mixed)));
    case("numbers are shuffled", list(&(0..n as u64 / 2).collect::<Vec<_>>()), list(&order));
    let entries = |prefix: char, order: &[u64]| {
        order.iter().enumerate().map(|(at, n)| (format!("{prefix}{at}"), Value::from(*n))).collect::<Value>()
    };
    let m = n / 8;
    let (rising, falling): (Vec<u64>, Vec<u64>) = ((0..m as u64).collect(), (0..m as u64).rev().collect());
    case("all entries change their name", entries('a', &rising), entries('b', &falling));
    let arrays = |by: u64| Value::array((0..n as u64 / 2).map(|n| Value::array([Value::from((n + by) % 3)])));
    case("many small arrays", arrays(0), arrays(1));
}
