//! The demo is the README's promise: it must hold in every build.

use super::harness::NodeDir;
use std::time::Instant;

#[test]
fn the_demo_converges_and_measures() {
    let place = NodeDir::empty();
    let start = Instant::now();
    let temporary = tempfile::tempdir().unwrap();
    let output = place.command(&["demo", "--json"]).env("TMPDIR", temporary.path()).output().unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{progress}");
    assert!(progress.lines().count() > 3, "{progress}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "something was left behind");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("totals: the demo took {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(figures["converged"], true);
    assert_eq!(figures["documents_identical"], true);
    let total = &figures["total"];
    let number = |field: &str| total[field].as_u64().unwrap();
    assert!(number("changes") > 0 && number("messages_sent") > 0);
    assert!(number("message_bytes_sent") > 0 && number("message_bytes_sent") < number("wire_bytes_sent"));
    assert!(number("message_bytes_sent") < number("json_bytes"), "{total}");
    let radios = figures["radios"].as_array().unwrap();
    assert_eq!(radios.len(), 2);
    for radio in radios {
        assert!(radio["frames_sent"].as_u64().unwrap() > 2 && radio["airtime_ms"].as_u64().unwrap() > 0);
    }
    let by_radio = figures["documents_by_radio"].as_array().unwrap();
    assert_eq!(by_radio.len(), 3, "a document and two states: {by_radio:?}");
    assert!(by_radio.iter().all(|document| document["identical"] == true), "{by_radio:?}");
    let waits = ["joining", "states", "edits_at_once", "after_the_cut", "joining_by_radio", "by_radio"];
    for wait in waits {
        assert!(figures["converge_ms"][wait].is_u64(), "{wait}");
    }
    assert!(!place.folder.exists());
}
