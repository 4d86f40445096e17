//! The words in which a node is shown to people, made from the replies of `/v1`: the terminal and the page share them, so that
//! both give one verdict in one sentence. They leave out the layout, and know no request.
//!
//! | room | what it does |
//! |---|---|
//! | [`verdict`] | how all stands, in one sentence; what needs the operator, worst first |
//! | [`advice`] | what helps against an alarm |
//! | `peer` | one peer: presence, sync status, the link to it, whether it hears this node |
//! | `air` | what a radio has sent, and may still send |
//! | `figures` | ages, sizes, spans; text without control characters |
//! | `json` | fields of a reply |

pub(crate) mod advice;
mod air;
mod figures;
mod json;
mod peer;
pub(crate) mod verdict;

pub(crate) use air::{airtime, airtime_used};
pub(crate) use figures::{
    age, clean, clean_lines, clock_time, count, cut, full_time, moment, seconds, short_did, size, span,
};
pub(crate) use json::{items, number, text};
pub(crate) use peer::{clock, hears_us, is_current, name, presence, route, routes, step, transfer};
