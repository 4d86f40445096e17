//! Gathers the state that a node publishes: figures of the host and its apps. It is published at an interval, and at once
//! when an app changes.
//!
//! A probe that fails leaves its fields out, is shown in `status` and the log, and stops nothing.

pub mod command;
pub mod containers;
pub mod host;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Config, StateSettings};
use crate::node::{App, AppStatus, CommandError, NodeState, Reply, Write};
use crate::runtime::{AskError, NodeClient};
use host::Host;

/// Apps in one state. Beyond, the list is cut by id, and `status` shows that it is.
pub const APPS_MAX: usize = 500;
/// Bytes of an app's id or version; a longer one is left out.
pub const APP_TEXT_BYTES_MAX: usize = 256;
/// Changes of apps that come together are published together.
const SETTLE: Duration = Duration::from_millis(300);

/// The present apps of each source.
type AppsBySource = BTreeMap<&'static str, Vec<App>>;

/// Publishes a node's state until it is dropped.
pub(crate) struct Publisher {
    tasks: JoinSet<()>,
}

impl Publisher {
    /// Starts to watch the sources and to publish.
    pub(crate) fn start(folder: PathBuf, config: &Config, client: NodeClient) -> Self {
        let mut tasks = JoinSet::new();
        let (found, sources) = mpsc::channel(16);
        watch_sources(&mut tasks, &config.state, &found, &client);
        let publishing = Publishing {
            name: config.name.clone(),
            onion: config.tor.onion.map(|host| host.to_string()),
            every: config.state.publish_every,
            host: Host::new(folder),
            apps: AppsBySource::new(),
            sources,
            client,
        };
        tasks.spawn(publishing.run());
        Publisher { tasks }
    }

    /// Stops to watch and to publish.
    pub(crate) async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

fn watch_sources(
    tasks: &mut JoinSet<()>,
    settings: &StateSettings,
    found: &mpsc::Sender<(&'static str, Vec<App>)>,
    client: &NodeClient,
) {
    if let Some(watch) = containers::Watch::new(&settings.containers) {
        tasks.spawn(watch.run(found.clone(), client.clone()));
    }
    if let Some((program, arguments)) = settings.apps_command.split_first() {
        let source = command::ListSource::Program(program.into(), arguments.to_vec());
        tasks.spawn(source.watch(settings.apps_every, found.clone(), client.clone()));
    }
    if let Some(path) = &settings.apps_file {
        let source = command::ListSource::File(path.clone());
        tasks.spawn(source.watch(settings.apps_every, found.clone(), client.clone()));
    }
}

struct Publishing {
    name: String,
    /// The operator's own onion service.
    onion: Option<String>,
    every: Duration,
    host: Host,
    apps: AppsBySource,
    sources: mpsc::Receiver<(&'static str, Vec<App>)>,
    client: NodeClient,
}

impl Publishing {
    async fn run(mut self) {
        // The sources get a moment to report first, so that the first state is whole.
        self.gather(SETTLE).await;
        loop {
            if let Err(AskError::Gone(_)) = self.publish().await {
                break;
            }
            let next = tokio::time::sleep(self.every);
            tokio::pin!(next);
            let changed = loop {
                tokio::select! {
                    () = &mut next => break false,
                    Some((source, apps)) = self.sources.recv() => if self.note(source, apps) { break true },
                }
            };
            if changed {
                self.gather(SETTLE).await;
            }
        }
    }

    /// Takes what the sources report within a while.
    async fn gather(&mut self, within: Duration) {
        let end = tokio::time::sleep(within);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some((source, apps)) = self.sources.recv() => { self.note(source, apps); }
            }
        }
    }

    /// Notes the apps of a source; returns whether they changed.
    fn note(&mut self, source: &'static str, apps: Vec<App>) -> bool {
        if self.apps.get(source) == Some(&apps) {
            return false;
        }
        self.apps.insert(source, apps);
        true
    }

    async fn publish(&mut self) -> Result<(), AskError> {
        let (apps, problem) = merged(&self.apps);
        self.client.problem("apps", problem);
        let figures = self.host.look().await;
        self.client.problem("host", figures.as_ref().err().map(ToString::to_string));
        let figures = figures.unwrap_or_default();
        let (node_name, onion) = (Some(self.name.clone()), self.onion.clone());
        let state = NodeState { node_name, apps, onion, tor_active: self.client.tor_active(), ..figures };
        match self.client.command(Write::PublishState { state }).await {
            Ok(Reply::Published(_)) => self.client.problem("state", None),
            Ok(_) => {}
            // An alarm of the node states it already.
            Err(AskError::Refused(CommandError::Unconfirmed)) => self.client.problem("state", None),
            Err(AskError::Refused(error)) => self.client.problem("state", Some(error.to_string())),
            Err(gone) => return Err(gone),
        }
        Ok(())
    }
}

/// Merges the sources into one list by id, with a problem to show if apps are left out. An app of several sources runs if
/// one of them reports that it runs.
fn merged(sources: &AppsBySource) -> (Vec<App>, Option<String>) {
    let mut apps: BTreeMap<String, App> = BTreeMap::new();
    let mut left_out = 0;
    for app in sources.values().flatten() {
        if app.id.is_empty() || app.id.len() > APP_TEXT_BYTES_MAX {
            left_out += 1;
            continue;
        }
        let mut app = app.clone();
        app.version =
            app.version.filter(|version| !version.is_empty() && version.len() <= APP_TEXT_BYTES_MAX);
        match apps.get_mut(&app.id) {
            Some(known) if rank(app.status) <= rank(known.status) => {}
            _ => {
                apps.insert(app.id.clone(), app);
            }
        }
    }
    left_out += apps.len().saturating_sub(APPS_MAX);
    let problem = (left_out > 0).then(|| {
        format!("{left_out} apps are left out: at most {APPS_MAX}, ids of at most {APP_TEXT_BYTES_MAX} bytes")
    });
    (apps.into_values().take(APPS_MAX).collect(), problem)
}

fn rank(status: AppStatus) -> u8 {
    match status {
        AppStatus::Running => 2,
        AppStatus::Stopped => 1,
        AppStatus::Installed => 0,
    }
}

/// The state of this machine, as a node of this name would publish it now: for programs that run no publisher.
pub async fn look(folder: PathBuf, name: &str) -> NodeState {
    NodeState { node_name: Some(name.to_owned()), ..Host::new(folder).look().await.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str, status: AppStatus, version: Option<&str>) -> App {
        App { id: id.into(), status, version: version.map(Into::into) }
    }

    #[test]
    fn an_app_that_one_source_sees_running_runs() {
        let sources = AppsBySource::from([
            (
                "containers",
                vec![app("web", AppStatus::Running, Some("2")), app("db", AppStatus::Stopped, None)],
            ),
            (
                "file",
                vec![app("web", AppStatus::Installed, Some("1")), app("db", AppStatus::Running, Some("9"))],
            ),
        ]);
        let (apps, problem) = merged(&sources);
        assert_eq!(
            apps,
            [app("db", AppStatus::Running, Some("9")), app("web", AppStatus::Running, Some("2"))]
        );
        assert_eq!(problem, None);
    }

    #[test]
    fn too_many_apps_are_cut_and_reported() {
        let many = (0..APPS_MAX + 7).map(|n| app(&format!("app-{n:04}"), AppStatus::Running, None)).collect();
        let odd = vec![app("", AppStatus::Running, None), app(&"x".repeat(300), AppStatus::Running, None)];
        let (apps, problem) = merged(&AppsBySource::from([("file", many), ("apps_command", odd)]));
        assert_eq!(apps.len(), APPS_MAX);
        assert!(problem.unwrap().starts_with("9 apps"));
    }
}
