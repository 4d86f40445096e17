//! Decisions of the router a second: one decision is one message to one peer, with every reason kept.
//!
//! ```text
//! cargo bench --bench router -- [--peers N] [--decisions N] [--rounds N] [--hours N] [--seed N] [--json]
//! ```
//!
//! Each peer has three links: LAN, Tor and a radio. The rows are the median of the rounds:
//!
//! | row | what is counted |
//! |---|---|
//! | `route` | what a node does for each message: question, decision, counters, journal |
//! | `heartbeats` | the same where equal decisions follow each other and are folded |
//! | `decide` | the pure function alone, on a question that is made before |
//!
//! Then a day of ten nodes on virtual time under each policy ([`day`]): bytes, airtime and its uses ([`air`]), and how late alarms
//! are. The frames that brought a node a state which it did not have are the least that any choice of links has to send. And how long a
//! document of 20 kB takes to a peer with a radio and Tor, beside the best plan. `--hours 0` leaves both out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement may panic, and reads clocks"
)]

mod air;
mod day;

use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use tombolo::router::{Class, RadioScope, Request, RouteTime, Subject, TransportRouter, decide};
use tombolo::time::{Millis, Mono};
use tombolo_transports::{LinkCaps, LinkId, Medium, PeerId};

/// Decisions of the router a second.
#[derive(Parser)]
struct RouterArguments {
    /// Peers, with three links each.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    peers: u64,
    /// Decisions of one round.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    decisions: u64,
    /// Rounds; each row is the median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Hours of the day that is simulated.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(0..=24))]
    hours: u64,
    /// The seed of the simulated day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

const RADIO: LinkId = LinkId(1);

fn caps(medium: Medium) -> LinkCaps {
    let (rate_bps, latency_ms, airtime_us_per_byte) = match medium {
        Medium::Mesh => (Some(1_000), 500, 8_000),
        Medium::Tor => (Some(1_000_000), 400, 0),
        Medium::Lan | Medium::Memory => (Some(100_000_000), 1, 0),
    };
    LinkCaps {
        medium,
        message_bytes_max: 64 << 10,
        rate_bps,
        latency_ms,
        loss_permille: 10,
        broadcast: medium == Medium::Mesh,
        metered: false,
        confidential: true,
        airtime_us_per_byte,
        airtime_left: (medium == Medium::Mesh).then_some(Millis::from_secs(30)),
    }
}

fn peer(n: u64) -> PeerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    PeerId(key)
}

fn router(peers: u64) -> TransportRouter {
    let mut router = TransportRouter::default();
    router.table.radio(RADIO, "hill", caps(Medium::Mesh), None);
    for n in 0..peers {
        router.table.link_up(peer(n), LinkId(10 + 2 * n), caps(Medium::Lan), Mono::ZERO);
        router.table.link_up(peer(n), LinkId(11 + 2 * n), caps(Medium::Tor), Mono::ZERO);
        router.table.present(peer(n), RADIO, Mono::NEVER);
    }
    router
}

fn now() -> RouteTime {
    RouteTime { mono: Mono::from_ms(1_000_000), minute_of_day: 600 }
}

/// A state of a document of its own for each message, so that no two decisions are folded.
fn subject(n: u64) -> Subject {
    Subject::Layer { owner: peer(0), name: "plan".to_owned(), author: peer(1), sequence: n }
}

/// Runs so many decisions; returns how many were made a second.
fn measure(decisions: u64, mut decision: impl FnMut(u64)) -> f64 {
    let begun = Instant::now();
    (0..decisions).for_each(&mut decision);
    decisions as f64 / begun.elapsed().as_secs_f64()
}

fn median(rounds: u32, mut round: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..rounds).map(|_| round()).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let RouterArguments { peers, decisions, rounds, hours, seed, json, bench: _ } = RouterArguments::parse();
    let classes = [Class::State, Class::Document, Class::Command, Class::Rights];
    let request = |n: u64| Request::new(classes[n as usize % classes.len()], 100 + n as usize % 200);
    let route = median(rounds, || {
        let mut router = router(peers);
        measure(decisions, |n| {
            let to = peer(n % peers);
            black_box(router.route(to, subject(n), request(n), RadioScope::Present, now()));
        })
    });
    let heartbeats = median(rounds, || {
        let mut router = router(peers);
        let heartbeat = Request::new(Class::Upkeep, 40);
        measure(decisions, |n| {
            black_box(router.route(peer(n % peers), Subject::Engine, heartbeat, RadioScope::Present, now()));
        })
    });
    let router = router(peers);
    let questions: Vec<_> = (0..peers)
        .map(|n| {
            router.table.question(&peer(n), request(n), RadioScope::Present, &router.policy, None, now())
        })
        .collect();
    assert!(questions.iter().all(|question| question.links.len() == 3), "three links to each peer");
    let alone = median(rounds, || {
        measure(decisions, |n| {
            black_box(decide(questions[n as usize % questions.len()].clone()));
        })
    });
    if !json {
        println!(
            "decisions a second, {peers} peers with 3 links each, median of {rounds} rounds of {decisions}"
        );
    }
    for (row, per_second) in [("route", route), ("heartbeats", heartbeats), ("decide", alone)] {
        match json {
            true => println!(
                "{}",
                serde_json::json!({"row": row, "peers": peers, "links": 3, "per_second": per_second.round()})
            ),
            false => println!("  {row:<12}{per_second:>14.0}"),
        }
    }
    if hours > 0 {
        days(hours, seed, json);
    }
}

/// The simulated day under each policy, and the document.
fn days(hours: u64, seed: u64, json: bool) {
    if !json {
        println!(
            "\na day of 10 nodes, {hours} h, seed {seed}: 4 on a LAN, 3 with a radio, 3 with both; the LAN is gone from 9:00 to 15:00"
        );
        println!(
            "  {:<26}{:>10}{:>9}{:>11}{:>9}{:>9}{:>9}{:>9}{:>8}",
            "policy", "LAN kB", "frames", "airtime s", "mean s", "p50 s", "p95 s", "worst s", "missed"
        );
    }
    let mut rows = Vec::new();
    for policy in day::POLICIES {
        let row = day::day(policy, seed, hours);
        let [p50, p95, worst] = [50, 95, 100].map(|percent| row.alarm_s(percent));
        match json {
            true => println!(
                "{}",
                serde_json::json!({
                    "row": "day", "policy": policy.name, "preference": policy.preference, "hours": hours, "seed": seed,
                    "lan_bytes": row.cable_bytes, "frames": row.frames, "air_bytes": row.air_bytes,
                    "airtime_s": row.airtime_s, "alarms": row.alarms_s.len(), "alarm_mean_s": row.alarm_mean_s(),
                    "alarm_p50_s": p50, "alarm_p95_s": p95, "alarm_worst_s": worst, "missed": row.missed,
                    "state_age_p50_s": row.age_s(),
                    "air_s": row.spent.named_s().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
                })
            ),
            false => println!(
                "  {:<26}{:>10}{:>9}{:>11.0}{:>9.2}{:>9.1}{:>9.1}{:>9.1}{:>8}",
                policy.name,
                row.cable_bytes / 1000,
                row.frames,
                row.airtime_s,
                row.alarm_mean_s(),
                p50,
                p95,
                worst,
                row.missed
            ),
        }
        if !json {
            let uses: Vec<String> =
                row.spent.named_s().iter().map(|(name, seconds)| format!("{name} {seconds:.0}")).collect();
            println!("      s on air: {}; states at radios {:.0} s old", uses.join(", "), row.age_s());
        }
        rows.push(row);
    }
    if let [auto, .., mesh_first] = rows.as_slice() {
        let (used, least) =
            (auto.airtime_s / mesh_first.airtime_s, auto.spent.needed_s() / mesh_first.airtime_s);
        match json {
            true => println!(
                "{}",
                serde_json::json!({"row": "auto_of_mesh_first", "airtime": used, "new_states_alone": least})
            ),
            false => println!(
                "auto spends {used:.2} of the airtime of mesh first; the frames that brought a node something new alone are {least:.2}"
            ),
        }
    }
    let (took_s, best_s) = day::document(seed);
    let ratio = took_s / best_s;
    match json {
        true => println!(
            "{}",
            serde_json::json!({"row": "document_20_kB", "took_s": took_s, "best_s": best_s, "ratio": ratio})
        ),
        false => println!(
            "a document of 20 kB to a peer with radio and Tor: {took_s:.3} s, best plan {best_s:.3} s, {ratio:.2} times"
        ),
    }
}
