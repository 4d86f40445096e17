//! What a library user builds: neither the command line nor HTTP.

use std::process::Command;

/// `cargo tree` knows what the feature `cli` brings; without it none of these comes in, by whatever way.
#[test]
fn the_library_alone_builds_no_program() {
    let tree = |features: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.args(["tree", "-p", "tombolo", "-e", "normal", "--prefix", "none", "--locked", "--offline"]);
        let output = command.args(features).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let has = |tree: &str, name: &str| tree.lines().any(|line| line.starts_with(&format!("{name} v")));
    let (with, without) = (tree(&[]), tree(&["--no-default-features"]));
    for name in ["clap", "clap_complete", "hyper", "qrcode", "sysinfo", "tracing-subscriber", "argon2"] {
        assert!(has(&with, name) && !has(&without, name), "{name}");
    }
}
