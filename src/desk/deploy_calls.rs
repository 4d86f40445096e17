//! Deploys by JSON call: made once and now, recorded before, and never made a second time by themselves.
//!
//! out   `deploy_by_call` -> outbox (`Calling`) -> commit -> `Output::DialCall` -> `install_answered` -> outbox (`Called`)
//!
//! A call whose answer does not come ends as lost: the peer may have run its command. The same holds for one that was on its
//! way when this node stopped ([`CallDesk::end_lost_calls`]).

use std::collections::BTreeSet;

use tombolo_transports::PeerId;

use crate::commands::{CalledEnd, CommandId, Deploy, SentCommand, SentState};
use crate::core::InputRejection;
use crate::desk::CallDesk;
use crate::io::{CallFailure, CallReply, CommandError, OutgoingCall, Output, Quota, Reply};
use crate::rpc::{AnswerError, CallRequest, InstallRequest, Method, PendingCall};

/// Codes of an error whose sender does not know what became of the install.
const UNKNOWN_CODES: [&str; 3] = ["outcome_unknown", "gone", "too_slow"];
/// The code of an error whose sender ran its command.
const FAILED_CODE: &str = "install_failed";
/// Characters of another program's code that are kept.
const CODE_CHARS_MAX: usize = 40;

impl CallDesk<'_> {
    /// Asks a peer to install an app, by a call that leaves once the command is on disk.
    ///
    /// # Errors
    /// [`CommandError`] where this node may not ask for it, or knows no onion address of the peer.
    pub(crate) fn deploy_by_call(
        &mut self,
        peer: &str,
        app: &str,
        version: &str,
        marketplace_url: Option<&str>,
    ) -> Result<Reply, CommandError> {
        let (to, deploy) = self.commands.order(peer, app, version, marketplace_url)?;
        let onion = self.onion_of(&to)?;
        let body = install_body(&deploy);
        let created_at = self.commands.core.reference();
        let (id, headers) = self.sign_install(&to, &body);
        let call = self.calls.begin(PendingCall::Install { command: id });
        let call = call.ok_or(CommandError::Limit(Quota::Calls))?;
        let timeout = Method::Install.timeout();
        let command = SentCommand {
            id,
            to,
            deploy,
            created_at,
            expires_s: (created_at + timeout).ms().div_ceil(1000),
            state: SentState::Calling,
        };
        let Ok(changes) = self.commands.commands.outbox.add(command.clone()) else {
            self.calls.end(call);
            return Err(CommandError::Limit(Quota::Commands));
        };
        self.commands.record(changes);
        let outgoing = Box::new(OutgoingCall { onion, headers, body, timeout });
        self.commands.core.gate.output(Output::DialCall { id: call, peer: to, call: outgoing });
        Ok(Reply::Deploy(Box::new(self.commands.report().sent_deploy(&command))))
    }

    /// Signs a call under a timestamp that names no command yet.
    fn sign_install(&mut self, to: &PeerId, body: &[u8]) -> (CommandId, Vec<(&'static str, String)>) {
        let now = self.commands.core.reference();
        loop {
            let signed = self.calls.sign(&self.commands.core.keypair, to, now, Method::Install, body);
            if self.commands.commands.outbox.command(&signed.id).is_none() {
                return (signed.id, signed.headers);
            }
        }
    }

    /// The call for a command was answered, or has failed.
    pub(super) fn install_answered(&mut self, id: &CommandId, result: Result<CallReply, CallFailure>) {
        let (end, is_unusable) = match result {
            Ok(reply) => end_of(&reply),
            Err(CallFailure { why, may_have_arrived: true }) => (CalledEnd::Lost { why }, false),
            Err(CallFailure { why, may_have_arrived: false }) => (CalledEnd::Unreached { why }, false),
        };
        if is_unusable {
            self.commands.core.reject(InputRejection::BadCallAnswer);
        }
        self.end_call(id, end);
    }

    /// Ends the commands whose call this process does not make any more, and drops calls whose command the disk did not take.
    pub(crate) fn end_lost_calls(&mut self) {
        let calling: BTreeSet<CommandId> = self.commands.commands.outbox.calling().collect();
        let on_their_way = self.calls.retain_installs(&calling);
        for id in calling.difference(&on_their_way) {
            let why = "this node stopped before the answer came".to_owned();
            self.end_call(id, CalledEnd::Lost { why });
        }
    }

    fn end_call(&mut self, id: &CommandId, end: CalledEnd) {
        let reference = self.commands.core.reference();
        if let Some((command, change)) = self.commands.commands.outbox.called(id, end, reference) {
            self.commands.record([change]);
            self.commands.sent_event(&command);
        }
    }
}

fn install_body(deploy: &Deploy) -> Vec<u8> {
    let Deploy { id, version, marketplace_url } = deploy.clone();
    let marketplace_url = Some(marketplace_url).filter(|url| !url.is_empty());
    CallRequest::install_body(&InstallRequest { id, version, marketplace_url })
}

/// What an answer means for the command, and whether it was no usable one.
fn end_of(reply: &CallReply) -> (CalledEnd, bool) {
    match reply.read_install() {
        Ok(answer) if answer.is_deployed => (CalledEnd::Installed { output: answer.output }, false),
        Ok(_) => {
            let message = "the peer answered that it did not install the app".to_owned();
            (CalledEnd::Refused { code: None, message }, false)
        }
        Err(AnswerError::Refused { code, message, .. }) => (end_of_error(code, message), false),
        // It may have been installed: what came does not show it.
        Err(
            error @ (AnswerError::TooLong
            | AnswerError::TooDeep
            | AnswerError::NoAnswer { .. }
            | AnswerError::Empty),
        ) => (CalledEnd::Lost { why: error.to_string() }, true),
    }
}

fn end_of_error(code: Option<String>, message: String) -> CalledEnd {
    match code.as_deref() {
        Some(FAILED_CODE) => CalledEnd::Failed { message },
        Some(code) if UNKNOWN_CODES.contains(&code) => CalledEnd::Lost { why: message },
        Some(_) | None => CalledEnd::Refused { code: code.filter(|code| is_code(code)), message },
    }
}

fn is_code(code: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=CODE_CHARS_MAX).contains(&code.len()) && code.bytes().all(is_plain)
}
