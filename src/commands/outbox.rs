//! The sender's side: a command is durable before it is first sent, and is offered again whenever its addressee can be
//! reached, until it is answered or has expired.

use std::collections::BTreeMap;

use tombolo_transports::{LinkId, PeerId};

use super::outcome::{CommandRefusal, Outcome};
use super::record::{CalledEnd, RecordChange, SentCommand, SentState};
use super::wire::{CommandAnswer, CommandId, CommandKind, CommandTimes, SignedCommand};
use super::{COMMAND_LIFE_MAX, COMMANDS_SENT_KEPT_MAX};
use crate::identity::Keypair;
use crate::time::{Millis, Mono, Wall};

/// Commands of this node to others.
#[derive(Debug, Default)]
pub struct CommandOutbox {
    sent: BTreeMap<CommandId, SentCommand>,
    offers: BTreeMap<CommandId, Offer>,
}

/// When a command is offered next.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    /// The command is not offered before this instant.
    due: Mono,
    tries: u32,
    /// Why the receiver put it off.
    delayed: Option<CommandRefusal>,
    /// The link over which it went, as long as no answer has come.
    silent: Option<LinkId>,
    /// It has gone, or is due to go, over a second link because the first stayed silent.
    is_hedged: bool,
}

/// The first and the longest wait between two offers.
pub type OfferPace = (Millis, Millis);

/// As many commands as are remembered wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{COMMANDS_SENT_KEPT_MAX} commands wait for an answer already")]
pub struct OutboxFull;

impl CommandOutbox {
    pub(super) fn load(&mut self, sent: Vec<SentCommand>) {
        self.offers.clear();
        self.sent = sent.into_iter().map(|command| (command.id, command)).collect();
    }

    /// Keeps a new command. It may be offered once the changes are on disk.
    ///
    /// # Errors
    /// [`OutboxFull`] where nothing that is remembered has been answered.
    pub fn add(&mut self, command: SentCommand) -> Result<Vec<RecordChange>, OutboxFull> {
        let mut changes = Vec::new();
        if self.sent.len() >= COMMANDS_SENT_KEPT_MAX {
            let over = self.sent.values().filter(|command| command.is_over());
            let oldest =
                over.min_by_key(|command| (command.created_at, command.id)).map(|command| command.id);
            let oldest = oldest.ok_or(OutboxFull)?;
            self.sent.remove(&oldest);
            self.offers.remove(&oldest);
            changes.push(RecordChange::DropSent(oldest));
        }
        changes.push(RecordChange::PutSent(Box::new(command.clone())));
        self.sent.insert(command.id, command);
        Ok(changes)
    }

    /// A command that is remembered.
    pub fn command(&self, id: &CommandId) -> Option<&SentCommand> {
        self.sent.get(id)
    }

    /// All commands that are remembered.
    pub fn commands(&self) -> impl Iterator<Item = &SentCommand> {
        self.sent.values()
    }

    /// Why the receiver last put a command off, if it did.
    pub fn delayed(&self, id: &CommandId) -> Option<CommandRefusal> {
        self.offers.get(id).and_then(|offer| offer.delayed)
    }

    /// The commands that may be offered now, with their addressees.
    pub fn due(&self, now: Mono) -> Vec<(CommandId, PeerId)> {
        let open = self.sent.values().filter(|command| command.is_offered());
        let due = open.filter(|command| self.offers.get(&command.id).is_none_or(|offer| offer.due <= now));
        due.map(|command| (command.id, command.to)).collect()
    }

    /// The signed form of a command, for its addressee.
    pub fn signed(&self, id: &CommandId, keypair: &Keypair) -> Option<SignedCommand> {
        let command = self.sent.get(id)?;
        let kind = CommandKind::Deploy(command.deploy.clone());
        let times = CommandTimes { made_s: command.created_at.ms() / 1000, expires_s: command.expires_s };
        Some(SignedCommand::sign(keypair, command.to, command.id, times, kind))
    }

    /// A command was offered: the next offer waits longer. `jitter` is any number.
    pub fn offered(&mut self, id: CommandId, now: Mono, pace: OfferPace, jitter: u64) {
        let offer = self.offers.entry(id).or_default();
        let wait = wait_before(pace, offer.tries);
        offer.tries += 1;
        offer.due = now + wait + Millis::from_ms(jitter % (wait.ms() / 4 + 1));
    }

    /// The link over which a command went last, if no answer has come since.
    pub fn silent_link(&self, id: &CommandId) -> Option<LinkId> {
        self.offers.get(id).and_then(|offer| offer.silent)
    }

    /// A command that was just offered went over a link. Where it is hedged, it is due once more after that wait.
    pub fn went_over(&mut self, id: CommandId, link: LinkId, now: Mono, hedge_after: Option<Millis>) {
        let offer = self.offers.entry(id).or_default();
        offer.silent = Some(link);
        if let Some(wait) = hedge_after
            && !std::mem::replace(&mut offer.is_hedged, true)
        {
            offer.due = offer.due.min(now + wait);
        }
    }

    /// A peer can be reached again: what waits for it is offered at once.
    pub fn reachable(&mut self, peer: &PeerId) {
        let sent = &self.sent;
        self.offers.retain(|id, _| sent.get(id).is_some_and(|command| command.to != *peer));
    }

    /// When the next offer may be due that is not due yet.
    pub fn next_timer(&self, now: Mono) -> Option<Mono> {
        let open = self.sent.values().filter(|command| command.is_offered());
        open.filter_map(|command| self.offers.get(&command.id))
            .map(|offer| offer.due)
            .filter(|due| *due > now)
            .min()
    }

    /// Whether a command waits whose expiry has to be watched.
    pub fn is_waiting(&self) -> bool {
        self.sent.values().any(SentCommand::is_offered)
    }

    /// Takes an answer that arrived from `from`. Returns the command if the answer changed how far it is.
    pub fn answered(
        &mut self,
        from: &PeerId,
        answer: CommandAnswer,
        reference: Wall,
    ) -> Option<(SentCommand, Vec<RecordChange>)> {
        let command = self.sent.get_mut(&answer.id).filter(|command| command.to == *from)?;
        if let Some(offer) = self.offers.get_mut(&answer.id) {
            offer.silent = None;
        }
        if let Some(Outcome::Refused(why)) = answer.outcome
            && why.is_passing()
        {
            self.offers.entry(answer.id).or_default().delayed = Some(why);
            return None;
        }
        match (&command.state, answer.outcome) {
            // The first outcome counts: the receiver repeats it, and never another.
            (SentState::Answered { .. }, _) | (SentState::Taken, None) => return None,
            // A call is answered by the call alone.
            (SentState::Calling | SentState::Called { .. }, _) => return None,
            (SentState::Waiting | SentState::Expired, None) => command.state = SentState::Taken,
            (SentState::Waiting | SentState::Taken | SentState::Expired, Some(outcome)) => {
                command.state = SentState::Answered { outcome, at: reference };
            }
        }
        let command = command.clone();
        if command.is_over() {
            self.offers.remove(&command.id);
        }
        Some((command.clone(), vec![RecordChange::PutSent(Box::new(command))]))
    }

    /// The JSON call for a command has ended. Returns the command, unless it waits for no call.
    pub fn called(
        &mut self,
        id: &CommandId,
        end: CalledEnd,
        reference: Wall,
    ) -> Option<(SentCommand, RecordChange)> {
        let command = self.sent.get_mut(id).filter(|command| command.state == SentState::Calling)?;
        command.state = SentState::Called { end, at: reference };
        Some((command.clone(), RecordChange::PutSent(Box::new(command.clone()))))
    }

    /// The commands whose JSON call has not ended.
    pub fn calling(&self) -> impl Iterator<Item = CommandId> {
        self.sent.values().filter(|command| command.state == SentState::Calling).map(|command| command.id)
    }

    /// Ends what has expired by reference time. A command that the receiver has taken is asked after for a week more.
    pub fn expire(&mut self, reference: Wall) -> Vec<(SentCommand, RecordChange)> {
        let mut over = Vec::new();
        for command in self.sent.values_mut() {
            let expires = command.expires();
            command.state = match command.state {
                SentState::Waiting if expires <= reference => SentState::Expired,
                SentState::Taken if expires + COMMAND_LIFE_MAX <= reference => {
                    SentState::Answered { outcome: Outcome::Unknown, at: reference }
                }
                SentState::Waiting
                | SentState::Taken
                | SentState::Answered { .. }
                | SentState::Expired
                | SentState::Calling
                | SentState::Called { .. } => continue,
            };
            over.push((command.clone(), RecordChange::PutSent(Box::new(command.clone()))));
        }
        over
    }
}

/// The wait before the next offer, after so many.
pub(super) fn wait_before(pace: OfferPace, tries: u32) -> Millis {
    let (first, longest) = pace;
    (first * (1 << tries.min(10))).min(longest)
}
