//! The real binary in an empty folder, as a person would use it: from `init` to `watch`, alone, with a
//! daemon, and two nodes on this machine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

mod adopt;
mod alarms;
mod alone;
mod clock;
mod demo;
mod deploy;
mod disk;
mod doctor;
mod engine;
mod errors;
mod harness;
mod help;
mod installer;
mod library;
mod mutated;
mod notify_tls;
mod presence;
mod radio;
mod revoke;
mod rpc;
mod rpc_deploy;
mod running;
mod service;
mod socket_group;
mod tools;
mod tor;
mod two;
mod web;
mod why;
