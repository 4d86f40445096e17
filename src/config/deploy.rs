//! Section `[deploy]`: what peers may have installed here, and by which program.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{program, span_within};

/// The shortest time that an install may have.
pub const DEPLOY_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Section `[deploy]`: what peers may have installed here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeploySettings {
    /// The file that lists the apps: absolute, or in the node's folder.
    pub catalogue: PathBuf,
    /// The program that installs an app, and its arguments with `{id}`, `{version}` and `{url}`; empty: deploys are off.
    #[serde(deserialize_with = "deploy_command")]
    pub command: Vec<String>,
    /// How long the program may take.
    #[serde(deserialize_with = "deploy_timeout")]
    pub timeout: Duration,
}

impl Default for DeploySettings {
    fn default() -> Self {
        DeploySettings {
            catalogue: PathBuf::from("catalogue.toml"),
            command: Vec::new(),
            timeout: Duration::from_secs(10 * 60),
        }
    }
}

fn deploy_command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    program(deserializer, "command")
}

fn deploy_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    span_within(deserializer, DEPLOY_TIMEOUT_MIN)
}
