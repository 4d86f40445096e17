//! The process group of a program that this node runs: what the program started is ended with it.

use rustix::process::{Pid, Signal, kill_process_group};

/// The group of a program that was started in a group of its own. Dropped, it ends the group.
#[derive(Debug)]
pub(crate) struct ProcessGroup(Option<u32>);

impl ProcessGroup {
    /// The group of a child that runs.
    pub(crate) fn of(child: &tokio::process::Child) -> Self {
        ProcessGroup(child.id())
    }

    /// The program was waited for: its id may be another's from now on.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// Ends the program and what it started.
    pub(crate) fn kill(&mut self) {
        let group = self.0.take().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::warn!("cannot end the programs of group {group:?}: {error}");
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}
