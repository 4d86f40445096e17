//! Watches, alarms and messages to the operator through the binary: real nodes on loopback, the operator's program, an HTTP
//! server of the test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::{Daemon, NodeDir, PATIENCE, eventually};

/// A program of the operator: it notes its arguments, then waits as long as `hold` is there.
fn notifies_by_command(place: &NodeDir) -> PathBuf {
    let notes = place.folder.join("notes");
    let script = place.folder.join("notify.sh");
    let text = format!(
        "#!/bin/sh\nprintf '%s|%s|%s\\n' \"$1\" \"$2\" \"$3\" >> '{0}/notes'\nwhile [ -e '{0}/hold' ]; do sleep 0.05; done\n",
        place.folder.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = format!(
        "\ncommand = [\"{}\", \"{{kind}}\", \"{{id}}\", \"{{title}}\"]\n\n# An HTTP",
        script.display()
    );
    place.setting("\ncommand = []\n\n# An HTTP", &command);
    notes
}

fn notes(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A node whose app `web` does not run: a watch on it raises an alarm without another node.
fn with_a_stopped_app(name: &str) -> NodeDir {
    let place = NodeDir::with_node(name);
    let apps = place.folder.join("apps.json");
    std::fs::write(&apps, "[{\"id\": \"web\", \"status\": \"stopped\"}]").unwrap();
    place.setting("apps_file = \"\"", &format!("apps_file = \"{}\"", apps.display()));
    place.setting("apps_every = \"10s\"", "apps_every = \"1s\"");
    place
}

fn alarms(place: &NodeDir) -> Vec<Value> {
    place.json(&["alarms"]).as_array().unwrap().clone()
}

/// The state of the first message of the first alarm.
fn message_state(place: &NodeDir) -> String {
    let alarms = alarms(place);
    let state = alarms.first().and_then(|alarm| alarm.pointer("/messages/0/state")).and_then(Value::as_str);
    state.unwrap_or_default().to_owned()
}

fn joined(a: &NodeDir, a_up: &Daemon, b: &NodeDir) {
    b.ok(&["join", &a.ok(&["invite"]), "--addr", &a_up.address()]);
    eventually("a link", || a.json(&["peers"])[0]["connected"] == true);
}

/// A daemon is killed as by a power cut. The other one has its operator notified once, not before the time that the dead one
/// had named; a crash of the watcher neither loses nor repeats that.
#[test]
fn a_dead_peer_is_one_message() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let sent = notifies_by_command(&attic);
    boat.setting("heartbeat = \"15s\"", "heartbeat = \"2s\"");
    let (attic_up, boat_up) = (attic.up(), boat.up());
    joined(&attic, &attic_up, &boat);
    let added = attic.json(&["watch-for", "add", "boat"]);
    assert_eq!((added[0]["silent"].as_bool(), added[0]["back"].as_bool()), (Some(true), Some(true)));
    // It is heard for longer than its time: no alarm.
    std::thread::sleep(Duration::from_secs(5));
    assert!(alarms(&attic).is_empty() && notes(&sent).is_empty());
    boat_up.kill();
    eventually("the operator is notified", || !notes(&sent).is_empty());
    eventually("the node knows that it arrived", || message_state(&attic) == "sent");
    let alarm = alarms(&attic)[0].clone();
    let id = alarm["id"].as_str().unwrap();
    assert_eq!(notes(&sent), [format!("silent|{id}|boat is silent")]);
    assert_eq!((alarm["open"].as_bool(), alarm["did"].as_str()), (Some(true), Some(boat.did().as_str())));
    let heard_at = attic.json(&["peers"])[0]["heard_at"].as_str().unwrap().to_owned();
    let seconds = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp();
    let waited = seconds(alarm["raised_at"].as_str().unwrap()) - seconds(&heard_at);
    assert!(waited >= 2, "raised {waited} s after it was heard, before its next time");
    attic_up.kill();
    let _attic_up = attic.up();
    eventually("the alarm stands after the crash", || alarms(&attic)[0]["open"] == true);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(notes(&sent).len(), 1);
    let shown = attic.ok(&["alarms"]);
    assert!(shown.contains("boat is silent") && shown.contains("message sent by your program"), "{shown}");
}

/// The process is killed between taken and sent: the message may have arrived, and is not sent again.
#[test]
fn a_message_that_was_taken_when_the_node_was_killed_is_not_repeated() {
    let place = with_a_stopped_app("attic");
    let sent = notifies_by_command(&place);
    std::fs::write(place.folder.join("hold"), "").unwrap();
    place.ok(&["watch-for", "add", "attic", "--app", "web"]);
    let up = place.up();
    eventually("the program runs", || notes(&sent).len() == 1);
    assert_eq!(message_state(&place), "taken");
    up.kill();
    std::fs::remove_file(place.folder.join("hold")).unwrap();
    let _up = place.up();
    eventually("its outcome is unknown", || message_state(&place) == "unknown");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(notes(&sent).len(), 1);
    assert!(place.ok(&["alarms"]).contains("may have arrived, and is not sent again"));
}

/// Killed before taken: a message that waits for the end of the quiet hours is sent by the next process, once.
#[test]
fn a_message_that_waits_in_quiet_hours_survives_a_kill() {
    let place = with_a_stopped_app("attic");
    let sent = notifies_by_command(&place);
    let hour = chrono::Local::now().format("%H").to_string().parse::<u32>().unwrap();
    let quiet = format!("quiet = \"{:02}:00-{:02}:00\"", (hour + 23) % 24, (hour + 3) % 24);
    place.setting("quiet = \"\"", &quiet);
    place.ok(&["watch-for", "add", "attic", "--app", "web"]);
    let up = place.up();
    eventually("the alarm", || message_state(&place) == "waiting");
    std::thread::sleep(Duration::from_secs(1));
    assert!(notes(&sent).is_empty(), "it is quiet");
    up.kill();
    // A command without a daemon opens the store, and leaves the message alone.
    assert_eq!(message_state(&place), "waiting");
    place.setting(&quiet, "quiet = \"\"");
    let up = place.up();
    eventually("it is sent", || message_state(&place) == "sent");
    up.terminate();
    let up = place.up();
    assert_eq!(notes(&sent).len(), 1);
    up.terminate();
    // What is urgent does not wait.
    let place = with_a_stopped_app("attic");
    let sent = notifies_by_command(&place);
    place.setting("quiet = \"\"", &quiet);
    place.setting("urgent = [\"key_twice\"]", "urgent = [\"app_stopped\"]");
    place.ok(&["watch-for", "add", "attic", "--app", "web"]);
    let _up = place.up();
    eventually("it goes at once", || notes(&sent).len() == 1);
}

/// Acknowledged on one node, shown on the other, and no message goes out any more.
#[test]
fn an_acknowledgement_reaches_the_other_node() {
    let (attic, boat) = (with_a_stopped_app("attic"), NodeDir::with_node("boat"));
    notifies_by_command(&attic);
    let hour = chrono::Local::now().format("%H").to_string().parse::<u32>().unwrap();
    attic.setting(
        "quiet = \"\"",
        &format!("quiet = \"{:02}:00-{:02}:00\"", (hour + 23) % 24, (hour + 3) % 24),
    );
    let (attic_up, _boat_up) = (attic.up(), boat.up());
    joined(&attic, &attic_up, &boat);
    attic.ok(&["watch-for", "add", "attic", "--app", "web"]);
    eventually("the boat shows it", || alarms(&boat).len() == 1);
    let shown = alarms(&boat)[0].clone();
    assert_eq!((shown["kind"].as_str(), shown["app"].as_str()), (Some("app_stopped"), Some("web")));
    assert_eq!(shown["reported_by"][0], "attic");
    let words = boat.ok(&["alarms", "ack", &shown["id"].as_str().unwrap()[..8]]);
    assert!(words.contains("acknowledged by boat"), "{words}");
    eventually("the attic shows it", || alarms(&attic)[0]["acknowledged_by"][0] == "boat");
    eventually("its message is dropped", || message_state(&attic) == "dropped");
    assert_eq!(boat.error_code(&["alarms", "ack", "ffff"]), "unknown_alarm");
}

/// Two nodes that notify the same person send one message.
#[test]
fn two_nodes_of_one_operator_send_one_message() {
    let (attic, boat) = (with_a_stopped_app("attic"), NodeDir::with_node("boat"));
    let (of_attic, of_boat) = (notifies_by_command(&attic), notifies_by_command(&boat));
    for place in [&attic, &boat] {
        place.setting("operator = \"\"", "operator = \"ada\"");
    }
    let (attic_up, _boat_up) = (attic.up(), boat.up());
    joined(&attic, &attic_up, &boat);
    attic.ok(&["watch-for", "add", "attic", "--app", "web"]);
    let count = || notes(&of_attic).len() + notes(&of_boat).len();
    eventually("a message", || count() > 0);
    let is_shown = |place: &NodeDir| {
        let alarms = alarms(place);
        let by_other = alarms[0]["notified_by"].as_array().is_some_and(|nodes| !nodes.is_empty());
        by_other || alarms[0]["messages"][0]["state"] == "sent"
    };
    eventually("both know that it was sent", || is_shown(&attic) && is_shown(&boat));
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(count(), 1);
}

/// An address that answers each request with a status, and hands out what it got.
fn server(status: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/alarms", listener.local_addr().unwrap());
    let (requests, got) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            let text = loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                bytes.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let length =
                    text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                if count == 0 || (body.is_some() && body >= length) {
                    break text;
                }
            };
            let _ =
                stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello").as_bytes());
            if requests.send(text).is_err() {
                return;
            }
        }
    });
    (address, got)
}

#[test]
fn an_address_gets_one_post_in_either_format() {
    for format in ["ntfy", "json"] {
        let (address, got) = server("200 OK");
        let place = with_a_stopped_app("attic");
        place.setting("url = \"\"", &format!("url = \"{address}\""));
        place.setting("format = \"ntfy\"", &format!("format = \"{format}\""));
        place.ok(&["watch-for", "add", "attic", "--app", "web"]);
        let _up = place.up();
        let post = got.recv_timeout(PATIENCE).unwrap();
        assert!(post.starts_with("POST /alarms HTTP/1.1\r\n"), "{post}");
        let (head, body) = post.split_once("\r\n\r\n").unwrap();
        if format == "ntfy" {
            assert!(head.contains("title: web on attic does not run\r\n"), "{head}");
            assert!(head.contains("priority: 4\r\n") && head.contains("tags: warning\r\n"), "{head}");
            assert!(body.starts_with("web on attic does not run. Reported by attic, "), "{body}");
        } else {
            let json: Value = serde_json::from_str(body).unwrap();
            assert_eq!((json["kind"].as_str(), json["app"].as_str()), (Some("app_stopped"), Some("web")));
            assert_eq!(json["id"].as_str(), alarms(&place)[0]["id"].as_str());
        }
        eventually("it has arrived", || message_state(&place) == "sent");
        assert!(got.recv_timeout(Duration::from_secs(2)).is_err(), "a second post");
    }
}

/// A server that is busy gets it again; one that refuses does not.
#[test]
fn a_message_that_was_not_taken_is_tried_again_and_one_that_was_refused_is_not() {
    let (address, got) = server("503 Busy");
    let place = with_a_stopped_app("attic");
    place.setting("url = \"\"", &format!("url = \"{address}\""));
    place.ok(&["watch-for", "add", "attic", "--app", "web"]);
    let up = place.up();
    got.recv_timeout(PATIENCE).unwrap();
    let first = Instant::now();
    got.recv_timeout(PATIENCE).unwrap();
    assert!(first.elapsed() >= Duration::from_secs(4), "it waits before it tries again");
    assert!(alarms(&place)[0]["messages"][0]["why"].as_str().unwrap().contains("503"));
    up.terminate();
    let (address, got) = server("403 Forbidden");
    let place = with_a_stopped_app("attic");
    place.setting("url = \"\"", &format!("url = \"{address}\""));
    place.ok(&["watch-for", "add", "attic", "--app", "web"]);
    let _up = place.up();
    got.recv_timeout(PATIENCE).unwrap();
    eventually("it has failed", || message_state(&place) == "failed");
    assert!(got.recv_timeout(Duration::from_secs(7)).is_err(), "it was refused for good");
}

#[test]
fn a_test_message_shows_what_the_address_answers() {
    let place = NodeDir::with_node("attic");
    assert_eq!(place.error_code(&["notify", "test"]), "no_notify");
    let (address, got) = server("200 OK");
    place.setting("url = \"\"", &format!("url = \"{address}\""));
    let sent = notifies_by_command(&place);
    let json = place.json(&["notify", "test"]);
    assert_eq!((json[0]["channel"].as_str(), json[0]["state"].as_str()), (Some("command"), Some("sent")));
    assert_eq!(
        (json[1]["channel"].as_str(), json[1]["answer"].as_str()),
        (Some("url"), Some("200 OK hello"))
    );
    assert_eq!(notes(&sent), ["test|0000000000000000|attic: a test"]);
    // doctor finds both ways open, and sends nothing.
    let doctor: Value = serde_json::from_slice(&place.run(&["doctor", "--json"]).stdout).unwrap();
    let checks = doctor["checks"].as_array().unwrap().iter().filter(|it| it["check"] == "notify");
    let verdicts: Vec<_> = checks.map(|it| it["verdict"].as_str().unwrap()).collect();
    assert_eq!((verdicts, notes(&sent).len()), (vec!["ok", "ok"], 1));
    assert!(got.recv_timeout(PATIENCE).unwrap().contains("title: attic: a test\r\n"));
    let (refusing, _got) = server("404 Not Found");
    place.setting(&address, &refusing);
    let output = place.run(&["notify", "test"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        shown.contains("404 Not Found") && shown.contains("the program has taken the message"),
        "{shown}"
    );
}

#[test]
fn watches_are_added_listed_and_removed() {
    let place = NodeDir::with_node("attic");
    assert!(place.ok(&["watch-for", "list"]).contains("watch-for add"));
    place.ok(&["watch-for", "add", "attic", "--disk-above", "90", "--app", "web", "--app", "db"]);
    let settings = place.folder.join("tombolo.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}\n[[watch]]\npeer = \"hut\"\n")).unwrap();
    let listed = place.ok(&["watch-for", "list"]);
    for line in [
        "c1  hut: silent, back  (tombolo.toml)",
        "no peer is called `hut`",
        "1  attic: app web, app db, disk above 90 %",
    ] {
        assert!(listed.contains(line), "{line} in {listed}");
    }
    assert_eq!(place.error_code(&["watch-for", "remove", "c1"]), "watch_in_settings");
    assert_eq!(place.error_code(&["watch-for", "remove", "7"]), "unknown_watch");
    assert_eq!(place.error_code(&["watch-for", "add", "hut"]), "unknown_peer");
    assert_eq!(place.run(&["watch-for", "add", "attic", "--disk-above", "100"]).status.code(), Some(2));
    assert!(place.ok(&["watch-for", "remove", "1"]).contains("no longer watched"));
    assert_eq!(place.json(&["watch-for", "list"]).as_array().unwrap().len(), 1);
    std::fs::write(&settings, format!("{text}\n[[watch]]\npeer = \"hut\"\ndisk_above = 100\n")).unwrap();
    let error = place.fails(1, &["watch-for", "list"]);
    assert!(error.contains("99 per cent"), "{error}");
}
