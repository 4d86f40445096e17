//! A node that only asks: one HTTP request a minute, both ways.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::network::TorNetwork;
use super::ours::seconds_until;
use super::scripted::Place;
use super::scripted::client::dial;
use super::scripted::door::Stream;
use super::tap::Tap;
use super::{Figures, TorArguments, median};

const POLLS_AN_HOUR: f64 = 60.0;
/// A change waits for half the interval in the mean.
const WAIT_S: f64 = 30.0;

pub(crate) fn measure(network: &TorNetwork, arguments: &TorArguments, state: &str) -> Figures {
    let (home, away) = (network.tor(1), network.tor(2));
    let target = serve(state.to_owned());
    let tap = Tap::before(away.socks());
    let (mut first, mut healed, mut asked, mut bytes) = (vec![], vec![], vec![], vec![]);
    for _ in 0..arguments.rounds {
        let mut controller = home.controller();
        let answer = controller.ask(&format!("ADD_ONION NEW:BEST Flags=DiscardPK Port=80,{target}"));
        let name = answer[0].strip_prefix("250-ServiceID=").unwrap().to_owned();
        first.push(seconds_until(|| poll(&tap.at(), &name)));
        let before = tap.bytes();
        let begun = Instant::now();
        assert!(poll(&tap.at(), &name));
        asked.push(begun.elapsed().as_secs_f64());
        bytes.push((tap.bytes() - before) as f64);
        let mut closer = away.controller();
        for line in closer.block("GETINFO circuit-status") {
            let words: Vec<&str> = line.split(' ').collect();
            if line.contains("PURPOSE=HS_CLIENT_REND") {
                closer.ask(&format!("CLOSECIRCUIT {}", words[0]));
            }
        }
        healed.push(seconds_until(|| poll(&tap.at(), &name)));
    }
    let bytes = median(bytes);
    // Each of the two asks the other.
    let hour = 2.0 * POLLS_AN_HOUR * bytes;
    Figures {
        first_session_s: median(first),
        after_killed_circuit_s: WAIT_S + median(healed),
        change_s: WAIT_S + median(asked),
        change_bytes: bytes,
        idle_hour_bytes: hour,
        state_a_minute_hour_bytes: hour,
    }
}

/// Answers every request with this text.
fn serve(state: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let body = format!("{{\"result\":{state}}}");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
    });
    at
}

/// One request with the headers of the call; returns whether it was answered.
fn poll(socks: &Place, name: &str) -> bool {
    let Ok(stream) = dial(socks, "poll", name, 80) else { return false };
    let Stream::Tcp(tcp) = &stream else { unreachable!("tor's SOCKS port is one of TCP") };
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let body = r#"{"method":"federation.get-state","params":{}}"#;
    let did = "z6Mk".repeat(12);
    let request = format!(
        "POST /rpc/v1 HTTP/1.1\r\nhost: {name}.onion\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-federation-did: did:key:{did}\r\nx-federation-timestamp: 2026-01-01T00:00:00Z\r\n\
         x-federation-sig: {}\r\n\r\n{body}",
        body.len(),
        "00".repeat(64)
    );
    let mut answer = String::new();
    (&mut &stream).write_all(request.as_bytes()).is_ok()
        && (&mut &stream).read_to_string(&mut answer).is_ok()
        && answer.contains("\"result\"")
}
