//! The local interface (`API.md`): HTTP on `control.sock` in the node's folder.
//!
//! | room | what it does |
//! |---|---|
//! | [`server`] | serves it for a running node |
//! | [`routes`] | the paths, read and written in one table |
//! | [`description`] | the same for programs, as OpenAPI |
//! | [`client`] | sends commands to a running node |
//! | [`rpc`] | serves the JSON calls of other nodes ([`crate::rpc`]) |
//! | `accept` | the accept loop of all servers |
//! | `health` | whether a peer is well, as one status code |
//! | [`watch`] | the events of a node, as they happen |
//! | `slots` | how many places one client may have |
//! | `conditions` | the conditional headers of a request |
//! | `answers` | the memory of long answers that are not read yet |
//! | `body` | reads the body of a request, within time and memory |
//! | `json` | what is checked of JSON before it is parsed |

pub(crate) mod accept;
mod answers;
mod body;
pub mod client;
mod conditions;
pub mod description;
mod health;
pub(crate) mod json;
pub mod routes;
pub mod rpc;
pub mod server;
pub(crate) mod slots;
mod socket;
pub mod watch;
