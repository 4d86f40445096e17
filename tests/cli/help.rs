//! Help, and the QR code on a small terminal.

use super::harness::NodeDir;

#[test]
fn every_command_explains_itself_with_examples() {
    let place = NodeDir::empty();
    let help = place.ok(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for expected in [
        "init",
        "id",
        "up",
        "invite",
        "join",
        "adopt",
        "peers",
        "trust",
        "rename",
        "remove",
        "create",
        "set",
        "get",
        "del",
        "put",
        "ls",
        "watch",
        "state",
        "status",
        "conflicts",
        "links",
        "log",
        "doctor",
        "deploy",
        "catalogue",
        "revoke",
        "demo",
    ] {
        assert!(commands.contains(&expected), "no {expected} in {commands:?}");
    }
    for command in commands {
        let help = place.ok(&[command, "--help"]);
        assert!(help.contains("Examples:\n  tombolo "), "{command}: {help}");
        assert!(help.contains("--json") && help.contains("--data-dir"), "{command}: {help}");
    }
    assert!(place.ok(&["--version"]).starts_with("tombolo "));
}

#[test]
fn an_invite_is_one_line_and_its_qr_code_fits_a_terminal() {
    let place = NodeDir::with_node("attic");
    let code = place.ok(&["invite"]);
    assert!(code.starts_with("fed1:") && code.lines().count() == 1, "{code}");
    for address in [
        &[][..],
        &["--addr", "192.168.1.20"],
        &["--addr", "192.168.1.20", "--addr", "fd00::20"],
        &["--addr", "fd00::20", "--addr", "fd00::21", "--addr", "192.168.1.20"],
    ] {
        let drawn = place.ok(&[&["invite", "--qr"], address].concat());
        assert!(drawn.lines().count() < 24, "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
        assert!(drawn.chars().all(|c| matches!(c, '█' | '▀' | '▄' | ' ' | '\n')));
    }
}

#[test]
fn no_colour_is_ever_written() {
    let place = NodeDir::with_node("attic");
    for arguments in [&["--help"][..], &["status"], &["ls"], &["peers"]] {
        assert!(!place.ok(arguments).contains('\x1b'));
    }
}
