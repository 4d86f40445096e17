//! A link made of two queues, with the events of a real one: for tests, on any clock or none.
//!
//! Nothing is lost, delayed or reordered; what a bad network does belongs to a simulator above.
//!
//! ```
//! use tombolo_transports::{LinkEvent, LinkIds, PeerId, memory};
//!
//! let (left, right) = memory::pair(PeerId([1; 32]), PeerId([2; 32]), &LinkIds::default(), 1 << 20);
//! let Some(LinkEvent::Up { link, .. }) = left.poll_event() else { panic!("the link is up at once") };
//! left.send(link, b"tide".to_vec()).unwrap();
//! assert!(matches!(right.poll_event(), Some(LinkEvent::Up { .. })));
//! assert!(matches!(right.poll_event(), Some(LinkEvent::Received { bytes, .. }) if bytes == b"tide"));
//! ```

use crate::address::{LinkAddr, PeerId};
use crate::error::SendError;
use crate::link::{DownReason, LinkCaps, LinkEvent, LinkId, LinkIds, Medium, Transport};
use crate::stream::MESSAGE_BYTES_MAX;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One end of a link in memory.
#[derive(Debug)]
pub struct MemoryLink {
    id: LinkId,
    bytes_max: usize,
    side: usize,
    ends: Arc<Mutex<[End; 2]>>,
}

/// What waits to be polled at one end.
#[derive(Debug, Default)]
struct End {
    id: Option<LinkId>,
    events: VecDeque<LinkEvent>,
    waiting_bytes: usize,
    /// The other end was refused and waits for a `Drained`.
    refused: bool,
    down: bool,
}

/// Two ends, each with its own link id, both up at once. At most `queue_bytes_max` wait unread at
/// an end; beyond, the other end's `send` says `Full`.
pub fn pair(left: PeerId, right: PeerId, ids: &LinkIds, queue_bytes_max: usize) -> (MemoryLink, MemoryLink) {
    let (left_id, right_id) = (ids.next_id(), ids.next_id());
    let end = |id: LinkId, peer: PeerId| End {
        id: Some(id),
        events: VecDeque::from([LinkEvent::Up { link: id, peer, caps: caps(), address: LinkAddr::Memory }]),
        ..End::default()
    };
    let ends = Arc::new(Mutex::new([end(left_id, right), end(right_id, left)]));
    let link = |id, side| MemoryLink { id, bytes_max: queue_bytes_max, side, ends: ends.clone() };
    (link(left_id, 0), link(right_id, 1))
}

/// What a link in memory can carry.
fn caps() -> LinkCaps {
    LinkCaps {
        medium: Medium::Memory,
        message_bytes_max: MESSAGE_BYTES_MAX,
        rate_bps: None,
        latency_ms: 0,
        loss_permille: 0,
        broadcast: false,
        metered: false,
        confidential: true,
        airtime_us_per_byte: 0,
        airtime_left_ms: None,
    }
}

impl MemoryLink {
    /// The next event at this end, if there is one.
    pub fn poll_event(&self) -> Option<LinkEvent> {
        let mut ends = self.lock();
        let [own, other] = sides(&mut ends, self.side);
        let event = own.events.pop_front()?;
        if let LinkEvent::Received { bytes, .. } = &event {
            own.waiting_bytes -= bytes.len();
            if own.refused && own.waiting_bytes <= self.bytes_max / 2 {
                own.refused = false;
                other.events.extend(other.id.map(|link| LinkEvent::Drained { link }));
            }
        }
        Some(event)
    }

    /// Queues one message for the other end.
    pub fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        let mut ends = self.lock();
        let [own, other] = sides(&mut ends, self.side);
        let to = other.id.filter(|_| link == self.id && !own.down).ok_or(SendError::Unknown)?;
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLong { bytes: bytes.len(), bytes_max: MESSAGE_BYTES_MAX });
        }
        if other.waiting_bytes > 0 && other.waiting_bytes + bytes.len() > self.bytes_max {
            other.refused = true;
            return Err(SendError::Full);
        }
        other.waiting_bytes += bytes.len();
        other.events.push_back(LinkEvent::Received { link: to, bytes });
        Ok(())
    }

    /// Ends the link: both ends see its `Down`, the other after what was sent before.
    pub fn close(&self, link: LinkId) {
        let mut ends = self.lock();
        let [own, other] = sides(&mut ends, self.side);
        if link == self.id && !own.down {
            own.end(DownReason::Closed);
            other.end(DownReason::PeerClosed);
        }
    }
}

impl End {
    fn end(&mut self, reason: DownReason) {
        self.down = true;
        self.events.extend(self.id.map(|link| LinkEvent::Down { link, reason }));
    }
}

impl MemoryLink {
    fn lock(&self) -> MutexGuard<'_, [End; 2]> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sides(ends: &mut [End; 2], side: usize) -> [&mut End; 2] {
    let [left, right] = ends;
    if side == 0 { [left, right] } else { [right, left] }
}

impl Transport for MemoryLink {
    fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        MemoryLink::send(self, link, bytes)
    }

    fn close(&self, link: LinkId) {
        MemoryLink::close(self, link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(end: &MemoryLink) -> LinkId {
        match end.poll_event() {
            Some(LinkEvent::Up { link, .. }) => link,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_slow_reader_makes_the_sender_wait_and_then_go_on() {
        let (left, right) = pair(PeerId([1; 32]), PeerId([2; 32]), &LinkIds::default(), 100);
        let (link, _) = (up(&left), up(&right));
        assert_eq!(left.send(link, vec![0; 60]), Ok(()));
        assert_eq!(left.send(link, vec![0; 60]), Err(SendError::Full));
        assert!(left.poll_event().is_none());
        assert!(matches!(right.poll_event(), Some(LinkEvent::Received { .. })));
        assert!(matches!(left.poll_event(), Some(LinkEvent::Drained { .. })));
        assert_eq!(left.send(link, vec![0; 60]), Ok(()));
    }

    #[test]
    fn down_comes_last_and_once() {
        let (left, right) = pair(PeerId([1; 32]), PeerId([2; 32]), &LinkIds::default(), 100);
        let (link, other) = (up(&left), up(&right));
        left.send(link, vec![1]).unwrap();
        left.close(link);
        right.close(other);
        assert!(matches!(right.poll_event(), Some(LinkEvent::Received { .. })));
        assert!(matches!(right.poll_event(), Some(LinkEvent::Down { reason: DownReason::PeerClosed, .. })));
        assert!(matches!(left.poll_event(), Some(LinkEvent::Down { reason: DownReason::Closed, .. })));
        assert!(left.poll_event().is_none() && right.poll_event().is_none());
        assert_eq!(right.send(other, vec![1]), Err(SendError::Unknown));
    }
}
