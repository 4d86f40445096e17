//! Emulated radios of stock firmware, which the official clients accept (`transports/tests` shows that): two
//! daemons on each kind.

#[path = "../../transports/tests/emulated/air.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod air;
#[path = "../../transports/tests/emulated/meshcore.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod meshcore;
#[path = "../../transports/tests/emulated/meshtastic.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod meshtastic;

use super::parts::{LONG, RadioNode, in_step, join, quick, within};
use air::Air;
use meshcore::EmulatedMeshcore;
use meshtastic::EmulatedMeshtastic;

/// Two nodes on two radios join, share a document and show what their radio reports.
fn meet(kind: &str, urls: [String; 2]) {
    let [first, second] = urls;
    let attic = RadioNode::up("attic", "127.0.0.1:0", &first);
    let boat = RadioNode::up("boat", "[::1]:0", &second);
    join(&attic, &boat);
    attic.place.ok(&["create", "plan"]);
    attic.place.ok(&["set", "plan", "monday/watch", "Ada"]);
    let took = in_step(&attic, &boat);
    assert_eq!(boat.get("monday/watch").as_deref(), Some("Ada"));
    let airtime = attic.place.json(&["airtime"]);
    assert!(airtime[0]["rules"].as_str().unwrap().contains(": 10 % of any hour [ETSI"), "{airtime}");
    assert!(airtime[0]["used_last_hour_s"].as_f64() < airtime[0]["budget_hour_s"].as_f64(), "{airtime}");
    within("heard in links", LONG, || {
        let links = attic.place.json(&["links"]);
        links.as_array().unwrap().iter().any(|row| row["peer"] == "boat" && row["state"] == "heard")
    });
    println!("totals: two {kind} in step {:.1} s after joining", took.as_secs_f64());
}

#[test]
fn meshtastic_radios_report_their_region_and_preset_and_join_two_daemons() {
    if quick() {
        return;
    }
    let air = Air::new();
    let radios = [EmulatedMeshtastic::start("one", &air), EmulatedMeshtastic::start("two", &air)];
    meet("Meshtastic radios", radios.each_ref().map(|radio| format!("meshtastic+tcp://{}", radio.at)));
}

#[test]
fn meshcore_companions_need_a_region_and_join_two_daemons() {
    if quick() {
        return;
    }
    let air = Air::new();
    let radios = [EmulatedMeshcore::start("one", &air), EmulatedMeshcore::start("two", &air)];
    let url = |radio: &EmulatedMeshcore| format!("meshcore+tcp://{}?region=EU868", radio.at);
    meet("MeshCore companions", radios.each_ref().map(url));
}
