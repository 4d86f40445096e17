//! A cable between two nodes on this machine: it carries UDP datagrams, counts them, and can be cut.
//!
//! Each end is a socket at which one node sees the other. So the bytes counted are those of the real QUIC
//! connections, and a cut is like that of a real cable: datagrams stop without notice.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The longest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Bytes of an IPv4 and a UDP header, which every datagram has on a wire (RFC 791, RFC 768).
const HEADER_BYTES: u64 = 28;

/// A cable; unplugged when dropped.
pub(super) struct Cable {
    left_end: SocketAddr,
    shared: Arc<CableState>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct CableState {
    cut: AtomicBool,
    from_left: AtomicU64,
    from_right: AtomicU64,
}

impl Cable {
    /// Lays a cable between the nodes that listen at `left` and `right`.
    pub(super) async fn lay(left: SocketAddr, right: SocketAddr) -> io::Result<Self> {
        let any = (Ipv4Addr::LOCALHOST, 0);
        // What the left node sends to `near_left` comes out of `near_right`, and the other way round.
        let (near_left, near_right) =
            (Arc::new(UdpSocket::bind(any).await?), Arc::new(UdpSocket::bind(any).await?));
        let left_end = near_right.local_addr()?;
        let shared = Arc::new(CableState::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(carry(near_left.clone(), near_right.clone(), right, shared.clone(), |s| &s.from_left));
        tasks.spawn(carry(near_right, near_left, left, shared.clone(), |s| &s.from_right));
        Ok(Cable { left_end, shared, _tasks: tasks })
    }

    /// Where the right node finds the left one.
    pub(super) fn left_end(&self) -> SocketAddr {
        self.left_end
    }

    /// Cuts the cable, or mends it.
    pub(super) fn set_cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::Relaxed);
    }

    /// Bytes that the left and the right node sent, with IP and UDP headers, lost ones included.
    pub(super) fn wire_bytes(&self) -> (u64, u64) {
        (self.shared.from_left.load(Ordering::Relaxed), self.shared.from_right.load(Ordering::Relaxed))
    }
}

async fn carry(
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    receiver: SocketAddr,
    shared: Arc<CableState>,
    counter: fn(&CableState) -> &AtomicU64,
) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error here is an echo of a datagram that its receiver did not take (ICMP): the next may do.
        let Ok(bytes) = from.recv(&mut datagram).await else { continue };
        let sent = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(HEADER_BYTES);
        counter(&shared).fetch_add(sent, Ordering::Relaxed);
        if shared.cut.load(Ordering::Relaxed) {
            continue;
        }
        if let Some(content) = datagram.get(..bytes) {
            let _ = to.send_to(content, receiver).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_cable_carries_counts_and_can_be_cut() {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let (left, right) = (UdpSocket::bind(any).await.unwrap(), UdpSocket::bind(any).await.unwrap());
        let cable = Cable::lay(left.local_addr().unwrap(), right.local_addr().unwrap()).await.unwrap();
        let mut got = [0; 8];
        right.send_to(b"ahoy", cable.left_end()).await.unwrap();
        let (bytes, left_sees) = left.recv_from(&mut got).await.unwrap();
        assert_eq!((&got[..bytes], cable.wire_bytes()), (&b"ahoy"[..], (0, 32)));
        left.send_to(b"hi", left_sees).await.unwrap();
        assert_eq!(right.recv_from(&mut got).await.unwrap(), (2, cable.left_end()));
        cable.set_cut(true);
        right.send_to(b"lost", cable.left_end()).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(100), left.recv(&mut got)).await.is_err());
        assert_eq!(cable.wire_bytes(), (30, 64));
    }
}
