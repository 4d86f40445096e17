//! Gathers the state that a node publishes: figures of the host and its apps. It is published at an interval, and at once
//! when an app changes; changes that follow soon are published together, and an app that changes again and again once, as flapping
//! (`authoring::flapping`).
//!
//! A probe that fails leaves its fields out, is shown in `status` and the log, and stops nothing. Apps that could not be read again
//! stay, and are published as stale.

pub mod command;
mod container;
pub mod containers;
pub mod foreign;
pub mod host;
mod sensors;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::authoring::flapping::FlapFilter;
use crate::config::{Config, StateSettings};
use crate::io::{SENSORS_MAX, Sensors};
use crate::node::{App, AppHealth, AppStatus, CommandError, NodeState, Reply, Write};
use crate::runtime::{AskError, NodeClient};
use crate::system_clock::now;
use host::Host;

/// Apps in one state. Beyond, the list is cut by id, and `status` shows that it is.
pub const APPS_MAX: usize = 500;
/// Bytes of an app's id or version; a longer one is left out.
pub const APP_TEXT_BYTES_MAX: usize = 256;
/// Changes of apps that come together are published together.
const SETTLE: Duration = Duration::from_millis(300);
/// The pause after a state, before a change of apps leads to the next: changes within it are published together.
const CHANGES_EVERY: Duration = Duration::from_secs(5);
/// Times in a row that a source cannot be read, after which its apps are stale.
pub(crate) const STALE_AFTER: usize = 2;

/// What a source has to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The apps that it shows at present.
    Apps(Vec<App>),
    /// It cannot be read: what it reported before is old.
    Stale,
}

/// The apps of each source.
type AppsBySource = BTreeMap<&'static str, SourceApps>;

/// The apps that a source reported last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SourceApps {
    apps: Vec<App>,
    is_stale: bool,
}

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
        let (sensed, sensor_readings) = mpsc::channel(16);
        for (name, source) in sensors::sources(&config.state) {
            let watch = sensors::watch(name, source, config.state.apps_every, sensed.clone(), client.clone());
            tasks.spawn(watch);
        }
        let publishing = Publishing {
            name: config.name.clone(),
            onion: config.tor.onion.map(|host| host.to_string()),
            every: config.state.publish_every,
            host: Host::new(folder),
            apps: AppsBySource::new(),
            damped: DampedApps::default(),
            sources,
            sensors: BTreeMap::new(),
            sensor_readings,
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
    found: &mpsc::Sender<(&'static str, Reading)>,
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
    damped: DampedApps,
    sources: mpsc::Receiver<(&'static str, Reading)>,
    /// What each source of sensors showed last.
    sensors: BTreeMap<&'static str, Sensors>,
    sensor_readings: mpsc::Receiver<sensors::SensorReading>,
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
            self.wait(Instant::now() + self.every, Instant::now() + CHANGES_EVERY).await;
        }
    }

    /// Waits until the next state is due: at its time, or after a change, which is not before `earliest`.
    async fn wait(&mut self, next: Instant, earliest: Instant) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => return,
                Some((source, reading)) = self.sources.recv() => self.note(source, reading),
                Some((source, reading)) = self.sensor_readings.recv() => drop(self.sensors.insert(source, reading)),
            }
            if self.damped.is_news() {
                let pause = earliest.saturating_duration_since(Instant::now()).max(SETTLE);
                self.gather(pause.min(next.saturating_duration_since(Instant::now()))).await;
                // It may have changed back meanwhile.
                if self.damped.is_news() {
                    return;
                }
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
                Some((source, reading)) = self.sources.recv() => self.note(source, reading),
                Some((source, reading)) = self.sensor_readings.recv() => drop(self.sensors.insert(source, reading)),
            }
        }
    }

    /// All sensors, of the sources and of the program that this node is part of; the latter wins a name.
    fn all_sensors(&self) -> Option<Sensors> {
        let read = self.sensors.values().flatten().map(|(name, sensor)| (name.clone(), sensor.clone()));
        let all: Sensors = read.chain(self.client.sensors()).collect();
        Some(all.into_iter().take(SENSORS_MAX).collect()).filter(|all: &Sensors| !all.is_empty())
    }

    /// Notes what a source reports.
    fn note(&mut self, source: &'static str, reading: Reading) {
        note(&mut self.apps, source, reading);
        self.damp();
    }

    fn damp(&mut self) {
        let (apps, problem) = merged(&self.apps);
        self.client.problem("apps", problem);
        self.damped.apps = self.damped.flaps.damp(now().mono, apps);
    }

    async fn publish(&mut self) -> Result<(), AskError> {
        self.damp();
        let apps = self.damped.publish();
        let figures = self.host.look().await;
        self.client.problem("host", figures.as_ref().err().map(ToString::to_string));
        let figures = figures.unwrap_or_default();
        let (node_name, onion) = (Some(self.name.clone()), self.onion.clone());
        let (tor_active, sensors) = (self.client.tor_active(), self.all_sensors());
        let state = NodeState { node_name, apps, onion, tor_active, sensors, ..figures };
        match self.client.command(Write::publish(state)).await {
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

/// The apps as they are published.
#[derive(Debug, Default)]
struct DampedApps {
    flaps: FlapFilter,
    apps: Vec<App>,
    published: Vec<App>,
}

impl DampedApps {
    /// Whether they are others than those published last.
    fn is_news(&self) -> bool {
        self.apps != self.published
    }

    fn publish(&mut self) -> Vec<App> {
        self.published = self.apps.clone();
        self.published.iter().take(APPS_MAX).cloned().collect()
    }
}

fn note(apps: &mut AppsBySource, source: &'static str, reading: Reading) {
    match reading {
        Reading::Apps(now) => drop(apps.insert(source, SourceApps { apps: now, is_stale: false })),
        Reading::Stale => {
            if let Some(last) = apps.get_mut(source) {
                last.is_stale = true;
            }
        }
    }
}

/// Merges the sources into one list by id, with a problem to show if apps are left out. An app of several sources runs if
/// one of them reports that it runs.
fn merged(sources: &AppsBySource) -> (Vec<App>, Option<String>) {
    let mut apps: BTreeMap<String, App> = BTreeMap::new();
    let mut left_out = 0;
    let all = sources.values().flat_map(|source| source.apps.iter().map(|app| (app, source.is_stale)));
    for (app, is_stale) in all {
        if app.id.is_empty() || app.id.len() > APP_TEXT_BYTES_MAX {
            left_out += 1;
            continue;
        }
        let mut app = app.clone();
        app.version =
            app.version.filter(|version| !version.is_empty() && version.len() <= APP_TEXT_BYTES_MAX);
        if is_stale {
            app.health = Some(AppHealth::Stale);
        }
        match apps.get_mut(&app.id) {
            Some(known) if rank(&app) <= rank(known) => {}
            _ => {
                apps.insert(app.id.clone(), app);
            }
        }
    }
    left_out += apps.len().saturating_sub(APPS_MAX);
    let problem = (left_out > 0).then(|| {
        let apps = if left_out == 1 { "1 app is".to_owned() } else { format!("{left_out} apps are") };
        format!("{apps} left out: at most {APPS_MAX}, ids of at most {APP_TEXT_BYTES_MAX} bytes")
    });
    (apps.into_values().take(APPS_MAX).collect(), problem)
}

/// Which report of an app counts: a fresh one, then one that sees it run.
fn rank(app: &App) -> (bool, u8) {
    let status = match app.status {
        AppStatus::Running => 2,
        AppStatus::Stopped => 1,
        AppStatus::Installed => 0,
    };
    (app.health != Some(AppHealth::Stale), status)
}

/// The state of this machine, as a node of this name would publish it now: for programs that run no publisher.
pub async fn look(folder: PathBuf, name: &str) -> NodeState {
    NodeState { node_name: Some(name.to_owned()), ..Host::new(folder).look().await.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Command;
    use crate::runtime::Task;

    fn app(id: &str, status: AppStatus, version: Option<&str>) -> App {
        App { id: id.into(), status, version: version.map(Into::into), health: None }
    }

    fn from<const N: usize>(lists: [(&'static str, Vec<App>); N]) -> AppsBySource {
        lists.into_iter().map(|(source, apps)| (source, SourceApps { apps, is_stale: false })).collect()
    }

    /// What could not be read again does not look fresh; what another source reports of it does.
    #[test]
    fn apps_of_a_source_that_fails_are_stale_until_it_is_read_again() {
        let (web, db) = (app("web", AppStatus::Running, None), app("db", AppStatus::Running, None));
        let mut sources = from([("containers", vec![web.clone(), db.clone()])]);
        note(&mut sources, "containers", Reading::Stale);
        note(&mut sources, "file", Reading::Stale);
        let stopped = app("db", AppStatus::Stopped, None);
        note(&mut sources, "apps_command", Reading::Apps(vec![stopped.clone()]));
        let stale = App { health: Some(AppHealth::Stale), ..web.clone() };
        assert_eq!(merged(&sources).0, [stopped, stale]);
        note(&mut sources, "containers", Reading::Apps(vec![web.clone(), db.clone()]));
        assert_eq!(merged(&sources).0, [db, web]);
    }

    #[test]
    fn an_app_that_one_source_sees_running_runs() {
        let sources = from([
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

    /// An app that starts and stops thirty times: the node is handed a few states, not one for each flip, and the
    /// last of them shows that it flaps.
    #[tokio::test]
    async fn thirty_flips_are_few_states() {
        let (client, mut tasks) = crate::runtime::tests::client_and_tasks();
        let (found, sources) = mpsc::channel(16);
        let publishing = Publishing {
            name: "attic".into(),
            onion: None,
            every: Duration::from_secs(60),
            host: Host::new(std::env::temp_dir()),
            apps: AppsBySource::new(),
            damped: DampedApps::default(),
            sources,
            sensors: BTreeMap::new(),
            sensor_readings: mpsc::channel(1).1,
            client,
        };
        let publishing = tokio::spawn(publishing.run());
        let flipping = tokio::spawn(async move {
            for n in 0..30 {
                let status = if n % 2 == 0 { AppStatus::Running } else { AppStatus::Stopped };
                let apps = vec![app("web", status, None), app("db", AppStatus::Running, None)];
                found.send(("apps_file", Reading::Apps(apps))).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            found
        });
        let flaps = |apps: &Vec<App>| apps.iter().any(|app| app.health == Some(AppHealth::Flapping));
        let mut states: Vec<Vec<App>> = Vec::new();
        while !states.last().is_some_and(flaps) || !flipping.is_finished() {
            let task = tokio::time::timeout(Duration::from_millis(100), tasks.recv()).await;
            let Ok(task) = task else { continue };
            let Some(Task::Command(Command::Write(Write::PublishState { state }), reply)) = task else {
                panic!("a publisher publishes")
            };
            states.push(state.apps);
            let view = crate::io::view::PublishedView { sequence: 1, timestamp: String::new() };
            let up_to = crate::runtime::journal::EventId { start: 0, number: 0 };
            let answered = crate::runtime::AskAnswer::Reply { result: Ok(Reply::Published(view)), up_to };
            assert!(reply.send(answered).is_ok());
        }
        publishing.abort();
        assert!(states.len() <= crate::authoring::flapping::FLIPS + 1, "{states:?}");
        let last = states.last().unwrap();
        assert_eq!(last[0], app("db", AppStatus::Running, None));
        assert_eq!((last[1].id.as_str(), last[1].health), ("web", Some(AppHealth::Flapping)));
    }

    #[test]
    fn too_many_apps_are_cut_and_reported() {
        let many = (0..APPS_MAX + 7).map(|n| app(&format!("app-{n:04}"), AppStatus::Running, None)).collect();
        let odd = vec![app("", AppStatus::Running, None), app(&"x".repeat(300), AppStatus::Running, None)];
        let (apps, problem) = merged(&from([("file", many), ("apps_command", odd)]));
        assert_eq!(apps.len(), APPS_MAX);
        assert!(problem.unwrap().starts_with("9 apps"));
    }
}
