//! `bundle write` and `bundle read`: what peers lack, in a file that is carried by hand, and the receipt that is carried back.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value as Json;

use super::error::{CliError, CliResult};
use super::{CliContext, docs, print};
use crate::limits::BUNDLE_BYTES_MAX;
use crate::node::Admin;

/// What is done with a bundle.
#[derive(Debug, Subcommand)]
pub(super) enum BundleAct {
    /// Write a file with what peers lack, sealed to each
    #[command(
        after_help = "Examples:\n  tombolo bundle write /media/stick/news --for boat\n  tombolo bundle write news --for boat --for mill\n\nWhat a peer holds is known from the last link to it, or from its last receipt; of a peer that neither was heard from, all that it may have goes along. Whoever finds the file learns its size, and that it is a bundle."
    )]
    Write {
        /// The file; one that is there is not overwritten
        file: PathBuf,
        /// A peer that will read it; may be repeated
        #[arg(long = "for", value_name = "PEER", required = true)]
        peers: Vec<String>,
    },
    /// Read a file, show what changed, and write the receipt to carry back
    #[command(
        after_help = "Examples:\n  tombolo bundle read /media/stick/news\n  tombolo bundle read news --receipt back\n  tombolo bundle read news.receipt\n\nThe receipt is a bundle for the sender: what this node holds now, and what the sender lacks. Where neither has anything new for the other, none is written."
    )]
    Read {
        /// The file that was carried here
        file: PathBuf,
        /// Where the receipt goes [default: FILE.receipt]
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
        /// Write no receipt to carry back
        #[arg(long, conflicts_with = "receipt")]
        no_receipt: bool,
    },
}

pub(super) fn run(context: &CliContext, act: BundleAct) -> CliResult {
    match act {
        BundleAct::Write { file, peers } => write(context, &file, peers),
        BundleAct::Read { file, receipt, no_receipt } => {
            let mut receipt_name = file.clone().into_os_string();
            receipt_name.push(".receipt");
            let receipt = receipt.unwrap_or_else(|| PathBuf::from(receipt_name));
            read(context, &file, (!no_receipt).then_some(&receipt))
        }
    }
}

fn write(context: &CliContext, file: &Path, peers: Vec<String>) -> CliResult {
    // Before anything is asked, so that nothing is written for nothing.
    check_new(file)?;
    let reply = context.node.ask(Admin::WriteBundle { peers })?;
    write_new(file, &decoded(&reply.json, "bundle")?)?;
    let rows = reply.json.get("peers").map(print::items).unwrap_or_default();
    if context.json {
        let json = serde_json::json!({ "file": file, "bytes": reply.json.get("bytes"), "peers": rows });
        return Ok(print::exact(&json.to_string())?);
    }
    for row in rows {
        let layers = print::count(print::number(row, "layers"), "layer");
        let left_out = match print::number(row, "left_out") {
            0 => String::new(),
            count => format!("; {} had no room, and go with the next", print::count(count, "layer")),
        };
        let bytes = print::size(print::number(row, "bytes"));
        print::line(&format!("for {}: {layers}, {bytes}{left_out}", print::clean(print::text(row, "peer"))))?;
    }
    print::hint(&format!("next: carry {} there, and run `tombolo bundle read` on it", file.display()));
    Ok(())
}

fn read(context: &CliContext, file: &Path, receipt: Option<&PathBuf>) -> CliResult {
    if let Some(receipt) = receipt {
        check_new(receipt)?;
    }
    let bundle = data_encoding::BASE64.encode(&bytes_of(file)?);
    let reply = context.node.ask(Admin::ReadBundle { bundle })?;
    let changed = reply.json.get("changed").map(print::items).unwrap_or_default();
    let answer_layers = print::number(&reply.json, "answer_layers");
    // A receipt of a receipt would go to and fro for ever.
    let is_worth_it = print::number(&reply.json, "brought") > 0 || answer_layers > 0;
    let receipt = receipt.filter(|_| is_worth_it);
    if let Some(receipt) = receipt {
        write_new(receipt, &decoded(&reply.json, "answer")?)?;
    }
    if context.json {
        let json = serde_json::json!({
            "from": reply.json.get("from"), "did": reply.json.get("did"), "brought": reply.json.get("brought"),
            "changed": changed, "receipt": receipt, "receipt_layers": answer_layers,
        });
        return Ok(print::exact(&json.to_string())?);
    }
    let names = docs::names(&context.node)?;
    let from = print::clean(print::text(&reply.json, "from"));
    let brought = print::count(print::number(&reply.json, "brought"), "layer");
    print::line(&format!("from {from}: {brought}, {} changed here", changed.len()))?;
    for row in changed {
        let (owner, author) = (print::text(row, "owner"), print::text(row, "author"));
        print::line(&format!(
            "  {}/{} as {} wrote it",
            print::clean(&docs::called(&names, owner)),
            print::clean(print::text(row, "name")),
            print::clean(&docs::called(&names, author))
        ))?;
    }
    if let Some(receipt) = receipt {
        let layers = print::count(answer_layers, "layer");
        print::hint(&format!(
            "the receipt is in {}, with {layers} for {from}: carry it back",
            receipt.display()
        ));
    } else if !is_worth_it {
        print::hint(&format!(
            "neither this node nor {from} lacks anything of the other: no receipt is written"
        ));
    }
    Ok(())
}

fn decoded(json: &Json, field: &str) -> Result<Vec<u8>, CliError> {
    let bytes = data_encoding::BASE64.decode(print::text(json, field).as_bytes());
    bytes.map_err(|_| CliError::new("bad_answer", "the node's answer holds no file"))
}

fn failed(what: &str, file: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let what = format!("cannot {what} {}", file.display());
    move |error| CliError::new("file", format!("{what}: {error}"))
}

fn bytes_of(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let opened = crate::plain_file::open(file, std::fs::OpenOptions::new().read(true));
    let opened = opened.map_err(failed("read", file))?;
    opened.take(BUNDLE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed("read", file))?;
    match bytes.len() > BUNDLE_BYTES_MAX {
        true => Err(CliError::new("bad_bundle", format!("{} is too long for a bundle", file.display()))),
        false => Ok(bytes),
    }
}

fn check_new(file: &Path) -> CliResult {
    match std::fs::symlink_metadata(file) {
        Ok(_) => {
            Err(CliError::new("file", format!("{} exists already: choose another name", file.display())))
        }
        Err(_) => Ok(()),
    }
}

/// Writes a new file durably: a stick is pulled out soon.
fn write_new(file: &Path, bytes: &[u8]) -> CliResult {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.map_err(failed("write", file))?;
    opened.write_all(bytes).and_then(|()| opened.sync_all()).map_err(failed("write", file))
}
