//! Joining: an invite, a call, an answer, each of which may be lost.

use tombolo::federation::TrustLevel;
use tombolo::node::{Admin, Input, Reply, RequestId};
use tombolo::time::Millis;
use tombolo_transports::{Address, JoinError, PeerId};

use crate::faults::Fault;
use crate::wires::SeatPair;
use crate::{DAY, Happening, Seat, Simulation};

/// A join call without an answer fails after this long.
const JOIN_TIMEOUT: Millis = Millis::from_secs(10);

impl Simulation {
    /// Invites and joins through the join call, within `within` of virtual time.
    ///
    /// # Errors
    ///
    /// Describes what failed, or that the two did not agree in time.
    pub fn federate(
        &mut self,
        inviter: Seat,
        joiner: Seat,
        level: TrustLevel,
        within: Millis,
    ) -> Result<(), String> {
        let invite = Admin::Invite { level, expires_in: 20 * DAY, addresses: Vec::new() };
        let code = match self.ask(inviter, invite) {
            Ok(Reply::Invite(view)) => view.code,
            other => return Err(format!("no invite: {other:?}")),
        };
        let request = self.begin(joiner, Admin::Join { code, addresses: Vec::new() });
        let end = self.time + within;
        while self.time < end {
            match self.reply(joiner, request) {
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) => return Err(format!("refused: {error}")),
                None => self.run_for(Millis::from_ms(100)),
            }
        }
        Err(format!("{joiner:?} and {inviter:?} did not agree in {} ms", within.ms()))
    }

    pub(super) fn dial_join(&mut self, joiner: Seat, inviter: PeerId, bytes: Vec<u8>) {
        let found = self.seats().into_iter().find(|seat| self.machine(*seat).peer == inviter);
        let reachable = found.filter(|other| self.wires.wire(SeatPair::new(joiner, *other)).passes());
        let Some(inviter_seat) = reachable.filter(|_| !self.rng.chance(self.rates.loss)) else {
            self.faults.count(Fault::JoinLost);
            let result = Err(JoinError::NobodyAnswered { tried: Vec::new() });
            self.after(JOIN_TIMEOUT, Happening::JoinAnswered { joiner, inviter, result });
            return;
        };
        let after = self.latency();
        self.after(after, Happening::JoinArrives { joiner, inviter: inviter_seat, bytes });
    }

    pub(super) fn join_arrives(&mut self, joiner: Seat, inviter: Seat, bytes: Vec<u8>) {
        let (from, to) = (self.machine(joiner).peer, self.machine(inviter).peer);
        if !self.machine(inviter).joining || !self.is_running(inviter) {
            let result = Err(JoinError::NoInvite { address: address_of(inviter) });
            self.after(JOIN_TIMEOUT, Happening::JoinAnswered { joiner, inviter: to, result });
            return;
        }
        let request = self.next_request(inviter);
        self.joins.insert((inviter, request), joiner);
        self.input(inviter, Input::JoinRequest { request, peer: from, address: None, bytes });
        if self.joins.remove(&(inviter, request)).is_some() {
            let result = Err(JoinError::Refused { address: address_of(inviter) });
            self.after(JOIN_TIMEOUT, Happening::JoinAnswered { joiner, inviter: to, result });
        }
    }

    pub(super) fn join_answer(&mut self, seat: Seat, request: RequestId, bytes: Vec<u8>) {
        let Some(joiner) = self.joins.remove(&(seat, request)) else { return };
        let inviter = self.machine(seat).peer;
        let (after, result) = if self.rng.chance(self.rates.loss) {
            self.faults.count(Fault::JoinLost);
            (JOIN_TIMEOUT, Err(JoinError::NobodyAnswered { tried: Vec::new() }))
        } else {
            (self.latency(), Ok(bytes))
        };
        self.after(after, Happening::JoinAnswered { joiner, inviter, result });
    }
}

fn address_of(seat: Seat) -> Address {
    Address::Memory(seat.0 as u64)
}
