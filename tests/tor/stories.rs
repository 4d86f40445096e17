//! What goes wrong between two peers, and how long it takes until nothing is missing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::lanes::{Pair, seconds};
use super::node::{LONG, within};

/// A dead stream is noticed within a minute; this much more for a busy machine.
const NOTICED_MAX: Duration = Duration::from_secs(75);

/// The circuit under the link ends, as circuits do; nothing else changes.
pub(crate) fn circuit_closed(pair: &mut Pair<'_>) -> String {
    let mut closed = 0;
    for node in [&pair.attic, &pair.boat] {
        let mut controller = node.tor.controller();
        for circuit in node.tor.circuits() {
            controller.ask(&format!("CLOSECIRCUIT {circuit}"));
            closed += 1;
        }
    }
    assert!(closed >= 1, "no circuit carries the link");
    format!("in step {} after it", seconds(pair.in_step()))
}

pub(crate) fn tor_of_the_service_killed(pair: &mut Pair<'_>) -> String {
    pair.attic.tor.kill();
    let keys = pair.write();
    sleep(Duration::from_secs(5));
    pair.attic.tor.revive();
    format!("in step {} after it is back", seconds(pair.arrived(&keys)))
}

pub(crate) fn tor_of_the_client_killed(pair: &mut Pair<'_>) -> String {
    pair.boat.tor.kill();
    let keys = pair.write();
    // The boat's own daemon sees the end of its tor at once.
    let noticed = within("the boat sees that its link is gone", NOTICED_MAX, || !pair.boat.is_connected());
    pair.boat.tor.revive();
    format!("noticed after {}, in step {} after it is back", seconds(noticed), seconds(pair.arrived(&keys)))
}

/// A tor that neither answers nor closes anything, as where an uplink was lost or a machine sleeps: first one node's for a
/// minute, then the other's until the dead link was noticed.
pub(crate) fn tor_frozen(pair: &mut Pair<'_>) -> String {
    let mut outcomes = vec![];
    for (of_boat, at_least) in [(true, Duration::from_secs(60)), (false, Duration::ZERO)] {
        let frozen = Instant::now();
        let tor = if of_boat { pair.boat.tor } else { pair.attic.tor };
        tor.freeze();
        let keys = pair.write();
        let (here, away) = if of_boat { (&pair.boat, &pair.attic) } else { (&pair.attic, &pair.boat) };
        let at_peer = within("the peer sees that its link is dead", NOTICED_MAX, || !away.is_connected());
        within("the node sees that its link is dead", NOTICED_MAX, || !here.is_connected());
        sleep(at_least.saturating_sub(frozen.elapsed()));
        assert!(here.get(&keys[usize::from(!of_boat)]).is_none(), "nothing passes a frozen tor");
        tor.thaw();
        let healed = pair.arrived(&keys);
        outcomes.push(format!(
            "noticed after {}, in step {} after it goes on",
            seconds(at_peer),
            seconds(healed)
        ));
    }
    outcomes.join("; ")
}

pub(crate) fn daemon_killed(pair: &mut Pair<'_>) -> String {
    let mut healed = vec![];
    for at_attic in [true, false] {
        let keys = pair.write();
        let node = if at_attic { &mut pair.attic } else { &mut pair.boat };
        node.kill();
        sleep(Duration::from_secs(2));
        node.start();
        healed.push(seconds(pair.arrived(&keys)));
    }
    format!("in step {} after its start", healed.join(" and "))
}

/// Both start at the same moment and dial each other: one link is left, and it stays.
pub(crate) fn both_dial_at_once(pair: &mut Pair<'_>) -> String {
    pair.attic.kill();
    pair.boat.kill();
    let (attic, boat) = (&mut pair.attic, &mut pair.boat);
    std::thread::scope(|scope| {
        scope.spawn(|| attic.start());
        scope.spawn(|| boat.start());
    });
    let met = within("a link", LONG, || pair.attic.is_connected() && pair.boat.is_connected());
    let healed = pair.in_step();
    // Time enough for a second dial to end, and for the worse of two links: then one link is left, and it stays.
    let mut alone_since = Instant::now();
    within("one link at each end, for 8 s", LONG, || {
        if (pair.attic.links_up(), pair.boat.links_up()) != (1, 1) {
            alone_since = Instant::now();
        }
        alone_since.elapsed() > Duration::from_secs(8)
    });
    format!("one link after {}, in step {} later", seconds(met), seconds(healed))
}
