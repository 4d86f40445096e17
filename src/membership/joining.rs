//! Calls to inviters: when each is tried again, why the last try failed, and who waits for it.

use std::collections::BTreeMap;

use tombolo_transports::{Address, PeerId};

use crate::core::Core;
use crate::federation::TrustLevel;
use crate::io::{JoinFailure, RequestId};
use crate::limits::JOIN_RETRY;
use crate::time::{Millis, Mono};

/// The calls that are under way, by inviter.
#[derive(Debug, Default)]
pub(super) struct InviterCalls(BTreeMap<PeerId, Joining>);

/// A call to an inviter, repeated until it answers.
#[derive(Debug)]
struct Joining {
    waiters: Vec<RequestId>,
    addresses: Vec<Address>,
    level: TrustLevel,
    tries: u32,
    /// When it is tried again.
    due: Mono,
    /// Why the last try failed.
    failure: Option<JoinFailure>,
}

/// Where an inviter is called, and the level of its invite.
pub(super) struct CallTarget {
    pub(super) addresses: Vec<Address>,
    pub(super) level: TrustLevel,
}

impl InviterCalls {
    /// Begins to call an inviter, at once. Returns the requests that wait for it: those of an earlier call go on waiting.
    pub(super) fn start(
        &mut self,
        inviter: PeerId,
        addresses: Vec<Address>,
        level: TrustLevel,
        now: Mono,
    ) -> &mut Vec<RequestId> {
        let waiters = self.end(&inviter);
        let joining = Joining { waiters, addresses, level, tries: 0, due: now, failure: None };
        &mut self.0.entry(inviter).or_insert(joining).waiters
    }

    /// Whether an inviter is called.
    pub(super) fn is_under_way(&self, inviter: &PeerId) -> bool {
        self.0.contains_key(inviter)
    }

    /// When the next call is due.
    pub(super) fn next_timer(&self) -> Option<Mono> {
        self.0.values().map(|joining| joining.due).min()
    }

    /// The inviters whose call is due.
    pub(super) fn due(&self, now: Mono) -> Vec<PeerId> {
        self.0.iter().filter(|(_, joining)| joining.due <= now).map(|(peer, _)| *peer).collect()
    }

    /// Counts a try and schedules the next.
    pub(super) fn next_try(&mut self, core: &mut Core, inviter: &PeerId) -> Option<CallTarget> {
        let joining = self.0.get_mut(inviter)?;
        let (first, longest) = JOIN_RETRY;
        let wait = (first * (1 << joining.tries.min(6))).min(longest);
        let jitter = Millis::from_ms(core.random.below(wait.ms() / 4 + 1));
        joining.tries += 1;
        joining.due = core.now() + wait + jitter;
        Some(CallTarget { addresses: joining.addresses.clone(), level: joining.level })
    }

    /// A try has failed.
    pub(super) fn failed(&mut self, inviter: &PeerId, why: JoinFailure) {
        if let Some(joining) = self.0.get_mut(inviter) {
            joining.failure = Some(why);
        }
    }

    /// Why joining has not worked yet, by inviter.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&PeerId, &JoinFailure)> {
        self.0.iter().filter_map(|(peer, joining)| Some((peer, joining.failure.as_ref()?)))
    }

    /// Takes the requests that wait, to answer them otherwise.
    pub(super) fn take_waiters(&mut self) -> Vec<RequestId> {
        self.0.values_mut().flat_map(|joining| std::mem::take(&mut joining.waiters)).collect()
    }

    /// Ends the calls to an inviter. Returns the requests that waited for it; none if it was not called.
    pub(super) fn end(&mut self, inviter: &PeerId) -> Vec<RequestId> {
        self.0.remove(inviter).map(|joining| joining.waiters).unwrap_or_default()
    }
}
