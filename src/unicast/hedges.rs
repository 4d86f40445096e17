//! Layers that are hedged: what went to a peer over one link and has to show soon that it arrived. Where the peer stays silent, the
//! layer goes over another link as well, or by radio; a state that arrives twice changes nothing. Time is passed in.

use std::collections::BTreeMap;

use tombolo_transports::{LinkId, PeerId};

use crate::layer::{LayerHash, LayerId};
use crate::sync::frontier::State;
use crate::time::Mono;

/// Layers of all peers whose arrival is waited for. One beyond that is sent without a hedge.
const HEDGES_MAX: usize = 256;

/// A layer that one peer has to acknowledge.
#[derive(Clone, Debug)]
pub(super) struct Hedge {
    pub(super) id: LayerId,
    /// The link that has carried it.
    pub(super) link: LinkId,
    /// What the peer held before.
    pub(super) held: Option<State>,
    /// When the second copy is due; none: it has left.
    due: Option<Mono>,
}

/// The layers whose arrival is waited for.
#[derive(Debug, Default)]
pub(super) struct Hedges {
    open: BTreeMap<(PeerId, LayerHash), Hedge>,
}

impl Hedges {
    /// A layer went to a peer over a link, and its second copy is due then.
    pub(super) fn went_over(
        &mut self,
        peer: PeerId,
        id: &LayerId,
        link: LinkId,
        held: Option<State>,
        due: Mono,
    ) {
        let key = (peer, id.hash());
        if self.open.len() < HEDGES_MAX || self.open.contains_key(&key) {
            self.open.insert(key, Hedge { id: id.clone(), link, held, due: Some(due) });
        }
    }

    /// Takes the layers whose second copy is due, of those that `is_open` still waits for; the others are dropped.
    pub(super) fn take_due(
        &mut self,
        now: Mono,
        is_open: impl Fn(&PeerId, &LayerHash) -> bool,
    ) -> Vec<(PeerId, Hedge)> {
        self.open.retain(|(peer, layer), _| is_open(peer, layer));
        let due = self.open.iter_mut().filter(|(_, hedge)| hedge.due.is_some_and(|due| due <= now));
        due.map(|((peer, _), hedge)| {
            hedge.due = None;
            (*peer, hedge.clone())
        })
        .collect()
    }

    /// The link that has carried a layer to a peer and stayed silent until its second copy was due.
    pub(super) fn silent_link(&self, peer: &PeerId, layer: &LayerHash) -> Option<LinkId> {
        self.open.get(&(*peer, *layer)).filter(|hedge| hedge.due.is_none()).map(|hedge| hedge.link)
    }

    /// A link is gone: no answer comes over it any more.
    pub(super) fn link_down(&mut self, link: LinkId, now: Mono) {
        for hedge in self.open.values_mut().filter(|hedge| hedge.link == link && hedge.due.is_some()) {
            hedge.due = Some(now);
        }
    }

    /// No link leads to a peer any more.
    pub(super) fn peer_down(&mut self, peer: &PeerId) {
        self.open.retain(|(of, _), _| of != peer);
    }

    /// When a second copy is due.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.open.values().filter_map(|hedge| hedge.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{DocumentId, DocumentName};

    fn id() -> LayerId {
        let owner = PeerId([1; 32]);
        let name = DocumentName::new(DocumentName::ALARMS).unwrap();
        LayerId { document: DocumentId { owner, name }, author: owner }
    }

    #[test]
    fn a_second_copy_is_due_once_and_not_after_the_peer_has_answered() {
        let (peer, other, link) = (PeerId([2; 32]), PeerId([3; 32]), LinkId(7));
        let mut hedges = Hedges::default();
        hedges.went_over(peer, &id(), link, None, Mono::from_ms(900));
        hedges.went_over(other, &id(), LinkId(8), None, Mono::from_ms(900));
        assert_eq!(hedges.poll_timeout(), Some(Mono::from_ms(900)));
        assert!(hedges.take_due(Mono::from_ms(899), |_, _| true).is_empty());
        assert_eq!(hedges.silent_link(&peer, &id().hash()), None);
        let due = hedges.take_due(Mono::from_ms(900), |of, _| *of == peer);
        assert_eq!(due.iter().map(|(peer, hedge)| (*peer, hedge.link)).collect::<Vec<_>>(), [(peer, link)]);
        assert!(hedges.take_due(Mono::from_ms(9_000), |_, _| true).is_empty());
        assert_eq!(hedges.silent_link(&peer, &id().hash()), Some(link));
        assert_eq!((hedges.silent_link(&other, &id().hash()), hedges.poll_timeout()), (None, None));
    }

    #[test]
    fn a_link_that_is_gone_is_not_waited_for() {
        let (peer, link) = (PeerId([2; 32]), LinkId(7));
        let mut hedges = Hedges::default();
        hedges.went_over(peer, &id(), link, None, Mono::from_ms(900));
        hedges.link_down(LinkId(8), Mono::from_ms(10));
        assert!(hedges.take_due(Mono::from_ms(10), |_, _| true).is_empty());
        hedges.link_down(link, Mono::from_ms(20));
        assert_eq!(hedges.take_due(Mono::from_ms(20), |_, _| true).len(), 1);
        hedges.peer_down(&peer);
        assert_eq!(hedges.silent_link(&peer, &id().hash()), None);
    }

    #[test]
    fn what_is_beyond_the_limit_goes_without_a_hedge() {
        let mut hedges = Hedges::default();
        for n in 0..=HEDGES_MAX {
            let mut peer = [0; 32];
            peer[..8].copy_from_slice(&(n as u64).to_be_bytes());
            hedges.went_over(PeerId(peer), &id(), LinkId(1), None, Mono::ZERO);
        }
        assert_eq!(hedges.take_due(Mono::ZERO, |_, _| true).len(), HEDGES_MAX);
    }
}
