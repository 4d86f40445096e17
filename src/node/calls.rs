//! JSON calls: what only the node can do for a call that arrived, and after the answer to one of its own.

use crate::desk::{CallEnd, CallStep};
use crate::io::{CallFailure, CallId, CallReply, CommandError, IncomingCall, RequestId};
use crate::node::Node;

impl Node {
    pub(super) fn call_received(&mut self, request: RequestId, call: &IncomingCall) {
        let result = match self.desk().take_call(request, call) {
            Ok(CallStep::Later) => return,
            Ok(CallStep::Answer(reply)) => Ok(reply),
            Ok(CallStep::State(proof)) => {
                self.settle();
                let state = self.report().newest_state(&self.core.me);
                self.desk().answer_state(&proof, state)
            }
            Ok(CallStep::Joined { joiner, waiters, reply }) => {
                self.answer_joined(&joiner, waiters);
                Ok(reply)
            }
            Err(refusal) => Err(refusal),
        };
        self.desk().reply(request, result);
    }

    pub(super) fn call_answered(&mut self, id: CallId, result: Result<CallReply, CallFailure>) {
        match self.desk().call_answered(id, result) {
            CallEnd::Over => {}
            CallEnd::InviterAnswered { inviter, answer } => self.inviter_answered(inviter, answer),
            CallEnd::InviterRefused { inviter, waiters, why } => {
                let refused = |peer| CommandError::CallRefused { peer, why: why.clone() };
                self.joining_refused(&inviter, waiters, refused);
            }
        }
    }
}
