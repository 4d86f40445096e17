//! Replays what fuzzing found worth keeping.

#[path = "../../fuzz/delta_checks.rs"]
mod delta_checks;

/// A fuzz target's name and its check.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("cbor_decode", delta_checks::cbor_decode),
    ("delta_decode", delta_checks::delta_decode),
    ("delta_apply", delta_checks::delta_apply),
    ("diff_then_apply", delta_checks::diff_then_apply),
];

#[test]
fn the_corpus_of_every_target_holds() {
    for (name, check) in TARGETS {
        let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).expect("each target has a corpus") {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        println!("{name}: {inputs} inputs");
        assert!(inputs > 0, "{folder} is empty");
    }
}
