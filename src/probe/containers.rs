//! Apps from a container engine: the Docker API on a unix socket, which Podman serves as well.
//!
//! `GET /containers/json?all=1` lists them; `GET /events` reports at once when one starts or stops. What a row of the list means is
//! in `container`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::sync::mpsc;

use crate::config::Containers;
use crate::probe::container::apps;
use crate::probe::foreign::{AppList, rows_of, strict, text_of};
use crate::probe::{Reading, STALE_AFTER};
use crate::runtime::NodeClient;
use crate::system_clock::next_look;
use crate::unix_http::{self, UnixError};

/// How long an engine may take over its whole list.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Rounds without an answer after which its containers count as gone: an hour. Before, they keep their last status, as stale.
const FAILURES_MAX: usize = 240;
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
    pub(crate) async fn run(self, found: mpsc::Sender<(&'static str, Reading)>, client: NodeClient) {
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
            let reading = match failures {
                STALE_AFTER => Some(Reading::Stale),
                FAILURES_MAX => Some(Reading::Apps(Vec::new())),
                _ => None,
            };
            if let Some(reading) = reading.filter(|_| seen.is_some())
                && found.send((SOURCE, reading)).await.is_err()
            {
                return;
            }
            tokio::time::sleep_until(next_look()).await;
        }
    }

    /// Follows one engine until it goes away; `Ok` when the publisher has ended.
    async fn follow(
        &self,
        socket: &Path,
        found: &mpsc::Sender<(&'static str, Reading)>,
        client: &NodeClient,
        answered: &mut bool,
    ) -> Result<(), ContainersError> {
        // One waiting change stands for many.
        let (changed, mut changes) = mpsc::channel(1);
        let events = listen(socket, changed);
        tokio::pin!(events);
        let mut relook = FIRST_RELOOK;
        loop {
            let list = list(socket).await?;
            *answered = true;
            client.problem(SOURCE, list.problem(&socket.display().to_string()));
            if found.send((SOURCE, Reading::Apps(list.apps))).await.is_err() {
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

/// The containers of an engine as apps. A row that cannot be read is left out and counted.
///
/// # Errors
///
/// [`ContainersError`] if the engine does not answer in time, or not with a list.
pub async fn list(socket: &Path) -> Result<AppList, ContainersError> {
    let asking = unix_http::request(socket, Method::GET, LIST, Vec::new());
    let slow = |_| ContainersError::Slow { path: socket.to_owned() };
    let (status, body) = tokio::time::timeout(LIST_TIMEOUT, asking).await.map_err(slow)??;
    check(socket, status)?;
    let text = text_of(&body);
    let text = strict(&text);
    let rows =
        rows_of(&text).map_err(|source| ContainersError::Content { path: socket.to_owned(), source })?;
    Ok(apps(&rows))
}

fn check(socket: &Path, status: StatusCode) -> Result<(), ContainersError> {
    if status.is_success() {
        Ok(())
    } else {
        Err(ContainersError::Status { path: socket.to_owned(), status })
    }
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
    use crate::node::AppStatus;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::sync::Notify;

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
        assert_eq!(statuses(lists.recv().await), [AppStatus::Running]);
        *state.lock().unwrap() = "exited";
        stopped.notify_one();
        let soon = FIRST_RELOOK - Duration::from_secs(1);
        assert_eq!(statuses(tokio::time::timeout(soon, lists.recv()).await.unwrap()), [AppStatus::Stopped]);
        watching.abort();
    }

    fn statuses(reading: Option<(&'static str, Reading)>) -> Vec<AppStatus> {
        match reading {
            Some((SOURCE, Reading::Apps(apps))) => apps.iter().map(|app| app.status).collect(),
            other => panic!("{other:?}"),
        }
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
