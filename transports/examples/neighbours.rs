//! Links between machines of one network, by mDNS alone: run it on two, with their numbers swapped.
//!
//! ```text
//! cargo run -p tombolo-transports --example neighbours -- 1 2
//! cargo run -p tombolo-transports --example neighbours -- 2 1
//! ```
//!
//! The first number stands for this node's key, the others for its peers' (keys for trying out, known
//! to everybody). Sends a greeting to every peer five times a second, and prints what happens with
//! the seconds since the start; after silence, how long it lasted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tombolo_transports::tls::Tls;
use tombolo_transports::{Lan, LanConfig, LinkEvent, LinkId, PeerId};

const EVERY: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_millis(700);

fn seed(number: &str) -> anyhow::Result<[u8; 32]> {
    Ok([number.parse()?; 32])
}

fn peer(number: &str) -> anyhow::Result<PeerId> {
    Ok(Tls::new(&seed(number)?, Default::default())?.id())
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::disallowed_methods, reason = "a program measures time")]
async fn main() -> anyhow::Result<()> {
    let numbers: Vec<String> = std::env::args().skip(1).collect();
    let Some((own, others)) = numbers.split_first() else {
        anyhow::bail!("usage: neighbours NUMBER PEER...")
    };
    let peers = others.iter().map(|number| peer(number)).collect::<anyhow::Result<Vec<_>>>()?;
    let begun = Instant::now();
    let at = || format!("{:8.3}", begun.elapsed().as_secs_f64());
    let (lan, mut events) = Lan::start(LanConfig { peers, ..LanConfig::new(seed(own)?) }).await?;
    println!("{} {} at {:?}", at(), lan.id(), lan.local_addresses());

    let mut links: BTreeMap<LinkId, (PeerId, Instant)> = BTreeMap::new();
    let mut heard: BTreeMap<PeerId, Instant> = BTreeMap::new();
    let mut hello = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = hello.tick() => {
                for link in links.keys() {
                    let _ = lan.send(*link, b"hello".to_vec());
                }
            }
            Some(event) = events.recv() => match event {
                LinkEvent::Up { link, peer, address, caps } => {
                    println!("{} {link} up: {peer} at {address}, {} ms", at(), caps.latency_ms);
                    links.insert(link, (peer, Instant::now()));
                }
                LinkEvent::Received { link, .. } => {
                    let Some((peer, _)) = links.get(&link) else { continue };
                    let now = Instant::now();
                    let silent = heard.insert(*peer, now).map(|last| now.duration_since(last));
                    if let Some(silent) = silent.filter(|silent| *silent > SILENCE) {
                        println!("{} {link} heard {peer} after {:.3} s", at(), silent.as_secs_f64());
                    }
                }
                LinkEvent::Down { link, reason } => {
                    links.remove(&link);
                    println!("{} {link} down: {reason}", at());
                }
                other => println!("{} {other:?}", at()),
            },
        }
    }
}
