//! Deploys: those of this node are offered until they are answered, those of others are taken once and run.
//!
//! out   `deploy` -> outbox -> commit -> `offer_commands` -> a link or a pairwise channel of a radio
//! in    `command_received` -> signature -> inbox -> commit -> `Output::Install` -> `installed` -> commit -> answer

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::commands::{
    COMMAND_LIFE_MAX, CatalogueState, CommandAnswer, CommandId, CommandKey, CommandKind, CommandParties,
    CommandRefusal, CommandTimes, Deploy, EARLY_WAIT, EARLY_WAIT_ON_AIR, Outcome, Recall, RunResult,
    SentCommand, SentState, SignedCommand, Taking, TakingRules, outcomes_document,
};
use crate::core::InputRejection;
use crate::desk::CommandDesk;
use crate::desk::reach::CommandMessage;
use crate::federation::Right;
use crate::io::{CommandError, Output, Quota, Reply};
use crate::layer::{Content, DocumentName};
use crate::router::{Routed, Subject};
use crate::store::{RECALL_RECORD, StoreWrite};
use crate::sync::broadcast::SyncStatus;
use crate::time::{Millis, Wall};

impl CommandDesk<'_> {
    // ---- the sender --------------------------------------------------------------------------------------

    /// Asks a peer to install an app; the command is offered from now on until it is answered or expires.
    pub(crate) fn deploy(
        &mut self,
        peer: &str,
        app: &str,
        version: &str,
        marketplace_url: Option<&str>,
        expires_in: Millis,
    ) -> Result<Reply, CommandError> {
        let (to, deploy) = self.order(peer, app, version, marketplace_url)?;
        if expires_in == Millis::ZERO || expires_in > COMMAND_LIFE_MAX {
            return Err(CommandError::BadDeployExpiry);
        }
        let created_at = self.core.reference();
        let command = SentCommand {
            id: CommandId(self.core.random.bytes()),
            to,
            deploy,
            created_at,
            expires_s: (created_at + expires_in).ms().div_ceil(1000),
            state: SentState::Waiting,
        };
        let changes =
            self.commands.outbox.add(command.clone()).map_err(|_| CommandError::Limit(Quota::Commands))?;
        self.record(changes);
        Ok(Reply::Deploy(Box::new(self.report().sent_deploy(&command))))
    }

    /// The peer of an order and what it is asked for, where this node may ask for it.
    pub(super) fn order(
        &self,
        peer: &str,
        app: &str,
        version: &str,
        marketplace_url: Option<&str>,
    ) -> Result<(PeerId, Deploy), CommandError> {
        let to = self.replica.resolve_peer(peer)?;
        if !self.replica.federation().grants(&to, Right::Deploy) {
            return Err(CommandError::NotTrusted(self.replica.name_of(self.core, &to)));
        }
        let url = marketplace_url.or_else(|| self.own_marketplace(app)).unwrap_or_default();
        let deploy = Deploy::new(app, version, url)?;
        self.check_own_catalogue(&deploy)?;
        Ok((to, deploy))
    }

    /// The marketplace that the own catalogue names for an app.
    pub(super) fn own_marketplace(&self, app: &str) -> Option<&str> {
        match &self.commands.catalogue {
            CatalogueState::Read(catalogue) => catalogue.app(app).map(|app| app.marketplace_url.as_str()),
            CatalogueState::Missing | CatalogueState::Damaged(_) => None,
        }
    }

    /// A node that keeps a catalogue asks for nothing that is not in it.
    fn check_own_catalogue(&self, deploy: &Deploy) -> Result<(), CommandError> {
        let why = match &self.commands.catalogue {
            CatalogueState::Missing => return Ok(()),
            CatalogueState::Damaged(_) => "it cannot be read, `tombolo catalogue` shows why",
            CatalogueState::Read(catalogue) if catalogue.apps().is_empty() => return Ok(()),
            CatalogueState::Read(catalogue) => match catalogue.allows(deploy) {
                Ok(()) => return Ok(()),
                Err(CommandRefusal::VersionNotInCatalogue) => "it has other versions of it",
                Err(CommandRefusal::OtherMarketplace) => "it has the app from another marketplace",
                Err(_) => "it does not have the app",
            },
        };
        let (app, version) = (deploy.id.clone(), deploy.version.clone());
        Err(CommandError::NotInOwnCatalogue { app, version, why })
    }

    /// Offers each command that is due to its addressee, where that can be reached and is trusted.
    pub(crate) fn offer_commands(&mut self) {
        for (command, change) in self.commands.outbox.expire(self.core.reference()) {
            self.record([change]);
            self.sent_event(&command);
        }
        for (id, to) in self.commands.outbox.due(self.core.now()) {
            if !self.replica.federation().grants(&to, Right::Deploy) {
                continue;
            }
            let silent = self.commands.outbox.silent_link(&id);
            let Some(way) = self.way_to(&to, silent) else { continue };
            let Some(signed) = self.commands.outbox.signed(&id, &self.core.keypair) else { continue };
            let (subject, message) = (Subject::Command(id.0), CommandMessage::Command(signed.encode()));
            let routed = self.send(&to, way, subject, silent, &message);
            let jitter = self.core.random.below(u64::MAX);
            self.commands.outbox.offered(id, self.core.now(), way.pace(), jitter);
            if let Some(Routed { chosen: Some(link), hedge_after, .. }) = routed {
                self.commands.outbox.went_over(id, link, self.core.now(), hedge_after);
            }
        }
    }

    /// An answer arrived, in a session with `from` or on a pairwise channel with it.
    pub(super) fn command_answered(&mut self, from: PeerId, bytes: &[u8]) {
        let Ok(answer) = CommandAnswer::decode(bytes) else {
            return self.core.reject_from(Some(from), InputRejection::BadMessage);
        };
        if self.commands.outbox.command(&answer.id).is_none_or(|command| command.to != from) {
            return self.core.reject_from(Some(from), InputRejection::UnaskedAnswer);
        }
        let answered = self.commands.outbox.answered(&from, answer, self.core.reference());
        if let Some((command, changes)) = answered {
            self.record(changes);
            self.sent_event(&command);
        }
    }

    // ---- the receiver ------------------------------------------------------------------------------------

    /// A command arrived, in a session with `from` or on a pairwise channel with it; hostile.
    pub(super) fn command_received(&mut self, from: PeerId, bytes: &[u8]) {
        let Ok(command) = SignedCommand::decode(bytes) else {
            return self.core.reject_from(Some(from), InputRejection::BadMessage);
        };
        self.command_read(from, &command, bytes);
    }

    fn command_read(&mut self, from: PeerId, command: &SignedCommand, bytes: &[u8]) {
        let key = CommandKey { sender: from, id: command.id };
        let parties = CommandParties { sender: from, addressee: self.core.me };
        let refused = |why| Taking::Over(Outcome::Refused(why));
        let taking = if !self.replica.federation().grants(&from, Right::Deploy) {
            refused(CommandRefusal::NotTrusted)
        } else if !command.verify(parties) {
            refused(CommandRefusal::Signature)
        } else if self.commands.inbox.record(&key).is_none() && self.is_early(&from) {
            let wait = if self.unicast.has_link_to(&from) { EARLY_WAIT } else { EARLY_WAIT_ON_AIR };
            return self.commands.early.wait(from, bytes, self.core.now() + wait);
        } else {
            match &command.kind {
                CommandKind::Deploy(deploy) => self.take_deploy(key, command.times, deploy),
                CommandKind::Malformed(..) => refused(CommandRefusal::Malformed),
                CommandKind::Unknown(..) => refused(CommandRefusal::UnknownKind),
            }
        };
        let outcome = match taking {
            Taking::Begin | Taking::Running => None,
            Taking::Over(outcome) => Some(outcome),
        };
        if let Some(Outcome::Refused(why)) = &outcome {
            self.core.reject_from(Some(from), InputRejection::Command(*why));
        }
        self.answer_command(key, outcome);
    }

    /// Whether it is open what a sender holds of this node: its commands wait, since it may show that this disk was set back.
    fn is_early(&mut self, from: &PeerId) -> bool {
        if !self.commands.early.has_shown(from) && self.is_shown(from) {
            self.commands.early.shown(*from);
        }
        !self.commands.early.has_shown(from)
    }

    /// Whether a sender has shown what it holds, over a link or by radio, and the two are in step.
    fn is_shown(&self, from: &PeerId) -> bool {
        match self.unicast.lag(from) {
            Some(lag) => lag.known && lag.we_lack == 0 && lag.they_lack == 0 && !self.holds_lost_state(from),
            None => {
                let now = self.core.now();
                self.broadcast.radios().any(|(_, radio)| match radio.lag(now, from) {
                    SyncStatus::Known(lag) => lag.is_in_step(),
                    SyncStatus::Unknown { .. } => false,
                })
            }
        }
    }

    /// Whether a peer that is sent an own map held a state of it that was passed on this disk and never signed here.
    fn holds_lost_state(&self, peer: &PeerId) -> bool {
        let mut sent = self.unicast.unconfirmed(peer).filter_map(|(layer, held)| Some((layer, held?)));
        sent.any(|(layer, held)| self.replica.was_passed(self.core, &layer, held))
    }

    /// Takes the commands that have waited for their sender to show what it holds.
    pub(crate) fn take_early(&mut self) {
        for sender in self.commands.early.senders() {
            if self.is_shown(&sender) {
                self.commands.early.shown(sender);
            }
        }
        for (from, bytes) in self.commands.early.take_due(self.core.now()) {
            self.command_received(from, &bytes);
        }
    }

    /// This node's store has gone back, or another has its key: what is not remembered may have been taken.
    pub(crate) fn lose_recall(&mut self) {
        self.put_recall(Recall::Lost);
    }

    /// Once the node knows again where it stands, and what time it is, it takes what is made from now on.
    pub(crate) fn settle_recall(&mut self) {
        if !self.replica.recovery().is_unconfirmed() && self.core.has_clock() {
            self.put_recall(self.commands.recall.settled(self.core.reference()));
        }
    }

    fn put_recall(&mut self, recall: Recall) {
        if self.commands.recall != recall {
            self.commands.recall = recall;
            self.core.gate.write(StoreWrite::PutMeta(RECALL_RECORD.into(), recall.to_record()));
        }
    }

    /// Runs a deploy for a sender that another protocol has proven, with the same checks and the same record: at most once
    /// for each `id` of that sender. `made` is when it signed that it asks. What it has led to in the end, if it begins or runs,
    /// is returned by [`installed`](Self::installed).
    pub(crate) fn install_requested(
        &mut self,
        sender: PeerId,
        deploy: &Deploy,
        id: CommandId,
        made: Wall,
    ) -> Taking {
        let key = CommandKey { sender, id };
        let expires_s = (self.core.reference().ms() + COMMAND_LIFE_MAX.ms()) / 1000;
        let times = CommandTimes { made_s: made.ms() / 1000, expires_s };
        let taking = self.take_deploy(key, times, deploy);
        match &taking {
            Taking::Begin | Taking::Running => drop(self.commands.calls.insert(key)),
            Taking::Over(Outcome::Refused(why)) => {
                self.core.reject_from(Some(sender), InputRejection::Command(*why));
            }
            Taking::Over(Outcome::Ended(_) | Outcome::Unknown) => {}
        }
        taking
    }

    /// Takes a deploy once. If it begins, the effect waits behind the commit of its record.
    fn take_deploy(&mut self, key: CommandKey, times: CommandTimes, deploy: &Deploy) -> Taking {
        let commands = &mut self.commands;
        let rules = TakingRules {
            may_deploy: self.replica.federation().grants(&key.sender, Right::Deploy),
            is_on: commands.is_on,
            catalogue: &commands.catalogue,
            reference: self.core.reference(),
            has_clock: self.core.has_clock(),
            recall: commands.recall,
        };
        let (taking, changes) = commands.inbox.take(key, times, deploy, rules);
        let is_news = !changes.is_empty();
        self.record(changes);
        if taking == Taking::Begin {
            self.core.gate.output(Output::Install { key, deploy: deploy.clone() });
        }
        if is_news {
            self.received_event(&key);
        }
        taking
    }

    /// The operator's command has ended. Returns the outcome if another protocol has asked for it and answers it; else the
    /// sender gets its answer here.
    #[must_use = "a call waits for the outcome"]
    pub(crate) fn installed(&mut self, key: CommandKey, result: RunResult) -> Option<Outcome> {
        let changes = self.commands.inbox.ended(key, result, self.core.reference());
        if changes.is_empty() {
            return None;
        }
        self.record(changes);
        self.received_event(&key);
        let outcome = self.commands.inbox.outcome(&key).cloned();
        match outcome {
            Some(outcome) if self.commands.calls.remove(&key) => Some(outcome),
            outcome => {
                self.answer_command(key, outcome);
                None
            }
        }
    }

    /// Answers a sender if it can be reached; otherwise it offers the command again, and gets the answer then.
    fn answer_command(&mut self, key: CommandKey, outcome: Option<Outcome>) {
        if let Some(way) = self.way_to(&key.sender, None) {
            let bytes = CommandAnswer { id: key.id, outcome }.encode(way.output_bytes_max());
            self.send(&key.sender, way, Subject::Command(key.id.0), None, &CommandMessage::Answer(bytes));
        }
    }

    /// The new content of the document `deploys`, if its outcomes are not those that stand in it.
    pub(crate) fn outcomes_due(&mut self) -> Option<Value> {
        let document = self.core.own_document(DocumentName::DEPLOYS);
        let value = outcomes_document(&self.commands.inbox);
        let held = self.replica.layer(&self.core.own_layer(&document)).map(|layer| &layer.content);
        let is_due = match held {
            Some(Content::Snapshot(held)) => *held != value,
            Some(Content::Map(_)) => false,
            None => !self.commands.inbox.last_outcomes().is_empty(),
        };
        self.commands.inbox.published(self.core.now(), is_due);
        is_due.then_some(value)
    }
}
