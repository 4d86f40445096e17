//! Writes that may be of many keys, on their way to the node: one that takes long is worked out in a thread of its own, on the draft that
//! the node answers ([`Write::InDraft`]), so that nothing else waits for that.

use super::journal::EventId;
use super::{AskError, NodeClient};
use crate::authoring::DraftOrder;
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
        Write::Create { .. }
        | Write::Delete { .. }
        | Write::Settle { .. }
        | Write::InDraft(_)
        | Write::Drafted(_)
        | Write::PublishState { .. } => false,
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
        let mut answer = self.ask(Write::InDraft(order).into()).await?;
        if let (Some(order), (Reply::Draft(_), _)) = (later, &answer) {
            turn = self.drafts.acquire().await.ok();
            answer = self.ask(Write::InDraft(order).into()).await?;
        }
        while let (Reply::Draft(draft), _) = answer {
            let worked_out = tokio::task::spawn_blocking(move || draft.work_out());
            let drafted = worked_out.await.map_err(|_| super::NodeGone)??;
            let ballast = drafted.ballast();
            let asked = self.ask(Write::Drafted(Box::new(drafted)).into()).await;
            drop(tokio::task::spawn_blocking(move || drop(ballast)));
            answer = asked?;
        }
        drop(turn);
        Ok(answer)
    }
}
