//! The built program on a real, private Tor network: daemons that share nothing else. Each tor is killed, frozen and
//! revived while both sides write.
//!
//! As root it runs in a network namespace of its own, where tcpdump takes all that passes; at the end that is searched for secrets.
//!
//! Needs Linux, tor and python3; without them the test prints `SKIPPED: needs …`. The network takes about 25 s to start, so one
//! test has all stories. They run on three lanes at once, each a pair of nodes with a pair of tors of its own.
//! `TOMBOLO_TOR_STORY=frozen` runs only the stories whose name has this in it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and reads clocks"
)]
#![cfg(target_os = "linux")]

mod calls;
mod capture;
#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod harness;
#[path = "../cli/installer.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod installer;
mod lanes;
mod network;
mod node;
#[path = "../../transports/tests/scripted/mod.rs"]
mod scripted;
mod secrets;
mod stories;
mod strangers;

use capture::Capture;
use lanes::Lane;
use network::TorNetwork;

#[test]
fn two_daemons_that_share_only_tor_heal_after_every_fault() {
    if capture::ran_in_a_namespace("two_daemons_that_share_only_tor_heal_after_every_fault") {
        return;
    }
    let lanes = [
        Lane {
            name: "kills",
            tors: [1, 2],
            stories: &[
                ("a circuit is closed", stories::circuit_closed),
                ("the service's tor is killed and revived", stories::tor_of_the_service_killed),
                ("the client's tor is killed and revived", stories::tor_of_the_client_killed),
                ("a daemon is killed and restarted", stories::daemon_killed),
                ("planted secrets", secrets::planted_and_found_nowhere),
            ],
        },
        Lane {
            name: "frost",
            tors: [3, 4],
            stories: &[
                ("a tor is frozen for a minute", stories::tor_frozen),
                ("both dial at once", stories::both_dial_at_once),
                ("planted secrets", secrets::planted_and_found_nowhere),
            ],
        },
        Lane {
            name: "strangers",
            tors: [5, 6],
            stories: &[
                ("a stranger knows the address", strangers::knows_the_address),
                ("a wrong onion address", strangers::wrong_address),
                ("a stranger has a code with a wrong token", strangers::wrong_token),
                ("states and deploys", calls::states_and_deploys),
                ("a captured call is sent again", calls::captured_call),
                ("planted secrets", secrets::planted_and_found_nowhere),
            ],
        },
    ];
    // Alone, since all others' circuits are in its reach.
    let last = [Lane {
        name: "relay",
        tors: [1, 2],
        stories: &[
            ("a relay is killed", calls::relay_killed),
            ("planted secrets", secrets::planted_and_found_nowhere),
        ],
    }];
    let capture = Capture::start();
    // One tor more, for strangers.
    let Some(network) = TorNetwork::start(7) else { return };
    network.check();
    lanes::run(&network, &lanes);
    lanes::run(&network, &last);
    if let Some(capture) = capture {
        println!("totals: tor: {}", secrets::in_no_stream(&network, &capture.end()));
    }
}
