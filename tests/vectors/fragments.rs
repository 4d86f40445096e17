//! What `rules.json` has of long messages by radio and of the frames of radios.

use super::links::dealt_in_turn;
use super::rules::{case, flip};
use serde_json::{Value as Json, json};

pub(super) fn refused() -> Vec<Json> {
    [fragments(), carriers()].concat()
}

/// The message of three fragments as one of four, whose last has nothing but filling.
fn a_fragment_of_filling(sent: &[&str]) -> [String; 4] {
    let of_four = |at: usize| sent[at].replacen("b48c02", "b48c03", 1);
    let filled = of_four(0).replacen("9001", "900f", 1);
    [filled, of_four(1), of_four(2), format!("b48c0303{}", "00".repeat(14))]
}

fn fragments() -> Vec<Json> {
    const SENT: [&str; 4] = [
        "b48c020090017468652073616e6420686f6c",
        "b48c02016473207768656e20746865207469",
        "b48c02026465206973206f75743fa54fda00",
        "b48c020380d267f2ec52e8b2ac9704c254e2",
    ];
    let one = |why, hex: &str| case("R1", "fragment", why, json!({ "hex": hex }));
    let long = |requirement, why, fragments: &[String]| {
        case(requirement, "long message", why, json!({ "fragments": fragments }))
    };
    let sent = |at: usize| SENT[at].to_owned();
    let nack = |why, hex: &str| case("R4", "NACK", why, json!({ "hex": hex, "count": 3 }));
    let changed = |at: usize| flip(&json!(SENT[at]), 10);
    vec![
        one("three bytes", "b48c02"),
        one("a bit set that is drawn as 0", "b48c420090017468652073616e6420686f6c"),
        one("an index beyond data and parity", "b48c02c390017468652073616e6420686f6c"),
        one("a shard of an odd length", "b48c020090017468652073616e6420686f"),
        one("the long header for a count that the short one can write", "65b1800500009018000000000000"),
        one("a block that its layout does not have", "65b1804640009018000000000000"),
        long("R2", "a fragment was changed: its print differs", &[sent(0), changed(1), sent(2)]),
        long(
            "R2",
            "a low bit of the kind is set",
            &[sent(0).replacen("b48c02009001", "b48c02009101", 1), sent(1), sent(2)],
        ),
        long(
            "R2",
            "a kind below 5",
            &[sent(0).replacen("b48c02009001", "b48c02004001", 1), sent(1), sent(2)],
        ),
        long("R2", "a filling that is not zero", &[sent(0), sent(1), flip(&json!(SENT[2]), 1_000)]),
        long("R2", "a last fragment of filling alone", &a_fragment_of_filling(&SENT)),
        long("R2", "83 fragments dealt to their two blocks in turn", &dealt_in_turn()),
        long("R3", "parity was changed", &[sent(0), sent(1), changed(3)]),
        long(
            "R3",
            "parity in place of the one behind it",
            &[sent(0), sent(1), sent(3).replacen("b48c0203", "b48c0204", 1)],
        ),
        nack("the highest bit of an entry is set", "aab48c8005"),
        nack("no fragment of a block", "aab48c0000"),
        nack("an empty bitmap", "aab48c4000"),
        nack("a block that the message does not have", "aab48c4105"),
        nack("a fragment that the block does not have", "aab48c4008"),
        nack("more fragments than the block has", "aab48c0004"),
        nack("two bytes", "aabc"),
    ]
}

fn carriers() -> Vec<Json> {
    let kiss = |why, hex: &str| case("R15", "KISS", why, json!({ "hex": hex }));
    let ax25 = |why, hex: &str| case("R16", "AX.25", why, json!({ "hex": hex }));
    vec![
        kiss("a broken escape", "c0009558dbc0"),
        kiss("another command", "c0069558c0"),
        kiss("no end", "c0009558"),
        ax25("to another destination", "86a240404040e09c60868298986303f095"),
        ax25("another protocol", "a89e9a849e98e09c60868298986303cf95"),
        ax25("cut within an address", "a89e9a849e98e09c6086"),
    ]
}
