//! A desk without a node: what an input leads to, in writes, outputs and counters.

use tombolo_transports::{LinkId, Medium};

use super::*;
use crate::commands::{
    Catalogue, CatalogueState, CommandId, CommandRefusal, NoticeHash, Outcome, RevocationNotice, RunEnd,
    RunResult,
};
use crate::core::InputRejection;
use crate::core::side::{TestSide, link_caps};
use crate::federation::TrustLevel;
use crate::io::{CommandError, IncomingCall, Output, Reply, RequestId};
use crate::rpc::{CallRefusal, CallRequest, InstallRequest, Method};
use crate::sync::message::Message;
use crate::time::{Millis, Mono};

const HOUR: Millis = Millis::from_secs(60 * 60);
const LINK: LinkId = LinkId(7);

/// A side with the parts that its desks borrow.
struct DeskSide {
    side: TestSide,
    unicast: Unicast,
    broadcast: Broadcast,
    membership: Membership,
    calls: Calls,
    commands: Commands,
    watches: Watches,
}

impl DeskSide {
    fn new(seed: u8) -> Self {
        let mut side = TestSide::new(seed);
        let mut unicast = Unicast::new(&mut side.core);
        unicast.load(&mut side.core, &side.replica);
        let catalogue = Catalogue::parse("[[app]]\nid = \"web\"\n").unwrap();
        DeskSide {
            side,
            unicast,
            broadcast: Broadcast::new([0; 16]),
            membership: Membership::default(),
            calls: Calls::default(),
            commands: Commands::new(true, CatalogueState::Read(catalogue)),
            watches: Watches::default(),
        }
    }

    fn desk(&mut self) -> CommandDesk<'_> {
        CommandDesk {
            core: &mut self.side.core,
            replica: &mut self.side.replica,
            unicast: &mut self.unicast,
            broadcast: &mut self.broadcast,
            commands: &mut self.commands,
        }
    }

    fn call_desk(&mut self) -> CallDesk<'_> {
        CallDesk {
            commands: CommandDesk {
                core: &mut self.side.core,
                replica: &mut self.side.replica,
                unicast: &mut self.unicast,
                broadcast: &mut self.broadcast,
                commands: &mut self.commands,
            },
            membership: &mut self.membership,
            calls: &mut self.calls,
            watches: &mut self.watches,
        }
    }

    fn me(&self) -> PeerId {
        self.side.me()
    }

    fn trust(&mut self, peer: PeerId, level: TrustLevel) {
        self.side.trust(peer, level);
        self.unicast.put_link(Mono::ZERO, LINK, peer, link_caps(Medium::Lan));
    }

    fn deploy(&mut self, to: PeerId, expires_in: Millis) -> Result<CommandId, CommandError> {
        let to = crate::identity::did(&to);
        match self.desk().deploy(&to, "web", "1", None, expires_in)? {
            Reply::Deploy(_) => Ok(self.commands.outbox.commands().last().expect("it was added").id),
            other => panic!("{other:?}"),
        }
    }

    fn install(&mut self, request: u64, call: &IncomingCall) -> Result<CallStep, CallRefusal> {
        self.call_desk().take_call(RequestId(request), call)
    }

    /// A call of this side for an install of `web` at `receiver`.
    fn install_call(&mut self, receiver: PeerId) -> IncomingCall {
        let install = InstallRequest { id: "web".into(), version: "1".into(), marketplace_url: None };
        let body = CallRequest::install_body(&install);
        let now = self.side.core.reference();
        let headers = self
            .calls
            .sign(&self.side.core.keypair, &receiver, now, Method::Install, &body)
            .headers
            .into_iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.into_bytes()));
        IncomingCall { headers: headers.collect(), body }
    }

    fn rejected(&self, why: InputRejection) -> u64 {
        self.side.core.metrics.rejections().find(|(of, _)| *of == why).map_or(0, |(_, count)| count)
    }

    /// Commits; messages that leave over the link, and installs that begin.
    fn effects(&mut self) -> (Vec<CommandMessage>, Vec<crate::commands::CommandKey>) {
        let (mut messages, mut installs) = (Vec::new(), Vec::new());
        for output in self.side.outputs() {
            match output {
                Output::Send { link: LINK, bytes } => messages.push(command_message(&bytes)),
                Output::Install { key, .. } => installs.push(key),
                _ => {}
            }
        }
        (messages, installs)
    }
}

fn command_message(bytes: &[u8]) -> CommandMessage {
    match Message::decode(bytes).unwrap() {
        Message::Command(bytes) => CommandMessage::Command(bytes),
        Message::Answer(bytes) => CommandMessage::Answer(bytes),
        Message::Notice(bytes) => CommandMessage::Notice(bytes),
        Message::NoticeHeard(bytes) => CommandMessage::NoticeHeard(bytes),
        other => panic!("{other:?} is no message of a desk"),
    }
}

fn success() -> RunResult {
    RunResult { end: RunEnd::Success, output: "done".into() }
}

/// Two sides with a link, each a peer of the other at these levels.
fn linked(first_trusts: TrustLevel, second_trusts: TrustLevel) -> (DeskSide, DeskSide) {
    let (mut first, mut second) = (DeskSide::new(1), DeskSide::new(2));
    first.trust(second.me(), first_trusts);
    second.trust(first.me(), second_trusts);
    // As if the two had come into step.
    first.commands.early.shown(second.me());
    second.commands.early.shown(first.me());
    (first, second)
}

#[test]
fn a_command_that_arrives_twice_is_run_once_and_answered_twice() {
    let (mut sender, mut receiver) = linked(TrustLevel::Trusted, TrustLevel::Trusted);
    let id = sender.deploy(receiver.me(), HOUR).unwrap();
    sender.desk().offer_commands();
    let (messages, _) = sender.effects();
    let [command] = &messages[..] else { panic!("one offer: {messages:?}") };

    assert!(receiver.desk().received(sender.me(), command).is_none());
    let (answers, installs) = receiver.effects();
    assert_eq!((answers.len(), installs.len()), (1, 1), "an answer that it runs, and one install");
    let _ = receiver.desk().received(sender.me(), command);
    assert_eq!(receiver.effects().1, [], "a repetition begins nothing");

    assert_eq!(receiver.desk().installed(installs[0], success()), None, "no call waits for it");
    let (answers, _) = receiver.effects();
    let [answer] = &answers[..] else { panic!("one answer: {answers:?}") };
    let _ = sender.desk().received(receiver.me(), answer);
    assert!(sender.commands.outbox.command(&id).unwrap().is_over());
    let _ = receiver.desk().received(sender.me(), command);
    assert_eq!(receiver.effects().1, [], "what has ended is answered again, and not run");
}

#[test]
fn a_deploy_goes_only_to_a_trusted_peer_and_ends_before_its_limit() {
    let (mut sender, receiver) = linked(TrustLevel::Observer, TrustLevel::Trusted);
    let refused = sender.deploy(receiver.me(), HOUR);
    assert!(matches!(refused, Err(CommandError::NotTrusted(_))), "{refused:?}");
    sender.trust(receiver.me(), TrustLevel::Trusted);
    assert_eq!(sender.deploy(receiver.me(), Millis::ZERO), Err(CommandError::BadDeployExpiry));
    assert_eq!(sender.deploy(receiver.me(), 24 * 8 * HOUR), Err(CommandError::BadDeployExpiry));
    assert!(sender.deploy(receiver.me(), HOUR).is_ok());
}

#[test]
fn a_command_is_not_offered_to_a_peer_that_lost_its_trust() {
    let (mut sender, receiver) = linked(TrustLevel::Trusted, TrustLevel::Trusted);
    sender.deploy(receiver.me(), HOUR).unwrap();
    sender.trust(receiver.me(), TrustLevel::Observer);
    sender.desk().offer_commands();
    assert_eq!(sender.effects().0, []);
    sender.trust(receiver.me(), TrustLevel::Trusted);
    sender.desk().offer_commands();
    assert_eq!(sender.effects().0.len(), 1);
}

#[test]
fn a_command_of_a_peer_without_trust_is_refused_and_leaves_no_record() {
    let (mut sender, mut receiver) = linked(TrustLevel::Trusted, TrustLevel::Observer);
    sender.deploy(receiver.me(), HOUR).unwrap();
    sender.desk().offer_commands();
    let (messages, _) = sender.effects();
    let _ = receiver.desk().received(sender.me(), &messages[0]);
    assert_eq!(receiver.rejected(InputRejection::Command(CommandRefusal::NotTrusted)), 1);
    assert!(receiver.commands.inbox.last_outcomes().is_empty());
    let (answers, installs) = receiver.effects();
    assert_eq!((answers.len(), installs.len()), (1, 0), "the refusal is answered");
}

#[test]
fn hostile_bytes_and_unasked_answers_are_counted_and_change_nothing() {
    let (mut sender, mut receiver) = linked(TrustLevel::Trusted, TrustLevel::Trusted);
    let me = sender.me();
    for message in [
        CommandMessage::Command(vec![0xff; 40]),
        CommandMessage::Answer(vec![0x80]),
        CommandMessage::Notice(Vec::new()),
        CommandMessage::NoticeHeard(vec![1; 7]),
    ] {
        assert!(receiver.desk().received(me, &message).is_none());
    }
    assert_eq!(receiver.rejected(InputRejection::BadMessage), 4);
    assert_eq!(receiver.effects(), (Vec::new(), Vec::new()));

    // The answer of another peer than the addressee.
    sender.deploy(receiver.me(), HOUR).unwrap();
    sender.desk().offer_commands();
    let (messages, _) = sender.effects();
    let _ = receiver.desk().received(me, &messages[0]);
    let (answers, _) = receiver.effects();
    let other = DeskSide::new(3).me();
    let _ = sender.desk().received(other, &answers[0]);
    assert_eq!(sender.rejected(InputRejection::UnaskedAnswer), 1);
}

#[test]
fn a_notice_counts_by_the_trust_in_its_author() {
    let (mut author, mut judge) = linked(TrustLevel::Trusted, TrustLevel::Observer);
    let victim = DeskSide::new(3).me();
    author.trust(victim, TrustLevel::Trusted);
    judge.side.trust(victim, TrustLevel::Trusted);
    let notice = author.desk().sign_notice(&crate::identity::did(&victim)).unwrap();
    let message = CommandMessage::Notice(notice.encode());

    let receipt = judge.desk().received(author.me(), &message).expect("it is confirmed all the same");
    assert!(matches!(receipt.effect, NoticeEffect::Unchanged));
    assert_eq!(judge.rejected(InputRejection::NoticeOfNoTrust), 1);

    judge.trust(author.me(), TrustLevel::Trusted);
    let forged = RevocationNotice { time_s: notice.time_s + 1, ..notice.clone() };
    let forged = CommandMessage::Notice(forged.encode());
    assert!(judge.desk().received(author.me(), &forged).is_none());
    assert_eq!(judge.rejected(InputRejection::BadSignature), 1);

    let receipt = judge.desk().received(author.me(), &message).expect("it counts");
    assert!(matches!(receipt.effect, NoticeEffect::Accepted(_)));
    judge.desk().suspend_revoked();
    assert!(judge.side.replica.federation().is_suspended(&victim));

    judge.desk().confirm_notice(author.me(), receipt.hash);
    let hash = NoticeHash(receipt.hash.0).0.to_vec();
    assert_eq!(judge.effects().0, [CommandMessage::NoticeHeard(hash)]);
}

#[test]
fn an_operator_does_not_bring_back_an_identity_that_ended_itself() {
    let mut side = DeskSide::new(1);
    let ended = crate::identity::Keypair::from_seeds(&[9; 32], &[8; 32]);
    let own = RevocationNotice::sign(&ended, ended.peer_id(), 5);
    side.trust(ended.peer_id(), TrustLevel::Trusted);
    assert!(matches!(side.desk().publish_notice(own), Ok(NoticeEffect::Accepted(_))));
    let back = side.desk().decide_about(&ended.peer_id(), TrustLevel::Observer);
    assert!(matches!(back, Err(CommandError::Revoked(_))), "{back:?}");
    let out = side.desk().decide_about(&ended.peer_id(), TrustLevel::Untrusted).unwrap();
    assert_eq!(out, Suspensions::Changed);
}

#[test]
fn a_call_for_an_install_needs_the_right_and_counts_once() {
    let (mut caller, mut receiver) = linked(TrustLevel::Trusted, TrustLevel::Observer);
    let call = caller.install_call(receiver.me());
    let needs = TrustLevel::Trusted;
    assert_eq!(receiver.install(1, &call).unwrap_err(), CallRefusal::NotTrusted { needs });

    receiver.trust(caller.me(), TrustLevel::Trusted);
    assert!(matches!(receiver.install(2, &call), Ok(CallStep::Later)));
    assert_eq!(receiver.install(3, &call).unwrap_err(), CallRefusal::Replayed);
    let (messages, installs) = receiver.effects();
    assert_eq!((messages.len(), installs.len()), (0, 1));

    receiver.call_desk().installed(installs[0], success());
    let answered = receiver.side.outputs().into_iter().find_map(|output| match output {
        Output::CallAnswer { request, reply } => Some((request, reply.status)),
        _ => None,
    });
    assert_eq!(answered, Some((RequestId(2), 200)), "the call that waited");
    let outcome = receiver.commands.inbox.outcome(&installs[0]);
    assert_eq!(outcome, Some(&Outcome::Ended(success())));
}

#[test]
fn a_suspended_caller_has_no_right_whatever_its_record_grants() {
    let (mut caller, mut receiver) = linked(TrustLevel::Trusted, TrustLevel::Trusted);
    receiver.side.replica.set_suspended([caller.me()].into());
    let call = caller.install_call(receiver.me());
    assert!(matches!(receiver.install(1, &call), Err(CallRefusal::NotTrusted { .. })));
    assert_eq!(receiver.effects(), (Vec::new(), Vec::new()));
}
