//! Invites and joining without a node.

use super::*;
use crate::clock::{BUILD_DATE, Now};
use crate::core::NodeSettings;
use crate::identity::Keypair;
use crate::io::Output;
use crate::limits::JOIN_FAILURES_PER_MINUTE_MAX;
use crate::store::Store;
use crate::time::{Millis, Mono};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

struct Side {
    core: Core,
    replica: Replica,
    membership: Membership,
}

impl Side {
    fn new(seed: u8) -> Self {
        let keypair = Keypair::from_seeds(&[seed; 32], &[seed + 100; 32]);
        let now = Now { mono: Mono::from_ms(1_000), wall: BUILD_DATE + Millis::from_secs(1_000) };
        let store = Store::in_memory().unwrap();
        let mut core = Core::new(store, keypair, NodeSettings::default(), now, &[seed; 32]);
        let mut replica = Replica::new(core.me, now.mono);
        let mut loaded = core.gate.load().unwrap();
        replica.load(&mut core, &mut loaded).unwrap();
        Side { core, replica, membership: Membership::default() }
    }

    fn invite(&mut self) -> String {
        match self.membership.invite(&mut self.core, TrustLevel::Trusted, DAY, Vec::new()).unwrap() {
            Reply::Invite(invite) => invite.code,
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, request: u64, code: &str) -> Result<(), CommandError> {
        self.membership.join(&mut self.core, &mut self.replica, RequestId(request), code, Vec::new())
    }

    fn call(&mut self) -> JoinCall {
        let due = self.membership.due_calls(self.core.now());
        self.membership.call(&mut self.core, &self.replica, due[0]).unwrap()
    }

    fn redeem(&mut self, joiner: PeerId, call: &JoinCall) -> Result<Vec<RequestId>, JoinRefusal> {
        let token = token_hash(&call.token);
        let redeem = Redeem { joiner, address: None, request: &call.request, token };
        self.membership.redeem(&mut self.core, &mut self.replica, &redeem)
    }

    fn is_peer(&self, other: &Side) -> bool {
        let peer = self.replica.federation().peer(&other.core.me);
        peer.is_some_and(|peer| peer.joined == Joined::Agreed && peer.is_member())
    }
}

#[test]
fn both_sides_agree_and_the_waiting_request_is_answered() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(7, &code).unwrap();
    assert!(!joiner.is_peer(&inviter), "not before the inviter has answered");
    let call = joiner.call();
    inviter.redeem(joiner.core.me, &call).unwrap();
    let answer = Ok(JoinAnswer::Agreed { name: "inviter".to_owned() });
    let answered =
        joiner.membership.answered(&mut joiner.core, &mut joiner.replica, &inviter.core.me, answer);
    assert!(matches!(answered, Answered::Agreed(waiters) if waiters == [RequestId(7)]));
    assert!(inviter.is_peer(&joiner) && joiner.is_peer(&inviter));
    assert_eq!(joiner.membership.next_timer(), None, "no further call");
}

#[test]
fn a_token_works_once_and_the_same_joiner_gets_the_same_answer() {
    let (mut inviter, mut joiner, mut other) = (Side::new(1), Side::new(2), Side::new(3));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    other.join(1, &code).unwrap();
    let (call, second) = (joiner.call(), other.call());
    inviter.redeem(joiner.core.me, &call).unwrap();
    inviter.redeem(joiner.core.me, &call).unwrap();
    assert_eq!(inviter.redeem(other.core.me, &second), Err(JoinRefusal::Token));
    assert!(!inviter.is_peer(&other));
    inviter.membership.remove_peer(&mut inviter.core, &mut inviter.replica, &joiner.core.me);
    assert_eq!(inviter.redeem(joiner.core.me, &call), Err(JoinRefusal::Token), "it was removed since");
}

/// The answer must not leave before the spent token is on disk: the write stands before any output of the same commit.
#[test]
fn a_spent_token_is_on_disk_once_the_commit_is_made() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    let call = joiner.call();
    inviter.redeem(joiner.core.me, &call).unwrap();
    inviter.core.gate.commit(Default::default()).unwrap();
    let stored = inviter.core.gate.load().unwrap();
    assert!(stored.outgoing.iter().all(|invite| invite.accepted.is_some()));
    let mut events = std::iter::from_fn(|| inviter.core.gate.pop());
    assert!(events.any(|output| matches!(output, Output::Event(Event::PeersChanged))));
}

#[test]
fn wrong_tokens_are_slowed_down_and_a_right_one_is_still_accepted() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    let call = joiner.call();
    let guess = Redeem { joiner: PeerId([9; 32]), address: None, request: &call.request, token: [0; 32] };
    let answers: Vec<_> = (0..=JOIN_FAILURES_PER_MINUTE_MAX)
        .map(|_| inviter.membership.redeem(&mut inviter.core, &mut inviter.replica, &guess))
        .collect();
    assert_eq!(answers.first(), Some(&Err(JoinRefusal::Token)));
    assert_eq!(answers.last(), Some(&Err(JoinRefusal::Busy)));
    inviter.redeem(joiner.core.me, &call).unwrap();
    assert!(inviter.is_peer(&joiner));
}

#[test]
fn calls_are_repeated_ever_more_rarely() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let due = joiner.membership.next_timer().unwrap();
        joiner.core.clock.set_now(Now { mono: due, wall: BUILD_DATE + Millis::from_secs(1_000) });
        joiner.call();
        waits.push(joiner.membership.next_timer().unwrap().since(due));
    }
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
}

// ---- taking over a federation ------------------------------------------------------------------------

use crate::identity::did;
use serde_json::{Value as Json, json};

/// A node record in the field names of other programs.
fn record(seed: u8, change: impl FnOnce(&mut Json)) -> Json {
    let node = Keypair::from_seeds(&[seed; 32], &[seed + 100; 32]);
    let mut record = json!({
        "did": did(&node.peer_id()),
        "pubkey": data_encoding::HEXLOWER.encode(&node.peer_id().0),
        "onion": node.onion(),
        "trust_level": "trusted",
        "added_at": "2026-10-01T08:00:00Z",
    });
    change(&mut record);
    record
}

fn adopt(side: &mut Side, records: FederationRecords) -> view::AdoptedView {
    match side.membership.adopt(&mut side.core, &mut side.replica, &records).unwrap() {
        Reply::Adopted(view) => view,
        other => panic!("{other:?}"),
    }
}

fn nodes(nodes: Vec<Json>) -> FederationRecords {
    FederationRecords { nodes, ..FederationRecords::default() }
}

#[test]
fn each_record_that_cannot_be_used_has_its_own_reason() {
    let cases: Vec<(&str, Json)> = vec![
        ("bad_record", json!(7)),
        ("bad_record", json!({})),
        ("bad_record", record(2, |r| drop(r.as_object_mut().unwrap().remove("trust_level")))),
        ("bad_did", record(2, |r| r["did"] = json!("did:web:example.org"))),
        (
            "bad_did",
            record(2, |r| r["did"] = json!("did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc")),
        ),
        ("own_did", record(1, |_| ())),
        ("key_mismatch", record(2, |r| r["pubkey"] = json!("00".repeat(32)))),
        ("key_mismatch", record(2, |r| r["pubkey"] = json!("no hex"))),
        ("bad_onion", record(2, |r| r["onion"] = json!("example.onion"))),
        ("bad_onion", record(2, |r| r["onion"] = json!("a".repeat(56)))),
        ("bad_trust_level", record(2, |r| r["trust_level"] = json!("Trusted"))),
    ];
    for (code, record) in cases {
        let mut side = Side::new(1);
        let view = adopt(&mut side, nodes(vec![record.clone()]));
        assert!(view.nodes.taken.is_empty() && view.nodes.known.is_empty(), "{record}");
        assert_eq!(view.nodes.refused[0].code, code, "{record}");
        assert_eq!(side.replica.federation().peers().count(), 0);
        assert!(side.core.gate.commit(Default::default()).is_ok() && side.core.gate.pop().is_none());
    }
}

/// A record that cannot be used does not stand in the way of a later one of the same DID.
#[test]
fn the_first_usable_record_of_a_did_counts() {
    let mut side = Side::new(1);
    let bad = record(2, |r| r["trust_level"] = json!("friend"));
    let observer = record(2, |r| r["trust_level"] = json!("observer"));
    let view = adopt(&mut side, nodes(vec![bad, observer, record(2, |_| ())]));
    let places =
        |list: &[view::RefusedRecordView]| list.iter().map(|r| (r.record, r.code)).collect::<Vec<_>>();
    assert_eq!(places(&view.nodes.refused), [(1, "bad_trust_level"), (3, "duplicate")]);
    assert_eq!(view.nodes.taken[0].trust_level, Some(TrustLevel::Observer));
}

#[test]
fn a_record_is_taken_with_all_that_is_valid_in_it_and_once() {
    let mut side = Side::new(1);
    let full = record(2, |r| {
        r["onion"] = json!(r["onion"].as_str().unwrap().trim_end_matches(".onion").to_uppercase());
        r["name"] = json!("hut");
        r["last_seen"] = json!("2026-10-30T10:00:00.5+02:00");
        r["last_state"] = json!({"timestamp": "2026-10-30T08:00:00Z", "cpu_usage_percent": 3.5,
            "apps": [{"id": "web", "status": "running", "health": "good"}]});
    });
    let odd = record(3, |r| {
        r["name"] = json!("did:key:liar");
        r["added_at"] = json!("soon");
        r["last_seen"] = json!("2999-01-01T00:00:00Z");
        r["last_state"] =
            json!({"timestamp": "2026-10-30T08:00:00Z", "apps": [{"id": "web", "status": "flying"}]});
    });
    let records = nodes(vec![full, odd]);
    let view = adopt(&mut side, records.clone());
    let left_out: Vec<_> =
        view.nodes.taken[1].left_out.iter().map(|why| why.split(':').next().unwrap()).collect();
    assert_eq!(left_out, ["added_at", "name", "last_seen", "last_state"]);
    assert!(view.nodes.taken[0].left_out.is_empty(), "{:?}", view.nodes.taken[0]);
    let id = Keypair::from_seeds(&[2; 32], &[102; 32]);
    let peer = side.replica.federation().peer(&id.peer_id()).unwrap().clone();
    assert_eq!((peer.name(), peer.onion.as_str()), (Some("hut"), &*id.onion()));
    assert_eq!(rfc3339(peer.added_at), "2026-10-01T08:00:00Z");
    let known = peer.last_known.clone().unwrap();
    assert_eq!(known.seen.map(rfc3339).as_deref(), Some("2026-10-30T08:00:00.500Z"));
    assert!(known.state.is_some());

    // It is on disk as it is in memory.
    side.core.gate.commit(Default::default()).unwrap();
    assert!(side.core.gate.load().unwrap().peers.contains(&peer));
    while side.core.gate.pop().is_some() {}
    let again = adopt(&mut side, records);
    assert!(again.nodes.taken.is_empty() && again.nodes.known.len() == 2);
    side.core.gate.commit(Default::default()).unwrap();
    assert!(side.core.gate.pop().is_none(), "no event: nothing changed");
}

#[test]
fn too_many_peers_are_refused_as_a_whole() {
    let mut side = Side::new(1);
    let many = |count: usize| {
        let key = |n: usize| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_le_bytes());
            did(&Keypair::from_seeds(&seed, &seed).peer_id())
        };
        nodes((0..count).map(|n| json!({"did": key(n), "trust_level": "trusted"})).collect())
    };
    for records in [many(PEERS_MAX + 1), nodes(vec![Json::Null; crate::limits::ADOPT_RECORDS_MAX + 1])] {
        let refused = side.membership.adopt(&mut side.core, &mut side.replica, &records);
        assert!(matches!(refused, Err(CommandError::Limit { .. })), "{refused:?}");
        assert_eq!(side.replica.federation().peers().count(), 0);
    }
    adopt(&mut side, many(PEERS_MAX));
    assert_eq!(side.replica.federation().peers().count(), PEERS_MAX);
}

/// An invite that was open there is open here: its joiner gets in, once.
#[test]
fn an_open_invite_that_was_given_out_is_redeemed_here() {
    let (mut first, mut second, mut joiner) = (Side::new(1), Side::new(1), Side::new(2));
    let (open, used) = (first.invite(), first.invite());
    let of = |code: &str, accepted: Json| json!({"code": code, "created_at": "2026-10-31T23:00:00Z", "accepted": accepted});
    let bare = crate::federation::invite::Invite {
        level: None,
        expires: None,
        token: [7; 16],
        ..crate::federation::invite::Invite::parse(&open).unwrap()
    };
    let old = json!({"code": bare.to_code(), "created_at": "2026-09-01T00:00:00Z", "accepted": false});
    let foreign = of(&Side::new(3).invite(), json!(false));
    let outgoing = vec![
        of(&open, json!(false)),
        of(&used, json!(true)),
        old,
        foreign,
        of("fed1:x", Json::Null),
        of(&open, Json::Null),
    ];
    let records = FederationRecords { outgoing, ..FederationRecords::default() };
    let view = adopt(&mut second, records.clone());
    let codes: Vec<_> = view.outgoing.refused.iter().map(|r| r.code).collect();
    assert_eq!(codes, ["used", "expired", "not_ours", "bad_code", "duplicate"]);
    assert_eq!(view.outgoing.taken.len(), 1);
    joiner.join(1, &open).unwrap();
    let call = joiner.call();
    second.redeem(joiner.core.me, &call).unwrap();
    assert!(second.is_peer(&joiner));
    assert_eq!(adopt(&mut second, records).outgoing.known.len(), 1, "a second run does not open it again");
    let mut other = Side::new(4);
    other.join(1, &open).unwrap();
    let call = other.call();
    assert_eq!(second.redeem(other.core.me, &call), Err(JoinRefusal::Token));
}

/// A call to an inviter that has not answered goes on; one that was seen since has answered.
#[test]
fn an_invite_that_was_redeemed_and_not_answered_is_called_on() {
    let (mut inviter, mut other) = (Side::new(2), Side::new(3));
    let (code, seen_code) = (inviter.invite(), other.invite());
    let mut side = Side::new(1);
    let seen = record(3, |r| r["last_seen"] = json!("2026-10-30T08:00:00Z"));
    let of = |code: &str, accepted: bool| json!({"code": code, "created_at": "2026-10-31T23:00:00Z", "accepted": accepted});
    let incoming = vec![of(&code, false), of(&seen_code, false), of(&Side::new(4).invite(), false)];
    let records = FederationRecords { nodes: vec![record(2, |_| ()), seen], incoming, ..Default::default() };
    let view = adopt(&mut side, records.clone());
    let codes: Vec<_> = view.incoming.refused.iter().map(|r| r.code).collect();
    assert_eq!((view.incoming.taken.len(), codes), (1, vec!["already_peer", "not_a_node"]));
    assert!(side.is_peer(&other) && !side.is_peer(&inviter));
    let call = side.call();
    inviter.redeem(side.core.me, &call).unwrap();
    assert!(inviter.is_peer(&side));
    side.membership.agreed(&mut side.core, &mut side.replica, &inviter.core.me, None);
    assert!(side.is_peer(&inviter));
    let again = adopt(&mut side, records);
    assert!(again.nodes.taken.is_empty() && again.incoming.taken.is_empty());
    assert!(side.is_peer(&inviter), "a second run does not call again");
}

proptest::proptest! {
    /// Whatever stands in a record, it is taken, known or refused, and never a panic.
    #[test]
    fn any_record_has_a_fate(field in 0..8_usize, text in ".{0,80}", number in proptest::prelude::any::<i64>()) {
        let names = ["did", "pubkey", "onion", "name", "trust_level", "added_at", "last_seen", "last_state"];
        for value in [json!(text), json!(number), json!({"timestamp": text, "apps": [text]}), Json::Null] {
            let mut side = Side::new(1);
            let view = adopt(&mut side, nodes(vec![record(2, |r| r[names[field]] = value.clone())]));
            proptest::prop_assert_eq!(view.nodes.taken.len() + view.nodes.refused.len(), 1);
        }
    }
}

/// A code that was taken back is refused like one that never was, also after a restart; a used one cannot be taken back.
/// Over HTTP and in the library as on the command line.
#[test]
fn an_invite_makes_a_peer_and_names_addresses_at_which_one_machine_listens() {
    let mut side = Side::new(1);
    let mut invite = |level, addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        side.membership.invite(&mut side.core, level, Millis::from_ms(60_000), addresses)
    };
    assert_eq!(invite(TrustLevel::Untrusted, &[]), Err(CommandError::BadLevel));
    for text in [
        "0.0.0.0:8662",
        "[::]:8662",
        "[::ffff:0.0.0.0]:8662",
        "192.0.2.1:0",
        "224.0.0.251:8662",
        "[ff02::fb]:8662",
        "255.255.255.255:8662",
    ] {
        let bad = Err(CommandError::BadAddress(text.parse().unwrap()));
        assert_eq!(invite(TrustLevel::Trusted, &["192.0.2.1:8662", text]), bad);
    }
    assert!(invite(TrustLevel::Observer, &["192.0.2.1:8662", "[fd00::20]:8662", "127.0.0.1:8662"]).is_ok());
}

#[test]
fn a_withdrawn_invite_works_no_more() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(7, &code).unwrap();
    let call = joiner.call();
    let id = inviter.membership.outgoing().next().unwrap().id();
    let withdrawn = inviter.membership.withdraw(&mut inviter.core, &id[..4]).unwrap();
    assert_eq!(withdrawn.id(), id);
    assert_eq!(inviter.membership.outgoing().count(), 0);
    assert_eq!(inviter.redeem(joiner.core.me, &call).unwrap_err(), JoinRefusal::Token);
    inviter.core.gate.commit(inviter.core.now()).unwrap();
    assert!(inviter.core.gate.load().unwrap().outgoing.is_empty());

    let unknown = inviter.membership.withdraw(&mut inviter.core, &id);
    assert_eq!(unknown, Err(CommandError::UnknownInvite(id)));
    let code = inviter.invite();
    inviter.invite();
    assert!(inviter.membership.withdraw(&mut inviter.core, "").is_err(), "several begin so");
    let mut other = Side::new(3);
    other.join(8, &code).unwrap();
    let call = other.call();
    inviter.redeem(other.core.me, &call).unwrap();
    let used = inviter.membership.outgoing().find(|invite| invite.accepted.is_some()).unwrap().id();
    assert!(inviter.membership.withdraw(&mut inviter.core, &used).is_err(), "a used one stays used");
}

/// The two clocks differ by years: whether an invite has expired only its inviter judges, to the millisecond.
#[test]
fn only_the_inviters_clock_judges_an_invite() {
    let year = Millis::from_secs(365 * 24 * 3600);
    for joiner_ahead in [Millis::ZERO, year, 3 * year] {
        let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
        let now = joiner.core.clock.now();
        joiner.core.clock.set_now(Now { wall: now.wall + joiner_ahead, ..now });
        let code = inviter.invite();
        joiner.join(1, &code).unwrap();
        let call = joiner.call();
        inviter.redeem(joiner.core.me, &call).unwrap();
        assert!(inviter.is_peer(&joiner));
    }
    // One of a second lives a second, whatever the joiner's clock shows.
    for (later, redeemed) in [(999, true), (1_000, false), (30_000, false)] {
        let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
        let Reply::Invite(invite) = inviter
            .membership
            .invite(&mut inviter.core, TrustLevel::Trusted, Millis::from_secs(1), vec![])
            .unwrap()
        else {
            panic!("an invite")
        };
        assert!(invite.clock_is_set);
        joiner.join(1, &invite.code).unwrap();
        let call = joiner.call();
        let now = inviter.core.clock.now();
        let later = Millis::from_ms(later);
        inviter.core.clock.set_now(Now { mono: now.mono + later, wall: now.wall + later });
        let answer = inviter.redeem(joiner.core.me, &call);
        assert_eq!(answer, if redeemed { Ok(vec![]) } else { Err(JoinRefusal::Expired) }, "{later:?}");
    }
}

#[test]
fn an_inviter_whose_clock_is_not_set_says_so() {
    let mut inviter = Side::new(1);
    let now = inviter.core.clock.now();
    inviter.core.clock.set_now(Now { wall: Wall::from_ms(7_000), ..now });
    let reply = inviter.membership.invite(&mut inviter.core, TrustLevel::Trusted, DAY, vec![]).unwrap();
    assert!(matches!(reply, Reply::Invite(invite) if !invite.clock_is_set));
}
