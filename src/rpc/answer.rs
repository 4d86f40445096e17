//! Answers to calls, `{result}` or `{error: {code, message}}`, written and read.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::commands::{OUTPUT_BYTES_MAX, tail_of};
use crate::federation::name::usable_name;
use crate::io::{CallReply, NodeState};
use crate::limits::{CALL_ANSWER_BYTES_MAX, CALL_DEPTH_MAX};
use crate::rpc::CallRefusal;
use crate::rpc::request::{Object, depth_is_within};
use crate::time::Wall;

/// Characters of a peer's message that are kept.
const MESSAGE_CHARS_MAX: usize = 500;

/// Why an answer brings no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The peer refused the call.
    #[error("{message}")]
    Refused {
        /// The HTTP status of the answer.
        status: u16,
        /// The stable code, where it sent one.
        code: Option<String>,
        /// The sentence that it sent.
        message: String,
    },
    /// The answer is too long.
    #[error("the answer is longer than {CALL_ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The answer is nested too deeply.
    #[error("the answer is nested more than {CALL_DEPTH_MAX} deep")]
    TooDeep,
    /// What came is no answer to a call.
    #[error("with status {status} came what is no answer to a call: {why}")]
    NoAnswer {
        /// The HTTP status of the answer.
        status: u16,
        /// What is wrong with it.
        why: String,
    },
    /// There is neither a result nor an error in it.
    #[error("the answer has neither `result` nor `error`")]
    Empty,
}

/// A node state as an answer carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct AnsweredState {
    /// When its node measured it.
    pub time: Wall,
    /// The state that the peer answered with.
    pub state: NodeState,
}

/// What a peer answered to `package.install`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallAnswer {
    /// Whether the app is installed, by the peer's word.
    pub is_deployed: bool,
    /// The last of what its command wrote; empty where it sends none.
    pub output: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct AnswerBody<T> {
    #[serde(default = "none", deserialize_with = "present")]
    result: Option<T>,
    #[serde(default)]
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorBody {
    Object {
        #[serde(default)]
        code: Option<Code>,
        #[serde(default)]
        message: Option<String>,
    },
    Text(String),
}

/// Some programs number their errors.
#[derive(Deserialize)]
#[serde(untagged)]
enum Code {
    Text(String),
    Number(i64),
}

#[derive(Deserialize)]
struct WireState {
    timestamp: String,
    #[serde(flatten)]
    state: NodeState,
}

impl CallReply {
    /// An answer with a result.
    pub fn result(result: &impl Serialize) -> Self {
        #[derive(Serialize)]
        struct Result<'a, T> {
            result: &'a T,
        }
        let body =
            serde_json::to_vec(&Result { result }).expect("results have text keys and no failing parts");
        CallReply { status: 200, body }
    }

    /// An answer that refuses.
    pub fn refused(refusal: &CallRefusal) -> Self {
        let error =
            serde_json::json!({ "error": { "code": refusal.code(), "message": refusal.to_string() } });
        CallReply { status: refusal.status(), body: error.to_string().into_bytes() }
    }

    /// The result of an answer that a peer sent.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if the peer refused, or what it sent is no answer.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, AnswerError> {
        let CallReply { status, body } = self;
        if body.len() > CALL_ANSWER_BYTES_MAX {
            return Err(AnswerError::TooLong);
        }
        if !depth_is_within(body, CALL_DEPTH_MAX) {
            return Err(AnswerError::TooDeep);
        }
        // The error first: a refusal reads whatever form its result has.
        let no_answer = |error: serde_json::Error| AnswerError::NoAnswer {
            status: *status,
            why: short(&error.to_string()),
        };
        let Object(refused) =
            serde_json::from_slice::<Object<AnswerBody<serde::de::IgnoredAny>>>(body).map_err(no_answer)?;
        if let Some(error) = refused.error {
            let (code, message) = error.parts();
            return Err(AnswerError::Refused { status: *status, code, message });
        }
        let Object(answer) = serde_json::from_slice::<Object<AnswerBody<T>>>(body).map_err(no_answer)?;
        answer.result.ok_or(AnswerError::Empty)
    }

    /// The node state of an answer to `federation.get-state`.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if the peer refused, or its answer holds no state.
    pub fn read_state(&self) -> Result<AnsweredState, AnswerError> {
        let WireState { timestamp, mut state } = self.read()?;
        let time = chrono::DateTime::parse_from_rfc3339(&timestamp).ok();
        let time = time.and_then(|time| u64::try_from(time.timestamp_millis()).ok()).map(Wall::from_ms);
        let why = "`timestamp` is not of RFC 3339";
        let time = time.ok_or_else(|| AnswerError::NoAnswer { status: self.status, why: why.to_owned() })?;
        state.node_name = state.node_name.and_then(|name| usable_name(&name));
        Ok(AnsweredState { time, state })
    }

    /// The result of an answer to `package.install`. Of another program's result no form is known: it counts as done, unless
    /// `deployed` is false.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if the peer refused, or what it sent is no answer.
    pub fn read_install(&self) -> Result<InstallAnswer, AnswerError> {
        let result: serde_json::Value = self.read()?;
        let is_deployed = result.get("deployed").and_then(serde_json::Value::as_bool).unwrap_or(true);
        let output = result.get("output").and_then(serde_json::Value::as_str).unwrap_or_default();
        Ok(InstallAnswer { is_deployed, output: tail_of(output, OUTPUT_BYTES_MAX).to_owned() })
    }
}

impl ErrorBody {
    fn parts(self) -> (Option<String>, String) {
        let (code, message) = match self {
            ErrorBody::Object { code, message } => (code, message),
            ErrorBody::Text(text) => (None, Some(text)),
        };
        let code = code.map(|code| match code {
            Code::Text(text) => short(&text),
            Code::Number(number) => number.to_string(),
        });
        let message = message.filter(|text| !text.is_empty()).or_else(|| code.clone());
        (code, message.map_or_else(|| "no reason was given".to_owned(), |text| short(&text)))
    }
}

fn short(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn none<T>() -> Option<T> {
    None
}

/// A result that is there, `null` included.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
