//! How all stands, in one sentence, and what needs the operator: from the reply to `/v1/status` alone, for `tombolo status`, the
//! page and the bridges.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::advice;
use super::figures::{clean, clock_time, count};
use super::json::{items, number, text};
use super::peer;

/// Things that are shown as needing the operator; the verdict counts the rest.
pub(crate) const NEEDS_SHOWN_MAX: usize = 3;

/// How bad a state of affairs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gravity {
    /// Nothing is lost while it stays as it is.
    Note,
    /// A peer is missed, or an app fails.
    Missing,
    /// This node itself cannot do its work, or is not safe.
    Failing,
}

/// Something that needs the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// How bad it is.
    pub(crate) gravity: Gravity,
    /// What is the matter and why, without a full stop.
    pub(crate) what: String,
    /// The command or act that helps.
    pub(crate) remedy: String,
}

/// The verdict over all that `status` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusVerdict {
    /// The gravest of its needs; none where all is well.
    pub(crate) gravity: Option<Gravity>,
    /// One sentence: that all is well, or the worst with its reason; then how many nodes are in step.
    pub(crate) sentence: String,
}

impl StatusVerdict {
    /// The verdict over a status with these needs.
    pub(crate) fn of(status: &Json, needs: &[Need]) -> Self {
        let step = in_step(status);
        let sentence = match needs {
            [] => format!("All well. {step}"),
            [worst] => format!("{}. {step}", capital(&worst.what)),
            [worst, rest @ ..] => {
                let more =
                    if rest.len() == 1 { "1 more needs" } else { &format!("{} more need", rest.len()) };
                format!("{}. {more} you. {step}", capital(&worst.what))
            }
        };
        StatusVerdict { gravity: needs.iter().map(|need| need.gravity).max(), sentence: clean(&sentence) }
    }
}

/// What needs the operator, the worst first.
pub(crate) fn needs(status: &Json) -> Vec<Need> {
    let mut needs: Vec<Need> = alarms(status).collect();
    needs.extend(members(status).filter_map(missing));
    needs.extend(amiss(status));
    needs.extend(clocks(status));
    needs.extend(forks(status));
    needs.extend(waiting(status));
    needs.extend(without_room(status));
    needs.sort_by_key(|need| std::cmp::Reverse(need.gravity));
    needs
}

/// `5 of 6 nodes in step; boat silent, expected (next by 14:20).`
fn in_step(status: &Json) -> String {
    let members: Vec<&Json> = members(status).collect();
    if members.is_empty() {
        return "No peers yet: `tombolo invite` makes a code for one.".to_owned();
    }
    // What a peer held when it was last heard is no news of one that is missed.
    let is_steady =
        |peer: &Json| text(peer, "state") == "in step" && peer.get("presence").is_some_and(peer::is_current);
    let (steady, others): (Vec<&Json>, Vec<&Json>) =
        members.iter().copied().partition(|peer| is_steady(peer));
    let others = others.into_iter().filter_map(apart);
    let others: String = others.map(|words| format!("; {words}")).collect();
    // This node is one of them, and in step with itself.
    format!("{} of {} nodes in step{others}.", steady.len() + 1, members.len() + 1)
}

/// Why a peer is not in step, where that is as it should be.
fn apart(peer: &Json) -> Option<String> {
    let (name, presence) = (peer::name(peer), peer.get("presence")?);
    match (text(presence, "state"), text(presence, "until")) {
        ("quiet", "") => Some(format!("{name} silent, expected")),
        ("quiet", until) => Some(format!("{name} silent, expected (next by {})", clock_time(until))),
        ("here", _) if text(peer, "state") == "catching up" => Some(format!("{name} catching up")),
        _ => None,
    }
}

/// The peers that count: those that this node shares something with.
fn members(status: &Json) -> impl Iterator<Item = &Json> {
    let peers = status.get("peers").map(items).unwrap_or_default().iter();
    peers.filter(|peer| {
        text(peer, "trust_level") != "untrusted" && text(peer, "state") != "waiting for the inviter"
    })
}

fn alarms(status: &Json) -> impl Iterator<Item = Need> {
    let column = |field| status.get(field).map(items).unwrap_or_default().iter();
    let rows = column("alarms").zip(column("alarm_codes")).zip(column("alarm_peers"));
    rows.map(|((message, code), peer)| {
        let [message, code, peer] = [message, code, peer].map(|text| text.as_str().unwrap_or_default());
        let (gravity, remedy) = weight(code, peer);
        Need { gravity, what: message.trim_end_matches('.').to_owned(), remedy }
    })
}

/// How bad an alarm is, and what helps.
fn weight(code: &str, peer: &str) -> (Gravity, String) {
    let peer_word = advice::shell_word(peer);
    match code {
        "identity_ended" => (Gravity::Missing, remove(peer, "clears it away")),
        "key_stolen" => (
            Gravity::Missing,
            format!("Decide with `tombolo remove {peer_word}` or `tombolo trust {peer_word} LEVEL`."),
        ),
        "removed_by" => (
            Gravity::Missing,
            format!("Ask its operator for a new invite, or {}", remove(peer, "takes it off the list")),
        ),
        _ => {
            let known = REMEDIES.iter().find(|(_, codes, _)| codes.contains(&code));
            let (gravity, _, remedy) = known.unwrap_or(&OTHERS);
            (*gravity, (*remedy).to_owned())
        }
    }
}

/// Alarms by what helps.
const REMEDIES: [(Gravity, &[&str], &str); 13] = [
    (
        Gravity::Failing,
        &["key_used_elsewhere", "own_key_heard"],
        "Stop one of the two machines, and `tombolo init` it again in an empty folder.",
    ),
    (
        Gravity::Failing,
        &["not_saved", "disk_full"],
        "Make room on the disk, or replace it: nothing is written until then.",
    ),
    (
        Gravity::Failing,
        &["stepped_back"],
        "Check the disk and its cable; `tombolo status` shows what came back.",
    ),
    (
        Gravity::Failing,
        &["unconfirmed"],
        "Join a peer with `tombolo join CODE`, or, if this key has never been used, start `tombolo up --new`.",
    ),
    (
        Gravity::Failing,
        &["own_identity_ended", "own_key_stolen"],
        "`tombolo init` in an empty folder makes a new node.",
    ),
    (
        Gravity::Missing,
        &["two_machines"],
        "Stop one of the two machines, and `tombolo init` it again in an empty folder.",
    ),
    (
        Gravity::Missing,
        &["clock_not_set", "clock_differs"],
        "Set the clock, or run a time service, on the machine of this node.",
    ),
    (
        Gravity::Missing,
        &["peers_clocks_differ"],
        "Ask their operators to set them; if this machine's is the wrong one, set it here.",
    ),
    (
        Gravity::Missing,
        &["radio_unusable"],
        "Correct its `[[radio]]` table in `tombolo.toml`, and start the node again.",
    ),
    (
        Gravity::Missing,
        &["radio_silent"],
        "`tombolo airtime` shows its rules, `tombolo doctor` looks at its port.",
    ),
    (Gravity::Note, &["catalogue_damaged"], "Correct the file: it is read again by itself."),
    (Gravity::Note, &["inviter_silent"], "Wait, or ask its operator: the call is repeated by itself."),
    (Gravity::Note, &["probe_failed"], "`tombolo doctor` looks for the reason."),
];

/// What helps against what a watch has found, and against alarms of a later version.
const OTHERS: (Gravity, &[&str], &str) = (
    Gravity::Missing,
    &[],
    "`tombolo alarms` shows it with its id, `tombolo alarms ack ID` notes that you have seen it.",
);

/// A peer that was to be heard, and was not.
fn missing(peer: &Json) -> Option<Need> {
    let presence = peer.get("presence")?;
    if peer::is_current(presence) || text(presence, "state").is_empty() {
        return None;
    }
    let name = peer::name(peer);
    let remedy = match (text(presence, "cause"), text(presence, "state")) {
        ("own_radio_down", _) => {
            "Check the radio of this node and its cable: `tombolo links` has the reason.".to_owned()
        }
        (_, "gone") => format!("Look after it, or {}", remove(&name, "takes it off the list")),
        ("session_closed", _) => {
            format!(
                "Check that it runs and has a network; `tombolo dial {} ADDR` tries another address.",
                advice::shell_word(&name)
            )
        }
        _ => "Check its power and its link; it is shown here as soon as it is heard.".to_owned(),
    };
    let what = match text(presence, "state") {
        "link lost" => format!(
            "the link to {name} is lost since {}: {}",
            clock_time(text(presence, "since")),
            text(presence, "why")
        ),
        _ => format!("{name} is {}: {}", peer::presence(presence), text(presence, "why")),
    };
    Some(Need { gravity: Gravity::Missing, what, remedy })
}

fn remove(peer: &str, effect: &str) -> String {
    format!("`tombolo remove {}` {effect}.", advice::shell_word(peer))
}

/// The apps of this node that fail.
fn amiss(status: &Json) -> impl Iterator<Item = Need> {
    let apps = status.get("apps").and_then(|apps| apps.get("amiss")).map(items).unwrap_or_default();
    apps.iter().map(|app| Need {
        gravity: Gravity::Missing,
        what: format!("the app {} on this node is {}", text(app, "id"), text(app, "health")),
        remedy: "Look at its log, and at its own health check.".to_owned(),
    })
}

/// Peers whose clocks are wrong. Where this node's own clock is not trusted, an alarm shows that instead.
fn clocks(status: &Json) -> impl Iterator<Item = Need> {
    let rows = match text(status, "time_source") {
        "own" => status.get("clocks").map(items).unwrap_or_default(),
        _ => &[],
    };
    rows.iter().filter_map(|row| {
        let words = peer::clock(row.get("ahead_s").and_then(Json::as_i64).unwrap_or_default())?;
        let name = peer::name(row);
        let words = words.trim_start_matches("its clock is ");
        let of = if words.ends_with("ahead") { " of" } else { "" };
        let what = format!("the clock of {name} is wrong: {words}{of} this one");
        Some(Need {
            gravity: Gravity::Note,
            what,
            remedy: format!("Set the clock on {name}, or run a time service there."),
        })
    })
}

fn forks(status: &Json) -> impl Iterator<Item = Need> {
    let forks = status.get("forks").and_then(Json::as_object).into_iter().flatten();
    forks.map(|(author, _)| Need {
        gravity: Gravity::Note,
        what: format!("{} signed two states with one sequence", super::short_did(author)),
        remedy: "Look for a copied disk or a restored backup of that node.".to_owned(),
    })
}

/// Values that wait for their time.
fn waiting(status: &Json) -> Option<Need> {
    let waiting = number(status, "quarantined");
    let what = format!("{} from the future wait for their time", count(waiting, "value"));
    let remedy = "Set the clock of the node that wrote them: `tombolo doctor` names it.".to_owned();
    (waiting > 0).then_some(Need { gravity: Gravity::Note, what, remedy })
}

/// Documents that find no room, here or at a peer: each once, however many show it.
fn without_room(status: &Json) -> impl Iterator<Item = Need> {
    let mut known = BTreeSet::new();
    let rows = members(status).flat_map(|peer| {
        let behind = peer.get("behind").map(items).unwrap_or_default().iter();
        behind.filter(|lag| text(lag, "waits_for") == "room").map(move |lag| (peer, lag))
    });
    let needs = rows.filter_map(|(peer, lag)| {
        let document = match text(lag, "document") {
            "" => "a document that is not here",
            document => document,
        };
        let (place, remedy) = match text(lag, "kind") {
            "we_lack" => (
                "this node".to_owned(),
                "Its owner makes room by deleting documents or keys; what all peers may take here is `peers_memory_mib` in `tombolo.toml`.",
            ),
            _ => (
                peer::name(peer),
                "Its owner makes room by deleting documents or keys; the operator there may raise `peers_memory_mib`.",
            ),
        };
        let what = format!("{place} does not take the newest of {document}: its owner has used up the room");
        known
            .insert(what.clone())
            .then(|| Need { gravity: Gravity::Note, what, remedy: remedy.to_owned() })
    });
    needs.collect::<Vec<_>>().into_iter()
}

/// A sentence with a capital, unless it begins with the name of a setting.
fn capital(text: &str) -> String {
    if text.split([' ', ':']).next().is_some_and(|word| word.contains('_')) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(peers: Json) -> Json {
        json!({ "time_source": "own", "peers": peers, "alarms": [], "alarm_codes": [], "alarm_peers": [] })
    }

    fn verdict(status: &Json) -> StatusVerdict {
        StatusVerdict::of(status, &needs(status))
    }

    fn peer(name: &str, step: &str, presence: Json) -> Json {
        json!({ "name": name, "trust_level": "trusted", "state": step, "presence": presence })
    }

    #[test]
    fn silence_as_expected_is_well_and_is_named_with_its_time() {
        let here = || json!({ "state": "here" });
        let quiet = json!({ "state": "quiet", "until": "2027-01-15T08:00:00Z" });
        let peers = json!([
            peer("hut", "in step", here()),
            peer("boat", "not connected", quiet),
            peer("tower", "catching up", here()),
            { "name": "mole", "trust_level": "untrusted", "state": "not connected" },
        ]);
        let StatusVerdict { gravity, sentence } = verdict(&status(peers));
        assert_eq!(gravity, None);
        assert!(
            sentence.starts_with("All well. 2 of 4 nodes in step; boat silent, expected (next by ")
                && sentence.ends_with("); tower catching up."),
            "{sentence}"
        );
        let alone = verdict(&status(json!([]))).sentence;
        assert_eq!(alone, "All well. No peers yet: `tombolo invite` makes a code for one.");
    }

    #[test]
    fn documents_without_room_are_named_once() {
        let lag = |kind, waits_for, document: &str| json!({ "kind": kind, "waits_for": waits_for, "document": document });
        let row = |name, behind: Json| {
            let mut row = peer(name, "catching up", json!({ "state": "here" }));
            row["behind"] = behind;
            row
        };
        let here = lag("we_lack", "room", "hut/log");
        let peers = json!([
            row("hut", json!([here, lag("they_lack", "turn", "hut/a")])),
            row("boat", json!([here, lag("they_lack", "room", "attic/b")])),
        ]);
        let status = status(peers);
        let words: Vec<_> = needs(&status).into_iter().map(|need| need.what).collect();
        let ends = "its owner has used up the room";
        assert_eq!(
            words,
            [
                format!("this node does not take the newest of hut/log: {ends}"),
                format!("boat does not take the newest of attic/b: {ends}"),
            ]
        );
        let StatusVerdict { gravity, sentence } = verdict(&status);
        assert_eq!(gravity, Some(Gravity::Note));
        assert!(sentence.starts_with("This node does not take"), "{sentence}");
    }

    #[test]
    fn the_worst_comes_first_with_its_reason_and_the_rest_is_counted() {
        let overdue = json!({
            "state": "overdue", "since": "2027-01-15T08:00:00Z",
            "why": "last heard 40 min ago by radio, and was to be heard again within 20 min",
        });
        let mut status = status(json!([peer("boat\u{1b}[2J", "in step", overdue)]));
        let one = verdict(&status);
        assert_eq!(one.gravity, Some(Gravity::Missing));
        assert!(one.sentence.starts_with("Boat\u{fffd}[2J is overdue since "), "{}", one.sentence);
        assert!(one.sentence.ends_with("within 20 min. 1 of 2 nodes in step."), "{}", one.sentence);
        status["alarms"] = json!(["the last change was not saved: no room"]);
        status["alarm_codes"] = json!(["not_saved"]);
        status["alarm_peers"] = json!([null]);
        status["clocks"] = json!([{ "name": "hut", "ahead_s": 14_400 }, { "name": "tower", "ahead_s": 30 }]);
        let worst = verdict(&status);
        assert_eq!(worst.gravity, Some(Gravity::Failing));
        let start = "The last change was not saved: no room. 2 more need you. 1 of 2 nodes in step.";
        assert_eq!(worst.sentence, start);
        let clock = needs(&status).pop().unwrap();
        assert_eq!(clock.what, "the clock of hut is wrong: 4 h ahead of this one");
        status["clocks"] = json!([{ "name": "hut", "ahead_s": -14_400 }]);
        assert_eq!(needs(&status).pop().unwrap().what, "the clock of hut is wrong: 4 h behind this one");
    }

    #[test]
    fn a_sentence_has_a_capital_but_a_setting_keeps_its_name() {
        assert_eq!(capital("the link is lost"), "The link is lost");
        assert_eq!(capital("apps_file: line 1"), "apps_file: line 1");
    }

    #[test]
    fn every_need_has_a_remedy() {
        for code in
            ["key_used_elsewhere", "disk_full", "key_stolen", "two_machines", "removed_by", "something new"]
        {
            let mut status = status(json!([]));
            status["alarms"] = json!(["it is so"]);
            status["alarm_codes"] = json!([code]);
            status["alarm_peers"] = json!(["old boat's"]);
            let needs = needs(&status);
            assert!(needs.len() == 1 && !needs[0].remedy.is_empty(), "{code}");
        }
        assert!(weight("key_stolen", "old boat's").1.contains(r"`tombolo remove 'old boat'\''s'`"));
    }
}
