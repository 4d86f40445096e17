//! What the client writes is what the server reads, and what is neither is refused.

use super::*;
use crate::layer::Kind;
use proptest::prelude::*;
use tombolo_delta::Value;

fn key(text: &str) -> KeyPath {
    KeyPath::parse(text).unwrap()
}

#[test]
fn a_watcher_survives_its_way_through_http() {
    let since = "5f3a09c1-118".parse().ok();
    for request in [
        WatchRequest::default(),
        WatchRequest { doc: Some("boat/plan".into()), since, snapshot: true },
        WatchRequest { doc: None, since, snapshot: false },
    ] {
        let written = write_watch(&request);
        let (path, query) =
            written.split_once('?').map_or((&*written, None), |(path, query)| (path, Some(query)));
        match read(&Method::GET, path, query, b"").unwrap() {
            ApiRequest::Watch(read) => assert_eq!(read, request),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        read(&Method::GET, "/v1/watch", Some("since=yesterday"), b"").unwrap_err().code(),
        "bad_request"
    );
}

const ODD: &str = "pe er/ä?&%2F#\\+\n";

/// Commands for every path.
fn commands() -> Vec<Command> {
    let odd = ODD;
    let (doc, peer, address) = (odd.to_owned(), odd.to_owned(), "[fe80::1%3]:8662".parse().unwrap());
    let value = Value::map([("a", Value::from(1)), ("b", Value::from(1.5))]);
    vec![
        Query::Id.into(),
        Admin::Invite {
            level: TrustLevel::Observer,
            expires_in: Millis::from_ms(7),
            addresses: vec![address],
        }
        .into(),
        Admin::Join { code: "fed1:x".into(), addresses: vec!["127.0.0.1:1".parse().unwrap()] }.into(),
        Query::Peers.into(),
        Query::Invites.into(),
        Admin::WithdrawInvite { id: "5f3a".into() }.into(),
        Admin::Trust { peer: peer.clone(), level: TrustLevel::Untrusted }.into(),
        Admin::Rename { peer: peer.clone(), name: "new".into() }.into(),
        Admin::Dial { peer: peer.clone(), addresses: vec!["127.0.0.1:1".parse().unwrap()] }.into(),
        Admin::Remove { peer: peer.clone() }.into(),
        Write::Create { name: "plan".into(), kind: Kind::Map }.into(),
        Write::Create { name: "report".into(), kind: Kind::Snapshot }.into(),
        Write::Set { doc: doc.clone(), key: key("a/b\\/c/ü ?&="), value: value.clone() }.into(),
        Query::Get { doc: doc.clone(), key: None }.into(),
        Query::Get { doc: doc.clone(), key: Some(key("a//b")) }.into(),
        Write::Del { doc: doc.clone(), key: key("100%") }.into(),
        Write::Put { doc: doc.clone(), value, whole: false }.into(),
        Write::Delete { doc: doc.clone(), undo: false }.into(),
        Query::Document { doc: doc.clone() }.into(),
        Write::OnBase {
            base: "5f".into(),
            write: Box::new(Write::Set { doc: doc.clone(), key: key("a"), value: Value::from(1u64) }),
        }
        .into(),
        Write::OnBase {
            base: "5f".into(),
            write: Box::new(Write::Put { doc: doc.clone(), value: Value::Null, whole: true }),
        }
        .into(),
        Write::OnBase { base: "5f".into(), write: Box::new(Write::Delete { doc: doc.clone(), undo: false }) }
            .into(),
        Write::Settle { doc: doc.clone(), key: key("a/b\\/c"), take: Some("did:key:z6Mk".into()) }.into(),
        Write::Settle { doc: doc.clone(), key: key("a"), take: None }.into(),
        Write::Delete { doc: doc.clone(), undo: true }.into(),
        Query::List.into(),
        Query::State { peer: None }.into(),
        Query::State { peer: Some(peer) }.into(),
        Query::Status.into(),
        Query::Log.into(),
        Query::Links.into(),
        Query::Airtime.into(),
        Query::Hearing.into(),
        Query::Layers.into(),
        Query::Ping { peer: odd.to_owned() }.into(),
        Query::Why { about: None }.into(),
        Query::Why { about: Some(odd.to_owned()) }.into(),
        Query::Routes.into(),
        Admin::Route(crate::io::view::RouteOrder {
            peer: Some(odd.to_owned()),
            preference: Some(crate::router::Preference::TorOnly),
            only: Some("02:00-05:00".into()),
            price: Some(7),
            ..Default::default()
        })
        .into(),
        Query::Deploys { id: None }.into(),
        Admin::WriteBundle { peers: vec![odd.to_owned()] }.into(),
        Admin::ReadBundle { bundle: "AA==".into() }.into(),
        Query::Revocations.into(),
        Query::Alarms.into(),
        Query::Watches.into(),
        Admin::WatchFor(crate::watches::WatchRule {
            peer: odd.to_owned(),
            apps: vec![odd.to_owned()],
            disk_above: Some(90),
            clock: true,
            ..crate::watches::WatchRule::default()
        })
        .into(),
        Admin::Unwatch { id: odd.to_owned() }.into(),
        Admin::AcknowledgeAlarm { id: "0a1b".to_owned() }.into(),
        Admin::Revoke { peer: odd.to_owned() }.into(),
        Admin::RevokeOwn { notice: odd.to_owned() }.into(),
        Query::Deploys { id: Some("0a1b".into()) }.into(),
        Admin::Deploy {
            peer: odd.to_owned(),
            app: "web".into(),
            version: "1.2".into(),
            marketplace_url: Some(odd.to_owned()),
            expires_in: Millis::from_ms(7),
        }
        .into(),
        Admin::DeployByCall {
            peer: odd.to_owned(),
            app: "web".into(),
            version: "1.2".into(),
            marketplace_url: None,
        }
        .into(),
        Query::Conflicts { doc: None }.into(),
        Query::Conflicts { doc: Some(doc) }.into(),
    ]
}

/// The server reads what the client writes as the same command.
#[test]
fn every_command_survives_its_way_through_http() {
    for command in commands() {
        let (method, target, body) = write(&command).unwrap();
        let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(p, q)| (p, Some(q)));
        let Ok(ApiRequest::Command(back)) = read(&method, path, query, &body) else {
            panic!("{method} {target}")
        };
        assert_eq!(format!("{back:?}"), format!("{command:?}"));
    }
}

/// The description, as programs read it.
fn description() -> serde_json::Value {
    serde_json::from_str(crate::api::description::DESCRIPTION).unwrap()
}

/// Each command goes to a path and a method that stand in the description, with the query and the members of the body.
#[test]
fn every_command_stands_in_the_description() {
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    for command in commands() {
        let (method, target, body) = write(&command).unwrap();
        let (path, query) = target.split_once('?').map_or((&*target, ""), |(path, query)| (path, query));
        let fits = |pattern: &str| {
            let [pattern, path] = [pattern, path].map(|text| text.split('/').collect::<Vec<_>>());
            let alike = |(pattern, part): (&&str, &&str)| pattern.starts_with('{') || pattern == part;
            pattern.len() == path.len() && pattern.iter().zip(&path).all(alike)
        };
        // What stands there by its own name goes before a parameter.
        let mut found: Vec<&String> = paths.keys().filter(|pattern| fits(pattern)).collect();
        found.sort_by_key(|pattern| pattern.matches('{').count());
        let found = found.first().unwrap_or_else(|| panic!("{path} is not described"));
        let operation = &paths[*found][method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{method} {found} is not described");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for name in query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty())
        {
            assert!(
                parameters.iter().any(|it| it["name"] == name),
                "{method} {found}: `{name}` is not described"
            );
        }
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let (Some(known), Ok(serde_json::Value::Object(sent))) =
            (schema["properties"].as_object(), serde_json::from_slice(&body))
        {
            let unknown: Vec<&String> = sent.keys().filter(|name| !known.contains_key(*name)).collect();
            assert!(unknown.is_empty(), "{method} {found}: {unknown:?} of the body are not described");
        }
    }
}

/// What the description names is there, and the methods that it does not name are refused.
#[test]
fn the_description_names_what_is_there() {
    let description = description();
    for (pattern, operations) in description["paths"].as_object().unwrap() {
        let path: Vec<&str> =
            pattern.split('/').map(|part| if part.starts_with('{') { "a" } else { part }).collect();
        let described: Vec<String> =
            operations.as_object().unwrap().keys().map(|it| it.to_uppercase()).collect();
        let allowed = allowed(&path.join("/"), None);
        let allowed: Vec<&str> =
            allowed.iter().map(Method::as_str).filter(|method| *method != "HEAD").collect();
        for method in &allowed {
            assert!(described.iter().any(|it| it == method), "{method} {pattern} is not described");
        }
        assert_eq!(described.len(), allowed.len(), "{pattern}: {described:?} {allowed:?}");
    }
}

/// A condition or a choice that has no meaning together with another is refused, and not passed over.
#[test]
fn parts_of_a_query_that_exclude_each_other_are_refused() {
    for (method, query) in [(Method::PUT, "key=b&whole=true"), (Method::DELETE, "key=b&undo=true")] {
        let refused = read(&method, "/v1/docs/a", Some(query), b"1");
        assert!(matches!(refused, Err(RouteError::Query(_))), "{method} {query}: {refused:?}");
    }
}

/// `Debug` of the records shows no content, so the test above does not compare it.
#[test]
fn records_to_take_over_survive_their_way_through_http() {
    let node = serde_json::json!({"did": "x", "last_state": {"cpu_usage_percent": 12.5}});
    let records = FederationRecords {
        nodes: vec![node],
        outgoing: vec![serde_json::json!(null)],
        incoming: vec![serde_json::json!([1])],
    };
    let (method, target, body) = write(&Admin::Adopt(records.clone()).into()).unwrap();
    let Ok(ApiRequest::Command(Command::Admin(Admin::Adopt(back)))) = read(&method, &target, None, &body)
    else {
        panic!("{method} {target}")
    };
    assert_eq!(back, records);
}

#[test]
fn a_person_with_curl_may_leave_the_slash_in_a_document_as_it_is() {
    let Ok(ApiRequest::Command(Command::Query(Query::Get { doc, .. }))) =
        read(&Method::GET, "/v1/docs/attic/plan", None, b"")
    else {
        panic!("not a get")
    };
    assert_eq!(doc, "attic/plan");
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let cases = [
        (Method::GET, "/", None, "", "not_found"),
        (Method::GET, "/v2/id", None, "", "not_found"),
        (Method::GET, "/v1/id/x", None, "", "not_found"),
        (Method::GET, "/v1/peers/a/b", None, "", "not_found"),
        (Method::POST, "/v1/id", None, "", "method_not_allowed"),
        (Method::GET, "/v1/join", None, "", "method_not_allowed"),
        (Method::PATCH, "/v1/docs/a", None, "", "method_not_allowed"),
        (Method::POST, "/v1/join", None, "", "bad_json"),
        (Method::POST, "/v1/join", None, "{\"code\":\"x\",\"cod\":1}", "bad_json"),
        (Method::PUT, "/v1/docs/a", Some("key=b"), "{\"a\":1,\"a\":2}", "bad_json"),
        (Method::PUT, "/v1/docs/a", Some("key="), "1", "bad_request"),
        (Method::GET, "/v1/docs/%ff", None, "", "bad_request"),
        (Method::GET, "/v1/docs/%f", None, "", "bad_request"),
        (Method::GET, "/v1/docs/a", Some("kee=b"), "", "bad_request"),
        (Method::DELETE, "/v1/docs/a", Some("key="), "", "bad_request"),
        (Method::POST, "/v1/invites", None, "{\"expires\":\"soon\"}", "bad_request"),
        (Method::GET, "/v1/invites/5f3a", None, "", "method_not_allowed"),
        (Method::POST, "/v1/deploys", None, "{\"peer\":\"a\",\"app\":\"b\"}", "bad_json"),
        (
            Method::POST,
            "/v1/deploys",
            None,
            r#"{"peer":"a","app":"b","version":"1","via":"rpc","expires":"1h"}"#,
            "bad_request",
        ),
        (
            Method::POST,
            "/v1/deploys",
            None,
            r#"{"peer":"a","app":"b","version":"1","via":"post"}"#,
            "bad_json",
        ),
        (Method::PUT, "/v1/deploys", None, "", "method_not_allowed"),
        (Method::POST, "/v1/deploys/ab", None, "{}", "method_not_allowed"),
        (Method::PUT, "/v1/alarms/ab", None, "", "not_found"),
        (Method::GET, "/v1/alarms/ab/ack", None, "", "method_not_allowed"),
        (Method::POST, "/v1/watches", None, "{\"peer\":\"a\",\"fire\":true}", "bad_json"),
        (Method::GET, "/v1/watches/1", None, "", "method_not_allowed"),
    ];
    for (method, path, query, body, code) in cases {
        let error = read(&method, path, query, body.as_bytes()).expect_err(path);
        assert_eq!(error.code(), code, "{method} {path}");
    }
}

proptest! {
    /// Any bytes are a command or a reason, never a panic; and a doc's name survives whatever it is.
    #[test]
    fn any_request_is_a_command_or_a_reason(
        path in "(/v1)?/(id|docs|peers|invites|join|state|watch|conflicts|.{0,4})(/.{0,9}){0,3}",
        query in proptest::option::of("((key|doc|.{0,3})=?.{0,9}&?){0,3}"),
        body in proptest::collection::vec(any::<u8>(), 0..40),
        method in 0..4_usize,
        doc in ".{1,20}",
    ) {
        let method = [Method::GET, Method::PUT, Method::POST, Method::DELETE][method].clone();
        let _ = read(&method, &path, query.as_deref(), &body);
        let (method, target, body) = write(&Query::Get { doc: doc.clone(), key: None }.into()).unwrap();
        let asked = read(&method, &target, None, &body).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let same = matches!(asked, ApiRequest::Command(Command::Query(Query::Get { doc: read, .. })) if read == doc);
        prop_assert!(same);
    }
}

#[test]
fn a_path_names_the_methods_that_it_takes() {
    let of = |path: &str| allowed(path, None).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("/v1/status"), ["GET", "HEAD"]);
    assert_eq!(of("/v1/docs"), ["GET", "HEAD", "POST"]);
    assert_eq!(of("/v1/docs/plan"), ["GET", "HEAD", "PUT", "DELETE"]);
    assert_eq!(of("/v1/peers/hut"), ["DELETE"]);
    assert_eq!(of("/v1/peers/hut/health"), ["GET", "HEAD"]);
    assert_eq!(of("/v1/conflicts"), ["GET", "HEAD", "POST"]);
    assert!(of("/v1/nothing").is_empty());
}

#[test]
fn the_health_of_a_peer_is_a_question_of_its_own() {
    let read = |path: &str| read(&Method::GET, path, None, b"");
    assert!(matches!(read("/v1/peers/old%20hut/health"), Ok(ApiRequest::Health(peer)) if peer == "old hut"));
    assert!(matches!(read("/v1/peers/hut/wealth"), Err(RouteError::NotFound(_))));
}
