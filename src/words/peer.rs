//! One peer in words: how it stands, how far it is in step, whether it hears this node, what is on its way.

use serde_json::Value as Json;

use super::figures::{age, clock_time, cut, seconds, short_did, span};
use super::json::{number, text};
use crate::time::Wall;

/// Peers that are named in one line, and characters of a name there.
const NAMES_MAX: usize = 8;
const NAME_CHARS: usize = 24;

/// How far a long message is on its way by radio.
pub(crate) fn transfer(transfer: &Json) -> String {
    let (done, all) = (number(transfer, "frames_done"), number(transfer, "frames"));
    let to_go = match transfer.get("about_s").and_then(Json::as_f64) {
        None => "it may not leave".to_owned(),
        Some(about) => format!("about {} to go", seconds(about.ceil())),
    };
    let repair = transfer.get("repair").and_then(Json::as_bool) == Some(true);
    match (text(transfer, "way"), repair) {
        ("in", _) => format!("receiving from {}: {done} of {all} frames, {to_go}", text(transfer, "from")),
        (_, true) => format!("sending what was missed of {}: {to_go}", text(transfer, "document")),
        _ => format!("sending {}: {done} of {all} frames, {to_go}", text(transfer, "document")),
    }
}

/// How a peer stands, with the time that goes with the word: `quiet until 14:05`.
pub(crate) fn presence(presence: &Json) -> String {
    let state = text(presence, "state");
    match (state, text(presence, "until"), text(presence, "since")) {
        ("", _, _) => "not met yet".to_owned(),
        (_, "", "") => state.to_owned(),
        (_, until, "") => format!("{state} until {}", clock_time(until)),
        (_, _, since) => format!("{state} since {}", clock_time(since)),
    }
}

/// Whether a peer hears this node: `40 s ago, by radio`.
pub(crate) fn hears_us(presence: &Json) -> String {
    let Some(hears) = presence.get("hears_us") else { return "not known".to_owned() };
    let over = match text(hears, "medium") {
        "mesh" => "by radio".to_owned(),
        "lan" => "over LAN".to_owned(),
        "tor" => "through Tor".to_owned(),
        other => format!("by {other}"),
    };
    match number(hears, "ago_s") {
        0..2 => format!("now, {over}"),
        ago => format!("{} ago, {over}", span(ago)),
    }
}

/// The sync status with a peer, as far as it is known: the object with `state`, `we_lack` and `they_lack`.
pub(crate) fn step(step: &Json, now: Wall) -> String {
    let state = text(step, "state");
    let parts = [("we_lack", "we lack"), ("they_lack", "they lack"), ("unacknowledged", "unacknowledged")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(field, _)| number(step, field) > 0)
        .map(|(field, words)| format!("{words} {}", number(step, field)))
        .collect();
    match (state, text(step, "unknown_since")) {
        ("catching up", _)
            if number(step, "we_lack") + number(step, "they_lack") == 0 && !parts.is_empty() =>
        {
            format!("sent, {}", parts.join(", "))
        }
        ("unknown", "") => "not reported yet what it holds".to_owned(),
        // A node state that is newer than the last report is on its way as it should be.
        ("in step", _) => state.to_owned(),
        ("unknown", since) => format!("known until {}", age(since, now)),
        // Nothing is lacking, and nothing was agreed on yet.
        ("catching up", _) if parts.is_empty() => "comparing".to_owned(),
        _ if parts.is_empty() => state.to_owned(),
        // The word alone would sound as if something was amiss.
        ("catching up", _) => parts.join(", "),
        _ => format!("{state}, {}", parts.join(", ")),
    }
}

/// The link to a peer, where one leads there, and why it is used or is not.
pub(crate) fn route(peer: &Json) -> (&str, &str) {
    let route = peer.get("route").unwrap_or(&Json::Null);
    let why = text(route, "why");
    (text(route, "link"), why.strip_prefix("used: ").unwrap_or(why))
}

/// The same for all peers, those alike in one line: `attic, boat over lan: the only link to this peer`. A peer that is missed is left
/// out: why it is stands in its own sentence.
pub(crate) fn routes(peers: &[Json]) -> Vec<String> {
    let mut alike: Vec<((&str, &str), Vec<String>)> = Vec::new();
    for peer in peers {
        let route = route(peer);
        let is_missed = peer.get("presence").is_some_and(|presence| !is_current(presence));
        if route.1.is_empty() || (is_missed && route.0.is_empty()) {
            continue;
        }
        match alike.iter_mut().find(|(of, _)| *of == route) {
            Some((_, names)) => names.push(name(peer)),
            None => alike.push((route, vec![name(peer)])),
        }
    }
    let line = |((link, why), names): &((&str, &str), Vec<String>)| {
        let shown =
            names.iter().take(NAMES_MAX).map(|name| cut(name, NAME_CHARS)).collect::<Vec<_>>().join(", ");
        let more = names.len().checked_sub(NAMES_MAX).filter(|more| *more > 0);
        let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
        let over = if link.is_empty() { String::new() } else { format!(" over {link}") };
        format!("{shown}{more}{over}: {why}")
    };
    alike.iter().map(line).collect()
}

/// Whether what is known of a peer is still to be believed: it is heard, or silent as it may be. Past its "next by" every figure of
/// it is old, and is shown as such everywhere.
pub(crate) fn is_current(presence: &Json) -> bool {
    matches!(text(presence, "state"), "here" | "quiet")
}

/// The name of a peer, or the start of its DID.
pub(crate) fn name(peer: &Json) -> String {
    match text(peer, "name") {
        "" => short_did(text(peer, "did")),
        name => name.to_owned(),
    }
}

/// By how much the clock of a peer is wrong, beside that of this machine; nothing where it is not.
pub(crate) fn clock(ahead_s: i64) -> Option<String> {
    // To the minute: a difference of four hours is measured as one second less.
    let span = span((ahead_s.unsigned_abs() + 30) / 60 * 60);
    match ahead_s {
        ..-60 => Some(format!("its clock is {span} behind")),
        -60..=60 => None,
        _ => Some(format!("its clock is {span} ahead")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sync_status_shows_only_what_is_known() {
        let now = Wall::from_ms(1_800_000_000_000);
        let said = |json: &str| step(&serde_json::from_str(json).unwrap(), now);
        for (json, words) in [
            (r#"{"state":"in step","we_lack":0,"they_lack":0,"unacknowledged":0}"#, "in step"),
            (r#"{"state":"in step","we_lack":0,"they_lack":0,"unacknowledged":1}"#, "in step"),
            (r#"{"state":"catching up","we_lack":null,"they_lack":null}"#, "comparing"),
            (r#"{"state":"catching up","we_lack":2,"they_lack":1}"#, "we lack 2, they lack 1"),
            (
                r#"{"state":"catching up","we_lack":0,"they_lack":0,"unacknowledged":1}"#,
                "sent, unacknowledged 1",
            ),
            (r#"{"state":"unknown","we_lack":null,"they_lack":null}"#, "not reported yet what it holds"),
            (r#"{"state":"unknown","unknown_since":"2027-01-15T07:50:00Z"}"#, "known until 10 min ago"),
            (r#"{"state":"not connected","we_lack":null}"#, "not connected"),
        ] {
            assert_eq!(said(json), words, "{json}");
        }
    }

    /// Peers with one link and one reason stand in one line; the reason of one that is missed stands elsewhere.
    #[test]
    fn the_link_to_each_peer_is_named_with_its_reason() {
        let peer = |name: &str, link: &str, why: &str, state: &str| serde_json::json!({ "name": name, "route": { "link": link, "why": why }, "presence": { "state": state } });
        let (only, away) =
            ("used: the only link to this peer", "no link to it now: it is off or out of reach");
        let mut peers = vec![
            peer("attic", "lan", only, "here"),
            peer("boat", "mesh", "waits: this hour's airtime is spent", "overdue"),
            peer("ferry", "lan", only, "quiet"),
            peer("gone", "", away, "gone"),
        ];
        peers.extend((0..8).map(|n| peer(&format!("n{n}"), "lan", only, "here")));
        let expected = [
            "attic, ferry, n0, n1, n2, n3, n4, n5 and 2 more over lan: the only link to this peer",
            "boat over mesh: waits: this hour's airtime is spent",
        ];
        assert_eq!(routes(&peers), expected);
        assert!(routes(&[]).is_empty());
    }

    #[test]
    fn a_clock_is_wrong_from_a_minute_on_and_by_a_rounded_span() {
        let cases = [
            (0, None),
            (60, None),
            (-60, None),
            (14_399, Some("its clock is 4 h ahead")),
            (-90, Some("its clock is 2 min behind")),
            (i64::MIN, Some("its clock is 106751991167300 d behind")),
        ];
        for (ahead_s, words) in cases {
            assert_eq!(clock(ahead_s).as_deref(), words, "{ahead_s}");
        }
    }

    #[test]
    fn presence_is_a_word_with_its_time_and_whether_the_peer_hears_us() {
        let json = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        assert_eq!(presence(&Json::Null), "not met yet");
        assert_eq!(presence(&json(r#"{"state":"here"}"#)), "here");
        let quiet = presence(&json(r#"{"state":"quiet","until":"2027-01-15T08:00:00Z"}"#));
        assert!(quiet.starts_with("quiet until 2027-01-1"), "{quiet}");
        let lost = presence(&json(r#"{"state":"link lost","since":"2027-01-15T08:00:00Z"}"#));
        assert!(lost.starts_with("link lost since 2027-01-1"), "{lost}");
        assert_eq!(hears_us(&json(r#"{"hears_us":{"medium":"mesh","ago_s":40}}"#)), "40 s ago, by radio");
        assert_eq!(hears_us(&json(r#"{"hears_us":{"medium":"lan","ago_s":1}}"#)), "now, over LAN");
        assert_eq!(hears_us(&json("{}")), "not known");
    }
}
