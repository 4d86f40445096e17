//! A clock that the kernel counts as synchronised beside three trusted peers whose clocks are a year ahead.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Daemon, NodeDir, eventually};

/// Answers adjtimex(2) for one process: what the kernel counts is that of the whole machine, and is not a test's to change.
const KERNEL: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

int adjtimex(struct timex *reading) {
    FILE *told = fopen(getenv("KERNEL_CLOCK"), "r");
    if (!told) {
        errno = EPERM;
        return -1;
    }
    int is_synchronised = fgetc(told) == '1';
    fclose(told);
    memset(reading, 0, sizeof *reading);
    reading->maxerror = is_synchronised ? 250000 : 16000000;
    return is_synchronised ? TIME_OK : TIME_ERROR;
}
"#;

#[test]
fn three_trusted_peers_do_not_outvote_a_clock_that_the_kernel_counts_as_synchronised() {
    let Some(faketime) = faketime() else {
        return println!("SKIPPED: needs faketime (apt install faketime)");
    };
    let outer = tempfile::tempdir().unwrap();
    let Some(kernel) = kernel(outer.path()) else { return println!("SKIPPED: needs cc (apt install gcc)") };
    let told = outer.path().join("told");
    let tell = |synchronised: bool| std::fs::write(&told, if synchronised { "1" } else { "0" }).unwrap();
    tell(false);

    let attic = NodeDir::with_node("attic");
    let environment = [("LD_PRELOAD", text(&kernel)), ("KERNEL_CLOCK", text(&told))];
    let up = attic.up_in(&environment, &[]);
    attic.ok(&["create", "plan"]);
    let liars: Vec<NodeDir> = ["boat", "hut", "tower"].map(NodeDir::with_node).into();
    let ahead =
        [("LD_PRELOAD", text(&faketime)), ("FAKETIME", "+365d"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let _liars_up: Vec<Daemon> = liars.iter().map(|liar| liar.up_in(&ahead, &[])).collect();
    for liar in &liars {
        liar.ok(&["join", &attic.ok(&["invite"]), "--addr", &up.address()]);
    }
    // (source of time, codes of alarms)
    let clock = || {
        let status = attic.json(&["status"]);
        let is_clock = |code: &&Value| code.as_str().unwrap().contains("clock");
        let codes: Vec<Value> =
            status["alarm_codes"].as_array().unwrap().iter().filter(is_clock).cloned().collect();
        json!([status["time_source"], codes])
    };
    eventually("outvoted", || clock() == json!(["median", ["clock_differs"]]));

    tell(true);
    eventually("the kernel is believed", || clock() == json!(["own", ["peers_clocks_differ"]]));
    let status = attic.ok(&["status"]);
    assert!(status.contains("the kernel counts as synchronised"), "{status}");
    attic.ok(&["set", "plan", "watch", "Ada"]);
    let year = |json: &Value| json["time"].as_str().unwrap()[..4].parse::<u32>().unwrap();
    let true_year = year(&attic.json(&["status"]));
    assert!(year(&liars[0].json(&["status"])) > true_year);

    // It is so from the start, before any peer has sent its clock, and ends with what the kernel counts.
    assert_eq!(up.terminate(), Some(0));
    let up = attic.up_in(&environment, &[]);
    assert_eq!(clock()[0], "own");
    assert_eq!(attic.ok(&["get", "plan", "watch"]).trim(), "Ada");
    tell(false);
    eventually("outvoted again", || clock() == json!(["median", ["clock_differs"]]));

    // Where the kernel shows this process nothing, as in a sandbox, a program that may ask it is believed.
    assert_eq!(up.terminate(), Some(0));
    std::fs::remove_file(&told).unwrap();
    let programs = outer.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let timedatectl = programs.join("timedatectl");
    std::fs::write(
        &timedatectl,
        "#!/bin/sh\n[ \"$*\" = 'show --property=NTPSynchronized --value' ] && echo yes\n",
    )
    .unwrap();
    std::fs::set_permissions(&timedatectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", text(&programs));
    let _up = attic.up_in(&[environment[0], environment[1], ("PATH", &path)], &[]);
    eventually("the program is believed", || clock() == json!(["own", ["peers_clocks_differ"]]));
}

/// The library that gives a process another clock, where Debian's package has it.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

fn kernel(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("kernel.c"), folder.join("kernel.so"));
    std::fs::write(&source, KERNEL).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    made.is_ok_and(|made| made.success()).then_some(library)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
