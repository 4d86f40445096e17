//! Silences the sockets of an mDNS daemon that is to end.
//!
//! The daemon reads until its sockets are empty before it takes a request. Under a flood that comes faster than it reads, it takes
//! none: it does not end, and its cache grows for as long as the flood lasts. So its sockets are given a filter that drops all, by
//! which it comes to an end of what it reads. They are found among the descriptors of this process: the daemon does not show them.

/// Sockets that receive nothing for now.
#[derive(Debug, Default)]
pub(super) struct Silenced {
    #[cfg(target_os = "linux")]
    sockets: Vec<std::os::fd::OwnedFd>,
}

impl Silenced {
    /// Silences every mDNS socket that this process has at this moment. Where the kernel does not permit that, or is no Linux,
    /// none: then a daemon ends when it comes to it.
    pub(super) fn all() -> Self {
        #[cfg(target_os = "linux")]
        match linux::silence_all() {
            Ok(sockets) => return Silenced { sockets },
            Err(error) => tracing::debug!(%error, "the sockets of mDNS go on receiving"),
        }
        Silenced::default()
    }

    /// Those that are still open receive again: another node of this process has them.
    pub(super) fn lift(self) {
        #[cfg(target_os = "linux")]
        for socket in &self.sockets {
            if let Err(error) = socket2::SockRef::from(socket).detach_filter() {
                tracing::debug!(%error, "a socket of mDNS stays silent");
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    use socket2::{SockFilter, SockRef, Type};
    use std::os::fd::OwnedFd;
    use std::{fs, io};

    const MDNS_PORT: u16 = 5353;
    /// `BPF_RET | BPF_K` of `linux/bpf_common.h` with 0: no byte of any packet is kept.
    const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

    /// Returns the sockets. The copies of their descriptors are our own, made by the kernel (pidfd_getfd(2), Linux 5.6).
    pub(super) fn silence_all() -> io::Result<Vec<OwnedFd>> {
        let this = pidfd_open(getpid(), PidfdFlags::empty())?;
        let mut sockets = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")?.flatten() {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            let is_socket = link.to_string_lossy().starts_with("socket:");
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(number) = number.filter(|_| is_socket) else { continue };
            let copy = match pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) {
                Ok(copy) => copy,
                // It was closed meanwhile.
                Err(rustix::io::Errno::BADF) => continue,
                Err(error) => return Err(error.into()),
            };
            if is_mdns(&copy) {
                SockRef::from(&copy).attach_filter(&[DROP_ALL])?;
                sockets.push(copy);
            }
        }
        Ok(sockets)
    }

    fn is_mdns(descriptor: &OwnedFd) -> bool {
        let socket = SockRef::from(descriptor);
        let port = socket.local_addr().ok().and_then(|at| at.as_socket()).map(|at| at.port());
        port == Some(MDNS_PORT) && socket.r#type().is_ok_and(|kind| kind == Type::DGRAM)
    }
}
