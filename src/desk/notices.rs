//! Revocation: notices that a key is in the wrong hands, from the operator or from a peer, to every member.
//!
//! An accepted notice changes who is a member. Signing, peers and links follow from it: that is the node's part, and
//! [`NoticeEffect`] asks for it.

use tombolo_transports::PeerId;

use crate::commands::{NoticeHash, NoticeVerdict, RevocationNotice};
use crate::core::InputRejection;
use crate::desk::CommandDesk;
use crate::desk::reach::CommandMessage;
use crate::federation::{Right, TrustLevel};
use crate::io::{CommandError, Quota};
use crate::router::Subject;

/// What a notice leads to.
#[derive(Debug)]
#[must_use = "rights and links follow from it"]
pub(crate) enum NoticeEffect {
    /// It counts from now on.
    Accepted(RevocationNotice),
    /// It was known, or does not count.
    Unchanged,
}

/// A notice that a peer has sent; to be confirmed when its effect is done.
#[derive(Debug)]
#[must_use = "the peer sends it until it is confirmed"]
pub(crate) struct NoticeReceipt {
    pub(crate) hash: NoticeHash,
    pub(crate) effect: NoticeEffect,
}

/// Whether a decision of the operator changes who is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "links of suspended identities are to be closed"]
pub(crate) enum Suspensions {
    /// The federation has to follow the notices again.
    Changed,
    /// Who is suspended stays the same.
    Unchanged,
}

impl CommandDesk<'_> {
    // ---- the operator ------------------------------------------------------------------------------------

    /// The operator's notice that the key of a peer is stolen.
    ///
    /// # Errors
    /// The error of an unknown peer.
    pub(crate) fn sign_notice(&self, peer: &str) -> Result<RevocationNotice, CommandError> {
        let revoked = self.replica.resolve_peer(peer)?;
        let time_s = self.core.reference().ms() / 1000;
        Ok(RevocationNotice::sign(&self.core.keypair, revoked, time_s))
    }

    /// The notice in a text by which an identity ends itself: a peer, or this node.
    ///
    /// # Errors
    /// [`CommandError::BadNotice`] where it does not hold, [`CommandError::UnknownPeer`] for a stranger.
    pub(crate) fn read_own_notice(&self, text: &str) -> Result<RevocationNotice, CommandError> {
        let notice = RevocationNotice::from_text(text).ok().filter(RevocationNotice::is_own);
        let notice = notice.filter(RevocationNotice::verify).ok_or(CommandError::BadNotice)?;
        match self.is_known(&notice.revoked) {
            true => Ok(notice),
            false => Err(CommandError::UnknownPeer(crate::identity::did(&notice.revoked))),
        }
    }

    /// Publishes a notice of this node, or one that the operator has handed in, whose signature is checked.
    ///
    /// # Errors
    /// [`CommandError::Limit`] with too many notices.
    pub(crate) fn publish_notice(&mut self, notice: RevocationNotice) -> Result<NoticeEffect, CommandError> {
        match self.judge_notice(&notice) {
            NoticeVerdict::Accepted => Ok(NoticeEffect::Accepted(notice)),
            NoticeVerdict::Known => Ok(NoticeEffect::Unchanged),
            NoticeVerdict::Full => Err(CommandError::Limit(Quota::Revocations)),
            NoticeVerdict::AuthorNotTrusted | NoticeVerdict::Forged => {
                unreachable!("this node trusts itself, and the signature was just made or checked")
            }
        }
    }

    /// The operator gives a peer a level: what others reported of it no longer counts.
    ///
    /// # Errors
    /// [`CommandError::Revoked`] if it has ended itself, and would be a member again.
    pub(crate) fn decide_about(
        &mut self,
        peer: &PeerId,
        level: TrustLevel,
    ) -> Result<Suspensions, CommandError> {
        if level.is_member() && self.commands.notices.has_ended_itself(peer) {
            return Err(CommandError::Revoked(self.replica.name_of(self.core, peer)));
        }
        let changes = self.commands.notices.decide(peer);
        if changes.is_empty() {
            return Ok(Suspensions::Unchanged);
        }
        self.record(changes);
        Ok(Suspensions::Changed)
    }

    // ---- peers -------------------------------------------------------------------------------------------

    /// A notice arrived, from a member; hostile.
    pub(super) fn notice_received(&mut self, bytes: &[u8]) -> Option<NoticeReceipt> {
        let Ok(notice) = RevocationNotice::decode(bytes) else {
            self.core.reject(InputRejection::BadMessage);
            return None;
        };
        let hash = notice.hash();
        let (effect, rejection) = match self.judge_notice(&notice) {
            NoticeVerdict::Accepted => (Some(NoticeEffect::Accepted(notice)), None),
            NoticeVerdict::Known => (Some(NoticeEffect::Unchanged), None),
            NoticeVerdict::AuthorNotTrusted => {
                (Some(NoticeEffect::Unchanged), Some(InputRejection::NoticeOfNoTrust))
            }
            NoticeVerdict::Forged => (None, Some(InputRejection::BadSignature)),
            NoticeVerdict::Full => (None, Some(InputRejection::TooManyNotices)),
        };
        if let Some(rejection) = rejection {
            self.core.reject(rejection);
        }
        effect.map(|effect| NoticeReceipt { hash, effect })
    }

    /// Confirms a notice to the peer that sent it, if it can still be reached.
    pub(crate) fn confirm_notice(&mut self, from: PeerId, hash: NoticeHash) {
        // The peer that sends it holds it.
        let changes = self.commands.notices.heard(hash, &from);
        self.record(changes);
        if let Some(way) = self.way_to(&from, None) {
            self.send(&from, way, Subject::Notice, None, &CommandMessage::NoticeHeard(hash.0.to_vec()));
        }
    }

    /// A member confirms a notice.
    pub(super) fn notice_heard(&mut self, from: PeerId, bytes: &[u8]) {
        match <[u8; 8]>::try_from(bytes) {
            Ok(hash) => {
                let changes = self.commands.notices.heard(NoticeHash(hash), &from);
                self.record(changes);
            }
            Err(_) => self.core.reject_from(Some(from), InputRejection::BadMessage),
        }
    }

    fn is_known(&self, id: &PeerId) -> bool {
        *id == self.core.me || self.replica.federation().peer(id).is_some()
    }

    fn judge_notice(&mut self, notice: &RevocationNotice) -> NoticeVerdict {
        let may_suspend = self.replica.federation().grants(&notice.author, Right::Suspend);
        let is_known = self.is_known(&notice.revoked);
        let (verdict, change) = self.commands.notices.take(notice.clone(), may_suspend, is_known);
        self.record(change);
        verdict
    }

    /// The federation follows the notices.
    pub(crate) fn suspend_revoked(&mut self) {
        let mut suspended = self.commands.notices.suspended();
        suspended.remove(&self.core.me);
        self.replica.set_suspended(suspended);
    }

    // ---- to every member ---------------------------------------------------------------------------------

    /// Offers each notice to the members that have not confirmed it, ahead of everything else.
    pub(crate) fn offer_notices(&mut self) {
        if self.commands.notices.held().next().is_none() {
            return;
        }
        let members = self.member_ids();
        for (hash, to) in self.commands.notices.due(self.core.now(), &members) {
            let Some(way) = self.way_to(&to, None) else { continue };
            let Some(bytes) = self.commands.notices.notice(&hash).map(RevocationNotice::encode) else {
                continue;
            };
            self.send(&to, way, Subject::Notice, None, &CommandMessage::Notice(bytes));
            let jitter = self.core.random.below(u64::MAX);
            self.commands.notices.offered(hash, to, self.core.now(), way.pace(), jitter);
        }
    }

    fn member_ids(&self) -> Vec<PeerId> {
        self.replica.federation().members().map(|peer| peer.id).collect()
    }
}
