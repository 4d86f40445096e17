//! `/v1/peers/PEER/health`: whether a peer is well, as one status code with the reason, so that any uptime monitor watches it.

use hyper::StatusCode;
use serde_json::{Value as Json, json};

use crate::io::view::PeerStatusView;
use crate::node::{CommandError, Query, Reply};
use crate::runtime::{AskError, NodeClient};

/// The status and the JSON of a peer: 200 while it is heard or silent as it may be, 503 with the reason otherwise.
pub(super) async fn of(peer: &str, client: &NodeClient) -> Result<(StatusCode, Json), AskError> {
    let Reply::Status(status) = client.command(Query::Status).await? else {
        unreachable!("a question about the status is answered with it")
    };
    let unknown = || AskError::Refused(CommandError::UnknownPeer(peer.to_owned()));
    let short = |row: &&PeerStatusView| {
        let key = row.did.strip_prefix("did:key:").unwrap_or(&row.did);
        !peer.is_empty() && key.starts_with(peer.strip_prefix("did:key:").unwrap_or(peer))
    };
    let rows = &status.peers;
    let found =
        rows.iter().find(|row| row.name == peer || row.did == peer).or_else(|| rows.iter().find(short));
    Ok(judge(found.ok_or_else(unknown)?))
}

fn judge(peer: &PeerStatusView) -> (StatusCode, Json) {
    let Some(presence) = &peer.presence else {
        let why = "not met yet: nothing was heard of it";
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "ok": false, "name": peer.name, "state": null, "why": why }),
        );
    };
    let ok = matches!(presence.state, "here" | "quiet");
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let row = json!({
        "ok": ok, "name": peer.name, "state": presence.state, "why": presence.why, "heard_at": peer.heard_at,
    });
    (status, row)
}
