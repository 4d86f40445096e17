//! Writes that may be of many keys, on their way to the node: one that takes long is worked out in a thread of its own, on the draft that
//! the node answers ([`DraftInput`]), so that nothing else waits for that.

use super::journal::EventId;
use super::{AskAnswer, AskError, NodeClient, NodeGone, Task};
use crate::authoring::{DraftInput, DraftOrder};
use crate::io::{Command, Reply, Write};
use crate::limits::SLICE_KEYS_MAX;
use crate::merge::leaf_count;

/// Whether a command may be answered with a draft.
pub(super) fn is_drafted(command: &Command) -> bool {
    let Command::Write(write) = command else { return false };
    match write {
        Write::Put { .. } | Write::Del { .. } | Write::OnBase { .. } => true,
        // Most are of one key: they go without a look at all that is below it.
        Write::Set { value, .. } => leaf_count(value) > SLICE_KEYS_MAX,
        Write::Create { .. } | Write::Delete { .. } | Write::Settle { .. } | Write::PublishState { .. } => {
            false
        }
    }
}

impl NodeClient {
    /// Sends a write that may be answered with a draft, and waits for the reply.
    pub(super) async fn ask_in_draft(&self, command: Command) -> Result<(Reply, EventId), AskError> {
        let write = match command {
            Command::Write(write) => write,
            command => return self.ask(command).await,
        };
        let order = DraftOrder::new(write);
        let mut turn = self.drafts.try_acquire().ok();
        let later = turn.is_none().then(|| order.clone());
        let mut answer = self.draft(DraftInput::Order(order)).await?;
        if let (Some(order), AskAnswer::Draft(_)) = (later, &answer) {
            turn = self.drafts.acquire().await.ok();
            answer = self.draft(DraftInput::Order(order)).await?;
        }
        let (result, up_to) = loop {
            let draft = match answer {
                AskAnswer::Draft(draft) => draft,
                AskAnswer::Reply { result, up_to } => break (result, up_to),
            };
            let worked_out = tokio::task::spawn_blocking(move || draft.work_out());
            let drafted = worked_out.await.map_err(|_| NodeGone)??;
            let ballast = drafted.ballast();
            let asked = self.draft(DraftInput::Drafted(Box::new(drafted))).await;
            drop(tokio::task::spawn_blocking(move || drop(ballast)));
            answer = asked?;
        };
        drop(turn);
        Ok((result?, up_to))
    }

    async fn draft(&self, input: DraftInput) -> Result<AskAnswer, AskError> {
        self.answer(|sender| Task::Draft(input, sender)).await
    }
}
