//! `tables.json`, which other implementations read, is what this crate goes by, and FORMAT.md names its digest.

use crate::{entropy, hint, matching, priors, slots};
use serde_json::{Value as Json, json};

const TABLES: &str = include_str!("../tables.json");
const PAGE: &str = include_str!("../FORMAT.md");

#[test]
fn the_tables_are_those_of_the_code() {
    let tables: Json = serde_json::from_str(TABLES).unwrap();
    assert_eq!(tables["version"], json!(crate::VERSION));
    assert_eq!(tables["slots"], json!(slots::TABLE));
    assert_eq!(tables["logits"], json!(priors::LOGITS.as_slice()));
    assert_eq!(tables["weights"], json!(priors::WEIGHTS.as_slice()));
    assert_eq!(tables["squash_knots"], json!(entropy::SQUASH_KNOTS.as_slice()));
    for (name, words) in hint::WORD_LISTS {
        assert_eq!(tables[name], json!(words), "{name}");
    }
    let lines = tables["lexicon"].as_array().unwrap();
    let hex: String = lines.iter().map(|line| line.as_str().unwrap()).collect();
    let lexicon: String = matching::LEXICON.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, lexicon);
}

#[test]
fn the_page_names_the_digest_of_the_tables() {
    let digest = blake3::hash(TABLES.as_bytes()).to_hex();
    assert!(PAGE.contains(digest.as_str()), "FORMAT.md does not name {digest}");
}

/// Each slot stands on the page with its length.
#[test]
fn the_page_lists_every_slot() {
    for (name, length) in slots::TABLE {
        assert!(PAGE.contains(&format!("| {name} | {length} |")), "{name} {length}");
    }
    assert!(PAGE.contains(&format!("{} slots", slots::SLOTS)), "{} slots in all", slots::SLOTS);
}
