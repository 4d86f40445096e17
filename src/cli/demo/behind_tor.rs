//! The node behind Tor: joins and shares a document where a tor runs on this machine and is connected to its network.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::{CliError, CliResult, DemoNode, EmulatedChannel, LOOK, compare, internal, say};
use crate::config::TorSettings;
use crate::federation::invite::Invite;
use crate::system_clock::now;
use tombolo_transports::tor::control::Control;
use tombolo_transports::tor::{Credentials, Endpoint};

/// The node that only Tor reaches, and the document that the harbour shares with it.
const NAME: &str = "island";
const DOC: &str = "moorings";
const EDITS: usize = 3;
/// How long a step may take. A public network takes seconds to publish a service, and more to dial it.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the steps took, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct TorTimes {
    /// From the invite until the node had joined.
    #[serde(rename = "joining_by_tor")]
    pub(super) joining: u64,
    /// From then until both held the document.
    #[serde(rename = "by_tor")]
    pub(super) in_step: Option<u64>,
}

/// The settings of a tor that can be used now, or why there is none.
pub(super) async fn find(socks: Option<Endpoint>, control: Option<Endpoint>) -> Result<TorSettings, String> {
    let settings = TorSettings { socks, control, ..TorSettings::default() };
    let mut reason = None;
    for place in settings.control() {
        match Control::open(&place, &Credentials::default()).await {
            Ok(mut control) => {
                return match control.bootstrap().await.map(|phase| phase.percent) {
                    Ok(100) => Ok(TorSettings { control: Some(place), ..settings }),
                    Ok(percent) => Err(format!("tor is still bootstrapping ({percent} %)")),
                    Err(error) => Err(error.to_string()),
                };
            }
            Err(error) => {
                reason.get_or_insert(error.to_string());
            }
        }
    }
    Err(format!("no tor with a control port: {}", reason.unwrap_or_default()))
}

/// A node that is off every network but Tor joins the harbour, and both share a document.
pub(super) async fn share(
    folder: &Path,
    harbour: &DemoNode,
    channel: &EmulatedChannel,
    tor: &TorSettings,
) -> Result<TorTimes, CliError> {
    say("the island, which only Tor reaches, joins through an onion service and shares a document");
    let island = DemoNode::start(folder, NAME, channel, Some(tor)).await?;
    let begun = now().mono.ms();
    let mut invite = Invite::parse(&harbour.invite(Vec::new()).await?).map_err(|_| internal())?;
    // Nodes on one machine would find a way around Tor.
    invite.addresses.clear();
    island.join(&invite.to_code(), PATIENCE).await?;
    let joining = now().mono.ms() - begun;
    let sharing = now().mono.ms();
    harbour.node.create_map(DOC).await?;
    for n in 0..EDITS {
        harbour.node.set(DOC, &format!("berth/{n}"), &format!("{n} of harbour")).await?;
    }
    let in_step = await_same(harbour, &island, sharing).await?;
    island.end(0).await?;
    Ok(TorTimes { joining, in_step })
}

async fn await_same(harbour: &DemoNode, island: &DemoNode, start: u64) -> Result<Option<u64>, CliError> {
    let deadline = start + u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    while now().mono.ms() < deadline {
        let documents = compare(&[harbour, island]).await?;
        if documents.iter().any(|document| document.name == DOC && document.identical && document.nodes == 2)
        {
            return Ok(Some(now().mono.ms() - start));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// Prints why there is no node behind Tor.
pub(super) fn skip(why: &str) -> CliResult {
    say(&format!("no node behind Tor: {why}"));
    Ok(())
}
