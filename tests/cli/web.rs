//! The listener for browsers and monitors, through the binary: who gets what, over TCP as a client would send it.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::harness::{Daemon, NodeDir, PATIENCE, eventually};

const TOKEN: &str = "a-token-for-tests-0123";

/// An answer as it came.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// A node with the page on a free port.
fn with_page(name: &str, more: &str) -> NodeDir {
    let place = NodeDir::with_node(name);
    let path = place.folder.join("tombolo.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, section) = text.split_once("[web]\n").unwrap();
    let section = section.replacen("\nlisten = \"\"", &format!("\nlisten = \"127.0.0.1:0\"\n{more}"), 1);
    let section = section.replacen("\ntoken = \"\"", &format!("\ntoken = \"{TOKEN}\""), 1);
    std::fs::write(path, format!("{before}[web]\n{section}")).unwrap();
    place
}

fn page(daemon: &Daemon) -> String {
    daemon.told()["page"].as_str().unwrap().to_owned()
}

/// Sends a request with these headers, `Host` among them.
fn send(at: &str, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn get(at: &str, path: &str, more: &[(&str, &str)]) -> Answer {
    send(at, &format!("GET {path}"), &[more, &[("host", at)]].concat(), "")
}

fn bearer() -> (&'static str, String) {
    ("authorization", format!("Bearer {TOKEN}"))
}

#[test]
fn the_listener_is_off_by_default_and_open_to_the_network_only_with_a_token() {
    let plain = NodeDir::with_node("attic");
    assert!(plain.up().told()["page"].is_null());
    plain.setting("[web]\n", "[web]\nread_without_token = true\n");
    let text = std::fs::read_to_string(plain.folder.join("tombolo.toml")).unwrap();
    let (before, section) = text.split_once("[web]\n").unwrap();
    let section = section.replacen("\nlisten = \"\"", "\nlisten = \"0.0.0.0:0\"", 1);
    std::fs::write(plain.folder.join("tombolo.toml"), format!("{before}[web]\n{section}")).unwrap();
    let error = plain.fails(1, &["up"]);
    assert!(error.contains("needs a `token`") && error.contains("openssl rand -hex 16"), "{error}");
}

#[test]
fn without_the_token_the_page_is_read_only_and_the_interface_closed() {
    let (attic, boat) = (with_page("attic", ""), NodeDir::with_node("boat"));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    let at = page(&attic_up);
    eventually("in step", || attic.ok(&["status"]).contains("2 of 2 nodes in step"));

    assert_eq!((get(&at, "/healthz", &[]).status, get(&at, "/healthz", &[]).body.as_str()), (200, "ok\n"));
    let shown = get(&at, "/", &[]);
    assert!(shown.status == 200 && shown.body.contains("All well. 2 of 2 nodes in step."), "{}", shown.body);
    assert!(!shown.body.contains("/act/") && shown.body.len() <= 60_000);
    let policy = shown.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (path, status) in [("/v1/status", 401), ("/v1/docs", 401), ("/v1/watch", 401), ("/nothing", 404)] {
        assert_eq!(get(&at, path, &[]).status, status, "{path}");
    }
    // Requests that a page elsewhere could cause.
    assert_eq!(send(&at, "GET /", &[("host", "evil.example")], "").status, 421);
    assert_eq!(get(&at, "/", &[("origin", "http://evil.example")]).status, 403);
    assert_eq!(send(&at, "POST /login", &[("host", &at), ("content-type", FORM)], "token=wrong").status, 401);
    let remove = format!("mark=&sure=yes&peer={}", boat.did());
    assert_eq!(send(&at, "POST /act/remove", &[("host", &at), ("content-type", FORM)], &remove).status, 403);
    assert_eq!(attic.json(&["peers"]).as_array().unwrap().len(), 1, "it is still there");

    let metrics = get(&at, "/metrics", &[]);
    assert!(metrics.body.contains("tombolo_peer_up{peer=\"boat\"} 1.0") && !metrics.body.contains("did:key"));
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let health = get(&at, "/v1/peers/boat/health", &[]);
    assert!(health.status == 200 && health.json()["ok"] == true, "{}", health.body);
    assert_eq!(get(&at, "/v1/peers/nobody/health", &[]).status, 404);
    boat_up.kill();
    eventually("an uptime monitor notices", || {
        let health = get(&at, "/v1/peers/boat/health", &[]);
        health.status == 503 && health.json()["why"].as_str().unwrap().contains("last heard")
    });
    assert!(attic.ok(&["status"]).contains("oat is "), "the verdict has it as well");
}

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn with_the_token_programs_have_the_interface_and_browsers_the_forms() {
    let place = with_page("attic", "read_without_token = false");
    let daemon = place.up();
    let at = page(&daemon);
    assert_eq!((get(&at, "/", &[]).status, get(&at, "/metrics", &[]).status), (401, 401));
    let (name, value) = bearer();
    let token = (name, value.as_str());
    assert_eq!(get(&at, "/metrics", &[token]).status, 200);

    let created = send(&at, "POST /v1/docs", &[("host", &at), token], &json!({ "name": "plan" }).to_string());
    assert_eq!(
        (created.status, created.header("location")),
        (201, Some("/v1/docs/plan")),
        "{}",
        created.body
    );
    let listed = get(&at, "/v1/docs", &[token]);
    assert_eq!(listed.json(), place.json(&["ls"]));
    let tag = listed.header("etag").unwrap().to_owned();
    let again = get(&at, "/v1/docs", &[token, ("if-none-match", &tag)]);
    assert!(again.status == 304 && again.body.is_empty());
    let head = send(&at, "HEAD /v1/docs", &[("host", &at), token], "");
    assert!(head.status == 200 && head.body.is_empty());
    assert_eq!(head.header("content-length"), Some(listed.body.len().to_string().as_str()));
    let wrong = send(&at, "DELETE /v1/docs", &[("host", &at), token], "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD, POST")));

    let login = send(&at, "POST /login", &[("host", &at), ("content-type", FORM)], &format!("token={TOKEN}"));
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(login.status, 303);
    let session = [("host", at.as_str()), ("cookie", cookie.as_str()), ("content-type", FORM)];
    let shown = send(&at, "GET /", &session, "");
    let mark = shown.body.split("name=mark value=\"").nth(1).unwrap().split('"').next().unwrap();
    let invite = send(&at, "POST /act/invite", &session, &format!("mark={mark}&level=observer&expires=1h"));
    assert!(
        invite.status == 200 && invite.body.contains("fed1:") && invite.body.contains("<svg class=qr"),
        "{}",
        invite.body
    );
    assert_eq!(place.json(&["invites"])[0]["level"], "observer");
    assert_eq!(send(&at, "POST /act/invite", &session, "mark=x&level=observer&expires=1h").status, 403);
    let bad = send(&at, "POST /act/invite", &session, &format!("mark={mark}&level=friend&expires=1h"));
    assert!(bad.status == 400 && bad.body.contains("level"), "{}", bad.body);
    // A session is for the page: what programs use asks for the token itself.
    assert_eq!(send(&at, "GET /v1/status", &session, "").status, 401);
    let endless = format!("GET /{}", "a".repeat(200_000));
    assert!(matches!(send(&at, &endless, &[("host", &at)], "").status, 414 | 431), "a line without end");
    assert_eq!(daemon.terminate(), Some(0));
}
