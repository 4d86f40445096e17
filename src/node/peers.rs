//! Invites, joining, and what an operator does with peers.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::{Address, PeerId};

use crate::clock::{Now, rfc3339};
use crate::federation::invite::{Incoming, Invite, Outgoing, TokenHash, token_hash};
use crate::federation::join::{JoinAnswer, JoinRefusal, JoinRequest};
use crate::federation::peer::Joined;
use crate::federation::{Federation, Peer, TrustLevel};
use crate::identity::did;
use crate::layer::{Entry, KeyPath, Kind};
use crate::limits::{
    INVITE_ADDRESSES_MAX, INVITE_EXPIRES_MAX_MS, INVITES_OPEN_MAX, JOIN_FAILURES_PER_MINUTE_MAX,
    JOIN_RETRY_MS, PEERS_MAX,
};
use crate::node::io::{CommandError, Event, Output, Reply, RequestId};
use crate::node::{Node, view};
use crate::store::Write;

/// Invites given out and redeemed, and the joining that is under way.
#[derive(Debug, Default)]
pub(super) struct Invites {
    outgoing: BTreeMap<TokenHash, Outgoing>,
    incoming: BTreeMap<PeerId, Incoming>,
    joining: BTreeMap<PeerId, Joining>,
    /// Wrong tokens in the present minute.
    failures: (u64, u32),
    was_open: bool,
}

/// We told an inviter that we joined, and wait for its answer.
#[derive(Debug)]
struct Joining {
    waiters: Vec<RequestId>,
    addresses: Vec<Address>,
    level: TrustLevel,
    tries: u32,
    at: u64,
    trouble: Option<String>,
}

impl Invites {
    pub(super) fn load(
        outgoing: Vec<Outgoing>,
        incoming: Vec<Incoming>,
        federation: &Federation,
        now: Now,
    ) -> Self {
        let waiting = federation.peers().filter(|peer| matches!(peer.joined, Joined::Waiting { .. }));
        let joining =
            waiting.map(|peer| (peer.id, Joining::new(peer.addresses.clone(), TrustLevel::Trusted, now)));
        Invites {
            joining: joining.collect(),
            outgoing: outgoing.into_iter().map(|invite| (invite.token_hash, invite)).collect(),
            incoming: incoming.into_iter().map(|invite| (PeerId(invite.inviter), invite)).collect(),
            ..Invites::default()
        }
    }

    /// Whether an invite may still be used.
    pub(super) fn is_open(&self, reference_ms: u64) -> bool {
        self.outgoing.values().any(|invite| invite.expires_ms > reference_ms)
    }

    /// When joining is tried again.
    pub(super) fn next_timer(&self) -> Option<u64> {
        self.joining.values().map(|joining| joining.at).min()
    }

    /// The hashes of invites given out, spent ones included: their joiner may have missed the answer.
    pub(super) fn known_hashes(&self) -> BTreeSet<TokenHash> {
        self.outgoing.keys().copied().collect()
    }

    /// Requests that wait for an inviter; they are answered otherwise now.
    pub(super) fn take_waiters(&mut self) -> Vec<RequestId> {
        self.joining.values_mut().flat_map(|joining| std::mem::take(&mut joining.waiters)).collect()
    }

    /// Why joining has not worked yet, by inviter.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&PeerId, &str)> {
        self.joining.iter().filter_map(|(peer, joining)| Some((peer, joining.trouble.as_deref()?)))
    }
}

impl Joining {
    fn new(addresses: Vec<Address>, level: TrustLevel, now: Now) -> Self {
        Joining { waiters: Vec::new(), addresses, level, tries: 0, at: now.mono_ms, trouble: None }
    }
}

impl Node {
    // ---- the inviter's side ------------------------------------------------------------------------------

    pub(super) fn invite(
        &mut self,
        level: TrustLevel,
        expires_ms: u64,
        addresses: Vec<Address>,
    ) -> Result<Reply, CommandError> {
        let now = self.reference_ms();
        self.forget_expired_invites(now);
        let open = self.invites.outgoing.values().filter(|invite| invite.accepted.is_none()).count();
        if open >= INVITES_OPEN_MAX {
            let remedy = "wait until some are used or have expired";
            return Err(CommandError::Limit {
                what: "the number of open invites",
                limit: INVITES_OPEN_MAX,
                remedy,
            });
        }
        if expires_ms == 0 || expires_ms > INVITE_EXPIRES_MAX_MS {
            return Err(CommandError::BadExpiry);
        }
        let mut addresses = addresses;
        addresses.truncate(INVITE_ADDRESSES_MAX);
        let invite = Invite {
            inviter: self.me,
            onion: self.keypair.onion(),
            token: self.random.bytes(),
            level: Some(level),
            expires_ms: Some((now + expires_ms) / 60_000 * 60_000 + 60_000),
            addresses,
        };
        let expires_ms = invite.expires_ms.unwrap_or(now);
        let outgoing = Outgoing {
            token_hash: token_hash(&invite.token),
            level,
            created_at_ms: now,
            expires_ms,
            accepted: None,
        };
        self.writes.push(Write::PutOutgoing(outgoing.clone()));
        self.invites.outgoing.insert(outgoing.token_hash, outgoing);
        Ok(Reply::Invite(view::InviteView {
            code: invite.to_code(),
            compact: invite.to_compact(),
            level,
            expires: rfc3339(expires_ms),
        }))
    }

    pub(super) fn join_request(
        &mut self,
        request: RequestId,
        peer: PeerId,
        address: Option<Address>,
        bytes: &[u8],
    ) {
        let asked = JoinRequest::decode(bytes).map_err(|_| JoinRefusal::Signature);
        let redeemed = asked.and_then(|asked| self.redeem(peer, address, &asked, &token_hash(&asked.token)));
        let answer = match redeemed {
            Ok(()) => JoinAnswer::Agreed { name: self.settings.name.clone() },
            Err(why) => {
                self.counters.reject(&format!("join_{}", why.word()));
                JoinAnswer::Refused(why)
            }
        };
        // Behind the commit that burns the token.
        self.output(Output::JoinAnswer { request, bytes: answer.encode() });
    }

    /// Takes a joiner in, once per invite. `token` is the hash of the invite's token, which the joiner has proved
    /// to know.
    pub(super) fn redeem(
        &mut self,
        joiner: PeerId,
        address: Option<Address>,
        request: &JoinRequest,
        token: &TokenHash,
    ) -> Result<(), JoinRefusal> {
        let now = self.reference_ms();
        let minute = self.now.mono_ms / 60_000;
        if self.invites.failures.0 != minute {
            self.invites.failures = (minute, 0);
        }
        let Some(invite) = self.invites.outgoing.get(token).cloned() else {
            // Whoever guesses is slowed down; whoever holds a code is not kept out by him.
            self.invites.failures.1 = self.invites.failures.1.saturating_add(1);
            let busy = self.invites.failures.1 > JOIN_FAILURES_PER_MINUTE_MAX;
            return Err(if busy { JoinRefusal::Busy } else { JoinRefusal::Token });
        };
        if !request.verify_hash(&self.me, &joiner, token) || request.level != invite.level {
            return Err(JoinRefusal::Signature);
        }
        match invite.accepted {
            Some((by, _)) if by == joiner.0 => return Ok(()),
            Some(_) => return Err(JoinRefusal::Token),
            None if invite.expires_ms <= now => return Err(JoinRefusal::Expired),
            None => {}
        }
        let known = self.federation.peer(&joiner).cloned();
        if known.is_none() && self.federation.peers().count() >= PEERS_MAX {
            return Err(JoinRefusal::Full);
        }
        let burnt = Outgoing { accepted: Some((joiner.0, now)), ..invite };
        self.writes.push(Write::PutOutgoing(burnt.clone()));
        let level = burnt.level;
        self.invites.outgoing.insert(burnt.token_hash, burnt);
        let known = known.unwrap_or_else(|| fresh_peer(joiner, level, now));
        self.put_peer(Peer {
            onion: request.onion.clone(),
            own_name: (!request.name.is_empty()).then(|| request.name.clone()),
            trust_level: level,
            joined: Joined::Agreed,
            addresses: address.into_iter().collect(),
            ..known
        });
        // It may have invited us as well: then that has come about, too.
        self.answer_waiters(&joiner);
        Ok(())
    }

    fn forget_expired_invites(&mut self, now: u64) {
        // A used one is kept for as long as it would have lived: its joiner may ask again.
        let over: Vec<TokenHash> =
            self.invites.outgoing.values().filter(|i| i.expires_ms <= now).map(|i| i.token_hash).collect();
        for hash in over {
            self.invites.outgoing.remove(&hash);
            self.writes.push(Write::RemoveOutgoing(hash));
        }
    }

    // ---- the joiner's side -------------------------------------------------------------------------------

    pub(super) fn join(
        &mut self,
        request: RequestId,
        code: &str,
        addresses: Vec<Address>,
    ) -> Result<(), CommandError> {
        let invite = Invite::parse(code).map_err(|error| CommandError::BadInvite(error.to_string()))?;
        if invite.inviter == self.me {
            return Err(CommandError::OwnInvite);
        }
        let now = self.reference_ms();
        if let Some(expires) = invite.expires_ms.filter(|expires| *expires <= now) {
            return Err(CommandError::InviteExpired(rfc3339(expires)));
        }
        let known = self.federation.peer(&invite.inviter).cloned();
        if let Some(peer) = known.as_ref().filter(|peer| peer.joined == Joined::Agreed) {
            return Err(CommandError::AlreadyPeer(self.name_of(&peer.id)));
        }
        if known.is_none() && self.federation.peers().count() >= PEERS_MAX {
            let remedy = "remove one that is no longer needed";
            return Err(CommandError::Limit { what: "the number of peers", limit: PEERS_MAX, remedy });
        }
        let mut all = addresses;
        all.extend(&invite.addresses);
        let level = invite.level.unwrap_or(TrustLevel::Trusted);
        let known = known.unwrap_or_else(|| fresh_peer(invite.inviter, TrustLevel::Trusted, now));
        self.put_peer(Peer {
            onion: invite.onion,
            joined: Joined::Waiting { token: invite.token },
            addresses: all.clone(),
            ..known
        });
        let incoming = Incoming { inviter: invite.inviter.0, created_at_ms: now, accepted: None };
        self.writes.push(Write::PutIncoming(incoming.clone()));
        self.invites.incoming.insert(invite.inviter, incoming);
        let waiters = self.invites.joining.remove(&invite.inviter).map(|j| j.waiters).unwrap_or_default();
        let mut joining = Joining::new(all, level, self.now);
        joining.waiters = waiters;
        joining.waiters.push(request);
        self.invites.joining.insert(invite.inviter, joining);
        Ok(())
    }

    /// Calls the inviters whose turn it is.
    pub(super) fn retry_joining(&mut self) {
        let now = self.now.mono_ms;
        let due: Vec<PeerId> = self
            .invites
            .joining
            .iter()
            .filter(|(_, joining)| joining.at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for inviter in due {
            self.call_inviter(inviter);
        }
    }

    fn call_inviter(&mut self, inviter: PeerId) {
        let Some(Joined::Waiting { token }) = self.federation.peer(&inviter).map(|peer| peer.joined.clone())
        else {
            self.invites.joining.remove(&inviter);
            return;
        };
        let time_ms = self.reference_ms();
        let Some(joining) = self.invites.joining.get_mut(&inviter) else { return };
        let wait = (JOIN_RETRY_MS.0 << joining.tries.min(6)).min(JOIN_RETRY_MS.1);
        joining.tries += 1;
        joining.at = self.now.mono_ms + wait + self.random.below(wait / 4 + 1);
        let request =
            JoinRequest::sign(&self.keypair, &inviter, token, &self.settings.name, joining.level, time_ms);
        let addresses = joining.addresses.clone();
        self.call_on_air(inviter, &token, &request);
        self.output(Output::DialJoin { inviter, addresses, bytes: request.encode() });
    }

    pub(super) fn join_answered(&mut self, inviter: PeerId, result: Result<Vec<u8>, String>) {
        let Some(joining) = self.invites.joining.get_mut(&inviter) else { return };
        let answer = match result {
            Ok(bytes) => JoinAnswer::decode(&bytes).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match answer {
            Ok(JoinAnswer::Agreed { name }) => self.both_agreed(&inviter, Some(name)),
            Ok(JoinAnswer::Refused(why)) if !why.is_passing() => self.join_refused(&inviter, why),
            Ok(JoinAnswer::Refused(why)) => joining.trouble = Some(why.to_string()),
            Err(why) => joining.trouble = Some(why),
        }
    }

    /// The inviter has us on its list, too.
    pub(super) fn both_agreed(&mut self, inviter: &PeerId, name: Option<String>) {
        let now = self.reference_ms();
        let Some(mut peer) = self.federation.peer(inviter).cloned() else { return };
        peer.joined = Joined::Agreed;
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            peer.own_name = Some(name);
        }
        self.put_peer(peer);
        if let Some(incoming) = self.invites.incoming.get_mut(inviter) {
            incoming.accepted = Some(now);
            let record = incoming.clone();
            self.writes.push(Write::PutIncoming(record));
        }
        self.answer_waiters(inviter);
    }

    fn answer_waiters(&mut self, inviter: &PeerId) {
        let waiters = self.invites.joining.remove(inviter).map(|j| j.waiters).unwrap_or_default();
        let view = self.federation.peer(inviter).map(|peer| self.peer_view(peer));
        for request in waiters {
            let unknown = || CommandError::UnknownPeer(did(inviter));
            let result = view.clone().map(Reply::Joined).ok_or_else(unknown);
            self.output(Output::Reply { request, result });
        }
    }

    fn join_refused(&mut self, inviter: &PeerId, why: JoinRefusal) {
        let name = self.name_of(inviter);
        let waiters = self.invites.joining.remove(inviter).map(|j| j.waiters).unwrap_or_default();
        self.invites.incoming.remove(inviter);
        self.writes.push(Write::RemoveIncoming(*inviter));
        self.drop_peer(inviter);
        for request in waiters {
            let result = Err(CommandError::JoinRefused { inviter: name.clone(), why: why.to_string() });
            self.output(Output::Reply { request, result });
        }
    }

    // ---- an operator's commands --------------------------------------------------------------------------

    pub(super) fn trust(&mut self, text: &str, level: TrustLevel) -> Result<Reply, CommandError> {
        let id = self.resolve_peer(text)?;
        if let Some(peer) = self.federation.peer(&id).cloned() {
            if peer.trust_level == TrustLevel::Trusted && level < TrustLevel::Trusted {
                self.take_over_entries(&id)?;
            }
            self.put_peer(Peer { trust_level: level, ..peer });
        }
        if level == TrustLevel::Untrusted {
            self.close_links(&id);
        }
        self.peer_reply(&id)
    }

    pub(super) fn rename(&mut self, text: &str, name: &str) -> Result<Reply, CommandError> {
        let id = self.resolve_peer(text)?;
        let usable = crate::federation::join::usable_name(name).filter(|n| !n.is_empty() && !n.contains('/'));
        let bad = || CommandError::BadName {
            name: name.to_owned(),
            why: "1 to 64 bytes, no `/`, no control characters",
        };
        let name = usable.ok_or_else(bad)?;
        let taken = self.federation.peers().any(|peer| peer.id != id && peer.name() == Some(&name));
        if taken || name == self.settings.name {
            return Err(CommandError::BadName { name, why: "another node is called so already" });
        }
        if let Some(peer) = self.federation.peer(&id).cloned() {
            self.put_peer(Peer { given_name: Some(name), ..peer });
        }
        self.peer_reply(&id)
    }

    pub(super) fn remove(&mut self, text: &str) -> Result<Reply, CommandError> {
        let id = self.resolve_peer(text)?;
        let removed = self.name_of(&id);
        let entries_kept = self.take_over_entries(&id)?;
        self.drop_peer(&id);
        self.answer_waiters(&id);
        if self.invites.incoming.remove(&id).is_some() {
            self.writes.push(Write::RemoveIncoming(id));
        }
        Ok(Reply::Removed(view::RemovedView { removed, entries_kept }))
    }

    /// Takes the entries that a leaving writer wins with into our own layers, with value and stamp: removing
    /// somebody neither deletes nor reverts what he wrote. Signed under the audience that still lists him.
    fn take_over_entries(&mut self, leaving: &PeerId) -> Result<usize, CommandError> {
        let mut kept = 0;
        let own: Vec<_> = self
            .holdings
            .documents()
            .filter(|(id, document)| id.owner == self.me && document.kind() == Kind::Map)
            .map(|(id, document)| {
                let his = document.winners().filter(|(_, winner)| winner.author == *leaving);
                let entries = his.map(|(key, winner)| (key.clone(), Some(winner.entry.clone())));
                (id.clone(), entries.collect::<Vec<(KeyPath, Option<Entry>)>>())
            })
            .collect();
        for (document, entries) in own {
            kept += entries.len();
            if !entries.is_empty() {
                self.commit_map(&document, entries.into_iter().collect())?;
            }
        }
        Ok(kept)
    }

    fn put_peer(&mut self, peer: Peer) {
        self.writes.push(Write::PutPeer(peer.clone()));
        self.federation.put_peer(peer);
        self.rights_changed = true;
        self.event(Event::PeersChanged);
    }

    fn drop_peer(&mut self, id: &PeerId) {
        self.federation.remove_peer(id);
        self.reference.forget(id);
        self.counters.forget_peer(id);
        self.writes.push(Write::RemovePeer(*id));
        self.rights_changed = true;
        self.event(Event::PeersChanged);
        self.close_links(id);
    }

    fn close_links(&mut self, peer: &PeerId) {
        let links: Vec<_> = self.links.iter().filter(|(_, l)| l.peer == *peer).map(|(id, _)| *id).collect();
        for link in links {
            self.link_down(link);
            self.output(Output::Close { link });
        }
    }

    /// Tells the driver when the last invite ran out or a first one was made.
    pub(super) fn watch_joining(&mut self) {
        let open = self.joining_open();
        if open != self.invites.was_open {
            self.invites.was_open = open;
            self.event(Event::JoiningChanged { open });
        }
    }

    fn peer_reply(&self, id: &PeerId) -> Result<Reply, CommandError> {
        let peer = self.federation.peer(id).ok_or_else(|| CommandError::UnknownPeer(did(id)))?;
        Ok(Reply::Peer(self.peer_view(peer)))
    }

    /// The peer that a text means: a name, a DID, or a unique prefix of either form of the DID.
    pub(super) fn resolve_peer(&self, text: &str) -> Result<PeerId, CommandError> {
        if let Some(peer) = self.federation.peers().find(|peer| did(&peer.id) == text) {
            return Ok(peer.id);
        }
        // A name that the operator gave goes before one that a peer chose for itself.
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

    /// What we call an identity: its name, our own name, or the start of its DID.
    pub(super) fn name_of(&self, id: &PeerId) -> String {
        if *id == self.me && !self.settings.name.is_empty() {
            return self.settings.name.clone();
        }
        let name = self.federation.peer(id).and_then(Peer::name).map(str::to_owned);
        name.unwrap_or_else(|| did(id).chars().skip("did:key:".len()).take(12).collect())
    }
}

fn fresh_peer(id: PeerId, trust_level: TrustLevel, now: u64) -> Peer {
    Peer {
        id,
        onion: String::new(),
        given_name: None,
        own_name: None,
        trust_level,
        added_at_ms: now,
        heard_at_ms: None,
        joined: Joined::Agreed,
        addresses: Vec::new(),
    }
}
