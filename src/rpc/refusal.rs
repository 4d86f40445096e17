//! Why a call is refused: a stable code for programs, a sentence for people, an HTTP status.

use crate::commands::{BadDeploy, CommandRefusal, RunEnd};
use crate::federation::TrustLevel;
use crate::federation::join::JoinRefusal;
use crate::identity::DidError;
use crate::limits::{CALL_BODY_BYTES_MAX, CALL_DEPTH_MAX, CALLS_PER_SENDER_MAX};
use crate::rpc::Method;
use tombolo_transports::address::OnionError;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    /// A header that every call needs is missing.
    #[error("the header `{0}` is missing")]
    MissingHeader(&'static str),
    /// A header stands there twice.
    #[error("the header `{0}` stands there more than once")]
    RepeatedHeader(&'static str),
    /// The sender's DID does not read.
    #[error("the sender's DID: {0}")]
    BadDid(DidError),
    /// The timestamp does not read.
    #[error("the timestamp is not of RFC 3339, like 2026-11-29T08:00:00Z")]
    BadTimestamp,
    /// A signature is of the wrong form.
    #[error("`{0}` is no signature: write its 64 bytes in hex or base64")]
    BadSignatureText(&'static str),
    /// The signature over the timestamp is not the sender's.
    #[error("the signature over the timestamp is not the sender's")]
    WrongSignature,
    /// The body is too long.
    #[error("a body has at most {CALL_BODY_BYTES_MAX} bytes")]
    TooLong,
    /// The body is nested too deeply.
    #[error("arrays and objects in a body are nested at most {CALL_DEPTH_MAX} deep")]
    TooDeep,
    /// The body is not JSON.
    #[error("the body is not JSON: line {line}, column {column}")]
    BadJson {
        /// The line of the mistake, from 1.
        line: usize,
        /// The column of the mistake, from 1.
        column: usize,
    },
    /// The body is JSON, and not of the form of a call.
    #[error("a call is {{\"method\", \"params\"}}: {0}")]
    BadCall(String),
    /// The method does not exist.
    #[error("there is no method `{0}`")]
    UnknownMethod(String),
    /// The parameters are not those of the method.
    #[error("the parameters of `{}`: {why}", method.name())]
    BadParams {
        /// The method that was called.
        method: Method,
        /// What is wrong with them.
        why: String,
    },
    /// The sender is no peer of this node.
    #[error("the sender is not a peer of this node")]
    NotAPeer,
    /// The sender's level does not suffice.
    #[error("the sender is not allowed to do this: it needs the level {needs}")]
    NotTrusted {
        /// The lowest level that may.
        needs: TrustLevel,
    },
    /// The timestamp is too old.
    #[error("the timestamp is more than 5 minutes old: sign a new one, and check both clocks")]
    Late,
    /// The timestamp is too far ahead.
    #[error("the timestamp is more than 5 minutes ahead: check both clocks")]
    Early,
    /// The timestamp was used before.
    #[error("this timestamp of the sender was used before: sign a new one")]
    Replayed,
    /// The timestamp is not later than one whose record is no longer kept.
    #[error("the timestamp is older than one that was used before: check both clocks")]
    Superseded,
    /// The sender calls too often.
    #[error("at most {CALLS_PER_SENDER_MAX} calls are taken from one sender in 5 minutes")]
    TooManyCalls,
    /// The signature over the whole call is missing, and the method needs it.
    #[error("`{}` needs the header `X-Federation-Sig2`, over the whole call", .0.name())]
    MissingSecond(Method),
    /// The signature over the whole call does not hold.
    #[error("the signature over the whole call does not hold: another receiver, method, timestamp or body")]
    WrongSecond,
    /// A joiner speaks for another node.
    #[error("the sender is not the joiner that the parameters name")]
    OtherJoiner,
    /// The joiner is this node itself.
    #[error("the joiner is this node itself")]
    OwnCall,
    /// `pubkey` is not the key of `did`.
    #[error("`pubkey` is not the key that `did` names, in hex")]
    OtherPubkey,
    /// The joiner's onion address does not read.
    #[error("the joiner's onion address: {0}")]
    BadOnion(OnionError),
    /// The token is of the wrong form.
    #[error("`token` is not 32 hex digits")]
    BadToken,
    /// The joiner's signature does not hold.
    #[error("the signature over `peer-joined:{{did}}:{{onion}}:{{pubkey}}` is not the joiner's")]
    WrongJoinSignature,
    /// The invite does not let the joiner in.
    #[error("{0}")]
    Join(JoinRefusal),
    /// This node has published no state yet.
    #[error("this node has published no state yet: try again in a minute")]
    NoState,
    /// This node takes no deploys.
    #[error("deploys are off on this node")]
    DeploysOff,
    /// A word of the deploy does not have its form.
    #[error("{0}")]
    BadDeploy(BadDeploy),
    /// The app is not installed here, or not now.
    #[error("{0}")]
    NotInstalled(CommandRefusal),
    /// The operator's command ran, and failed.
    #[error("{0}")]
    InstallFailed(RunEnd),
    /// This node stopped between taking the call and the end of the command.
    #[error(
        "the outcome is unknown: the node stopped while it ran, or its store was restored after the call was made or shortly before. It is not run again"
    )]
    OutcomeUnknown,
    /// The disk refuses, so no call can be recorded.
    #[error("this node cannot save at the moment: try again later")]
    Busy,
}

impl CallRefusal {
    /// The stable code, in answers and counters.
    pub fn code(&self) -> &'static str {
        match self {
            CallRefusal::MissingHeader(_) => "missing_header",
            CallRefusal::RepeatedHeader(_) => "repeated_header",
            CallRefusal::BadDid(_) => "bad_did",
            CallRefusal::BadTimestamp => "bad_timestamp",
            CallRefusal::BadSignatureText(_) => "bad_signature_text",
            CallRefusal::WrongSignature => "wrong_signature",
            CallRefusal::TooLong => "too_long",
            CallRefusal::TooDeep => "too_deep",
            CallRefusal::BadJson { .. } => "bad_json",
            CallRefusal::BadCall(_) => "bad_call",
            CallRefusal::UnknownMethod(_) => "unknown_method",
            CallRefusal::BadParams { .. } => "bad_params",
            CallRefusal::NotAPeer => "not_a_peer",
            CallRefusal::NotTrusted { .. } => "not_trusted",
            CallRefusal::Late => "timestamp_late",
            CallRefusal::Early => "timestamp_early",
            CallRefusal::Replayed => "replayed",
            CallRefusal::Superseded => "timestamp_superseded",
            CallRefusal::TooManyCalls => "too_many_calls",
            CallRefusal::MissingSecond(_) => "missing_sig2",
            CallRefusal::WrongSecond => "wrong_sig2",
            CallRefusal::OtherJoiner => "other_joiner",
            CallRefusal::OwnCall => "own_call",
            CallRefusal::OtherPubkey => "other_pubkey",
            CallRefusal::BadOnion(_) => "bad_onion",
            CallRefusal::BadToken => "bad_token",
            CallRefusal::WrongJoinSignature => "wrong_join_signature",
            CallRefusal::Join(JoinRefusal::Token) => "join_token",
            CallRefusal::Join(JoinRefusal::Expired) => "join_expired",
            CallRefusal::Join(JoinRefusal::Signature) => "join_signature",
            CallRefusal::Join(JoinRefusal::Busy) => "join_busy",
            CallRefusal::Join(JoinRefusal::Full) => "join_full",
            CallRefusal::NoState => "no_state",
            CallRefusal::DeploysOff => "deploys_off",
            CallRefusal::BadDeploy(_) => "bad_app",
            CallRefusal::NotInstalled(why) => why.label(),
            CallRefusal::InstallFailed(_) => "install_failed",
            CallRefusal::OutcomeUnknown => "outcome_unknown",
            CallRefusal::Busy => "busy",
        }
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            CallRefusal::WrongSignature
            | CallRefusal::Late
            | CallRefusal::Early
            | CallRefusal::Replayed
            | CallRefusal::Superseded
            | CallRefusal::MissingSecond(_)
            | CallRefusal::WrongSecond => 401,
            CallRefusal::NotAPeer
            | CallRefusal::NotTrusted { .. }
            | CallRefusal::OtherJoiner
            | CallRefusal::OwnCall
            | CallRefusal::WrongJoinSignature
            | CallRefusal::Join(JoinRefusal::Token | JoinRefusal::Signature | JoinRefusal::Full)
            | CallRefusal::DeploysOff => 403,
            CallRefusal::NotInstalled(CommandRefusal::Busy) | CallRefusal::Busy => 503,
            CallRefusal::NotInstalled(_) => 403,
            CallRefusal::UnknownMethod(_) | CallRefusal::NoState => 404,
            CallRefusal::Join(JoinRefusal::Expired) => 410,
            CallRefusal::TooLong => 413,
            CallRefusal::TooManyCalls | CallRefusal::Join(JoinRefusal::Busy) => 429,
            CallRefusal::InstallFailed(_) | CallRefusal::OutcomeUnknown => 500,
            CallRefusal::BadDeploy(_)
            | CallRefusal::MissingHeader(_)
            | CallRefusal::RepeatedHeader(_)
            | CallRefusal::BadDid(_)
            | CallRefusal::BadTimestamp
            | CallRefusal::BadSignatureText(_)
            | CallRefusal::TooDeep
            | CallRefusal::BadJson { .. }
            | CallRefusal::BadCall(_)
            | CallRefusal::BadParams { .. }
            | CallRefusal::OtherPubkey
            | CallRefusal::BadOnion(_)
            | CallRefusal::BadToken => 400,
        }
    }
}

/// Whether a caller that got this answer may succeed later with the same request under a new timestamp.
pub fn is_passing(status: u16, code: Option<&str>) -> bool {
    let by_code = |code: &str| {
        code.starts_with("timestamp_") || matches!(code, "replayed" | "too_many_calls" | "join_busy" | "busy")
    };
    status >= 500 || status == 429 || code.is_some_and(by_code)
}
