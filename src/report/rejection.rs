//! The sentences of rejections, for `log` and `status`. The label of each stands in `core`.

use crate::core::InputRejection;
use crate::federation::Refusal;

/// What was refused and why, as a sentence about one such input.
pub(super) fn sentence(why: InputRejection) -> String {
    let words = match why {
        InputRejection::LinkOfNoPeer => {
            "a link was closed: the node at its far end is no peer, or is untrusted"
        }
        InputRejection::FrameOfNoPeer => {
            "a radio frame was not read: its sender is no peer of this node, or is untrusted"
        }
        InputRejection::BadMessage => "a message was dropped: it is not of a form that this version knows",
        InputRejection::BadSignature => {
            "a state was dropped: its signature does not hold for the author that it names"
        }
        InputRejection::BadPart => {
            "a part of a long document was dropped: it does not have the hash that was asked for"
        }
        InputRejection::BadJoinFrame => "a radio frame that asks to join was dropped: it does not read",
        InputRejection::DeltaDoesNotMatchRoot => {
            "a change was not applied: with every state here that it may start from, the result is not the signed one; the \
             sender is asked for what this node lacks"
        }
        InputRejection::DeltaWithoutBase => {
            "a change could not be applied: it starts from a state that this node does not hold; the sender is shown what \
             this node holds, and sends from there"
        }
        InputRejection::KindDiffersFromOwner => {
            "a writer's part of a document was not taken: it is a map where the owner's is a snapshot, or the reverse"
        }
        InputRejection::Fork => {
            "an author signed two different states with one sequence: a copied disk or a restored backup"
        }
        InputRejection::Layer(refusal) => return layer(refusal).to_owned(),
        InputRejection::Join(refusal) => return format!("a request to join was refused: {refusal}"),
        InputRejection::JoinAnswerDelayed => {
            "a request to join by radio is answered later: the answers of this hour are spent"
        }
        InputRejection::DiskRefuses => {
            "a state was not taken: the disk refused the last change, and nothing is taken until it works again"
        }
        InputRejection::NoLinkMayCarry => {
            "a message was not sent: none of the links to its peer may carry it"
        }
        InputRejection::ProvisionalRefused => {
            "a state without a signature was not shown: its tag does not hold, or a newer one is known"
        }
        InputRejection::RadioRefusedMessage => {
            "a message was not sent by radio: the station does not take it"
        }
        InputRejection::TooLongForRadio => {
            "a document was not sent by radio: it is too long even in fragments"
        }
        InputRejection::TooManyRadios => "a radio was not taken: this node has as many as it can drive",
        InputRejection::Call(code) => return format!("a JSON call was refused: {}", code.replace('_', " ")),
        InputRejection::BadCallAnswer => "a peer's answer to a JSON call was dropped: it cannot be used",
        InputRejection::Command(refusal) => return format!("a command was refused: {refusal}"),
        InputRejection::UnaskedAnswer => {
            "an answer to a command was dropped: this node sent that peer no such command"
        }
        InputRejection::NoticeOfNoTrust => {
            "a notice of revocation was not followed: its author is not trusted here"
        }
        InputRejection::TooManyNotices => "a notice of revocation was dropped: as many are kept as may be",
        InputRejection::NotUnderstoodByPeer => {
            "a peer did not understand a message of this node: one of the two has another version, or a fault"
        }
        InputRejection::SenderSlowed => {
            "a message was dropped unread: this peer has sent too much that no signature proved, and is slowed for a while"
        }
        InputRejection::SenderCut => {
            "a session was closed, or not begun: this peer goes on sending what no signature proves; it may come back in a few \
             minutes"
        }
    };
    words.to_owned()
}

fn layer(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::OwnerNotTrusted => "a document was not taken: its owner is unknown or untrusted here",
        Refusal::ObservedOnly => {
            "a document was not taken: its owner is only observed here, which brings its state and nothing else"
        }
        Refusal::NotAWriter => {
            "a writer's part of a document was not taken: the owner does not list it as a writer"
        }
        Refusal::AudienceBehind => {
            "a state was not taken yet: it counts under a list of readers that has not arrived, which is asked for"
        }
        Refusal::Quota => {
            "a document was not taken: its owner has used up the room that this node has for one owner"
        }
        Refusal::NoSuchDocument => {
            "a writer's part of a document was not taken: its owner has made no such document, or its own part has not come yet"
        }
        Refusal::Ended => "an old state of a document was not taken: its owner has deleted the document",
        Refusal::Forgotten => "a document was not taken: it was deleted here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CommandRefusal;
    use crate::federation::join::JoinRefusal;

    /// A person reads these: each names what happened and why, and none is a label.
    #[test]
    fn each_rejection_has_a_sentence_with_a_reason() {
        use InputRejection as R;
        let all = [
            R::LinkOfNoPeer,
            R::FrameOfNoPeer,
            R::BadMessage,
            R::BadSignature,
            R::BadPart,
            R::BadJoinFrame,
            R::DeltaDoesNotMatchRoot,
            R::DeltaWithoutBase,
            R::KindDiffersFromOwner,
            R::Fork,
            R::Layer(Refusal::OwnerNotTrusted),
            R::Layer(Refusal::ObservedOnly),
            R::Layer(Refusal::NotAWriter),
            R::Layer(Refusal::AudienceBehind),
            R::Layer(Refusal::Quota),
            R::Join(JoinRefusal::Token),
            R::JoinAnswerDelayed,
            R::DiskRefuses,
            R::NoLinkMayCarry,
            R::ProvisionalRefused,
            R::RadioRefusedMessage,
            R::TooLongForRadio,
            R::TooManyRadios,
            R::Call("bad_timestamp"),
            R::BadCallAnswer,
            R::Command(CommandRefusal::Off),
            R::UnaskedAnswer,
            R::NoticeOfNoTrust,
            R::TooManyNotices,
        ];
        let page = include_str!("../../docs/troubleshooting.md");
        let mut seen = std::collections::BTreeSet::new();
        for why in all {
            let text = sentence(why);
            assert!(text.contains(": ") && !text.contains('_') && !text.contains("  "), "{text}");
            assert!(seen.insert(text), "{why:?}");
            // Those of several reasons stand under what they have in common.
            let label = why.label();
            let family = ["join_", "call_", "command_"].into_iter().find(|family| label.starts_with(family));
            let is_there = page.contains(&format!("`{label}`"))
                || family.is_some_and(|family| page.contains(&format!("`{family}…`")));
            assert!(is_there, "docs/troubleshooting.md lacks {label}");
        }
    }
}
