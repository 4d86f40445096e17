//! What takes several turns, so that nothing else waits long: writes of many keys, and questions about all of a large document.

use std::collections::VecDeque;

use crate::authoring::SLICE_WAIT;
use crate::io::{CommandError, Output, Query, Reply, RequestId};
use crate::limits::ANSWER_KEYS_MAX;
use crate::node::Node;
use crate::report::{ConflictWalk, ListWalk};

/// A question that is answered part by part.
#[derive(Debug)]
pub(super) enum Walk {
    Conflicts(ConflictWalk),
    List(ListWalk),
}

/// Questions that are answered part by part, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// As many as clients may ask at a time.
    walks: VecDeque<(RequestId, Walk)>,
    input: TurnInput,
    /// In the turn before a part was done.
    has_gone_on: bool,
}

/// What has come since the last turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum TurnInput {
    /// Outputs that lead to others are no new turn.
    #[default]
    Nothing,
    Time,
    /// It may be a request that waits for its answer.
    Other,
}

impl UnderWay {
    /// An input has come.
    pub(super) fn note_input(&mut self, is_time: bool) {
        self.input = self.input.max(if is_time { TurnInput::Time } else { TurnInput::Other });
    }

    /// Whether questions are left.
    pub(super) fn is_empty(&self) -> bool {
        self.walks.is_empty()
    }

    /// The requests of all, which end.
    pub(super) fn take_waiters(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.walks).into_iter().map(|(request, _)| request).collect()
    }

    /// Whether a part is done in this turn: not where one was in the turn before and something else has come since, which has waited
    /// for that already.
    fn takes_turn(&mut self) -> bool {
        match std::mem::take(&mut self.input) {
            TurnInput::Nothing => false,
            TurnInput::Other if std::mem::take(&mut self.has_gone_on) => false,
            TurnInput::Time | TurnInput::Other => {
                self.has_gone_on = true;
                true
            }
        }
    }
}

impl Node {
    /// Whether a write or a question is under way that goes on with each turn.
    pub fn is_under_way(&self) -> bool {
        !self.under_way.is_empty() || self.authoring.is_slicing()
    }

    /// Does the next part of what is under way.
    pub(super) fn go_on(&mut self) {
        if !self.is_under_way() || !self.under_way.takes_turn() {
            return;
        }
        self.stage_slice();
        self.draft_waiting();
        if let Some((request, walk)) = self.under_way.walks.pop_front() {
            self.walk(request, walk);
        }
    }

    /// Stages the next slice of a long write, if there is one and it need not wait. What was staged before is signed first: the slice is
    /// compared with that.
    fn stage_slice(&mut self) {
        let Some(document) = self.authoring.sliced_document().cloned() else { return };
        if self.awaits_own(&document) {
            let again = self.core.now() + SLICE_WAIT;
            return self.authoring.wait_with_slices(again);
        }
        self.settle();
        if let Some((request, why)) = self.authoring.stage_slice(&mut self.core, &self.replica) {
            self.core.gate.reply(request, Err(why));
        }
    }

    /// Answers a question, or takes one that needs several turns.
    pub(super) fn query(&mut self, request: RequestId, query: &Query) {
        if self.core.gate.read_only().is_none() {
            self.settle();
        }
        let walk = match query {
            Query::Conflicts { doc } => self.report().begin_conflicts(doc.as_deref()).map(Walk::Conflicts),
            Query::List => Ok(Walk::List(self.report().begin_list())),
            query => {
                let result = self.report().answer(query);
                return self.answer(request, result);
            }
        };
        match walk {
            Ok(walk) => self.walk(request, walk),
            Err(why) => self.answer(request, Err(why)),
        }
    }

    /// Takes the next part of a walk, and answers after the last. Several take turns.
    fn walk(&mut self, request: RequestId, walk: Walk) {
        let report = self.report();
        let walk = match walk {
            Walk::Conflicts(mut walk) => match report.walk_conflicts(&mut walk, ANSWER_KEYS_MAX) {
                true => return self.answer(request, Ok(Reply::Conflicts(walk.into_found()))),
                false => Walk::Conflicts(walk),
            },
            Walk::List(mut walk) => match report.walk_list(&mut walk, ANSWER_KEYS_MAX) {
                true => return self.answer(request, Ok(walk.into_reply())),
                false => Walk::List(walk),
            },
        };
        self.under_way.walks.push_back((request, walk));
        self.under_way.has_gone_on = true;
    }

    /// Hands out an answer. Where the disk takes no writes, nothing that passing time wants to write keeps it back.
    fn answer(&mut self, request: RequestId, result: Result<Reply, CommandError>) {
        match self.core.gate.read_only().is_some() && self.core.gate.has_no_writes() {
            true => self.core.gate.output_uncommitted(Output::Reply { request, result }),
            false => self.core.gate.reply(request, result),
        }
    }
}
