//! The calls of a join, as they arrive here and as this node makes them.

use tombolo_transports::{Address, OnionHost, PeerId};

use crate::federation::invite::{Token, TokenHash};
use crate::federation::join::{JoinRefusal, JoinRequest};
use crate::io::RequestId;

/// A request to join, as it arrived.
#[derive(Debug)]
pub struct Redeem<'a> {
    /// The joiner, proven by its link or by the radio handshake.
    pub joiner: PeerId,
    /// The address it called from.
    pub address: Option<Address>,
    /// The request that it signed.
    pub request: &'a JoinRequest,
    /// Hash of the invite's token; the joiner has proved that it knows the token.
    pub token: TokenHash,
}

/// A request to join that came as a JSON call, signed by the joiner.
pub struct CalledJoin {
    /// The joiner, proven by its signatures.
    pub joiner: PeerId,
    /// The onion service of the joiner.
    pub onion: OnionHost,
    /// The token that it showed.
    pub token: Token,
}

/// A call to an inviter that is due.
#[derive(Debug)]
pub struct JoinCall {
    /// The node that made the invite.
    pub inviter: PeerId,
    /// Where it may be dialled.
    pub addresses: Vec<Address>,
    /// The invite's token, from which the radio handshake derives its key.
    pub token: Token,
    /// What this node signed.
    pub request: JoinRequest,
}

/// What an inviter's answer leads to.
#[derive(Debug)]
pub enum Answered {
    /// Both have each other on their lists; these requests are answered with the peer.
    Agreed(Vec<RequestId>),
    /// The inviter refused for good; these requests get the reason.
    Refused(Vec<RequestId>, JoinRefusal),
    /// No answer yet, or one after which the call is repeated.
    Pending,
}
