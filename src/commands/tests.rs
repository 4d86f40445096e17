//! The two sides of a command, on a disk made of a map: repeated, late, in the wrong hands, cut short.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tombolo_transports::PeerId;

use super::*;
use crate::identity::Keypair;
use crate::time::Mono;

const NOW: Wall = Wall::from_ms(1_800_000_000_000);
const DAY_S: u64 = 86_400;

fn now_s() -> u64 {
    NOW.ms() / 1000
}

/// What a crash leaves.
#[derive(Clone, Default)]
struct Disk {
    sent: BTreeMap<CommandId, SentCommand>,
    received: BTreeMap<CommandKey, ReceivedCommand>,
    floors: BTreeMap<PeerId, ExpiryFloor>,
}

impl Disk {
    fn write(&mut self, changes: Vec<RecordChange>) {
        for change in changes {
            match change {
                RecordChange::PutSent(command) => drop(self.sent.insert(command.id, *command)),
                RecordChange::DropSent(id) => drop(self.sent.remove(&id)),
                RecordChange::PutReceived(command) => drop(self.received.insert(command.key, *command)),
                RecordChange::DropReceived(key) => drop(self.received.remove(&key)),
                RecordChange::PutNotice(_) => unreachable!("no notices here"),
                RecordChange::PutFloor(floor) => drop(self.floors.insert(floor.sender, floor)),
            }
        }
    }

    fn loaded(&self) -> LoadedCommands {
        LoadedCommands {
            sent: self.sent.values().cloned().collect(),
            received: self.received.values().cloned().collect(),
            floors: self.floors.values().copied().collect(),
            notices: Vec::new(),
        }
    }
}

fn catalogue() -> CatalogueState {
    CatalogueState::Read(Catalogue::parse("[[app]]\nid = \"web\"\n[[app]]\nid = \"db\"\n").unwrap())
}

/// A receiver, its disk, and how often each command was begun.
struct Receiver {
    commands: Commands,
    disk: Disk,
    begun: BTreeMap<CommandKey, usize>,
    now: Wall,
    may_deploy: bool,
}

impl Receiver {
    fn new() -> Self {
        Receiver {
            commands: Commands::new(true, catalogue()),
            disk: Disk::default(),
            begun: BTreeMap::new(),
            now: NOW,
            may_deploy: true,
        }
    }

    /// Delivers a command; with `commit` false the power fails before the commit.
    fn deliver(&mut self, key: CommandKey, expires_s: u64, app: &str, commit: bool) -> Option<Taking> {
        let made_s = self.now.ms() / 1000;
        self.deliver_made(key, CommandTimes { made_s, expires_s }, app, commit)
    }

    /// The same of a command that was made at another time.
    fn deliver_made(
        &mut self,
        key: CommandKey,
        times: CommandTimes,
        app: &str,
        commit: bool,
    ) -> Option<Taking> {
        let rules = TakingRules {
            may_deploy: self.may_deploy,
            is_on: self.commands.is_on,
            catalogue: &self.commands.catalogue,
            reference: self.now,
            has_clock: true,
            recall: self.commands.recall,
        };
        let deploy = Deploy::new(app, "1", "").unwrap();
        let (taking, changes) = self.commands.inbox.take(key, times, &deploy, rules);
        if !commit {
            self.crash();
            return None;
        }
        self.disk.write(changes);
        if taking == Taking::Begin {
            *self.begun.entry(key).or_default() += 1;
        }
        Some(taking)
    }

    fn end(&mut self, key: CommandKey) {
        let changes = self.commands.inbox.ended(key, success("done"), self.now);
        self.disk.write(changes);
    }

    fn crash(&mut self) {
        let recall = self.commands.recall;
        self.commands = Commands::new(true, self.commands.catalogue.clone());
        self.commands.load_recall(Some(&recall.to_record()));
        let changes = self.commands.load(self.disk.loaded(), self.now);
        self.disk.write(changes);
    }

    /// The disk of an earlier time takes the place of this one.
    fn restore(&mut self, backup: &Disk) {
        self.disk = backup.clone();
        self.crash();
        self.commands.recall = Recall::Lost;
    }

    /// The node is in step again.
    fn settle(&mut self) {
        self.commands.recall = self.commands.recall.settled(self.now);
    }

    fn outcome(&self, key: CommandKey) -> Option<Outcome> {
        self.commands.inbox.outcome(&key).cloned()
    }
}

fn success(output: &str) -> RunResult {
    RunResult { end: RunEnd::Success, output: output.to_owned() }
}

fn key(n: u16) -> CommandKey {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&n.to_be_bytes());
    CommandKey { sender: PeerId([1; 32]), id: CommandId(id) }
}

fn refused(why: CommandRefusal) -> Option<Taking> {
    Some(Taking::Over(Outcome::Refused(why)))
}

#[test]
fn a_repetition_gets_the_recorded_answer_and_is_not_run() {
    let mut receiver = Receiver::new();
    let expires = now_s() + DAY_S;
    assert_eq!(receiver.deliver(key(1), expires, "web", true), Some(Taking::Begin));
    assert_eq!(receiver.deliver(key(1), expires, "web", true), Some(Taking::Running));
    receiver.end(key(1));
    let over = Some(Taking::Over(Outcome::Ended(success("done"))));
    assert_eq!(receiver.deliver(key(1), expires, "web", true), over);
    // After a restart, and after it has expired, the answer is the same.
    receiver.crash();
    receiver.now = NOW + Millis::from_secs(2 * DAY_S);
    assert_eq!(receiver.deliver(key(1), expires, "web", true), over);
    assert_eq!(receiver.begun[&key(1)], 1);
    // The same id of another sender is another command.
    let other = CommandKey { sender: PeerId([2; 32]), ..key(1) };
    assert_eq!(receiver.deliver(other, now_s() + 3 * DAY_S, "web", true), Some(Taking::Begin));
}

#[test]
fn power_lost_while_it_runs_makes_the_outcome_unknown() {
    let mut receiver = Receiver::new();
    let expires = now_s() + DAY_S;
    assert_eq!(receiver.deliver(key(1), expires, "web", true), Some(Taking::Begin));
    receiver.crash();
    assert_eq!(receiver.deliver(key(1), expires, "web", true), Some(Taking::Over(Outcome::Unknown)));
    // What its runner might still report changes nothing.
    receiver.end(key(1));
    assert_eq!(receiver.outcome(key(1)), Some(Outcome::Unknown));
    assert_eq!(receiver.begun[&key(1)], 1);
}

#[test]
fn power_lost_before_the_commit_leaves_it_untaken() {
    let mut receiver = Receiver::new();
    let expires = now_s() + DAY_S;
    assert_eq!(receiver.deliver(key(1), expires, "web", false), None);
    assert_eq!(receiver.deliver(key(1), expires, "web", true), Some(Taking::Begin));
    assert_eq!(receiver.begun[&key(1)], 1);
}

/// The disk refuses while the process lives on: the record is gone, what runs is not.
#[test]
fn a_disk_that_refuses_neither_repeats_nor_blocks() {
    let mut receiver = Receiver::new();
    let expires = now_s() + DAY_S;
    receiver.deliver(key(1), expires, "web", true);
    // The commit of a second command is refused, and all is loaded again in the same process.
    let catalogue = catalogue();
    let rules = TakingRules {
        may_deploy: true,
        is_on: true,
        catalogue: &catalogue,
        reference: NOW,
        has_clock: true,
        recall: Recall::Whole,
    };
    let times = CommandTimes { made_s: now_s(), expires_s: expires };
    let db = Deploy::new("db", "1", "").unwrap();
    assert_eq!(receiver.commands.inbox.take(key(2), times, &db, rules).0, Taking::Begin);
    let changes = receiver.commands.load(receiver.disk.loaded(), NOW);
    assert_eq!(changes, []);
    assert_eq!(receiver.deliver(key(1), expires, "web", true), Some(Taking::Running));
    assert_eq!(receiver.deliver(key(2), expires, "db", true), Some(Taking::Begin));
    // The result comes while nothing can be written: it is recorded when the disk works again.
    receiver.commands.inbox.note_result(key(1), success("done"));
    let changes = receiver.commands.load(receiver.disk.loaded(), NOW);
    receiver.disk.write(changes);
    assert_eq!(receiver.outcome(key(1)), Some(Outcome::Ended(success("done"))));
}

#[test]
fn each_refusal_has_its_reason() {
    let mut receiver = Receiver::new();
    let soon = now_s() + DAY_S;
    assert_eq!(receiver.deliver(key(1), soon, "sh", true), refused(CommandRefusal::NotInCatalogue));
    assert_eq!(receiver.deliver(key(2), now_s(), "web", true), refused(CommandRefusal::Expired));
    assert_eq!(receiver.deliver(key(3), now_s() + 8 * DAY_S, "web", true), refused(CommandRefusal::TooFar));
    assert_eq!(receiver.deliver(key(3), u64::MAX, "web", true), refused(CommandRefusal::TooFar));
    let ahead = CommandTimes { made_s: now_s() + 601, expires_s: now_s() + DAY_S };
    let taking = receiver.deliver_made(key(3), ahead, "web", true);
    assert_eq!(taking, refused(CommandRefusal::MadeAhead));
    receiver.may_deploy = false;
    assert_eq!(receiver.deliver(key(4), soon, "web", true), refused(CommandRefusal::NotTrusted));
    receiver.may_deploy = true;
    receiver.commands.is_on = false;
    assert_eq!(receiver.deliver(key(5), soon, "web", true), refused(CommandRefusal::Off));
    receiver.commands.is_on = true;
    receiver.commands.catalogue = CatalogueState::Damaged("line 3".into());
    assert_eq!(receiver.deliver(key(6), soon, "web", true), refused(CommandRefusal::CatalogueDamaged));
    receiver.commands.catalogue = CatalogueState::Missing;
    assert_eq!(receiver.deliver(key(7), soon, "web", true), refused(CommandRefusal::Off));
    assert!(receiver.begun.is_empty());
    // What was refused stays refused, though the operator has made up its mind since.
    receiver.commands.catalogue = catalogue();
    assert_eq!(receiver.deliver(key(5), soon, "web", true), refused(CommandRefusal::Off));
    assert_eq!(receiver.deliver(key(8), soon, "web", true), Some(Taking::Begin));
}

#[test]
fn one_install_per_app_and_a_handful_at_once() {
    let mut receiver = Receiver::new();
    let apps: String = (0..6).map(|n| format!("[[app]]\nid = \"a{n}\"\n")).collect();
    receiver.commands.catalogue = CatalogueState::Read(Catalogue::parse(&apps).unwrap());
    let soon = now_s() + DAY_S;
    assert_eq!(receiver.deliver(key(1), soon, "a0", true), Some(Taking::Begin));
    assert_eq!(receiver.deliver(key(2), soon, "a0", true), refused(CommandRefusal::Busy));
    for n in 1..INSTALLS_RUNNING_MAX {
        let taking = receiver.deliver(key(10 + n as u16), soon, &format!("a{n}"), true);
        assert_eq!(taking, Some(Taking::Begin));
    }
    assert_eq!(receiver.deliver(key(3), soon, "a5", true), refused(CommandRefusal::Busy));
    receiver.end(key(1));
    // Busy is no outcome: the same command is taken when there is room.
    assert_eq!(receiver.deliver(key(3), soon, "a5", true), Some(Taking::Begin));
}

/// However many commands a peer sends, what is kept of it is bounded, and what was forgotten is never run again.
#[test]
fn forgetting_raises_a_floor() {
    let mut receiver = Receiver::new();
    let many = COMMANDS_KEPT_PER_SENDER_MAX as u16 + 40;
    for n in 0..many {
        let expires = now_s() + DAY_S + u64::from(n);
        assert_eq!(receiver.deliver(key(n), expires, "web", true), Some(Taking::Begin), "{n}");
        receiver.end(key(n));
        receiver.now = receiver.now + Millis::from_secs(1);
    }
    assert_eq!(receiver.disk.received.len(), COMMANDS_KEPT_PER_SENDER_MAX);
    receiver.crash();
    for n in 0..many {
        let taking = receiver.deliver(key(n), now_s() + DAY_S + u64::from(n), "web", true);
        let is_kept = receiver.disk.received.contains_key(&key(n));
        let expected = match is_kept {
            true => Some(Taking::Over(Outcome::Ended(success(if n + 32 < many { "" } else { "done" })))),
            false => refused(CommandRefusal::Forgotten),
        };
        assert_eq!(taking, expected, "{n}");
    }
    assert!(receiver.begun.values().all(|times| *times == 1));
    let later = now_s() + 2 * DAY_S;
    assert_eq!(receiver.deliver(key(9_999), later, "web", true), Some(Taking::Begin));
}

#[test]
fn the_document_has_the_last_outcomes_and_names_no_sender() {
    let mut receiver = Receiver::new();
    for n in 0..40 {
        receiver.deliver(key(n), now_s() + DAY_S, "web", true);
        receiver.end(key(n));
        receiver.now = receiver.now + Millis::from_secs(1);
    }
    receiver.deliver(key(50), now_s() + DAY_S, "sh", true);
    let document = outcomes_document(&receiver.commands.inbox);
    let outcomes = document.get("outcomes").and_then(tombolo_delta::Value::as_array).unwrap();
    assert_eq!(outcomes.len(), OUTCOMES_SHOWN_MAX);
    let field = |n: usize, name: &str| outcomes[n].get(name).and_then(|v| v.as_text()).map(str::to_owned);
    assert_eq!(field(0, "reason").as_deref(), Some("not_in_catalogue"));
    assert_eq!(field(1, "id"), Some(key(39).id.to_string()));
    assert_eq!(field(1, "output").as_deref(), Some("done"));
    let text = format!("{document:?}");
    assert!(!text.contains(&crate::identity::did(&key(0).sender)));
}

// ---- the sender ------------------------------------------------------------------------------------------

fn sent(n: u8, expires_s: u64) -> SentCommand {
    SentCommand {
        id: CommandId([n; 16]),
        to: PeerId([9; 32]),
        deploy: Deploy::new("web", "1", "").unwrap(),
        created_at: NOW,
        expires_s,
        state: SentState::Waiting,
    }
}

fn answer(n: u8, outcome: Option<Outcome>) -> CommandAnswer {
    CommandAnswer { id: CommandId([n; 16]), outcome }
}

#[test]
fn a_command_is_offered_again_ever_more_rarely_until_it_is_answered() {
    let mut outbox = CommandOutbox::default();
    outbox.add(sent(1, now_s() + DAY_S)).unwrap();
    let (id, to) = (CommandId([1; 16]), PeerId([9; 32]));
    let mut offers = Vec::new();
    for s in 0..600 {
        let now = Mono::from_ms(s * 1000);
        for (id, peer) in outbox.due(now) {
            assert_eq!(peer, to);
            outbox.offered(id, now, OFFER_PACE, 0);
            offers.push(s);
        }
    }
    assert_eq!(offers, [0, 10, 30, 70, 150, 310]);
    // A link that comes up is a reason to offer at once.
    outbox.reachable(&to);
    assert_eq!(outbox.due(Mono::from_ms(600_000)).len(), 1);
    assert!(
        outbox.answered(&PeerId([8; 32]), answer(1, Some(Outcome::Unknown)), NOW).is_none(),
        "of another"
    );
    assert!(outbox.answered(&to, answer(1, None), NOW).is_some());
    assert_eq!(outbox.command(&id).unwrap().state, SentState::Taken);
    assert_eq!(outbox.due(Mono::NEVER).len(), 1, "its outcome is asked for");
    let done = Outcome::Ended(success("done"));
    assert!(outbox.answered(&to, answer(1, Some(done.clone())), NOW).is_some());
    assert!(
        outbox.answered(&to, answer(1, Some(Outcome::Unknown)), NOW).is_none(),
        "the first outcome counts"
    );
    assert_eq!(outbox.command(&id).unwrap().state, SentState::Answered { outcome: done, at: NOW });
    assert!(outbox.due(Mono::NEVER).is_empty() && !outbox.is_waiting());
}

#[test]
fn busy_is_no_answer() {
    let mut outbox = CommandOutbox::default();
    outbox.add(sent(1, now_s() + DAY_S)).unwrap();
    let busy = answer(1, Some(Outcome::Refused(CommandRefusal::Busy)));
    assert!(outbox.answered(&PeerId([9; 32]), busy, NOW).is_none());
    assert_eq!(outbox.delayed(&CommandId([1; 16])), Some(CommandRefusal::Busy));
    assert_eq!(outbox.due(Mono::NEVER).len(), 1);
}

#[test]
fn a_command_expires_and_a_late_answer_still_counts() {
    let mut outbox = CommandOutbox::default();
    let mut disk = Disk::default();
    disk.write(outbox.add(sent(1, now_s() + 60)).unwrap());
    disk.write(outbox.add(sent(2, now_s() + 60)).unwrap());
    outbox.answered(&PeerId([9; 32]), answer(2, None), NOW);
    assert!(outbox.expire(NOW + Millis::from_ms(59_999)).is_empty());
    let expired = outbox.expire(NOW + Millis::from_secs(60));
    assert_eq!(expired.len(), 1, "what was taken is asked after");
    disk.write(expired.into_iter().map(|(_, change)| change).collect());
    assert_eq!(disk.sent[&CommandId([1; 16])].state, SentState::Expired);
    assert!(outbox.due(Mono::NEVER).iter().all(|(id, _)| *id == CommandId([2; 16])));
    assert!(outbox.answered(&PeerId([9; 32]), answer(1, Some(Outcome::Unknown)), NOW).is_some());
    let given_up = outbox.expire(NOW + Millis::from_secs(60) + COMMAND_LIFE_MAX);
    assert_eq!(given_up.len(), 1);
    assert!(matches!(given_up[0].0.state, SentState::Answered { outcome: Outcome::Unknown, .. }));
}

#[test]
fn a_sender_that_restarts_goes_on() {
    let mut commands = Commands::new(false, CatalogueState::Missing);
    let mut disk = Disk::default();
    disk.write(commands.outbox.add(sent(1, now_s() + 60)).unwrap());
    let mut again = Commands::new(false, CatalogueState::Missing);
    again.load(disk.loaded(), NOW);
    assert_eq!(again.outbox.due(Mono::default()).len(), 1);
    let keypair = Keypair::from_seeds(&[1; 32], &[2; 32]);
    let (first, second) = (
        commands.outbox.signed(&CommandId([1; 16]), &keypair).unwrap(),
        again.outbox.signed(&CommandId([1; 16]), &keypair).unwrap(),
    );
    assert_eq!(first, second, "a repetition has the same bytes");
}

#[test]
fn the_outbox_is_bounded() {
    let mut outbox = CommandOutbox::default();
    let command = |n: u16| SentCommand { id: key(n).id, ..sent(0, now_s() + 60) };
    let max = COMMANDS_SENT_KEPT_MAX as u16;
    for n in 0..max {
        outbox.add(command(n)).unwrap();
    }
    assert_eq!(outbox.add(command(max)), Err(OutboxFull));
    let unknown = CommandAnswer { id: key(3).id, outcome: Some(Outcome::Unknown) };
    outbox.answered(&PeerId([9; 32]), unknown, NOW).unwrap();
    let changes = outbox.add(command(max)).unwrap();
    assert!(changes.contains(&RecordChange::DropSent(key(3).id)));
}

/// A restored store does not know what it took: what was made until it is in step again ends as unknown, whatever is allowed now,
/// and what is made later runs.
#[test]
fn what_a_restored_store_may_have_taken_is_not_run() {
    let mut receiver = Receiver::new();
    let backup = receiver.disk.clone();
    let made = |at: Wall| CommandTimes { made_s: at.ms() / 1000, expires_s: at.ms() / 1000 + DAY_S };
    let first = made(receiver.now);
    assert_eq!(receiver.deliver_made(key(1), first, "web", true), Some(Taking::Begin));
    receiver.end(key(1));
    receiver.now = NOW + Millis::from_secs(3600);
    receiver.restore(&backup);
    let unknown = Some(Taking::Over(Outcome::Unknown));
    assert_eq!(
        receiver.deliver_made(key(2), made(receiver.now), "db", true),
        unknown,
        "before it is in step"
    );
    receiver.settle();
    receiver.commands.is_on = false;
    assert_eq!(receiver.deliver_made(key(1), first, "web", true), unknown, "it may have run all the same");
    receiver.commands.is_on = true;
    receiver.now = receiver.now + COMMAND_CLOCK_SLACK + Millis::from_secs(1);
    assert_eq!(receiver.deliver_made(key(1), first, "web", true), unknown);
    assert_eq!(receiver.deliver_made(key(3), made(receiver.now), "web", true), Some(Taking::Begin));
    assert_eq!(receiver.begun[&key(1)], 1);
}

#[derive(Clone, Debug)]
enum Step {
    Deliver(u16),
    LoseItsCommit(u16),
    End(u16),
    Crash,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u16..6).prop_map(Step::Deliver),
        1 => (0u16..6).prop_map(Step::LoseItsCommit),
        2 => (0u16..6).prop_map(Step::End),
        1 => Just(Step::Crash),
        1 => (0..2 * DAY_S).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever is repeated, lost, cut short or late: no command is begun twice, and an outcome never changes.
    #[test]
    fn any_repetition_and_any_crash_run_a_command_at_most_once(steps in proptest::collection::vec(step(), 0..60)) {
        let mut receiver = Receiver::new();
        let mut outcomes = BTreeMap::new();
        for step in steps {
            match step {
                Step::Deliver(n) | Step::LoseItsCommit(n) => {
                    let app = if n % 2 == 0 { "web" } else { "db" };
                    let commit = matches!(step, Step::Deliver(_));
                    receiver.deliver(key(n), now_s() + DAY_S + u64::from(n), app, commit);
                }
                Step::End(n) => receiver.end(key(n)),
                Step::Crash => receiver.crash(),
                Step::Wait(s) => receiver.now = receiver.now + Millis::from_secs(s),
            }
            prop_assert!(receiver.begun.values().all(|times| *times == 1));
            for record in receiver.commands.inbox.records() {
                if let Some(outcome) = receiver.outcome(record.key) {
                    let first = outcomes.entry(record.key).or_insert_with(|| outcome.clone());
                    prop_assert_eq!(&*first, &outcome);
                }
            }
        }
    }

    /// The same with disks that go back, as often as it pleases, and senders whose clocks are wrong by hours.
    #[test]
    fn no_restored_backup_runs_a_command_a_second_time(
        ahead_s in proptest::collection::vec(-7200i64..7200, 6),
        steps in proptest::collection::vec(restoring_step(), 0..80),
    ) {
        let mut receiver = Receiver::new();
        let mut backups = vec![receiver.disk.clone()];
        let mut made: BTreeMap<u16, CommandTimes> = BTreeMap::new();
        for step in steps {
            match step {
                RestoringStep::Deliver(n) => {
                    let app = if n % 2 == 0 { "web" } else { "db" };
                    let now_s = receiver.now.ms() / 1000;
                    let times = made.entry(n).or_insert_with(|| {
                        let made_s = now_s.saturating_add_signed(ahead_s[usize::from(n)]);
                        CommandTimes { made_s, expires_s: made_s + DAY_S }
                    });
                    receiver.deliver_made(key(n), *times, app, true);
                }
                RestoringStep::End(n) => receiver.end(key(n)),
                RestoringStep::Crash => receiver.crash(),
                RestoringStep::Wait(s) => receiver.now = receiver.now + Millis::from_secs(s),
                RestoringStep::BackUp => backups.push(receiver.disk.clone()),
                RestoringStep::Restore(n) => receiver.restore(&backups[n % backups.len()].clone()),
                RestoringStep::Settle => receiver.settle(),
            }
            prop_assert!(receiver.begun.values().all(|times| *times == 1), "{:?}", receiver.begun);
        }
    }
}

#[derive(Clone, Debug)]
enum RestoringStep {
    Deliver(u16),
    End(u16),
    Crash,
    Wait(u64),
    BackUp,
    Restore(usize),
    Settle,
}

fn restoring_step() -> impl Strategy<Value = RestoringStep> {
    prop_oneof![
        6 => (0u16..6).prop_map(RestoringStep::Deliver),
        3 => (0u16..6).prop_map(RestoringStep::End),
        1 => Just(RestoringStep::Crash),
        2 => (0..7200u64).prop_map(RestoringStep::Wait),
        1 => Just(RestoringStep::BackUp),
        1 => (0usize..8).prop_map(RestoringStep::Restore),
        1 => Just(RestoringStep::Settle),
    ]
}
