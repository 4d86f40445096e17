//! Replays what fuzzing found worth keeping, and tries its check on random frames.

#[path = "../../../../fuzz/reassembly_checks.rs"]
mod reassembly_checks;

use proptest::prelude::*;

#[test]
fn the_corpus_of_reassembly_holds() {
    let folder = format!("{}/../../fuzz/corpus/reassembly", env!("CARGO_MANIFEST_DIR"));
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).expect("the target has a corpus") {
        reassembly_checks::reassembly(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    println!("reassembly: {inputs} inputs");
    assert!(inputs > 0, "{folder} is empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_frames_are_taken_within_bounds(input in prop::collection::vec(any::<u8>(), 0..600)) {
        reassembly_checks::reassembly(&input);
    }
}
