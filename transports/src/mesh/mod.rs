//! Radio: frames, keys, long messages, airtime, and the drivers of radios that people own.

pub mod air;
pub mod airtime;
pub mod ax25;
pub mod driver;
pub mod fec;
pub mod fragment;
pub mod frame;
pub mod handshake;
pub mod keys;
pub mod kiss;
pub mod ledger;
pub mod meshcore;
pub mod meshtastic;
pub mod region;
pub mod repair;
pub mod station;
