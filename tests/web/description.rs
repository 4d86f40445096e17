//! The local interface as strangers' programs see it: schemathesis reads its description, makes requests of it, sound and unsound ones, and
//! compares each answer with it.

use std::path::PathBuf;
use std::process::Command;

use super::{TOKEN, node_with_page};

/// The tool, where `scripts/test` has put it or a user has.
fn schemathesis() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("schemathesis")).find(|tool| tool.exists());
    if found.is_none() {
        println!("SKIPPED: needs schemathesis (pip install schemathesis)");
    }
    found
}

/// No request that the tool makes up brings an answer that the description does not have, or a fault of the node.
#[test]
fn a_stranger_tool_finds_the_interface_as_it_is_described() {
    let Some(tool) = schemathesis() else { return };
    let place = node_with_page("attic");
    // What the examples of the description name.
    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "monday/watch", "Ada"]);
    let daemon = place.up();
    let url = format!("http://{}", daemon.told()["page"].as_str().unwrap());
    let mut tool = Command::new(tool);
    tool.args(["run", &format!("{url}/v1/openapi.json"), "--url", &url])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--phases", "examples,fuzzing", "--max-examples", "2", "--seed", "7"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        // A stream does not end.
        .args(["--exclude-path", "/v1/watch", "--no-color", "--request-timeout", "10"]);
    let output = tool.current_dir(&place.folder).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    place.ok(&["status"]);
}
