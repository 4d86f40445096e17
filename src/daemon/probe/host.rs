//! CPU, memory, disk and uptime of this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

use crate::node::NodeState;

/// CPU use is an average since the last look; the first look takes so long.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// What was known at the last look.
pub(crate) struct Host {
    folder: PathBuf,
    /// None only while a look is under way or after one failed.
    system: Option<System>,
    looked: bool,
}

impl Host {
    /// A machine not looked at yet; its disk is the one that holds `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Host { folder, system: None, looked: false }
    }

    /// The figures of now. Those that cannot be had are left out.
    pub(crate) async fn look(&mut self) -> NodeState {
        let system = self.system.take();
        if !std::mem::replace(&mut self.looked, true) || system.is_none() {
            let first = tokio::task::spawn_blocking(new_system).await.ok();
            tokio::time::sleep(FIRST_LOOK).await;
            return self.look_again(first).await;
        }
        self.look_again(system).await
    }

    /// Reading a mounted disk may take long, so it is not done on the thread that serves.
    async fn look_again(&mut self, system: Option<System>) -> NodeState {
        let Some(mut system) = system else { return NodeState::default() };
        let folder = self.folder.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let state = figures(&mut system, &folder);
            (system, state)
        });
        let Ok((system, state)) = looked.await else { return NodeState::default() };
        self.system = Some(system);
        state
    }
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
    let cpu = f64::from(system.global_cpu_usage());
    let disk = disk_of(folder);
    NodeState {
        // One decimal: more is noise, and costs bytes on a radio.
        cpu_usage_percent: cpu.is_finite().then(|| (cpu * 10.0).round() / 10.0),
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
            let state = host.look().await;
            assert!((0.0..=100.0).contains(&state.cpu_usage_percent.unwrap()));
            assert!(state.mem_used_bytes.unwrap() <= state.mem_total_bytes.unwrap());
            assert!(state.uptime_secs.unwrap() > 0);
            assert!(state.disk_used_bytes <= state.disk_total_bytes);
        }
    }
}
