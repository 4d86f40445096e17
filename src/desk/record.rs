//! What a desk leaves behind: writes for the next commit, and events for those that watch.

use crate::commands::{CommandKey, RecordChange, SentCommand};
use crate::desk::CommandDesk;
use crate::io::{Event, view};
use crate::report::CommandReport;
use crate::store::StoreWrite;

impl CommandDesk<'_> {
    /// Makes changes of what is remembered durable with the next commit.
    pub(crate) fn record(&mut self, changes: impl IntoIterator<Item = RecordChange>) {
        for change in changes {
            self.core.gate.write(StoreWrite::Command(change));
        }
    }

    pub(super) fn report(&self) -> CommandReport<'_> {
        CommandReport { core: self.core, replica: self.replica, commands: self.commands }
    }

    /// A deploy of this node has come further.
    pub(super) fn sent_event(&mut self, command: &SentCommand) {
        let view = self.report().sent_deploy(command);
        self.deploy_event(view);
    }

    /// A deploy of a peer has come further here.
    pub(super) fn received_event(&mut self, key: &CommandKey) {
        let view = self.commands.inbox.record(key).map(|record| self.report().received_deploy(record));
        if let Some(view) = view {
            self.deploy_event(view);
        }
    }

    fn deploy_event(&mut self, view: view::DeployView) {
        let view::DeployView { id, direction, app_id, peer_did, status, .. } = view;
        self.core.event(Event::Deploy(view::DeployEventView {
            deploy_id: id,
            direction,
            app_id,
            peer_did,
            status,
        }));
    }
}
