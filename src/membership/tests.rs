//! Invites and joining without a node.

use super::*;
use crate::clock::{BUILD_DATE, Now};
use crate::core::NodeSettings;
use crate::identity::Keypair;
use crate::io::Output;
use crate::store::Store;
use crate::time::{Millis, Mono};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

struct Side {
    core: Core,
    replica: Replica,
    membership: Membership,
}

impl Side {
    fn new(seed: u8) -> Self {
        let keypair = Keypair::from_seeds(&[seed; 32], &[seed + 100; 32]);
        let now = Now { mono: Mono::from_ms(1_000), wall: BUILD_DATE + Millis::from_secs(1_000) };
        let store = Store::in_memory().unwrap();
        let mut core = Core::new(store, keypair, NodeSettings::default(), now, &[seed; 32]);
        let mut replica = Replica::new(core.me, now.mono);
        let mut loaded = core.gate.load().unwrap();
        replica.load(&mut core, &mut loaded).unwrap();
        Side { core, replica, membership: Membership::default() }
    }

    fn invite(&mut self) -> String {
        match self.membership.invite(&mut self.core, TrustLevel::Trusted, DAY, Vec::new()).unwrap() {
            Reply::Invite(invite) => invite.code,
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, request: u64, code: &str) -> Result<(), CommandError> {
        self.membership.join(&mut self.core, &mut self.replica, RequestId(request), code, Vec::new())
    }

    fn call(&mut self) -> JoinCall {
        let due = self.membership.due_calls(self.core.now());
        self.membership.call(&mut self.core, &self.replica, due[0]).unwrap()
    }

    fn redeem(&mut self, joiner: PeerId, call: &JoinCall) -> Result<Vec<RequestId>, JoinRefusal> {
        let token = token_hash(&call.token);
        let redeem = Redeem { joiner, address: None, request: &call.request, token };
        self.membership.redeem(&mut self.core, &mut self.replica, &redeem)
    }

    fn is_peer(&self, other: &Side) -> bool {
        let peer = self.replica.federation().peer(&other.core.me);
        peer.is_some_and(|peer| peer.joined == Joined::Agreed && peer.is_member())
    }
}

#[test]
fn both_sides_agree_and_the_waiting_request_is_answered() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(7, &code).unwrap();
    assert!(!joiner.is_peer(&inviter), "not before the inviter has answered");
    let call = joiner.call();
    inviter.redeem(joiner.core.me, &call).unwrap();
    let answer = Ok(JoinAnswer::Agreed { name: "inviter".to_owned() });
    let answered =
        joiner.membership.answered(&mut joiner.core, &mut joiner.replica, &inviter.core.me, answer);
    assert!(matches!(answered, Answered::Agreed(waiters) if waiters == [RequestId(7)]));
    assert!(inviter.is_peer(&joiner) && joiner.is_peer(&inviter));
    assert_eq!(joiner.membership.next_timer(), None, "no further call");
}

#[test]
fn a_token_works_once_and_the_same_joiner_gets_the_same_answer() {
    let (mut inviter, mut joiner, mut other) = (Side::new(1), Side::new(2), Side::new(3));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    other.join(1, &code).unwrap();
    let (call, second) = (joiner.call(), other.call());
    inviter.redeem(joiner.core.me, &call).unwrap();
    inviter.redeem(joiner.core.me, &call).unwrap();
    assert_eq!(inviter.redeem(other.core.me, &second), Err(JoinRefusal::Token));
    assert!(!inviter.is_peer(&other));
}

/// The answer must not leave before the spent token is on disk: the write stands before any output of the same commit.
#[test]
fn a_spent_token_is_on_disk_once_the_commit_is_made() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    let call = joiner.call();
    inviter.redeem(joiner.core.me, &call).unwrap();
    inviter.core.gate.commit(Default::default()).unwrap();
    let stored = inviter.core.gate.load().unwrap();
    assert!(stored.outgoing.iter().all(|invite| invite.accepted.is_some()));
    let mut events = std::iter::from_fn(|| inviter.core.gate.pop());
    assert!(events.any(|output| matches!(output, Output::Event(Event::PeersChanged))));
}

#[test]
fn wrong_tokens_are_slowed_down_and_a_right_one_is_still_accepted() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    let call = joiner.call();
    let guess = Redeem { joiner: PeerId([9; 32]), address: None, request: &call.request, token: [0; 32] };
    let answers: Vec<_> = (0..=JOIN_FAILURES_PER_MINUTE_MAX)
        .map(|_| inviter.membership.redeem(&mut inviter.core, &mut inviter.replica, &guess))
        .collect();
    assert_eq!(answers.first(), Some(&Err(JoinRefusal::Token)));
    assert_eq!(answers.last(), Some(&Err(JoinRefusal::Busy)));
    inviter.redeem(joiner.core.me, &call).unwrap();
    assert!(inviter.is_peer(&joiner));
}

#[test]
fn calls_are_repeated_ever_more_rarely() {
    let (mut inviter, mut joiner) = (Side::new(1), Side::new(2));
    let code = inviter.invite();
    joiner.join(1, &code).unwrap();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let due = joiner.membership.next_timer().unwrap();
        joiner.core.clock.set_now(Now { mono: due, wall: BUILD_DATE + Millis::from_secs(1_000) });
        joiner.call();
        waits.push(joiner.membership.next_timer().unwrap().since(due));
    }
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
}
