//! One row a decision: the links, the message, what the operator has set, and what comes out.

use super::*;

use Medium::{Lan, Mesh, Tor};

struct Row {
    name: &'static str,
    media: &'static [Medium],
    request: Request,
    change: fn(&mut RouteQuestion),
    order: &'static [u64],
    lost: &'static [(u64, &'static str)],
}

fn row(
    name: &'static str,
    media: &'static [Medium],
    request: Request,
    change: fn(&mut RouteQuestion),
    order: &'static [u64],
    lost: &'static [(u64, &'static str)],
) -> Row {
    Row { name, media, request, change, order, lost }
}

fn link(question: &mut RouteQuestion, at: u64) -> &mut LinkFacts {
    question.links.iter_mut().find(|facts| facts.link == LinkId(at)).unwrap()
}

#[test]
fn each_rule_and_each_cost_decides_what_it_is_there_for() {
    let (state, document) = (request(100, Class::State), request(100, Class::Document));
    let (alarm, bulk) = (request(100, Class::Alarm), request(100, Class::Bulk));
    let rows = [
        row(
            "air is spared",
            &[Mesh, Tor, Lan],
            state,
            |_| {},
            &[3, 2, 1],
            &[(2, "costs_more"), (1, "costs_more")],
        ),
        row(
            "a clear link carries nothing confidential",
            &[Mesh],
            document,
            |q| {
                link(q, 1).confidential = false;
            },
            &[],
            &[(1, "not_confidential")],
        ),
        row(
            "and what is open it does",
            &[Mesh],
            document.confidential(false),
            |q| {
                link(q, 1).confidential = false;
            },
            &[1],
            &[],
        ),
        row(
            "too long",
            &[Lan, Tor],
            document,
            |q| link(q, 1).message_bytes_max = 99,
            &[2],
            &[(1, "does_not_fit")],
        ),
        row(
            "as long as fits",
            &[Lan, Tor],
            document,
            |q| link(q, 1).message_bytes_max = 100,
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row("bulk never goes by radio", &[Mesh], bulk, |_| {}, &[], &[(1, "class_forbidden")]),
        row(
            "nor over a metered link",
            &[Tor, Lan],
            bulk,
            |q| link(q, 1).terms.metered = true,
            &[2],
            &[(1, "metered")],
        ),
        row("a document does", &[Tor], document, |q| link(q, 1).terms.metered = true, &[1], &[]),
        row(
            "but rather where bytes are free",
            &[Lan, Tor],
            document,
            |q| {
                link(q, 1).terms.metered = true;
            },
            &[2, 1],
            &[(1, "costs_more")],
        ),
        row(
            "tor-only",
            &[Lan, Mesh, Tor],
            document,
            |q| q.route.node = Preference::TorOnly,
            &[3],
            &[(1, "preference"), (2, "preference")],
        ),
        row(
            "the peer's setting replaces the node's",
            &[Lan, Tor],
            document,
            |q| {
                q.route.node = Preference::TorOnly;
                q.route.peer = Some(Preference::LanOnly);
            },
            &[1],
            &[(2, "preference")],
        ),
        row(
            "the document's leaves what the peer's forbids",
            &[Lan, Tor, Mesh],
            document,
            |q| {
                q.route.peer = Some(Preference::TorOnly);
                q.route.document = Some(Preference::LanFirst);
            },
            &[2],
            &[(1, "preference"), (3, "preference")],
        ),
        row(
            "mesh-first is strict",
            &[Lan, Mesh],
            document,
            |q| {
                q.route.node = Preference::MeshFirst;
            },
            &[2, 1],
            &[(1, "preference")],
        ),
        row(
            "tor-first",
            &[Lan, Mesh, Tor],
            document,
            |q| {
                q.route.node = Preference::TorFirst;
            },
            &[3, 1, 2],
            &[(1, "preference"), (2, "preference")],
        ),
        row(
            "an alarm goes where it arrives first all the same",
            &[Lan, Mesh],
            alarm,
            |q| {
                q.route.node = Preference::MeshFirst;
            },
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row(
            "spent airtime",
            &[Mesh],
            document,
            |q| {
                link(q, 1).air.as_mut().unwrap().left = Some(Millis::from_ms(799));
            },
            &[],
            &[(1, "budget_spent")],
        ),
        row(
            "just enough airtime",
            &[Mesh],
            document,
            |q| {
                link(q, 1).air.as_mut().unwrap().left = Some(Millis::from_ms(800));
            },
            &[1],
            &[],
        ),
        row(
            "a deadline outweighs the air",
            &[Mesh, Tor],
            Request { deadline: Millis::from_ms(5_000), ..state },
            |q| {
                link(q, 2).path.latency = Millis::from_ms(60_000);
            },
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row(
            "outside its hours",
            &[Lan, Tor],
            document,
            |q| {
                link(q, 1).terms.only = Some("02:00-05:00".parse().unwrap());
            },
            &[2],
            &[(1, "closed")],
        ),
        row(
            "within its hours",
            &[Lan, Tor],
            document,
            |q| {
                link(q, 1).terms.only = Some("11:59-12:01".parse().unwrap());
            },
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row(
            "the last resort waits",
            &[Lan, Tor],
            document,
            |q| link(q, 1).terms.last_resort = true,
            &[2],
            &[(1, "last_resort")],
        ),
        row(
            "until the other is not in time",
            &[Lan, Tor],
            document,
            |q| {
                link(q, 1).terms.last_resort = true;
                link(q, 2).path.latency = Millis::from_secs(700);
            },
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row(
            "an alarm uses the last resort",
            &[Lan, Tor],
            alarm,
            |q| {
                link(q, 1).terms.last_resort = true;
            },
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row(
            "what has just come back is not trusted",
            &[Lan, Tor],
            document,
            |q| {
                link(q, 1).condition = LinkCondition::Returned { steady_at: Mono::from_ms(100_001) };
            },
            &[2],
            &[(1, "not_steady")],
        ),
        row(
            "but rather than by radio",
            &[Lan, Mesh],
            document,
            |q| {
                link(q, 1).condition = LinkCondition::Returned { steady_at: Mono::from_ms(100_001) };
            },
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row(
            "and after a while it is",
            &[Lan, Tor],
            document,
            |q| {
                link(q, 1).condition = LinkCondition::Returned { steady_at: Mono::from_ms(100_000) };
            },
            &[1, 2],
            &[(2, "costs_more")],
        ),
        row(
            "the air waits for a link that was lost",
            &[Mesh],
            document,
            |q| {
                let until = Mono::from_ms(100_001);
                link(q, 1).condition = LinkCondition::Spared { lost: Lan, until };
            },
            &[],
            &[(1, "awaits_return")],
        ),
        row(
            "an alarm does not",
            &[Mesh],
            alarm,
            |q| {
                let until = Mono::from_ms(100_001);
                link(q, 1).condition = LinkCondition::Spared { lost: Lan, until };
            },
            &[1],
            &[],
        ),
        row(
            "what is down is down",
            &[Lan],
            alarm,
            |q| {
                link(q, 1).condition = LinkCondition::Down { since: Mono::ZERO };
            },
            &[],
            &[(1, "down")],
        ),
        row(
            "a backlog makes a link late",
            &[Lan, Tor],
            state,
            |q| {
                link(q, 1).path.backlog_bytes = 4 << 30;
            },
            &[2, 1],
            &[(1, "costs_more")],
        ),
        row(
            "loss costs tries",
            &[Lan, Lan],
            state,
            |q| {
                link(q, 1).path.loss_permille = 500;
                link(q, 1).path.latency = Millis::from_ms(10);
                link(q, 2).path.latency = Millis::from_ms(15);
            },
            &[2, 1],
            &[(1, "costs_more")],
        ),
        row(
            "of two radios the one with more air",
            &[Mesh, Mesh],
            state,
            |q| {
                link(q, 1).air.as_mut().unwrap().left = Some(Millis::from_ms(2_000));
            },
            &[2, 1],
            &[(1, "costs_more")],
        ),
        row("of two alike the first", &[Lan, Lan], state, |_| {}, &[1, 2], &[(2, "costs_more")]),
    ];
    for Row { name, media, request, change, order, lost } in rows {
        let mut asked = question(media, request);
        change(&mut asked);
        let decision = decide(asked);
        assert_eq!(outcome(&decision), (order.to_vec(), lost.to_vec()), "{name}");
        assert!(decision.replays(), "{name}");
    }
}

#[test]
fn a_link_that_carries_stays_while_a_change_wins_time_alone() {
    let mut asked = question(&[Lan, Tor, Mesh], request(100, Class::Document));
    asked.last = Some(LastLink { link: LinkId(2), since: Mono::from_ms(80_000) });
    let decision = decide(asked.clone());
    assert_eq!(decision.chosen(), Some(LinkId(2)));
    assert_eq!(decision.verdict(LinkId(1)).and_then(Reason::of), Some(Reason::CostsMore));
    assert!(matches!(decision.verdict(LinkId(1)), Some(LinkVerdict::Loses { by: LostBy::Stays, .. })));
    asked.last = Some(LastLink { link: LinkId(2), since: Mono::from_ms(70_000) });
    assert_eq!(decide(asked.clone()).chosen(), Some(LinkId(1)), "the dwell time is over");
    asked.last = Some(LastLink { link: LinkId(3), since: Mono::from_ms(99_000) });
    assert_eq!(decide(asked.clone()).chosen(), Some(LinkId(1)), "air is not spent for the sake of staying");
    asked.last = Some(LastLink { link: LinkId(2), since: Mono::from_ms(99_000) });
    asked.request = request(100, Class::Alarm);
    assert_eq!(decide(asked).chosen(), Some(LinkId(1)), "an alarm does not stay");
}

#[test]
fn an_alarm_is_hedged_and_a_document_is_not() {
    let hedge = |class| decide(question(&[Lan, Tor], request(100, class)));
    let alarm = hedge(Class::Alarm);
    assert_eq!((alarm.second(), alarm.hedge_after()), (Some(LinkId(2)), Some(Millis::from_ms(500))));
    let beside_radio = decide(question(&[Lan, Mesh], request(100, Class::Alarm)));
    assert_eq!(beside_radio.hedge_after(), Some(Millis::from_secs(2)), "airtime is spent later");
    assert_eq!(hedge(Class::Command).hedge_after(), Some(Millis::from_secs(1)));
    assert_eq!(hedge(Class::Document).hedge_after(), None);
    assert_eq!(decide(question(&[Lan], request(100, Class::Alarm))).hedge_after(), None, "over which link?");
    let slow = decide(question(&[Mesh, Mesh], request(100, Class::Alarm)));
    assert_eq!(slow.hedge_after(), Some(Class::Alarm.deadline() / 3), "a third of the deadline at most");
}

/// Each change that an explanation names is made, and the other link is chosen.
#[test]
fn what_would_change_the_choice_does_change_it() {
    let mut asked = question(&[Lan, Tor], request(100, Class::State));
    asked.links[0].path.latency = Millis::from_ms(300);
    let decision = decide(asked.clone());
    assert_eq!(decision.chosen(), Some(LinkId(1)));
    let margins = decision.margins();
    let [
        ChoiceChange::Faster { latency: faster },
        ChoiceChange::ChosenSlower { latency: slower },
        ChoiceChange::ChosenGone,
    ] = margins[0].changes[..]
    else {
        panic!("{margins:?}")
    };
    let with = |at: usize, latency: Millis| {
        let mut asked = asked.clone();
        asked.links[at].path.latency = latency;
        decide(asked).chosen()
    };
    assert_eq!(with(1, faster), Some(LinkId(2)));
    assert_eq!(with(1, faster + Millis::from_ms(1)), Some(LinkId(1)));
    assert_eq!(with(0, slower), Some(LinkId(2)));
    assert_eq!(with(0, slower - Millis::from_ms(1)), Some(LinkId(1)));
}

#[test]
fn of_an_excluded_link_the_rule_names_the_change() {
    let mut asked = question(&[Lan, Tor, Mesh], request(100, Class::Document));
    asked.links[1].terms.only = Some("02:00-05:00".parse().unwrap());
    asked.links[2].air = Some(AirFacts {
        us_per_byte: 8_000,
        left: Some(Millis::ZERO),
        free_in: Some(Millis::from_secs(720)),
    });
    let margins = decide(asked).margins();
    let changes =
        |link: u64| margins.iter().find(|margin| margin.link == LinkId(link)).unwrap().changes.clone();
    let hours = "02:00-05:00".parse().unwrap();
    assert_eq!(changes(2), [ChoiceChange::Opens { hours, in_minutes: 14 * 60 }]);
    let (needs, free_in) = (Millis::from_ms(800), Some(Millis::from_secs(720)));
    assert_eq!(changes(3), [ChoiceChange::AirtimeFree { needs, free_in }]);
}
