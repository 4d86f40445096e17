//! `demo`: four nodes on this machine join, edit, part and meet again, and are measured; a fifth where a tor runs.
//!
//! Everything is real but the air: folders with their own identities and stores, QUIC links over loopback, this
//! machine's own figures as node states. Between three of the nodes lie [`Cable`]s, which count what crosses them
//! and can be cut; the fourth is reached by radio only, through the real driver and a TNC on an emulated
//! [`EmulatedChannel`]. Invites carry addresses, so no multicast is needed. Nothing is left behind.

mod air;
mod behind_tor;
mod cable;
mod figures;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ask::runtime;
use super::error::{CliError, CliResult};
use super::print;
use super::up::Signals;
use crate::clock::rfc3339;
use crate::config::TorSettings;
use crate::config::radio::RadioSettings;
use crate::federation::invite::Invite;
use crate::federation::{RadioUse, TrustLevel};
use crate::handle::{Settings, Tombolo};
use crate::io::view::{DocumentView, TrafficView};
use crate::node::{Admin, NodeState, Query, Reply, Write};
use crate::probe;
use crate::system_clock::now;
use crate::time::Millis;
use air::EmulatedChannel;
use cable::Cable;
use figures::{ConvergeFigures, DocumentFigures, Figures, NodeFigures, RadioFigures};
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_transports::Address;
use tombolo_transports::tor::Endpoint;

/// The nodes: the first invites, and owns the shared document.
const NAMES: [&str; 3] = ["harbour", "ferry", "lighthouse"];
const DOC: &str = "roster";
/// The same document as each of them names it.
const DOC_PATH: &str = "harbour/roster";
/// The node that only a radio reaches, its peer with a radio as well, and the document that they share.
const BY_RADIO: [&str; 2] = ["harbour", "buoy"];
const RADIO_DOC: &str = "notices";
const RADIO_DOC_PATH: &str = "harbour/notices";
const RADIO_EDITS: usize = 3;
/// How the radios send, and where they are in the sense of the law.
const MODULATION: Modulation = Modulation::SF7_125;
const RADIO_OPTIONS: &str = "preset=SF7/125&region=EU868&txdelay=0&slot=1&persist=255";
/// Edits of each node while all are connected, and while one is cut off.
const EDITS_AT_ONCE: usize = 20;
const EDITS_CUT_OFF: usize = 10;
/// States each node publishes, and the time between them: as a real node does, only sooner.
const STATES: usize = 4;
const STATE_EVERY: Duration = Duration::from_millis(500);
/// How long the cable stays cut.
const CUT: Duration = Duration::from_secs(3);
/// How long any step may take: far more than it does. After a cut QUIC may take some seconds to try again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same on radio, where a frame takes its time, and one that is lost some 10 s until a heartbeat shows that: mostly 5 to 23 s.
const RADIO_PATIENCE: Duration = Duration::from_secs(90);
/// How often it is checked whether all read the same.
const LOOK: Duration = Duration::from_millis(5);

pub(super) fn run(json: bool, tor_socks: Option<Endpoint>, tor_control: Option<Endpoint>) -> CliResult {
    let folder = TemporaryFolder::new()?;
    let figures = runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            figures = play(&folder.0, tor_socks, tor_control) => figures,
            () = signals.next() => Err(CliError::new("interrupted", "interrupted: nothing is left behind")),
        }
    })?;
    drop(folder);
    if json {
        let text = serde_json::to_string(&figures);
        print::exact(&text.map_err(|e| CliError::new("internal", e.to_string()))?)?;
    } else {
        print::line(&format!("\n{}", figures.lines()))?;
    }
    match figures.converged {
        true => Ok(()),
        false => {
            Err(CliError::new("not_converged", "the nodes did not come into step: the figures show where"))
        }
    }
}

async fn play(
    folder: &Path,
    tor_socks: Option<Endpoint>,
    tor_control: Option<Endpoint>,
) -> Result<Figures, CliError> {
    let start = now().mono.ms();
    let tor = behind_tor::find(tor_socks, tor_control).await;
    let mut scene = Scene::set_up(folder, tor.as_ref().ok()).await?;
    scene.join().await?;
    scene.publish().await?;
    scene.edit_at_once().await?;
    scene.edit_apart().await?;
    let documents = compare(&scene.on_cables()).await?;
    scene.share_by_radio().await?;
    match tor {
        Ok(tor) => scene.share_by_tor(folder, &tor).await?,
        Err(why) => behind_tor::skip(&why)?,
    }
    scene.end(documents, start).await
}

/// The nodes of the demo, the links between them, and the times that were measured.
struct Scene {
    channel: EmulatedChannel,
    harbour: DemoNode,
    ferry: DemoNode,
    lighthouse: DemoNode,
    buoy: DemoNode,
    to_ferry: Cable,
    to_lighthouse: Cable,
    times: ConvergeFigures,
}

impl Scene {
    async fn set_up(folder: &Path, tor: Option<&TorSettings>) -> Result<Self, CliError> {
        say("four nodes, each with its own folder, identity and store; two of them have a radio");
        let channel = EmulatedChannel::open(now().wall.ms(), PhyRate::lora(MODULATION), BY_RADIO.len()).await;
        let channel = channel.map_err(|e| CliError::new("system", format!("no loopback network: {e}")))?;
        let [harbour, ferry, lighthouse] = NAMES;
        let harbour = DemoNode::start(folder, harbour, &channel, tor).await?;
        let ferry = DemoNode::start(folder, ferry, &channel, None).await?;
        let lighthouse = DemoNode::start(folder, lighthouse, &channel, None).await?;
        let [_, buoy] = BY_RADIO;
        let buoy = DemoNode::start(folder, buoy, &channel, None).await?;
        let to_ferry = lay(&harbour, &ferry).await?;
        let to_lighthouse = lay(&harbour, &lighthouse).await?;
        let times = ConvergeFigures::default();
        Ok(Scene { channel, harbour, ferry, lighthouse, buoy, to_ferry, to_lighthouse, times })
    }

    /// The nodes that cables join; the first is in the middle.
    fn on_cables(&self) -> [&DemoNode; 3] {
        [&self.harbour, &self.ferry, &self.lighthouse]
    }

    async fn join(&mut self) -> CliResult {
        say("harbour invites, ferry and lighthouse join");
        let start = now().mono.ms();
        let invite = self.harbour.invite(vec![self.to_ferry.left_end().into()]).await?;
        self.ferry.join(&invite, PATIENCE).await?;
        let invite = self.harbour.invite(vec![self.to_lighthouse.left_end().into()]).await?;
        self.lighthouse.join(&invite, PATIENCE).await?;
        self.times.joining = Some(now().mono.ms() - start);
        Ok(())
    }

    async fn publish(&mut self) -> CliResult {
        say("each publishes its real state: CPU, memory, disk, uptime");
        self.harbour.node.create_map(DOC).await?;
        for round in 0..STATES {
            tokio::time::sleep(if round == 0 { Duration::ZERO } else { STATE_EVERY }).await;
            tokio::try_join!(self.harbour.publish(2), self.ferry.publish(1), self.lighthouse.publish(1))?;
        }
        self.times.states = in_step(self.on_cables(), true).await?;
        Ok(())
    }

    async fn edit(&mut self, day: &str, edits: usize) -> CliResult {
        tokio::try_join!(
            self.harbour.edit(day, edits),
            self.ferry.edit(day, edits),
            self.lighthouse.edit(day, edits)
        )?;
        Ok(())
    }

    async fn edit_at_once(&mut self) -> CliResult {
        say("all three edit one document at once");
        self.edit("monday", EDITS_AT_ONCE).await?;
        self.times.edits_at_once = in_step(self.on_cables(), false).await?;
        Ok(())
    }

    async fn edit_apart(&mut self) -> CliResult {
        say("lighthouse's cable is cut; all go on editing");
        self.to_lighthouse.set_cut(true);
        let cut_at = now().mono.ms();
        self.edit("tuesday", EDITS_CUT_OFF).await?;
        let left = u64::try_from(CUT.as_millis()).unwrap_or(0).saturating_sub(now().mono.ms() - cut_at);
        tokio::time::sleep(Duration::from_millis(left)).await;
        let apart = !same_roster(self.on_cables()).await?;
        say("the cable is mended");
        self.to_lighthouse.set_cut(false);
        self.times.after_the_cut = in_step(self.on_cables(), false).await?.filter(|_| apart);
        Ok(())
    }

    /// The node that only a radio reaches joins, and shares a document and its state. The roster stays on the
    /// cables.
    async fn share_by_radio(&mut self) -> CliResult {
        say("the buoy, which only a radio reaches (LoRa SF7/125), joins by radio and shares a document");
        let never = Some(RadioUse::Never);
        let policy = Admin::Policy { doc: DOC.to_owned(), radio: never, confidential: None };
        self.harbour.node.command(policy).await?;
        self.harbour.node.create_map(RADIO_DOC).await?;
        let joining = now().mono.ms();
        let mut invite = Invite::parse(&self.harbour.invite(Vec::new()).await?).map_err(|_| internal())?;
        // Nodes on one machine would find a way around the radio.
        invite.addresses.clear();
        self.buoy.join(&invite.to_code(), RADIO_PATIENCE).await?;
        self.times.joining_by_radio = Some(now().mono.ms() - joining);
        let sharing = now().mono.ms();
        for n in 0..RADIO_EDITS {
            self.harbour.node.set(RADIO_DOC, &format!("tide/{n}"), &format!("{n} of harbour")).await?;
        }
        self.harbour.publish_on_air().await?;
        self.buoy.publish_on_air().await?;
        self.times.by_radio = self.await_reply_by_radio(sharing).await?;
        Ok(())
    }

    /// The node that only Tor reaches joins, and shares a document.
    async fn share_by_tor(&mut self, folder: &Path, tor: &TorSettings) -> CliResult {
        let times = behind_tor::share(folder, &self.harbour, &self.channel, tor).await?;
        self.times.by_tor = Some(times);
        Ok(())
    }

    /// Waits until the buoy has the document, lets it write a reply, and waits until both have that and both states;
    /// how long after `start` that was.
    async fn await_reply_by_radio(&self, start: u64) -> Result<Option<u64>, CliError> {
        let deadline = start + u64::try_from(RADIO_PATIENCE.as_millis()).unwrap_or(0);
        let mut replied = false;
        while now().mono.ms() < deadline {
            let documents = compare(&[&self.harbour, &self.buoy]).await?;
            let same = |name: &str, count: usize| {
                documents.iter().filter(|d| d.name == name && d.identical && d.nodes == 2).count() == count
            };
            if !replied && same(RADIO_DOC, 1) {
                self.buoy.node.set(RADIO_DOC_PATH, "swell", &"1.2 m, seen from the buoy").await?;
                replied = true;
            } else if replied && same(RADIO_DOC, 1) && same("state", 2) {
                return Ok(Some(now().mono.ms() - start));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(None)
    }

    async fn end(self, documents: Vec<DocumentFigures>, start: u64) -> Result<Figures, CliError> {
        let mut documents_by_radio = compare(&[&self.harbour, &self.buoy]).await?;
        documents_by_radio
            .retain(|document| document.nodes == 2 && [RADIO_DOC, "state"].contains(&&*document.name));
        let stats = |(radio, name)| RadioFigures::of(name, &self.channel.stats(radio));
        let radios = (0..).zip(BY_RADIO).map(stats).collect();
        let (harbour_1, ferry_bytes) = self.to_ferry.wire_bytes();
        let (harbour_2, lighthouse_bytes) = self.to_lighthouse.wire_bytes();
        let nodes = vec![
            self.harbour.end(harbour_1 + harbour_2).await?,
            self.ferry.end(ferry_bytes).await?,
            self.lighthouse.end(lighthouse_bytes).await?,
        ];
        self.buoy.end(0).await?;
        let identical = documents.iter().all(|document| document.identical);
        Ok(Figures {
            converged: identical && self.times.all_reached(),
            documents_identical: identical,
            converge_ms: self.times,
            total: NodeFigures::sum(&nodes),
            nodes,
            radios,
            documents,
            documents_by_radio,
            seconds: Duration::from_millis(now().mono.ms() - start).as_secs_f64(),
        })
    }
}

/// A node of the demo, and what its changes would cost as JSON.
struct DemoNode {
    name: &'static str,
    did: String,
    node: Tombolo,
    folder: PathBuf,
    changes: u64,
    json_bytes: u64,
    json_change_bytes: u64,
}

impl DemoNode {
    async fn start(
        folder: &Path,
        name: &'static str,
        channel: &EmulatedChannel,
        tor: Option<&TorSettings>,
    ) -> Result<Self, CliError> {
        let folder = folder.join(name);
        Tombolo::create(&folder, name)?;
        let mut settings = Settings::on_loopback(name);
        settings.config.tor = tor.cloned().unwrap_or(settings.config.tor);
        let radio = BY_RADIO.iter().position(|with_radio| *with_radio == name);
        if let Some(port) = radio.and_then(|radio| channel.port(radio)) {
            let url = format!("kiss+tcp://{port}?{RADIO_OPTIONS}");
            let radio = RadioSettings::from_url(&url);
            settings.config.radios.push(radio.map_err(|e| CliError::new("internal", e.to_string()))?);
        }
        let node = Tombolo::start(&folder, settings).await?;
        let Reply::Id(id) = node.command(Query::Id).await? else { return Err(internal()) };
        Ok(DemoNode { name, did: id.did, node, folder, changes: 0, json_bytes: 0, json_change_bytes: 0 })
    }

    fn address(&self) -> Result<std::net::SocketAddr, CliError> {
        self.node.addresses().iter().find_map(Address::as_socket).ok_or_else(internal)
    }

    async fn invite(&self, addresses: Vec<Address>) -> Result<String, CliError> {
        let command = Admin::Invite {
            level: TrustLevel::Trusted,
            expires_in: Millis::from_ms(60 * 60 * 1000),
            addresses,
        };
        match self.node.command(command).await? {
            Reply::Invite(invite) => Ok(invite.code),
            _ => Err(internal()),
        }
    }

    async fn join(&self, code: &str, patience: Duration) -> CliResult {
        let command = Admin::Join { code: code.to_owned(), addresses: Vec::new() };
        match tokio::time::timeout(patience, self.node.command(command)).await {
            Ok(reply) => Ok(reply.map(|_| ())?),
            Err(_) => Err(CliError::new(
                "not_converged",
                format!("{} got no answer to its request to join", self.name),
            )),
        }
    }

    /// Publishes this machine's state, which so many others read.
    async fn publish(&mut self, readers: usize) -> CliResult {
        let state: NodeState = probe::look(self.folder.clone(), self.name).await;
        let json = serde_json::json!({ "timestamp": rfc3339(now().wall), "state": &state }).to_string();
        self.node.command(Write::publish(state)).await?;
        self.count(json.len(), json.len(), readers);
        Ok(())
    }

    /// Publishes this machine's state for the radio to carry; not counted with the changes on cables.
    async fn publish_on_air(&self) -> CliResult {
        let state: NodeState = probe::look(self.folder.clone(), self.name).await;
        self.node.command(Write::publish(state)).await?;
        Ok(())
    }

    /// Writes lines of its own, and with each one that all three write.
    async fn edit(&mut self, day: &str, edits: usize) -> CliResult {
        for n in 0..edits {
            let key = if n % 5 == 0 {
                format!("{day}/captain")
            } else {
                format!("{day}/watch-{n:02}/{}", self.name)
            };
            let value = format!("crew {n} of {}", self.name);
            self.node.set(DOC_PATH, &key, &value).await?;
            let whole = serde_json::to_string(&self.node.get(DOC, None).await?).map_err(|_| internal())?;
            let time = rfc3339(now().wall);
            let change = serde_json::json!({
                "document": DOC, "key": key, "value": value, "author": self.did, "time": time,
            });
            self.count(whole.len(), change.to_string().len(), NAMES.len() - 1);
        }
        Ok(())
    }

    fn count(&mut self, whole: usize, change: usize, readers: usize) {
        let bytes = |bytes: usize| u64::try_from(bytes * readers).unwrap_or(u64::MAX);
        self.changes += 1;
        self.json_bytes += bytes(whole);
        self.json_change_bytes += bytes(change);
    }

    async fn documents(&self) -> Result<Vec<DocumentView>, CliError> {
        match self.node.command(Query::List).await? {
            Reply::Documents(documents) => Ok(documents),
            _ => Err(internal()),
        }
    }

    async fn end(self, wire_bytes_sent: u64) -> Result<NodeFigures, CliError> {
        let Reply::Status(status) = self.node.command(Query::Status).await? else { return Err(internal()) };
        let TrafficView { messages_sent, bytes_sent, bytes_received, .. } = status.traffic;
        self.node.shutdown().await;
        Ok(NodeFigures {
            name: self.name.to_owned(),
            changes: self.changes,
            messages_sent,
            message_bytes_sent: bytes_sent,
            message_bytes_received: bytes_received,
            wire_bytes_sent,
            json_bytes: self.json_bytes,
            json_change_bytes: self.json_change_bytes,
        })
    }
}

async fn lay(left: &DemoNode, right: &DemoNode) -> Result<Cable, CliError> {
    let cable = Cable::lay(left.address()?, right.address()?).await;
    cable.map_err(|e| CliError::new("system", format!("no loopback network: {e}")))
}

/// Waits until all three read the same; how long that took, or `None` if it did not happen in time. With `states`, each
/// must also hold what its peers published.
async fn in_step(nodes: [&DemoNode; 3], states: bool) -> Result<Option<u64>, CliError> {
    let start = now().mono.ms();
    let deadline = start + u64::try_from(PATIENCE.as_millis()).unwrap_or(0);
    while now().mono.ms() < deadline {
        if same_roster(nodes).await? && (!states || states_known(nodes).await?) {
            return Ok(Some(now().mono.ms() - start));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

async fn same_roster(nodes: [&DemoNode; 3]) -> Result<bool, CliError> {
    let mut hashes = Vec::new();
    for node in nodes {
        let documents = node.documents().await?;
        hashes
            .push(documents.into_iter().find(|document| document.name == DOC).map(|document| document.hash));
    }
    Ok(hashes.first().is_some_and(Option::is_some)
        && hashes.windows(2).all(|pair| pair.first() == pair.last()))
}

/// Whether the node in the middle holds the newest states of both others, and they hold its own.
async fn states_known(nodes: [&DemoNode; 3]) -> Result<bool, CliError> {
    let documents = compare(&nodes).await?;
    let states = documents.iter().filter(|document| document.name == "state");
    let held: Vec<usize> = states.filter(|state| state.identical).map(|state| state.nodes).collect();
    Ok(held.len() == nodes.len() && held.iter().all(|nodes| *nodes > 1))
}

/// Every document that one of the nodes holds, and whether all that hold it hold the same bytes.
async fn compare(nodes: &[&DemoNode]) -> Result<Vec<DocumentFigures>, CliError> {
    let mut hashes: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for node in nodes {
        for document in node.documents().await? {
            let owner = nodes.iter().find(|node| node.did == document.owner);
            let owner =
                owner.map_or_else(|| print::short_did(&document.owner), |owner| owner.name.to_owned());
            hashes.entry((owner, document.name)).or_default().push(document.hash);
        }
    }
    let figures = hashes.into_iter().map(|((owner, name), hashes)| DocumentFigures {
        owner,
        name,
        nodes: hashes.len(),
        identical: hashes.windows(2).all(|pair| pair.first() == pair.last()),
        hash: hashes.into_iter().next().unwrap_or_default(),
    });
    Ok(figures.collect())
}

fn say(step: &str) {
    print::hint(&format!("* {step}"));
}

fn internal() -> CliError {
    CliError::new("internal", "the demo's own node gave an unexpected answer")
}

/// A folder that is gone when the demo is over, however it ended.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Result<Self, CliError> {
        let failed =
            |e: &dyn std::fmt::Display| CliError::new("system", format!("no folder for the demo: {e}"));
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| failed(&e))?;
        let name = format!("tombolo-demo-{}", data_encoding::HEXLOWER.encode(&random));
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|e| failed(&e))?;
        Ok(TemporaryFolder(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
