//! Documents and peers by the names that people use.

use tombolo_transports::PeerId;

use crate::core::Core;
use crate::federation::Peer;
use crate::identity::did;
use crate::io::CommandError;
use crate::layer::DocumentId;
use crate::merge::Document;
use crate::replica::Replica;

impl Replica {
    /// The peer that a text names: a name, a DID, or a unique prefix of either form of the DID.
    ///
    /// # Errors
    /// [`CommandError::UnknownPeer`] or [`CommandError::AmbiguousPeer`].
    pub fn resolve_peer(&self, text: &str) -> Result<PeerId, CommandError> {
        if let Some(peer) = self.federation.peers().find(|peer| did(&peer.id) == text) {
            return Ok(peer.id);
        }
        let exact: Vec<PeerId> = self.called(text).collect();
        let has_distinct =
            |peer: &&Peer| peer.name().is_some_and(|name| distinct_name(name, &peer.id) == text);
        let short = text.strip_prefix("did:key:").unwrap_or(text);
        let starts = |peer: &&Peer| {
            did(&peer.id)
                .strip_prefix("did:key:")
                .is_some_and(|did| !short.is_empty() && did.starts_with(short))
        };
        let found: Vec<PeerId> = match exact.is_empty() {
            true => self
                .federation
                .peers()
                .filter(|peer| starts(peer) || has_distinct(peer))
                .map(|p| p.id)
                .collect(),
            false => exact,
        };
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(CommandError::UnknownPeer(text.to_owned())),
            several => {
                let choices = several.iter().take(CHOICES_MAX).map(|id| self.choice(id)).collect();
                Err(CommandError::AmbiguousPeer { text: text.to_owned(), count: several.len(), choices })
            }
        }
    }

    /// A text that means this peer among others of its name.
    fn choice(&self, id: &PeerId) -> String {
        let name = self.federation.peer(id).and_then(Peer::name);
        name.map_or_else(|| did_part(id, DID_CHOICE), |name| distinct_name(name, id))
    }

    /// The peers of a name: one that the operator gave goes before those that peers chose for themselves.
    fn called(&self, name: &str) -> impl Iterator<Item = PeerId> {
        let is_given = self.federation.peers().any(|peer| peer.given_name.as_deref() == Some(name));
        let peers = self.federation.peers().filter(move |peer| match is_given {
            true => peer.given_name.as_deref() == Some(name),
            false => peer.name() == Some(name),
        });
        peers.map(|peer| peer.id)
    }

    /// The document that a text names: `peer/name`, or `name` for the own document of that name; where this node has none, that
    /// of the one peer that has it.
    ///
    /// # Errors
    /// [`CommandError::UnknownDocument`], [`CommandError::AmbiguousDocument`], or those of
    /// [`resolve_peer`](Self::resolve_peer) for the part before the slash.
    pub fn resolve_document(&self, core: &Core, text: &str) -> Result<DocumentId, CommandError> {
        let unknown = || CommandError::UnknownDocument(text.to_owned());
        if let Some((owner, name)) = text.rsplit_once('/') {
            let is_me = owner == core.settings.name || owner == did(&core.me);
            let owner = if is_me { core.me } else { self.resolve_peer(owner)? };
            return self.visible_called(name).find(|id| id.owner == owner).cloned().ok_or_else(unknown);
        }
        let mut called = self.layers.called(text);
        if let Some(own) = called.find(|id| id.owner == core.me && self.is_visible(id)) {
            return Ok(own.clone());
        }
        let found: Vec<&DocumentId> = self.visible_called(text).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(unknown()),
            several => {
                let choices =
                    several.iter().map(|id| format!("{}/{text}", self.name_of(core, &id.owner))).collect();
                Err(CommandError::AmbiguousDocument { name: text.to_owned(), choices })
            }
        }
    }

    /// The text by which commands take a document: its name, and before it that of its owner where it is another node.
    pub fn document_name(&self, core: &Core, id: &DocumentId) -> String {
        match id.owner == core.me {
            true => id.name.as_str().to_owned(),
            false => format!("{}/{}", self.name_of(core, &id.owner), id.name.as_str()),
        }
    }

    /// Those of a name.
    fn visible_called(&self, name: &str) -> impl Iterator<Item = &DocumentId> {
        self.layers.called(name).filter(|id| self.is_visible(id))
    }

    fn is_visible(&self, id: &DocumentId) -> bool {
        self.visible_document(id).is_some()
    }

    /// The documents that this node participates in, and that their owners have brought to life.
    pub fn visible(&self) -> impl Iterator<Item = &DocumentId> {
        let held = self.layers.documents().filter(|(id, document)| document.layer(&id.owner).is_some());
        held.map(|(id, _)| id).filter(|id| self.federation.participates(id))
    }

    /// One of them.
    pub fn visible_document(&self, id: &DocumentId) -> Option<&Document> {
        let held = self.layers.document(id).filter(|document| document.layer(&id.owner).is_some());
        held.filter(|_| self.federation.participates(id))
    }

    /// The display name of an identity, which names no other: its name, with a part of its DID where another node has the same
    /// name; else the start of its DID. A command takes each of these as it takes a name.
    pub fn name_of(&self, core: &Core, id: &PeerId) -> String {
        if *id == core.me && !core.settings.name.is_empty() {
            return core.settings.name.clone();
        }
        let Some(name) = self.federation.peer(id).and_then(Peer::name) else {
            return did_part(id, DID_SHOWN);
        };
        let is_alone = name != core.settings.name && self.called(name).all(|other| other == *id);
        if is_alone { name.to_owned() } else { distinct_name(name, id) }
    }
}

/// Peers that an error lists.
const CHOICES_MAX: usize = 8;
/// Characters of a DID that mean one peer of several whose DIDs begin alike.
const DID_CHOICE: usize = 20;
/// Characters of a DID that are shown in place of a name.
const DID_SHOWN: usize = 12;
/// Characters of a DID that distinguish two nodes of one name; the first four are alike in all.
const DID_DISTINCT: usize = 8;

fn did_part(id: &PeerId, length: usize) -> String {
    did(id).chars().skip("did:key:".len()).take(length).collect()
}

/// The name of one of several nodes that have the same.
fn distinct_name(name: &str, id: &PeerId) -> String {
    format!("{name}~{}", &did_part(id, DID_DISTINCT)["z6Mk".len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::side::{TestSide, pair};
    use crate::federation::TrustLevel;
    use crate::layer::{DocumentName, Kind};

    fn named(side: &mut TestSide, id: PeerId, given: Option<&str>, own: Option<&str>) {
        side.trust(id, TrustLevel::Trusted);
        let peer = side.replica.federation().peer(&id).unwrap().clone();
        side.replica.put_peer(Peer {
            given_name: given.map(str::to_owned),
            own_name: own.map(str::to_owned),
            ..peer
        });
    }

    #[test]
    fn a_given_name_goes_before_one_that_a_peer_chose() {
        let mut side = TestSide::new(1);
        let (a, b, c) = (PeerId([1; 32]), PeerId([2; 32]), PeerId([3; 32]));
        named(&mut side, a, Some("harbour"), None);
        named(&mut side, b, None, Some("harbour"));
        named(&mut side, c, None, Some("mill"));
        assert_eq!(side.replica.resolve_peer("harbour"), Ok(a));
        assert_eq!(side.replica.resolve_peer("mill"), Ok(c));
        assert_eq!(side.replica.resolve_peer(&did(&b)), Ok(b));
        assert!(matches!(side.replica.resolve_peer(""), Err(CommandError::UnknownPeer(_))));
        assert!(matches!(side.replica.resolve_peer("tower"), Err(CommandError::UnknownPeer(_))));
    }

    #[test]
    fn a_name_or_prefix_that_fits_several_peers_is_ambiguous() {
        let mut side = TestSide::new(1);
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        named(&mut side, a, None, Some("twin"));
        named(&mut side, b, None, Some("twin"));
        let twice = side.replica.resolve_peer("twin");
        let Err(CommandError::AmbiguousPeer { count: 2, choices, .. }) = twice else { panic!("{twice:?}") };
        let found = choices.iter().map(|choice| side.replica.resolve_peer(choice));
        assert_eq!(found.collect::<Result<Vec<_>, _>>(), Ok(vec![a, b]), "{choices:?}");
        let (of_a, of_b) = (did(&a), did(&b));
        let common: String =
            of_a.chars().zip(of_b.chars()).take_while(|(x, y)| x == y).map(|(x, _)| x).collect();
        assert!(matches!(
            side.replica.resolve_peer(&common),
            Err(CommandError::AmbiguousPeer { count: 2, .. })
        ));
        let unique = &of_a[..common.len() + 1];
        assert_eq!(side.replica.resolve_peer(unique), Ok(a));
    }

    #[test]
    fn a_bare_name_is_the_own_document_else_the_only_one() {
        let (owner, mut reader, id) = pair();
        reader.core.settings.name = "reader".to_owned();
        named(&mut reader, owner.me(), None, Some("owner"));
        let (core, replica) = (&reader.core, &reader.replica);
        assert_eq!(replica.resolve_document(core, "list"), Ok(id.document.clone()), "the only one there is");
        assert_eq!(replica.resolve_document(core, "owner/list"), Ok(id.document.clone()));

        let own = reader.document("list");
        reader.set(&own, &[("z", Some(1))]);
        let (core, replica) = (&reader.core, &reader.replica);
        assert_eq!(replica.document(&own).map(|document| document.kind()), Some(Kind::Map));
        for text in ["list", "reader/list", &format!("{}/list", did(&reader.me()))] {
            assert_eq!(replica.resolve_document(core, text), Ok(own.clone()), "{text}");
        }
        let by_did = format!("{}/list", did(&owner.me()));
        assert_eq!(replica.resolve_document(core, &by_did), Ok(id.document));
        assert!(matches!(
            replica.resolve_document(core, DocumentName::KEYS),
            Err(CommandError::UnknownDocument(_))
        ));
    }

    #[test]
    fn nodes_of_one_name_are_shown_and_taken_apart() {
        let mut side = TestSide::new(1);
        side.core.settings.name = "raspberrypi".to_owned();
        let ids = [PeerId([1; 32]), PeerId([2; 32])];
        named(&mut side, ids[0], None, Some("raspberrypi"));
        named(&mut side, ids[1], None, Some("raspberrypi"));
        let shown = ids.map(|id| side.replica.name_of(&side.core, &id));
        assert_ne!(shown[0], shown[1]);
        for (id, shown) in ids.iter().zip(&shown) {
            assert!(shown.starts_with("raspberrypi~"), "{shown}");
            assert_eq!(side.replica.resolve_peer(shown), Ok(*id), "{shown}");
        }
        assert_eq!(side.replica.name_of(&side.core, &side.me()), "raspberrypi", "the own name is as it is");
        // A name that the operator gives is the whole name.
        named(&mut side, ids[0], Some("harbour"), Some("raspberrypi"));
        assert_eq!(side.replica.name_of(&side.core, &ids[0]), "harbour");
    }

    #[test]
    fn an_identity_without_a_name_is_shown_by_the_start_of_its_did() {
        let mut side = TestSide::new(1);
        let id = PeerId([9; 32]);
        let shown = side.replica.name_of(&side.core, &id);
        assert!(did(&id).strip_prefix("did:key:").unwrap().starts_with(&shown) && shown.len() == 12);
        named(&mut side, id, None, Some("mill"));
        assert_eq!(side.replica.name_of(&side.core, &id), "mill");
        side.core.settings.name = "home".to_owned();
        assert_eq!(side.replica.name_of(&side.core, &side.me()), "home");
    }
}
