//! The operator's settings, and the journal.

use super::*;

#[test]
fn words_and_hours_read_back_as_written() {
    for preference in Preference::ALL {
        assert_eq!(preference.word().parse(), Ok(preference));
        assert_eq!(serde_json::to_value(preference).unwrap(), preference.word());
    }
    assert_eq!("fastest".parse::<Preference>(), Err(PreferenceError));
    for text in ["02:00-05:00", "22:30-06:15", "00:00-23:59"] {
        assert_eq!(text.parse::<OpenHours>().unwrap().to_string(), text);
    }
    for text in
        ["", "2:00-5:00", "02:00", "02:00-02:00", "24:00-01:00", "02:60-03:00", "02:00-05:00x", "+2:00-05:00"]
    {
        assert_eq!(text.parse::<OpenHours>(), Err(OpenHoursError), "{text}");
    }
}

#[test]
fn hours_may_pass_midnight() {
    let night: OpenHours = "22:00-05:00".parse().unwrap();
    let inside = |hour: u16| night.contains(hour * 60);
    assert!(inside(22) && inside(0) && inside(4) && !inside(5) && !inside(21));
    assert_eq!(night.opens_in(21 * 60), 60);
    assert_eq!(night.opens_in(23 * 60), 23 * 60);
}

#[test]
fn a_change_counts_before_the_file_and_can_be_taken_back() {
    let owner = PeerId([3; 32]);
    let mut configured = RouteSettings { node: Some(Preference::MeshFirst), ..RouteSettings::default() };
    configured.documents.entry("plan".into()).or_default().insert(None, Preference::LanOnly);
    let mut policy = RoutePolicy::new(configured);
    let of_plan = |policy: &RoutePolicy| policy.route(&PEER, Some((&owner, "plan")));
    assert_eq!(of_plan(&policy).order(), (Preference::LanOnly, SetFor::Document));
    let change = |preference| RouteChange::Document { owner, name: "plan".into(), preference };
    assert!(policy.change(&change(Some(Preference::TorFirst))));
    assert_eq!(of_plan(&policy).document, Some(Preference::TorFirst));
    assert_eq!(policy.route(&PEER, Some((&PEER, "plan"))).document, Some(Preference::LanOnly));
    assert!(
        policy.change(&change(None)) && policy.change(&RouteChange::Peer(PEER, Some(Preference::TorOnly)))
    );
    assert_eq!(of_plan(&policy).document, Some(Preference::LanOnly));
    assert_eq!(of_plan(&policy).forbids(Medium::Lan), Some((Preference::TorOnly, SetFor::Peer)));
    let terms = LinkTerms { price: 3, ..LinkTerms::default() };
    assert!(policy.change(&RouteChange::Terms(Medium::Tor, Some(terms))));
    assert_eq!((policy.terms(Medium::Tor), policy.terms(Medium::Lan)), (terms, LinkTerms::default()));
}

/// One radio costs money, its sister does not: the free one is taken, until its hours are over.
#[test]
fn one_radio_may_have_terms_of_its_own() {
    let mut router = TransportRouter::default();
    let radios = add_links(&mut router, &[Medium::Mesh, Medium::Mesh]);
    let choice = |router: &mut TransportRouter| {
        let request = request(100, Class::Document);
        router.route(PEER, subject(1), request, RadioScope::These(&radios), at(1_000_000)).chosen
    };
    let first = choice(&mut router).unwrap();
    let name = format!("radio{}", first.0);
    let dear = LinkTerms { price: 5, ..LinkTerms::default() };
    assert!(router.policy.change(&RouteChange::RadioTerms(name.clone(), Some(dear))));
    assert_eq!(
        (router.policy.radio_terms(&name), router.policy.radio_terms("other")),
        (dear, LinkTerms::default())
    );
    let other = choice(&mut router).unwrap();
    assert_ne!(other, first);
    let shut = LinkTerms { only: "23:00-23:01".parse().ok(), ..LinkTerms::default() };
    assert!(
        router.policy.change(&RouteChange::Terms(Medium::Mesh, Some(shut))),
        "which holds for the sister alone"
    );
    assert_eq!(choice(&mut router), Some(first));
    assert!(router.policy.change(&RouteChange::RadioTerms(name, None)));
    assert_eq!(choice(&mut router), None);
}

#[test]
fn settings_have_a_limit() {
    let mut policy = RoutePolicy::default();
    let peer = |i: usize| PeerId(std::array::from_fn(|at| if at < 2 { i.to_be_bytes()[6 + at] } else { 0 }));
    let set = |i: usize| RouteChange::Peer(peer(i), Some(Preference::LanOnly));
    assert!((0..ROUTES_MAX).all(|i| policy.change(&set(i))));
    assert!(!policy.change(&set(ROUTES_MAX)));
    assert!(policy.change(&set(0)), "what is there can be changed");
    assert!(policy.change(&RouteChange::Peer(peer(0), None)) && policy.change(&set(ROUTES_MAX)));
}

fn subject(sequence: u64) -> Subject {
    Subject::Layer { owner: PEER, name: "plan".into(), author: PEER, sequence }
}

#[test]
fn decisions_are_kept_counted_and_found_by_their_number() {
    let mut router = TransportRouter::default();
    add_links(&mut router, &[Medium::Lan]);
    let send = |router: &mut TransportRouter, subject, class| {
        router.route(PEER, subject, request(100, class), RadioScope::None, at(1)).id
    };
    let first = send(&mut router, subject(1), Class::Document);
    for _ in 0..5_000 {
        send(&mut router, Subject::Engine, Class::Upkeep);
    }
    assert_eq!(router.journal().newest_of(&PEER, Class::Upkeep).unwrap().count, 5_000, "one entry");
    assert_eq!(router.journal().get(first).unwrap().subject, subject(1));
    assert_eq!(first.to_string().parse(), Ok(first));
    for sequence in 2..=DECISIONS_KEPT_MAX as u64 + 1 {
        send(&mut router, subject(sequence), Class::Document);
    }
    assert_eq!(router.journal().get(first), None, "the oldest went first");
    assert_eq!(router.journal().newest_first().count(), DECISIONS_KEPT_MAX);
    assert!(router.journal().newest_of(&PEER, Class::Upkeep).is_none());
    let newest = send(&mut router, Subject::Engine, Class::Upkeep);
    assert_eq!(router.journal().get(newest).unwrap().count, 1);
    assert_eq!(labels(&router)["lan taken"], 5_001 + DECISIONS_KEPT_MAX as u64 + 1);
    assert!("17".parse::<DecisionId>().is_err() && "d".parse::<DecisionId>().is_err());
}

#[test]
fn a_removed_peer_is_forgotten() {
    let mut router = TransportRouter::default();
    let radios = add_links(&mut router, &[Medium::Lan]);
    router.route(PEER, Subject::Notice, request(9, Class::Command), RadioScope::These(&radios), at(1));
    router.forget_peer(&PEER);
    assert_eq!(router.table.paths(&PEER).count(), 0);
    assert!(router.journal().newest_of(&PEER, Class::Command).is_none());
    let routed = router.route(PEER, Subject::Notice, request(9, Class::Command), RadioScope::None, at(1));
    assert_eq!((routed.chosen, labels(&router)["stranded"]), (None, 1));
}
