//! Makes the node's JSON calls. The calls themselves are HTTP (`http.rs`), which comes with the feature `cli`; without it each call
//! fails before it leaves, with the reason.

#[cfg(feature = "cli")]
mod http;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tombolo_transports::tor::Endpoint;
use tombolo_transports::{OnionHost, PeerId};

use super::{NodeClient, Task};
#[cfg(not(feature = "cli"))]
use crate::io::CallFailure;
use crate::io::{CallId, OutgoingCall};
use crate::node::Input;

/// How onion services are reached.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only HTTP uses the routes"))]
pub(crate) struct CallRoutes {
    /// Those that an address of this machine leads to.
    forward: BTreeMap<OnionHost, SocketAddr>,
    /// Tor's SOCKS port, which leads to all others.
    socks: Option<Endpoint>,
}

impl CallRoutes {
    /// Routes with these onion services on this machine, and all others behind a SOCKS port.
    pub(crate) fn new(forward: BTreeMap<OnionHost, SocketAddr>, socks: Option<Endpoint>) -> Self {
        CallRoutes { forward, socks }
    }

    /// Makes no call: this program was built without HTTP.
    #[cfg(not(feature = "cli"))]
    async fn call(&self, _: PeerId, _: CallId, _: OutgoingCall) -> Result<crate::io::CallReply, CallFailure> {
        let why = "this program makes no JSON calls: it was built without the feature `cli`".to_owned();
        Err(CallFailure { why, may_have_arrived: false })
    }
}

/// Makes a call and gives the node its answer.
pub(crate) async fn answer(
    routes: Arc<CallRoutes>,
    client: NodeClient,
    id: CallId,
    peer: PeerId,
    call: OutgoingCall,
) {
    let result = routes.call(peer, id, call).await;
    let _ = client.send(Task::Input(Input::CallAnswered { id, result })).await;
}
