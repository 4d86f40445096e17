//! What each peer costs with input that nothing proves: a budget, behind which it is slowed, then cut.
//!
//! A state is applied before its signature can be checked, since the root is not sent. So an observer may make this node work
//! for nothing. Each failure is charged to the peer that sent it, in bytes; what is charged wears off with time. This room
//! decides; the node drops, closes and logs.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::limits::{
    FAILED_PROOF_BYTES_PER_S, FAILED_PROOFS_BYTES_MAX, FAILED_PROOFS_CUT_BYTES, UNPROVEN_FREE_BYTES,
};
use crate::time::Mono;

/// What a failure costs beside its bytes: a signature is checked.
const FAILURE_BYTES: u64 = 1024;

/// How a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProofStanding {
    /// All that it sends is looked at.
    Open,
    /// Only short messages are looked at.
    Slowed,
    /// It has no session.
    Cut,
}

/// The budgets of all peers that have failed lately.
#[derive(Debug, Default)]
pub struct ProofBudgets {
    peers: BTreeMap<PeerId, FailedBytes>,
}

#[derive(Clone, Copy, Debug)]
struct FailedBytes {
    bytes: u64,
    at: Mono,
    /// It stays slowed or cut until all has worn off, so that it does not flap at the edge.
    standing: ProofStanding,
}

impl FailedBytes {
    /// What is left of it at an instant.
    fn at(self, now: Mono) -> FailedBytes {
        let worn = now.since(self.at).ms().saturating_mul(FAILED_PROOF_BYTES_PER_S) / 1000;
        FailedBytes { bytes: self.bytes.saturating_sub(worn), at: now, standing: self.standing }
    }
}

impl ProofBudgets {
    /// How a peer stands now.
    pub fn standing(&self, peer: &PeerId, now: Mono) -> ProofStanding {
        match self.peers.get(peer).map(|failed| failed.at(now)) {
            Some(failed) if failed.bytes > 0 => failed.standing,
            _ => ProofStanding::Open,
        }
    }

    /// Input of so many bytes was worked on, and proved nothing. Returns how the peer stands from now on, if that is new.
    pub fn failed(&mut self, peer: PeerId, bytes: usize, now: Mono) -> Option<ProofStanding> {
        self.charge(peer, FAILURE_BYTES + bytes as u64, now)
    }

    /// Whether a message of so many bytes is looked at. What is not is charged too: a peer that goes on sending is cut.
    pub fn admits(&mut self, peer: PeerId, bytes: usize, now: Mono) -> Result<(), Option<ProofStanding>> {
        match self.standing(&peer, now) {
            ProofStanding::Open => Ok(()),
            ProofStanding::Slowed if bytes <= UNPROVEN_FREE_BYTES => Ok(()),
            ProofStanding::Slowed => Err(self.charge(peer, bytes as u64, now)),
            ProofStanding::Cut => Err(None),
        }
    }

    fn charge(&mut self, peer: PeerId, bytes: u64, now: Mono) -> Option<ProofStanding> {
        self.peers.retain(|_, failed| failed.at(now).bytes > 0);
        let fresh = FailedBytes { bytes: 0, at: now, standing: ProofStanding::Open };
        let failed = self.peers.entry(peer).or_insert(fresh);
        *failed = failed.at(now);
        failed.bytes = failed.bytes.saturating_add(bytes).min(2 * FAILED_PROOFS_CUT_BYTES);
        let before = failed.standing;
        let reached = match failed.bytes {
            bytes if bytes > FAILED_PROOFS_CUT_BYTES => ProofStanding::Cut,
            bytes if bytes > FAILED_PROOFS_BYTES_MAX => ProofStanding::Slowed,
            _ => ProofStanding::Open,
        };
        failed.standing = before.max(reached);
        (failed.standing != before).then_some(failed.standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    const HOSTILE: PeerId = PeerId([1; 32]);
    const HONEST: PeerId = PeerId([2; 32]);
    const BIG: usize = 100_000;

    fn at(seconds: u64) -> Mono {
        Mono::from_ms(seconds * 1000)
    }

    /// A peer that sends what proves nothing is slowed, and cut if it goes on; another peer is not concerned.
    #[test]
    fn a_peer_that_proves_nothing_is_slowed_and_then_cut() {
        let mut budgets = ProofBudgets::default();
        assert_eq!(budgets.failed(HOSTILE, BIG, at(0)), None);
        assert_eq!(budgets.failed(HOSTILE, BIG, at(0)), None);
        assert_eq!(budgets.failed(HOSTILE, BIG, at(0)), Some(ProofStanding::Slowed));
        assert_eq!(budgets.admits(HOSTILE, 100, at(0)), Ok(()));
        let mut sent = 0;
        while budgets.admits(HOSTILE, BIG, at(0)) != Err(Some(ProofStanding::Cut)) {
            sent += 1;
            assert!(sent < 20, "it is never cut");
        }
        assert_eq!(budgets.admits(HOSTILE, 100, at(0)), Err(None));
        assert_eq!(budgets.admits(HONEST, BIG, at(0)), Ok(()));
        assert_eq!(budgets.standing(&HOSTILE, at(0)), ProofStanding::Cut);
    }

    /// What is charged wears off, and the peer starts afresh; until all has, it stays as it is.
    #[test]
    fn what_is_charged_wears_off() {
        let mut budgets = ProofBudgets::default();
        for _ in 0..3 {
            budgets.failed(HOSTILE, BIG, at(0));
        }
        assert_eq!(budgets.standing(&HOSTILE, at(10)), ProofStanding::Slowed);
        let worn_off = 1 + 3 * (BIG as u64 + FAILURE_BYTES) / FAILED_PROOF_BYTES_PER_S;
        assert_eq!(budgets.standing(&HOSTILE, at(worn_off)), ProofStanding::Open);
        assert_eq!(budgets.failed(HOSTILE, 10, at(worn_off)), None);
    }

    /// Failures now and then, as a lost message makes them, never slow a peer.
    #[test]
    fn a_failure_each_minute_slows_no_peer() {
        let mut budgets = ProofBudgets::default();
        for minute in 0..1000 {
            let now = Mono::from_ms(0) + Millis::from_secs(60 * minute);
            assert_eq!(budgets.failed(HONEST, BIG, now), None);
        }
        assert_eq!(budgets.standing(&HONEST, at(60_000)), ProofStanding::Open);
    }
}
