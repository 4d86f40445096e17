//! What a person or a program on this machine asks for.

use tombolo_transports::PeerId;

use crate::authoring::Authoring;
use crate::commands::RevocationNotice;
use crate::desk::Suspensions;
use crate::federation::audience::CLASSES_MAX;
use crate::federation::{Audience, DocumentPolicy, Peer, RadioUse, TrustLevel};
use crate::io::{
    Admin, BadNameReason, Command, CommandError, Quota, Reply, RequestId, ValueError, Write, view,
};
use crate::layer::DocumentName;
use crate::node::Node;
use crate::replica::{Arriving, Origin};
use crate::report::NodeReport;
use crate::sync::message::Message;

impl Node {
    pub(super) fn command(&mut self, request: RequestId, command: Command) {
        let replied = match command {
            Command::Write(write) => self.write(request, write),
            Command::Admin(admin) => self.administer(request, admin),
            Command::Query(query) => return self.query(request, &query),
        };
        if let Some(result) = replied {
            self.core.gate.reply(request, result);
        }
    }

    /// Stages a write; `None`: it is answered when it is signed and on disk.
    fn write(&mut self, request: RequestId, write: Write) -> Option<Result<Reply, CommandError>> {
        if self.replica.recovery().is_unconfirmed() {
            return Some(Err(CommandError::Unconfirmed));
        }
        let target = Authoring::target(&self.core, &self.replica, &write);
        // What is staged is signed with what comes to it.
        let unstaged = target.as_ref().filter(|document| !self.authoring.has_staged(document));
        if unstaged.is_some_and(|document| self.awaits_own(document)) {
            let is_kept = self.replica.recovery_mut().wait(request, write);
            return (!is_kept).then_some(Err(CommandError::Limit(Quota::WaitingWrites)));
        }
        if self.authoring.must_settle_before(&self.replica, &write, target.as_ref()) {
            self.settle();
        }
        self.authoring.stage(&mut self.core, &mut self.replica, request, write).err().map(Err)
    }

    /// Does what waited for an own newer state.
    pub(super) fn resume_waiting(&mut self) {
        let now = self.core.now();
        if self.replica.recovery_mut().take_rights_wait(now) {
            self.replica.rights_changed();
        }
        for id in self.replica.recovery_mut().end_overdue(now) {
            self.stored_on_air(&id, None);
        }
        // Those whose document still waits go to the end of the new queue, in their old order.
        for (request, write) in self.replica.recovery_mut().take_waiting() {
            self.command(request, write.into());
        }
    }

    // ---- peers -------------------------------------------------------------------------------------------

    /// Changes peers, invites or policies; `None`: it is answered when the inviter or the peer has.
    fn administer(&mut self, request: RequestId, admin: Admin) -> Option<Result<Reply, CommandError>> {
        if let Admin::Join { code, addresses } = admin {
            let joined = self.membership.join(&mut self.core, &mut self.replica, request, &code, addresses);
            return joined.err().map(Err);
        }
        if let Admin::FetchState { peer } = admin {
            return self.desk().fetch_state(request, &peer).err().map(Err);
        }
        if self.replica.recovery().is_unconfirmed() && may_sign(&admin) {
            return Some(Err(CommandError::Unconfirmed));
        }
        self.settle();
        Some(match admin {
            Admin::Join { .. } | Admin::FetchState { .. } => unreachable!("answered above"),
            Admin::Invite { level, expires_in, addresses } => {
                self.membership.invite(&mut self.core, level, expires_in, addresses)
            }
            Admin::WithdrawInvite { id } => {
                let withdrawn = self.membership.withdraw(&mut self.core, &id);
                withdrawn.map(|invite| Reply::Withdrawn(NodeReport::invite(&invite)))
            }
            Admin::Trust { peer, level } => self.trust(&peer, level),
            Admin::Rename { peer, name } => {
                let renamed = self.membership.rename(&mut self.core, &mut self.replica, &peer, &name);
                renamed.and_then(|id| self.report().peer(&id)).map(Box::new).map(Reply::Peer)
            }
            Admin::Dial { peer, addresses } => {
                let dialled = self.membership.dial(&mut self.core, &mut self.replica, &peer, &addresses);
                dialled.and_then(|id| self.report().peer(&id)).map(Box::new).map(Reply::Peer)
            }
            Admin::Remove { peer } => self.remove(&peer),
            Admin::Policy { doc, radio, confidential } => self.policy(&doc, radio, confidential),
            Admin::Route(order) => {
                let ordered = self.unicast.order_route(&mut self.core, &self.replica, &order);
                ordered.map(|()| Reply::Routes(self.report().routes()))
            }
            Admin::WriteBundle { peers } => self.desk().bundles().write(&peers),
            Admin::ReadBundle { bundle } => read_bundle(self, &bundle),
            Admin::Adopt(records) => self.membership.adopt(&mut self.core, &mut self.replica, &records),
            Admin::Revoke { peer } => {
                self.desk().commands.sign_notice(&peer).and_then(|notice| self.publish_notice(notice))
            }
            Admin::RevokeOwn { notice } => {
                self.desk().commands.read_own_notice(&notice).and_then(|notice| self.publish_notice(notice))
            }
            Admin::WatchFor(rule) => self.desk().alarms().watch_for(rule),
            Admin::Unwatch { id } => self.desk().alarms().unwatch(&id),
            Admin::AcknowledgeAlarm { id } => self.desk().alarms().acknowledge(&id),
            Admin::Deploy { peer, app, version, marketplace_url, expires_in } => {
                let marketplace_url = marketplace_url.as_deref();
                self.desk().commands.deploy(&peer, &app, &version, marketplace_url, expires_in)
            }
            Admin::DeployByCall { peer, app, version, marketplace_url } => {
                self.desk().deploy_by_call(&peer, &app, &version, marketplace_url.as_deref())
            }
        })
    }

    fn trust(&mut self, text: &str, level: TrustLevel) -> Result<Reply, CommandError> {
        let id = self.replica.resolve_peer(text)?;
        self.decide_about(&id, level)?;
        let peer = self.replica.federation().peer(&id).cloned().expect("a peer is resolved among the peers");
        if peer.trust_level.may_write() && !level.may_write() {
            self.take_over_entries(&id)?;
        }
        self.membership.put_peer(&mut self.core, &mut self.replica, Peer { trust_level: level, ..peer });
        if !level.is_member() {
            self.close_links(&id);
        }
        self.report().peer(&id).map(Box::new).map(Reply::Peer)
    }

    fn remove(&mut self, text: &str) -> Result<Reply, CommandError> {
        let id = self.replica.resolve_peer(text)?;
        let removed = self.replica.name_of(&self.core, &id);
        let entries_kept = self.take_over_entries(&id)?;
        self.decide_about(&id, TrustLevel::Untrusted)?;
        self.remove_peer(&id);
        let waiters = self.membership.end_joining(&id);
        self.answer_joined(&id, waiters);
        self.membership.forget_invite_of(&mut self.core, &id);
        Ok(Reply::Removed(view::RemovedView { removed, entries_kept }))
    }

    /// The operator gives a peer a level: sessions follow if what others reported of it no longer counts.
    fn decide_about(&mut self, peer: &PeerId, level: TrustLevel) -> Result<(), CommandError> {
        match self.desk().commands.decide_about(peer, level)? {
            Suspensions::Changed => self.renew_suspended(),
            Suspensions::Unchanged => {}
        }
        Ok(())
    }

    /// Publishes a notice of revocation, and acts on it here. A peer whose key the operator reports as stolen is untrusted from
    /// now on; peers that trust this node suspend it.
    fn publish_notice(&mut self, notice: RevocationNotice) -> Result<Reply, CommandError> {
        let (revoked, is_own) = (notice.revoked, notice.is_own());
        let effect = self.desk().commands.publish_notice(notice)?;
        self.notice_judged(effect);
        if !is_own {
            self.trust(&crate::identity::did(&revoked), TrustLevel::Untrusted)?;
        }
        Ok(Reply::Revocations(self.report().revocations_of(&revoked)))
    }

    // ---- policies ----------------------------------------------------------------------------------------

    /// The policy of an own document stands in the own audience.
    fn policy(
        &mut self,
        doc: &str,
        radio: Option<RadioUse>,
        confidential: Option<bool>,
    ) -> Result<Reply, CommandError> {
        let id = self.replica.resolve_document(&self.core, doc)?;
        let me = self.core.me;
        if id.owner != me {
            return Err(CommandError::NotYours(doc.to_owned()));
        }
        let name = id.name.as_str();
        if matches!(name, DocumentName::AUDIENCE | DocumentName::KEYS | DocumentName::DEPLOYS) {
            return Err(CommandError::BadName { name: name.to_owned(), why: BadNameReason::FixedPolicy });
        }
        if radio == Some(RadioUse::Brief) && Authoring::brief_fields(&self.core, &self.replica, &id).is_none()
        {
            return Err(CommandError::BadValue(ValueError::NoBrief));
        }
        let before = self.replica.federation().policy(&id);
        let class = DocumentPolicy {
            radio: radio.unwrap_or(before.radio),
            confidential: confidential.unwrap_or(before.confidential),
        };
        if class != before {
            let audience = self.replica.federation().audience(&me).cloned();
            let audience = audience.unwrap_or_else(|| Audience::new(self.core.random.bytes(), []));
            if audience.policies() >= CLASSES_MAX {
                return Err(CommandError::Limit(Quota::Policies));
            }
            let value = audience.with_policy(name, class).to_value();
            self.commit_snapshot(&self.core.own_document(DocumentName::AUDIENCE), value)?;
            self.renew_brief(&id);
        }
        Ok(Reply::Policy(view::PolicyView { document: name.to_owned(), class }))
    }
}

/// Whether a command may sign a state of a document of this node.
fn may_sign(admin: &Admin) -> bool {
    match admin {
        Admin::Trust { .. }
        | Admin::Remove { .. }
        | Admin::Policy { .. }
        | Admin::Revoke { .. }
        | Admin::RevokeOwn { .. } => true,
        Admin::Join { .. }
        | Admin::FetchState { .. }
        | Admin::Invite { .. }
        | Admin::WithdrawInvite { .. }
        | Admin::Rename { .. }
        | Admin::Dial { .. }
        | Admin::Adopt(_)
        | Admin::WriteBundle { .. }
        | Admin::ReadBundle { .. }
        | Admin::Route(_)
        | Admin::WatchFor(_)
        | Admin::Unwatch { .. }
        | Admin::AcknowledgeAlarm { .. }
        | Admin::DeployByCall { .. }
        | Admin::Deploy { .. } => false,
    }
}

/// Hands the layers of a bundle to the gate of all layers, and answers it.
fn read_bundle(node: &mut Node, bundle: &str) -> Result<Reply, CommandError> {
    let (layers, receipt) = node.desk().bundles().open(bundle)?;
    let origin = Origin::Link { peer: receipt.from };
    for message in layers {
        match message {
            Message::Whole(envelope) => node.arrived(origin, Arriving::Whole(*envelope)),
            Message::Compact(envelope) => node.arrived(origin, Arriving::delta(&envelope)),
            _ => unreachable!("a bundle that has anything else is refused as it is opened"),
        }
    }
    node.desk().bundles().answer(receipt)
}
