//! News of the machine's interfaces: the kernel reports on a netlink socket when an address or a link comes or goes, so
//! that nothing is listed while nothing happens. What has changed is for [`Interfaces`](super::interfaces::Interfaces) to find.

use std::time::Duration;

/// How often the interfaces are listed where the kernel cannot be listened to.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// An interface that comes up is reported in several messages; they are taken together.
const SETTLE: Duration = Duration::from_millis(100);

/// What the kernel reports of interfaces and their addresses.
#[derive(Debug)]
pub(super) struct InterfaceNews(Option<kernel::Socket>);

impl InterfaceNews {
    /// Begins to listen; needs a tokio runtime. Where that is not possible, time passes in its place.
    pub(super) fn open() -> Self {
        let socket = kernel::Socket::open();
        let socket = socket.inspect_err(
            |error| tracing::debug!(%error, "interfaces are listed every few seconds: no netlink"),
        );
        InterfaceNews(socket.ok())
    }

    /// Whether the kernel reports changes, so that nothing else has to look for them.
    pub(super) fn is_from_kernel(&self) -> bool {
        self.0.is_some()
    }

    /// Returns when an interface may have changed. May be dropped and called again at any time.
    pub(super) async fn next(&self) {
        match &self.0 {
            Some(socket) => {
                if socket.readable().await.is_ok() {
                    tokio::time::sleep(SETTLE).await;
                }
                socket.drain();
            }
            None => tokio::time::sleep(LIST_EVERY).await,
        }
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
    use std::io;
    use std::os::fd::OwnedFd;
    use tokio::io::unix::AsyncFd;

    /// Links, IPv4 addresses, IPv6 addresses: `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR` of `linux/rtnetlink.h`.
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;

    /// Messages are only counted, so they need no room; the kernel cuts what is longer.
    const MESSAGE_BYTES: usize = 64;

    #[derive(Debug)]
    pub(super) struct Socket(AsyncFd<OwnedFd>);

    impl Socket {
        #[allow(
            deprecated,
            reason = "the socket is owned, so it stays the one that is registered; what replaces `new` is unsafe"
        )]
        pub(super) fn open() -> io::Result<Self> {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            // No protocol stands for `NETLINK_ROUTE`, which is 0.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(Socket(AsyncFd::new(socket)?))
        }

        pub(super) async fn readable(&self) -> io::Result<()> {
            self.0.readable().await.map(|mut guard| guard.retain_ready())
        }

        /// Reads all there is. That some messages were lost for lack of room is news as well, so errors are not looked at.
        pub(super) fn drain(&self) {
            let mut message = [0; MESSAGE_BYTES];
            while self
                .0
                .try_io(tokio::io::Interest::READABLE, |socket| {
                    match recv(socket, &mut message, RecvFlags::empty()) {
                        Err(rustix::io::Errno::NOBUFS) => Ok(()),
                        other => Ok(other.map(|_| ())?),
                    }
                })
                .is_ok()
            {}
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;

    /// No such socket here.
    #[derive(Debug)]
    pub(super) enum Socket {}

    impl Socket {
        pub(super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn readable(&self) -> io::Result<()> {
            match *self {}
        }

        pub(super) fn drain(&self) {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Where nothing changes, nothing is reported; the socket needs no privilege.
    #[tokio::test]
    async fn the_kernel_is_listened_to_and_keeps_silent() {
        let news = InterfaceNews::open();
        assert!(news.is_from_kernel());
        if let Some(socket) = &news.0 {
            socket.drain();
        }
        let silent = tokio::time::timeout(Duration::from_millis(200), news.next()).await;
        assert!(silent.is_err(), "no message, no news");
    }
}
