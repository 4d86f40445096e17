//! What holds for every question that can be asked.

use proptest::prelude::*;

use super::*;

fn medium() -> impl Strategy<Value = Medium> {
    prop::sample::select(vec![Medium::Mesh, Medium::Lan, Medium::Tor, Medium::Memory])
}

fn condition() -> impl Strategy<Value = LinkCondition> {
    let around_now = (0..200_000_u64).prop_map(Mono::from_ms);
    prop_oneof![
        4 => Just(LinkCondition::Steady),
        1 => around_now.clone().prop_map(|steady_at| LinkCondition::Returned { steady_at }),
        1 => around_now.clone().prop_map(|until| LinkCondition::Spared { lost: Medium::Lan, until }),
        1 => around_now.prop_map(|since| LinkCondition::Down { since }),
    ]
}

fn terms() -> impl Strategy<Value = LinkTerms> {
    let hours =
        prop::option::weighted(0.2, prop::sample::select(vec!["02:00-05:00", "11:00-13:00", "22:00-12:30"]));
    (any::<bool>(), 0..5_u32, prop::bool::weighted(0.2), hours).prop_map(
        |(metered, price, last_resort, only)| LinkTerms {
            metered,
            price,
            last_resort,
            only: only.map(|text| text.parse().unwrap()),
        },
    )
}

fn path() -> impl Strategy<Value = PathFacts> {
    (0..700_000_u64, 100..10_000_000_u64, 0..1_001_u16, 0..100_000_u64, any::<bool>()).prop_map(
        |(latency, rate_bps, loss_permille, backlog_bytes, measured)| PathFacts {
            latency: Millis::from_ms(latency),
            rate_bps,
            loss_permille,
            backlog_bytes,
            measured,
        },
    )
}

fn link() -> impl Strategy<Value = LinkFacts> {
    let air = (1..20_000_u32, prop::option::of((0..60_000_u64).prop_map(Millis::from_ms)));
    let bytes = prop::sample::select(vec![50_usize, 200, 1 << 20]);
    (1..1_000_u64, medium(), bytes, any::<bool>(), path(), air, terms(), condition()).prop_map(
        |(link, medium, message_bytes_max, confidential, path, (us_per_byte, left), terms, condition)| {
            LinkFacts {
                link: LinkId(link),
                medium,
                message_bytes_max,
                confidential,
                path,
                air: (medium == Medium::Mesh).then_some(AirFacts { us_per_byte, left, free_in: None }),
                terms,
                condition,
            }
        },
    )
}

fn asked() -> impl Strategy<Value = RouteQuestion> {
    let class = prop::sample::select(Class::ALL.to_vec());
    let preference = || prop::sample::select(Preference::ALL.to_vec());
    let route =
        (preference(), prop::option::weighted(0.3, preference()), prop::option::weighted(0.3, preference()));
    let last = prop::option::of((1..1_000_u64, 0..100_000_u64));
    let links = prop::collection::vec(link(), 0..6);
    (class, 1..400_usize, any::<bool>(), route, last, links).prop_map(
        |(class, bytes, confidential, (node, peer, document), last, mut links)| {
            links.sort_by_key(|facts| facts.link);
            links.dedup_by_key(|facts| facts.link);
            RouteQuestion {
                request: Request::new(class, bytes).confidential(confidential),
                route: Route { node, peer, document },
                now: at(100_000),
                last: last.map(|(link, since)| LastLink { link: LinkId(link), since: Mono::from_ms(since) }),
                links,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// An excluded link is never chosen, whatever it would cost; every link has one verdict.
    #[test]
    fn no_excluded_link_is_chosen(asked in asked()) {
        let decision = decide(asked.clone());
        let mut judged: Vec<_> = decision.judged.iter().map(|judged| judged.link).collect();
        judged.sort();
        prop_assert_eq!(judged, asked.links.iter().map(|facts| facts.link).collect::<Vec<_>>());
        if let Some(facts) = decision.chosen().and_then(|link| decision.facts(link)) {
            prop_assert!(!asked.request.confidential || facts.confidential);
            prop_assert!(asked.request.bytes <= facts.message_bytes_max);
            prop_assert!(asked.route.forbids(facts.medium).is_none());
            let is_down = matches!(facts.condition, LinkCondition::Down { .. });
            prop_assert!(!is_down);
            prop_assert!(facts.terms.only.is_none_or(|hours| hours.contains(asked.now.minute_of_day)));
            prop_assert!(asked.request.class != Class::Bulk || (facts.air.is_none() && !facts.terms.metered));
        }
    }

    /// The same question has the same answer, in whatever order its links are named.
    #[test]
    fn the_same_question_has_the_same_answer(asked in asked()) {
        let decision = decide(asked.clone());
        prop_assert!(decision.replays());
        let mut turned = asked;
        turned.links.reverse();
        prop_assert_eq!(decide(turned), decision);
    }

    /// JSON holds all that a decision depends on.
    #[test]
    fn an_explanation_replays_from_its_json(asked in asked()) {
        let decision = decide(asked);
        let json = serde_json::to_string(&decision).unwrap();
        let back: Decision = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&back, &decision, "{}", json);
        prop_assert!(back.replays());
    }

    /// A further link never makes an alarm later.
    #[test]
    fn a_further_link_never_makes_an_alarm_later(asked in asked(), more in link()) {
        let mut asked = asked;
        asked.request = Request::new(Class::Alarm, asked.request.bytes);
        asked.links.retain(|facts| facts.link != more.link);
        let before = decide(asked.clone()).cost();
        asked.links.push(more);
        let after = decide(asked).cost();
        if let Some(before) = before {
            prop_assert!(after.is_some_and(|after| after.arrives <= before.arrives), "{:?} {:?}", before, after);
        }
    }

    /// Nor, without a strict order, a message late that was in time.
    #[test]
    fn a_further_link_never_misses_a_deadline_that_was_met(asked in asked(), more in link()) {
        let mut asked = asked;
        asked.route = Route { node: Preference::Auto, ..Route::default() };
        asked.links.retain(|facts| facts.link != more.link);
        let before = decide(asked.clone()).cost();
        asked.links.push(more);
        let after = decide(asked).cost();
        if before.is_some_and(|cost| cost.is_in_time()) {
            prop_assert!(after.is_some_and(|cost| cost.is_in_time()), "{:?} {:?}", before, after);
        }
    }

    /// The changes that are named are true, for every loser.
    #[test]
    fn each_margin_is_true(asked in asked()) {
        let decision = decide(asked.clone());
        for margin in decision.margins() {
            prop_assert_ne!(Some(margin.link), decision.chosen());
            for change in margin.changes {
                let mut other = asked.clone();
                let chosen = decision.chosen();
                match change {
                    ChoiceChange::Faster { latency } => {
                        let facts = other.links.iter_mut().find(|facts| facts.link == margin.link);
                        facts.unwrap().path.latency = latency;
                    }
                    ChoiceChange::ChosenSlower { latency } => {
                        let facts = other.links.iter_mut().find(|facts| Some(facts.link) == chosen);
                        facts.unwrap().path.latency = latency;
                    }
                    ChoiceChange::ChosenGone => other.links.retain(|facts| Some(facts.link) != chosen),
                    _ => continue,
                }
                prop_assert_eq!(decide(other).chosen(), Some(margin.link), "{:?}", change);
            }
        }
    }
}
