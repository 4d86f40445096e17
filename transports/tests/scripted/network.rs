//! The onion services that scripted tors publish, and which client key opens each.

use super::door::{Frost, Place, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// One of the tors on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TorId(pub(super) u32);

/// Who keeps a service alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The control connection of this number; the service ends with it.
    Connection(TorId, u32),
    /// The tor itself (`Flags=Detach`, or a service of its torrc).
    Tor(TorId),
    /// Its tor has ended: the descriptor is still in caches.
    Gone,
}

/// One onion service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) ports: BTreeMap<u16, Place>,
    /// The client keys that open it; `None` lets in all clients.
    pub(crate) clients: Option<BTreeSet<[u8; 32]>>,
    pub(crate) keeper: Keeper,
    pub(crate) flags: Vec<String>,
}

#[derive(Debug, Default)]
struct Inner {
    services: BTreeMap<String, Service>,
    /// Private keys that a tor was given for a service, as public keys.
    client_keys: BTreeMap<(TorId, String), [u8; 32]>,
    frosts: BTreeMap<TorId, Frost>,
    streams: Vec<LiveStream>,
}

/// A stream that was opened to a service.
#[derive(Debug)]
struct LiveStream {
    /// The service's tor.
    tor: TorId,
    client: Stream,
    service: Stream,
    stalled: Stalled,
}

/// Whether all that is sent on a stream vanishes.
pub(super) type Stalled = Arc<AtomicBool>;

/// All services, by name without `.onion`. A clone is the same network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    inner: Arc<Mutex<Inner>>,
    tors: Arc<AtomicU32>,
    silent: Arc<AtomicBool>,
}

/// What becomes of a stream to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Target {
        place: Place,
        /// The service's tor.
        tor: TorId,
    },
    /// The reply byte of SOCKS, with extended errors.
    Refused(u8),
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(super) fn tor(&self) -> TorId {
        TorId(self.tors.fetch_add(1, Ordering::SeqCst))
    }

    /// What holds a tor still.
    pub(super) fn frost(&self, tor: TorId) -> Frost {
        self.inner.lock().unwrap().frosts.entry(tor).or_default().clone()
    }

    /// Whether the end of a service's tor goes unnoticed by those that have a stream to it. With a real tor that is so
    /// about every other time; here it is not, at first.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    pub(super) fn opened(&self, tor: TorId, client: &Stream, service: &Stream) -> Stalled {
        let stalled = Stalled::default();
        let live =
            LiveStream { tor, client: client.again(), service: service.again(), stalled: stalled.clone() };
        self.inner.lock().unwrap().streams.push(live);
        stalled
    }

    /// Ends the streams to the services of a tor that has ended.
    pub(super) fn end_streams(&self, tor: TorId) {
        let silent = self.silent.load(Ordering::SeqCst);
        let mut inner = self.inner.lock().unwrap();
        for stream in inner.streams.extract_if(.., |stream| stream.tor == tor) {
            if silent {
                stream.stalled.store(true, Ordering::SeqCst);
            } else {
                stream.client.cut();
            }
            stream.service.cut();
        }
    }

    /// Publishes a service that no control port knows: `name` is what stands before `.onion`, right or not.
    pub(crate) fn publish(&self, name: &str, port: u16, target: Place) {
        let name = name.strip_suffix(".onion").unwrap_or(name).to_owned();
        let mut inner = self.inner.lock().unwrap();
        let service = inner.services.entry(name).or_insert_with(|| Service {
            ports: BTreeMap::new(),
            clients: None,
            keeper: Keeper::Tor(TorId(u32::MAX)),
            flags: vec![],
        });
        service.ports.insert(port, target);
    }

    /// Returns false where there is such a service already.
    pub(super) fn add(&self, name: &str, service: Service) -> bool {
        let mut inner = self.inner.lock().unwrap();
        let free = inner.services.get(name).is_none_or(|there| there.keeper == Keeper::Gone);
        if free {
            inner.services.insert(name.to_owned(), service);
        }
        free
    }

    /// Takes a service off the network, if the condition holds for its keeper; its descriptor stays in caches.
    pub(super) fn end(&self, name: &str, kept: impl Fn(Keeper) -> bool) -> bool {
        let mut inner = self.inner.lock().unwrap();
        let service = inner.services.get_mut(name).filter(|service| kept(service.keeper));
        service.map(|service| service.keeper = Keeper::Gone).is_some()
    }

    pub(super) fn end_all(&self, kept: impl Fn(Keeper) -> bool) {
        let mut inner = self.inner.lock().unwrap();
        let services = inner.services.values_mut().filter(|service| kept(service.keeper));
        services.for_each(|service| service.keeper = Keeper::Gone);
    }

    /// Forgets the services that have ended, as caches do after some hours: dialling them finds no descriptor.
    pub(crate) fn forget(&self) {
        self.inner.lock().unwrap().services.retain(|_, service| service.keeper != Keeper::Gone);
    }

    /// The services that are up, by name.
    pub(crate) fn services(&self) -> BTreeMap<String, Service> {
        let mut services = self.inner.lock().unwrap().services.clone();
        services.retain(|_, service| service.keeper != Keeper::Gone);
        services
    }

    /// Keeps a client key for a service; returns whether there was one.
    pub(super) fn set_client_key(&self, tor: TorId, name: &str, key: [u8; 32]) -> bool {
        self.inner.lock().unwrap().client_keys.insert((tor, name.to_owned()), key).is_some()
    }

    pub(super) fn remove_client_key(&self, tor: TorId, name: &str) -> bool {
        self.inner.lock().unwrap().client_keys.remove(&(tor, name.to_owned())).is_some()
    }

    pub(super) fn forget_client_keys(&self, tor: TorId) {
        self.inner.lock().unwrap().client_keys.retain(|(of, _), _| *of != tor);
    }

    /// Where a stream from this tor to `name` (without `.onion`) and `port` leads.
    pub(super) fn look_up(&self, tor: TorId, name: &str, port: u16) -> Lookup {
        let inner = self.inner.lock().unwrap();
        let Some(service) = inner.services.get(name) else {
            return Lookup::Refused(if super::onion::is_name(name) { 0xF0 } else { 0xF6 });
        };
        if let Some(clients) = &service.clients {
            match inner.client_keys.get(&(tor, name.to_owned())) {
                None => return Lookup::Refused(0xF4),
                Some(key) if !clients.contains(key) => return Lookup::Refused(0xF5),
                Some(_) => {}
            }
        }
        let (Keeper::Connection(of, _) | Keeper::Tor(of)) = service.keeper else {
            return Lookup::Refused(0xF2);
        };
        let place = service.ports.get(&port).cloned();
        place.map_or(Lookup::Refused(0x05), |place| Lookup::Target { place, tor: of })
    }
}
