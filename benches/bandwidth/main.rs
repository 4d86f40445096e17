//! Bytes a change: this codec beside full documents, patches, compressors and typed messages.
//!
//! ```text
//! cargo bench --bench bandwidth [--features peers] -- [--trace FILE]... [--base N] [--only CODEC]... [--json] [--plot FILE.svg]
//! ```
//!
//! One change is one line of a trace to the next. Every message is decoded again, with nothing but the base and the
//! bytes, and compared with the document; a row that cannot carry a change is marked. What goes around a message (its
//! sender, sequence and signature) is not counted, since all rows need the same.
//!
//! The signed time of a document is its own `timestamp`; documents without one get one minute a change.

#![allow(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement may panic and reads a clock"
)]

mod codecs;
mod compressors;
mod patches;
#[cfg(feature = "peers")]
mod peers;
mod report;
mod traces;
mod typed;

use clap::Parser;
use codecs::Codec;
use report::BandwidthRow;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use traces::{Trace, TraceDocument};

/// Bytes a change, for every codec and trace.
#[derive(Parser)]
struct BandwidthArguments {
    /// A trace: JSON Lines, plain or gzipped, one document a line. Without any, the recording and the generators in the
    /// repository, and the folder that TOMBOLO_TRACES names.
    #[arg(long)]
    trace: Vec<PathBuf>,
    /// How many changes old the base is.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    base: u32,
    /// Only rows of this codec.
    #[arg(long)]
    only: Vec<String>,
    /// Only so many changes of each trace.
    #[arg(long)]
    changes: Option<usize>,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
    /// Draws the rows.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = BandwidthArguments::parse();
    let traces = if arguments.trace.is_empty() {
        traces::built_in()
    } else {
        arguments.trace.iter().map(|path| traces::load(path)).collect()
    };
    let mut rows: Vec<BandwidthRow> = Vec::new();
    for trace in &traces {
        if !arguments.json {
            report::print_head(trace, arguments.base);
        }
        for mut codec in codecs() {
            if !arguments.only.is_empty() && !arguments.only.iter().any(|name| name == codec.name()) {
                continue;
            }
            let Some(row) = measure(codec.as_mut(), trace, arguments.base as usize, arguments.changes) else {
                continue;
            };
            if arguments.json {
                println!("{}", row.json())
            } else {
                row.print()
            }
            rows.push(row);
        }
    }
    if let Some(path) = &arguments.plot {
        std::fs::write(path, report::plot(&rows)).expect("the drawing can be written");
    }
}

fn codecs() -> Vec<Box<dyn Codec>> {
    let mut codecs: Vec<Box<dyn Codec>> = vec![Box::new(codecs::TomboloCodec)];
    codecs.extend(codecs::full());
    codecs.extend(patches::all());
    codecs.extend(compressors::all());
    codecs.push(Box::new(typed::FieldMask));
    codecs.push(Box::new(typed::SchemaKnown::new()));
    #[cfg(feature = "peers")]
    codecs.extend(peers::all());
    codecs
}

/// All changes of a trace through one codec; none if it cannot hold such documents.
fn measure(
    codec: &mut dyn Codec,
    trace: &Trace,
    base: usize,
    changes: Option<usize>,
) -> Option<BandwidthRow> {
    let documents = &trace.documents;
    let empty = TraceDocument::empty();
    let first = documents.first()?;
    let message = codec.encode(&empty, first)?;
    let mut row = BandwidthRow::new(&trace.name, codec.name(), message.len());
    row.check(codec.decode(&empty, first.time_ms, &message).is_some_and(|decoded| decoded.is(first)));
    // What stands before the first base with a successor: codecs with a history need it.
    for pair in documents.windows(2).take(base - 1) {
        let message = codec.encode(&pair[0], &pair[1])?;
        codec.decode(&pair[0], pair[1].time_ms, &message);
    }
    let (mut encoding, mut decoding) = (Duration::ZERO, Duration::ZERO);
    for at in (base..documents.len()).take(changes.unwrap_or(usize::MAX)) {
        let (old, new) = (&documents[at - base], &documents[at]);
        let start = Instant::now();
        let bytes = codec.encode(old, new)?;
        encoding += start.elapsed();
        let start = Instant::now();
        let decoded = codec.decode(old, new.time_ms, &bytes);
        decoding += start.elapsed();
        row.add(bytes.len(), decoded.is_some_and(|decoded| decoded.is(new)));
    }
    row.finish(encoding, decoding);
    Some(row)
}
