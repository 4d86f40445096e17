//! Revocation: notices that a key is in the wrong hands, from the operator or from a peer, to every member.

use tombolo_transports::PeerId;

use crate::commands::{NoticeHash, NoticeVerdict, RevocationNotice};
use crate::core::InputRejection;
use crate::federation::TrustLevel;
use crate::io::{CommandError, Event, Quota, Reply};
use crate::node::Node;
use crate::node::deploy::CommandMessage;

impl Node {
    // ---- the operator ------------------------------------------------------------------------------------

    /// Reports the key of a peer as stolen. Here it is untrusted from now on; peers that trust this node suspend it.
    pub(super) fn revoke(&mut self, peer: &str) -> Result<Reply, CommandError> {
        let revoked = self.replica.resolve_peer(peer)?;
        let notice = RevocationNotice::sign(&self.core.keypair, revoked, self.core.reference().ms() / 1000);
        self.publish_notice(notice)?;
        self.trust(peer, TrustLevel::Untrusted)?;
        self.revocation_reply(&revoked)
    }

    /// Publishes the notice by which an identity ends itself: of a peer, or of this node.
    pub(super) fn revoke_own(&mut self, text: &str) -> Result<Reply, CommandError> {
        let notice = RevocationNotice::from_text(text).ok().filter(RevocationNotice::is_own);
        let notice = notice.filter(RevocationNotice::verify).ok_or(CommandError::BadNotice)?;
        let revoked = notice.revoked;
        if !self.is_known(&revoked) {
            return Err(CommandError::UnknownPeer(crate::identity::did(&revoked)));
        }
        self.publish_notice(notice)?;
        self.revocation_reply(&revoked)
    }

    fn publish_notice(&mut self, notice: RevocationNotice) -> Result<(), CommandError> {
        match self.take_notice(notice) {
            NoticeVerdict::Accepted | NoticeVerdict::Known => Ok(()),
            NoticeVerdict::Full => Err(CommandError::Limit(Quota::Revocations)),
            NoticeVerdict::AuthorNotTrusted | NoticeVerdict::Forged => {
                unreachable!("this node trusts itself, and the signature was just made or checked")
            }
        }
    }

    fn revocation_reply(&self, revoked: &PeerId) -> Result<Reply, CommandError> {
        let mut views = self.report().revocations();
        let did = crate::identity::did(revoked);
        views.retain(|view| view.did == did);
        Ok(Reply::Revocations(views))
    }

    /// The operator gives a peer a level: what others reported of it no longer counts.
    ///
    /// # Errors
    /// [`CommandError::Revoked`] if it has ended itself, and would be a member again.
    pub(super) fn decide_about(&mut self, peer: &PeerId, level: TrustLevel) -> Result<(), CommandError> {
        if level.is_member() && self.commands.notices.has_ended_itself(peer) {
            return Err(CommandError::Revoked(self.replica.name_of(&self.core, peer)));
        }
        let changes = self.commands.notices.decide(peer);
        if !changes.is_empty() {
            self.record(changes);
            self.renew_suspended();
        }
        Ok(())
    }

    // ---- peers -------------------------------------------------------------------------------------------

    /// A notice arrived, from a member; hostile.
    pub(super) fn notice_received(&mut self, from: PeerId, bytes: &[u8]) {
        let Ok(notice) = RevocationNotice::decode(bytes) else {
            return self.core.metrics.reject(InputRejection::BadMessage);
        };
        let hash = notice.hash();
        match self.take_notice(notice) {
            NoticeVerdict::Accepted | NoticeVerdict::Known => {}
            NoticeVerdict::AuthorNotTrusted => self.core.metrics.reject(InputRejection::NoticeOfNoTrust),
            NoticeVerdict::Forged => return self.core.metrics.reject(InputRejection::BadSignature),
            NoticeVerdict::Full => return self.core.metrics.reject(InputRejection::TooManyNotices),
        }
        // Who sends it holds it.
        let changes = self.commands.notices.heard(hash, &from);
        self.record(changes);
        if let Some(way) = self.way_to(&from) {
            self.send_command_message(&from, way, CommandMessage::NoticeHeard(hash.0.to_vec()));
        }
    }

    /// A member confirms a notice.
    pub(super) fn notice_heard(&mut self, from: PeerId, bytes: &[u8]) {
        match <[u8; 8]>::try_from(bytes) {
            Ok(hash) => {
                let changes = self.commands.notices.heard(NoticeHash(hash), &from);
                self.record(changes);
            }
            Err(_) => self.core.metrics.reject(InputRejection::BadMessage),
        }
    }

    fn is_known(&self, id: &PeerId) -> bool {
        *id == self.core.me || self.replica.federation().peer(id).is_some()
    }

    /// Judges a notice, and does what follows if it counts.
    fn take_notice(&mut self, notice: RevocationNotice) -> NoticeVerdict {
        let level = self.replica.federation().level(&notice.author);
        let is_known = self.is_known(&notice.revoked);
        let (verdict, change) = self.commands.notices.take(notice.clone(), level, is_known);
        self.record(change);
        if verdict == NoticeVerdict::Accepted {
            self.notice_accepted(&notice);
        }
        verdict
    }

    fn notice_accepted(&mut self, notice: &RevocationNotice) {
        let revoked = notice.revoked;
        if notice.is_own() && revoked != self.core.me {
            // It ends everywhere, with nothing left to decide; what it wrote here stays.
            self.settle();
            if let Err(error) = self.take_over_entries(&revoked) {
                tracing::warn!(%error, "what an ended identity wrote was not taken over");
            }
            let record = self.replica.federation().peer(&revoked).cloned();
            if let Some(record) = record {
                let ended = crate::federation::Peer { trust_level: TrustLevel::Untrusted, ..record };
                self.membership.put_peer(&mut self.core, &mut self.replica, ended);
            }
        }
        self.renew_suspended();
        if notice.author != self.core.me {
            let alarm = self.report().revocation_alarm(notice);
            self.core.event(Event::Alarm(alarm));
        }
    }

    /// The federation follows the notices; sessions of a suspended identity close.
    pub(super) fn renew_suspended(&mut self) {
        self.restore_suspended();
        for id in self.commands.notices.suspended() {
            self.close_links(&id);
        }
        self.core.event(Event::PeersChanged);
    }

    /// The same when the node has just read its disk: nothing has changed for watchers.
    pub(super) fn restore_suspended(&mut self) {
        let mut suspended = self.commands.notices.suspended();
        suspended.remove(&self.core.me);
        self.replica.set_suspended(suspended);
    }

    // ---- to every member ---------------------------------------------------------------------------------

    /// Offers each notice to the members that have not confirmed it, ahead of everything else.
    pub(super) fn offer_notices(&mut self) {
        if self.commands.notices.held().next().is_none() {
            return;
        }
        let members = self.member_ids();
        for (hash, to) in self.commands.notices.due(self.core.now(), &members) {
            let Some(way) = self.way_to(&to) else { continue };
            let Some(bytes) = self.commands.notices.notice(&hash).map(RevocationNotice::encode) else {
                continue;
            };
            self.send_command_message(&to, way, CommandMessage::Notice(bytes));
            let jitter = self.core.random.below(u64::MAX);
            self.commands.notices.offered(hash, to, self.core.now(), way.pace(), jitter);
        }
    }

    fn member_ids(&self) -> Vec<PeerId> {
        self.replica.federation().members().map(|peer| peer.id).collect()
    }
}
