//! Apps from a container engine: the Docker API on a unix socket, which Podman serves as well.
//!
//! `GET /containers/json?all=1` lists them; `GET /events` reports at once when one starts or stops. The app of a container
//! is named by its compose project and service, else by the container's own name; its version is the image's label
//! `org.opencontainers.image.version`, else its tag.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::config::Containers;
use crate::node::{App, AppStatus};
use crate::runtime::NodeClient;
use crate::unix_http::{self, UnixError};

/// The time between two tries to reach an engine that is gone.
const RETRY: Duration = Duration::from_secs(10);
/// How long an engine may take over its whole list.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Rounds without an answer after which its containers count as gone; before, they keep their last status.
const FAILURES_MAX: usize = 3;
/// The list is read again this often even if no event came.
const RELOOK: Duration = Duration::from_secs(60);
/// The first list is read again sooner: a change before the event stream began was missed.
const FIRST_RELOOK: Duration = Duration::from_secs(5);
/// Events within this time lead to one read of the list.
const SETTLE: Duration = Duration::from_millis(150);
const LIST: &str = "/containers/json?all=1";
/// Only containers, not images, networks or volumes: `{"type":["container"]}`.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
const SOURCE: &str = "containers";

/// Why the containers cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// The engine does not answer.
    #[error(transparent)]
    Unix(#[from] UnixError),
    /// The engine answers with an error.
    #[error("{} answers {status}", path.display())]
    Status {
        /// The path of the socket.
        path: PathBuf,
        /// The HTTP status of the answer.
        status: StatusCode,
    },
    /// The list did not arrive in time.
    #[error("{} takes longer than {} s over its list", path.display(), LIST_TIMEOUT.as_secs())]
    Slow {
        /// The path of the socket.
        path: PathBuf,
    },
    /// The answer is not a list of containers.
    #[error("{} speaks no Docker API: {source}", path.display())]
    Content {
        /// The path of the socket.
        path: PathBuf,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
}

/// One container, as the engine lists it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    state: String,
    // Null where a container has none.
    labels: Option<BTreeMap<String, String>>,
}

/// Watches the containers of an engine.
pub(crate) struct Watch {
    /// Sockets to try, in this order.
    sockets: Vec<PathBuf>,
    /// Whether the operator named the socket: then its absence is a problem to show.
    named: bool,
}

impl Watch {
    /// A watch for these settings; `None` if they switch it off.
    pub(crate) fn new(setting: &Containers) -> Option<Self> {
        match setting {
            Containers::Off => None,
            Containers::Socket(path) => Some(Watch { sockets: vec![path.clone()], named: true }),
            Containers::Auto => Some(Watch { sockets: usual_sockets(), named: false }),
        }
    }

    /// Lists, listens for events, lists again; forever.
    pub(crate) async fn run(self, found: mpsc::Sender<(&'static str, Vec<App>)>, client: NodeClient) {
        // The socket that answered last: in auto mode, its absence alone is a problem to show.
        let (mut seen, mut failures) = (None, 0);
        loop {
            for socket in &self.sockets {
                let mut answered = false;
                let error = match self.follow(socket, &found, &client, &mut answered).await {
                    Ok(()) => return,
                    Err(error) => error,
                };
                if answered {
                    (seen, failures) = (Some(socket), 0);
                }
                if self.named || seen == Some(socket) {
                    client.problem(SOURCE, Some(error.to_string()));
                }
                tracing::debug!("{error}");
            }
            failures += 1;
            if failures == FAILURES_MAX && seen.is_some() && found.send((SOURCE, Vec::new())).await.is_err() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Follows one engine until it goes away; `Ok` when the publisher has ended.
    async fn follow(
        &self,
        socket: &Path,
        found: &mpsc::Sender<(&'static str, Vec<App>)>,
        client: &NodeClient,
        answered: &mut bool,
    ) -> Result<(), ContainersError> {
        // One waiting change stands for many.
        let (changed, mut changes) = mpsc::channel(1);
        let events = listen(socket, changed);
        tokio::pin!(events);
        let mut relook = FIRST_RELOOK;
        loop {
            let apps = list(socket).await?;
            *answered = true;
            client.problem(SOURCE, None);
            if found.send((SOURCE, apps)).await.is_err() {
                return Ok(());
            }
            tokio::select! {
                ended = &mut events => return ended,
                _ = changes.recv() => {
                    tokio::time::sleep(SETTLE).await;
                    let _ = changes.try_recv();
                }
                () = tokio::time::sleep(relook) => relook = RELOOK,
            }
        }
    }
}

/// Forwards every event until the engine goes away. Podman answers only with the first event, so no other task waits for
/// this one.
async fn listen(socket: &Path, changed: mpsc::Sender<()>) -> Result<(), ContainersError> {
    let (status, mut events) = unix_http::request_lines(socket, EVENTS).await?;
    check(socket, status)?;
    while events.next().await?.is_some() {
        let _ = changed.try_send(());
    }
    Err(UnixError::Answer { path: socket.to_owned() }.into())
}

/// The containers of an engine as apps.
///
/// # Errors
///
/// [`ContainersError`] if the engine does not answer in time, or not with a list.
pub async fn list(socket: &Path) -> Result<Vec<App>, ContainersError> {
    let asking = unix_http::request(socket, Method::GET, LIST, Vec::new());
    let slow = |_| ContainersError::Slow { path: socket.to_owned() };
    let (status, body) = tokio::time::timeout(LIST_TIMEOUT, asking).await.map_err(slow)??;
    check(socket, status)?;
    let containers: Vec<Container> = serde_json::from_slice(&body)
        .map_err(|source| ContainersError::Content { path: socket.to_owned(), source })?;
    Ok(apps(&containers))
}

fn check(socket: &Path, status: StatusCode) -> Result<(), ContainersError> {
    if status.is_success() {
        Ok(())
    } else {
        Err(ContainersError::Status { path: socket.to_owned(), status })
    }
}

/// One app per name, by name; of several containers of one service, it runs if one does.
fn apps(containers: &[Container]) -> Vec<App> {
    let mut apps: BTreeMap<String, App> = BTreeMap::new();
    for container in containers {
        let Some(app) = container.app() else { continue };
        match apps.get(&app.id) {
            Some(known) if known.status == AppStatus::Running => {}
            _ => {
                apps.insert(app.id.clone(), app);
            }
        }
    }
    apps.into_values().collect()
}

impl Container {
    fn app(&self) -> Option<App> {
        let status = if self.state == "running" { AppStatus::Running } else { AppStatus::Stopped };
        Some(App { id: self.id()?, status, version: self.version() })
    }

    fn id(&self) -> Option<String> {
        match (self.label("com.docker.compose.project"), self.label("com.docker.compose.service")) {
            (Some(project), Some(service)) if project == service => Some(service.to_owned()),
            (Some(project), Some(service)) => Some(format!("{project}-{service}")),
            _ => self.names.first().map(|name| name.trim_start_matches('/').to_owned()),
        }
    }

    fn version(&self) -> Option<String> {
        self.label("org.opencontainers.image.version").or_else(|| tag(&self.image)).map(str::to_owned)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The tag of an image's name; none where only a digest names it.
fn tag(image: &str) -> Option<&str> {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let (before, tag) = name.rsplit_once(':')?;
    (!tag.contains('/') && before != "sha256").then_some(tag)
}

/// The sockets of Docker and Podman: of `DOCKER_HOST`, of root, of this user.
fn usual_sockets() -> Vec<PathBuf> {
    let named = std::env::var("DOCKER_HOST").ok();
    let named = named.as_deref().and_then(|host| host.strip_prefix("unix://")).map(PathBuf::from);
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.into_iter().flat_map(|run| [run.join("podman/podman.sock"), run.join("docker.sock")]);
    let system = ["/var/run/docker.sock", "/run/podman/podman.sock"].map(PathBuf::from);
    named.into_iter().chain(own).chain(system).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::sync::Notify;

    const TWO: &str = r#"[
        {"Id":"1","Names":["/shop-web-1"],"Image":"nginx:1.27","State":"running","Status":"Up 2 hours",
         "Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}},
        {"Id":"2","Names":["/shop-web-2"],"Image":"nginx:1.26","State":"exited",
         "Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}},
        {"Id":"3","Names":["/db"],"Image":"localhost:5000/pg@sha256:00ff","State":"paused","Labels":null},
        {"Id":"4","Names":["/map"],"Image":"tiles:edge","State":"created",
         "Labels":{"org.opencontainers.image.version":"3.1.4"}},
        {"Id":"5","Names":[],"Image":"sha256:00ff","State":"running","Labels":{}}]"#;

    #[test]
    fn containers_become_apps_as_people_call_them() {
        let apps = apps(&serde_json::from_str::<Vec<Container>>(TWO).unwrap());
        let read: Vec<_> = apps.iter().map(|a| (a.id.as_str(), a.status, a.version.as_deref())).collect();
        assert_eq!(
            read,
            [
                ("db", AppStatus::Stopped, None),
                ("map", AppStatus::Stopped, Some("3.1.4")),
                ("shop-web", AppStatus::Running, Some("1.27")),
            ]
        );
    }

    #[test]
    fn a_tag_is_neither_a_port_nor_a_digest() {
        let cases = [
            ("a:1", Some("1")),
            ("h:5000/a", None),
            ("h:5000/a:2", Some("2")),
            ("sha256:ff", None),
            ("a", None),
        ];
        for (image, expected) in cases {
            assert_eq!(tag(image), expected, "{image}");
        }
    }

    /// An engine that lists one running container, then reports an event and lists it as stopped, over a real socket in
    /// HTTP as engines write it, chunked and with unknown fields. Like Podman it does not answer the request for events
    /// before there is one.
    #[tokio::test]
    async fn a_change_is_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let stopped = Arc::new(Notify::new());
        let state = Arc::new(Mutex::new("running"));
        tokio::spawn(serve(listener, state.clone(), stopped.clone()));
        let (found, mut lists) = mpsc::channel(4);
        let client = crate::runtime::tests::client_of_no_node();
        let watch = Watch::new(&Containers::Socket(socket)).unwrap();
        let watching = tokio::spawn(watch.run(found, client));
        let (_, first) = lists.recv().await.unwrap();
        assert_eq!(first[0].status, AppStatus::Running);
        *state.lock().unwrap() = "exited";
        stopped.notify_one();
        let soon = FIRST_RELOOK - Duration::from_secs(1);
        let (_, second) = tokio::time::timeout(soon, lists.recv()).await.unwrap().unwrap();
        assert_eq!(second[0].status, AppStatus::Stopped);
        watching.abort();
    }

    async fn serve(listener: UnixListener, state: Arc<Mutex<&'static str>>, stopped: Arc<Notify>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            if request.starts_with("GET /events?") {
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    stopped.notified().await;
                    let event = "{\"Type\":\"container\",\"Action\":\"die\"}\n";
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    let answer = format!("{head}{:x}\r\n{event}\r\n", event.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    std::future::pending::<()>().await;
                });
                continue;
            }
            assert!(request.starts_with("GET /containers/json?all=1 "), "{request}");
            let state = *state.lock().unwrap();
            let body =
                format!("[{{\"Names\":[\"/web\"],\"Image\":\"web:1\",\"State\":\"{state}\",\"Mounts\":[]}}]");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_no_engine_is_an_error_not_a_list() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        assert!(matches!(list(&socket).await, Err(ContainersError::Unix(UnixError::NotListening { .. }))));
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            for answer in
                ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\"", "HTTP/1.1 403 No\r\n\r\n", "junk"]
            {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        assert!(matches!(list(&socket).await, Err(ContainersError::Content { .. })));
        assert!(matches!(list(&socket).await, Err(ContainersError::Status { .. })));
        assert!(matches!(list(&socket).await, Err(ContainersError::Unix(UnixError::Broken { .. }))));
    }
}
