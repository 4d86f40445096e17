//! Calls as another program of a federation makes and reads them. The fixtures follow the description of the calls alone:
//! they were written with a library of their own, not with the code under test.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::proof::{parse_signature, signed_headers};
use super::*;
use crate::identity::{did, onion_address, verify};
use crate::io::{AppStatus, CallReply};
use crate::time::Wall;

const TIMESTAMP: &str = "2026-11-29T08:00:00Z";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn id(key: &SigningKey) -> PeerId {
    PeerId(key.verifying_key().to_bytes())
}

fn onion(seed: u8) -> String {
    onion_address(&key(seed).verifying_key().to_bytes())
}

fn headers(fields: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

/// The headers of a caller that signs the timestamp and nothing else, as most programs do.
fn plain_headers(caller: &SigningKey, timestamp: &str) -> Vec<(String, Vec<u8>)> {
    let signature = HEXLOWER.encode(&caller.sign(timestamp.as_bytes()).to_bytes());
    headers(&[
        ("x-federation-did", &did(&id(caller))),
        ("x-federation-timestamp", timestamp),
        ("x-federation-sig", &signature),
    ])
}

fn with(mut headers: Vec<(String, Vec<u8>)>, name: &str, value: Option<&str>) -> Vec<(String, Vec<u8>)> {
    headers.retain(|(called, _)| called != name);
    headers.extend(value.map(|value| (name.to_owned(), value.as_bytes().to_vec())));
    headers
}

fn joined_body(joiner: &SigningKey, onion: &str, signed_onion: &str, token: &str) -> Vec<u8> {
    let (did, pubkey) = (did(&id(joiner)), HEXLOWER.encode(&id(joiner).0));
    let signature = joiner.sign(format!("peer-joined:{did}:{signed_onion}:{pubkey}").as_bytes());
    let signature = BASE64.encode(&signature.to_bytes());
    format!(
        r#"{{"method": "federation.peer-joined", "params": {{"did": "{did}", "onion": "{onion}",
            "pubkey": "{pubkey}", "token": "{token}", "signature": "{signature}"}}}}"#
    )
    .into_bytes()
}

fn refused<T: std::fmt::Debug>(result: Result<T, CallRefusal>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn a_caller_proves_itself_by_a_signature_over_the_timestamp() {
    for timestamp in
        [TIMESTAMP, "2026-11-29T08:00:00.250Z", "2026-11-29T09:00:00+01:00", "2026-11-29T08:00:00.123456789Z"]
    {
        let proof = Proof::read(&plain_headers(&key(1), timestamp)).expect(timestamp);
        assert_eq!(proof.sender, id(&key(1)));
        assert_eq!(proof.time.0 / 1_000_000_000, 1_795_939_200, "{timestamp}");
        assert_eq!(proof.check_second(&id(&key(2)), Method::GetState, b"{}"), Ok(false));
    }
}

#[test]
fn a_signature_is_read_in_hex_and_in_base64() {
    let signature = key(1).sign(b"x").to_bytes();
    for text in [
        HEXLOWER.encode(&signature),
        HEXUPPER.encode(&signature),
        BASE64.encode(&signature),
        BASE64.encode(&signature).trim_end_matches('=').to_owned(),
        BASE64URL_NOPAD.encode(&signature),
    ] {
        assert_eq!(parse_signature(&text), Some(signature), "{text}");
    }
    for text in ["", "00", &"g".repeat(128), &"0".repeat(127), &"*".repeat(88), &HEXLOWER.encode(&[0; 65])] {
        assert_eq!(parse_signature(text), None, "{text}");
    }
}

#[test]
fn each_header_that_is_missing_doubled_or_wrong_has_its_own_code() {
    let good = plain_headers(&key(1), TIMESTAMP);
    let other = HEXLOWER.encode(&key(2).sign(TIMESTAMP.as_bytes()).to_bytes());
    let cases = [
        ("x-federation-did", None, "missing_header"),
        ("x-federation-timestamp", None, "missing_header"),
        ("x-federation-sig", None, "missing_header"),
        ("x-federation-did", Some("did:web:example.org"), "bad_did"),
        ("x-federation-did", Some("did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc"), "bad_did"),
        ("x-federation-timestamp", Some("1795939200"), "bad_timestamp"),
        ("x-federation-timestamp", Some("2026-11-29T08:00:00"), "bad_timestamp"),
        ("x-federation-timestamp", Some("2026-11-29T08:00:01Z"), "wrong_signature"),
        ("x-federation-sig", Some("abc"), "bad_signature_text"),
        ("x-federation-sig", Some(other.as_str()), "wrong_signature"),
        ("x-federation-sig2", Some("abc"), "bad_signature_text"),
    ];
    for (name, value, code) in cases {
        assert_eq!(refused(Proof::read(&with(good.clone(), name, value))), code, "{name}: {value:?}");
    }
    let twice = [good.clone(), good].concat();
    assert_eq!(refused(Proof::read(&twice)), "repeated_header");
    let bytes = vec![("x-federation-did".to_owned(), vec![0xff, 0xfe])];
    assert_eq!(refused(Proof::read(&bytes)), "bad_did");
}

/// The array is drawn here by hand: 85, then texts and 32 bytes in their shortest forms.
#[test]
fn the_second_signature_binds_receiver_method_time_and_body() {
    let (caller, receiver, body) = (key(1), id(&key(2)), br#"{"method":"package.install","params":{}}"#);
    let mut signed = vec![0x85];
    for text in ["tombolo-rpc-1", &did(&receiver), TIMESTAMP, "package.install"] {
        match text.len() {
            short @ 0..24 => signed.push(0x60 + u8::try_from(short).unwrap()),
            long => signed.extend([0x78, u8::try_from(long).unwrap()]),
        }
        signed.extend(text.as_bytes());
    }
    signed.extend([0x58, 32]);
    signed.extend(blake3::hash(body).as_bytes());
    let second = HEXLOWER.encode(&caller.sign(&signed).to_bytes());
    let headers = with(plain_headers(&caller, TIMESTAMP), "x-federation-sig2", Some(&second));
    let proof = Proof::read(&headers).unwrap();
    assert_eq!(proof.check_second(&receiver, Method::Install, body), Ok(true));
    assert_eq!(refused(proof.check_second(&id(&key(3)), Method::Install, body)), "wrong_sig2");
    assert_eq!(refused(proof.check_second(&receiver, Method::GetState, body)), "wrong_sig2");
    assert_eq!(refused(proof.check_second(&receiver, Method::Install, b"{}")), "wrong_sig2");
}

#[test]
fn what_this_node_writes_another_program_verifies() {
    let keypair = Keypair::from_seeds(&[1; 32], &[2; 32]);
    let receiver = id(&key(9));
    let body = CallRequest::peer_joined_body(&keypair, &onion(2), &[0xab; 16]);
    let mut calls = Calls::default();
    let sent = calls.sign(&keypair, &receiver, Wall::from_ms(1_795_939_200_000), Method::PeerJoined, &body);
    let value = |name: &str| sent.headers.iter().find(|(called, _)| *called == name).unwrap().1.clone();
    assert_eq!(value("X-Federation-DID"), did(&keypair.peer_id()));
    let timestamp = value("X-Federation-Timestamp");
    assert_eq!(timestamp, TIMESTAMP);
    let signature = HEXLOWER.decode(value("X-Federation-Sig").as_bytes()).unwrap();
    assert!(verify(&keypair.peer_id(), timestamp.as_bytes(), &signature.try_into().unwrap()));
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["method"], "federation.peer-joined");
    let text = |name: &str| json["params"][name].as_str().unwrap().to_owned();
    let (did, onion, pubkey) = (text("did"), text("onion"), text("pubkey"));
    assert_eq!((text("token").len(), pubkey.len()), (32, 64));
    let signature = HEXLOWER.decode(text("signature").as_bytes()).unwrap().try_into().unwrap();
    assert!(verify(&keypair.peer_id(), format!("peer-joined:{did}:{onion}:{pubkey}").as_bytes(), &signature));
    // Its own reader agrees.
    let read = headers(&sent.headers.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    let proof = Proof::read(&read).unwrap();
    assert_eq!(proof.check_second(&receiver, Method::PeerJoined, &body), Ok(true));
    assert!(matches!(CallRequest::read(&body), Ok(CallRequest::PeerJoined(_))));
}

/// A receiver takes a timestamp once, so two calls of one moment need two.
#[test]
fn no_two_calls_are_signed_under_one_timestamp() {
    let (keypair, mut calls) = (Keypair::from_seeds(&[1; 32], &[2; 32]), Calls::default());
    let mut times: Vec<String> = (0..5)
        .map(|_| {
            calls
                .sign(&keypair, &id(&key(2)), Wall::from_ms(1_795_939_200_000), Method::GetState, b"{}")
                .headers[1]
                .1
                .clone()
        })
        .collect();
    times.dedup();
    assert_eq!(times.len(), 5);
}

#[test]
fn a_joiner_is_read_with_and_without_the_suffix_of_its_address() {
    let joiner = key(1);
    let (long, token) = (onion(7), "0123456789abcdefABCDEF0123456789");
    let label = long.strip_suffix(".onion").unwrap();
    for (sent, signed) in [(long.as_str(), long.as_str()), (label, label), (label, &long), (&long, label)] {
        let Ok(CallRequest::PeerJoined(joined)) =
            CallRequest::read(&joined_body(&joiner, sent, signed, token))
        else {
            panic!("{sent} signed as {signed}");
        };
        assert_eq!((joined.joiner, joined.onion.to_string()), (id(&joiner), long.clone()));
        assert_eq!(joined.token[..2], [0x01, 0x23]);
    }
}

#[test]
fn each_wrong_parameter_of_a_joiner_has_its_own_code() {
    let (joiner, long, token) = (key(1), onion(7), "00".repeat(16));
    let good = String::from_utf8(joined_body(&joiner, &long, &long, &token)).unwrap();
    let pubkey = HEXLOWER.encode(&id(&joiner).0);
    let other_onion = onion(8);
    let cases = [
        (pubkey.as_str(), "00", "other_pubkey"),
        (long.as_str(), other_onion.as_str(), "wrong_join_signature"),
        (long.as_str(), "abc.onion", "bad_onion"),
        (token.as_str(), "00", "bad_token"),
        ("\"signature\": \"", "\"signature\": \"x", "bad_signature_text"),
        ("\"signature\"", "\"signed\"", "bad_params"),
        ("\"token\": \"", "\"token\": 5, \"x\": \"", "bad_params"),
        ("\"did\": \"did:key:z", "\"did\": \"did:key:y", "bad_did"),
    ];
    for (from, to, code) in cases {
        let body = good.replacen(from, to, 1);
        assert_ne!(body, good, "{from}");
        assert_eq!(refused(CallRequest::read(body.as_bytes())), code, "{from} -> {to}");
    }
}

#[test]
fn a_body_that_is_no_call_is_refused_with_what_is_wrong() {
    let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
    let long = vec![b' '; 64 * 1024 + 1];
    let cases: [(&[u8], &str); 13] = [
        (b"", "bad_json"),
        (b"method=federation.get-state", "bad_json"),
        (b"{\"method\": \"federation.get-state\"", "bad_json"),
        (b"{\"method\": \"federation.get-state\"} x", "bad_json"),
        (b"{}", "bad_call"),
        (b"[\"federation.get-state\"]", "bad_call"),
        (b"{\"method\": 1}", "bad_call"),
        (b"{\"method\": \"federation.get-state\", \"method\": \"package.install\"}", "bad_call"),
        (b"{\"method\": \"system.shutdown\"}", "unknown_method"),
        (b"{\"method\": \"package.install\"}", "bad_params"),
        (b"{\"method\": \"package.install\", \"params\": [\"a\", \"1\", \"u\"]}", "bad_params"),
        (deep.as_bytes(), "too_deep"),
        (&long, "too_long"),
    ];
    for (body, code) in cases {
        assert_eq!(
            refused(CallRequest::read(body)),
            code,
            "{}",
            String::from_utf8_lossy(&body[..body.len().min(60)])
        );
    }
    for body in [
        &b"{\"method\": \"federation.get-state\"}"[..],
        b"{\"method\": \"federation.get-state\", \"params\": null}",
        b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"federation.get-state\", \"params\": {}}",
    ] {
        assert_eq!(CallRequest::read(body), Ok(CallRequest::GetState));
    }
}

#[test]
fn an_app_to_install_has_words_of_the_right_form() {
    let body = |id: &str, version: &str, url: &str| {
        format!(
            "{{\"method\": \"package.install\", \"params\": {{\"id\": \"{id}\", \"version\": \"{version}\"{url}}}}}"
        )
    };
    let url = ", \"marketplace-url\": \"https://apps.example\"";
    let expected = InstallRequest {
        id: "wiki".into(),
        version: "1.2.0+b".into(),
        marketplace_url: Some("https://apps.example".into()),
    };
    assert_eq!(
        CallRequest::read(body("wiki", "1.2.0+b", url).as_bytes()),
        Ok(CallRequest::Install(expected.clone()))
    );
    assert_eq!(CallRequest::read(&CallRequest::install_body(&expected)), Ok(CallRequest::Install(expected)));
    assert!(CallRequest::read(body("wiki", "1", "").as_bytes()).is_ok());
    for (id, version) in
        [("", "1"), ("-rf", "1"), ("a b", "1"), ("a/b", "1"), ("a", "$(x)"), ("a", &"1".repeat(65))]
    {
        assert_eq!(
            refused(CallRequest::read(body(id, version, url).as_bytes())),
            "bad_params",
            "{id} {version}"
        );
    }
}

#[test]
fn a_state_reads_in_the_names_of_the_description_and_may_lack_fields() {
    let reply = |body: &str| CallReply { status: 200, body: body.as_bytes().to_vec() };
    let whole = reply(
        r#"{"result": {"timestamp": "2026-11-29T08:00:00.5+00:00", "node_name": "mill",
            "apps": [{"id": "wiki", "status": "running", "version": "1.2", "health": "ok"}, {"id": "mail", "status": "installed"}],
            "cpu_usage_percent": 12, "mem_used_bytes": 1, "mem_total_bytes": 2, "disk_used_bytes": 3,
            "disk_total_bytes": 4, "uptime_secs": 5, "tor_active": true, "sensors": {"a": 1}}}"#,
    );
    let read = whole.read_state().unwrap();
    assert_eq!((read.time.ms(), read.state.node_name.as_deref()), (1_795_939_200_500, Some("mill")));
    assert_eq!((read.state.apps.len(), read.state.apps[1].status), (2, AppStatus::Installed));
    assert_eq!((read.state.cpu_usage_percent, read.state.tor_active), (Some(12.0), Some(true)));
    let bare = reply(r#"{"result": {"timestamp": "2026-11-29T08:00:00Z"}}"#).read_state().unwrap();
    assert!(bare.state.apps.is_empty() && bare.state.node_name.is_none());
    let named_like_an_identity =
        r#"{"result": {"timestamp": "2026-11-29T08:00:00Z", "node_name": "did:key:z6Mk"}}"#;
    assert_eq!(reply(named_like_an_identity).read_state().unwrap().state.node_name, None);
}

#[test]
fn an_answer_without_a_result_differs_from_a_refusal() {
    let reply = |status, body: &str| CallReply { status, body: body.as_bytes().to_vec() };
    let refusal = |code: Option<&str>, message: &str| {
        let (code, message) = (code.map(str::to_owned), message.to_owned());
        Err(AnswerError::Refused { status: 403, code, message })
    };
    let cases = [
        (r#"{"error": {"message": "unknown peer"}}"#, refusal(None, "unknown peer")),
        (r#"{"error": {"code": "not_a_peer", "message": "no"}}"#, refusal(Some("not_a_peer"), "no")),
        (r#"{"error": {"code": -32601, "message": "no"}, "result": null}"#, refusal(Some("-32601"), "no")),
        (r#"{"error": "no"}"#, refusal(None, "no")),
        (r#"{"error": {}}"#, refusal(None, "no reason was given")),
        ("{}", Err(AnswerError::Empty)),
    ];
    for (body, expected) in cases {
        assert_eq!(reply(403, body).read::<serde_json::Value>(), expected, "{body}");
    }
    assert_eq!(reply(200, r#"{"result": null}"#).read(), Ok(serde_json::Value::Null));
    for body in [
        "",
        "<html>",
        "[1]",
        r#"{"result": {"timestamp": 5}}"#,
        r#"{"result": {"apps": []}}"#,
        r#"{"result": {"timestamp": "soon"}}"#,
    ] {
        assert!(matches!(reply(200, body).read_state(), Err(AnswerError::NoAnswer { .. })), "{body}");
    }
    assert_eq!(reply(200, &"[".repeat(100)).read_state(), Err(AnswerError::TooDeep));
    let long = CallReply { status: 200, body: vec![b' '; (1 << 20) + 1] };
    assert_eq!(long.read_state(), Err(AnswerError::TooLong));
}

#[test]
fn no_secret_of_a_call_is_shown_for_debugging() {
    let body = joined_body(&key(1), &onion(7), &onion(7), &"5a".repeat(16));
    let call = crate::io::IncomingCall { headers: plain_headers(&key(1), TIMESTAMP), body: body.clone() };
    let asked = CallRequest::read(&body).unwrap();
    let shown = format!("{call:?} {asked:?}");
    assert!(!shown.contains("5a5a") && !shown.contains("90, 90"), "{shown}");
    let sent = crate::io::OutgoingCall {
        onion: OnionHostOf(7).host(),
        headers: signed_headers(
            &Keypair::from_seeds(&[1; 32], &[2; 32]),
            &id(&key(2)),
            Wall::from_ms(1),
            Method::PeerJoined,
            &body,
        ),
        body,
        timeout: Method::PeerJoined.timeout(),
    };
    assert!(!format!("{sent:?}").contains("5a5a"));
}

struct OnionHostOf(u8);

impl OnionHostOf {
    fn host(&self) -> tombolo_transports::OnionHost {
        onion(self.0).parse().unwrap()
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(name in "x-federation-(did|timestamp|sig|sig2)", value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = CallRequest::read(&value);
        let _ = CallReply { status: 200, body: value.clone() }.read_state();
        let headers = with(plain_headers(&key(1), TIMESTAMP), &name, None);
        let _ = Proof::read(&[headers, vec![(name, value)]].concat());
    }

    /// A call that is changed in one byte is refused, or it is the same call still.
    #[test]
    fn a_changed_call_is_never_another_joiners(at in 0usize..600, to in 0x20u8..0x7f) {
        let mut body = joined_body(&key(1), &onion(7), &onion(7), &"00".repeat(16));
        let at = at % body.len();
        body[at] = to;
        if let Ok(CallRequest::PeerJoined(joined)) = CallRequest::read(&body) {
            prop_assert_eq!((joined.joiner, joined.onion.to_string()), (id(&key(1)), onion(7)));
        }
    }
}
