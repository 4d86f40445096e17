//! Which command helps: added here to the facts that the node reports, by their codes. What helps against an alarm is in
//! `words`, since the page shows it as well.

pub(super) use crate::words::advice::alarm;
use crate::words::advice::{ANOTHER_KEY, CONFIRM};

/// What follows where a store cannot be used any more.
pub(super) const RECOVER: &str = "`tombolo recover` puts it aside and keeps identity and settings; then start `tombolo up` and join \
     a peer again with an invite of it, which brings back what this node wrote";

/// What follows where a store is lost, and its log is there.
pub(super) const RECOVER_LOG: &str = "`tombolo recover` puts store.wal aside and makes a new store; then start `tombolo up` and join a peer again with \
     an invite of it, which brings back what this node wrote";

/// A refusal of the node with what helps in any case.
pub(super) fn refusal(code: &str, message: String) -> String {
    match code {
        "store_damaged" => format!("{message}. End the daemon: {RECOVER}"),
        "unconfirmed" => format!("{message}: {CONFIRM}"),
        "stopped" => message + ANOTHER_KEY,
        _ => message,
    }
}

/// What people who try two nodes on one machine need to know where it has no network.
pub(super) const ON_ONE_MACHINE: &str = "for nodes on this machine alone, without a network: `loopback = true` in section [lan] of tombolo.toml, at each \
     of them";

/// A refusal of a command about a document with the command that helps.
pub(super) fn refusal_for(code: &str, message: String, doc: &str) -> String {
    let advice = match code {
        "unknown_peer" => "`tombolo peers` lists them".to_owned(),
        "already_peer" => {
            "`tombolo peers` shows it and whether it refuses this node, `tombolo dial PEER ADDR` gives it another address".to_owned()
        }
        // Only its owner makes a document, and its name has no slash.
        "unknown_document" if doc.contains('/') => "`tombolo ls` lists those that are there".to_owned(),
        "unknown_document" => format!("`tombolo create {doc}` makes one, `tombolo ls` lists them"),
        "document_exists" => format!("`tombolo get {doc}` shows it"),
        "unknown_key" => format!("`tombolo get {doc}` shows what it has"),
        "call_failed" => "`tombolo links` shows what leads to it".to_owned(),
        "unknown_invite" => "`tombolo invites` lists them".to_owned(),
        "unknown_alarm" => "`tombolo alarms` lists them".to_owned(),
        "unknown_watch" => "`tombolo watch-for list` lists them".to_owned(),
        "unknown_decision" => "`tombolo why` lists the newest".to_owned(),
        "unknown_deploy" => "`tombolo deploy --status` lists them".to_owned(),
        "not_trusted" => "`tombolo trust PEER trusted` changes that".to_owned(),
        "not_in_catalogue" => "`tombolo catalogue` lists it".to_owned(),
        "bad_expiry" => "for instance `--expires 24h`".to_owned(),
        _ => return message,
    };
    format!("{message}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Alarm, CommandError, StopReason};

    /// What the advice names can be done: no document is created by another's name.
    #[test]
    fn a_document_of_a_peer_is_not_to_be_created() {
        let advice = |doc: &str| refusal_for("unknown_document", "no".to_owned(), doc);
        assert_eq!(advice("plan"), "no: `tombolo create plan` makes one, `tombolo ls` lists them");
        assert_eq!(advice("hut/plan"), "no: `tombolo ls` lists those that are there");
    }

    /// What people read is one sentence of the node's facts and the command that helps.
    #[test]
    fn advice_continues_the_sentence_of_the_node() {
        let shared = "another machine signs with this node's key at this moment. Two nodes must not share one identity: \
                      stop one of them, and `init` it again in an empty folder";
        let error = CommandError::Stopped(StopReason::KeyUsedElsewhere);
        assert_eq!(
            refusal(error.code(), error.to_string()),
            format!("this node has stopped writing: {shared}")
        );
        let printed =
            |shown: &Alarm| alarm(shown.code(), &shown.to_string(), shown.peer().unwrap_or_default());
        assert_eq!(printed(&Alarm::KeyUsedElsewhere), shared);
        assert_eq!(
            printed(&Alarm::TwoMachines { peer: "tower".to_owned() }),
            "two machines run with the key of tower, and take each other's links: one of them has to be stopped, and \
             made again with `init` in an empty folder"
        );
        let stolen = |peer: &str| Alarm::KeyStolen { author: "attic".to_owned(), peer: peer.to_owned() };
        assert!(
            printed(&stolen("boat")).ends_with("with `tombolo remove boat` or `tombolo trust boat LEVEL`")
        );
        assert!(printed(&stolen("old boat's")).contains(r"`tombolo remove 'old boat'\''s'`"));
        let ended = printed(&Alarm::IdentityEnded { peer: "boat".to_owned() });
        assert_eq!(ended, "boat has ended its identity: `tombolo remove boat` clears it away");
        assert_eq!(
            printed(&Alarm::ClockNotSet),
            "this machine's clock is not set: set it, or run a time service"
        );
    }
}
