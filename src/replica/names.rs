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
