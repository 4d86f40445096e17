//! The page in a real browser, and the bridge at a real broker: Debian's `chromium` and `mosquitto`. The browser is driven over its
//! own protocol by `browser.rs`; no crate for that is small enough (they compile the whole protocol, some 60,000 lines).
//!
//! `scripts/screenshots` makes the pictures of README with the same parts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

mod broker;
mod browser;
mod description;
#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod harness;
mod page;
mod screenshots;

use harness::NodeDir;

/// The token of the nodes in these tests.
pub(crate) const TOKEN: &str = "a-token-for-tests-0123";

/// A node with a page on a free port, and heartbeats so short that a test can wait for a missed one.
pub(crate) fn node_with_page(name: &str) -> NodeDir {
    let place = node(name);
    let path = place.folder.join("tombolo.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, section) = text.split_once("[web]\n").unwrap();
    let section = section.replacen("\nlisten = \"\"", "\nlisten = \"127.0.0.1:0\"", 1);
    let section = section.replacen("\ntoken = \"\"", &format!("\ntoken = \"{TOKEN}\""), 1);
    std::fs::write(path, format!("{before}[web]\n{section}")).unwrap();
    place
}

/// A node with heartbeats so short that a test can wait for a missed one.
pub(crate) fn node(name: &str) -> NodeDir {
    let place = NodeDir::with_node(name);
    place.setting("heartbeat = \"15s\"", "heartbeat = \"2s\"");
    place
}

/// Whether a command is there; else the test is skipped, and prints so.
pub(crate) fn has(command: &str, package: &str) -> bool {
    let paths = ["/usr/bin", "/usr/sbin", "/usr/games", "/bin"];
    let there = paths.iter().any(|folder| std::path::Path::new(folder).join(command).exists());
    if !there {
        println!("SKIPPED: needs {command} (apt install {package})");
    }
    there
}
