//! The walk in: link -> decode -> replica (one gate: root, signature, rights) -> engines -> events.

use tombolo_transports::{Address, DownReason, LinkCaps, LinkId, PeerId};

use crate::core::{Core, InputRejection};
use crate::desk::{CommandMessage, NoticeEffect, NoticeReceipt};
use crate::federation::invite::token_hash;
use crate::federation::join::{JoinAnswer, JoinRefusal, JoinRequest};
use crate::federation::peer::Joined;
use crate::federation::{Peer, TrustLevel};
use crate::io::{CommandError, Event, JoinFailure, Output, RequestId};
use crate::membership::{Answered, Redeem};
use crate::node::Node;
use crate::presence::HeardOver;
use crate::replica::{ApplyOutcome, Arriving, Origin, Reclaimed, Recovered};
use crate::router::Class;
use crate::store::StoreWrite;
use crate::sync::message::{Message, MessageError};
use crate::sync::transfer::{answer_parts, answer_tree};
use crate::unicast::{SupplyRequest, Unicast};

impl Node {
    // ---- links -------------------------------------------------------------------------------------------

    pub(super) fn link_up(&mut self, link: LinkId, peer: PeerId, caps: LinkCaps) {
        if !self.replica.federation().is_member(&peer) {
            self.core.reject_from(Some(peer), InputRejection::LinkOfNoPeer);
            self.core.gate.output(Output::Close { link });
            return;
        }
        if self.core.is_cut(&peer) {
            self.core.reject_from(Some(peer), InputRejection::SenderCut);
            self.core.gate.output(Output::Close { link });
            return;
        }
        let over = HeardOver { link, medium: caps.medium };
        self.core.presence.session_up(self.core.now(), peer, over);
        let is_first = self.unicast.put_link(self.core.now(), link, peer, caps);
        self.replica.note_presence(&peer, self.core.reference());
        self.membership.taken_again(&mut self.core, &peer);
        let record = self.replica.federation().peer(&peer);
        if record.is_some_and(|record| matches!(record.joined, Joined::Waiting { .. })) {
            // An inviter that lets this node in has agreed, even if its answer was lost.
            let waiters = self.membership.agreed(&mut self.core, &mut self.replica, &peer, None);
            self.answer_joined(&peer, waiters);
        }
        if let Some(up) = self.unicast.link(link) {
            Unicast::link_event(&mut self.core, up, true);
        }
        self.commands.reachable(&peer);
        if is_first {
            self.broadcast.sign_deferred_states(&self.core, &mut self.replica, &self.unicast);
            self.unicast.peer_up(&self.core, &self.replica, peer);
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId, why: DownReason) {
        let Some((down, is_last)) = self.unicast.remove_link(self.core.now(), link, why) else { return };
        self.core.presence.session_down(self.core.now(), &down.peer, link);
        Unicast::link_event(&mut self.core, &down, false);
        self.replica.link_gone(link);
        if is_last {
            self.core.clock.disconnected(&down.peer);
            self.unicast.peer_down(&self.core, down.peer);
            self.replica.disconnected(&down.peer);
        }
    }

    // ---- messages ----------------------------------------------------------------------------------------

    pub(super) fn received(&mut self, link: LinkId, bytes: &[u8]) {
        let Some((peer, message)) = read(&mut self.core, &mut self.unicast, link, bytes) else { return };
        self.replica.note_presence(&peer, self.core.reference());
        if self.core.is_cut(&peer) {
            return self.close_links(&peer);
        }
        let Some(message) = message else { return };
        self.unicast.peer_heard(&mut self.core, link, &message);
        let origin = Origin::Link { peer };
        match message {
            Message::Compact(envelope) => self.arrived(origin, Arriving::delta(&envelope)),
            Message::Whole(envelope) => self.arrived(origin, Arriving::Whole(*envelope)),
            Message::TreeAsk(id, nodes) => {
                let answer = self.replica.answer_transfer(&peer, &id, |map| answer_tree(id, map, &nodes));
                self.unicast.answer(&mut self.core, peer, link, answer);
            }
            Message::PartsAsk(id, buckets) => {
                let answer = self.replica.answer_transfer(&peer, &id, |map| answer_parts(id, map, &buckets));
                self.unicast.answer(&mut self.core, peer, link, answer);
            }
            Message::Tree(id, nodes) => {
                if let Some(layer) = self.replica.take_nodes(&mut self.core, (peer, link), &id, nodes) {
                    self.arrived(origin, Arriving::Assembled(layer));
                }
            }
            Message::Parts(id, parts) => {
                if let Some(layer) = self.replica.take_parts(&mut self.core, (peer, link), &id, parts) {
                    self.arrived(origin, Arriving::Assembled(layer));
                }
            }
            Message::Heartbeat { clock, .. } => {
                self.unicast.clock_received(&mut self.core, &self.replica, peer, clock);
                self.unicast.received(&self.core, peer, message);
            }
            Message::Frontier { ref buckets, .. } => {
                self.unicast.frontier_over(&self.core, link, buckets);
                self.unicast.received(&self.core, peer, message);
            }
            Message::Want(wants) => {
                let message = Message::Want(self.replica.rights_first(wants));
                self.unicast.received(&self.core, peer, message);
            }
            Message::Ask(_) | Message::Refused(_) => {
                self.unicast.received(&self.core, peer, message);
            }
            // Counted when it was read.
            Message::NotUnderstood(_) => {}
            Message::Command(bytes) => self.command_message(peer, &CommandMessage::Command(bytes)),
            Message::Answer(bytes) => self.command_message(peer, &CommandMessage::Answer(bytes)),
            Message::Notice(bytes) => self.command_message(peer, &CommandMessage::Notice(bytes)),
            Message::NoticeHeard(hash) => self.command_message(peer, &CommandMessage::NoticeHeard(hash)),
        }
    }

    // ---- layers ------------------------------------------------------------------------------------------

    /// A layer has arrived: it goes through the gate of the replica, and what follows from that is done.
    pub(super) fn arrived(&mut self, origin: Origin, arriving: Arriving<'_>) {
        match self.replica.apply(&mut self.core, &origin, arriving) {
            ApplyOutcome::Stored(stored) => self.stored(&stored, Some(&origin), Some(origin.peer())),
            ApplyOutcome::Known(signed) => match origin {
                Origin::Radio { link, peer, .. } => {
                    self.broadcast.state_received(&self.core, &mut self.replica, link, peer, &signed);
                }
                Origin::Link { peer } => self.unicast.acknowledge(&self.core, peer, &signed.head.layer),
            },
            ApplyOutcome::Refused(signed, refusal) => {
                self.broadcast.refused(&self.core, &origin, &signed, refusal);
                if let Origin::Link { peer } = origin {
                    self.unicast.refused(&self.core, peer, &signed, refusal);
                }
            }
            ApplyOutcome::BaseMissing => match origin {
                Origin::Link { peer } => self.unicast.base_missing(&self.core, peer),
                Origin::Radio { link, channel, .. } => self.broadcast.base_missing(&self.core, link, channel),
            },
            ApplyOutcome::Recovered(Recovered { stored, restage }) => {
                self.desk().commands.lose_recall();
                // What is to be signed above an own newer state is staged.
                self.stored(&stored, Some(&origin), None);
                self.authoring.staged_mut().restage(restage);
            }
            ApplyOutcome::Reclaimed(reclaimed) => {
                self.desk().commands.lose_recall();
                self.reclaimed(&origin, reclaimed);
            }
            // Another machine may have taken what this one is offered.
            ApplyOutcome::AnotherMachine => self.desk().commands.lose_recall(),
            ApplyOutcome::TransferBegun(id) if id.author == self.core.me => {
                self.desk().commands.lose_recall();
            }
            ApplyOutcome::Superseded(id, sequence) => {
                if let Origin::Radio { link, .. } = origin {
                    self.broadcast.older_received(&self.core, link, &id, sequence);
                    self.replica.pin_base(&id, sequence);
                }
            }
            ApplyOutcome::Old | ApplyOutcome::TransferBegun(_) | ApplyOutcome::Rejected(_) => {}
        }
    }

    /// An own passed state has arrived; what was missing here is staged, or the peer is sent the present state.
    fn reclaimed(&mut self, origin: &Origin, reclaimed: Reclaimed) {
        let Reclaimed { id, state, restage, was_withheld } = reclaimed;
        if was_withheld {
            self.stored_on_air(&id, Some(origin));
        }
        match restage {
            Some(restage) => self.authoring.staged_mut().restage(restage),
            None => {
                let (peer, class, held) = (origin.peer(), Class::Document, Some(state));
                let request = SupplyRequest { peer, class, id, held, silent: None };
                self.unicast.supply(&mut self.core, &mut self.replica, &request);
            }
        }
    }

    // ---- commands and notices ----------------------------------------------------------------------------

    /// A command, a notice or an answer arrived, in a session with `from` or on a pairwise channel with it; hostile.
    pub(super) fn command_message(&mut self, from: PeerId, message: &CommandMessage) {
        if let Some(NoticeReceipt { hash, effect }) = self.desk().commands.received(from, message) {
            self.notice_judged(effect);
            self.desk().commands.confirm_notice(from, hash);
        }
    }

    /// Does what follows from a notice of revocation.
    pub(super) fn notice_judged(&mut self, effect: NoticeEffect) {
        let notice = match effect {
            NoticeEffect::Accepted(notice) => notice,
            NoticeEffect::Unchanged => return,
        };
        let revoked = notice.revoked;
        if notice.is_own() && revoked != self.core.me {
            // It ends everywhere, with nothing left to decide; what it wrote here stays.
            self.settle();
            if let Err(error) = self.take_over_entries(&revoked) {
                tracing::warn!(%error, "what an ended identity wrote was not taken over");
            }
            if let Some(record) = self.replica.federation().peer(&revoked).cloned() {
                let ended = Peer { trust_level: TrustLevel::Untrusted, ..record };
                self.membership.put_peer(&mut self.core, &mut self.replica, ended);
            }
        }
        self.renew_suspended();
        if notice.author != self.core.me {
            let alarm = self.report().revocation_alarm(&notice);
            self.core.event(Event::Alarm(alarm));
        }
    }

    /// The federation follows the notices; sessions of a suspended identity close.
    pub(super) fn renew_suspended(&mut self) {
        self.desk().commands.suspend_revoked();
        for id in self.commands.notices.suspended() {
            self.close_links(&id);
        }
        self.core.event(Event::PeersChanged);
    }

    // ---- joining -----------------------------------------------------------------------------------------

    pub(super) fn join_request(
        &mut self,
        request: RequestId,
        peer: PeerId,
        address: Option<Address>,
        bytes: &[u8],
    ) {
        let asked = JoinRequest::decode(bytes).map_err(|_| JoinRefusal::Signature);
        let redeemed = asked.and_then(|asked| {
            let token = token_hash(&asked.token);
            self.redeem(&Redeem { joiner: peer, address, request: &asked, token })
        });
        let answer = match redeemed {
            Ok(()) => JoinAnswer::Agreed { name: self.core.settings.name.clone() },
            Err(why) => {
                self.core.reject(InputRejection::Join(why));
                JoinAnswer::Refused(why)
            }
        };
        // Behind the commit that burns the token.
        self.core.gate.output(Output::JoinAnswer { request, bytes: answer.encode() });
    }

    /// Adds a joiner as a peer, once per invite.
    pub(super) fn redeem(&mut self, redeem: &Redeem<'_>) -> Result<(), JoinRefusal> {
        let waiters = self.membership.redeem(&mut self.core, &mut self.replica, redeem)?;
        self.answer_joined(&redeem.joiner, waiters);
        Ok(())
    }

    pub(super) fn inviter_answered(&mut self, inviter: PeerId, answer: Result<JoinAnswer, JoinFailure>) {
        match self.membership.answered(&mut self.core, &mut self.replica, &inviter, answer) {
            Answered::Agreed(waiters) => self.answer_joined(&inviter, waiters),
            Answered::Refused(waiters, why) => {
                let refused = |inviter| CommandError::JoinRefused { inviter, why };
                self.joining_refused(&inviter, waiters, refused);
            }
            Answered::Pending => {}
        }
    }

    /// An inviter refused for good: it is no peer, unless it was one before, and these requests get the reason.
    pub(super) fn joining_refused(
        &mut self,
        inviter: &PeerId,
        waiters: Vec<RequestId>,
        refused: impl Fn(String) -> CommandError,
    ) {
        let name = self.replica.name_of(&self.core, inviter);
        if !self.membership.stays_denied(&mut self.core, &mut self.replica, inviter) {
            self.remove_peer(inviter);
        }
        for request in waiters {
            self.core.gate.reply(request, Err(refused(name.clone())));
        }
    }

    /// Answers the requests that waited for an inviter.
    pub(super) fn answer_joined(&mut self, inviter: &PeerId, waiters: Vec<RequestId>) {
        if waiters.is_empty() {
            return;
        }
        let result = self.report().peer(inviter).map(Box::new).map(crate::io::Reply::Joined);
        for request in waiters {
            self.core.gate.reply(request, result.clone());
        }
    }

    /// Removes a peer and closes its links.
    pub(super) fn remove_peer(&mut self, id: &PeerId) {
        self.membership.remove_peer(&mut self.core, &mut self.replica, id);
        if self.calls.forget(id) {
            self.core.gate.write(StoreWrite::RemoveCalledState(*id));
        }
        self.close_links(id);
        self.unicast.forget_peer(id);
    }

    pub(super) fn close_links(&mut self, peer: &PeerId) {
        for link in self.unicast.links_to(peer) {
            self.link_down(link, DownReason::Closed);
            self.core.gate.output(Output::Close { link });
        }
    }
}

/// The peer at the far end of a link, and its message, if that is looked at and is one.
fn read(
    core: &mut Core,
    unicast: &mut Unicast,
    link: LinkId,
    bytes: &[u8],
) -> Option<(PeerId, Option<Message>)> {
    let up = unicast.link(link)?;
    let (peer, medium) = (up.peer, up.caps.medium);
    core.metrics.received_from(peer, medium, bytes.len());
    unicast.heard(core, link);
    if !core.admits_message(peer, bytes.len()) {
        return Some((peer, None));
    }
    let message = Message::decode(bytes);
    match &message {
        Ok(Message::NotUnderstood(_)) => {
            core.reject_from(Some(peer), InputRejection::NotUnderstoodByPeer);
        }
        Ok(_) => {}
        Err(error) => {
            core.reject_from(Some(peer), InputRejection::BadMessage);
            // A kind of a later version costs nothing to leave unread.
            if !matches!(error, MessageError::UnknownKind(_)) {
                core.failed_proof(peer, bytes.len());
            }
            unicast.not_understood(core, peer, bytes);
        }
    }
    Some((peer, message.ok()))
}
