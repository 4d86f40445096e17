//! With a daemon: the same commands through `control.sock`, HTTP by hand, signals, power cuts, probes.

use super::harness::{NodeDir, eventually, mode, wait};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

#[test]
fn the_same_commands_work_through_a_daemon() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "a", "1"]);
    let (before, did) = (place.hash("plan"), place.did());
    let daemon = place.up();
    assert_eq!(mode(&place.folder.join("control.sock")), 0o600);
    assert_eq!((place.hash("plan"), place.did()), (before, did));
    assert_eq!(place.ok(&["get", "plan", "a"]), "1");
    place.ok(&["set", "plan", "b/c", "{\"d\": [1, \"x\"]}"]);
    place.ok(&["del", "plan", "a"]);
    assert_eq!(place.json(&["get", "plan"])["value"], json!({"b": {"c": {"d": [1, "x"]}}}));
    assert_eq!(place.error_code(&["get", "nothing"]), "unknown_document");
    assert_eq!(place.error_code(&["get", "plan", "a"]), "unknown_key");
    assert!(place.ok(&["status"]).contains("running"));
    assert_eq!(place.json(&["status"])["addresses"], json!([daemon.address()]));
    assert_eq!(daemon.terminate(), Some(0));
    assert!(!place.folder.join("control.sock").exists());
    assert_eq!(place.json(&["get", "plan"])["value"], json!({"b": {"c": {"d": [1, "x"]}}}));
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    assert!(place.fails(1, &["up"]).contains("running on"));
    assert_eq!(place.error_code(&["up"]), "already_running");
    place.ok(&["create", "plan"]);
}

/// Acknowledged is on the disk: after a power cut every write that was answered is there, and the socket
/// left behind does not stop the next daemon, nor a command without one.
#[test]
fn a_killed_daemon_loses_nothing_it_acknowledged() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    for round in 0..3 {
        let daemon = place.up();
        for n in 0..5 {
            place.ok(&["set", "plan", &format!("r{round}/k{n}"), "1"]);
        }
        daemon.kill();
        assert!(place.folder.join("control.sock").exists());
        let whole = place.json(&["get", "plan"])["value"].clone();
        let keys: usize = whole.as_object().unwrap().values().map(|r| r.as_object().unwrap().len()).sum();
        assert_eq!(keys, (round + 1) * 5);
    }
    assert_eq!(place.up().terminate(), Some(0));
}

#[test]
fn anybody_with_curl_can_ask() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    let get =
        |path: &str| place.http(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let send = |method: &str, path: &str, body: &str| {
        let length = body.len();
        place.http(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    let parse = |body: &str| serde_json::from_str::<Value>(body.trim()).unwrap();
    assert_eq!(parse(&get("/v1/id").1)["did"].as_str().unwrap(), place.did());
    assert_eq!(send("POST", "/v1/docs", "{\"name\": \"plan\"}").0, "HTTP/1.1 201 Created");
    assert_eq!(parse(&get("/v1/openapi.json").1)["openapi"], "3.1.0");
    assert_eq!(send("PUT", "/v1/docs/plan?key=a/b", "{\"c\": 1}").0, "HTTP/1.1 200 OK");
    assert_eq!(parse(&get("/v1/docs/plan?key=a%2Fb").1), json!({"c": 1}));
    assert_eq!(parse(&get("/v1/docs/plan").1), json!({"a": {"b": {"c": 1}}}));
    send("POST", "/v1/docs", "{\"name\": \"wind\", \"kind\": \"snapshot\"}");
    assert_eq!(send("PUT", "/v1/docs/wind", "{\"bft\": 5, \"m/s\": 9.0}").0, "HTTP/1.1 200 OK");
    a_program_that_knows_only_the_pages_verifies_the_layers(&place, &parse(&get("/v1/layers").1));
    assert_eq!(send("DELETE", "/v1/docs/plan?key=a", "").0, "HTTP/1.1 200 OK");
    assert_eq!(parse(&get("/v1/docs/plan").1), json!({}));

    for (answer, status, code) in [
        (get("/v1/docs/none"), "404", "unknown_document"),
        (get("/v2/id"), "404", "not_found"),
        (send("POST", "/v1/id", ""), "405", "method_not_allowed"),
        (send("PUT", "/v1/docs/plan?key=a", "{"), "400", "bad_json"),
        (send("POST", "/v1/docs", "{\"name\": \"plan\"}"), "409", "document_exists"),
        (send("POST", "/v1/join", "{\"code\": \"x\"}"), "400", "bad_invite"),
    ] {
        assert!(answer.0.contains(status), "{answer:?}");
        assert_eq!(parse(&answer.1)["error"]["code"], code);
    }
}

/// The decoder in Python lists the layers over the socket, finds each signed by its author, and the value of a snapshot under
/// the root that is signed.
fn a_program_that_knows_only_the_pages_verifies_the_layers(place: &NodeDir, layers: &Value) {
    assert!(layers.as_array().unwrap().iter().any(|layer| layer["name"] == "plan"), "{layers}");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/node.py");
    let run = std::process::Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // In the place of the package blake3, which Debian does not have.
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/standin"))
        .args([Path::new(program), &place.folder.join("control.sock")])
        .output();
    let Ok(output) = run else { return println!("SKIPPED: needs python3 (apt install python3)") };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{text}{errors}");
    if errors.contains("No module named 'cryptography'") {
        return println!("SKIPPED: needs cryptography (apt install python3-cryptography)");
    }
    assert!(output.status.success(), "{text}");
    assert!(text.contains("ok  plan@") && text.ends_with("all signed by their authors\n"), "{text}");
    let proved = |line: &str| line.starts_with("ok  wind@2") && line.ends_with("content as signed");
    assert!(text.lines().any(proved), "{text}");
}

#[test]
fn junk_on_the_socket_ends_that_connection_alone() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    for junk in
        ["\0\0\0\0", "GET", "GET / HTTP/9.9\r\n\r\n", &"x".repeat(1_000_000), "GET /v1/id HTTP/1.1\r\n"]
    {
        let mut stream = UnixStream::connect(place.folder.join("control.sock")).unwrap();
        let _ = stream.write_all(junk.as_bytes());
        drop(stream);
    }
    let claim = "PUT /v1/docs/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
    let mut stream = UnixStream::connect(place.folder.join("control.sock")).unwrap();
    stream.write_all(claim.as_bytes()).unwrap();
    let megabyte = vec![b' '; 1 << 20];
    let sent = (0..64).take_while(|_| stream.write_all(&megabyte).is_ok()).count();
    assert!(sent < 64, "64 MiB were taken");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    place.ok(&["status"]);
}

#[test]
fn one_client_has_no_more_watchers_than_its_share_and_a_place_for_the_next_when_one_goes() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    let watch = || {
        let mut stream = UnixStream::connect(place.folder.join("control.sock")).unwrap();
        stream.write_all(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut status = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut status).unwrap();
        (stream, status)
    };
    let mut watchers: Vec<_> = (0..48).map(|_| watch()).collect();
    assert!(watchers.iter().all(|(_, status)| status.contains("200")), "{watchers:?}");
    assert!(watch().1.contains("503"));
    place.ok(&["status"]);
    watchers.pop();
    eventually("a place is free again", || watch().1.contains("200"));
}

/// The lines of `watch` as JSON.
struct Watching {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watching {
    fn begin(place: &NodeDir, arguments: &[&str]) -> Self {
        let mut command = place.command(&[&["watch", "--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watching { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

/// A watcher gets what is there, then each change with its keys, old and new values; it goes on behind the last event that it
/// has read, and learns where that is not possible.
#[test]
fn watch_prints_what_is_there_then_each_change_and_goes_on_after_a_break() {
    let place = NodeDir::with_node("attic");
    assert!(place.fails(1, &["watch"]).contains("tombolo up"));
    place.ok(&["create", "plan"]);
    place.ok(&["create", "other"]);
    place.ok(&["set", "plan", "monday/watch", "Ada"]);
    let daemon = place.up();
    assert_eq!(place.error_code(&["watch", "nothing"]), "unknown_document");

    let mut first = Watching::begin(&place, &["plan", "--snapshot"]);
    let there = first.next();
    assert_eq!((&there["event"], &there["document"]), (&json!("snapshot"), &json!("plan")));
    assert_eq!((&there["value"], &there["id"]), (&json!({"monday": {"watch": "Ada"}}), &json!(null)));
    assert_eq!(first.next()["event"], "ready");
    place.ok(&["set", "other", "k", "1"]);
    place.ok(&["set", "plan", "monday/watch", "Grace"]);
    let change = first.next();
    assert_eq!(
        (&change["event"], &change["document"], &change["by"]),
        (&json!("changed"), &json!("plan"), &json!("attic"))
    );
    assert_eq!(change["keys"], json!([{"key": "monday/watch", "old": "Ada", "new": "Grace"}]));
    assert!(
        change["sequence"].is_u64()
            && change["at"].as_str().unwrap().ends_with('Z')
            && change.get("more").is_none()
    );
    first.child.kill().unwrap();
    wait(&mut first.child);

    // What happened while it was away comes now, by the command and by server-sent events.
    let since = change["id"].as_str().unwrap().to_owned();
    let file = place.folder.join("plan.json");
    std::fs::write(&file, "{\"monday\": {\"boats\": [1]}}").unwrap();
    place.ok(&["put", "plan", file.to_str().unwrap()]);
    let keys = json!([{"key": "monday/boats", "new": [1]}, {"key": "monday/watch", "old": "Grace"}]);
    let mut second = Watching::begin(&place, &["plan", "--since", &since]);
    assert_eq!(second.next()["keys"], keys);
    let mut stream = UnixStream::connect(place.folder.join("control.sock")).unwrap();
    let request = format!(
        "GET /v1/watch?doc=plan HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: {since}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "content-type: text/event-stream"));
    assert!(lines.any(|line| line.starts_with("id: ")) && lines.any(|line| line == "event: changed"));
    let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&data).unwrap()["keys"], keys);
    assert_eq!(place.run(&["watch", "plan", "--since", "1"]).status.code(), Some(2));

    // Another start of the node has other events.
    assert_eq!(daemon.terminate(), Some(0));
    assert_eq!(wait(&mut second.child).code(), Some(1));
    let _daemon = place.up();
    let mut third = Watching::begin(&place, &["plan", "--since", &since, "--snapshot"]);
    assert_eq!([third.next(), third.next()].map(|line| line["event"].clone()), ["missed", "snapshot"]);
    third.child.kill().unwrap();
    wait(&mut third.child);
}

/// 400 clients that send half a request, or a body that drips, from one process: the node answers all others.
#[test]
fn half_open_clients_keep_none_out() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    let half = [
        "GET /v1/id HTTP/1.1\r\nHost:",
        "PUT /v1/docs/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    ];
    let open = |n: usize| {
        let mut stream = UnixStream::connect(place.folder.join("control.sock")).unwrap();
        stream.write_all(half[n % 2].as_bytes()).map(|()| stream)
    };
    let held: Vec<_> = (0..400).filter_map(|n| open(n).ok()).collect();
    assert!(held.len() > 300, "{}", held.len());
    place.ok(&["create", "plan"]);
    place.ok(&["status"]);
    drop(held);
}

/// 90 clients of one process ask for a document of 3 MB and read nothing. Each answer is held until it is read, so few are made, and all
/// others are answered.
#[test]
fn answers_that_are_not_read_do_not_fill_the_memory() {
    let place = NodeDir::with_node("attic");
    let daemon = place.up();
    place.ok(&["create", "plan"]);
    let keys: serde_json::Map<_, _> =
        (0..60).map(|n| (format!("k{n}"), "tide ".repeat(10_000).into())).collect();
    let file = place.folder.join("plan.json");
    std::fs::write(&file, serde_json::to_vec(&keys).unwrap()).unwrap();
    place.ok(&["put", "plan", file.to_str().unwrap()]);
    assert_eq!(place.json(&["get", "plan", "k7"]), keys["k7"]);
    let before = daemon.resident_kb();
    let ask = |_| {
        let mut stream = UnixStream::connect(place.folder.join("control.sock")).unwrap();
        stream.write_all(b"GET /v1/docs/plan HTTP/1.1\r\nHost: x\r\n\r\n").map(|()| stream)
    };
    let held: Vec<_> = (0..90).filter_map(|n| ask(n).ok()).collect();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let grown = daemon.resident_kb().saturating_sub(before);
    println!("totals: {} answers of 3 MB that are not read take {grown} kB", held.len());
    assert!(grown < 100_000, "{grown} kB");
    place.ok(&["set", "plan", "k7", "1"]);
    assert_eq!(place.ok(&["get", "plan", "k7"]), "1");
    drop(held);
    assert_eq!(place.json(&["get", "plan"])["value"].as_object().unwrap().len(), 60);
}

#[test]
fn a_node_publishes_its_real_state_with_apps_and_sensors_from_files() {
    let place = NodeDir::with_node("attic");
    let apps = place.folder.join("apps");
    std::fs::write(&apps, "web running 1.2\n").unwrap();
    place.setting("apps_file = \"\"", &format!("apps_file = {:?}", apps.to_str().unwrap()));
    place.setting("apps_every = \"10s\"", "apps_every = \"1s\"");
    let sensors = place.folder.join("sensors");
    std::fs::write(&sensors, "tide 4.5 m\nwater bad\n").unwrap();
    place.setting("sensors_file = \"\"", &format!("sensors_file = {:?}", sensors.to_str().unwrap()));
    let _daemon = place.up();
    eventually("a state with the app and the sensors", || {
        place.run(&["state"]).status.success()
            && apps_of(&place) == "web running 1.2"
            && place.json(&["state"])["sensors"].is_object()
    });
    let state = place.json(&["state"]);
    assert_eq!(state["sensors"], json!({"tide": {"value": 4.5, "unit": "m"}, "water": {"value": "bad"}}));
    assert!(place.ok(&["state"]).contains("tide"));
    assert_eq!(state["node_name"], "attic");
    assert!(state["mem_used_bytes"].as_u64().unwrap() <= state["mem_total_bytes"].as_u64().unwrap());
    assert!(state["uptime_secs"].as_u64().unwrap() > 0);
    assert!(state["cpu_usage_percent"].as_f64().unwrap() <= 100.0);
    // The next regular state is a minute away: a change of an app is not.
    std::fs::write(&apps, "web stopped 1.2\n").unwrap();
    eventually("the change", || apps_of(&place) == "web stopped 1.2");
    std::fs::write(&apps, "web flying 1.2\n").unwrap();
    eventually("the mistake in status", || place.ok(&["status"]).contains("`flying`"));
    assert_eq!(apps_of(&place), "web stopped 1.2");
}

/// A pipe without a writer is reported and not waited for, neither by the probe nor at the end.
#[test]
fn a_pipe_as_apps_file_holds_up_nothing() {
    let place = NodeDir::with_node("attic");
    let apps = place.folder.join("apps");
    assert!(std::process::Command::new("mkfifo").arg(&apps).status().unwrap().success());
    place.setting("apps_file = \"\"", &format!("apps_file = {:?}", apps.to_str().unwrap()));
    let daemon = place.up();
    eventually("the mistake in status", || place.ok(&["status"]).contains("no regular file"));
    eventually("a state without apps", || place.run(&["state"]).status.success());
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_node_publishes_its_containers_and_a_change_at_once() {
    let place = NodeDir::with_node("attic");
    let engine = FakeEngine::start(&place.folder.join("docker.sock"));
    place.setting("containers = \"off\"", &format!("containers = {:?}", place.folder.join("docker.sock")));
    let _daemon = place.up();
    eventually("the container", || apps_of(&place) == "shop-web running 1.27");
    engine.change("exited");
    eventually("its end", || apps_of(&place) == "shop-web stopped 1.27");
}

/// An unhealthy container is not just running, and an odd row beside it is counted and costs no other.
#[test]
fn an_unhealthy_container_is_shown_and_an_odd_one_is_left_out() {
    let place = NodeDir::with_node("attic");
    let engine = FakeEngine::start(&place.folder.join("docker.sock"));
    place.setting("containers = \"off\"", &format!("containers = {:?}", place.folder.join("docker.sock")));
    let _daemon = place.up();
    eventually("the container", || apps_of(&place) == "shop-web running 1.27");
    engine.change("unhealthy");
    eventually("its health in status", || place.ok(&["status"]).contains("1 of 1 run; shop-web unhealthy"));
    assert_eq!(place.json(&["state"])["apps"][0]["health"], "unhealthy");
    let status = place.ok(&["status"]);
    assert!(status.contains("1 row is left out; row 1: it has no state"), "{status}");
}

#[test]
fn a_folder_with_a_long_path_has_a_socket_as_well() {
    let mut place = NodeDir::empty();
    place.folder = place.folder.join("long".repeat(30)).join("longer".repeat(20));
    std::fs::create_dir_all(&place.folder).unwrap();
    place.ok(&["init", "--name", "attic"]);
    place.setting("listen = [\"0.0.0.0:8662\", \"[::]:8662\"]", "listen = [\"127.0.0.1:0\"]");
    place.setting("mdns = true", "mdns = false");
    let _daemon = place.up();
    assert!(place.ok(&["status"]).contains("running"));
    assert_eq!(place.error_code(&["up"]), "already_running");
}

/// The apps of our own state, one per line.
fn apps_of(place: &NodeDir) -> String {
    let output = place.run(&["state", "--json"]);
    let state: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |app: &Value, field: &str| app[field].as_str().unwrap_or("-").to_owned();
    let apps = state["apps"].as_array().cloned().unwrap_or_default();
    let lines =
        apps.iter().map(|a| format!("{} {} {}", text(a, "id"), text(a, "status"), text(a, "version")));
    lines.collect::<Vec<_>>().join("\n")
}

/// A container engine with one container, speaking as much of the Docker API as is asked of it.
struct FakeEngine {
    state: Arc<Mutex<&'static str>>,
    watchers: Arc<Mutex<Vec<UnixStream>>>,
}

impl FakeEngine {
    fn start(path: &std::path::Path) -> Self {
        let engine = FakeEngine { state: Arc::new(Mutex::new("running")), watchers: Arc::default() };
        let (state, watchers) = (engine.state.clone(), engine.watchers.clone());
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap();
                if request[..read].starts_with(b"GET /events") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                    watchers.lock().unwrap().push(stream);
                } else {
                    let (state, status) = match *state.lock().unwrap() {
                        "unhealthy" => ("running", "Up 2 hours (unhealthy)"),
                        state => (state, ""),
                    };
                    let body = json!([{ "Names": ["/odd"], "Image": null, "State": null, "Labels": 7 },
                        { "Names": ["/shop-web-1"], "Image": "nginx:1.27", "State": state, "Status": status,
                        "Labels": { "com.docker.compose.project": "shop", "com.docker.compose.service": "web" } }])
                    .to_string();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all((head + &body).as_bytes()).unwrap();
                }
            }
        });
        engine
    }

    fn change(&self, state: &'static str) {
        *self.state.lock().unwrap() = state;
        for watcher in self.watchers.lock().unwrap().iter_mut() {
            watcher.write_all(b"15\r\n{\"Type\":\"container\"}\n\r\n").unwrap();
        }
    }
}

/// A file that was read before another program wrote does not undo that, with `--base` and with `If-Match`; without, the counts
/// show what a `put` took away.
#[test]
fn a_write_on_a_version_never_undoes_what_came_between() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "a", "1"]);
    let version = place.json(&["get", "plan"])["version"].as_str().unwrap().to_owned();
    assert_eq!(place.hash("plan"), Some(version.clone()));
    let tag = format!("\"{version}\"");
    let get = "GET /v1/docs/plan HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(place.http_raw(get).to_lowercase().contains(&format!("etag: {tag}")));
    place.ok(&["set", "plan", "between", "2"]);
    let file = place.folder.join("read.json");
    std::fs::write(&file, "{\"a\": 3}").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(place.error_code(&["put", "plan", file, "--base", &version]), "stale");
    let put = |tag: &str, target: &str| {
        let head = format!("PUT /v1/docs/plan{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let (status, body) =
            place.http(&format!("{head}If-Match: {tag}\r\nContent-Length: 8\r\n\r\n{{\"a\": 3}}"));
        (status, body)
    };
    for target in ["", "?key=b"] {
        let (status, body) = put(&tag, target);
        assert!(status.contains("412") && body.contains("stale"), "{status} {body}");
    }
    assert_eq!(place.ok(&["get", "plan", "between"]), "2");
    let version = place.json(&["get", "plan"])["version"].as_str().unwrap().to_owned();
    let (status, body) = put(&format!("\"{version}\""), "?key=b");
    assert!(status.contains("200") && body.contains("\"set\":1"), "{status} {body}");
    assert!(place.ok(&["put", "plan", file]).contains("1 set, 2 deleted"));
}

/// What the command line refuses is refused over HTTP as well, and a value is the same on all ways in.
#[test]
fn what_comes_in_is_judged_alike_on_all_ways() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    place.ok(&["create", "n"]);
    let send = |request: &str, body: &str| {
        let (status, body) = place.http(&format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        format!("{status} {body}")
    };
    let invite = send("POST /v1/invites", r#"{"level":"untrusted"}"#);
    assert!(invite.contains("400") && invite.contains("bad_level"), "{invite}");
    for address in ["0.0.0.0:8662", "192.0.2.1:0", "224.0.0.251:8662"] {
        assert_eq!(place.error_code(&["invite", "--addr", address]), "bad_address");
    }
    for name in ["(you)", "-", " ", "(deleted)", "a\u{200b}b"] {
        assert_eq!(place.error_code(&["create", name]), "bad_name", "{name:?}");
        let made = send("POST /v1/docs", &serde_json::json!({ "name": name }).to_string());
        assert!(made.contains("400") && made.contains("bad_name"), "{made}");
    }
    let file = place.folder.join("zero.json");
    std::fs::write(&file, "\u{feff}{\"file\":-0,\"float\":-0.0}").unwrap();
    place.ok(&["put", "n", file.to_str().unwrap()]);
    place.ok(&["set", "n", "k", "{\"a\":-0}"]);
    assert!(send("PUT /v1/docs/n?key=http", "-0").contains("200"));
    let shown = send("GET /v1/docs/n", "");
    assert!(shown.contains(r#"{"k":{"a":0},"file":0,"http":0,"float":-0.0}"#), "{shown}");
}

/// A condition of a request is kept or the request is refused: none is passed over.
#[test]
fn a_document_is_deleted_only_while_it_has_the_version_that_is_asked_for() {
    let place = NodeDir::with_node("attic");
    let _daemon = place.up();
    place.ok(&["create", "plan"]);
    let stale = place.json(&["get", "plan"])["version"].as_str().unwrap().to_owned();
    place.ok(&["set", "plan", "a", "1"]);
    let right = place.json(&["get", "plan"])["version"].as_str().unwrap().to_owned();
    let send = |method: &str, query: &str, header: &str| {
        let (status, body) = place.http(&format!(
            "{method} /v1/docs/plan{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}Content-Length: 8\r\n\r\n{{\"a\": 3}}"
        ));
        format!("{status} {body}")
    };
    let refused = [
        ("DELETE", String::new(), format!("If-Match: \"{stale}\"\r\n"), "412"),
        ("DELETE", format!("?base={stale}"), String::new(), "412"),
        ("DELETE", format!("?base={right}"), format!("If-Match: \"{stale}\"\r\n"), "412"),
        ("DELETE", String::new(), "If-Match: \"x\", \"y\"\r\n".to_owned(), "412"),
        ("DELETE", String::new(), "If-None-Match: *\r\n".to_owned(), "400"),
        ("DELETE", String::new(), "If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\n".to_owned(), "400"),
        ("DELETE", "?undo=yes".to_owned(), String::new(), "400"),
        ("DELETE", "?key=a&undo=true".to_owned(), String::new(), "400"),
        ("DELETE", "?whole=true".to_owned(), String::new(), "400"),
        ("DELETE", "?key=a&key=b".to_owned(), String::new(), "400"),
        ("PUT", String::new(), "If-None-Match: *\r\n".to_owned(), "412"),
        ("PUT", "?key=a".to_owned(), "If-None-Match: *\r\n".to_owned(), "400"),
    ];
    for (method, query, header, wanted) in refused {
        let answer = send(method, &query, &header);
        assert!(answer.contains(wanted), "{method} {query} {header}: {answer}");
        assert_eq!(place.ok(&["get", "plan", "a"]), "1", "{method} {query} {header}");
    }
    let answer = send("PUT", "", &format!("If-Match: \"x\", \"{right}\"\r\n"));
    assert!(answer.contains("200"), "{answer}");
    let right = place.json(&["get", "plan"])["version"].as_str().unwrap().to_owned();
    let answer = send("DELETE", "", &format!("If-Match: \"{right}\"\r\n"));
    assert!(answer.contains("everywhere"), "{answer}");
}
