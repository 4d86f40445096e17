//! `deploy --via rpc` through the real binary: a node of another program, written from the description of the calls alone, is
//! asked to install an app, checks what it was sent, and answers, refuses, or breaks off.

use std::sync::mpsc;

use data_encoding::HEXLOWER;
use serde_json::json;
use tombolo::identity::{parse_did, verify};

use super::deploy::status;
use super::harness::{Daemon, NodeDir, eventually};
use super::rpc::{Arrived, Foreign, check_signatures, http, usual_answer};

const ORDER: [&str; 8] =
    ["deploy", "mill", "web", "1.2", "--marketplace", "https://market.example", "--via", "rpc"];

/// A node that has joined the mill, and its daemon.
fn with_mill() -> (NodeDir, Daemon, Foreign) {
    let (attic, mill) = (NodeDir::with_node("attic"), Foreign::new(70));
    mill.forwarded_at(&attic);
    let daemon = attic.up();
    attic.ok(&["join", &mill.code(&mill.label())]);
    attic.ok(&["rename", &mill.did(), "mill"]);
    (attic, daemon, mill)
}

/// What the mill does with a request to install.
fn installs(mill: &Foreign, answer: impl Fn(&Arrived) -> Vec<u8> + Send + 'static) {
    *mill.answering.lock().unwrap() = Box::new(move |call| match call.body["method"].as_str() {
        Some("package.install") => answer(call),
        _ => usual_answer(call),
    });
}

fn asked(mill: &Foreign) -> Vec<Arrived> {
    let arrived = mill.arrived.lock().unwrap();
    arrived.iter().filter(|call| call.body["method"] == "package.install").cloned().collect()
}

/// `["tombolo-rpc-1", receiver DID, timestamp, method, BLAKE3(body)]` in deterministic CBOR: an array of five, four texts and
/// 32 bytes.
fn second(receiver: &str, timestamp: &str, method: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x85];
    for text in ["tombolo-rpc-1", receiver, timestamp, method] {
        match text.len() {
            length @ 0..24 => bytes.push(0x60 + length as u8),
            length => bytes.extend([0x78, length as u8]),
        }
        bytes.extend(text.as_bytes());
    }
    bytes.extend([0x58, 32]);
    bytes.extend(blake3::hash(body).as_bytes());
    bytes
}

#[test]
fn a_foreign_node_is_asked_by_a_call_that_only_it_can_use() {
    let (attic, _daemon, mill) = with_mill();
    installs(&mill, |_| http("200 OK", r#"{"result": {"deployed": true, "output": "container 1 runs"}}"#));
    let done = attic.json(&[&ORDER[..], &["--wait"]].concat());
    assert_eq!((done["deployed"].as_bool(), done["app_id"].as_str()), (Some(true), Some("web")));
    assert_eq!((done["status"].as_str(), done["via"].as_str()), (Some("installed"), Some("rpc")));
    assert_eq!(done["peer_did"].as_str().unwrap(), mill.did());
    assert_eq!(done["peer_onion"].as_str().unwrap(), mill.keypair.onion());
    assert_eq!(done["output"], "container 1 runs");
    let id = done["id"].as_str().unwrap();
    let shown = attic.ok(&["deploy", "--status", &id[..12]]);
    assert!(shown.contains("installed") && shown.contains("    container 1 runs"), "{shown}");

    let calls = asked(&mill);
    let [call] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    check_signatures(call, &attic);
    let params = json!({"id": "web", "version": "1.2", "marketplace-url": "https://market.example"});
    assert_eq!(call.body["params"], params);
    let sent =
        second(&mill.did(), call.header("x-federation-timestamp").unwrap(), "package.install", &call.raw);
    let signature = HEXLOWER.decode(call.header("x-federation-sig2").unwrap().as_bytes()).unwrap();
    assert!(verify(&parse_did(&attic.did()).unwrap(), &sent, &signature.try_into().unwrap()));
    // Without waiting: one sentence, and where to look.
    let asked = attic.ok(&ORDER);
    assert!(asked.contains("tombolo deploy --status"), "{asked}");
}

#[test]
fn a_foreign_refusal_is_shown_in_its_own_words() {
    let (attic, _daemon, mill) = with_mill();
    installs(&mill, |_| http("200 OK", r#"{"error": {"message": "web is not in my catalogue"}}"#));
    let refused = attic.fails(1, &[&ORDER[..], &["--wait"]].concat());
    assert!(refused.contains("web is not in my catalogue"), "{refused}");
    installs(&mill, |_| {
        http("403 Forbidden", r#"{"error": {"code": "app_unknown", "message": "never heard of it"}}"#)
    });
    assert_eq!(attic.error_code(&[&ORDER[..], &["--wait"]].concat()), "deploy_refused");
    let list = attic.ok(&["deploy", "--status"]);
    assert!(list.contains("refused: app_unknown"), "{list}");
    attic.ok(&["trust", "mill", "observer"]);
    assert_eq!(attic.error_code(&ORDER), "not_trusted");
    assert_eq!(asked(&mill).len(), 2);
}

/// Whatever happens to an answer, the call is made once: also across a restart, and with the peer in reach.
#[test]
fn a_lost_answer_is_an_unknown_outcome_and_no_second_call() {
    let (attic, daemon, mill) = with_mill();
    // The answer breaks off; what comes is no answer.
    let mut ids = vec![];
    for (answer, code) in [(Vec::new(), "deploy_unknown"), (http("200 OK", "<html>"), "deploy_unknown")] {
        installs(&mill, move |_| answer.clone());
        let error = attic.fails(1, &[&ORDER[..], &["--wait"]].concat());
        assert!(error.contains("not known") && error.contains("tombolo get mill/deploys"), "{error}");
        assert_eq!(attic.error_code(&[&ORDER[..], &["--wait"]].concat()), code);
    }
    // The node is killed while the mill works.
    let (finish, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    installs(&mill, move |_| {
        let _ = wait.lock().unwrap().recv();
        http("200 OK", r#"{"result": {}}"#)
    });
    let before = asked(&mill).len();
    let cut = attic.json(&ORDER)["id"].as_str().unwrap().to_owned();
    assert_eq!(status(&attic, &cut), "calling");
    eventually("the call", || asked(&mill).len() == before + 1);
    daemon.kill();
    finish.send(()).unwrap();
    drop(finish);
    let _daemon = attic.up();
    assert_eq!(status(&attic, &cut), "unknown");
    ids.push(cut);
    // Another call goes through, and brings none of them again.
    installs(&mill, |_| http("200 OK", r#"{"result": {}}"#));
    attic.ok(&[&ORDER[..], &["--wait"]].concat());
    assert_eq!(asked(&mill).len(), before + 2);
    assert!(ids.iter().all(|id| status(&attic, id) == "unknown"));
    // Each call had a timestamp of its own.
    let calls = asked(&mill);
    let times: std::collections::BTreeSet<_> =
        calls.iter().map(|call| call.header("x-federation-timestamp").unwrap()).collect();
    assert_eq!(times.len(), calls.len());
}

/// Nothing was sent, and that is shown: asking again is safe.
#[test]
fn a_peer_that_is_not_reached_was_not_asked() {
    let attic = NodeDir::with_node("attic");
    let mill = Foreign::new(70);
    mill.forwarded_at(&attic);
    let daemon = attic.up();
    attic.ok(&["join", &mill.code(&mill.label())]);
    attic.ok(&["rename", &mill.did(), "mill"]);
    drop(daemon);
    // Without a running node nothing is called, and nothing is recorded.
    assert_eq!(attic.error_code(&ORDER), "needs_daemon");
    assert_eq!(attic.json(&["deploy", "--status"]), json!([]));
    attic.fails(2, &[&ORDER[..], &["--expires", "1h"]].concat());
    attic.fails(2, &["deploy", "mill", "web", "1.2", "--via", "post"]);
    // Where the mill was, nothing listens any more.
    let nothing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    mill.moved(&attic, &nothing);
    let _daemon = attic.up();
    let error = attic.fails(1, &[&ORDER[..], &["--wait"]].concat());
    assert!(error.contains("unreached") && error.contains(&nothing), "{error}");
    assert_eq!(attic.error_code(&[&ORDER[..], &["--wait"]].concat()), "deploy_unreached");
    assert!(asked(&mill).is_empty());
}
