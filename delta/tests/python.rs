//! A second implementation, which shares no code with the library, agrees with every vector.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

#[test]
fn the_decoder_in_python_agrees_with_every_vector() {
    let root = format!("{}/..", env!("CARGO_MANIFEST_DIR"));
    let decoder = format!("{root}/examples/python/tombolo_delta.py");
    let Ok(output) = Command::new("python3").arg(decoder).arg(format!("{root}/delta/tests/vectors")).output()
    else {
        println!("SKIPPED: python3 is not there");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
