//! How much memory this process may use: that of the machine, or less where its control group has a limit.

use std::path::{Path, PathBuf};

/// Bytes of memory for this process; none where the system does not show it (only Linux does).
pub(super) fn for_this_process() -> Option<u64> {
    let of_machine = read("/proc/meminfo".as_ref()).and_then(|text| of_machine(&text));
    let group = read("/proc/self/cgroup".as_ref()).and_then(|text| group_path(&text));
    of_machine.into_iter().chain(group.and_then(|group| of_group(&group))).min()
}

/// The field `MemTotal` of proc_meminfo(5).
fn of_machine(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The folder of the control group, by the line of version 2 in cgroups(7).
fn group_path(groups: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

/// The lowest limit of a group and those above it; `max` is none.
fn of_group(group: &Path) -> Option<u64> {
    let limits = group.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    limits.filter_map(|folder| read(&folder.join("memory.max"))?.trim().parse().ok()).min()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_linux_shows_it() {
        let meminfo = "MemTotal:         948304 kB\nMemFree:          120548 kB\n";
        assert_eq!(of_machine(meminfo), Some(948_304 * 1024));
        for odd in ["", "MemTotal: many kB", "MemTotal: 5", "MemFree: 5 kB"] {
            assert_eq!(of_machine(odd), None, "{odd}");
        }
        let group = group_path("1:name=systemd:/x\n0::/system.slice/tombolo.service\n");
        assert_eq!(group, Some("/sys/fs/cgroup/system.slice/tombolo.service".into()));
        assert_eq!(group_path("1:memory:/x\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_some() {
        assert!(for_this_process().is_some_and(|bytes| bytes > 16 << 20));
    }
}
