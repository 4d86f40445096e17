//! The service manager that started the daemon, where one did: it learns when the node is up, that it still answers, and that it
//! ends (sd_notify(3)). Without one nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use crate::node::Query;
use crate::runtime::{AskError, NodeClient};

/// The service manager, and the task that reports to it.
pub(super) struct ServiceManager {
    watchdog: Option<JoinHandle<()>>,
}

impl ServiceManager {
    /// Reports that the node is up, and from now on that it answers, if the service manager wants to know.
    pub(super) fn start(client: NodeClient) -> Self {
        notify(&[NotifyState::Ready, NotifyState::Status("the node is up")]);
        let watchdog = sd_notify::watchdog_enabled().map(|within| tokio::spawn(report_life(client, within)));
        ServiceManager { watchdog }
    }

    /// Reports that the node ends: from here on the service manager waits for the end alone.
    pub(super) fn stopping(&self) {
        if let Some(task) = &self.watchdog {
            task.abort();
        }
        notify(&[NotifyState::Stopping]);
    }
}

/// Asks the node again and again. One that does not answer is not reported alive, and the service manager starts it again.
async fn report_life(client: NodeClient, within: Duration) {
    let mut ticks = tokio::time::interval(within / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match client.command(Query::Id).await {
            // A node whose disk refuses answers as well: to start it again would not help.
            Ok(_) | Err(AskError::Refused(_)) => notify(&[NotifyState::Watchdog]),
            Err(AskError::Gone(_)) => return,
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not reached");
    }
}
