//! JSON calls and deploys through Tor, between nodes that let only their peers reach them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::installer::{allow, runs};
use super::lanes::{Pair, seconds};
use super::node::{LONG, TorNode, within};
use super::scripted::Place;
use super::scripted::client::dial;
use super::scripted::door::Stream;

const ORDER: [&str; 8] =
    ["deploy", "boat", "web", "1.2", "--marketplace", "https://market.example", "--wait", "--json"];

/// Runs a command until it succeeds, which takes a while after a service was published again.
fn until_done(node: &TorNode<'_>, arguments: &[&str]) -> (Value, Duration) {
    let mut done = Value::Null;
    let took = within(&arguments.join(" "), LONG, || {
        let output = node.place.run(arguments);
        done = serde_json::from_slice(&output.stdout).unwrap_or_default();
        output.status.success()
    });
    (done, took)
}

/// The boat lets its peers install apps from now on.
fn let_install(pair: &mut Pair<'_>) -> std::path::PathBuf {
    let path = pair.boat.place.folder.join("runs");
    if pair.boat.place.folder.join("install.sh").exists() {
        return path;
    }
    pair.boat.kill();
    let path = allow(&pair.boat.place);
    pair.boat.start();
    within("a link", LONG, || pair.attic.is_connected() && pair.boat.is_connected());
    path
}

/// State and deploys, by session and by call. Both services ask for client authorisation, and let the peer in.
pub(crate) fn states_and_deploys(pair: &mut Pair<'_>) -> String {
    let ran = let_install(pair);
    let before = runs(&ran).len();
    for node in [&pair.attic, &pair.boat] {
        // A node that was started again has a link, which it dialled, before its own service is published.
        within("the service is published, for peers", LONG, || {
            let status = node.place.json(&["status"]);
            status["tor"]["service"].as_str().unwrap().starts_with("published, for peers")
        });
    }
    let (state, by_call) = until_done(&pair.attic, &["state", "boat", "--via", "rpc", "--json"]);
    assert_eq!(state["node_name"], "boat");
    let (state, _) = until_done(&pair.boat, &["state", "attic", "--via", "rpc", "--json"]);
    assert_eq!(state["node_name"], "attic");
    let timed = |more: &[&str]| {
        let begun = Instant::now();
        let output = pair.attic.place.run(&[&ORDER[..], more].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let done: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"));
        assert_eq!(
            (done["deployed"].as_bool(), done["output"].as_str()),
            (Some(true), Some("web is installed"))
        );
        let id = done["id"].as_str().unwrap().to_owned();
        assert_eq!(pair.boat.place.json(&["deploy", "--status", &id])["status"], "installed");
        begun.elapsed()
    };
    let (session, call) = (timed(&[]), timed(&["--via", "rpc"]));
    assert_eq!(runs(&ran).len(), before + 2);
    let refused = pair.attic.place.fails(1, &["deploy", "boat", "sh", "1", "--via", "rpc", "--wait"]);
    assert!(refused.contains("not in the receiver's catalogue"), "{refused}");
    format!(
        "a state by call {}, a deploy by session {}, by call {}",
        seconds(by_call),
        seconds(session),
        seconds(call)
    )
}

/// The very bytes of a call, sent again: refused, also by a receiver that was killed in between, and nothing runs.
pub(crate) fn captured_call(pair: &mut Pair<'_>) -> String {
    let ran = let_install(pair);
    let tap = Tap::before(&pair.attic.tor.socks());
    pair.attic.kill();
    pair.attic.socks = tap.at.clone();
    pair.attic.start();
    until_done(&pair.attic, &["state", "boat", "--via", "rpc", "--json"]);
    let installed = pair.attic.place.run(&[&ORDER[..], &["--via", "rpc"]].concat());
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let calls = tap.calls();
    assert!(calls.len() >= 2, "{} calls were captured", calls.len());
    let before = runs(&ran).len();
    let all_refused = |pair: &Pair<'_>| {
        for call in &calls {
            let answer = sent_again(pair, call);
            assert!(answer.contains("\"replayed\"") && answer.starts_with("HTTP/1.1 401"), "{answer}");
        }
    };
    all_refused(pair);
    pair.boat.kill();
    pair.boat.start();
    all_refused(pair);
    // Nothing is wrong with the way: a new call is answered.
    until_done(&pair.attic, &["state", "boat", "--via", "rpc", "--json"]);
    assert_eq!(runs(&ran).len(), before, "a captured call ran");
    pair.attic.kill();
    pair.attic.socks = pair.attic.tor.socks();
    pair.attic.start();
    let healed = seconds(pair.in_step());
    format!("{} captured calls refused before and after a restart; in step after {healed}", calls.len())
}

/// Sends a captured call through the caller's tor, which has a key to the service; returns the answer.
fn sent_again(pair: &Pair<'_>, call: &[u8]) -> String {
    let (onion, mut attempt) = (pair.boat.onion(), 0);
    let mut answer = String::new();
    within("the service takes the call", LONG, || {
        attempt += 1;
        let user = format!("captured-{}-{attempt}", call.len());
        let Ok(Stream::Tcp(mut stream)) = dial(&pair.attic.tor.socks(), &user, &onion, 80) else {
            return false;
        };
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        answer.clear();
        stream.write_all(call).is_ok() && stream.read_to_string(&mut answer).is_ok() && !answer.is_empty()
    });
    answer
}

/// Stands before a SOCKS port and keeps what clients send.
struct Tap {
    at: Place,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    fn before(socks: &Place) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Place::Tcp(listener.local_addr().unwrap());
        let sent: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (socks, kept) = (socks.to_string(), sent.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&socks) else { continue };
                let place = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(vec![]);
                    kept.len() - 1
                };
                let kept = kept.clone();
                let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || {
                    let mut piece = [0; 4096];
                    while let Ok(read @ 1..) = from.read(&mut piece) {
                        kept.lock().unwrap()[place].extend(&piece[..read]);
                        if to.write_all(&piece[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
                let (mut from, mut to) = (far, near);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Tap { at, sent }
    }

    /// The requests of calls: on their way to tor, which encrypts them, they can be read.
    fn calls(&self) -> Vec<Vec<u8>> {
        let sent = self.sent.lock().unwrap();
        let call = |bytes: &Vec<u8>| {
            let start = bytes.windows(12).position(|part| part == b"POST /rpc/v1")?;
            Some(bytes[start..].to_vec())
        };
        sent.iter().filter_map(call).collect()
    }
}

/// A relay in the middle of the link's circuit ends for good: another circuit is built, and nothing is missing.
pub(crate) fn relay_killed(pair: &mut Pair<'_>) -> String {
    let tors = [pair.attic.tor, pair.boat.tor];
    let guards: Vec<String> = tors
        .iter()
        .flat_map(|tor| tor.paths().into_values())
        .filter_map(|path| path.first().cloned())
        .collect();
    let (tor, circuit) = tors
        .iter()
        .find_map(|tor| Some((tor, tor.circuits().first()?.clone())))
        .expect("one of the two has dialled");
    let path = tor.paths().remove(&circuit).expect("the circuit of a stream is built");
    let is_guard = |relay: &&String| guards.contains(relay);
    let relay = path.iter().rev().find(|relay| !is_guard(relay)).or(path.last()).unwrap().clone();
    let place = path.iter().position(|hop| *hop == relay).unwrap() + 1;
    pair.network.kill_node(&relay);
    let keys = pair.write();
    // It stays in the consensus, and circuits through it fail until tor has chosen others.
    let longest = 4 * LONG;
    let healed = within("both writes on both sides", longest, || pair.has_arrived(&keys));
    pair.network.revive_node(&relay);
    let afterwards = seconds(pair.in_step());
    format!(
        "{relay}, hop {place} of {}: in step {} after it, {afterwards} once more after it is back",
        path.len(),
        seconds(healed)
    )
}
