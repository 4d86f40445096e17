//! Counts what passes between a program and its tor's SOCKS port.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::scripted::Place;
use super::scripted::door::{Door, Frost, Stream};

/// A door before a SOCKS port. Dropped, it is closed.
pub(crate) struct Tap {
    door: Door,
    bytes: Arc<AtomicU64>,
}

impl Tap {
    pub(crate) fn before(socks: Place) -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = bytes.clone();
        let door = Door::open(Place::free(), Frost::default(), move |client| {
            let Ok(tor) = socks.connect() else { return };
            std::thread::scope(|scope| {
                scope.spawn(|| copy(&client, &tor, &counted));
                copy(&tor, &client, &counted);
            });
        });
        Self { door, bytes }
    }

    pub(crate) fn at(&self) -> Place {
        self.door.at().clone()
    }

    /// Both ways, since the start.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

fn copy(mut from: &Stream, mut to: &Stream, bytes: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        bytes.fetch_add(count as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    from.cut();
    to.cut();
}
