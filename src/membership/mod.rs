//! Membership: invites given and redeemed, joining, and the list of peers.
//!
//! [`Membership`] owns the invites and the calls to inviters that are under way. It changes the list of peers in the
//! replica's federation; the audience and its key follow from that list ([`Replica::audience_due`], `broadcast::keys`),
//! and the node signs them.
//!
//! Invariants: a token works once, burned durably before the answer leaves; a joiner that repeats its request gets the same answer; an
//! inviter that lets this node in has agreed, even if its answer was lost.

mod addresses;
mod adopt;
mod calls;
mod denials;
mod failures;
mod joining;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::{Address, PeerId};

use crate::clock::rfc3339;
use crate::core::Core;
use crate::federation::invite::{IncomingInvite, Invite, OutgoingInvite, Token, TokenHash, token_hash};
use crate::federation::join::{JoinAnswer, JoinRefusal, JoinRequest};
use crate::federation::name::check_new_node_name;
use crate::federation::peer::Joined;
use crate::federation::{Federation, Peer, TrustLevel};
use crate::io::{
    BadNameReason, CommandError, Event, FederationRecords, JoinFailure, Quota, Reply, RequestId, view,
};
use crate::limits::{INVITE_ADDRESSES_MAX, INVITE_EXPIRES_MAX, PEERS_MAX};
use crate::replica::Replica;
use crate::store::StoreWrite;
use crate::time::{Millis, Mono, Wall};
use addresses::check_addresses;
pub use calls::{Answered, CalledJoin, JoinCall, Redeem};
use denials::Denials;
use failures::TokenFailures;
use joining::{CallTarget, InviterCalls};

/// Invites given and redeemed, and calls to inviters.
#[derive(Debug, Default)]
pub struct Membership {
    outgoing: BTreeMap<TokenHash, OutgoingInvite>,
    incoming: BTreeMap<PeerId, IncomingInvite>,
    joining: InviterCalls,
    failures: TokenFailures,
    denials: Denials,
    /// Whether an invite was open when watchers were last informed.
    were_open: BTreeSet<TokenHash>,
}

impl Membership {
    /// Takes invites from disk. Calls to inviters that have not answered start again.
    pub fn load(
        &mut self,
        core: &Core,
        outgoing: Vec<OutgoingInvite>,
        incoming: Vec<IncomingInvite>,
        federation: &Federation,
    ) {
        let now = core.now();
        let waiting = federation.peers().filter(|peer| matches!(peer.joined, Joined::Waiting { .. }));
        let mut joining = InviterCalls::default();
        for peer in waiting {
            joining.start(peer.id, peer.addresses.clone(), TrustLevel::Trusted, now);
        }
        *self = Membership {
            joining,
            outgoing: outgoing.into_iter().map(|invite| (invite.token_hash, invite)).collect(),
            incoming: incoming.into_iter().map(|invite| (PeerId(invite.inviter), invite)).collect(),
            ..Membership::default()
        };
    }

    /// Whether an invite may still be used.
    pub fn is_open(&self, reference: Wall) -> bool {
        self.outgoing.values().any(|invite| invite.expires > reference)
    }

    /// The invites that may still be used, spent ones included: their joiner may have missed the answer.
    pub fn open_hashes(&self, reference: Wall) -> BTreeSet<TokenHash> {
        self.open(reference).copied().collect()
    }

    fn open(&self, reference: Wall) -> impl Iterator<Item = &TokenHash> {
        let open = self.outgoing.iter().filter(move |(_, invite)| invite.expires > reference);
        open.map(|(hash, _)| hash)
    }

    /// Informs watchers when an invite expired or was made.
    pub fn watch_open(&mut self, core: &mut Core) {
        // Each turn of the node asks, and hardly ever is there news.
        if !self.open(core.reference()).eq(&self.were_open) {
            let open = self.open_hashes(core.reference());
            core.event(Event::JoiningChanged { open: !open.is_empty() });
            self.were_open = open;
        }
    }

    /// When joining is tried again.
    pub fn next_timer(&self) -> Option<Mono> {
        self.joining.next_timer()
    }

    /// The hashes of invites given out, spent ones included: their joiner may have missed the answer.
    pub fn known_hashes(&self) -> BTreeSet<TokenHash> {
        self.outgoing.keys().copied().collect()
    }

    /// Takes the requests that wait for an inviter, to answer them otherwise.
    pub fn take_waiters(&mut self) -> Vec<RequestId> {
        self.joining.take_waiters()
    }

    /// Why joining has not worked yet, by inviter.
    pub fn failures(&self) -> impl Iterator<Item = (&PeerId, &JoinFailure)> {
        self.joining.failures()
    }

    // ---- the inviter's side ------------------------------------------------------------------------------

    /// Makes an invite and queues its record.
    ///
    /// # Errors
    /// [`CommandError::Limit`] with too many open invites, [`CommandError::BadExpiry`] beyond 30 days or without a lifetime,
    /// [`CommandError::BadLevel`] for an untrusted node, [`CommandError::BadAddress`] where no one machine listens.
    pub fn invite(
        &mut self,
        core: &mut Core,
        level: TrustLevel,
        valid_for: Millis,
        addresses: Vec<Address>,
    ) -> Result<Reply, CommandError> {
        let now = core.reference();
        if !level.is_member() {
            return Err(CommandError::BadLevel);
        }
        check_addresses(&addresses)?;
        self.forget_expired(core, now);
        within(self.outgoing.values().filter(|invite| invite.is_open(now)).count() + 1, Quota::Invites)?;
        if valid_for == Millis::ZERO || valid_for > INVITE_EXPIRES_MAX {
            return Err(CommandError::BadExpiry);
        }
        let mut addresses = addresses;
        addresses.truncate(INVITE_ADDRESSES_MAX);
        let expires = now + valid_for;
        let invite = Invite {
            inviter: core.me,
            onion: core.onion(),
            token: core.random.bytes(),
            level: Some(level),
            expires: Some(expires),
            addresses,
        };
        let outgoing = OutgoingInvite {
            token_hash: token_hash(&invite.token),
            level,
            created_at: now,
            expires,
            accepted: None,
        };
        core.gate.write(StoreWrite::PutOutgoing(outgoing.clone()));
        self.outgoing.insert(outgoing.token_hash, outgoing);
        Ok(Reply::Invite(view::InviteView {
            code: invite.to_code(),
            compact: invite.to_compact(),
            level,
            expires: rfc3339(expires),
            clock_is_set: core.clock.own_is_set(),
        }))
    }

    /// The invites that this node gave out.
    pub fn outgoing(&self) -> impl Iterator<Item = &OutgoingInvite> {
        self.outgoing.values()
    }

    /// Takes back an open invite: its code works no more.
    ///
    /// # Errors
    /// [`CommandError::UnknownInvite`] where none or several open ones begin with this id.
    pub fn withdraw(&mut self, core: &mut Core, id: &str) -> Result<OutgoingInvite, CommandError> {
        let now = core.reference();
        let mut fitting = self.outgoing.values().filter(|i| i.is_open(now) && i.id().starts_with(id));
        let (Some(invite), None) = (fitting.next().cloned(), fitting.next()) else {
            return Err(CommandError::UnknownInvite(id.to_owned()));
        };
        self.outgoing.remove(&invite.token_hash);
        core.gate.write(StoreWrite::RemoveOutgoing(invite.token_hash));
        Ok(invite)
    }

    /// Adds a joiner as a peer, once per invite. Returns the requests that waited for this peer to accept an invite of its
    /// own: that has come about too.
    ///
    /// # Errors
    /// Why the joiner is refused. Nothing changes then.
    pub fn redeem(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        redeem: &Redeem<'_>,
    ) -> Result<Vec<RequestId>, JoinRefusal> {
        let Redeem { joiner, address, request, token } = redeem;
        let invite = self.invite_of(core, token)?;
        if !request.verify_hash(&core.me, joiner, token) || request.level != invite.level {
            return Err(JoinRefusal::Signature);
        }
        self.let_in(core, replica, invite, joiner, |known| Peer {
            onion: request.onion.clone(),
            own_name: (!request.name.is_empty()).then(|| request.name.clone()),
            addresses: address.iter().copied().collect(),
            ..known
        })
    }

    /// The same for a joiner that called: it is added at the level of the invite, and keeps what is known of it otherwise.
    ///
    /// # Errors
    /// Why the joiner is refused. Nothing changes then.
    pub fn redeem_called(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        call: &CalledJoin,
    ) -> Result<Vec<RequestId>, JoinRefusal> {
        let invite = self.invite_of(core, &token_hash(&call.token))?;
        let onion = call.onion.to_string();
        self.let_in(core, replica, invite, &call.joiner, |known| Peer { onion, ..known })
    }

    /// The invite of a token; wrong tokens are counted.
    fn invite_of(&mut self, core: &Core, token: &TokenHash) -> Result<OutgoingInvite, JoinRefusal> {
        self.failures.start_minute(core.now());
        self.outgoing.get(token).cloned().ok_or_else(|| self.failures.refuse())
    }

    /// Burns an invite and adds its joiner, with what it brought.
    fn let_in(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        invite: OutgoingInvite,
        joiner: &PeerId,
        with: impl FnOnce(Peer) -> Peer,
    ) -> Result<Vec<RequestId>, JoinRefusal> {
        let now = core.reference();
        match invite.accepted {
            // Its answer was lost. One that was removed since then needs a new invite.
            Some((by, _)) if by == joiner.0 && replica.federation().is_member(joiner) => {
                return Ok(Vec::new());
            }
            Some(_) => return Err(JoinRefusal::Token),
            None if invite.expires <= now => return Err(JoinRefusal::Expired),
            None => {}
        }
        let known = replica.federation().peer(joiner).cloned();
        if known.is_none() && replica.federation().peers().count() >= PEERS_MAX {
            return Err(JoinRefusal::Full);
        }
        let burned = OutgoingInvite { accepted: Some((joiner.0, now.ms())), ..invite };
        core.gate.write(StoreWrite::PutOutgoing(burned.clone()));
        let level = burned.level;
        self.outgoing.insert(burned.token_hash, burned);
        let known = known.unwrap_or_else(|| fresh_peer(*joiner, level, now));
        let peer = Peer { trust_level: level, joined: Joined::Agreed, ..with(known) };
        self.put_peer(core, replica, peer);
        Ok(self.end_joining(joiner))
    }

    fn forget_expired(&mut self, core: &mut Core, now: Wall) {
        // A used one is kept for as long as it would have lived: its joiner may ask again.
        let over: Vec<TokenHash> =
            self.outgoing.values().filter(|i| i.expires <= now).map(|i| i.token_hash).collect();
        for hash in over {
            self.outgoing.remove(&hash);
            core.gate.write(StoreWrite::RemoveOutgoing(hash));
        }
    }

    // ---- the joiner's side -------------------------------------------------------------------------------

    /// Starts to redeem an invite; `request` is answered when the inviter has answered.
    ///
    /// # Errors
    /// Why the code is not used: damaged, this node's own, or of a peer already, unless that has removed this node. Whether it has expired only its inviter judges:
    /// the two clocks may differ.
    pub fn join(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        code: &str,
        addresses: Vec<Address>,
    ) -> Result<(), CommandError> {
        let invite = Invite::parse(code).map_err(CommandError::BadInvite)?;
        if invite.inviter == core.me {
            return Err(CommandError::OwnInvite);
        }
        check_addresses(&addresses)?;
        let now = core.reference();
        let known = replica.federation().peer(&invite.inviter).cloned();
        let agreed = known.as_ref().filter(|peer| peer.joined == Joined::Agreed);
        if let Some(peer) = agreed.filter(|peer| !self.is_denied_by(&peer.id)) {
            // Where it has moved to, or refuses this node by now, is found there.
            let shown: Vec<Address> = addresses.into_iter().chain(invite.addresses).collect();
            let name = replica.name_of(core, &peer.id);
            self.put_peer(core, replica, peer.reached_at(&shown));
            return Err(CommandError::AlreadyPeer(name));
        }
        if known.is_none() && replica.federation().peers().count() >= PEERS_MAX {
            return Err(CommandError::Limit(Quota::Peers));
        }
        let plain = invite.is_plain();
        let mut all = addresses;
        all.extend(&invite.addresses);
        let level = invite.level.unwrap_or(TrustLevel::Trusted);
        let known = known.unwrap_or_else(|| fresh_peer(invite.inviter, TrustLevel::Trusted, now));
        let peer = Peer {
            onion: invite.onion,
            joined: Joined::Waiting { token: invite.token },
            addresses: all.clone(),
            ..known
        };
        self.put_peer(core, replica, peer);
        let inviter = invite.inviter.0;
        let incoming = IncomingInvite { inviter, created_at: now, accepted: None, plain };
        core.gate.write(StoreWrite::PutIncoming(incoming.clone()));
        self.incoming.insert(invite.inviter, incoming);
        self.joining.start(invite.inviter, all, level, core.now()).push(request);
        Ok(())
    }

    /// The inviters whose call is due.
    pub fn due_calls(&self, now: Mono) -> Vec<PeerId> {
        self.joining.due(now)
    }

    /// The call to one inviter, and schedules the next; `None` if it has answered otherwise.
    pub fn call(&mut self, core: &mut Core, replica: &Replica, inviter: PeerId) -> Option<JoinCall> {
        let peer = replica.federation().peer(&inviter);
        let Some(Joined::Waiting { token }) = peer.map(|peer| peer.joined.clone()) else {
            self.joining.end(&inviter);
            return None;
        };
        let CallTarget { mut addresses, level } = self.joining.next_try(core, &inviter)?;
        let (name, time) = (&core.settings.name, core.reference());
        let onion = core.onion();
        let request = JoinRequest::sign(&core.keypair, &onion, &inviter, token, name, level, time);
        let onion = peer.and_then(Peer::onion_address).filter(|onion| !addresses.contains(onion));
        addresses.extend(onion);
        Some(JoinCall { inviter, addresses, token, request })
    }

    /// The token to show an inviter in a JSON call: of a code that had only what such calls need, while it waits.
    pub fn plain_token(&self, replica: &Replica, inviter: &PeerId) -> Option<Token> {
        let is_plain = self.incoming.get(inviter).is_some_and(|incoming| incoming.plain);
        let peer =
            replica.federation().peer(inviter).filter(|_| is_plain && self.joining.is_under_way(inviter));
        match peer?.joined {
            Joined::Waiting { token } => Some(token),
            Joined::Agreed => None,
        }
    }

    /// An inviter refused for good. Returns the requests that waited for it; none if it was not asked.
    pub fn refused(&mut self, core: &mut Core, inviter: &PeerId) -> Option<Vec<RequestId>> {
        if !self.joining.is_under_way(inviter) {
            return None;
        }
        let waiters = self.end_joining(inviter);
        self.forget_incoming(core, inviter);
        Some(waiters)
    }

    /// An inviter has answered, or could not be reached.
    pub fn answered(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        inviter: &PeerId,
        result: Result<JoinAnswer, JoinFailure>,
    ) -> Answered {
        if !self.joining.is_under_way(inviter) {
            return Answered::Pending;
        }
        match result {
            Ok(JoinAnswer::Agreed { name }) => {
                Answered::Agreed(self.agreed(core, replica, inviter, Some(name)))
            }
            Ok(JoinAnswer::Refused(why)) if !why.is_passing() => {
                let waiters = self.end_joining(inviter);
                self.forget_incoming(core, inviter);
                Answered::Refused(waiters, why)
            }
            Ok(JoinAnswer::Refused(why)) => {
                self.joining.failed(inviter, why.into());
                Answered::Pending
            }
            Err(why) => {
                self.joining.failed(inviter, why);
                Answered::Pending
            }
        }
    }

    /// The inviter has this node on its list too. Returns the requests that waited for it.
    pub fn agreed(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        inviter: &PeerId,
        name: Option<String>,
    ) -> Vec<RequestId> {
        let now = core.reference();
        let Some(mut peer) = replica.federation().peer(inviter).cloned() else { return Vec::new() };
        peer.joined = Joined::Agreed;
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            peer.own_name = Some(name);
        }
        self.put_peer(core, replica, peer);
        if let Some(incoming) = self.incoming.get_mut(inviter) {
            incoming.accepted = Some(now);
            core.gate.write(StoreWrite::PutIncoming(incoming.clone()));
        }
        self.taken_again(core, inviter);
        self.end_joining(inviter)
    }

    /// No call to this inviter is under way any more. Returns the requests that waited for it.
    pub fn end_joining(&mut self, inviter: &PeerId) -> Vec<RequestId> {
        self.joining.end(inviter)
    }

    fn forget_incoming(&mut self, core: &mut Core, inviter: &PeerId) {
        if self.incoming.remove(inviter).is_some() {
            core.gate.write(StoreWrite::RemoveIncoming(*inviter));
        }
    }

    // ---- the list of peers -------------------------------------------------------------------------------

    /// Adds a peer or replaces its record. Where its level is lower than before, the documents in which it leaves this node no part
    /// are gone from memory and disk.
    pub fn put_peer(&mut self, core: &mut Core, replica: &mut Replica, peer: Peer) {
        let before = replica.federation().peer(&peer.id).map(|before| before.trust_level);
        let is_lower = before.is_some_and(|before| peer.trust_level < before);
        core.gate.write(StoreWrite::PutPeer(peer.clone()));
        if !peer.trust_level.may_write() {
            // Only the clocks of trusted peers count.
            core.clock.forget(&peer.id);
        }
        replica.put_peer(peer);
        if is_lower {
            replica.drop_given_up(core);
        }
        core.event(Event::PeersChanged);
    }

    /// Notes where a peer can be reached, for the links to dial it there.
    ///
    /// # Errors
    /// [`CommandError::UnknownPeer`] or `AmbiguousPeer` where the text names no one peer, `BadAddress` where no one machine listens.
    pub fn dial(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        peer: &str,
        addresses: &[Address],
    ) -> Result<PeerId, CommandError> {
        check_addresses(addresses)?;
        let id = replica.resolve_peer(peer)?;
        let known = replica.federation().peer(&id).expect("a peer is resolved among the peers");
        self.put_peer(core, replica, known.reached_at(addresses));
        Ok(id)
    }

    /// Removes a peer and what is known of it; the node closes its links.
    pub fn remove_peer(&mut self, core: &mut Core, replica: &mut Replica, id: &PeerId) {
        replica.remove_peer(core, id);
        core.clock.forget(id);
        core.metrics.forget_peer(id);
        core.presence.forget(id);
        self.taken_again(core, id);
        core.gate.write(StoreWrite::RemovePeer(*id));
        core.event(Event::PeersChanged);
    }

    /// A removed peer's invite is no longer remembered.
    pub fn forget_invite_of(&mut self, core: &mut Core, id: &PeerId) {
        self.forget_incoming(core, id);
    }

    /// Gives a peer another name.
    ///
    /// # Errors
    /// [`CommandError::UnknownPeer`], [`CommandError::AmbiguousPeer`], or [`CommandError::BadName`] if the name is not
    /// usable or in use.
    pub fn rename(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        text: &str,
        name: &str,
    ) -> Result<PeerId, CommandError> {
        let id = replica.resolve_peer(text)?;
        let bad = |why: BadNameReason| CommandError::BadName { name: name.to_owned(), why };
        check_new_node_name(name).map_err(|why| bad(why.into()))?;
        let taken = replica.federation().peers().any(|peer| peer.id != id && peer.name() == Some(name));
        if taken || name == core.settings.name {
            return Err(bad(BadNameReason::Taken));
        }
        let peer = replica.federation().peer(&id).cloned().expect("a peer is resolved among the peers");
        self.put_peer(core, replica, Peer { given_name: Some(name.to_owned()), ..peer });
        Ok(id)
    }

    /// Takes over the peers and invites of a federation that another program kept; a record that is here already stays as it
    /// is. All of it goes into one commit.
    ///
    /// # Errors
    /// [`CommandError::Limit`] with too many records, peers or open invites. Nothing changes then.
    pub fn adopt(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        records: &FederationRecords,
    ) -> Result<Reply, CommandError> {
        let FederationRecords { nodes, outgoing, incoming } = records;
        let longest = nodes.len().max(outgoing.len()).max(incoming.len());
        within(longest, Quota::AdoptedRecords)?;
        let plan = adopt::plan(
            records,
            &adopt::HeldRecords {
                me: core.me,
                onion: core.keypair.onion(),
                now: core.reference(),
                federation: replica.federation(),
                outgoing: &self.outgoing,
                incoming: &self.incoming,
            },
        );
        let peers = replica.federation().peers().count() + plan.peers.len();
        within(peers, Quota::Peers)?;
        let now = core.reference();
        let open = self.outgoing.values().filter(|invite| invite.is_open(now)).count();
        within(open + plan.outgoing.len(), Quota::Invites)?;
        if !plan.peers.is_empty() {
            core.event(Event::PeersChanged);
        }
        for peer in plan.peers {
            if let Some(level) = plan.joining.get(&peer.id) {
                self.joining.start(peer.id, peer.addresses.clone(), *level, core.now());
            }
            core.gate.write(StoreWrite::PutPeer(peer.clone()));
            replica.put_peer(peer);
        }
        for invite in plan.outgoing {
            core.gate.write(StoreWrite::PutOutgoing(invite.clone()));
            self.outgoing.insert(invite.token_hash, invite);
        }
        for invite in plan.incoming {
            core.gate.write(StoreWrite::PutIncoming(invite.clone()));
            self.incoming.insert(PeerId(invite.inviter), invite);
        }
        Ok(Reply::Adopted(plan.view))
    }
}

fn within(count: usize, quota: Quota) -> Result<(), CommandError> {
    if count <= quota.limit() { Ok(()) } else { Err(CommandError::Limit(quota)) }
}

fn fresh_peer(id: PeerId, trust_level: TrustLevel, now: Wall) -> Peer {
    Peer {
        id,
        onion: String::new(),
        given_name: None,
        own_name: None,
        trust_level,
        added_at: now,
        heard_at: None,
        joined: Joined::Agreed,
        addresses: Vec::new(),
        last_known: None,
    }
}

#[cfg(test)]
mod tests;
