//! Secrets that were planted everywhere are in no log, and in nothing that passed on the loopback but what goes to tor's own
//! control port.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

use super::capture::CapturedStream;
use super::lanes::Pair;
use super::network::TorNetwork;
use super::node::TorNode;

/// How many values of the document are secrets.
const VALUES: usize = 180;
const INVITES: usize = 12;

/// Values, tokens, keys and cookies; then the logs of both daemons and of all tors are searched for each, in each form in
/// which a program would print it.
pub(crate) fn planted_and_found_nowhere(pair: &mut Pair<'_>) -> String {
    let mut secrets: Vec<Vec<u8>> = vec![];
    let mut document = serde_json::Map::new();
    for number in 0..VALUES {
        let value = HEXLOWER.encode(&Sha256::digest(format!("planted {number}"))[..12]);
        document.insert(format!("s{number}"), value.as_str().into());
        secrets.push(value.into_bytes());
    }
    pair.boat.place.ok(&["set", "attic/plan", "vault", &serde_json::Value::from(document).to_string()]);
    for _ in 0..INVITES {
        pair.codes.push(pair.attic.place.ok(&["invite"]));
    }
    pair.in_step();
    let tokens: Vec<Vec<u8>> = pair.codes.iter().map(|code| token(code)).collect();
    secrets.extend(tokens);
    for node in [&pair.attic, &pair.boat] {
        secrets.extend(secrets_of(node));
    }
    assert!(secrets.len() >= 200, "{}", secrets.len());

    let mut texts: Vec<(String, Vec<u8>)> =
        [&pair.attic, &pair.boat].map(|node| ("a daemon's log".to_owned(), node.log().into_bytes())).into();
    assert!(texts.iter().all(|(_, text)| text.len() > 500), "the daemons log");
    logs(pair.network.folder(), &mut texts);
    let forms: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| forms_of(secret)).collect();
    for (name, text) in &texts {
        if let Some(found) = first_found(text, &forms) {
            panic!("{name} has a secret: {}", String::from_utf8_lossy(found));
        }
    }
    let bytes: usize = texts.iter().map(|(_, text)| text.len()).sum();
    let (count, logs) = (secrets.len(), texts.len());
    pair.network.plant(secrets);
    format!("{count} secrets in {} forms, none in {logs} logs of {bytes} bytes", forms.len())
}

/// Searches all streams of a capture. A control port is left out: there a daemon gives tor the key of its onion service and
/// the keys to others', and this test logs in with the cookie in clear. That the keys are found there shows that the search
/// finds what is there. All else is searched: SOCKS ports, what tor brings to the daemons, and the links of relays and
/// authorities.
pub(crate) fn in_no_stream(network: &TorNetwork, streams: &[CapturedStream]) -> String {
    let secrets = network.planted();
    let forms: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| forms_of(secret)).collect();
    let [control, socks] = network.ports();
    let is_of =
        |stream: &CapturedStream, ports: &[u16]| ports.contains(&stream.from) || ports.contains(&stream.to);
    let (to_control, others): (Vec<&CapturedStream>, Vec<&CapturedStream>) =
        streams.iter().partition(|stream| is_of(stream, &control));
    for stream in &others {
        if let Some(found) = first_found(&stream.bytes, &forms) {
            let (from, to, secret) = (stream.from, stream.to, String::from_utf8_lossy(found));
            panic!("a secret passed from port {from} to port {to}: {secret}");
        }
    }
    let shown = to_control.iter().filter(|stream| first_found(&stream.bytes, &forms).is_some()).count();
    assert!(secrets.is_empty() || shown > 0, "the search finds nothing, though tor was given keys");
    let through_socks = others.iter().filter(|stream| is_of(stream, &socks)).count();
    let bytes: usize = others.iter().map(|stream| stream.bytes.len()).sum();
    assert!(through_socks > 0 && bytes > 100_000, "{through_socks} streams of SOCKS, {bytes} bytes");
    format!(
        "{} secrets in {} forms: none in {} streams ({through_socks} of SOCKS ports), {bytes} bytes; left out: {} streams of \
         control ports, of which {shown} have some",
        secrets.len(),
        forms.len(),
        others.len(),
        to_control.len()
    )
}

/// The seeds of a node, the cookie of its tor, the keys by which its tor opens others' services.
fn secrets_of(node: &TorNode<'_>) -> Vec<Vec<u8>> {
    let file = std::fs::read_to_string(node.place.folder.join("identity.key")).unwrap();
    let seeds =
        file.lines().filter_map(|line| HEXLOWER.decode(line.split_whitespace().nth(1)?.as_bytes()).ok());
    let mut secrets: Vec<Vec<u8>> = seeds.filter(|seed| seed.len() == 32).collect();
    assert_eq!(secrets.len(), 2, "two seeds");
    // What tor is given of the second: expanded.
    secrets.push(sha2::Sha512::digest(&secrets[1])[1..31].to_vec());
    secrets.push(std::fs::read(node.tor.cookie()).unwrap());
    let keys = node.tor.controller().block("ONION_CLIENT_AUTH_VIEW");
    let keys = keys.iter().filter_map(|line| line.split("x25519:").nth(1)?.split(' ').next());
    secrets.extend(keys.map(|key| BASE64.decode(key.as_bytes()).unwrap()));
    secrets
}

/// The token of an invite code.
fn token(code: &str) -> Vec<u8> {
    let json = BASE64URL_NOPAD.decode(&code.as_bytes()["fed1:".len()..]).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    HEXLOWER.decode(json["token"].as_str().unwrap().as_bytes()).unwrap()
}

/// As bytes, in hex and base64, and as a list of numbers.
fn forms_of(secret: &[u8]) -> Vec<Vec<u8>> {
    let numbers = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    // The last characters of base64 differ with what follows.
    let base64 = |text: String| text[..text.len() - 2].to_owned();
    let texts = [
        HEXLOWER.encode(secret),
        HEXUPPER.encode(secret),
        base64(BASE64_NOPAD.encode(secret)),
        base64(BASE64URL_NOPAD.encode(secret)),
        numbers,
    ];
    texts.into_iter().map(String::into_bytes).chain([secret.to_vec()]).collect()
}

/// All files below a folder whose name ends in `.log`.
fn logs(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            logs(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "log") {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
    }
}

/// The first of the forms that a text has in it, by one look at each place.
fn first_found<'a>(text: &[u8], forms: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    let mut by_start: HashMap<[u8; 8], Vec<&'a [u8]>> = HashMap::new();
    // Most places are passed over by their first two bytes.
    let mut begins = vec![false; 1 << 16];
    for form in forms {
        by_start.entry(*form.first_chunk().unwrap()).or_default().push(form);
        begins[usize::from(u16::from_be_bytes([form[0], form[1]]))] = true;
    }
    let places = text.windows(2).enumerate();
    let places = places.filter(|(_, two)| begins[usize::from(u16::from_be_bytes([two[0], two[1]]))]);
    places.map(|(at, _)| at).find_map(|at| {
        let candidates = by_start.get(text[at..].first_chunk::<8>()?)?;
        candidates.iter().copied().find(|form| text[at..].starts_with(form))
    })
}

#[test]
fn a_secret_in_a_log_is_found() {
    let forms = forms_of(&[7; 16]);
    for form in &forms {
        let text = [b"INFO key=", form.as_slice(), b"\n"].concat();
        assert!(first_found(&text, &forms).is_some(), "{}", String::from_utf8_lossy(form));
    }
    assert_eq!(first_found(b"INFO nothing here", &forms), None);
}
