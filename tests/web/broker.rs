//! The bridge at a real broker: what Home Assistant finds there, and what it finds when a peer is silent, removed, or the node is gone.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::harness::eventually;
use super::{has, node};

/// A mosquitto on a free port of this machine, and all that is published there.
struct Broker {
    port: u16,
    children: Vec<Child>,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Broker {
    fn start() -> Option<Self> {
        if !has("mosquitto", "mosquitto") || !has("mosquitto_sub", "mosquitto-clients") {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut broker = Broker { port, children: Vec::new(), seen: Arc::default() };
        let mut daemon = Command::new("/usr/sbin/mosquitto");
        // Without a file of settings it listens on loopback, and takes all.
        daemon
            .args(["-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        broker.children.push(daemon.spawn().unwrap());
        eventually("the broker listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mut all = Command::new("mosquitto_sub");
        all.args(["-p", &port.to_string(), "-t", "#", "-F", "%t %p"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut all = all.spawn().unwrap();
        let (lines, seen) = (BufReader::new(all.stdout.take().unwrap()), broker.seen.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
                seen.lock().unwrap().push((topic.to_owned(), payload.to_owned()));
            }
        });
        broker.children.push(all);
        Some(broker)
    }

    /// The last payload on a topic that this holds for.
    fn last(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().rev().find(|(topic, _)| is_it(topic)).map(|(_, payload)| payload.clone())
    }

    /// The device with a name, as Home Assistant would find it.
    fn device(&self, name: &str) -> Option<Value> {
        let seen = self.seen.lock().unwrap();
        let configs = seen.iter().rev().filter(|(topic, _)| topic.ends_with("/config"));
        let mut devices = configs.filter_map(|(_, payload)| serde_json::from_str::<Value>(payload).ok());
        devices.find(|device| device["dev"]["name"] == name)
    }

    fn value(&self, topic: &Value) -> Option<Value> {
        let topic = topic.as_str()?;
        serde_json::from_str(&self.last(|other| other == topic)?).ok()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn each_peer_is_a_device_at_the_broker_until_it_is_removed() {
    let Some(broker) = Broker::start() else { return };
    let (attic, boat) = (node("attic"), node("boat"));
    attic.setting("broker = \"\"", &format!("broker = \"127.0.0.1:{}\"", broker.port));
    attic.setting("every = \"30s\"", "every = \"1s\"");
    let apps = boat.folder.join("apps.json");
    std::fs::write(&apps, json!([{ "id": "web \"1\"/#+", "status": "running" }]).to_string()).unwrap();
    boat.setting("apps_file = \"\"", &format!("apps_file = {}", json!(apps)));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);

    eventually("the boat is a device with figures", || {
        let Some(device) = broker.device("boat") else { return false };
        let parts = device["cmps"].as_object().unwrap();
        let app = parts.values().find(|part| part["device_class"] == "running");
        let Some((cpu, app)) = parts.get("cpu").zip(app) else { return false };
        assert!(cpu["expire_after"].as_u64() > Some(60) && app["name"] == "web \"1\"/#+", "{device}");
        assert!(device["dev"]["via_device"].is_string() && device["o"]["name"] == "Tombolo", "{device}");
        let presence = broker.value(&device["state_topic"]);
        let figures = broker.value(&cpu["state_topic"]);
        presence.is_some_and(|it| it["connected"] == "ON") && figures.is_some_and(|it| it["cpu"].is_number())
    });
    let device = broker.device("boat").unwrap();
    let online = |broker: &Broker| broker.last(|topic| topic.ends_with("/bridge"));
    assert_eq!(online(&broker).as_deref(), Some("online"));

    boat_up.signal("-STOP");
    eventually("the boat is off at its next by", || {
        broker
            .value(&device["state_topic"])
            .is_some_and(|it| it["connected"] == "OFF" && it["why"].is_string())
    });
    boat_up.signal("-CONT");
    attic.ok(&["remove", "boat"]);
    let config = format!("homeassistant/device/{}/config", device["dev"]["ids"][0].as_str().unwrap());
    eventually("its device is gone", || broker.last(|topic| topic == config).as_deref() == Some(""));
    attic_up.kill();
    eventually("the broker shows the bridge as gone", || online(&broker).as_deref() == Some("offline"));
}
