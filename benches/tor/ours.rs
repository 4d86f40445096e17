//! Two daemons.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::network::TorNetwork;
use super::node::{LONG, TorNode};
use super::tap::Tap;
use super::{Figures, TorArguments, median};

/// After this the exchange that follows a write is over.
const QUIET: Duration = Duration::from_secs(5);

/// The figures, and a node's state as JSON, for those that only ask for it.
pub(crate) fn measure(network: &TorNetwork, arguments: &TorArguments) -> (Figures, String) {
    let taps = [Tap::before(network.tor(1).socks()), Tap::before(network.tor(2).socks())];
    let mut attic = TorNode::new("attic", network.tor(1));
    let mut boat = TorNode::new("boat", network.tor(2));
    for (node, tap) in [(&mut attic, &taps[0]), (&mut boat, &taps[1])] {
        node.place.setting("log = \"debug,tombolo=trace,tombolo_transports=trace\"", "log = \"warn\"");
        node.socks = tap.at();
        node.start();
    }
    let bytes = || taps.iter().map(Tap::bytes).sum::<u64>();
    let code = attic.place.ok(&["invite"]);
    boat.place.ok(&["join", &code, "--timeout", &format!("{}s", LONG.as_secs())]);
    attic.place.ok(&["create", "plan"]);
    seconds_until(|| boat.place.hash("plan").is_some());
    sleep(QUIET);

    let (mut first, mut healed, mut changed, mut change_bytes) = (vec![], vec![], vec![], vec![]);
    for round in 0..arguments.rounds {
        attic.kill();
        boat.kill();
        std::thread::scope(|scope| {
            scope.spawn(|| attic.start());
            scope.spawn(|| boat.start());
        });
        let published = |node: &TorNode<'_>| {
            let status = node.place.json(&["status"]);
            status["tor"]["service"].as_str().is_some_and(|service| service.starts_with("published"))
        };
        seconds_until(|| published(&attic) && published(&boat));
        first.push(seconds_until(|| attic.is_connected() && boat.is_connected()));
        sleep(QUIET);

        for node in [&attic, &boat] {
            let mut controller = node.tor.controller();
            node.tor
                .circuits()
                .iter()
                .for_each(|circuit| drop(controller.ask(&format!("CLOSECIRCUIT {circuit}"))));
        }
        healed.push(delivered(&attic, &boat, &format!("killed/{round}")));
        sleep(QUIET);
        let before = bytes();
        changed.push(delivered(&attic, &boat, &format!("calm/{round}")));
        sleep(QUIET);
        change_bytes.push((bytes() - before) as f64);
    }
    let hour = |seconds: u64, bytes: u64| bytes as f64 * 3600.0 / seconds as f64;
    let idle = |seconds| {
        let before = bytes();
        sleep(Duration::from_secs(seconds));
        hour(seconds, bytes() - before)
    };
    let idle_hour_bytes = idle(arguments.idle);
    // What an idle link would have had in that time is not the change's.
    let quiet = idle_hour_bytes * QUIET.as_secs_f64() / 3600.0;
    for node in [&mut attic, &mut boat] {
        node.kill();
        node.place.setting("publish_every = \"1h\"", "publish_every = \"60s\"");
        node.start();
    }
    seconds_until(|| attic.is_connected() && boat.is_connected());
    sleep(QUIET);
    // Whole minutes: each has one state of each node.
    let state_a_minute_hour_bytes = idle(arguments.idle.div_ceil(60) * 60);
    let figures = Figures {
        first_session_s: median(first),
        after_killed_circuit_s: median(healed),
        change_s: median(changed),
        change_bytes: (median(change_bytes) - quiet).max(0.0),
        idle_hour_bytes,
        state_a_minute_hour_bytes,
    };
    (figures, attic.place.ok(&["state", "--json"]))
}

/// Seconds from a write at one until the other reads it.
fn delivered(from: &TorNode<'_>, to: &TorNode<'_>, key: &str) -> f64 {
    from.set(key, "1");
    seconds_until(|| to.get(key).is_some())
}

pub(crate) fn seconds_until(holds: impl Fn() -> bool) -> f64 {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "nothing for {LONG:?}");
        sleep(Duration::from_millis(10));
    }
    begun.elapsed().as_secs_f64()
}
