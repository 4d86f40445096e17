//! The pictures of README: a few nodes on this machine, two of them with emulated radios. Made by `scripts/screenshots`, which names
//! the folder; without it nothing is run.

#[path = "../../transports/tests/emulated/air.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod air;
#[path = "../../transports/tests/emulated/meshtastic.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod meshtastic;

use std::path::PathBuf;
use std::time::Duration;

use air::Air;
use meshtastic::EmulatedMeshtastic;
use serde_json::json;

use super::browser::Browser;
use super::harness::{Daemon, NodeDir, eventually};
use super::{TOKEN, node, node_with_page};

/// What runs on each node of the picture.
const APPS: [(&str, &str); 4] = [
    (
        "harbour",
        r#"[{"id":"home-assistant","status":"running","version":"2026.11","health":"healthy"},{"id":"frigate","status":"running","version":"0.17"},{"id":"grafana","status":"stopped"}]"#,
    ),
    (
        "lighthouse",
        r#"[{"id":"weewx","status":"running","version":"5.2"},{"id":"ais-catcher","status":"running","health":"unhealthy"}]"#,
    ),
    ("ferry", r#"[{"id":"signalk","status":"running","version":"2.19"}]"#),
    ("buoy", r#"[{"id":"tide-gauge","status":"running","version":"1.4"}]"#),
];

fn with_apps(place: NodeDir, name: &str) -> NodeDir {
    let file = place.folder.join("apps.json");
    let apps = APPS.iter().find(|(of, _)| *of == name).map_or("[]", |(_, apps)| apps);
    std::fs::write(&file, apps).unwrap();
    place.setting("apps_file = \"\"", &format!("apps_file = {}", json!(file)));
    place.setting("publish_every = \"60s\"", "publish_every = \"5s\"");
    place
}

fn join(inviter: &NodeDir, at: &Daemon, joiner: &NodeDir) {
    let code = inviter.ok(&["invite"]);
    joiner.ok(&["join", &code, "--addr", &at.address()]);
}

#[test]
fn pictures_for_the_readme() {
    let Some(folder) = std::env::var_os("TOMBOLO_SCREENSHOTS").map(PathBuf::from) else { return };
    let mut browser = Browser::start().expect("chromium is there");
    let air = Air::new();
    let radios = [EmulatedMeshtastic::start("one", &air), EmulatedMeshtastic::start("two", &air)];
    let urls = radios.each_ref().map(|radio| format!("meshtastic+tcp://{}", radio.at));
    let harbour = with_apps(node_with_page("harbour"), "harbour");
    let (lighthouse, ferry, buoy) = (
        with_apps(node("lighthouse"), "lighthouse"),
        with_apps(node("ferry"), "ferry"),
        with_apps(node("buoy"), "buoy"),
    );
    let harbour_up = harbour.up_with(&["--mesh", &urls[0]]);
    let lighthouse_up = lighthouse.up();
    let ferry_up = ferry.up();
    join(&harbour, &harbour_up, &lighthouse);
    join(&harbour, &harbour_up, &ferry);
    join(&lighthouse, &lighthouse_up, &ferry);
    let buoy_up = buoy.up_with(&["--mesh", &urls[1]]);
    join(&harbour, &harbour_up, &buoy);
    harbour.ok(&["create", "roster"]);
    for (key, value) in [("monday/watch", "Ada"), ("tuesday/watch", "Grace"), ("wednesday/watch", "Edith")] {
        harbour.ok(&["set", "roster", key, value]);
    }
    // The buoy leaves the LAN; its radio goes on.
    buoy_up.kill();
    let _buoy_up = buoy.up_with(&["--mesh", &urls[1], "--no-lan"]);
    eventually("the buoy is heard by radio", || {
        let status = harbour.json(&["status"]);
        let mut peers = status["peers"].as_array().unwrap().iter();
        peers.any(|peer| peer["name"] == "buoy" && peer["links"] == json!(["mesh"]))
    });
    let lighthouse_up = conflict(&harbour, &lighthouse, lighthouse_up);
    ferry_up.signal("-STOP");
    std::thread::sleep(Duration::from_secs(30));
    let page = format!("http://{}/", harbour_up.told()["page"].as_str().unwrap());
    browser.size(1180, 1000);
    browser.open(&page);
    browser.unlock(TOKEN);
    std::thread::sleep(Duration::from_secs(7));
    for (name, scheme, width, height) in
        [("light", "light", 1180, 1250), ("dark", "dark", 1180, 1250), ("phone", "light", 360, 1200)]
    {
        browser.scheme(scheme);
        browser.size(width, height);
        std::thread::sleep(Duration::from_secs(1));
        std::fs::write(folder.join(format!("page-{name}.png")), browser.picture(false)).unwrap();
        std::fs::write(folder.join(format!("whole-{name}.png")), browser.picture(true)).unwrap();
    }
    ferry_up.signal("-CONT");
    drop(lighthouse_up);
}

/// Two nodes write one key while they do not hear each other.
fn conflict(harbour: &NodeDir, lighthouse: &NodeDir, up: Daemon) -> Daemon {
    eventually("the roster is there", || lighthouse.run(&["get", "harbour/roster"]).status.success());
    assert_eq!(up.terminate(), Some(0));
    lighthouse.ok(&["set", "harbour/roster", "friday/watch", "Grace"]);
    harbour.ok(&["set", "roster", "friday/watch", "Ada"]);
    let up = lighthouse.up();
    eventually("both values are there", || !harbour.json(&["conflicts"]).as_array().unwrap().is_empty());
    up
}
