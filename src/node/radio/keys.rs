//! Audience keys: whoever may read an owner's documents can open the frames that speak of them.
//!
//! An owner's key stands in its `keys` document, sealed for each of its readers and for itself:
//! `{"epoch": number, "sealed": bytes}` (`transports/mesh/FORMAT.md`, *sealed keys*). It is made with the first reader
//! and renewed when a reader is removed; a new reader gets the present one.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::Value;
use tombolo_mesh::frame::keys::sealed::{SealedKeys, open_sealed, seal_for_readers};
use tombolo_mesh::frame::keys::{AudienceKey, Identity};
use tombolo_transports::PeerId;

use crate::federation::Audience;
use crate::layer::{Content, DocumentId, DocumentName, LayerId};
use crate::node::Node;
use crate::store::Write;
use crate::sync::broadcast::message::Heartbeat;

impl Node {
    /// Follows a change of our audience: `before` is the one that the present key was sealed for.
    pub(in crate::node) fn renew_audience_key(&mut self, before: Option<&Audience>) {
        let readers: BTreeSet<PeerId> = self
            .federation
            .peers()
            .filter(|peer| peer.is_member())
            .map(|peer| peer.id)
            .chain([self.me])
            .collect();
        let present = self.audience_key(&self.me);
        if readers.len() == 1 && present.is_none() {
            return;
        }
        let somebody_left = before
            .is_some_and(|before| self.federation.audience(&self.me).is_some_and(|now| now.lacks_of(before)));
        let key = match present {
            Some(key) if !somebody_left => key,
            present => {
                AudienceKey { epoch: present.map_or(0, |key| key.epoch) + 1, key: self.random.bytes() }
            }
        };
        let secret = self.random.bytes();
        let sealed = match seal_for_readers(&key, &self.me, &readers, &secret) {
            Ok(sealed) => sealed,
            Err(error) => return tracing::warn!(%error, "the audience key was not renewed"),
        };
        let value = Value::map([
            ("epoch", Value::from(u64::from(key.epoch))),
            ("sealed", Value::Bytes(sealed.to_bytes())),
        ]);
        if let Some(document) = self.own_document(DocumentName::KEYS)
            && let Err(error) = self.commit_snapshot(&document, value)
        {
            tracing::warn!(%error, "the audience key was not renewed");
        }
    }

    /// The key of an owner's audience, if it is sealed for us, or was told when we joined.
    pub(in crate::node) fn audience_key(&self, owner: &PeerId) -> Option<AudienceKey> {
        let sealed = self.sealed_key(owner);
        let told =
            self.radios.told.get(owner).filter(|told| sealed.as_ref().is_none_or(|s| s.epoch < told.epoch));
        told.cloned().or(sealed)
    }

    /// A reader speaks under our present key: it has it.
    pub(super) fn has_new_key(&mut self, reader: PeerId) {
        let Some(key) = self.radios.seen.get(&self.me) else { return };
        let epoch = key.epoch;
        self.radios.renewed.retain(|(of, _)| *of == epoch);
        let is_news = self.radios.renewed.insert((epoch, reader));
        let have = |peer: &PeerId| self.radios.renewed.contains(&(epoch, *peer));
        if is_news
            && self.members(&self.me).iter().all(have)
            && self.radios.previous.remove(&self.me).is_some()
        {
            // Whoever was removed speaks under a key that nobody listens to any more.
            self.radios.rights_changed();
        }
    }

    /// Whether some of these have not got the present key of an audience: what brings it goes out under the one
    /// before. Of our own all are meant that were not heard under the new one; of another's, which the owner may be
    /// too far away to bring, those who were heard to carry the old one.
    pub(super) fn needs_previous_key(&self, owner: &PeerId, targets: &[PeerId]) -> bool {
        if *owner != self.me {
            return targets.iter().any(|peer| self.radios.behind.contains(&(*owner, *peer)));
        }
        let Some(key) = self.radios.seen.get(&self.me) else { return false };
        self.radios.previous.contains_key(&self.me)
            && targets.iter().any(|peer| {
                self.federation.is_member(peer) && !self.radios.renewed.contains(&(key.epoch, *peer))
            })
    }

    /// A heartbeat names the audiences that its sender carries, by the keys it has.
    pub(super) fn keys_named(&mut self, from: PeerId, heartbeat: &Heartbeat) {
        let names = |key: &AudienceKey| heartbeat.others.iter().any(|(alias, _)| *alias == key.alias().0);
        for (owner, before) in &self.radios.previous {
            if *owner == from || self.radios.seen.get(owner).is_some_and(names) {
                self.radios.behind.remove(&(*owner, from));
            } else if names(before) {
                self.radios.behind.insert((*owner, from));
            }
        }
    }

    /// The key before this one, as far as we saw the renewal.
    pub(super) fn previous_key(&mut self, owner: &PeerId, present: &AudienceKey) -> Option<AudienceKey> {
        let seen = self.radios.seen.insert(*owner, present.clone());
        if let Some(before) = seen.filter(|before| before.epoch < present.epoch) {
            self.radios.previous.insert(*owner, before);
        }
        self.radios.previous.get(owner).cloned()
    }

    /// A peer told us the key of its audience in a handshake that proved it.
    pub(super) fn learn_key(&mut self, owner: PeerId, key: &AudienceKey) {
        let name = format!("key/{}", data_encoding::HEXLOWER.encode(&owner.0));
        let bytes = [&key.epoch.to_be_bytes()[..], &key.key].concat();
        self.radios.meta.insert(name.clone(), bytes.clone());
        self.writes.push(Write::PutMeta(name.into(), bytes));
        self.radios.told.insert(owner, key.clone());
        self.radios.rights_changed();
    }

    fn sealed_key(&self, owner: &PeerId) -> Option<AudienceKey> {
        let name = DocumentName::new(DocumentName::KEYS).ok()?;
        let id = LayerId { document: DocumentId { owner: *owner, name }, author: *owner };
        let Content::Snapshot(value) = &self.holdings.layer(&id)?.content else { return None };
        let epoch = u32::try_from(value.get("epoch")?.as_u64()?).ok()?;
        let sealed = SealedKeys::from_bytes(value.get("sealed")?.as_bytes()?).ok()?;
        let us = Identity::from_seed(&self.keypair.identity_seed());
        open_sealed(&us, owner, epoch, &sealed)
    }
}

/// Keys told on joining, from disk: owner in hex, then epoch and key.
pub(super) fn told(meta: &BTreeMap<String, Vec<u8>>) -> BTreeMap<PeerId, AudienceKey> {
    let read = |(name, bytes): (&String, &Vec<u8>)| {
        let owner = data_encoding::HEXLOWER.decode(name.strip_prefix("key/")?.as_bytes()).ok()?;
        let (epoch, key) = bytes.split_first_chunk::<4>()?;
        let key = AudienceKey { epoch: u32::from_be_bytes(*epoch), key: key.try_into().ok()? };
        Some((PeerId(owner.try_into().ok()?), key))
    };
    meta.iter().filter_map(read).collect()
}
