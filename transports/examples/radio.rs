//! One radio, by hand: what it hears is printed, and each line typed goes out as a frame.
//!
//! ```text
//! cargo run -p tombolo-transports --example radio -- 'kiss+tcp://localhost:8001?bitrate=9600'
//! cargo run -p tombolo-transports --example radio -- meshtastic+serial:///dev/ttyUSB0
//! ```
//!
//! For trying out a radio and its settings. Nothing is sealed here, and no ledger keeps the law.

use std::collections::VecDeque;
use std::io::BufRead;
use tokio::sync::mpsc;
use tombolo_transports::radio::{Radio, RadioEvent, RadioId, RadioUrl};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Some(url) = std::env::args().nth(1) else { anyhow::bail!("usage: radio URL") };
    let (tell, mut events) = mpsc::channel(64);
    let radio = Radio::open(RadioId(0), RadioUrl::parse(&url)?, tell);
    let mut lines = lines();
    let (mut ready, mut waiting) = (false, VecDeque::new());
    loop {
        tokio::select! {
            Some(line) = lines.recv() => waiting.push_back(line),
            Some((_, event)) = events.recv() => {
                match &event {
                    RadioEvent::Received(frame) => println!("heard {:?}", String::from_utf8_lossy(frame)),
                    RadioEvent::Ready => {}
                    other => println!("{other:?}"),
                }
                ready = match event {
                    RadioEvent::Ready => true,
                    RadioEvent::Down { .. } => false,
                    _ => ready,
                };
            }
            else => return Ok(()),
        }
        while ready && let Some(line) = waiting.pop_front() {
            match radio.send(line) {
                Ok(()) => ready = false,
                Err(error) => println!("{error}"),
            }
        }
    }
}

/// What is typed, a line at a time.
fn lines() -> mpsc::Receiver<Vec<u8>> {
    let (tell, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        let typed = std::io::stdin().lock().lines().map_while(Result::ok);
        typed.into_iter().try_for_each(|line| tell.blocking_send(line.into_bytes()))
    });
    lines
}
