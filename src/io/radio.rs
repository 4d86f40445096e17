//! What a radio is and may do.

use tombolo_mesh::airtime::PhyRate;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::CallSign;

/// What a radio is and may do: some of it known by its driver, the rest set by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioSpec {
    /// Its display name: its URL without secrets. Records on disk are kept under it.
    pub name: String,
    /// Sealed, or signed and in clear where the law asks for that.
    pub mode: Mode,
    /// The longest frame that the radio takes, 50 to 255 bytes.
    pub frame_bytes_max: usize,
    /// The shortest one, at most 15; 0 where any length will do.
    pub frame_bytes_min: usize,
    /// The call sign, where the licence asks for one.
    pub call_sign: Option<CallSign>,
    /// How fast bytes leave.
    pub line: PhyRate,
    /// What the law and the operator allow.
    pub ledger: LedgerConfig,
    /// Of so many states of this node, one goes out signed; 1: each.
    pub sign_every: u32,
    /// The same in words.
    pub rules_text: String,
}
