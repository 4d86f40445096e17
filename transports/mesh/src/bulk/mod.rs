//! Messages that do not fit one frame: cut into fragments, protected by parity, repaired on request.
//!
//! | module | part |
//! |---|---|
//! | [`fragment`] | cuts a message and joins it again |
//! | [`parity`] | fragments that stand in for lost ones, and how many are worth their airtime |
//! | [`repair`] | what a listener asks for, and when |

pub mod fragment;
pub mod parity;
pub mod repair;
