//! The template of docs/operating.md with a container engine: a server on a unix socket that speaks as much of the Docker API as pulling an
//! image and running a container need, and the real command line of Docker where it is installed. Elsewhere a few lines of
//! `curl` make the same requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::deploy::pair;
use super::harness::eventually;
use super::installer::write_program;

/// Where a registry has no image, in the words of this engine.
const NO_IMAGE: &str = "manifest for registry.example/apps/web:9.9 not found";

/// A container of the engine.
#[derive(Clone, Debug, Default, PartialEq)]
struct Container {
    id: String,
    image: String,
    restart: String,
    runs: bool,
}

#[derive(Debug, Default)]
struct Inner {
    images: Vec<String>,
    containers: BTreeMap<String, Container>,
    requests: Vec<String>,
}

/// A container engine that holds its containers in memory.
struct Engine {
    socket: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

impl Engine {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let inner: Arc<Mutex<Inner>> = Arc::default();
        let serving = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let inner = serving.clone();
                std::thread::spawn(move || serve(&stream, &inner));
            }
        });
        Engine { socket, inner }
    }

    fn container(&self, name: &str) -> Option<Container> {
        self.inner.lock().unwrap().containers.get(name).cloned()
    }
}

/// Answers the requests of one connection.
fn serve(stream: &UnixStream, inner: &Mutex<Inner>) {
    let mut reader = BufReader::new(stream);
    while let Some((method, target, body)) = request(&mut reader) {
        let (status, answer) = inner.lock().unwrap().answer(&method, &target, &body);
        let length =
            if status == 204 { String::new() } else { format!("content-length: {}\r\n", answer.len()) };
        let head = format!(
            "HTTP/1.1 {status} x\r\napi-version: 1.41\r\nostype: linux\r\ncontent-type: application/json\r\n{length}\r\n"
        );
        let answer = if method == "HEAD" { "" } else { &answer };
        let mut out = stream;
        if out.write_all([head.as_bytes(), answer.as_bytes()].concat().as_slice()).is_err() {
            return;
        }
    }
}

/// Method, target without the version, and body.
fn request(reader: &mut impl BufRead) -> Option<(String, String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_lowercase();
        match header.split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while is_chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend(&chunk[..size]);
        is_chunked = size > 0;
    }
    let target = match target.strip_prefix("/v1.") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned(),
        None => target,
    };
    Some((method, target, body))
}

impl Inner {
    fn answer(&mut self, method: &str, target: &str, body: &[u8]) -> (u16, String) {
        self.requests.push(format!("{method} {target}"));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
            found.unwrap_or_default().replace("%2F", "/").replace("%3A", ":")
        };
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET" | "HEAD", ["_ping"]) => (200, "OK".to_owned()),
            ("POST", ["images", "create"]) => self.pull(&value("fromImage"), &value("tag")),
            ("POST", ["containers", "create"]) => self.create(&value("name"), body),
            ("POST", ["containers", id, "start"]) => {
                let container = self.containers.values_mut().find(|container| container.id == *id);
                container.map_or((404, no_container(id)), |container| {
                    container.runs = true;
                    (204, String::new())
                })
            }
            ("DELETE", ["containers", name]) => match self.containers.remove(*name) {
                Some(_) => (204, String::new()),
                None => (404, no_container(name)),
            },
            _ => (404, json!({ "message": "page not found" }).to_string()),
        }
    }

    fn pull(&mut self, name: &str, tag: &str) -> (u16, String) {
        if tag == "9.9" {
            return (404, json!({ "message": NO_IMAGE }).to_string());
        }
        self.images.push(format!("{name}:{tag}"));
        let steps = [
            json!({ "status": format!("Pulling from {name}"), "id": tag }),
            json!({ "status": format!("Status: Downloaded newer image for {name}:{tag}") }),
        ];
        (200, steps.map(|step| format!("{step}\r\n")).concat())
    }

    fn create(&mut self, name: &str, body: &[u8]) -> (u16, String) {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let image = asked["Image"].as_str().unwrap_or_default().to_owned();
        if !self.images.contains(&image) {
            return (404, json!({ "message": format!("No such image: {image}") }).to_string());
        }
        if self.containers.contains_key(name) {
            return (409, json!({ "message": format!("the name {name} is in use") }).to_string());
        }
        let id = format!("{:064x}", self.requests.len());
        let restart = asked["HostConfig"]["RestartPolicy"]["Name"].as_str().unwrap_or_default().to_owned();
        let container = Container { id: id.clone(), image, restart, runs: false };
        self.containers.insert(name.to_owned(), container);
        (201, json!({ "Id": id, "Warnings": [] }).to_string())
    }
}

fn no_container(name: &str) -> String {
    json!({ "message": format!("No such container: {name}") }).to_string()
}

/// The command line that the template calls: Docker's, or where there is none, its requests by `curl`.
fn command_line(folder: &Path, engine: &Engine) -> PathBuf {
    let (path, socket) = (folder.join("engine"), engine.socket.display());
    let has_docker = std::process::Command::new("docker").arg("--version").output().is_ok();
    let text = match has_docker {
        true => format!(
            "#!/bin/sh\nDOCKER_HOST='unix://{socket}' DOCKER_CONFIG='{}' exec docker \"$@\"\n",
            folder.display()
        ),
        false => CURL.replace("SOCKET", &socket.to_string()),
    };
    println!("the template calls {}", if has_docker { "docker" } else { "curl" });
    write_program(&path, &text);
    path
}

/// `pull --quiet IMAGE`, `rm --force NAME`, `run --detach --name NAME --restart POLICY IMAGE`.
const CURL: &str = r#"#!/bin/sh
set -eu
call() { curl -sS --fail-with-body --unix-socket 'SOCKET' "$@"; }
case "$1" in
  pull) call -X POST "http://engine/v1.41/images/create?fromImage=${3%:*}&tag=${3##*:}" ;;
  rm) call -X DELETE "http://engine/v1.41/containers/$3?force=1" ;;
  run)
    body="{\"Image\": \"$7\", \"HostConfig\": {\"RestartPolicy\": {\"Name\": \"$6\"}}}"
    id=$(call -X POST "http://engine/v1.41/containers/create?name=$4" -H 'Content-Type: application/json' -d "$body" |
      sed 's/.*"Id":"\([0-9a-f]*\)".*/\1/')
    call -X POST "http://engine/v1.41/containers/$id/start"
    echo "$id" ;;
esac
"#;

/// The template in docs/operating.md pulls an image, and puts it in the place of the container that ran before.
#[test]
fn the_template_of_readme_pulls_and_starts_a_container() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let script = readme.split("```sh\n#!/bin/sh\n# install-app").nth(1).expect("the page has the template");
    let script = script.split("```").next().unwrap();
    let pair = pair();
    let folder = &pair.boat.folder;
    let engine = Engine::start(folder);
    let command = command_line(folder, &engine);
    let text = format!("#!/bin/sh\n# install-app{script}")
        .replace("engine=podman", &format!("engine='{}'", command.display()));
    assert!(text.contains("engine='/"), "the template names its engine");
    write_program(&folder.join("install.sh"), &text);
    let catalogue = "marketplace-url = \"registry.example/apps\"\n\n[[app]]\nid = \"web\"\n";
    std::fs::write(folder.join("catalogue.toml"), catalogue).unwrap();

    for version in ["1.2", "1.3"] {
        let mut done = Value::Null;
        eventually("the app is installed", || {
            let order = ["deploy", "boat", "web", version, "--marketplace", "registry.example/apps"];
            let output = pair.attic.run(&[&order[..], &["--wait", "--json"]].concat());
            done = serde_json::from_slice(&output.stdout).unwrap_or_default();
            output.status.success()
        });
        let image = format!("registry.example/apps/web:{version}");
        let container = engine.container("web").expect("a container was made");
        assert_eq!(
            (container.image.as_str(), container.restart.as_str()),
            (image.as_str(), "unless-stopped")
        );
        assert!(container.runs, "it was started");
        assert!(done["output"].as_str().unwrap().contains(&container.id), "{done}");
        assert!(engine.inner.lock().unwrap().images.contains(&image));
    }
    // The engine's own words about what it cannot do come back to the peer that asked.
    let order = ["deploy", "boat", "web", "9.9", "--marketplace", "registry.example/apps", "--wait"];
    assert_eq!(pair.attic.error_code(&order), "deploy_failed");
    assert!(pair.attic.ok(&["deploy", "--status"]).contains("9.9"));
    let failed = pair.attic.json(&["deploy", "--status"]);
    let output = failed[0]["output"].as_str().unwrap_or_default();
    assert!(output.contains(NO_IMAGE), "{output}");
    assert_eq!(
        engine.container("web").unwrap().image,
        "registry.example/apps/web:1.3",
        "what ran still runs"
    );
    let requests = engine.inner.lock().unwrap().requests.clone();
    assert!(requests.iter().any(|request| request.starts_with("DELETE /containers/web")), "{requests:?}");
}
