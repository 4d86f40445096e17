//! The service manager: it learns that the node is up, goes on answering, and ends. The unit that ships stays closed.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use super::harness::{NodeDir, PATIENCE, wait};

/// A stand-in for systemd's socket: what the daemon sends is what `Type=notify` and `WatchdogSec=` wait for.
#[test]
fn the_service_manager_is_kept_informed() {
    let place = NodeDir::with_node("attic");
    let socket_path = place.folder.join("notify");
    let socket = UnixDatagram::bind(&socket_path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive = || {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let mut command = place.command(&["up"]);
    command.env("NOTIFY_SOCKET", &socket_path).env("WATCHDOG_USEC", "300000");
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    assert!(receive().contains("READY=1"));
    assert!(receive().contains("WATCHDOG=1") && receive().contains("WATCHDOG=1"));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    while !receive().contains("STOPPING=1") {}
    assert!(wait(&mut child).success());
}

/// `scripts/unit-check` holds the unit's exposure at 2.0 at most.
#[test]
fn the_unit_reads_well_and_is_closed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("SKIPPED: needs systemd-analyze (apt install systemd)");
        return;
    }
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/unit-check")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    println!("totals: {}", text.trim());
}
