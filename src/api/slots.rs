//! Places that clients share: there are so many, and one client has at most some of them, so that it leaves places for others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Who opened a connection, as far as the system knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClientId {
    /// A process of this machine.
    Process(i32),
    /// The address of another machine.
    Host(IpAddr),
    /// The system does not know it: all such clients count as one.
    Unknown,
}

/// Places for clients; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    taken: Arc<Mutex<BTreeMap<ClientId, usize>>>,
    max: usize,
    per_client_max: usize,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    taken: Arc<Mutex<BTreeMap<ClientId, usize>>>,
    client: ClientId,
}

impl Slots {
    /// So many places, of which one client has at most some.
    pub(crate) fn new(max: usize, per_client_max: usize) -> Self {
        Slots { taken: Arc::default(), max, per_client_max }
    }

    /// Takes a place, if one is free for this client.
    pub(crate) fn take(&self, client: ClientId) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&client).copied().unwrap_or(0));
        if all >= self.max || own >= self.per_client_max {
            return None;
        }
        taken.insert(client, own + 1);
        Some(Slot { taken: self.taken.clone(), client })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(taken.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_places_for_others() {
        let slots = Slots::new(3, 2);
        let [one, other, third] = [1, 2, 3].map(ClientId::Process);
        let held = [slots.take(one).unwrap(), slots.take(one).unwrap()];
        assert!(slots.take(one).is_none(), "its share");
        let last = slots.take(other).unwrap();
        assert!(slots.take(third).is_none(), "all are taken");
        drop(last);
        assert!(slots.take(third).is_some());
        drop(held);
        assert!(slots.take(one).is_some() && slots.taken.lock().unwrap().is_empty());
    }
}
