//! How fast two nodes are, beside raw quinn of the same minute.
//!
//! ```text
//! cargo bench --bench sync -- [--row NAME]... [--rounds N] [--quick] [--disk FOLDER] [--json]
//! ```
//!
//! Each measurement runs in a process of its own, in a network namespace of its own where the system allows one, in turn with raw
//! quinn: one stream, one write per update, socket buffers raised, the node's own TLS. Rows are medians. `ratio` is ours over raw
//! quinn's; of rates, more is better, of all else less. Stores in memory stand on `/dev/shm`.
//!
//! | row | what |
//! |---|---|
//! | `updates` | 256 writers at once, updates of 100 bytes a second until the other node has all |
//! | `visible` | one write at a time until the other node's watchers hear of it, p50 |
//! | `write` | one write to a map of N entries, or to one of N documents, without links and disk |
//! | `cold` | an empty node is started beside one with N entries: time, bytes, memory of both |
//! | `differ` | 10 of the entries differ, with a base that both know, or none: bytes with the handshake, time |
//! | `documents` | 1,000 small documents, all equal or 10 differing: bytes with the handshake, time |
//! | `open`, `put`, `clear` | a node with 100,000 entries starts; 100,000 entries are put, or deleted, and the longest wait of another request |
//! | `worst` | the messages that keep a node with 200,000 entries busy longest, of those that a member can make up |
//! | `commit` | bytes that a commit of one write hands to the disk; those of an hour with 20 peers that publish each minute |

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement may panic, and reads clocks"
)]

mod nodes;
mod part;
mod raw;
mod rows;
mod single;
mod work;
mod worst;

use std::path::PathBuf;

use clap::Parser;
use part::{Figures, Part};

/// How fast two nodes are, beside raw quinn.
#[derive(Parser)]
struct SyncArguments {
    /// Only rows whose name begins so.
    #[arg(long)]
    row: Vec<String>,
    /// Rounds; each row is the median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One round with a tenth of the entries.
    #[arg(long)]
    quick: bool,
    /// Where durable rows keep their stores: a folder on the disk that is meant.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
    /// One measurement, in this process.
    #[arg(long, hide = true)]
    part: Option<String>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = SyncArguments::parse();
    match &arguments.part {
        Some(part) => {
            let part = serde_json::from_str(part).unwrap();
            println!("{}", serde_json::to_string(&measure(part)).unwrap());
        }
        None => rows::run(&arguments),
    }
}

fn measure(part: Part) -> Figures {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match part {
        Part::RawBurst { updates } => runtime.block_on(raw::burst(updates)),
        Part::RawLatency { updates } => runtime.block_on(raw::latency(updates)),
        Part::RawCold { entries } => runtime.block_on(raw::cold(entries)),
        Part::Crypto => single::crypto(),
        Part::Burst { at, updates, writers } => runtime.block_on(nodes::burst(&at, updates, writers)),
        Part::Latency { at, updates } => runtime.block_on(nodes::latency(&at, updates)),
        Part::Prepare { at, entries, in_step, changes, commits } => {
            runtime.block_on(nodes::prepare(&at, entries, in_step, changes, commits))
        }
        Part::PrepareDocuments { at, documents, changes } => {
            runtime.block_on(nodes::prepare_documents(&at, documents, changes))
        }
        Part::Meet { at } => runtime.block_on(nodes::meet(&at)),
        Part::Open { at } => runtime.block_on(nodes::open(&at)),
        Part::Put { at, entries, whole } => runtime.block_on(nodes::put_alone(&at, entries, whole)),
        Part::Clear { at, entries, whole } => runtime.block_on(nodes::clear_alone(&at, entries, whole)),
        Part::Writes { entries } => single::writes(entries),
        Part::Documents { documents } => single::documents(documents),
        Part::States { at, a_commit } => single::states(&at, a_commit),
        Part::Worst { kind } => worst::message(kind),
        Part::CommitBytes { at, commits } => runtime.block_on(nodes::commit_bytes(&at, commits)),
    }
}
