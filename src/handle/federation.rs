//! Peers: invites, joining, and whether a peer and this node are in step.

use std::time::Duration;

use super::{CallError, Tombolo};
use crate::federation::TrustLevel;
use crate::io::view::PeerView;
use crate::io::{NodeState, SENSORS_MAX, Sensor};
use crate::node::{Admin, Query, Reply, Write};
use crate::time::Millis;

/// How often a peer is looked at: an acknowledgement is no event.
const STEP_LOOK: Duration = Duration::from_millis(100);

impl Tombolo {
    /// Makes an invite that works once, for so long: a line of text, to be handed over on a way that both trust.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the node refuses or has ended.
    pub async fn invite(&self, level: TrustLevel, lasts: Duration) -> Result<String, CallError> {
        let expires_in = Millis::from_ms(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        match self.command(Admin::Invite { level, expires_in, addresses: Vec::new() }).await? {
            Reply::Invite(invite) => Ok(invite.code),
            _ => Err(CallError::Unexpected),
        }
    }

    /// Redeems an invite, and returns the inviter when both sides have agreed.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the code is none, the inviter refuses, or the node has ended.
    pub async fn join(&self, code: &str) -> Result<PeerView, CallError> {
        let join = Admin::Join { code: code.to_owned(), addresses: Vec::new() };
        match self.command(join).await? {
            Reply::Joined(peer) => Ok(*peer),
            _ => Err(CallError::Unexpected),
        }
    }

    /// The peers, with their newest states and how far each is in step.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the node has ended.
    pub async fn peers(&self) -> Result<Vec<PeerView>, CallError> {
        match self.command(Query::Peers).await? {
            Reply::Peers(peers) => Ok(peers),
            _ => Err(CallError::Unexpected),
        }
    }

    /// Sets a field of this node's own state, or removes it: peers see it with the rest of the state. It is kept in memory, and is
    /// published with the next state; where the settings publish none, at once, as a state of its own.
    ///
    /// # Errors
    ///
    /// [`CallError::Sensor`] if the name or the value exceeds a limit; else why the node refuses, or that it has ended.
    pub async fn set_sensor(&self, name: &str, sensor: Option<Sensor>) -> Result<(), CallError> {
        if let Some(sensor) = &sensor {
            sensor.check(name)?;
        }
        let is_full = self.client.sensors().len() >= SENSORS_MAX && !self.client.sensors().contains_key(name);
        if is_full && sensor.is_some() {
            return Err(CallError::TooManySensors);
        }
        let sensors = self.client.set_sensor(name, sensor);
        if self.publishes {
            return Ok(());
        }
        let Reply::Id(id) = self.command(Query::Id).await? else { return Err(CallError::Unexpected) };
        let sensors = Some(sensors).filter(|sensors| !sensors.is_empty());
        let state = NodeState { node_name: Some(id.name), sensors, ..NodeState::default() };
        self.command(Write::publish(state)).await?;
        Ok(())
    }

    /// Returns when a peer, by name or DID, holds all that this node has for it, and the other way round. For a peer that is
    /// away it waits until it is back.
    ///
    /// # Errors
    ///
    /// [`CallError`] if no peer is called so, or the node has ended.
    pub async fn in_step(&self, peer: &str) -> Result<(), CallError> {
        let mut looks = tokio::time::interval(STEP_LOOK);
        loop {
            looks.tick().await;
            let peers = self.peers().await?;
            let is_it = |row: &&PeerView| row.did == peer || row.name.as_deref() == Some(peer);
            match peers.iter().find(is_it) {
                Some(row) if row.step.state == "in step" => return Ok(()),
                Some(_) => {}
                None => {
                    let unknown = crate::node::CommandError::UnknownPeer(peer.to_owned());
                    return Err(crate::runtime::AskError::Refused(unknown).into());
                }
            }
        }
    }
}
