//! What the page is whatever the node holds: inert, bounded, and of the words of `status`.

use serde_json::json;

use super::*;

const NOW: Wall = Wall::from_ms(1_800_000_000_000);
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&\u{202e}\u{1b}[2J";

/// A federation of so many peers, all named alike.
fn snapshot(peers: usize, name: &str) -> Snapshot {
    let did = |n: usize| format!("did:key:z6Mk{n:04}");
    let at = "2027-01-15T07:58:00Z";
    let states = ["here", "quiet", "overdue", "link lost", "gone"];
    let rows = (0..peers).map(|n| {
        let state = states[n % states.len()];
        json!({
            "name": name, "did": did(n), "trust_level": "trusted", "links": ["mesh"], "state": "catching up", "we_lack": 0,
            "they_lack": 2, "heard_at": at,
            "presence": { "state": state, "until": "2027-01-15T08:12:00Z", "why": name, "half_hours": "-hso".repeat(12),
                          "next_within_s": 1200 },
            "behind": [{ "words": format!("{name}/plan waits for airtime"), "leaves_in_s": 720 }],
        })
    });
    let state = json!({
        "timestamp": at, "cpu_usage_percent": 97.0, "mem_used_bytes": 5_000_000_000_u64, "mem_total_bytes": 8_000_000_000_u64,
        "uptime_secs": 90_000, "sensors": { name: { "value": name, "unit": name } }, "apps": [{ "id": name, "status": "running", "version": name, "health": "unhealthy" }],
    });
    let views = (0..peers).map(|n| json!({ "did": did(n), "name": name, "last_state": state }));
    let hearing = (0..peers).map(|n| json!({ "by": "hut", "by_did": "did:key:own", "of": name, "of_did": did(n), "over": "mesh", "at": at }));
    let links = (0..peers).map(|n| {
        json!({ "peer": name, "did": did(n), "link": name, "state": "heard", "why": format!("used: {name}"),
                "failures": [{ "at": at, "why": name }] })
    });
    let conflict = json!({ "document": format!("did:key:own/{name}"), "key": name, "winner": did(0), "loser": did(1), "value": name,
                           "deleted": false, "written_at": at, "shown": { "value": { "a": name } } });
    Snapshot {
        status: json!({
            "id": { "name": "hut", "did": "did:key:own" }, "time": "2027-01-15T08:00:00Z", "time_source": "own",
            "peers": rows.collect::<Vec<_>>(), "alarms": [name], "alarm_codes": ["radio_silent"], "alarm_peers": [name],
            "clocks": [{ "name": name, "did": did(0), "ahead_s": 14_400 }],
        }),
        peers: views.collect(),
        own_state: state.clone(),
        links: links.collect(),
        airtime: json!([{ "radio": name, "rules": name, "used_last_hour_s": 36.0, "budget_hour_s": 360.0, "never": name,
                          "by_priority": [{ "what": "state", "hour_s": 1.0, "share_s": 2.0, "left_s": 3.0, "leaves_in_s": 720.0 }],
                          "by_peer": [{ "what": name, "today_s": 4.0 }] }]),
        hearing: hearing.collect(),
        documents: (0..peers)
            .map(|n| json!({ "owner": did(n), "name": name, "bytes": 9, "changed_at": at }))
            .collect(),
        conflicts: json!([conflict]),
        log: (0..100)
            .map(|_| json!({ "at": at, "kind": "rejection", "message": name, "peer": name, "times": 3 }))
            .collect(),
        invites: json!([{ "level": "trusted", "created_at": at, "expires": at }]),
        choices: vec![
            json!({ "did": did(0), "peer": name, "message": name, "candidates": [{ "name": name, "why": name, "cost": name }] }),
        ],
    }
}

fn page(snapshot: &Snapshot, is_operator: bool) -> String {
    let form = is_operator.then_some("mark");
    render(snapshot, Rights { form, has_token: true }, NOW)
}

#[test]
fn nothing_that_a_peer_names_or_writes_becomes_markup() {
    for is_operator in [false, true] {
        let page = page(&snapshot(5, HOSTILE), is_operator);
        assert!(page.contains("&lt;img src=x") && !page.contains("<img"), "{page}");
        assert!(!page.contains(['\u{202e}', '\u{1b}']));
        // Tags of the page alone, none with a handler.
        let inside = page.split("<main>").nth(1).unwrap().split("</main>").next().unwrap();
        assert!(!inside.contains(" onerror=alert(1)>") && !inside.contains("<script"), "{inside}");
        for tag in inside.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
            // What stands in quotes is text.
            let names: String = tag.split('"').step_by(2).collect();
            assert!(!names.contains(" on") && !names.contains("style=") && !names.contains("http"), "{tag}");
        }
    }
}

#[test]
fn the_page_never_grows_beyond_its_bound() {
    let long = "<&\"'>".repeat(12);
    for peers in [0, 1, 5, 64] {
        let page = page(&snapshot(peers, &long), true);
        assert!(page.len() <= PAGE_BYTES_MAX, "{peers} peers make {} bytes", page.len());
        assert!(page.contains("Tombolo"));
    }
    let usual = page(&snapshot(6, "lighthouse"), true);
    assert!(
        usual.len() < PAGE_BYTES_MAX && usual.matches("<article class=\"card").count() == 7,
        "{}",
        usual.len()
    );
}

#[test]
fn the_verdict_is_the_sentence_of_status_and_three_needs_have_their_remedies() {
    let snapshot = snapshot(5, "boat");
    let needs = needs(&snapshot.status);
    let sentence = marked(&StatusVerdict::of(&snapshot.status, &needs).sentence);
    let page = page(&snapshot, false);
    assert!(page.contains(&sentence), "{sentence}");
    assert_eq!(page.matches("class=remedy").count(), 3);
    assert!(needs.len() > 3 && page.contains("more: <code>tombolo status</code>"));
}

#[test]
fn a_reader_sees_neither_forms_nor_values_nor_refusals() {
    let (reader, operator) = (page(&snapshot(2, "boat"), false), page(&snapshot(2, "boat"), true));
    assert!(operator.contains("action=\"/act/trust\"") && operator.contains("id=log"));
    assert!(!reader.contains("/act/") && !reader.contains("id=log") && !reader.contains("did:key:z6Mk0000"));
    assert!(reader.contains("shown with the token") && reader.contains("action=\"/login\""));
}

/// Three kinds of silence have three classes and three signs, and what is past its "next by" is marked as old.
#[test]
fn kinds_of_silence_differ_without_their_colour() {
    let page = page(&snapshot(5, "boat"), false);
    for (class, sign) in
        [("here", "●"), ("quiet", "◐"), ("overdue old", "▲"), ("lost old", "✕"), ("gone old", "■")]
    {
        let card =
            page.split("<article class=\"card ").find(|card| card.starts_with(&format!("{class}\" id=p")));
        assert!(card.is_some_and(|card| card.contains(sign)), "{class}");
    }
    assert!(page.contains("its clock is 4 h ahead") && page.contains("leaves in 12 min"));
    assert!(page.contains("data-at="));
}
