//! JSON calls between nodes, as they pass between the node and its driver: headers, bodies and status codes, unread. What
//! they mean is the matter of [`crate::rpc`].

use tombolo_transports::OnionHost;

use crate::time::Millis;

/// Names a call that this node makes, so that its answer finds the way back. Chosen by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A call that arrived; hostile.
#[derive(Clone)]
pub struct IncomingCall {
    /// The headers whose names begin with `x-federation-`, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body as the caller sent it.
    pub body: Vec<u8>,
}

/// The answer to a call that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReply {
    /// The HTTP status of the answer.
    pub status: u16,
    /// The body of the answer, JSON.
    pub body: Vec<u8>,
}

/// A call to a peer.
#[derive(Clone)]
pub struct OutgoingCall {
    /// The onion service to call, on its port 80.
    pub onion: OnionHost,
    /// The headers that prove the caller.
    pub headers: Vec<(&'static str, String)>,
    /// The body of the call, JSON.
    pub body: Vec<u8>,
    /// How long the whole call may take.
    pub timeout: Millis,
}

/// Why a call of this node got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// What failed on the way, in words for a person.
    pub why: String,
    /// Whether the peer may have received the call. Then nothing is known about what it did.
    pub may_have_arrived: bool,
}

/// Bodies carry tokens, and headers signatures that may be used once: neither is shown.
impl std::fmt::Debug for IncomingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IncomingCall({} headers, {} bytes)", self.headers.len(), self.body.len())
    }
}

impl std::fmt::Debug for OutgoingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutgoingCall({}, {} bytes)", self.onion, self.body.len())
    }
}
