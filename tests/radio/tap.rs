//! What goes to the antenna reveals nothing to an outsider.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::parts::{LONG, RadioNode, Tncs, done, in_step, join, within};

/// Stands between a daemon and its TNC and keeps all bytes, both ways.
struct Tap {
    address: String,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn before(tnc: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (tnc, kept) = (tnc.to_owned(), bytes.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&tnc)) else { return };
                let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (kept_back, kept_forth) = (kept.clone(), kept.clone());
                std::thread::spawn(move || copy(client, forth, &kept_forth));
                std::thread::spawn(move || copy(server, back, &kept_back));
            }
        });
        Tap { address, bytes }
    }

    /// All that passed, as frames hold it: KISS writes 0xC0 and 0xDB as two bytes each.
    fn frames(&self) -> Vec<u8> {
        let bytes = self.bytes.lock().unwrap();
        let mut plain = Vec::with_capacity(bytes.len());
        let mut escaped = false;
        for &byte in bytes.iter() {
            match (escaped, byte) {
                (true, 0xDC) => plain.push(0xC0),
                (true, 0xDD) => plain.push(0xDB),
                (false, 0xDB) => {}
                (_, byte) => plain.push(byte),
            }
            escaped = !escaped && byte == 0xDB;
        }
        plain
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 2048];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        kept.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn the_air_never_carries_a_secret_a_name_or_an_identity() {
    if done("tap::the_air_never_carries_a_secret_a_name_or_an_identity") {
        return;
    }
    let Some(tncs) = Tncs::start(&[]) else { return };
    let taps = [Tap::before(&tncs.kiss[0]), Tap::before(&tncs.kiss[1])];
    let url = |n: usize| format!("kiss+tcp://{}?bitrate=9600&region=wired", taps[n].address);
    let attic = RadioNode::up("Dachboden-Nord", "127.0.0.1:0", &url(0));
    let boat = RadioNode::up("Rettungsboot-7", "[::1]:0", &url(1));
    let code = join(&attic, &boat);
    attic.place.ok(&["create", "plan"]);
    attic.place.ok(&["set", "plan", "Losungswort", "Schwarzer Schwan 4711"]);
    in_step(&attic, &boat);
    within("the right to write", LONG, || {
        boat.place.run(&["set", "Dachboden-Nord/plan", "Antwort", "Weisse Taube 0815"]).status.success()
    });
    within("the answer", LONG, || attic.get("Antwort").is_some());

    let ids = [attic.place.json(&["id"]), boat.place.json(&["id"])];
    let mut needles: Vec<Vec<u8>> =
        ["Dachboden", "Rettungsboot", "Losungswort", "Schwan", "Antwort", "Taube", "audience", "did:key"]
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect();
    let json = data_encoding::BASE64URL_NOPAD.decode(&code.as_bytes()["fed1:".len()..]).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let token = json["token"].as_str().unwrap().as_bytes();
    needles.extend([token.to_vec(), data_encoding::HEXLOWER.decode(token).unwrap()]);
    for id in &ids {
        let key = data_encoding::HEXLOWER.decode(id["pubkey"].as_str().unwrap().as_bytes()).unwrap();
        needles.push(key[..8].to_vec());
        needles.push(id["pubkey"].as_str().unwrap().as_bytes()[..16].to_vec());
        needles.push(id["did"].as_str().unwrap().as_bytes()[8..24].to_vec());
        needles.push(id["onion"].as_str().unwrap().as_bytes()[..16].to_vec());
    }
    for tap in &taps {
        let bytes = tap.frames();
        assert!(bytes.len() > 500, "{} bytes: nothing was seen", bytes.len());
        for needle in &needles {
            assert!(!contains(&bytes, needle), "{:?} is on the air", String::from_utf8_lossy(needle));
        }
    }
}
