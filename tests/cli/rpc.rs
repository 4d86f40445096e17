//! JSON calls through the real binary: a small node of another program, written here from the description of the calls alone,
//! calls a daemon and is called by one. Over loopback, in place of Tor.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use tombolo::identity::{Keypair, did, verify};

use super::harness::{Daemon, NodeDir, PATIENCE, eventually};

#[path = "../../fuzz/rpc_checks.rs"]
pub(super) mod rpc_checks;

/// A node with a server for calls on a free port, running.
pub(super) fn called(name: &str) -> (NodeDir, Daemon) {
    let place = NodeDir::with_node(name);
    place.setting("\nlisten = \"\"\n", "\nlisten = \"127.0.0.1:0\"\n");
    let daemon = place.up();
    (place, daemon)
}

pub(super) fn address(daemon: &Daemon) -> String {
    daemon.told()["calls"].as_str().unwrap().to_owned()
}

pub(super) fn now(offset_seconds: i64) -> String {
    #[allow(clippy::disallowed_methods, reason = "another program has a clock of its own")]
    let now = chrono::Utc::now() + chrono::TimeDelta::seconds(offset_seconds);
    now.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

/// One HTTP exchange: status and the JSON of the body.
fn post(address: &str, head: &str, headers: &[(String, String)], body: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{head} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(&[request.as_bytes(), b"\r\n", body].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(!answer.to_lowercase().contains("\r\ndate:"), "{answer}");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// A call that arrived at the foreign node.
#[derive(Clone)]
pub(super) struct Arrived {
    head: String,
    /// The body as it came.
    pub(super) raw: Vec<u8>,
    pub(super) body: Value,
}

impl Arrived {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(called, _)| called.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

pub(super) type Answering = dyn Fn(&Arrived) -> Vec<u8> + Send;

/// A node of another program: a key, an onion address, and a server of twenty lines.
pub(super) struct Foreign {
    pub(super) keypair: Keypair,
    address: String,
    pub(super) arrived: Arc<Mutex<Vec<Arrived>>>,
    pub(super) answering: Arc<Mutex<Box<Answering>>>,
}

pub(super) const TOKEN: &str = "00112233445566778899aabbccddeeff";

impl Foreign {
    pub(super) fn new(seed: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let keypair = Keypair::from_seeds(&[seed; 32], &[seed + 1; 32]);
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let answering: Box<Answering> = Box::new(usual_answer);
        let answering = Arc::new(Mutex::new(answering));
        let (list, answer) = (arrived.clone(), answering.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let Some(call) = read_call(&mut stream) else { continue };
                list.lock().unwrap().push(call.clone());
                let bytes = answer.lock().unwrap()(&call);
                let _ = stream.write_all(&bytes);
            }
        });
        Foreign { keypair, address, arrived, answering }
    }

    pub(super) fn did(&self) -> String {
        did(&self.keypair.peer_id())
    }

    fn pubkey(&self) -> String {
        HEXLOWER.encode(&self.keypair.peer_id().0)
    }

    /// The bare code that such a program makes.
    pub(super) fn code(&self, onion: &str) -> String {
        let json = json!({"did": self.did(), "onion": onion, "pubkey": self.pubkey(), "token": TOKEN});
        format!("fed1:{}", BASE64URL_NOPAD.encode(json.to_string().as_bytes()))
    }

    pub(super) fn label(&self) -> String {
        self.keypair.onion().trim_end_matches(".onion").to_owned()
    }

    /// The headers of a call at a time; its signature in base64, as some programs write it.
    fn headers(&self, timestamp: &str) -> Vec<(String, String)> {
        let signature = BASE64.encode(&self.keypair.sign(timestamp.as_bytes()));
        let fields = [("DID", self.did()), ("Timestamp", timestamp.to_owned()), ("Sig", signature)];
        fields.into_iter().map(|(name, value)| (format!("X-Federation-{name}"), value)).collect()
    }

    fn call_at(&self, address: &str, timestamp: &str, body: &Value) -> (u16, Value) {
        post(address, "POST /rpc/v1", &self.headers(timestamp), body.to_string().as_bytes())
    }

    fn call(&self, address: &str, body: &Value) -> (u16, Value) {
        self.call_at(address, &now(0), body)
    }

    fn joined(&self, token: &str, onion: &str) -> Value {
        let (did, pubkey) = (self.did(), self.pubkey());
        let signature = self.keypair.sign(format!("peer-joined:{did}:{onion}:{pubkey}").as_bytes());
        let signature = HEXLOWER.encode(&signature);
        json!({"method": "federation.peer-joined", "params":
            {"did": did, "onion": onion, "pubkey": pubkey, "token": token, "signature": signature}})
    }

    /// Leads a node's calls for it to another place.
    pub(super) fn moved(&self, place: &NodeDir, address: &str) {
        place.setting(&format!("= \"{}\" }}", self.address), &format!("= \"{address}\" }}"));
    }

    /// Lets a node reach it without Tor.
    pub(super) fn forwarded_at(&self, place: &NodeDir) {
        let line = format!("\nforward = {{ \"{}\" = \"{}\" }}\n", self.keypair.onion(), self.address);
        place.setting("\nforward = {}\n", &line);
    }
}

fn read_call(stream: &mut TcpStream) -> Option<Arrived> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split_once("content-length: ")?
                .1
                .lines()
                .next()?
                .parse::<usize>()
                .ok()?;
            if body.len() >= length {
                let (head, raw) = (head.to_owned(), body.as_bytes().to_vec());
                return Some(Arrived { head, raw, body: serde_json::from_str(body).ok()? });
            }
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

pub(super) fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

pub(super) fn usual_answer(call: &Arrived) -> Vec<u8> {
    match call.body["method"].as_str() {
        Some("federation.peer-joined") if call.body["params"]["token"] == TOKEN => {
            http("200 OK", r#"{"result": {}}"#)
        }
        Some("federation.get-state") => {
            let state = json!({"timestamp": now(0), "node_name": "mill", "uptime_secs": 60,
                "apps": [{"id": "wiki", "status": "running", "version": "1.2"}], "tor_active": true});
            http("200 OK", &json!({ "result": state }).to_string())
        }
        _ => http("200 OK", r#"{"error": {"message": "invalid token"}}"#),
    }
}

pub(super) fn get_state() -> Value {
    json!({"method": "federation.get-state", "params": {}})
}

/// The token in a code, read as a program does that knows four fields.
fn token_of(code: &str) -> String {
    let json = BASE64URL_NOPAD.decode(code.strip_prefix("fed1:").unwrap().as_bytes()).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    for field in ["did", "onion", "pubkey", "token"] {
        assert!(json[field].is_string(), "{json}");
    }
    json["token"].as_str().unwrap().to_owned()
}

fn code(answer: &(u16, Value)) -> &str {
    answer.1["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn a_foreign_node_joins_reads_the_state_and_is_refused_what_it_may_not() {
    let ((attic, daemon), mill, stranger) = (called("attic"), Foreign::new(70), Foreign::new(80));
    let at = address(&daemon);
    let token = token_of(&attic.ok(&["invite"]));
    let wrong = mill.call(&at, &mill.joined(&"0".repeat(32), &mill.label()));
    assert_eq!((wrong.0, code(&wrong)), (403, "join_token"));
    let (status, joined) = mill.call(&at, &mill.joined(&token, &mill.label()));
    assert_eq!((status, joined["result"]["did"].as_str()), (200, Some(&*attic.did())), "{joined}");
    let again = mill.call(&at, &mill.joined(&token, &mill.label()));
    assert_eq!((again.0, &again.1), (200, &joined), "the same joiner gets the same answer");
    assert_eq!(code(&stranger.call(&at, &stranger.joined(&token, &stranger.label()))), "join_token");
    let peer = &attic.json(&["peers"])[0];
    assert_eq!((peer["did"].as_str(), peer["trust_level"].as_str()), (Some(&*mill.did()), Some("trusted")));
    assert_eq!(peer["onion"].as_str().unwrap(), mill.keypair.onion());

    eventually("a state", || mill.call(&at, &get_state()).0 == 200);
    let (_, answer) = mill.call(&at, &get_state());
    let state = &answer["result"];
    assert_eq!(state["node_name"], "attic");
    assert!(chrono::DateTime::parse_from_rfc3339(state["timestamp"].as_str().unwrap()).is_ok());
    assert!(
        state["apps"].is_array() && state["uptime_secs"].is_u64() && state["mem_total_bytes"].is_u64(),
        "{state}"
    );

    let refused = |answer: &(u16, Value), status, expected: &str| {
        assert_eq!((answer.0, code(answer)), (status, expected));
        assert!(answer.1["error"]["message"].as_str().unwrap().len() > 10);
    };
    refused(&stranger.call(&at, &get_state()), 403, "not_a_peer");
    refused(&mill.call_at(&at, &now(-301), &get_state()), 401, "timestamp_late");
    refused(&mill.call_at(&at, &now(305), &get_state()), 401, "timestamp_early");
    let mut forged = mill.headers(&now(0));
    forged[2].1 = stranger.headers(&forged[1].1)[2].1.clone();
    let body = get_state().to_string().into_bytes();
    refused(&post(&at, "POST /rpc/v1", &forged, &body), 401, "wrong_signature");
    refused(&post(&at, "POST /rpc/v1", &mill.headers(&now(0))[..2], &body), 400, "missing_header");
    refused(&post(&at, "POST /rpc/v2", &mill.headers(&now(0)), &body), 404, "not_found");
    refused(&post(&at, "GET /rpc/v1", &mill.headers(&now(0)), &body), 405, "method_not_allowed");
    refused(
        &post(&at, "POST /rpc/v1", &mill.headers(&now(0)), b"method=federation.get-state"),
        400,
        "bad_json",
    );
    refused(&post(&at, "POST /rpc/v1", &mill.headers(&now(0)), &vec![b' '; 70_000]), 413, "too_long");
    let install = json!({"method": "package.install", "params": {"id": "wiki", "version": "1", "marketplace-url": "x"}});
    refused(&mill.call(&at, &install), 401, "missing_sig2");
    refused(&mill.call(&at, &json!({"method": "system.reboot"})), 404, "unknown_method");
    attic.ok(&["trust", &mill.did(), "untrusted"]);
    refused(&mill.call(&at, &get_state()), 403, "not_trusted");
    let counted = attic.json(&["status"])["rejections"].clone();
    for label in
        ["call_not_a_peer", "call_timestamp_late", "call_too_long", "call_not_found", "call_join_token"]
    {
        assert!(counted[label].as_u64() > Some(0), "{label}: {counted}");
    }
}

#[test]
fn a_captured_call_is_refused_also_after_a_restart() {
    let ((attic, daemon), mill) = (called("attic"), Foreign::new(70));
    let at = address(&daemon);
    let token = token_of(&attic.ok(&["invite", "--level", "observer"]));
    assert_eq!(mill.call(&at, &mill.joined(&token, &mill.keypair.onion())).0, 200);
    assert_eq!(attic.json(&["peers"])[0]["trust_level"], "observer");
    eventually("a state", || mill.call(&at, &get_state()).0 == 200);
    let captured = now(0);
    assert_eq!(mill.call_at(&at, &captured, &get_state()).0, 200);
    assert_eq!(code(&mill.call_at(&at, &captured, &get_state())), "replayed");
    daemon.kill();
    let daemon = attic.up();
    let at = address(&daemon);
    assert_eq!(code(&mill.call_at(&at, &captured, &get_state())), "replayed");
    assert_eq!(mill.call(&at, &get_state()).0, 200);
}

/// Slow and broken callers take no place for ever and harm no other.
#[test]
fn a_caller_that_breaks_off_or_sends_no_http_disturbs_no_other() {
    let ((_attic, daemon), mill) = (called("attic"), Foreign::new(70));
    let at = address(&daemon);
    let idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&at).unwrap()).collect();
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"POST /rpc/v1 HTTP/1.1\r\ncontent-length: 50\r\n\r\n{",
        &[b'x'; 40_000],
    ] {
        let mut stream = TcpStream::connect(&at).unwrap();
        let _ = stream.write_all(bytes);
    }
    assert_eq!(code(&mill.call(&at, &get_state())), "not_a_peer");
    drop(idle);
}

#[test]
fn a_foreign_code_is_joined_by_call_and_its_state_is_read() {
    let (attic, mill) = (NodeDir::with_node("attic"), Foreign::new(70));
    mill.forwarded_at(&attic);
    let _daemon = attic.up();
    let joined = attic.json(&["join", &mill.code(&mill.label())]);
    assert_eq!((joined["did"].as_str(), joined["joined"].as_str()), (Some(&*mill.did()), Some("agreed")));
    let call = mill.arrived.lock().unwrap()[0].clone();
    check_signatures(&call, &attic);
    let params = &call.body["params"];
    let text = |field: &str| params[field].as_str().unwrap().to_owned();
    let signed = format!("peer-joined:{}:{}:{}", text("did"), text("onion"), text("pubkey"));
    let signature = HEXLOWER.decode(text("signature").as_bytes()).unwrap().try_into().unwrap();
    let who = tombolo::identity::parse_did(&text("did")).unwrap();
    assert!(verify(&who, signed.as_bytes(), &signature));
    assert_eq!((text("token"), text("did")), (TOKEN.to_owned(), attic.did()));

    assert_eq!(attic.error_code(&["state", &mill.did()]), "no_state");
    let state = attic.json(&["state", &mill.did(), "--via", "rpc"]);
    assert_eq!((state["node_name"].as_str(), state["apps"][0]["id"].as_str()), (Some("mill"), Some("wiki")));
    check_signatures(&mill.arrived.lock().unwrap()[1], &attic);
    assert!(attic.ok(&["state", "mill", "--via", "rpc"]).contains("wiki"));
    let peer = &attic.json(&["peers"])[0];
    assert_eq!((peer["name"].as_str(), &peer["last_state"]["apps"][0]["id"]), (Some("mill"), &json!("wiki")));
    assert_eq!(peer["last_seen"], peer["last_state"]["timestamp"]);
    assert_eq!(attic.json(&["state", "mill"])["apps"][0]["id"], "wiki");

    let answers = |answer: Vec<u8>| *mill.answering.lock().unwrap() = Box::new(move |_| answer.clone());
    for (answer, expected) in [
        (http("403 Forbidden", r#"{"error": {"message": "go away"}}"#), "call_refused"),
        (http("200 OK", "<html>"), "bad_call_answer"),
        (http("200 OK", r#"{"result": {"apps": []}}"#), "bad_call_answer"),
        (http("200 OK", &format!("{{\"result\": \"{}\"}}", "x".repeat(2 << 20))), "call_failed"),
        (b"SSH-2.0-x\r\n".to_vec(), "call_failed"),
        (Vec::new(), "call_failed"),
    ] {
        answers(answer);
        assert_eq!(attic.error_code(&["state", "mill", "--via", "rpc"]), expected);
    }
    assert_eq!(attic.json(&["state", "mill"])["apps"][0]["id"], "wiki", "what was read stays");
}

/// A SOCKS server in place of tor: it takes one name and port, and leads them to an address.
fn socks_to(name: String, port: u16, address: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            let (name, address) = (name.clone(), address.clone());
            std::thread::spawn(move || {
                let mut read = |count: usize| {
                    let mut bytes = vec![0; count];
                    near.read_exact(&mut bytes).map(|()| (bytes, near.try_clone().unwrap()))
                };
                // The methods, a user name and password, then the request.
                let (head, mut out) = read(2).unwrap();
                read(usize::from(head[1])).unwrap();
                out.write_all(&[5, 2]).unwrap();
                for field in [1, 0] {
                    let (length, _) = read(1 + field).unwrap();
                    read(usize::from(length[field])).unwrap();
                }
                out.write_all(&[1, 0]).unwrap();
                let (head, _) = read(5).unwrap();
                assert_eq!(head[3], 3, "the name is not looked up");
                let (asked, _) = read(usize::from(head[4]) + 2).unwrap();
                let is_known = asked == [name.as_bytes(), &port.to_be_bytes()].concat();
                let code = if is_known { 0 } else { 4 };
                out.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
                if !is_known {
                    return;
                }
                let far = TcpStream::connect(&address).unwrap();
                let (mut up, mut down) = (far.try_clone().unwrap(), far);
                let (mut from_near, mut to_near) = (out.try_clone().unwrap(), out);
                std::thread::spawn(move || std::io::copy(&mut from_near, &mut up));
                let _ = std::io::copy(&mut down, &mut to_near);
                let _ = to_near.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    at
}

/// Without a forwarder a call goes through tor's SOCKS port, to port 80 of the service.
#[test]
fn a_call_goes_through_tor_to_port_80_of_the_onion_service() {
    let (attic, mill) = (NodeDir::with_node("attic"), Foreign::new(70));
    let socks = socks_to(mill.keypair.onion(), 80, mill.address.clone());
    attic.setting("\nenabled = false\n\n# Its SOCKS port", "\nenabled = true\n\n# Its SOCKS port");
    attic.setting("\nsocks = \"\"\n", &format!("\nsocks = \"{socks}\"\n"));
    let _daemon = attic.up();
    attic.ok(&["join", &mill.code(&mill.label())]);
    assert_eq!(attic.json(&["state", &mill.did(), "--via", "rpc"])["node_name"], "mill");
}

/// The timestamp's signature, as a program checks it that knows no other.
pub(super) fn check_signatures(call: &Arrived, caller: &NodeDir) {
    assert!(call.head.starts_with("POST /rpc/v1 HTTP/1.1"), "{}", call.head);
    assert_eq!(call.header("x-federation-did").unwrap(), caller.did());
    let timestamp = call.header("x-federation-timestamp").unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(timestamp).is_ok(), "{timestamp}");
    let signature = HEXLOWER.decode(call.header("x-federation-sig").unwrap().as_bytes()).unwrap();
    let who = tombolo::identity::parse_did(&caller.did()).unwrap();
    assert!(verify(&who, timestamp.as_bytes(), &signature.try_into().unwrap()));
    assert_eq!(call.header("x-federation-sig2").unwrap().len(), 128);
}

#[test]
fn joining_by_call_needs_no_running_node_and_shows_why_it_failed() {
    let (attic, mill) = (NodeDir::with_node("attic"), Foreign::new(70));
    mill.forwarded_at(&attic);
    *mill.answering.lock().unwrap() =
        Box::new(|_| http("200 OK", r#"{"error": {"message": "invalid token"}}"#));
    let error = attic.fails(1, &["join", &mill.code(&mill.keypair.onion())]);
    assert!(error.contains("invalid token"), "{error}");
    assert_eq!(attic.json(&["peers"]), json!([]));
    *mill.answering.lock().unwrap() = Box::new(usual_answer);
    attic.ok(&["join", &mill.code(&mill.keypair.onion())]);
    assert_eq!(attic.json(&["peers"])[0]["joined"], "agreed");
    assert_eq!(attic.error_code(&["state", &mill.did(), "--via", "rpc"]), "needs_daemon");
    let broken = mill.code(&format!("{}a", &mill.label()[..55]));
    assert_eq!(attic.error_code(&["join", &broken]), "bad_invite");
    attic.fails(2, &["state", "--via", "rpc"]);
}

/// Two nodes of this program over calls alone: what one sends, the other takes.
#[test]
fn two_of_our_nodes_understand_each_other_by_call() {
    let ((attic, attic_up), boat) = (called("attic"), NodeDir::with_node("boat"));
    let code = attic.ok(&["invite"]);
    let json = BASE64URL_NOPAD.decode(code.strip_prefix("fed1:").unwrap().as_bytes()).unwrap();
    let mut json: Value = serde_json::from_slice(&json).unwrap();
    let onion = json["onion"].as_str().unwrap().to_owned();
    json.as_object_mut()
        .unwrap()
        .retain(|key, _| ["did", "onion", "pubkey", "token"].contains(&key.as_str()));
    let bare = format!("fed1:{}", BASE64URL_NOPAD.encode(json.to_string().as_bytes()));
    let line = format!("\nforward = {{ \"{onion}\" = \"{}\" }}\n", address(&attic_up));
    boat.setting("\nforward = {}\n", &line);
    let _boat_up = boat.up();
    boat.ok(&["join", &bare]);
    assert_eq!(attic.json(&["peers"])[0]["did"].as_str().unwrap(), boat.did());
    assert_eq!(boat.json(&["peers"])[0]["name"], "attic");
    eventually("its state", || boat.run(&["state", "attic", "--via", "rpc"]).status.success());
    assert_eq!(boat.json(&["state", "attic"])["node_name"], "attic");
}

/// The example in `src/rpc/API.md`, as it stands there.
#[test]
fn the_documented_example_works_with_curl_and_openssl() {
    for (part, package) in [("curl", "curl"), ("openssl", "openssl"), ("bash", "bash")] {
        let found = std::process::Command::new(part).arg("--version").output();
        if found.is_err() {
            println!("SKIPPED: needs {part} (apt install {package})");
            return;
        }
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/rpc/API.md")).unwrap();
    let script = page.split_once("```bash\n").unwrap().1.split_once("```").unwrap().0;
    let (attic, daemon) = called("attic");
    eventually("a state", || attic.run(&["state"]).status.success());
    let work = tempfile::tempdir().unwrap();
    let output = std::process::Command::new("bash")
        .args(["-eu", "-c", script])
        .current_dir(work.path())
        .env("CALLS", address(&daemon))
        .env("CODE", attic.ok(&["invite"]))
        .env("ONION", Foreign::new(90).keypair.onion())
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(answers.len(), 2, "{out}{error}");
    assert_eq!(answers[0]["result"]["did"].as_str(), Some(&*attic.did()), "{out}");
    assert_eq!(answers[1]["result"]["node_name"], "attic", "{out}");
    assert_eq!(attic.json(&["peers"]).as_array().unwrap().len(), 1);
}

#[test]
fn the_corpus_of_calls_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/rpc");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the target has a corpus") {
        rpc_checks::call(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 5, "{count}");
}
