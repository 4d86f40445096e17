//! The local interface (`API.md`): HTTP on `control.sock` in the node's folder.
//!
//! | room | what it does |
//! |---|---|
//! | [`server`] | serves it for a running node |
//! | [`routes`] | the paths, read and written in one table |
//! | [`client`] | sends commands to a running node |
//! | [`rpc`] | serves the JSON calls of other nodes ([`crate::rpc`]) |
//! | `accept` | the accept loop of all servers |
//! | `health` | whether a peer is well, as one status code |
//! | `json` | what is checked of JSON before it is parsed |

pub(crate) mod accept;
pub mod client;
mod health;
pub(crate) mod json;
pub mod routes;
pub mod rpc;
pub mod server;
mod socket;
