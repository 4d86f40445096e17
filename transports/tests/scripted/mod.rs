//! Tor for the tests, without tor: a control port and a SOCKS server that answer as tor does, or with what a test asks for.
//!
//! [`ScriptedTor`] is one tor, with both doors. Several of them on one [`Network`] reach each other's onion services: what
//! `ADD_ONION` publishes at one is dialled through the other, with client authorisation, unmapped ports and services that
//! are gone. [`ScriptedControl`] and [`ScriptedSocks`] also stand alone. Everything runs in threads of its own on the
//! loopback, so a test may block, and any runtime will do. Written from tor's control-spec and socks-extensions, not from
//! our code; `transports/tests/scripted_tor.rs` has a real tor judge it.
//!
//! A test of another crate includes it by its path, as `tests/radio/emulated.rs` includes the emulated radios. It needs
//! `curve25519-dalek`, `data-encoding`, `sha2` and `sha3`.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "each test takes what it needs, and fails by panicking"
)]

pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod door;
pub(crate) mod network;
pub(crate) mod onion;
pub(crate) mod socks;

pub(crate) use control::{Answer, Login, ScriptedControl};
pub(crate) use door::Place;
pub(crate) use network::Network;
pub(crate) use socks::{Dial, Host, ScriptedSocks, Treatment};

/// One tor: a control port and a SOCKS port. Dropped, both are closed and its services are gone.
pub(crate) struct ScriptedTor {
    pub(crate) control: ScriptedControl,
    pub(crate) socks: ScriptedSocks,
}

impl ScriptedTor {
    /// A tor on this network with both doors on free ports of the loopback, extended errors on.
    pub(crate) fn start(network: &Network, login: Login) -> Self {
        Self::start_at(network, login, Place::free(), Place::free())
    }

    /// The same with the doors at these places.
    pub(crate) fn start_at(network: &Network, login: Login, control: Place, socks: Place) -> Self {
        let tor = network.tor();
        let socks = ScriptedSocks::start_for(network, tor, socks);
        let control = ScriptedControl::start_for(network, tor, login, control);
        control.info("net/listeners/socks", &format!("\"{}\"", socks.at()));
        Self { control, socks }
    }

    /// Ends it as `kill -9` would: all connections are cut, its services answer no more.
    pub(crate) fn kill(&mut self) {
        self.control.close();
        self.socks.close();
    }

    /// Starts it again at the same places; what was added through the control port is not there any more.
    pub(crate) fn revive(&mut self) {
        self.socks.reopen();
        self.control.reopen();
    }

    /// Holds it, both doors and its services, as `kill -STOP` would: connections are neither served nor cut, until it is set to false.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.control.freeze(frozen);
    }
}
