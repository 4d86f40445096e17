//! The checks of four fuzz targets over changed inputs: a seeded mutator over their corpora in place of a fuzzer, which would
//! need a nightly compiler. `TOMBOLO_MUTATIONS=2000000` runs more of them; the seed is printed, and `TOMBOLO_SEED` replays it.

use tombolo::commands::{
    CommandAnswer, CommandId, CommandKind, CommandTimes, Deploy, OUTPUT_BYTES_MAX, Outcome, RunEnd,
    RunResult, SignedCommand,
};
use tombolo::identity::Keypair;

use super::rpc::rpc_checks;

#[path = "../../fuzz/command_checks.rs"]
mod command_checks;
#[path = "../../fuzz/tor_checks.rs"]
mod tor_checks;

const MUTATIONS: u64 = 20_000;
const INPUT_BYTES_MAX: usize = 8 * 1024;
/// What these inputs are made of.
const WORDS: [&[u8]; 14] = [
    b"250-",
    b"250+",
    b"250 OK\r\n",
    b"650 ",
    b"\r\n.\r\n",
    b"status/bootstrap-phase=",
    b".onion",
    b":8662",
    b"X-Federation-Sig2:",
    b"\n\n",
    b"{\"method\":\"package.install\",\"params\":{",
    b"\"error\":{\"code\":1,\"message\":",
    b"[[app]]\nid = \"",
    b"[[[[[[[[[[[[[[[[[",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One input with one to six changes.
    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(32)).min(bytes.len());
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.next() as u8,
                2 => bytes.insert(at, self.next() as u8),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                5 => {
                    let word = WORDS[self.below(WORDS.len())];
                    bytes.splice(at..end, word.iter().copied());
                }
                6 => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend(&other[from..]);
                }
                _ => {
                    let count = self.below(200);
                    bytes.splice(at..at, std::iter::repeat_n(b'a' + (count % 26) as u8, count));
                }
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn run(target: &str, mut corpus: Vec<Vec<u8>>, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        corpus.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(corpus.len() >= 3, "{target} has a corpus");
    let seed = number("TOMBOLO_SEED", u64::from(std::process::id()));
    let count = number("TOMBOLO_MUTATIONS", MUTATIONS);
    println!("{target}: TOMBOLO_SEED={seed}, {count} changed inputs of {}", corpus.len());
    let mut random = Random(seed);
    let mut bytes = 0;
    for _ in 0..count {
        let input = random.mutate(&corpus);
        bytes += input.len();
        let checked = std::panic::catch_unwind(|| check(&input));
        assert!(checked.is_ok(), "{target}: {:?}", String::from_utf8_lossy(&input));
    }
    println!("{target}: {count} inputs, {bytes} bytes: all hold");
}

#[test]
fn control_replies_hold() {
    run("control_reply", vec![], tor_checks::control_reply);
}

#[test]
fn onion_addresses_hold() {
    let address = Keypair::from_seeds(&[1; 32], &[2; 32]).onion();
    let corpus = [address.clone(), format!("{address}:8662"), format!("onion:{address}")];
    run("onion_address", corpus.map(String::into_bytes).into(), tor_checks::onion_address);
}

#[test]
fn calls_and_answers_hold() {
    let answers = [r#"{"result": {"deployed": true, "output": "x"}}"#, r#"{"error": {"code": "off"}}"#];
    run("rpc", answers.map(|text| text.as_bytes().to_vec()).into(), rpc_checks::call);
}

#[test]
fn commands_answers_and_catalogues_hold() {
    let (keypair, id) = (Keypair::from_seeds(&[1; 32], &[2; 32]), CommandId([3; 16]));
    let deploy = Deploy::new("web", "1.2", "https://m.example").unwrap();
    let to = Keypair::from_seeds(&[4; 32], &[5; 32]).peer_id();
    let times = CommandTimes { made_s: 1_795_852_800, expires_s: 1_795_939_200 };
    let command = SignedCommand::sign(&keypair, to, id, times, CommandKind::Deploy(deploy)).encode();
    let result = RunResult { end: RunEnd::Exit(3), output: "an output".to_owned() };
    let outcomes = [None, Some(Outcome::Unknown), Some(Outcome::Ended(result))];
    let answers = outcomes.map(|outcome| CommandAnswer { id, outcome }.encode(OUTPUT_BYTES_MAX));
    let catalogue =
        b"marketplace-url = \"https://m.example\"\n[[app]]\nid = \"web\"\nversions = [\"1.2\"]\n".to_vec();
    let corpus = answers.into_iter().chain([command, catalogue]).collect();
    run("commands", corpus, command_checks::command);
}
