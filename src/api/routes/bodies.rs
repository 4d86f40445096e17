//! The JSON bodies that requests carry. An unknown member is an error.

use serde::{Deserialize, Serialize};
use tombolo_transports::Address;

use crate::federation::{RadioUse, TrustLevel};
use crate::layer::Kind;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InviteBody {
    pub(super) level: Option<TrustLevel>,
    pub(super) expires: Option<String>,
    pub(super) expires_ms: Option<u64>,
    #[serde(default)]
    pub(super) addresses: Vec<Address>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinBody {
    pub(super) code: String,
    #[serde(default)]
    pub(super) addresses: Vec<Address>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    pub(super) name: String,
    #[serde(default = "map")]
    pub(super) kind: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LevelBody {
    pub(super) level: TrustLevel,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyBody {
    #[serde(default)]
    pub(super) radio: Option<RadioUse>,
    #[serde(default)]
    pub(super) confidential: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleBody {
    pub(super) doc: String,
    pub(super) key: String,
    #[serde(default)]
    pub(super) take: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameBody {
    pub(super) name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressesBody {
    pub(super) addresses: Vec<Address>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployBody {
    pub(super) peer: String,
    pub(super) app: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) marketplace_url: Option<String>,
    #[serde(default)]
    pub(super) expires: Option<String>,
    #[serde(default)]
    pub(super) expires_ms: Option<u64>,
    #[serde(default)]
    pub(super) via: Option<DeployVia>,
}

/// How a peer is asked, where not by session or radio.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeployVia {
    Rpc,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    #[serde(default)]
    pub(super) peer: Option<String>,
    #[serde(default)]
    pub(super) notice: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteBundleBody {
    #[serde(rename = "for")]
    pub(super) peers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadBundleBody {
    pub(super) bundle: String,
}

fn map() -> Kind {
    Kind::Map
}
