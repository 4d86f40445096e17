//! A day of ten nodes on virtual time under one policy: what it costs and how late alarms are.
//!
//! Four nodes share a LAN, three have a radio and nothing else, three have both. All trust each other. Each publishes its state every
//! minute, a document is written every ten minutes, and every 47 minutes an app stops somewhere, which is an alarm for all. The LAN
//! is gone from 9:00 to 15:00. The radios are LongFast on the 10 % band of EU868.

use std::ops::Range;

use tombolo::federation::TrustLevel;
use tombolo::io::view::RouteOrder;
use tombolo::layer::{KeyPath, Kind};
use tombolo::node::{Admin, App, AppStatus, NodeState, Query, Reply, Write};
use tombolo::router::Preference;
use tombolo::time::{Millis, Mono};
use tombolo::watches::WatchRule;
use tombolo_delta::Value;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::{Region, Usage};
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_sim::field::{CableKind, Field, FieldConfig};
use tombolo_sim::{HOUR, MINUTE, SECOND};
use tombolo_transports::Medium;

use crate::air::{AirUse, AirWatch};

const NODES: usize = 10;
/// The nodes on the LAN; the last three of them also have a radio, as have all beyond.
const ON_LAN: usize = 7;
const WITH_RADIO: usize = 4;
const ONLY_RADIO: Range<usize> = ON_LAN..NODES;
/// Seconds between two looks at the ages of states.
const AGES_EVERY: u64 = 300;
/// An alarm that has not reached a node by then counts as missed there.
const ALARM_PATIENCE: Millis = Millis::from_secs(600);
/// How finely the arrival of an alarm is measured.
const ALARM_STEP: Millis = Millis::from_ms(100);

/// A policy that is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct DayPolicy {
    pub(super) name: &'static str,
    pub(super) preference: Preference,
}

/// The default, and what it is compared with.
pub(super) const POLICIES: [DayPolicy; 3] = [
    DayPolicy { name: "auto", preference: Preference::Auto },
    DayPolicy { name: "LAN, else Tor, else mesh", preference: Preference::LanFirst },
    DayPolicy { name: "mesh first", preference: Preference::MeshFirst },
];

/// What a day has cost, and how late its alarms were.
#[derive(Clone, Debug, Default)]
pub(super) struct DayRow {
    pub(super) cable_bytes: u64,
    pub(super) frames: u64,
    pub(super) air_bytes: u64,
    pub(super) airtime_s: f64,
    /// From the moment when an alarm was raised to its arrival at each node, seconds, sorted.
    pub(super) alarms_s: Vec<f64>,
    pub(super) missed: usize,
    /// What the airtime was spent on.
    pub(super) spent: AirUse,
    /// The age of the state of each other node at those that have only a radio, seconds, sorted.
    pub(super) ages_s: Vec<f64>,
}

impl DayRow {
    /// The alarm latency below which so many percent are.
    pub(super) fn alarm_s(&self, percent: usize) -> f64 {
        percentile(&self.alarms_s, percent)
    }

    /// The median age of a state at a node that has only a radio.
    pub(super) fn age_s(&self) -> f64 {
        percentile(&self.ages_s, 50)
    }

    pub(super) fn alarm_mean_s(&self) -> f64 {
        self.alarms_s.iter().sum::<f64>() / self.alarms_s.len().max(1) as f64
    }
}

/// The value of a sorted list below which so many percent are.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0.0)
}

/// An alarm on its way.
struct Pending {
    origin: usize,
    /// The alarms that stand at its origin already.
    earlier: Vec<String>,
    raised: Option<RaisedAt>,
    begun: Mono,
    missing: Vec<usize>,
}

/// The alarm that is followed: its id is the same on every node.
struct RaisedAt {
    id: String,
    at: Mono,
}

fn field(seed: u64) -> Field {
    let usage = Usage { frequency_hz: Some(869_525_000), ..Usage::default() };
    let rules = Region::Eu868.rules(usage).expect("a frequency of the region");
    let line = PhyRate::lora(Modulation::LONG_FAST);
    let config = FieldConfig { ledger: LedgerConfig::new(Some(rules)), ..FieldConfig::new(seed, line) };
    Field::new(config)
}

fn ask(field: &mut Field, at: usize, command: impl Into<tombolo::node::Command>) -> Reply {
    match field.ask(at, command) {
        Some(Ok(reply)) => reply,
        other => panic!("node {at}: {other:?}"),
    }
}

/// All trust each other: they joined over cables that are gone.
fn federation(field: &mut Field, nodes: usize, preference: Preference) {
    field.calls_reach = true;
    for node in 0..nodes {
        field.add(&format!("n{node}"), false).expect("a store in memory");
    }
    for inviter in 0..nodes {
        for joiner in inviter + 1..nodes {
            let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in: HOUR, addresses: vec![] };
            let Reply::Invite(invite) = ask(field, inviter, invite) else { panic!("an invite") };
            let request = field.begin(joiner, Admin::Join { code: invite.code, addresses: vec![] });
            assert!(field.run_until(MINUTE, |field| field.answer(joiner, request).is_some()), "joined");
            field.connect(inviter, joiner);
        }
    }
    field.run(MINUTE);
    field.calls_reach = false;
    for a in 0..nodes {
        (a + 1..nodes).for_each(|b| field.cut(a, b));
        ask(field, a, Admin::Route(RouteOrder { preference: Some(preference), ..RouteOrder::default() }));
    }
}

fn lan(field: &mut Field, is_there: bool) {
    for a in 0..ON_LAN {
        for b in a + 1..ON_LAN {
            match is_there {
                true => field.connect(a, b),
                false => field.cut(a, b),
            }
        }
    }
}

fn publish(field: &mut Field, at: usize, second: u64, runs: bool) {
    let status = if runs { AppStatus::Running } else { AppStatus::Stopped };
    let minute = second / 60 + at as u64;
    let state = NodeState {
        node_name: Some(format!("n{at}")),
        cpu_usage_percent: Some((minute * 37 % 1000) as f64 / 10.0),
        mem_used_bytes: Some(2_000_000_000 + minute * 4096 * 17 % 90_000_000),
        mem_total_bytes: Some(8_000_000_000),
        uptime_secs: Some(second),
        apps: vec![App { id: "web".to_owned(), status, version: None, health: None }],
        ..NodeState::default()
    };
    ask(field, at, Write::publish(state));
}

fn set(field: &mut Field, at: usize, doc: &str, key: &str, value: impl Into<Value>) {
    let key = KeyPath::parse(key).expect("a key");
    ask(field, at, Write::Set { doc: doc.into(), key, value: value.into() });
}

fn open_alarms(field: &mut Field, at: usize) -> Vec<String> {
    let Reply::Alarms(alarms) = ask(field, at, Query::Alarms) else { panic!("alarms") };
    alarms.into_iter().filter(|alarm| alarm.open).map(|alarm| alarm.id).collect()
}

/// Lets time pass under the eyes of a watch.
fn pass(field: &mut Field, watch: &mut AirWatch, length: Millis) {
    field.run_until(length, |field| {
        watch.look(field);
        false
    });
}

/// Lets a second pass, and notes which nodes an alarm has reached.
fn second(field: &mut Field, watch: &mut AirWatch, pending: &mut Option<Pending>, row: &mut DayRow) {
    let Some(alarm) = pending else { return pass(field, watch, SECOND) };
    for _ in 0..SECOND / ALARM_STEP {
        pass(field, watch, ALARM_STEP);
        let now = field.now();
        let Some(raised) = &alarm.raised else {
            let new = open_alarms(field, alarm.origin).into_iter().find(|id| !alarm.earlier.contains(id));
            alarm.raised = new.map(|id| RaisedAt { id, at: now - ALARM_STEP });
            continue;
        };
        let arrived: Vec<usize> =
            alarm.missing.iter().copied().filter(|at| open_alarms(field, *at).contains(&raised.id)).collect();
        alarm.missing.retain(|at| !arrived.contains(at));
        row.alarms_s.extend(arrived.iter().map(|_| now.since(raised.at).ms() as f64 / 1_000.0));
    }
    if alarm.missing.is_empty() || field.now() > alarm.begun + ALARM_PATIENCE {
        row.missed += alarm.missing.len();
        *pending = None;
    }
}

/// Notes how old the state of each other node is at those that have only a radio.
fn note_ages(field: &mut Field, second: u64, row: &mut DayRow) {
    for at in ONLY_RADIO {
        for of in (0..NODES).filter(|of| *of != at) {
            let peer = Some(tombolo::identity::did(&field.peer_id(of)));
            let Some(Ok(Reply::State(view))) = field.ask(at, Query::State { peer }) else { continue };
            let published = view.state.uptime_secs.unwrap_or(0);
            row.ages_s.push(second.saturating_sub(published) as f64);
        }
    }
}

/// What all radios have sent.
#[derive(Clone, Copy, Debug, Default)]
struct OnAirTotal {
    frames: u64,
    bytes: u64,
    airtime_us: u64,
}

fn on_air(field: &Field) -> OnAirTotal {
    field.air.all_stats().fold(OnAirTotal::default(), |total, (_, stats)| OnAirTotal {
        frames: total.frames + stats.sent_frames,
        bytes: total.bytes + stats.sent_bytes,
        airtime_us: total.airtime_us + stats.airtime_us,
    })
}

/// One day under a policy.
pub(super) fn day(policy: DayPolicy, seed: u64, hours: u64) -> DayRow {
    let mut field = field(seed);
    federation(&mut field, NODES, policy.preference);
    (WITH_RADIO..NODES).for_each(|node| field.switch_on(node));
    lan(&mut field, true);
    ask(&mut field, 0, Write::Create { name: "notes".into(), kind: Kind::Map });
    for at in 0..NODES {
        let peer = tombolo::identity::did(&field.peer_id(at));
        ask(
            &mut field,
            at,
            Admin::WatchFor(WatchRule { peer, apps: vec!["web".into()], ..WatchRule::default() }),
        );
        publish(&mut field, at, 0, true);
    }
    field.run(2 * HOUR);
    let (before, cable_bytes) = (on_air(&field), field.cable_bytes());
    let mut row = DayRow::default();
    let mut watch = AirWatch::new(&field, WITH_RADIO..NODES);
    let mut pending = None;
    let mut stopped = None;
    for now in 0..hours * 3_600 {
        match now {
            32_400 => lan(&mut field, false),
            54_000 => lan(&mut field, true),
            _ => {}
        }
        if now % 2_820 == 600 {
            let origin = (now / 2_820) as usize * 3 % NODES;
            let earlier = open_alarms(&mut field, origin);
            publish(&mut field, origin, now, false);
            stopped = Some((origin, now));
            let missing = (0..NODES).filter(|at| *at != origin).collect();
            pending = Some(Pending { origin, earlier, raised: None, begun: field.now(), missing });
        }
        if let Some((origin, since)) = stopped
            && now == since + 1_200
        {
            publish(&mut field, origin, now, true);
            stopped = None;
        }
        let runs = |at: usize| stopped.is_none_or(|(origin, _)| origin != at);
        if now % 6 == 0 {
            let at = (now / 6) as usize % NODES;
            publish(&mut field, at, now, runs(at));
        }
        if now % 600 == 300 {
            let at = (now / 600) as usize % NODES;
            let notes = if at == 0 { "notes" } else { "n0/notes" };
            set(&mut field, at, notes, &format!("k{}", now / 600 % 20), format!("watch {now}, all well"));
        }
        if now % AGES_EVERY == AGES_EVERY - 1 {
            note_ages(&mut field, now, &mut row);
        }
        second(&mut field, &mut watch, &mut pending, &mut row);
    }
    let after = on_air(&field);
    row.frames = after.frames - before.frames;
    row.air_bytes = after.bytes - before.bytes;
    row.airtime_s = (after.airtime_us - before.airtime_us) as f64 / 1e6;
    row.cable_bytes = field.cable_bytes() - cable_bytes;
    row.spent = watch.spent;
    row.alarms_s.sort_by(f64::total_cmp);
    row.ages_s.sort_by(f64::total_cmp);
    row
}

/// What a link through Tor is here: 400 ms one way, 200 kbit/s.
const TOR: CableKind =
    CableKind { medium: Medium::Tor, latency: Millis::from_ms(400), rate_bps: Some(200_000) };

/// Seconds until a document of 20 kB is at a peer with a radio and Tor, and what the best plan would take that knows both rates
/// beforehand.
pub(super) fn document(seed: u64) -> (f64, f64) {
    let mut field = field(seed);
    federation(&mut field, 2, Preference::Auto);
    (0..2).for_each(|node| field.switch_on(node));
    field.connect_over(0, 1, TOR);
    ask(&mut field, 0, Write::Create { name: "plan".into(), kind: Kind::Map });
    field.run(HOUR);
    let mut letter = seed | 1;
    let text: String = (0..20_000)
        .map(|_| {
            letter = letter.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            char::from(b'!' + (letter >> 33) as u8 % 94)
        })
        .collect();
    let (begun, bytes) = (field.now(), field.cable_bytes());
    set(&mut field, 0, "plan", "text", text);
    // What the message takes, before anything else follows it.
    let sent = field.cable_bytes() - bytes;
    let has_it = |field: &mut Field| {
        matches!(field.ask(1, Query::Get { doc: "plan".into(), key: None }),
            Some(Ok(Reply::Value(value))) if value.get("text").is_some())
    };
    assert!(field.run_until(HOUR, has_it), "the document arrives");
    let took_s = field.now().since(begun).ms() as f64 / 1_000.0;
    let rate = TOR.rate_bps.expect("a rate") as f64;
    (took_s, TOR.latency.ms() as f64 / 1_000.0 + sent as f64 * 8.0 / rate)
}
