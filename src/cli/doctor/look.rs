//! Reads the machine: files and their modes, the clock, network interfaces, ports, devices, tor. Each reading is short and has a
//! time limit; what cannot be read is left out. No verdict is made here.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tombolo_transports::radio::RadioPort;
use tombolo_transports::tor::{Credentials, Endpoint};

use super::checks::{
    ClockFacts, DeviceFacts, DiskFacts, Facts, FolderFacts, NetworkFacts, NetworkInterface, NodeFacts,
    PortFacts,
};
use super::notify_checks;
use super::permission::{FileFacts, LocalUser, groups_listing, name_of_id};
use super::tor_checks::{ControlFacts, CookieFacts, TorFacts};
use super::tor_probe::{ControlAnswer, SocksAnswer, ask_control, ask_socks};
use crate::cli::ask::NodeFolder;
use crate::clock::KernelClock;
use crate::config::{ClockTrust, Config, ConfigError, TorSettings};
use crate::folder::key::{self, KEY_FILE};
use crate::folder::{self, STORE_FILE};
use crate::node::Query;
use crate::runtime::clock_watch::told_by_programs;
use crate::system_clock::now;

/// Bytes of a file of the system that are read.
const SYSTEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads all facts of the machine and the node.
pub(super) fn facts(node: &NodeFolder) -> Facts {
    let names = SystemNames::read();
    let user = names.user();
    let path = std::path::absolute(&node.folder).unwrap_or_else(|_| node.folder.clone());
    let lives_here = folder::check_there(&path).is_ok();
    let config = lives_here.then(|| Config::load(&path));
    let settings_error = match &config {
        Some(Err(ConfigError::Missing { path })) => Some(format!(
            "there is no {}: `tombolo init --name NAME` writes it and keeps the identity",
            path.display()
        )),
        Some(Err(error)) => Some(error.to_string()),
        Some(Ok(_)) | None => None,
    };
    let config = config.and_then(Result::ok);
    let running = node.is_running();
    let is_asked = lives_here && (running || config.is_some());
    let lan = config.as_ref().map(|config| &config.lan);
    Facts {
        folder: FolderFacts {
            folder: names.file(&path),
            key: names.file(&path.join(KEY_FILE)),
            has_store: path.join(STORE_FILE).exists(),
            key_error: key::load(&path).err().map(|error| error.to_string()),
            path: path.clone(),
        },
        node: is_asked.then(|| NodeFacts { running, status: status(node) }),
        clock: ClockFacts {
            wall: now().wall,
            kernel: kernel_clock(),
            services: time_services(),
            vouched: config.as_ref().is_some_and(|config| config.clock == ClockTrust::Set),
        },
        disk: disk(&path),
        network: NetworkFacts {
            lan: lan.is_some_and(|lan| !lan.listen.is_empty()),
            mdns: lan.is_some_and(|lan| lan.mdns),
            interfaces: interfaces(),
        },
        ports: lan.into_iter().flat_map(|lan| &lan.listen).map(|address| port(*address)).collect(),
        radios: radios(config.as_ref(), &names),
        tor: tor(&config.as_ref().map(|config| config.tor.clone()).unwrap_or_default(), &names),
        notify: config
            .as_ref()
            .map(|config| notify_checks::facts(&config.notify, config.watches.len()))
            .unwrap_or_default(),
        settings_error,
        user,
    }
}

fn status(node: &NodeFolder) -> Result<serde_json::Value, (String, String)> {
    node.ask(Query::Status).map(|reply| reply.json).map_err(|error| (error.code, error.message))
}

// ---- users and files ---------------------------------------------------------------------------------

/// The system's lists of users and groups.
struct SystemNames {
    users: String,
    groups: String,
}

impl SystemNames {
    fn read() -> Self {
        SystemNames { users: system_file("/etc/passwd"), groups: system_file("/etc/group") }
    }

    /// The user of this process.
    fn user(&self) -> LocalUser {
        let uid = rustix::process::geteuid().as_raw();
        let mut gids = vec![rustix::process::getegid().as_raw()];
        gids.extend(rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()));
        let name = name_of_id(&self.users, uid).unwrap_or_else(|| uid.to_string());
        LocalUser { uid, gids, listed_groups: groups_listing(&self.groups, &name), name }
    }

    fn file(&self, path: &Path) -> Option<FileFacts> {
        let metadata = std::fs::metadata(path).ok()?;
        let (uid, gid) = (metadata.uid(), metadata.gid());
        Some(FileFacts {
            path: path.to_owned(),
            uid,
            gid,
            mode: metadata.mode() & 0o777,
            owner: name_of_id(&self.users, uid).unwrap_or_else(|| uid.to_string()),
            group: name_of_id(&self.groups, gid).unwrap_or_else(|| gid.to_string()),
        })
    }

    /// The files of a path from the root on, as far as the system shows them.
    fn files(&self, path: &Path) -> Vec<FileFacts> {
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        folders.into_iter().map_while(|folder| self.file(folder)).collect()
    }
}

/// The start of a small text file of the system; empty if it cannot be read.
fn system_file(path: impl AsRef<Path>) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SYSTEM_FILE_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// ---- clock -------------------------------------------------------------------------------------------

/// What the kernel counts; as programs show it that may ask, where this one may not.
fn kernel_clock() -> KernelClock {
    match crate::system_clock::kernel_clock() {
        KernelClock::Unknown => told_by_programs(),
        known => known,
    }
}

/// The time services that have a place among those that run.
fn time_services() -> Vec<&'static str> {
    let places = [
        ("/run/systemd/timesync", "systemd-timesyncd"),
        ("/run/chrony/chronyd.pid", "chrony"),
        ("/run/chronyd.pid", "chrony"),
        ("/run/ntpd.pid", "ntpd"),
        ("/run/openntpd.sock", "openntpd"),
    ];
    places.iter().filter(|(path, _)| Path::new(path).exists()).map(|(_, name)| *name).collect()
}

// ---- disk, network, devices --------------------------------------------------------------------------

fn disk(folder: &Path) -> Option<DiskFacts> {
    let there = folder.ancestors().find(|path| path.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(DiskFacts {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        free_files: (found.f_files > 0).then_some(found.f_favail),
        read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

/// The interfaces with what Linux shows of them; none on other systems.
fn interfaces() -> Option<Vec<NetworkInterface>> {
    const UP: u32 = 0x1;
    const LOOPBACK: u32 = 0x8;
    const MULTICAST: u32 = 0x1000;
    let routes = system_file("/proc/net/route");
    let with_ipv4: Vec<&str> =
        routes.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let addresses = system_file("/proc/net/if_inet6");
    let with_ipv6: Vec<&str> = addresses.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let read = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let flags = system_file(entry.path().join("flags"));
        let flags = u32::from_str_radix(flags.trim().strip_prefix("0x")?, 16).ok()?;
        Some(NetworkInterface {
            up: flags & UP != 0,
            loopback: flags & LOOPBACK != 0,
            multicast: flags & MULTICAST != 0,
            ipv4: with_ipv4.contains(&name.as_str()),
            ipv6: with_ipv6.contains(&name.as_str()),
            name,
        })
    };
    let mut found: Vec<NetworkInterface> =
        std::fs::read_dir("/sys/class/net").ok()?.filter_map(read).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Some(found)
}

/// Takes the port for a moment.
fn port(address: SocketAddr) -> PortFacts {
    PortFacts { address, bound: UdpSocket::bind(address).map(drop).map_err(|error| error.kind()) }
}

fn radios(config: Option<&Config>, names: &SystemNames) -> Vec<DeviceFacts> {
    let radios = config.into_iter().flat_map(|config| &config.radios);
    let serial = radios.filter_map(|radio| match &radio.url.port {
        RadioPort::Serial { path, .. } => Some(PathBuf::from(path)),
        RadioPort::Tcp { .. } => None,
    });
    let device = |path: PathBuf| {
        use rustix::fs::{Access, access};
        let metadata = std::fs::metadata(&path);
        DeviceFacts {
            // One that is not shown is closed, not absent.
            exists: !matches!(&metadata, Err(error) if error.kind() == io::ErrorKind::NotFound),
            is_device: metadata.as_ref().map_or(true, |found| found.file_type().is_char_device()),
            // Opening it would reset some radios.
            open: access(&path, Access::READ_OK | Access::WRITE_OK).is_ok(),
            files: names.files(&path),
            path,
        }
    };
    serial.map(device).collect()
}

// ---- tor ---------------------------------------------------------------------------------------------

fn tor(settings: &TorSettings, names: &SystemNames) -> TorFacts {
    let socks = settings.socks();
    let controls: Vec<ControlFacts> = match settings.enabled {
        false => Vec::new(),
        true => {
            let credentials = settings.credentials();
            settings.control().into_iter().map(|place| control(place, &credentials, names)).collect()
        }
    };
    let info = controls.iter().find_map(|control| match &control.answer {
        ControlAnswer::Control(seen) => Some(&seen.offered),
        ControlAnswer::NotControl | ControlAnswer::Silent(_) => None,
    });
    let cookie = info.and_then(|info| settings.cookie.clone().or_else(|| info.cookie_file.clone()));
    TorFacts {
        enabled: settings.enabled,
        is_named: settings.is_asked_for(),
        own_service: settings.onion.is_some(),
        has_password: settings.password.text().is_some(),
        cookie: cookie.map(|path| CookieFacts { read: readable(&path), files: names.files(&path), path }),
        socks: (socks.clone(), if settings.enabled { ask_socks(&socks) } else { SocksAnswer::NotSocks }),
        controls,
    }
}

/// Whether a regular file can be read; a pipe would never end.
fn readable(path: &Path) -> Result<(), io::ErrorKind> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(io::ErrorKind::InvalidInput),
        Ok(_) => File::open(path).map(drop).map_err(|error| error.kind()),
        Err(error) => Err(error.kind()),
    }
}

fn control(place: Endpoint, credentials: &Credentials, names: &SystemNames) -> ControlFacts {
    let files = match &place {
        Endpoint::Unix(path) => names.files(path),
        Endpoint::Tcp(_) => Vec::new(),
    };
    ControlFacts { answer: ask_control(&place, credentials), files, place }
}
