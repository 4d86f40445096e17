//! Tombolo for browsers and monitors, over TCP: the page, `/metrics`, `/healthz` and `/v1`. Off unless `[web]` names an address.
//!
//! | room | what it does |
//! |---|---|
//! | [`server`] | listens; takes connections within the limits of the socket |
//! | `access` | what a request may see and do: host, origin, token |
//! | `routes` | the paths, and which viewer each is for |
//! | `acts` | what the forms of the page do |
//! | `snapshot` | what is shown, asked of the node in one go |
//! | `page` | the page, a pure function of that |
//! | `metrics` | the same as figures for Prometheus |
//! | `html` | text of peers as inert HTML |
//!
//! It changes nothing but through commands of the node, and knows no more than the replies of `/v1`.

mod access;
mod acts;
mod html;
mod metrics;
mod page;
mod routes;
pub mod server;
mod snapshot;
