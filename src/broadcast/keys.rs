//! Audience keys: a node that may read an owner's documents can open the frames that concern them.
//!
//! An owner's key stands in its `keys` document, sealed for each of its readers and for itself:
//! `{"epoch": number, "sealed": bytes}` (`transports/FORMAT.md`, *sealed keys*). It is made with the first reader and renewed
//! when a reader is removed; a new reader gets the present one.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::Value;
use tombolo_mesh::frame::keys::AudienceKey;
use tombolo_mesh::frame::keys::sealed::{SealedKeys, open_sealed, seal_for_readers};
use tombolo_transports::PeerId;

use crate::broadcast::audience::{listeners_of, member_peers, rank};
use crate::core::{Core, reserved_document};
use crate::federation::Audience;
use crate::layer::{Content, DocumentId, DocumentName, Head, LayerId, Sequence};
use crate::replica::Replica;
use crate::store::StoreWrite;
use crate::sync::broadcast::message::{Heartbeat, OTHERS_MAX};

/// Begins the names of the records of keys that were received on joining; the owner in hex follows.
const RECEIVED: &str = "key/";
/// The same of the keys before the last renewals.
const PREVIOUS: &str = "key-before/";

/// What is known of audience keys, and of the listeners that have them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Keys received in a join handshake: valid until the `keys` document arrives.
    received: BTreeMap<PeerId, AudienceKey>,
    /// The key last used per audience.
    present: BTreeMap<PeerId, AudienceKey>,
    /// The key before the last renewal that was seen, per audience. On disk as well: a reader that missed the renewal may listen to nothing
    /// but nodes that have started again since.
    previous: BTreeMap<PeerId, AudienceKey>,
    /// The audiences of which that has changed since it was written.
    unwritten: BTreeSet<PeerId>,
    /// Readers of the node's own documents that sent a frame under the present key, with its epoch.
    renewed: BTreeSet<(u32, PeerId)>,
    /// Owner and reader that has shown to have the key before that owner's last renewal, and not the present one.
    behind: BTreeSet<(PeerId, PeerId)>,
}

impl Keys {
    /// Reads the keys that were received on joining, and those before the last renewals, from disk.
    pub(super) fn load(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        self.received = meta.iter().filter_map(|record| read(RECEIVED, record)).collect();
        self.previous = meta.iter().filter_map(|record| read(PREVIOUS, record)).collect();
    }

    /// What of the keys before the last renewals is to be written.
    pub(super) fn take_writes(&mut self) -> Vec<StoreWrite> {
        let owners = std::mem::take(&mut self.unwritten);
        owners.into_iter().map(|owner| write(PREVIOUS, &owner, self.previous.get(&owner))).collect()
    }

    /// The key of an owner's audience, if it is sealed for this node, or was received when it joined.
    pub(super) fn key_of(&self, core: &Core, replica: &Replica, owner: &PeerId) -> Option<AudienceKey> {
        let sealed = sealed_key(core, replica, owner);
        let received = self.received.get(owner);
        let received = received.filter(|key| sealed.as_ref().is_none_or(|s| s.epoch < key.epoch));
        received.cloned().or(sealed)
    }

    /// Stores the key of a peer's audience, received in a handshake that proved the peer.
    pub(super) fn learn(&mut self, core: &mut Core, owner: PeerId, key: &AudienceKey) {
        core.gate.write(write(RECEIVED, &owner, Some(key)));
        self.received.insert(owner, key.clone());
    }

    /// The content of the `keys` document that a change of the own audience needs signed. `before` is the audience that the
    /// present key was sealed for.
    pub(super) fn renewal(
        &self,
        core: &mut Core,
        replica: &Replica,
        before: Option<&Audience>,
    ) -> Option<Value> {
        let me = core.me;
        let federation = replica.federation();
        let readers: BTreeSet<PeerId> = member_peers(federation).chain([me]).collect();
        let present = self.key_of(core, replica, &me);
        if readers.len() == 1 && present.is_none() {
            return None;
        }
        let has_left =
            before.is_some_and(|before| federation.audience(&me).is_some_and(|now| now.lacks_of(before)));
        let key = match present {
            Some(key) if !has_left => key,
            present => {
                AudienceKey { epoch: present.map_or(0, |key| key.epoch) + 1, key: core.random.bytes() }
            }
        };
        let secret = core.random.bytes();
        let sealed = match seal_for_readers(&key, &me, &readers, &secret) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::warn!(%error, "the audience key was not renewed");
                return None;
            }
        };
        Some(Value::map([
            ("epoch", Value::from(u64::from(key.epoch))),
            ("sealed", Value::Bytes(sealed.to_bytes())),
        ]))
    }

    /// A reader sent a frame under the own present key: it has it. Returns whether now all readers have it, so that frames
    /// under the key before are no longer opened.
    pub(super) fn reader_has_key(&mut self, replica: &Replica, reader: PeerId) -> bool {
        let me = replica.federation().me();
        let Some(epoch) = self.present.get(&me).map(|key| key.epoch) else { return false };
        self.renewed.retain(|(of, _)| *of == epoch);
        let is_news = self.renewed.insert((epoch, reader));
        let have = |peer: &PeerId| self.renewed.contains(&(epoch, *peer));
        let is_over = is_news
            && listeners_of(replica.federation(), &me).iter().all(have)
            && self.previous.remove(&me).is_some();
        if is_over {
            self.unwritten.insert(me);
        }
        is_over
    }

    /// Whether some of these do not have the present key of an audience: what brings it goes out under the one before. Of
    /// the own audience all are meant that sent nothing under the new key; of another's, whose owner may be out of their
    /// range, those that have shown to have the old one.
    pub(super) fn needs_previous(&self, replica: &Replica, owner: &PeerId, targets: &[PeerId]) -> bool {
        let federation = replica.federation();
        let me = federation.me();
        if *owner != me {
            return targets.iter().any(|peer| self.behind.contains(&(*owner, *peer)));
        }
        let Some(key) = self.present.get(&me) else { return false };
        self.previous.contains_key(&me)
            && targets
                .iter()
                .any(|peer| federation.is_member(peer) && !self.renewed.contains(&(key.epoch, *peer)))
    }

    /// Whether an owner's `keys` are older than the audience that a layer was signed under. A reader that was removed in
    /// between has that key: the layer waits for the next, which the owner signs with each audience. Only a relay meets this.
    pub(super) fn are_behind(replica: &Replica, head: &Head) -> bool {
        let LayerId { document: DocumentId { owner, name }, .. } = &head.layer;
        let is_relayed = *owner != replica.federation().me() && rank(name) > 0;
        is_relayed && audience_sealed_for(replica, owner) < head.audience_sequence
    }

    /// A heartbeat names the audiences that its sender relays, by the keys that it has. One that it does not name at all it has left, or
    /// has an even older key of: the one before the last renewal is of no use to it.
    pub(super) fn keys_named(&mut self, from: PeerId, heartbeat: &Heartbeat) {
        let names = |key: &AudienceKey| heartbeat.others.iter().any(|(alias, _)| *alias == key.alias().0);
        let is_complete = heartbeat.others.len() < OTHERS_MAX;
        for (owner, before) in &self.previous {
            let names_present = self.present.get(owner).is_some_and(names);
            if *owner == from || names_present || (is_complete && !names(before)) {
                self.behind.remove(&(*owner, from));
            } else if names(before) {
                self.behind.insert((*owner, from));
            }
        }
    }

    /// Uses `present` as the key of an audience. Returns the key before it, as far as the renewal was seen.
    pub(super) fn previous(&mut self, owner: &PeerId, present: &AudienceKey) -> Option<AudienceKey> {
        let last = self.present.insert(*owner, present.clone());
        if let Some(before) = last.filter(|before| before.epoch < present.epoch) {
            self.previous.insert(*owner, before);
            self.unwritten.insert(*owner);
        }
        // One from disk may be of before a restore.
        self.previous.get(owner).filter(|before| before.epoch < present.epoch).cloned()
    }
}

/// A record: epoch u32, key; empty where there is none.
fn write(prefix: &str, owner: &PeerId, key: Option<&AudienceKey>) -> StoreWrite {
    let name = format!("{prefix}{}", data_encoding::HEXLOWER.encode(&owner.0));
    let bytes = key.map(|key| [&key.epoch.to_be_bytes()[..], &key.key].concat());
    StoreWrite::PutMeta(name.into(), bytes.unwrap_or_default())
}

fn read(prefix: &str, (name, bytes): (&String, &Vec<u8>)) -> Option<(PeerId, AudienceKey)> {
    let owner = data_encoding::HEXLOWER.decode(name.strip_prefix(prefix)?.as_bytes()).ok()?;
    let (epoch, key) = bytes.split_first_chunk::<4>()?;
    let key = AudienceKey { epoch: u32::from_be_bytes(*epoch), key: key.try_into().ok()? };
    Some((PeerId(owner.try_into().ok()?), key))
}

/// The audience that the held `keys` of an owner were signed under.
pub(super) fn audience_sealed_for(replica: &Replica, owner: &PeerId) -> Sequence {
    let id = LayerId { document: reserved_document(*owner, DocumentName::KEYS), author: *owner };
    replica.layer(&id).map_or(Sequence::NONE, |keys| keys.head().audience_sequence)
}

fn sealed_key(core: &Core, replica: &Replica, owner: &PeerId) -> Option<AudienceKey> {
    let id = LayerId { document: reserved_document(*owner, DocumentName::KEYS), author: *owner };
    let Content::Snapshot(value) = &replica.layer(&id)?.content else { return None };
    let value = value.get();
    let epoch = u32::try_from(value.get("epoch")?.as_u64()?).ok()?;
    let sealed = SealedKeys::from_bytes(value.get("sealed")?.as_bytes()?).ok()?;
    open_sealed(&core.radio_identity(), owner, epoch, &sealed)
}
