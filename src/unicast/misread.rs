//! Messages of peers that this node did not understand: each peer is sent how many there were, so that another implementation
//! can find its fault. A count, and no text of the message.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::sync::message::Message;
use crate::time::{Millis, Mono};

/// One answer in this time at most; the next has the messages since.
const PAUSE: Millis = Millis::from_secs(1);

/// Counts by peer, of peers that have a link.
#[derive(Debug, Default)]
pub(super) struct Misread {
    peers: BTreeMap<PeerId, MisreadOfPeer>,
}

#[derive(Clone, Copy, Debug, Default)]
struct MisreadOfPeer {
    messages: u64,
    answered_at: Option<Mono>,
}

impl Misread {
    /// Counts a message of a peer. Returns the answer that is due now.
    ///
    /// An answer of this kind that was not understood itself has none: two nodes would go on for ever.
    pub(super) fn count(&mut self, peer: PeerId, bytes: &[u8], now: Mono) -> Option<Message> {
        let of = self.peers.entry(peer).or_default();
        of.messages += 1;
        let is_answer = bytes.first() == Some(&Message::NOT_UNDERSTOOD);
        if is_answer || of.answered_at.is_some_and(|at| now.since(at) < PAUSE) {
            return None;
        }
        of.answered_at = Some(now);
        Some(Message::NotUnderstood(of.messages))
    }

    /// The last link to a peer is gone.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(answer: Option<Message>) -> Option<u64> {
        match answer {
            Some(Message::NotUnderstood(messages)) => Some(messages),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn a_peer_is_sent_the_count_once_a_second() {
        let (mut misread, peer) = (Misread::default(), PeerId([1; 32]));
        let at = Mono::from_ms;
        assert_eq!(count(misread.count(peer, &[0x7f], at(0))), Some(1));
        assert_eq!(count(misread.count(peer, &[0x7f], at(999))), None);
        assert_eq!(count(misread.count(peer, &[], at(1000))), Some(3));
        assert_eq!(count(misread.count(PeerId([2; 32]), &[0x7f], at(1000))), Some(1));
        misread.forget(&peer);
        assert_eq!(count(misread.count(peer, &[0x7f], at(1001))), Some(1));
    }

    /// Two nodes that do not understand each other's answers do not go on answering.
    #[test]
    fn an_answer_that_is_not_understood_has_none() {
        let (mut misread, peer) = (Misread::default(), PeerId([1; 32]));
        assert!(misread.count(peer, &[Message::NOT_UNDERSTOOD, 0xff], Mono::from_ms(0)).is_none());
    }
}
