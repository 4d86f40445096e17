//! The verdicts: facts in, findings out. Nothing here reads the machine.

use crate::time::{Millis, Wall};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::Finding;
use super::notify_checks::{NotifyFacts, notify};
use super::permission::{FileFacts, LocalUser, READ, WRITE, blocked_at, described, group_remedy};
use super::tor_checks::{TorFacts, tor};
use crate::cli::{advice, print};
use crate::clock::{BUILD_DATE, KernelClock};
use crate::io::Alarm;

/// Below this much free space a commit may fail any day.
const DISK_LOW_BYTES: u64 = 50_000_000;
/// Below this much free space it is time to look for more.
const DISK_SHORT_BYTES: u64 = 500_000_000;
/// A peer's clock that is further off is shown.
const CLOCK_OFF_S: u64 = 60;
/// Writers sign again every 30 days while deletions wait: one that has not for longer is away.
const WRITER_AWAY: Millis = Millis::from_secs(35 * 24 * 60 * 60);

/// Everything that was read of the machine and the node.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) user: LocalUser,
    pub(super) folder: FolderFacts,
    /// Why the settings cannot be read.
    pub(super) settings_error: Option<String>,
    /// What the node answers; none where no node lives in the folder, or its settings cannot be read.
    pub(super) node: Option<NodeFacts>,
    pub(super) clock: ClockFacts,
    pub(super) disk: Option<DiskFacts>,
    pub(super) network: NetworkFacts,
    pub(super) ports: Vec<PortFacts>,
    pub(super) radios: Vec<DeviceFacts>,
    pub(super) tor: TorFacts,
    pub(super) notify: NotifyFacts,
}

#[derive(Debug)]
pub(super) struct FolderFacts {
    pub(super) path: PathBuf,
    pub(super) folder: Option<FileFacts>,
    pub(super) key: Option<FileFacts>,
    pub(super) has_store: bool,
    /// Why the key file cannot be read.
    pub(super) key_error: Option<String>,
}

#[derive(Debug)]
pub(super) struct NodeFacts {
    pub(super) running: bool,
    /// The reply to `status`, or the code and the words of the error.
    pub(super) status: Result<Json, (String, String)>,
}

#[derive(Debug)]
pub(super) struct ClockFacts {
    pub(super) wall: Wall,
    pub(super) kernel: KernelClock,
    /// The time services that run here.
    pub(super) services: Vec<&'static str>,
    /// Whether the settings vouch for the clock.
    pub(super) vouched: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct DiskFacts {
    pub(super) free_bytes: u64,
    /// Files that can still be made; none where the file system has no such limit.
    pub(super) free_files: Option<u64>,
    pub(super) read_only: bool,
}

#[derive(Debug)]
pub(super) struct NetworkFacts {
    /// Whether the node listens on the local network.
    pub(super) lan: bool,
    pub(super) mdns: bool,
    /// The network interfaces, where the system lists them.
    pub(super) interfaces: Option<Vec<NetworkInterface>>,
}

#[derive(Clone, Debug)]
pub(super) struct NetworkInterface {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) loopback: bool,
    pub(super) multicast: bool,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}

#[derive(Clone, Debug)]
pub(super) struct PortFacts {
    pub(super) address: SocketAddr,
    /// What the system returned when the port was taken for a moment.
    pub(super) bound: Result<(), io::ErrorKind>,
}

/// The serial port of a radio.
#[derive(Clone, Debug)]
pub(super) struct DeviceFacts {
    pub(super) path: PathBuf,
    pub(super) exists: bool,
    pub(super) is_device: bool,
    /// Whether the system lets this user read and write it.
    pub(super) open: bool,
    /// The files of its path, from the root.
    pub(super) files: Vec<FileFacts>,
}

/// All findings, in the order in which they are shown.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut found = folder(&facts.folder, &facts.user);
    if let Some(error) = &facts.settings_error {
        found.push(Finding::needs_doing(
            "settings",
            error.clone(),
            "correct tombolo.toml; each setting has a comment",
        ));
    }
    let status = facts.node.as_ref().and_then(|node| node.status.as_ref().ok());
    let running = facts.node.as_ref().is_some_and(|node| node.running);
    found.extend(facts.node.as_ref().map(node));
    found.extend(clock(&facts.clock, status.filter(|_| running)));
    found.extend(facts.disk.as_ref().map(disk));
    found.push(multicast(&facts.network));
    let own: Vec<SocketAddr> = addresses(status);
    found.extend(facts.ports.iter().map(|port| udp_port(port, running, &own)));
    found.extend(facts.radios.iter().map(|device| radio(device, &facts.user)));
    found.extend(tor(&facts.tor, &facts.user));
    found.extend(status.and_then(onion_service));
    found.extend(notify(&facts.notify));
    let now = facts.clock.wall;
    found.extend(status.into_iter().flat_map(|status| federation(status, now)));
    found
}

fn folder(facts: &FolderFacts, user: &LocalUser) -> Vec<Finding> {
    match &facts.folder {
        Some(folder) => vec![closed_folder(folder, user), key_file(facts, folder, user)],
        None => {
            let reason = format!("no node lives in {}", facts.path.display());
            vec![Finding::needs_doing("folder", reason, INIT)]
        }
    }
}

fn closed_folder(folder: &FileFacts, user: &LocalUser) -> Finding {
    let (path, described) = (folder.path.display(), described(folder));
    match folder.mode {
        _ if folder.uid != user.uid && user.uid == 0 => Finding::warning(
            "folder",
            format!("{described} belongs to another user, and root passes every permission"),
            format!("run this as that user: `sudo -u {} tombolo doctor`", folder.owner),
        ),
        _ if folder.uid != user.uid => Finding::needs_doing(
            "folder",
            format!("{described} belongs to another user than {}", user.name),
            format!("run the node as {0}, or `chown -R {1} {path}` as root", folder.owner, user.name),
        ),
        mode if mode & 0o022 != 0 => Finding::needs_doing(
            "folder",
            format!("others can change {described}"),
            format!("`chmod 700 {path}`"),
        ),
        mode if mode & 0o055 != 0 => {
            Finding::warning("folder", format!("others can list {described}"), format!("`chmod 700 {path}`"))
        }
        _ => Finding::ok("folder", format!("{path} is closed to others")),
    }
}

fn key_file(facts: &FolderFacts, folder: &FileFacts, user: &LocalUser) -> Finding {
    let path = facts.path.display();
    match (&facts.key, &facts.key_error) {
        // What another user has closed is neither missing nor damaged.
        _ if folder.uid != user.uid && user.uid != 0 => Finding::warning(
            "key file",
            format!("not looked at: only {} may", folder.owner),
            format!("run this as that user: `sudo -u {} tombolo doctor`", folder.owner),
        ),
        (None, _) if facts.has_store => Finding::needs_doing(
            "key file",
            format!("{path} has a store but no identity.key"),
            "put the key file back from its copy, or choose an empty folder with --data-dir",
        ),
        (None, _) => Finding::needs_doing("key file", format!("no node lives in {path}"), INIT),
        (Some(key), _) if key.mode & 0o077 != 0 => Finding::needs_doing(
            "key file",
            format!("others can read {}: a process that has it is this node", described(key)),
            format!("`chmod 600 {}`; if others may have read it, make a new identity", key.path.display()),
        ),
        (Some(key), _) if key.uid != folder.uid => Finding::needs_doing(
            "key file",
            format!("{} has another owner than its folder", described(key)),
            format!("`chown {} {}` as root", folder.owner, key.path.display()),
        ),
        (Some(_), Some(error)) => {
            Finding::needs_doing("key file", error.clone(), "put it back from its copy")
        }
        (Some(_), None) => Finding::ok("key file", "only its owner can read it"),
    }
}

const INIT: &str = "`tombolo init --name NAME` makes one, or name its folder with --data-dir";

fn node(facts: &NodeFacts) -> Finding {
    match &facts.status {
        Ok(_) if facts.running => Finding::ok("node", "it runs and answers"),
        Ok(_) => Finding::ok("node", "it does not run; its store opens. `tombolo up` starts it"),
        Err((_, message)) if facts.running => {
            let remedy = "look into its log; `tombolo up` starts it again once it has ended";
            Finding::needs_doing("node", message.clone(), remedy)
        }
        Err((code, message)) => {
            let remedy = match code.as_str() {
                "in_use" | "already_running" => {
                    "wait until that process ends; `fuser store.redb` in the folder names it"
                }
                "disk_full" => "free some space, or make the file system writable",
                "store_damaged" | "store_away" | "other_node" | "store" => "the reason names the command",
                _ => "the reason names what to change",
            };
            Finding::needs_doing("store", message.clone(), remedy)
        }
    }
}

/// `status` is that of a running node: only that one has received its peers' clocks.
fn clock(facts: &ClockFacts, status: Option<&Json>) -> Vec<Finding> {
    let mut found = vec![own_clock(facts, status.map(|status| print::text(status, "time_source")))];
    let peers = status.and_then(|status| status.get("clocks")).map(print::items).unwrap_or_default();
    for peer in peers {
        let ahead = peer.get("ahead_s").and_then(Json::as_i64).unwrap_or_default();
        if ahead.unsigned_abs() > CLOCK_OFF_S {
            let (name, span) = (print::text(peer, "name"), print::span(ahead.unsigned_abs()));
            let side = if ahead > 0 { "ahead of" } else { "behind" };
            let reason = format!("the clock of {name} is {span} {side} this machine's");
            found.push(Finding::warning("peer's clock", reason, "set the one of the two that is wrong"));
        }
    }
    found
}

fn own_clock(facts: &ClockFacts, source: Option<&str>) -> Finding {
    let services = match facts.services.as_slice() {
        [] => String::new(),
        names => format!(" ({})", names.join(", ")),
    };
    let shown = crate::clock::rfc3339(Wall::from_ms(facts.wall.ms() / 1000 * 1000));
    match (source, facts.kernel) {
        _ if facts.wall < BUILD_DATE && !facts.vouched => Finding::needs_doing(
            "clock",
            format!("it shows {shown}, before this program was built"),
            SET_CLOCK,
        ),
        (Some("median"), _) => Finding::needs_doing("clock", Alarm::ClockDiffers.to_string(), SET_CLOCK),
        (Some("peer"), _) => {
            Finding::needs_doing("clock", "it is not set: the node goes by the clock of a peer", SET_CLOCK)
        }
        (Some("logical"), _) => {
            Finding::needs_doing("clock", "it is not set, and no peer has sent its time yet", SET_CLOCK)
        }
        (_, KernelClock::Synchronised) => {
            Finding::ok("clock", format!("the kernel counts it as synchronised{services}"))
        }
        _ if facts.vouched => {
            Finding::ok("clock", format!("{shown}; the settings vouch for it (`clock = \"set\"`)"))
        }
        (_, KernelClock::Unknown) if !facts.services.is_empty() => Finding::ok(
            "clock",
            format!("a time service runs{services}; whether it has set the clock is not known"),
        ),
        (_, KernelClock::NotSynchronised) => Finding::warning(
            "clock",
            format!("it shows {shown}, and the kernel counts it as not synchronised{services}"),
            TIME_SERVICE,
        ),
        (_, KernelClock::Unknown) => {
            Finding::warning("clock", format!("it shows {shown}; no time service was found"), TIME_SERVICE)
        }
    }
}

const SET_CLOCK: &str =
    "set it as root (`date -s '2026-12-31 12:00'`, then `hwclock -w`), and run a time service such as chrony";
const TIME_SERVICE: &str = "run chrony or systemd-timesyncd; without internet, with a GPS receiver or another machine as its source. \
    A clock that is known to be right: `clock = \"set\"` in tombolo.toml";

fn disk(facts: &DiskFacts) -> Finding {
    let free = format!("{} free where the folder is", print::size(facts.free_bytes));
    match facts {
        DiskFacts { read_only: true, .. } => Finding::needs_doing(
            "disk",
            "the file system of the folder is mounted read-only",
            "look for errors of the disk (`dmesg`), then mount it for writing",
        ),
        DiskFacts { free_files: Some(0), .. } => Finding::needs_doing(
            "disk",
            "the file system of the folder has no room for further files (inodes)",
            "delete files that are no longer needed",
        ),
        DiskFacts { free_bytes: ..DISK_LOW_BYTES, .. } => {
            Finding::needs_doing("disk", free, "free some space: without it nothing can be saved")
        }
        DiskFacts { free_bytes: ..DISK_SHORT_BYTES, .. } => Finding::warning("disk", free, "free some space"),
        _ => Finding::ok("disk", free),
    }
}

fn multicast(facts: &NetworkFacts) -> Finding {
    let usable = |interface: &&NetworkInterface| interface.up && interface.multicast && !interface.loopback;
    let interfaces = match &facts.interfaces {
        _ if !facts.lan => {
            return Finding::ok("multicast", "the node stays off the local network, by the settings");
        }
        _ if !facts.mdns => {
            return Finding::ok("multicast", "mDNS is off by the settings: peers are dialled by address");
        }
        None => return Finding::ok("multicast", "this system does not list its interfaces"),
        Some(interfaces) => interfaces.iter().filter(usable),
    };
    let with_address: Vec<String> = interfaces
        .filter_map(|interface| match (interface.ipv4, interface.ipv6) {
            (true, true) => Some(format!("{} (IPv4, IPv6)", interface.name)),
            (true, false) => Some(format!("{} (IPv4)", interface.name)),
            (false, true) => Some(format!("{} (IPv6)", interface.name)),
            (false, false) => None,
        })
        .collect();
    if with_address.is_empty() {
        return Finding::warning(
            "multicast",
            "no interface is up that has an address and can send multicast: peers on the local network are not found by themselves",
            "connect one (`ip link set DEV up`, `ip link set DEV multicast on`), or name addresses: `tombolo join CODE --addr A`",
        );
    }
    Finding::ok("multicast", format!("possible on {}", with_address.join(", ")))
}

/// The addresses of a running node.
fn addresses(status: Option<&Json>) -> Vec<SocketAddr> {
    let addresses = status.and_then(|status| status.get("addresses")).map(print::items).unwrap_or_default();
    addresses.iter().filter_map(Json::as_str).filter_map(|text| text.parse().ok()).collect()
}

fn udp_port(facts: &PortFacts, running: bool, own: &[SocketAddr]) -> Finding {
    let PortFacts { address, bound } = facts;
    // Without a network the node knows no address of its own.
    let is_own = running && (own.is_empty() || own.iter().any(|own| own.port() == address.port()));
    match bound {
        Ok(()) if address.port() == 0 => Finding::ok("UDP port", format!("{address}: any free port")),
        Ok(()) => Finding::ok("UDP port", format!("{address} is free")),
        Err(io::ErrorKind::AddrInUse) if is_own => {
            Finding::ok("UDP port", format!("{address} is this node's"))
        }
        Err(io::ErrorKind::AddrInUse) => Finding::needs_doing(
            "UDP port",
            format!("another process has {address}"),
            format!(
                "`ss -ulpn sport = :{}` as root names it; or another port: `listen` in [lan], or `tombolo up --listen 0.0.0.0:0`",
                address.port()
            ),
        ),
        Err(io::ErrorKind::PermissionDenied) => Finding::needs_doing(
            "UDP port",
            format!("the system does not let this user listen on {address}"),
            "choose a port from 1024 on: `listen` in [lan]",
        ),
        Err(kind) => Finding::warning(
            "UDP port",
            format!("the system cannot listen on {address}: {kind}"),
            "if this machine does not have that address or IPv6, take it out of `listen` in [lan]",
        ),
    }
}

fn radio(facts: &DeviceFacts, user: &LocalUser) -> Finding {
    let path = facts.path.display();
    if !facts.exists {
        return Finding::needs_doing(
            "radio",
            format!("{path} is not there"),
            "plug the radio in; `ls /dev/serial/by-id` lists names that stay the same. Then set `url` in [[radio]]",
        );
    }
    if !facts.is_device {
        return Finding::needs_doing(
            "radio",
            format!("{path} is no serial port"),
            "correct `url` in [[radio]]",
        );
    }
    if facts.open {
        return Finding::ok("radio", format!("{path} is there, and {} may use it", user.name));
    }
    let closed = blocked_at(user, &facts.files, READ | WRITE);
    let (reason, remedy) = match closed {
        Some(file) => (
            format!("{} may not use {}", user.name, described(file)),
            group_remedy(user, file, READ | WRITE).unwrap_or_else(|| {
                format!(
                    "`adduser {} dialout` as root, with a udev rule that gives the device that group",
                    user.name
                )
            }),
        ),
        None => (
            format!("the system does not let {} use {path}", user.name),
            "look for a security module (AppArmor, SELinux) or a container that keeps devices away"
                .to_owned(),
        ),
    };
    Finding::needs_doing("radio", reason, remedy)
}

/// The onion service of a running node, as that node sees it.
fn onion_service(status: &Json) -> Option<Finding> {
    let tor = status.get("tor").filter(|tor| tor.is_object())?;
    let (service, problem) = (print::text(tor, "service"), print::text(tor, "problem"));
    if problem.is_empty() && service.starts_with("published") {
        return Some(Finding::ok("onion service", service));
    }
    let reason = if problem.is_empty() { service.to_owned() } else { format!("{service}; {problem}") };
    let remedy = "the lines on tor name what to change; a tor that has just started needs a minute";
    Some(Finding::warning("onion service", reason, remedy))
}

/// What `status` shows of documents and peers.
fn federation(status: &Json, now: Wall) -> Vec<Finding> {
    let mut found = Vec::new();
    let list = |field: &str| status.get(field).map(print::items).unwrap_or_default();
    for ((alarm, code), peer) in list("alarms").iter().zip(list("alarm_codes")).zip(list("alarm_peers")) {
        let [alarm, code, peer] = [alarm, code, peer].map(|text| text.as_str().unwrap_or_default());
        match code {
            // The clock has a check of its own.
            "clock_differs" | "clock_not_set" | "peers_clocks_differ" => {}
            "inviter_silent" => {
                let remedy = "it is called again by itself; is it reachable, and is its code still valid?";
                found.push(Finding::warning("joining", alarm, remedy));
            }
            _ => {
                let remedy = "the alarm names what to do; `tombolo status` shows it";
                found.push(Finding::needs_doing("alarm", advice::alarm(code, alarm, peer), remedy));
            }
        }
    }
    let forks = status.get("forks").and_then(Json::as_object).map_or(0, serde_json::Map::len);
    if forks > 0 {
        let reason = format!("{} signed two states with one sequence", print::count(forks as u64, "author"));
        found.push(Finding::warning(
            "copied key",
            reason,
            "if a key runs on two machines, stop one; `tombolo status` names the author",
        ));
    }
    match print::number(status, "quarantined") {
        0 => {}
        n => {
            let reason =
                format!("{} of peers with a clock ahead wait for their time", print::count(n, "value"));
            found.push(Finding::warning(
                "future values",
                reason,
                "set the clock of the node that wrote them",
            ));
        }
    }
    found.extend(list("tombstones_wait").iter().map(|wait| tombstones(wait, now)));
    found
}

/// Deletions that wait for writers: normal for a month, a sign of an absent writer afterwards.
fn tombstones(wait: &Json, now: Wall) -> Finding {
    let mut writers: Vec<String> = wait
        .get("writers")
        .map(print::items)
        .unwrap_or_default()
        .iter()
        .filter_map(Json::as_str)
        .map(str::to_owned)
        .collect();
    match print::number(wait, "unknown_writers") {
        0 => {}
        n => writers.push(print::count(n, "writer that is unknown here")),
    }
    let document = print::text(wait, "document").rsplit('/').next().unwrap_or_default();
    let count = print::count(print::number(wait, "tombstones"), "deletion");
    let since = print::text(wait, "since");
    let reason =
        format!("{document}: {count} wait for {} (since {})", writers.join(", "), print::age(since, now));
    let signed = chrono::DateTime::parse_from_rfc3339(since)
        .map_or(now, |since| Wall::from_ms(u64::try_from(since.timestamp_millis()).unwrap_or(0)));
    if now.since(signed) <= WRITER_AWAY {
        return Finding::ok("deletions", reason);
    }
    let remedy = "bring the writer back into touch, or `tombolo remove` it if it does not come back: what it wrote stays";
    Finding::warning("deletions", reason, remedy)
}

#[cfg(test)]
mod tests;
