//! Each verdict, from facts that are written here.

use serde_json::json;

use super::super::CheckVerdict;
use super::super::permission::tests::{ada, file};
use super::*;
use crate::time::{Millis, Wall};

const NOW: Wall = Wall::from_ms(BUILD_DATE.ms() + 1_000_000_000);

fn has(finding: &Finding, verdict: CheckVerdict, words: &[&str]) {
    let text = format!("{} {}", finding.reason, finding.remedy.as_deref().unwrap_or_default());
    assert_eq!(finding.verdict, verdict, "{text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    // What is amiss has a remedy.
    assert_eq!(finding.remedy.is_none(), verdict == CheckVerdict::Ok, "{text}");
}

fn folder_facts(mode: u32, key_mode: u32) -> FolderFacts {
    FolderFacts {
        path: "/srv/n".into(),
        folder: Some(file("/srv/n", 1000, 1000, mode)),
        key: Some(file("/srv/n/identity.key", 1000, 1000, key_mode)),
        has_store: true,
        key_error: None,
    }
}

#[test]
fn modes_and_owners_of_the_folder_are_judged() {
    let judged = |facts: FolderFacts, user: LocalUser| {
        let [folder, key] = <[Finding; 2]>::try_from(super::folder(&facts, &user)).unwrap();
        (folder, key)
    };
    let (folder, key) = judged(folder_facts(0o700, 0o600), ada());
    has(&folder, CheckVerdict::Ok, &["/srv/n"]);
    has(&key, CheckVerdict::Ok, &[]);
    has(
        &judged(folder_facts(0o750, 0o600), ada()).0,
        CheckVerdict::Warning,
        &["chmod 700 /srv/n", "mode 750"],
    );
    has(&judged(folder_facts(0o770, 0o600), ada()).0, CheckVerdict::NeedsDoing, &["chmod 700", "change"]);
    has(
        &judged(folder_facts(0o700, 0o640), ada()).1,
        CheckVerdict::NeedsDoing,
        &["chmod 600 /srv/n/identity.key"],
    );
    let root = LocalUser { uid: 0, name: "root".to_owned(), ..ada() };
    has(&judged(folder_facts(0o700, 0o600), root).0, CheckVerdict::Warning, &["sudo -u ada"]);
    let other = LocalUser { uid: 7, name: "bob".to_owned(), ..ada() };
    has(
        &judged(folder_facts(0o700, 0o600), other).0,
        CheckVerdict::NeedsDoing,
        &["owner ada", "chown -R bob"],
    );
    let foreign = FolderFacts { key: Some(file("k", 0, 0, 0o600)), ..folder_facts(0o700, 0) };
    has(&judged(foreign, ada()).1, CheckVerdict::NeedsDoing, &["chown ada k"]);
    let lost = FolderFacts { key: None, ..folder_facts(0o700, 0) };
    has(&judged(lost, ada()).1, CheckVerdict::NeedsDoing, &["no identity.key", "put the key file back"]);
    let none = FolderFacts { folder: None, key: None, ..folder_facts(0, 0) };
    let found = super::folder(&none, &ada());
    has(&found[0], CheckVerdict::NeedsDoing, &["tombolo init"]);
    assert_eq!(found.len(), 1);
}

#[test]
fn a_node_runs_or_its_store_opens() {
    let judged = |running, status| super::node(&NodeFacts { running, status });
    has(&judged(true, Ok(json!({}))), CheckVerdict::Ok, &["answers"]);
    has(&judged(false, Ok(json!({}))), CheckVerdict::Ok, &["tombolo up"]);
    let error = |code: &str| Err((code.to_owned(), "the reason".to_owned()));
    has(&judged(true, error("no_answer")), CheckVerdict::NeedsDoing, &["the reason", "log"]);
    has(&judged(false, error("in_use")), CheckVerdict::NeedsDoing, &["fuser"]);
    has(&judged(false, error("disk_full")), CheckVerdict::NeedsDoing, &["space"]);
    has(&judged(false, error("store_damaged")), CheckVerdict::NeedsDoing, &["the reason names the command"]);
}

#[test]
fn a_clock_is_judged_by_kernel_settings_and_peers() {
    let facts = |kernel| ClockFacts { wall: NOW, kernel, services: vec!["chrony"], vouched: false };
    let own = |facts: ClockFacts, source| super::own_clock(&facts, source);
    use KernelClock::{NotSynchronised, Synchronised, Unknown};
    has(&own(facts(Synchronised), Some("own")), CheckVerdict::Ok, &["chrony"]);
    has(&own(facts(NotSynchronised), None), CheckVerdict::Warning, &["not synchronised", "chrony"]);
    has(&own(ClockFacts { vouched: true, ..facts(NotSynchronised) }, None), CheckVerdict::Ok, &["vouch"]);
    has(&own(facts(Unknown), None), CheckVerdict::Ok, &["chrony"]);
    has(
        &own(ClockFacts { services: vec![], ..facts(Unknown) }, None),
        CheckVerdict::Warning,
        &["no time service"],
    );
    let early = ClockFacts { wall: Wall::from_ms(1_000), ..facts(Synchronised) };
    has(&own(early, None), CheckVerdict::NeedsDoing, &["1970", "date -s"]);
    has(&own(facts(Synchronised), Some("median")), CheckVerdict::NeedsDoing, &["10 minutes"]);
    has(&own(facts(Unknown), Some("peer")), CheckVerdict::NeedsDoing, &["clock of a peer"]);
    has(&own(facts(Unknown), Some("logical")), CheckVerdict::NeedsDoing, &["not set"]);
}

#[test]
fn peers_whose_clock_differs_are_named() {
    let facts = ClockFacts { wall: NOW, kernel: KernelClock::Synchronised, services: vec![], vouched: false };
    let status = json!({"time_source": "own", "clocks": [
        {"name": "hut", "ahead_s": 1500}, {"name": "boat", "ahead_s": -120}, {"name": "mill", "ahead_s": 3}]});
    let found = super::clock(&facts, Some(&status));
    assert_eq!(found.len(), 3);
    has(&found[1], CheckVerdict::Warning, &["hut is 25 min ahead of"]);
    has(&found[2], CheckVerdict::Warning, &["boat is 2 min behind"]);
}

#[test]
fn a_disk_is_judged_by_room_files_and_mount() {
    let facts = DiskFacts { free_bytes: 2_000_000_000, free_files: Some(9), read_only: false };
    has(&super::disk(&facts), CheckVerdict::Ok, &["2.0 GB free"]);
    has(&super::disk(&DiskFacts { free_bytes: 400_000_000, ..facts }), CheckVerdict::Warning, &["400 MB"]);
    has(&super::disk(&DiskFacts { free_bytes: 1_000, ..facts }), CheckVerdict::NeedsDoing, &["1.0 kB"]);
    has(&super::disk(&DiskFacts { free_files: Some(0), ..facts }), CheckVerdict::NeedsDoing, &["inodes"]);
    has(&super::disk(&DiskFacts { read_only: true, ..facts }), CheckVerdict::NeedsDoing, &["read-only"]);
}

#[test]
fn multicast_needs_an_interface_that_is_up_and_has_an_address() {
    let eth = NetworkInterface {
        name: "eth0".to_owned(),
        up: true,
        loopback: false,
        multicast: true,
        ipv4: true,
        ipv6: true,
    };
    let judged = |interfaces: Vec<NetworkInterface>| {
        super::multicast(&NetworkFacts { lan: true, mdns: true, interfaces: Some(interfaces) })
    };
    has(&judged(vec![eth.clone()]), CheckVerdict::Ok, &["eth0 (IPv4, IPv6)"]);
    has(&judged(vec![NetworkInterface { ipv6: false, ..eth.clone() }]), CheckVerdict::Ok, &["eth0 (IPv4)"]);
    for not in [
        NetworkInterface { up: false, ..eth.clone() },
        NetworkInterface { multicast: false, ..eth.clone() },
        NetworkInterface { loopback: true, ..eth.clone() },
        NetworkInterface { ipv4: false, ipv6: false, ..eth.clone() },
    ] {
        has(&judged(vec![not]), CheckVerdict::Warning, &["ip link set", "--addr"]);
    }
    for (lan, mdns, interfaces) in
        [(false, true, Some(vec![])), (true, false, Some(vec![])), (true, true, None)]
    {
        has(&super::multicast(&NetworkFacts { lan, mdns, interfaces }), CheckVerdict::Ok, &[]);
    }
}

#[test]
fn a_port_is_free_ours_or_anothers() {
    let facts = |bound| PortFacts { address: "0.0.0.0:8662".parse().unwrap(), bound };
    let own: Vec<SocketAddr> = vec!["192.0.2.1:8662".parse().unwrap()];
    let used = || facts(Err(io::ErrorKind::AddrInUse));
    has(&super::udp_port(&facts(Ok(())), false, &[]), CheckVerdict::Ok, &["free"]);
    has(&super::udp_port(&used(), true, &own), CheckVerdict::Ok, &["this node's"]);
    has(&super::udp_port(&used(), true, &[]), CheckVerdict::Ok, &["this node's"]);
    has(&super::udp_port(&used(), false, &[]), CheckVerdict::NeedsDoing, &["ss -ulpn sport = :8662"]);
    has(
        &super::udp_port(&used(), true, &["192.0.2.1:9".parse().unwrap()]),
        CheckVerdict::NeedsDoing,
        &["another"],
    );
    let denied = facts(Err(io::ErrorKind::PermissionDenied));
    has(&super::udp_port(&denied, false, &[]), CheckVerdict::NeedsDoing, &["1024"]);
    let no_ipv6 = facts(Err(io::ErrorKind::AddrNotAvailable));
    has(&super::udp_port(&no_ipv6, false, &[]), CheckVerdict::Warning, &["IPv6"]);
}

#[test]
fn a_serial_port_is_there_and_may_be_used_or_its_group_is_named() {
    let device = |mode| DeviceFacts {
        path: "/dev/ttyUSB0".into(),
        exists: true,
        is_device: true,
        open: false,
        files: vec![file("/", 0, 0, 0o755), file("/dev/ttyUSB0", 0, 20, mode)],
    };
    has(&super::radio(&DeviceFacts { open: true, ..device(0o660) }, &ada()), CheckVerdict::Ok, &["ada"]);
    let closed = super::radio(&device(0o660), &ada());
    has(
        &closed,
        CheckVerdict::NeedsDoing,
        &["/dev/ttyUSB0 (owner root, group dialout, mode 660)", "adduser ada dialout"],
    );
    has(&super::radio(&device(0o600), &ada()), CheckVerdict::NeedsDoing, &["udev rule"]);
    has(
        &super::radio(&DeviceFacts { exists: false, ..device(0) }, &ada()),
        CheckVerdict::NeedsDoing,
        &["by-id"],
    );
    has(
        &super::radio(&DeviceFacts { is_device: false, ..device(0) }, &ada()),
        CheckVerdict::NeedsDoing,
        &["no serial"],
    );
    has(&super::radio(&device(0o666), &ada()), CheckVerdict::NeedsDoing, &["AppArmor"]);
}

#[test]
fn the_onion_service_is_judged_as_the_running_node_sees_it() {
    let judged = |tor: Json| super::onion_service(&json!({ "tor": tor }));
    has(
        &judged(json!({"service": "published, for peers and open invites only"})).unwrap(),
        CheckVerdict::Ok,
        &["published"],
    );
    let starting = judged(json!({"service": "tor is still bootstrapping (45 %)"})).unwrap();
    has(&starting, CheckVerdict::Warning, &["45 %", "minute"]);
    let problem = judged(json!({"service": "published", "problem": "tor is not running"})).unwrap();
    has(&problem, CheckVerdict::Warning, &["tor is not running"]);
    assert_eq!(judged(Json::Null), None);
}

#[test]
fn what_status_shows_becomes_findings() {
    let ago = |days: u64| crate::clock::rfc3339(NOW - Millis::from_secs(days * 24 * 60 * 60));
    let wait = |days: u64| {
        json!({"document": "did:key:x/plan", "tombstones": 2, "since": ago(days),
        "writers": ["hut"], "unknown_writers": 1})
    };
    let status = json!({
        "alarms": ["not set", "hut has not answered yet: refused", "the last change was not saved: full"],
        "alarm_codes": [Alarm::ClockNotSet.code(), "inviter_silent", "not_saved"],
        "alarm_peers": [null, null, null],
        "forks": {"did:key:x": 1},
        "quarantined": 3,
        "tombstones_wait": [wait(2), wait(40)],
    });
    let found = super::federation(&status, NOW);
    let checks: Vec<&str> = found.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["joining", "alarm", "copied key", "future values", "deletions", "deletions"]);
    has(&found[0], CheckVerdict::Warning, &["hut"]);
    has(&found[1], CheckVerdict::NeedsDoing, &["not saved: full"]);
    has(&found[2], CheckVerdict::Warning, &["1 author"]);
    has(&found[3], CheckVerdict::Warning, &["3 values", "set the clock"]);
    has(
        &found[4],
        CheckVerdict::Ok,
        &["plan: 2 deletions wait for hut, 1 writer that is unknown here (since 2 d ago)"],
    );
    has(&found[5], CheckVerdict::Warning, &["tombolo remove"]);
    assert!(super::federation(&json!({}), NOW).is_empty());
}
