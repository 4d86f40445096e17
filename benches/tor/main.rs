//! Seconds and bytes of two daemons that share only Tor, beside a plain JSON poll every minute over the same tors.
//!
//! ```text
//! cargo bench --bench tor -- [--rounds N] [--idle SECONDS] [--json]
//! ```
//!
//! Needs Linux, tor and python3, and prints so where they are missing: the network is `scripts/lab/tor-testnet`, on the
//! loopback. Round trips take about 15 ms there: the public network adds its own delays to every row of seconds.
//!
//! The poll is what a node does that only asks: `POST /rpc/v1` on the peer's onion service, a connection each, the answer
//! being the peer's real node state. A change waits for the next poll, 30 s in the mean; that is in its rows. *Bytes* are
//! those handed to tor and taken from it, both ways, with TLS and SOCKS; tor's cells and its directory come on top.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement may panic, and reads clocks"
)]

#[cfg(target_os = "linux")]
#[path = "../../tests/cli/harness.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod harness;
#[cfg(target_os = "linux")]
#[path = "../../tests/tor/network.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod network;
#[cfg(target_os = "linux")]
#[path = "../../tests/tor/node.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod node;
#[cfg(target_os = "linux")]
mod ours;
#[cfg(target_os = "linux")]
mod poll;
#[cfg(target_os = "linux")]
#[path = "../../transports/tests/scripted/mod.rs"]
mod scripted;
#[cfg(target_os = "linux")]
mod tap;

use clap::Parser;

/// Seconds and bytes over Tor.
#[derive(Parser)]
struct TorArguments {
    /// How often each row of seconds is measured; the row is the median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of quiet that are measured for an hour's bytes.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(10..))]
    idle: u64,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was measured of one way to keep two nodes in step.
#[derive(Clone, Debug)]
struct Figures {
    first_session_s: f64,
    after_killed_circuit_s: f64,
    change_s: f64,
    change_bytes: f64,
    idle_hour_bytes: f64,
    state_a_minute_hour_bytes: f64,
}

impl Figures {
    fn rows(&self) -> [(&'static str, f64); 6] {
        [
            ("seconds from ADD_ONION to the first session", self.first_session_s),
            ("seconds from a killed circuit to the next message", self.after_killed_circuit_s),
            ("seconds until a change has arrived", self.change_s),
            ("bytes of one change", self.change_bytes),
            ("bytes of an idle hour", self.idle_hour_bytes),
            ("bytes of an hour with a node state a minute", self.state_a_minute_hour_bytes),
        ]
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(not(target_os = "linux"))]
fn main() {
    let _ = TorArguments::parse();
    println!("SKIPPED: needs Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    let arguments = TorArguments::parse();
    let Some(network) = network::TorNetwork::start(2) else { return };
    let (ours, state) = ours::measure(&network, &arguments);
    let poll = poll::measure(&network, &arguments, &state);
    if !arguments.json {
        println!("{:52} {:>12} {:>12}", "over a private Tor network", "tombolo", "poll 1/min");
    }
    for ((name, ours), (_, poll)) in ours.rows().into_iter().zip(poll.rows()) {
        if arguments.json {
            println!("{}", serde_json::json!({ "row": name, "tombolo": ours, "poll": poll }));
        } else if name.starts_with("seconds") {
            println!("{name:52} {ours:>12.2} {poll:>12.2}");
        } else {
            println!("{name:52} {ours:>12.0} {poll:>12.0}");
        }
    }
}
