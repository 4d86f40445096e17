//! Radios on the command line: wrong settings are refused at once; an absent radio is shown and waited for.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use super::harness::{NodeDir, eventually};

/// Something that takes what a TNC takes and keeps it.
struct FakeTnc {
    port: u16,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl FakeTnc {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = bytes.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut buffer = [0; 2048];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
            }
        });
        FakeTnc { port, bytes }
    }

    fn url(&self, options: &str) -> String {
        format!("kiss+tcp://127.0.0.1:{}{options}", self.port)
    }

    /// Frames for the antenna: KISS frames of kind 0.
    fn frames(&self) -> usize {
        let bytes = self.bytes.lock().unwrap();
        bytes.split(|byte| *byte == 0xC0).filter(|frame| frame.len() > 1 && frame[0] & 0x0F == 0).count()
    }
}

/// A port on which no process listens.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_wrong_radio_is_refused_with_the_reason() {
    let place = NodeDir::with_node("attic");
    for (url, part) in [
        ("localhost:8001", "a radio is named like kiss+tcp://localhost:8001"),
        ("http://localhost", "\"http\" is no radio"),
        ("kiss+tcp://localhost:99999", "\"99999\" is no port number"),
        ("kiss+tcp://localhost?tx_delay=3", "has no option \"tx_delay\""),
        ("kiss+tcp://localhost?region=EU869", "unknown region \"EU869\""),
        ("kiss+tcp://localhost?preset=LongFats", "unknown radio setting \"LongFats\""),
        ("kiss+tcp://localhost?region=EU868", "set `bitrate`"),
        ("kiss+tcp://localhost?region=amateur", "call sign"),
        ("meshtastic+tcp://localhost?hops=8", "hops=8 is not a number from 0 to 7"),
        ("kiss+serial://ttyUSB0", "the path of a serial port"),
        (
            "kiss+tcp://localhost?frequency=868",
            "modem, mtu, preset, bitrate, region, mode, frequency_hz, hopping, call_sign",
        ),
        ("kiss+tcp://localhost?region=amateur&call=N0CALL&mode=encrypted", "nothing may be obscured"),
        ("kiss+tcp://localhost?sign_every=0", "`sign_every` 0 is not between 1 and 256"),
    ] {
        let error = place.fails(2, &["up", "--mesh", url]);
        assert!(error.contains(part), "{url}: {error}");
    }
    let twice = ["up", "--mesh", "kiss+tcp://localhost", "--mesh", "kiss+tcp://localhost:8001?region=wired"];
    assert!(place.fails(2, &twice).contains("kiss+tcp://localhost:8001 is there twice"));
    let error = place.fails(2, &["up", "--mesh", "http://localhost", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["code"], "usage");
}

/// Each radio that README and docs name is one: only the node is missing in an empty place.
#[test]
fn the_radios_of_the_pages_are_understood() {
    let place = NodeDir::empty();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for page in ["README.md", "docs/radio.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        for rest in text.split("--mesh ").skip(1) {
            let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
            let end = |c: char| quote.map_or(c.is_whitespace(), |quote| c == quote);
            let url = rest.trim_start_matches(['\'', '"']).split(end).next().unwrap();
            if !url.contains("://") {
                continue;
            }
            let url = url.replace("$KISS_A", "localhost:8001").replace("$KISS_B", "localhost:8002");
            let error = place.fails(1, &["up", "--mesh", &url]);
            assert!(error.contains("no node lives"), "{page}: {url}: {error}");
            count += 1;
        }
    }
    assert!(count >= 5, "{count} radios on the pages");
}

#[test]
fn a_wrong_radio_in_the_settings_is_named_with_its_line() {
    let place = NodeDir::with_node("attic");
    let path = place.folder.join("tombolo.toml");
    let settings = std::fs::read_to_string(&path).unwrap();
    let first = settings.lines().count() + 1;
    let with = |radio: &str| std::fs::write(&path, format!("{settings}[[radio]]\n{radio}\n")).unwrap();
    with("url = \"kiss+tcp://localhost\"\nmode = \"loud\"");
    let error = place.fails(1, &["up"]);
    assert!(error.contains(&format!("line {}: `mode` \"loud\" is not", first + 2)), "{error}");
    with(
        "url = \"kiss+tcp://localhost\"\nregion = \"amateur\"\ncall_sign = \"N0CALL\"\nmode = \"encrypted\"",
    );
    let error = place.fails(1, &["up"]);
    assert!(error.contains(&format!("line {first}")) && error.contains("signed-clear"), "{error}");
    assert_eq!(place.error_code(&["up"]), "bad_settings");
}

#[test]
fn an_absent_tnc_is_reported_and_waited_for() {
    let place = NodeDir::with_node("attic");
    let radio = format!("kiss+tcp://127.0.0.1:{}", nobody());
    let daemon = place.up_with(&["--mesh", &format!("{radio}?region=wired")]);
    assert_eq!(daemon.told()["radios"][0], radio);
    let refused = |text: &str| text.contains(&radio) && text.contains("cannot open: connection refused");
    eventually("the reason in links", || refused(&place.ok(&["links"])));
    assert!(refused(&place.ok(&["status"])), "{}", place.ok(&["status"]));
    let airtime = place.ok(&["airtime"]);
    assert!(refused(&airtime) && airtime.contains("wired"), "{airtime}");
    let links = place.json(&["links"]);
    assert_eq!((&links[0]["link"], &links[0]["state"]), (&radio.into(), &"down".into()));
    // All else works.
    place.ok(&["create", "plan"]);
    assert_eq!(daemon.terminate(), Some(0));
}

/// A licence, a limit of one's own, rare signatures: all that the settings take, for one run.
#[test]
fn the_url_takes_all_settings() {
    let (place, tnc) = (NodeDir::with_node("attic"), FakeTnc::new());
    let words = "?region=amateur&frequency_hz=144800000&bitrate=9600&mode=signed-clear&call=N0CALL-1&call_sign_every=5m\
                 &soft_cap_permille=100&sign_every=16&mtu=120";
    let _daemon = place.up_with(&["--mesh", &tnc.url(words)]);
    eventually("the radio is up", || place.json(&["links"])[0]["state"] == "up");
    let rules = place.json(&["airtime"])[0]["rules"].to_string();
    for part in ["amateur, 144.800 MHz, 9600bps", "your own limit: 10 %", "everybody can read it"] {
        assert!(rules.contains(part), "{part}: {rules}");
    }
    assert_eq!(place.json(&["links"])[0]["link"], tnc.url(""));
    assert_eq!(place.json(&["airtime"])[0]["budget_hour_s"], 360.0);
    let (status, shown) = (place.json(&["status"]), place.ok(&["status"]));
    assert_eq!(
        (&status["radios"][0]["up"], &status["radios"][0]["budget_hour_s"]),
        (&true.into(), &360.0.into())
    );
    assert!(shown.contains("of 6 min 0 s this hour, ") && shown.contains(" left"), "{shown}");
}

/// A second node on one machine: the port of the first is taken, and the advice in the error works.
#[test]
fn a_taken_port_is_refused_with_advice() {
    let (first, second) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let daemon = first.up_with(&["--listen", "127.0.0.1:0"]);
    let taken = daemon.address();
    let error = second.fails(1, &["up", "--listen", &taken]);
    assert!(error.contains(&taken) && error.contains("--listen 0.0.0.0:0"), "{error}");
    let other = second.up_with(&["--listen", "127.0.0.1:0"]);
    assert!(other.address().starts_with("127.0.0.1:") && other.address() != taken);
    drop(other);
    // A station with only a radio needs no port, and its settings can switch the network off.
    let off = second.up_with(&["--no-lan"]);
    assert_eq!(off.told()["addresses"], serde_json::json!([]));
    assert_eq!(off.terminate(), Some(0));
    second.setting("listen = [\"127.0.0.1:0\"]", "listen = []");
    assert_eq!(second.up().told()["addresses"], serde_json::json!([]));
    assert!(second.fails(2, &["up", "--no-lan", "--listen", &taken]).contains("cannot be used with"));
    let error = second.fails(2, &["up", "--listen", "8662"]);
    assert!(error.contains("like 0.0.0.0:8662"), "{error}");
}

/// What programs read: names and kinds of the fields.
#[test]
fn links_and_airtime_keep_their_shape() {
    let (place, tnc) = (NodeDir::with_node("attic"), FakeTnc::new());
    let _daemon = place.up_with(&["--mesh", &tnc.url("?region=wired&bitrate=9600")]);
    eventually("the radio is up", || place.json(&["links"])[0]["state"] == "up");
    let links = place.json(&["links"]);
    let row = &links[0];
    assert_eq!((&row["peer"], &row["did"]), (&"(all who listen)".into(), &"".into()));
    assert!(
        row["bytes_sent"].is_u64() && row["bytes_heard"].is_u64() && row["airtime_today_s"].is_f64(),
        "{row}"
    );
    assert!(row["why"].as_str().unwrap().starts_with("wired, 9600bps"), "{row}");
    let airtime = place.json(&["airtime"]);
    let radio = &airtime[0];
    assert_eq!(radio["radio"], tnc.url(""));
    assert!(radio["rules"].as_str().unwrap().starts_with("wired, 9600bps: no limit on time"), "{radio}");
    for field in ["used_last_hour_s", "budget_hour_s", "frame_of_100_bytes_s", "state_leaves_in_s"] {
        assert!(radio[field].is_f64(), "{field} in {radio}");
    }
    assert!(radio["frames_sent"].is_u64() && radio["frames_heard"].is_u64(), "{radio}");
    assert!(radio["by_priority"].is_array() && radio["by_account"].is_array(), "{radio}");
    let (status, body) = place.http("GET /v1/airtime HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(status.contains("200") && body.contains("\"used_last_hour_s\""), "{status} {body}");
}

#[test]
fn without_a_region_nothing_is_sent_and_that_is_shown() {
    let (place, tnc) = (NodeDir::with_node("attic"), FakeTnc::new());
    let other = NodeDir::with_node("boat");
    let code = other.ok(&["invite", "--addr", "127.0.0.1:9"]);
    let mut command = place.command(&["up", "--mesh", &tnc.url("?bitrate=9600")]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("radio "))
        .collect();
    assert!(lines.len() < 6, "{lines:?}");
    eventually("the radio is up", || place.json(&["links"])[0]["state"] == "up");
    for command in ["links", "airtime", "status"] {
        let said = place.ok(&[command]);
        assert!(said.contains("nothing is sent: no region is set"), "{command}: {said}");
    }
    // Joining is what a node would call for first.
    place.error_code(&["join", &code, "--timeout", "4s"]);
    assert_eq!(tnc.frames(), 0);
    assert_eq!(place.json(&["airtime"])[0]["frames_sent"], 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn links_and_airtime_of_a_stopped_node_show_that() {
    let place = NodeDir::with_node("attic");
    for command in ["links", "airtime"] {
        assert_eq!(place.json(&[command]), serde_json::json!([]));
        let output = place.run(&[command]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("tombolo up"), "{output:?}");
    }
}
