//! Documents and peers by the names that people use.

use tombolo_transports::PeerId;

use crate::core::Core;
use crate::federation::Peer;
use crate::identity::did;
use crate::io::CommandError;
use crate::layer::DocumentId;
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
        // A name given by the operator goes before one that a peer chose for itself.
        let given = self.federation.peers().filter(|peer| peer.given_name.as_deref() == Some(text));
        let mut exact: Vec<PeerId> = given.map(|peer| peer.id).collect();
        if exact.is_empty() {
            let chosen = self.federation.peers().filter(|peer| peer.name() == Some(text));
            exact.extend(chosen.map(|peer| peer.id));
        }
        let short = text.strip_prefix("did:key:").unwrap_or(text);
        let starts = |peer: &&Peer| {
            did(&peer.id)
                .strip_prefix("did:key:")
                .is_some_and(|did| !short.is_empty() && did.starts_with(short))
        };
        let found = match exact.is_empty() {
            true => self.federation.peers().filter(starts).map(|peer| peer.id).collect(),
            false => exact,
        };
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(CommandError::UnknownPeer(text.to_owned())),
            several => Err(CommandError::AmbiguousPeer { text: text.to_owned(), count: several.len() }),
        }
    }

    /// The document that a text names: `name`, or `peer/name` where several documents have that name.
    ///
    /// # Errors
    /// [`CommandError::UnknownDocument`], [`CommandError::AmbiguousDocument`], or those of
    /// [`resolve_peer`](Self::resolve_peer) for the part before the slash.
    pub fn resolve_document(&self, core: &Core, text: &str) -> Result<DocumentId, CommandError> {
        let unknown = || CommandError::UnknownDocument(text.to_owned());
        if let Some((owner, name)) = text.rsplit_once('/') {
            let is_me = owner == core.settings.name || owner == did(&core.me);
            let owner = if is_me { core.me } else { self.resolve_peer(owner)? };
            let found = self.visible().find(|id| id.owner == owner && id.name.as_str() == name);
            return found.cloned().ok_or_else(unknown);
        }
        let found: Vec<&DocumentId> = self.visible().filter(|id| id.name.as_str() == text).collect();
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

    /// The documents that this node participates in.
    pub fn visible(&self) -> impl Iterator<Item = &DocumentId> {
        self.layers.documents().map(|(id, _)| id).filter(|id| self.federation.participates(id))
    }

    /// The display name of an identity: its name, this node's own name, or the start of its DID.
    pub fn name_of(&self, core: &Core, id: &PeerId) -> String {
        if *id == core.me && !core.settings.name.is_empty() {
            return core.settings.name.clone();
        }
        let name = self.federation.peer(id).and_then(Peer::name).map(str::to_owned);
        name.unwrap_or_else(|| did(id).chars().skip("did:key:".len()).take(12).collect())
    }
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
        let twice = CommandError::AmbiguousPeer { text: "twin".to_owned(), count: 2 };
        assert_eq!(side.replica.resolve_peer("twin"), Err(twice));
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
    fn a_document_of_two_owners_needs_its_owner_in_its_name() {
        let (owner, mut reader, id) = pair();
        assert_eq!(reader.replica.resolve_document(&reader.core, "list"), Ok(id.document.clone()));
        let own = reader.document("list");
        reader.set(&own, &[("z", Some(1))]);
        assert_eq!(reader.replica.document(&own).map(|document| document.kind()), Some(Kind::Map));
        let choices = match reader.replica.resolve_document(&reader.core, "list") {
            Err(CommandError::AmbiguousDocument { choices, .. }) => choices,
            other => panic!("{other:?}"),
        };
        assert_eq!(choices.len(), 2);
        let by_owner = format!("{}/list", did(&owner.me()));
        assert_eq!(reader.replica.resolve_document(&reader.core, &by_owner), Ok(id.document));
        let by_me = format!("{}/list", did(&reader.me()));
        assert_eq!(reader.replica.resolve_document(&reader.core, &by_me), Ok(own));
        assert!(matches!(
            reader.replica.resolve_document(&reader.core, DocumentName::KEYS),
            Err(CommandError::UnknownDocument(_))
        ));
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
