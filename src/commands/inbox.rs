//! The receiver's side: each command is taken at most once, and a repetition gets the recorded answer.
//!
//! The order is: [`CommandInbox::take`] records `Taken`, the node commits, the effect begins, [`CommandInbox::ended`] records the outcome.
//! A process that dies in between finds `Taken` at its next start, and makes it `Unknown`. A store that has gone back does not
//! know what it took: what was made before ([`Recall`]) is `Unknown` as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::PeerId;

use super::catalogue::CatalogueState;
use super::deploy::Deploy;
use super::outcome::{CommandRefusal, Outcome, RunResult};
use super::pace::OutcomesPace;
use super::recall::Recall;
use super::record::{CommandKey, ExpiryFloor, InstallProgress, ReceivedCommand, RecordChange, wall_of_s};
use super::wire::CommandTimes;
use super::{
    COMMAND_CLOCK_SLACK, COMMAND_LIFE_MAX, COMMANDS_KEPT_PER_SENDER_MAX, INSTALLS_RUNNING_MAX,
    OUTCOMES_SHOWN_MAX,
};
use crate::time::{Mono, Wall};

/// Results that are remembered in case the disk refuses the commit that records them.
const RESULTS_KEPT_MAX: usize = 2 * INSTALLS_RUNNING_MAX;

/// Commands that others have sent here.
#[derive(Debug, Default)]
pub struct CommandInbox {
    records: BTreeMap<CommandKey, ReceivedCommand>,
    floors: BTreeMap<PeerId, u64>,
    /// Installs that this process runs.
    running: BTreeSet<CommandKey>,
    /// The last results, as they came from the runner.
    results: VecDeque<(CommandKey, RunResult)>,
    /// The outcomes are not those of the document `deploys` any more.
    has_news: bool,
    pace: OutcomesPace,
}

/// What decides about a command, at this moment.
#[derive(Clone, Copy, Debug)]
pub struct TakingRules<'a> {
    /// Whether the sender may have apps installed here.
    pub may_deploy: bool,
    /// Whether an operator's command is set.
    pub is_on: bool,
    /// The apps that are allowed.
    pub catalogue: &'a CatalogueState,
    /// Reference time as the command arrives.
    pub reference: Wall,
    /// Whether that is a clock's: the logical clock only shows that it is at least so late.
    pub has_clock: bool,
    /// Since when commands are remembered.
    pub recall: Recall,
}

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It is taken now: its effect is to begin once the record is on disk.
    Begin,
    /// The command is running already.
    Running,
    /// It has this outcome, now or since an earlier delivery.
    Over(Outcome),
}

impl CommandInbox {
    /// Takes records from disk; see [`super::Commands::load`].
    pub(super) fn load(
        &mut self,
        received: Vec<ReceivedCommand>,
        floors: Vec<ExpiryFloor>,
        reference: Wall,
    ) -> Vec<RecordChange> {
        self.records = received.into_iter().map(|record| (record.key, record)).collect();
        self.floors = floors.into_iter().map(|floor| (floor.sender, floor.expires_s)).collect();
        self.has_news = true;
        // What the disk did not record as taken was never begun.
        let records = &self.records;
        self.running
            .retain(|key| records.get(key).is_some_and(|record| record.progress == InstallProgress::Taken));
        let is_cut_short = |record: &&ReceivedCommand| record.progress == InstallProgress::Taken;
        let cut_short: Vec<CommandKey> =
            self.records.values().filter(is_cut_short).map(|record| record.key).collect();
        let mut changes = Vec::new();
        for key in cut_short {
            let result = self.results.iter().find(|(of, _)| *of == key).map(|(_, result)| result.clone());
            match result {
                Some(result) => changes.extend(self.end(key, Outcome::Ended(result), reference)),
                None if self.running.contains(&key) => {}
                None => changes.extend(self.end(key, Outcome::Unknown, reference)),
            }
        }
        changes
    }

    /// Decides about a command whose sender is proven. The changes have to be durable before the answer leaves or the
    /// effect begins.
    pub fn take(
        &mut self,
        key: CommandKey,
        times: CommandTimes,
        deploy: &Deploy,
        rules: TakingRules<'_>,
    ) -> (Taking, Vec<RecordChange>) {
        if let Some(taking) = self.unrecorded(&key, times, &rules) {
            return (taking, Vec::new());
        }
        let verdict = judge(times, deploy, &rules);
        if verdict.is_ok() && self.is_busy(deploy) {
            return (refused(CommandRefusal::Busy), Vec::new());
        }
        let mut changes = self.make_room(&key.sender, rules.reference);
        let record = ReceivedCommand {
            key,
            expires_s: times.expires_s,
            deploy: deploy.clone(),
            taken_at: rules.reference,
            progress: InstallProgress::Taken,
        };
        self.records.insert(key, record);
        match verdict {
            Ok(()) => {
                self.running.insert(key);
                changes.extend(self.put(&key));
                (Taking::Begin, changes)
            }
            Err(outcome) => {
                changes.extend(self.end(key, outcome.clone(), rules.reference));
                (Taking::Over(outcome), changes)
            }
        }
    }

    /// What a command leads to that leaves no record of its own: of no trust, known already, or outside the time that is
    /// remembered.
    fn unrecorded(&self, key: &CommandKey, times: CommandTimes, rules: &TakingRules<'_>) -> Option<Taking> {
        // A sender without trust fills no disk.
        if !rules.may_deploy {
            return Some(refused(CommandRefusal::NotTrusted));
        }
        if let Some(record) = self.records.get(key) {
            return Some(match &record.progress {
                InstallProgress::Taken => Taking::Running,
                InstallProgress::Ended { outcome, .. } => Taking::Over(outcome.clone()),
            });
        }
        if self.floors.get(&key.sender).is_some_and(|floor| times.expires_s <= *floor) {
            return Some(refused(CommandRefusal::Forgotten));
        }
        // When it is forgotten, the floor would shut out all that is sent until then.
        if wall_of_s(times.expires_s) > rules.reference + COMMAND_LIFE_MAX + COMMAND_CLOCK_SLACK {
            return Some(refused(CommandRefusal::TooFar));
        }
        // What is taken is never from the future, so a store that goes back knows up to when it may have taken commands.
        let is_ahead = rules.has_clock && wall_of_s(times.made_s) > rules.reference + COMMAND_CLOCK_SLACK;
        is_ahead.then(|| refused(CommandRefusal::MadeAhead))
    }

    /// An install has ended.
    pub fn ended(&mut self, key: CommandKey, result: RunResult, reference: Wall) -> Vec<RecordChange> {
        self.note_result(key, result.clone());
        match self.records.get(&key).map(|record| &record.progress) {
            Some(InstallProgress::Taken) => self.end(key, Outcome::Ended(result), reference),
            Some(InstallProgress::Ended { .. }) | None => Vec::new(),
        }
    }

    /// Remembers the result of an install while nothing can be recorded; [`load`](super::Commands::load) records it.
    pub fn note_result(&mut self, key: CommandKey, result: RunResult) {
        self.running.remove(&key);
        if self.results.len() >= RESULTS_KEPT_MAX {
            self.results.pop_front();
        }
        self.results.push_back((key, result));
    }

    /// What became of a command, or is becoming.
    pub fn record(&self, key: &CommandKey) -> Option<&ReceivedCommand> {
        self.records.get(key)
    }

    /// What became of a command, if it is over.
    pub fn outcome(&self, key: &CommandKey) -> Option<&Outcome> {
        match &self.records.get(key)?.progress {
            InstallProgress::Ended { outcome, .. } => Some(outcome),
            InstallProgress::Taken => None,
        }
    }

    /// All commands that are remembered.
    pub fn records(&self) -> impl Iterator<Item = &ReceivedCommand> {
        self.records.values()
    }

    /// The last outcomes, newest first.
    pub fn last_outcomes(&self) -> Vec<&ReceivedCommand> {
        let mut ended: Vec<(Wall, &ReceivedCommand)> = self.ended_records().collect();
        ended.sort_by_key(|(at, record)| (std::cmp::Reverse(*at), record.key));
        ended.into_iter().take(OUTCOMES_SHOWN_MAX).map(|(_, record)| record).collect()
    }

    /// Whether the outcomes changed since they were last signed into the document, and may be signed now.
    pub fn is_news_due(&self, now: Mono) -> bool {
        self.has_news && self.pace.due().is_none_or(|due| due <= now)
    }

    /// When changed outcomes may be signed that may not yet.
    pub fn next_timer(&self, now: Mono) -> Option<Mono> {
        self.pace.due().filter(|due| self.has_news && *due > now)
    }

    /// The outcomes are in the document now; `is_new`: they were not before.
    pub fn published(&mut self, now: Mono, is_new: bool) {
        self.has_news = false;
        if is_new {
            self.pace.published(now);
        }
    }

    fn is_busy(&self, deploy: &Deploy) -> bool {
        let same_app =
            |key: &CommandKey| self.records.get(key).is_some_and(|record| record.deploy.id == deploy.id);
        self.running.len() >= INSTALLS_RUNNING_MAX || self.running.iter().any(same_app)
    }

    fn ended_records(&self) -> impl Iterator<Item = (Wall, &ReceivedCommand)> {
        self.records.values().filter_map(|record| match &record.progress {
            InstallProgress::Ended { at, .. } => Some((*at, record)),
            InstallProgress::Taken => None,
        })
    }

    fn put(&self, key: &CommandKey) -> Option<RecordChange> {
        self.records.get(key).map(|record| RecordChange::PutReceived(Box::new(record.clone())))
    }

    fn end(&mut self, key: CommandKey, outcome: Outcome, at: Wall) -> Vec<RecordChange> {
        let record = self.records.get_mut(&key).expect("only a command that is remembered comes to an end");
        record.progress = InstallProgress::Ended { outcome, at };
        self.has_news = true;
        let mut changes: Vec<RecordChange> = self.put(&key).into_iter().collect();
        changes.extend(self.drop_old_outputs());
        changes
    }

    /// Only the last outcomes keep their output.
    fn drop_old_outputs(&mut self) -> Vec<RecordChange> {
        let shown: BTreeSet<CommandKey> = self.last_outcomes().into_iter().map(|record| record.key).collect();
        let mut changes = Vec::new();
        for (_, record) in self.records.iter_mut().filter(|(key, _)| !shown.contains(key)) {
            if let InstallProgress::Ended { outcome: Outcome::Ended(result), .. } = &mut record.progress
                && !result.output.is_empty()
            {
                result.output.clear();
                changes.push(RecordChange::PutReceived(Box::new(record.clone())));
            }
        }
        changes
    }

    /// Forgets what is long over, and one more where a sender has as many as are remembered.
    fn make_room(&mut self, sender: &PeerId, reference: Wall) -> Vec<RecordChange> {
        let shown: BTreeSet<CommandKey> = self.last_outcomes().into_iter().map(|record| record.key).collect();
        let of_sender = self.ended_records().filter(|(_, record)| record.key.sender == *sender);
        let mut ended: Vec<(u64, CommandKey)> =
            of_sender.map(|(_, record)| (record.expires_s, record.key)).collect();
        ended.sort();
        let count = self.records.keys().filter(|key| key.sender == *sender).count();
        let mut surplus = (count + 1).saturating_sub(COMMANDS_KEPT_PER_SENDER_MAX);
        let mut changes = Vec::new();
        for (expires_s, key) in ended {
            let is_long_over = wall_of_s(expires_s) + COMMAND_LIFE_MAX < reference && !shown.contains(&key);
            if surplus == 0 && !is_long_over {
                continue;
            }
            surplus = surplus.saturating_sub(1);
            self.records.remove(&key);
            let floor = self.floors.entry(*sender).or_default();
            *floor = (*floor).max(expires_s);
            changes.push(RecordChange::DropReceived(key));
            changes.push(RecordChange::PutFloor(ExpiryFloor { sender: *sender, expires_s: *floor }));
        }
        changes
    }
}

fn refused(why: CommandRefusal) -> Taking {
    Taking::Over(Outcome::Refused(why))
}

/// Whether a command that is not remembered may begin, by its times and what the operator allows; else what becomes of it.
fn judge(times: CommandTimes, deploy: &Deploy, rules: &TakingRules<'_>) -> Result<(), Outcome> {
    if !rules.recall.covers(wall_of_s(times.made_s)) {
        // It may have been taken, whatever the operator allows now.
        return Err(Outcome::Unknown);
    }
    refusal(times.expires_s, deploy, rules).map_err(Outcome::Refused)
}

fn refusal(expires_s: u64, deploy: &Deploy, rules: &TakingRules<'_>) -> Result<(), CommandRefusal> {
    if wall_of_s(expires_s) <= rules.reference {
        return Err(CommandRefusal::Expired);
    }
    deploy.check().map_err(|_| CommandRefusal::Malformed)?;
    if !rules.is_on {
        return Err(CommandRefusal::Off);
    }
    rules.catalogue.allows(deploy)
}
