//! CPU, memory, disk and uptime of this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};
use tokio::task::JoinHandle;

use crate::node::NodeState;

/// The time over which the first reading of the CPU is taken; each later one covers the time since the last.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// How long a reading may take. Beyond, the state is published without figures until that reading is done: a second one
/// beside it would hang as well.
pub const LOOK_MAX: Duration = Duration::from_secs(10);

/// Why the figures cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A disk or the system does not answer.
    #[error("this machine's figures take longer than {} s: does a disk hang?", LOOK_MAX.as_secs())]
    Slow,
    /// The reading ended in a panic.
    #[error("this machine's figures cannot be read")]
    Failed,
}

/// The host, with what the last reading left for the next.
pub(crate) struct Host {
    folder: PathBuf,
    /// None before the first reading, during one, and after one failed.
    system: Option<System>,
    /// The reading in progress.
    looking: Option<JoinHandle<(System, NodeState)>>,
}

impl Host {
    /// A host that was not read yet; its disk is the one that holds `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Host { folder, system: None, looking: None }
    }

    /// The present figures. Those that cannot be read are left out.
    ///
    /// Reading a mounted disk may take long, so it is done on a thread of its own.
    pub(crate) async fn look(&mut self) -> Result<NodeState, HostError> {
        let (system, folder) = (self.system.take(), self.folder.clone());
        let start = || tokio::task::spawn_blocking(move || look(system, &folder));
        let looking = self.looking.get_or_insert_with(start);
        let looked = tokio::time::timeout(LOOK_MAX, looking).await.map_err(|_| HostError::Slow)?;
        self.looking = None;
        let (system, state) = looked.map_err(|_| HostError::Failed)?;
        self.system = Some(system);
        Ok(state)
    }
}

fn look(system: Option<System>, folder: &Path) -> (System, NodeState) {
    let mut system = system.unwrap_or_else(|| {
        let system = new_system();
        std::thread::sleep(FIRST_LOOK);
        system
    });
    let state = figures(&mut system, folder);
    (system, state)
}

fn new_system() -> System {
    let what = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing().with_cpu_usage())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    System::new_with_specifics(what)
}

fn figures(system: &mut System, folder: &Path) -> NodeState {
    system.refresh_cpu_usage();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    // Without /proc no processor is seen, and its use is not known to be 0.
    let cpu = (!system.cpus().is_empty()).then(|| f64::from(system.global_cpu_usage()));
    let disk = disk_of(folder);
    NodeState {
        // One decimal: more is noise, and costs bytes on a radio.
        cpu_usage_percent: cpu.filter(|cpu| cpu.is_finite()).map(|cpu| (cpu * 10.0).round() / 10.0),
        mem_used_bytes: Some(system.used_memory()).filter(|used| *used > 0),
        mem_total_bytes: Some(system.total_memory()).filter(|total| *total > 0),
        disk_used_bytes: disk.map(|(used, _)| used),
        disk_total_bytes: disk.map(|(_, total)| total),
        uptime_secs: Some(System::uptime()).filter(|uptime| *uptime > 0),
        ..NodeState::default()
    }
}

/// Used and total bytes of the file system that holds `folder`.
fn disk_of(folder: &Path) -> Option<(u64, u64)> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
    let holds = |disk: &&sysinfo::Disk| disk.total_space() > 0 && folder.starts_with(disk.mount_point());
    let disk = disks.iter().filter(holds).max_by_key(|disk| disk.mount_point().components().count())?;
    Some((disk.total_space().saturating_sub(disk.available_space()), disk.total_space()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures are those of a real machine: within their bounds, and uptime and memory present.
    #[tokio::test]
    async fn a_real_machine_is_seen_twice() {
        let mut host = Host::new(std::env::temp_dir());
        for _ in 0..2 {
            let state = host.look().await.unwrap();
            assert!((0.0..=100.0).contains(&state.cpu_usage_percent.unwrap()));
            assert!(state.mem_used_bytes.unwrap() <= state.mem_total_bytes.unwrap());
            assert!(state.uptime_secs.unwrap() > 0);
            assert!(state.disk_used_bytes <= state.disk_total_bytes);
        }
    }
}
