//! Samples what comes in by mDNS beside the daemon, by sockets of our own: a flood is noticed within some hundred datagrams, long before
//! the daemon is asked what it holds, and nothing wakes while there is none.
//!
//! The kernel hands over one datagram of [`SAMPLE`], chosen by chance. The sockets are bound to the groups alone, so that they take no
//! datagram from another socket, and they join none: Linux delivers what any socket of the machine has joined
//! (`IP_MULTICAST_ALL` of ip(7)).

use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// One datagram of so many is sampled.
pub(super) const SAMPLE: usize = 32;

/// The sampling sockets; none where the system has no such filters.
#[derive(Debug)]
pub(super) struct Sentinel {
    sampled: mpsc::Receiver<usize>,
    _readers: JoinSet<()>,
}

impl Sentinel {
    /// Begins to sample on all interfaces that there are now; needs a tokio runtime.
    pub(super) fn open() -> Self {
        let (sender, sampled) = mpsc::channel(64);
        let mut readers = JoinSet::new();
        #[cfg(target_os = "linux")]
        for group in linux::groups() {
            match linux::socket(group) {
                Ok(socket) => drop(readers.spawn(linux::read(socket, sender.clone()))),
                Err(error) => tracing::debug!(%error, %group, "mDNS is not sampled"),
            }
        }
        drop(sender);
        Sentinel { sampled, _readers: readers }
    }

    /// The length of the next datagram of the sample. May be dropped and called again at any time.
    pub(super) async fn next(&mut self) -> usize {
        match self.sampled.recv().await {
            Some(bytes) => bytes,
            None => std::future::pending().await,
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::SAMPLE;
    use mdns_sd::MDNS_PORT;
    use socket2::{Domain, Protocol, SockFilter, Socket, Type};
    use std::collections::BTreeSet;
    use std::io;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
    use tokio::net::UdpSocket;
    use tokio::sync::mpsc;

    const V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
    const V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    /// Bytes of the longest mDNS message (RFC 6762, section 17).
    const MESSAGE_BYTES: usize = 9_000;

    /// A number by chance (`SKF_AD_OFF + SKF_AD_RANDOM`) whose last bits are zero: all of the datagram; else nothing of it.
    /// Codes and offsets of `linux/filter.h`: load a word, and with k, jump if equal, return.
    pub(in crate::lan) const fn one_of(sample: u32) -> [SockFilter; 5] {
        [
            SockFilter::new(0x20, 0, 0, 0xffff_f000 + 56),
            SockFilter::new(0x54, 0, 0, sample - 1),
            SockFilter::new(0x15, 0, 1, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ]
    }

    pub(super) fn groups() -> Vec<SocketAddr> {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let with_v6 = interfaces.iter().filter(|interface| interface.ip().is_ipv6());
        let indexes: BTreeSet<u32> = with_v6.filter_map(|interface| interface.index).collect();
        let v6 = indexes.into_iter().map(|index| SocketAddrV6::new(V6, MDNS_PORT, 0, index).into());
        std::iter::once((V4, MDNS_PORT).into()).chain(v6).collect()
    }

    pub(super) fn socket(group: SocketAddr) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // Before it is bound: nothing comes in without the filter.
        socket.attach_filter(&one_of(SAMPLE as u32))?;
        socket.bind(&group.into())?;
        UdpSocket::from_std(socket.into())
    }

    pub(super) async fn read(socket: UdpSocket, sampled: mpsc::Sender<usize>) {
        let mut message = vec![0; MESSAGE_BYTES];
        while let Ok(bytes) = socket.recv(&mut message).await {
            if sampled.send(bytes).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::one_of;
