//! Who is no peer, and what it gets: nothing.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::harness::NodeDir;
use super::lanes::{Pair, seconds};
use super::node::{LONG, TorNode, within};
use super::scripted::client::dial;
use super::scripted::door::Stream;
use tombolo_transports::OnionHost;

/// Longer than the daemon waits for a stranger's first message.
const SILENCE: Duration = Duration::from_secs(45);
/// A TLS alert in a record of its own.
const ALERT_BYTES: usize = 7;

/// A stranger that knows the onion address. Its own tor has no key: it does not reach the port. Through the tor of a peer,
/// which has one, it reaches the port and learns nothing there.
pub(crate) fn knows_the_address(pair: &mut Pair<'_>) -> String {
    let (network, onion) = (pair.network, pair.attic.onion());
    for (attempt, port) in [80, 8662, 8662].into_iter().enumerate() {
        let code = dial(&network.tor(7).socks(), &format!("stranger-{attempt}"), &onion, port).unwrap_err();
        // Tor repeats a refusal within some seconds as 0x04.
        assert!([0xF4, 0x04].contains(&code), "client authorisation is missing, not {code:#x}");
    }
    let mut answers = 0;
    for hello in [
        &b""[..],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 600],
        &[0x16, 3, 1, 0xFF, 0xFF, 1, 0, 0xFF],
        &[0xFF; 70_000],
    ] {
        let Ok(Stream::Tcp(mut stream)) = dial(&pair.boat.tor.socks(), "guest", &onion, 8662) else {
            panic!("a peer's tor reaches the port");
        };
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let _ = stream.write_all(hello);
        let mut answer = vec![];
        let begun = Instant::now();
        let _ = stream.read_to_end(&mut answer);
        assert!(begun.elapsed() < SILENCE, "the daemon waits for {} bytes for ever", hello.len());
        assert!(answer.len() <= ALERT_BYTES, "a stranger got {} bytes", answer.len());
        answers += answer.len();
    }
    assert_eq!(pair.attic.place.json(&["peers"]).as_array().unwrap().len(), 1);
    format!("{answers} bytes for 5 strangers; the peers are in step after {}", seconds(pair.in_step()))
}

/// A code whose onion address leads nowhere, and one that leads to another node.
pub(crate) fn wrong_address(pair: &mut Pair<'_>) -> String {
    let code = pair.attic.place.ok(&["invite"]);
    let nowhere = OnionHost(ed25519_dalek::SigningKey::from_bytes(&[77; 32]).verifying_key().to_bytes());
    let pier = TorNode::up("pier", pair.network.tor(7));
    let mut reasons = vec![];
    for onion in [nowhere.to_string(), format!("{}.onion", pair.boat.onion())] {
        let altered = altered(&code, |json| json["onion"] = onion.as_str().into());
        assert_eq!(pier.place.error_code(&["join", &altered, "--timeout", "15s"]), "no_answer");
        reasons.push(reason(&pier));
    }
    assert!(reasons.iter().all(|reason| reason.contains("onion")), "{reasons:?}");
    // A character was mistyped: nothing is dialled.
    let onion = pair.attic.onion();
    let mistyped = format!("{}{}.onion", if onion.starts_with('a') { 'b' } else { 'a' }, &onion[1..]);
    let empty = NodeDir::with_node("mole");
    let code = altered(&code, |json| json["onion"] = mistyped.as_str().into());
    assert_eq!(empty.error_code(&["join", &code, "--timeout", "5s"]), "bad_invite");
    assert_eq!(empty.json(&["peers"]), serde_json::json!([]));
    pair.codes.push(code);
    assert_eq!(pair.attic.place.json(&["peers"]).as_array().unwrap().len(), 1);
    format!("{reasons:?}; the peers are in step after {}", seconds(pair.in_step()))
}

/// A node that knows everything but the token: its client key is wrong, so that it does not reach the port.
pub(crate) fn wrong_token(pair: &mut Pair<'_>) -> String {
    let code = pair.attic.place.ok(&["invite"]);
    let guess = altered(&code, |json| json["token"] = "5a".repeat(16).into());
    let pier = TorNode::up("pier", pair.network.tor(7));
    let refused = pier.place.error_code(&["join", &guess, "--timeout", "20s"]);
    assert!(["no_answer", "join_refused"].contains(&refused.as_str()), "{refused}");
    sleep(Duration::from_secs(1));
    assert_eq!(pair.attic.place.json(&["peers"]).as_array().unwrap().len(), 1);
    let why = reason(&pier);
    drop(pier);
    // The real code still works: a guess burns nothing. And it works only until its holder is removed.
    let pier = TorNode::up("pier", pair.network.tor(7));
    pier.place.ok(&["join", &code, "--timeout", "90s"]);
    pair.codes.push(code);
    pair.attic.place.ok(&["remove", "pier"]);
    let (socks, onion, mut attempt) = (pair.network.tor(7).socks(), pair.attic.onion(), 0);
    let closed = within("a removed peer does not reach the port", LONG, || {
        attempt += 1;
        dial(&socks, &format!("removed-{attempt}"), &onion, 8662).is_err()
    });
    assert!(!pier.is_connected());
    let in_step = seconds(pair.in_step());
    format!(
        "{why}; the port is closed {} after the removal of a peer; the others are in step after {in_step}",
        seconds(closed)
    )
}

/// Why a node does not reach the peer that it asked to join.
fn reason(node: &TorNode<'_>) -> String {
    let links = node.place.json(&["links"]);
    let rows = links.as_array().unwrap().iter();
    rows.filter_map(|row| row["why"].as_str()).collect::<Vec<_>>().join("; ")
}

/// A code with another content.
fn altered(code: &str, change: impl Fn(&mut serde_json::Value)) -> String {
    use data_encoding::BASE64URL_NOPAD;
    let mut json =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(&code.as_bytes()["fed1:".len()..]).unwrap()).unwrap();
    change(&mut json);
    format!("fed1:{}", BASE64URL_NOPAD.encode(&serde_json::to_vec(&json).unwrap()))
}
