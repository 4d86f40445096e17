//! The parts that only the program has, in a library that was built without them: there are none.

use std::path::Path;

use tokio::sync::mpsc;

use super::Settings;
use crate::config::Config;
use crate::folder::StartError;
use crate::runtime::links::TorLinks;
use crate::runtime::{Handed, NodeClient};

/// No part at all.
pub(super) struct NoProgram;

impl NoProgram {
    /// Takes no message to the operator: none of the ways to it is there.
    pub(super) fn begin(
        _config: &Config,
        _own_did: String,
        _client: &NodeClient,
        _messages: mpsc::Receiver<Handed>,
        _tor: &mut Option<TorLinks>,
    ) -> Result<Self, StartError> {
        Ok(NoProgram)
    }

    /// Has nothing to start.
    pub(super) fn start(
        &mut self,
        _folder: &Path,
        _settings: &Settings,
        _client: &NodeClient,
    ) -> Result<(), StartError> {
        Ok(())
    }

    /// Has nothing to end.
    pub(super) async fn shutdown(self) {}
}
