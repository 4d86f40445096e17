//! Filters on the sockets of an mDNS daemon: all is dropped where it is to end, and most of it while a flood lasts.
//!
//! The daemon reads until its sockets are empty before it takes a request. Under a flood that comes faster than it reads, it takes
//! none: it does not end, and its cache grows for as long as the flood lasts. So its sockets are given a filter that drops all, by
//! which it comes to an end of what it reads. They are found among the descriptors of this process: the daemon does not show them.

/// Sockets that do not receive all for now.
#[derive(Debug, Default)]
pub(super) struct Filtered {
    #[cfg(target_os = "linux")]
    sockets: Vec<std::os::fd::OwnedFd>,
}

impl Filtered {
    /// Every mDNS socket that this process has at this moment receives nothing. Where the kernel does not permit that, or is no
    /// Linux, they go on: then a daemon ends when it comes to it.
    pub(super) fn silenced() -> Self {
        #[cfg(target_os = "linux")]
        return Filtered::by(&[linux::DROP_ALL]);
        #[cfg(not(target_os = "linux"))]
        Filtered::default()
    }

    /// They receive one datagram of [`THINNED`], chosen by chance.
    pub(super) fn thinned() -> Self {
        #[cfg(target_os = "linux")]
        return Filtered::by(&super::sentinel::one_of(THINNED));
        #[cfg(not(target_os = "linux"))]
        Filtered::default()
    }

    #[cfg(target_os = "linux")]
    fn by(filter: &[socket2::SockFilter]) -> Self {
        // Those that have the filter are kept where another cannot get it: they are to be lifted.
        let mut sockets = Vec::new();
        if let Err(error) = linux::filter_all(filter, &mut sockets) {
            tracing::debug!(%error, filtered = sockets.len(), "mDNS goes on receiving all");
        }
        Filtered { sockets }
    }

    /// Those that are still open receive all again.
    pub(super) fn lift(self) {
        #[cfg(target_os = "linux")]
        for socket in &self.sockets {
            match socket2::SockRef::from(socket).detach_filter() {
                // Another filter was put in its place, and lifted.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::debug!(%error, "a socket of mDNS keeps its filter");
                }
                _ => {}
            }
        }
    }
}

/// While a flood lasts one datagram of so many is received.
const THINNED: u32 = 256;

#[cfg(target_os = "linux")]
mod linux {
    use mdns_sd::MDNS_PORT;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    use socket2::{SockFilter, SockRef, Type};
    use std::collections::BTreeSet;
    use std::os::fd::OwnedFd;
    use std::{fs, io};

    /// `BPF_RET | BPF_K` of `linux/bpf_common.h` with 0: no byte of any packet is kept.
    pub(super) const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

    /// Adds each socket that gets the filter. The copies of their descriptors are our own, made by the kernel (pidfd_getfd(2),
    /// Linux 5.6).
    pub(super) fn filter_all(filter: &[SockFilter], filtered: &mut Vec<OwnedFd>) -> io::Result<()> {
        let this = pidfd_open(getpid(), PidfdFlags::empty())?;
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir("/proc/self/fd")?.flatten() {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            let is_socket = link.to_string_lossy().starts_with("socket:");
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(number) = number.filter(|_| is_socket) else { continue };
            // Copies that were made before name the same socket.
            if !seen.insert(link) {
                continue;
            }
            let copy = match pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) {
                Ok(copy) => copy,
                // It was closed meanwhile.
                Err(rustix::io::Errno::BADF) => continue,
                Err(error) => return Err(error.into()),
            };
            if is_mdns(&copy) {
                SockRef::from(&copy).attach_filter(filter)?;
                filtered.push(copy);
            }
        }
        Ok(())
    }

    /// Bound to the port, and not to a group alone as those that sample.
    fn is_mdns(descriptor: &OwnedFd) -> bool {
        let socket = SockRef::from(descriptor);
        let at = socket.local_addr().ok().and_then(|at| at.as_socket());
        let is_meant = at.is_some_and(|at| at.port() == MDNS_PORT && !at.ip().is_multicast());
        is_meant && socket.r#type().is_ok_and(|kind| kind == Type::DGRAM)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::Duration;

    /// A socket of this process that is found by its port: silenced it receives nothing, and all once that is lifted.
    #[test]
    fn a_silenced_socket_receives_nothing_until_that_is_lifted() {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, mdns_sd::MDNS_PORT));
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&at.into()).unwrap();
        let receiver = UdpSocket::from(socket);
        receiver.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let arrives = || {
            sender.send_to(b"x", at).unwrap();
            receiver.recv(&mut [0; 8]).is_ok()
        };
        assert!(arrives());
        let silenced = Filtered::silenced();
        if silenced.sockets.is_empty() {
            return println!("SKIPPED: needs pidfd_getfd(2), which this container forbids");
        }
        assert!(!arrives());
        silenced.lift();
        assert!(arrives());
    }
}
