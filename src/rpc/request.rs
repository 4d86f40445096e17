//! The body of a call, `{method, params}`, read and written.
//!
//! Members that are not known are passed over, so that programs which add some are understood; known ones count once and have
//! their type.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tombolo_transports::{OnionHost, PeerId};

use crate::federation::invite::Token;
use crate::identity::{Keypair, did, parse_did, parse_onion_text, verify};
use crate::limits::{CALL_BODY_BYTES_MAX, CALL_DEPTH_MAX};
use crate::rpc::proof::parse_signature;
use crate::rpc::{CallRefusal, Method};

/// Bytes of an app's id or version.
pub const APP_WORD_BYTES_MAX: usize = 64;
/// Bytes of a marketplace's URL.
pub const MARKETPLACE_URL_BYTES_MAX: usize = 2_048;
/// Characters of an unknown method that its refusal repeats.
const ECHO_CHARS_MAX: usize = 64;

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallRequest {
    /// The state of the receiver.
    GetState,
    /// The sender has accepted an invite of the receiver.
    PeerJoined(PeerJoined),
    /// The receiver is asked to install an app.
    Install(InstallRequest),
}

/// A joiner that shows an invite's token. Its signature has been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerJoined {
    /// The identity that joins.
    pub joiner: PeerId,
    /// The onion service of the joiner.
    pub onion: OnionHost,
    /// The secret of the invite.
    pub token: Token,
}

/// An app that a peer wants installed here. Its words have the right form; nothing else has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallRequest {
    /// The id of the app.
    pub id: String,
    /// The version of the app.
    pub version: String,
    /// The marketplace that it comes from; none where the sender names none.
    pub marketplace_url: Option<String>,
}

impl fmt::Debug for PeerJoined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerJoined({})", did(&self.joiner))
    }
}

impl CallRequest {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`CallRefusal`] if the body is too long or too deep, is not JSON, or is no call that this node knows.
    pub fn read(body: &[u8]) -> Result<Self, CallRefusal> {
        if body.len() > CALL_BODY_BYTES_MAX {
            return Err(CallRefusal::TooLong);
        }
        if !depth_is_within(body, CALL_DEPTH_MAX) {
            return Err(CallRefusal::TooDeep);
        }
        let Object(MethodOnly { method }) = parse(body, CallRefusal::BadCall)?;
        let method = Method::from_name(&method)
            .ok_or_else(|| CallRefusal::UnknownMethod(method.chars().take(ECHO_CHARS_MAX).collect()))?;
        match method {
            Method::GetState => Ok(CallRequest::GetState),
            Method::PeerJoined => {
                params(body, method).and_then(PeerJoined::check).map(CallRequest::PeerJoined)
            }
            Method::Install => params(body, method).and_then(InstallRequest::check).map(CallRequest::Install),
        }
    }

    /// Which method it calls.
    pub fn method(&self) -> Method {
        match self {
            CallRequest::GetState => Method::GetState,
            CallRequest::PeerJoined(_) => Method::PeerJoined,
            CallRequest::Install(_) => Method::Install,
        }
    }

    /// The body of `federation.get-state`.
    pub fn get_state_body() -> Vec<u8> {
        body(Method::GetState, &serde_json::json!({}))
    }

    /// The body of `federation.peer-joined`: this node, reached at `onion`, has accepted the invite with this token.
    pub fn peer_joined_body(keypair: &Keypair, onion: &str, token: &Token) -> Vec<u8> {
        let (did, onion) = (did(&keypair.peer_id()), onion.to_owned());
        let pubkey = HEXLOWER.encode(&keypair.peer_id().0);
        let signature = HEXLOWER.encode(&keypair.sign(joined_text(&did, &onion, &pubkey).as_bytes()));
        body(
            Method::PeerJoined,
            &JoinedParams { did, onion, pubkey, token: HEXLOWER.encode(token), signature },
        )
    }

    /// The body of `package.install`.
    pub fn install_body(install: &InstallRequest) -> Vec<u8> {
        let InstallRequest { id, version, marketplace_url } = install.clone();
        body(Method::Install, &InstallParams { id, version, marketplace_url })
    }
}

#[derive(Deserialize)]
struct MethodOnly {
    method: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct ParamsOnly<T> {
    params: Object<T>,
}

#[derive(Serialize)]
struct Whole<'a, T> {
    method: &'a str,
    params: &'a T,
}

#[derive(Serialize, Deserialize)]
struct JoinedParams {
    did: String,
    onion: String,
    pubkey: String,
    token: String,
    #[serde(alias = "sig")]
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct InstallParams {
    id: String,
    version: String,
    #[serde(rename = "marketplace-url", alias = "marketplace_url", skip_serializing_if = "Option::is_none")]
    marketplace_url: Option<String>,
}

impl PeerJoined {
    fn check(params: JoinedParams) -> Result<Self, CallRefusal> {
        let JoinedParams { did, onion, pubkey, token, signature } = params;
        let joiner = parse_did(&did).map_err(CallRefusal::BadDid)?;
        let key = HEXLOWER_PERMISSIVE.decode(pubkey.as_bytes());
        if key.ok().as_deref() != Some(&joiner.0[..]) {
            return Err(CallRefusal::OtherPubkey);
        }
        let host = parse_onion_text(&onion).map_err(CallRefusal::BadOnion)?;
        let token = HEXLOWER_PERMISSIVE.decode(token.as_bytes()).ok().and_then(|token| token.try_into().ok());
        let token = token.ok_or(CallRefusal::BadToken)?;
        let signature = parse_signature(&signature).ok_or(CallRefusal::BadSignatureText("signature"))?;
        // The other program may have signed the address in the other form than it sent.
        let label = onion.strip_suffix(".onion").unwrap_or(&onion);
        let holds = |onion: &str| verify(&joiner, joined_text(&did, onion, &pubkey).as_bytes(), &signature);
        match holds(label) || holds(&format!("{label}.onion")) {
            true => Ok(PeerJoined { joiner, onion: host, token }),
            false => Err(CallRefusal::WrongJoinSignature),
        }
    }
}

impl InstallRequest {
    fn check(params: InstallParams) -> Result<Self, CallRefusal> {
        let InstallParams { id, version, marketplace_url } = params;
        let bad = |why: &str| CallRefusal::BadParams { method: Method::Install, why: why.to_owned() };
        if !is_app_word(&id) {
            return Err(bad("`id` is not of the form [A-Za-z0-9][A-Za-z0-9._+-]{0,63}"));
        }
        if !is_app_word(&version) {
            return Err(bad("`version` is not of the form [A-Za-z0-9][A-Za-z0-9._+-]{0,63}"));
        }
        if marketplace_url.as_ref().is_some_and(|url| url.len() > MARKETPLACE_URL_BYTES_MAX) {
            return Err(bad("`marketplace-url` has at most 2,048 bytes"));
        }
        Ok(InstallRequest { id, version, marketplace_url })
    }
}

/// Whether a text has the form of an app's id or version: `[A-Za-z0-9][A-Za-z0-9._+-]{0,63}`.
pub fn is_app_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    text.len() <= APP_WORD_BYTES_MAX
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(is_inner)
}

/// What a joiner signs.
fn joined_text(did: &str, onion: &str, pubkey: &str) -> String {
    format!("peer-joined:{did}:{onion}:{pubkey}")
}

fn body<T: Serialize>(method: Method, params: &T) -> Vec<u8> {
    let whole = Whole { method: method.name(), params };
    serde_json::to_vec(&whole).expect("texts have a JSON form")
}

fn params<T: DeserializeOwned>(body: &[u8], method: Method) -> Result<T, CallRefusal> {
    let bad = |why| CallRefusal::BadParams { method, why };
    let Object(ParamsOnly { params: Object(params) }) = parse(body, bad)?;
    Ok(params)
}

/// Reads JSON; what is no JSON and what has another form than `T` are refused in different words.
fn parse<T: DeserializeOwned>(body: &[u8], other: impl Fn(String) -> CallRefusal) -> Result<T, CallRefusal> {
    serde_json::from_slice(body).map_err(|error| match error.is_data() {
        true => other(error.to_string()),
        false => CallRefusal::BadJson { line: error.line(), column: error.column() },
    })
}

/// A struct that stands as an object: `serde` would take an array for it too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Reader(std::marker::PhantomData))
    }
}

/// Whether arrays and objects in a JSON text are nested at most so deep. It checks no grammar.
pub(super) fn depth_is_within(text: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max {
            return false;
        }
    }
    true
}
