//! Writes `src/priors.rs` from traces, and measures what the built-in priors make of them.
//!
//! ```text
//! cargo run --release -p tombolo-delta --example train --features train -- OUT TRACE... [--then TRACE...]
//! ```
//!
//! A trace holds one JSON document a line, plain or gzipped. The first half of each trace before `--then` is learned
//! from, all of them weighing the same; OUT gets the new source, `-` writes nothing. Then every trace is measured with
//! the priors that are built in, its second half apart. The built-in priors came from the first halves of t1, t3 and
//! t2-* (see the README of the traces); running this three times, compiling in between, settles them.

#![allow(clippy::indexing_slicing, reason = "a tool may panic")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use tombolo_delta::training::Training;
use tombolo_delta::{Context, Value, apply, decode, diff, encode};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (out, traces) = arguments.split_first().expect("OUT TRACE...");
    let learned: Vec<Trace> =
        traces.iter().take_while(|t| *t != "--then").map(|path| Trace::load(path)).collect();
    let others: Vec<Trace> =
        traces.iter().skip_while(|t| *t != "--then").skip(1).map(|path| Trace::load(path)).collect();
    if out != "-" {
        std::fs::write(out, train(&learned).source()).expect("OUT can be written");
    }
    for trace in learned.iter().chain(&others) {
        println!("{}", trace.measure());
    }
}

struct Trace {
    name: String,
    documents: Vec<Value>,
}

/// All traces at once, each step taking its share of every one, so that the mixer hears all of them to the end.
fn train(traces: &[Trace]) -> Training {
    let mut training = Training::new();
    let steps = traces.iter().map(|trace| trace.documents.len() / 2).max().unwrap_or(0);
    for step in 0..steps {
        for trace in traces {
            let half = trace.documents.len() / 2;
            for at in (step * half / steps).max(1)..(step + 1) * half / steps {
                let (base, target) = (&trace.documents[at - 1], &trace.documents[at]);
                let context = trace.context(at - 1, at);
                training.watch(base, &diff(base, target, &context), &context, 1000.0 / half as f64);
            }
            if step == 0 || step == steps / 2 {
                let (first, context) = (&trace.documents[0], trace.context(0, 0));
                training.watch(&Value::Null, &diff(&Value::Null, first, &context), &context, 1.0);
            }
        }
    }
    training
}

impl Trace {
    fn load(path: &str) -> Trace {
        let mut file = BufReader::new(File::open(path).expect("the trace is there"));
        let gzipped = file.fill_buf().expect("the trace can be read").starts_with(&[0x1f, 0x8b]);
        let mut text = String::new();
        if gzipped {
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("the trace is gzip");
        } else {
            file.read_to_string(&mut text).expect("the trace is UTF-8");
        }
        let documents =
            text.lines().map(|line| serde_json::from_str(line).expect("a line is a document")).collect();
        Trace { name: path.rsplit('/').next().unwrap_or(path).to_owned(), documents }
    }

    /// The signed time is the document's own; documents without one get one minute a change.
    fn time_ms(&self, at: usize) -> u64 {
        let text = self.documents[at].get("timestamp").and_then(Value::as_text);
        text.and_then(milliseconds).unwrap_or(1_800_000_000_000 + at as u64 * 60_000)
    }

    fn context(&self, base: usize, target: usize) -> Context {
        Context {
            base_sequence: base as u64 + 1,
            sequence: target as u64 + 1,
            base_time_ms: self.time_ms(base),
            time_ms: self.time_ms(target),
        }
    }

    fn measure(&self) -> String {
        let mut sizes = Vec::new();
        let mut spent = [std::time::Duration::ZERO; 2];
        for at in 1..self.documents.len() {
            let (base, target, context) =
                (&self.documents[at - 1], &self.documents[at], self.context(at - 1, at));
            #[allow(clippy::disallowed_methods, reason = "a measurement")]
            let start = std::time::Instant::now();
            let bytes = encode(base, &diff(base, target, &context), &context);
            spent[0] += start.elapsed();
            #[allow(clippy::disallowed_methods, reason = "a measurement")]
            let start = std::time::Instant::now();
            let delta = decode(base, &bytes, &context).expect("what was encoded decodes");
            let made = apply(base, &delta, &context).expect("and applies");
            spent[1] += start.elapsed();
            assert_eq!(made, *target, "{} {at}", self.name);
            sizes.push(bytes.len());
        }
        let mean = |sizes: &[usize]| sizes.iter().sum::<usize>() as f64 / sizes.len().max(1) as f64;
        let (all, second) = (mean(&sizes), mean(&sizes[sizes.len() / 2..]));
        let each = spent.map(|spent| spent.as_secs_f64() * 1e6 / sizes.len() as f64);
        sizes.sort_unstable();
        let (first, context) = (&self.documents[0], self.context(0, 0));
        let snapshot = encode(&Value::Null, &diff(&Value::Null, first, &context), &context).len();
        format!(
            "{:42} mean {all:7.2}  second half {second:7.2}  p99 {:4}  max {:5}  first {snapshot:5}  encode {:6.1} us  decode {:6.1} us",
            self.name,
            sizes[sizes.len() * 99 / 100],
            sizes.last().unwrap_or(&0),
            each[0],
            each[1],
        )
    }
}

/// Milliseconds since the Unix epoch of `2026-01-01T00:00:00Z` or `2026-01-01T00:00:00.000Z`.
fn milliseconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    let seconds = days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1000 + number(20, 23).unwrap_or(0))
}
