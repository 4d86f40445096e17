//! One container of an engine's list as an app: its name, status, health and version.
//!
//! The rows of Docker's API, of Podman's two and of `docker ps --format json` differ in which fields there are and what is in them; every
//! one of them is optional here. An id is one that stays when the container is made again:
//!
//! | container | id |
//! |---|---|
//! | of a swarm service | the service, whichever of its tasks |
//! | of a Kubernetes pod | the container's name, with the namespace before it unless that is `default` |
//! | of a Nomad or ECS task | job or family, and task |
//! | of a compose project | project and service, once where both are the same |
//! | other | its own name |
//! | infrastructure (a pod's `pause`), one-off runs, test and build jobs | none: it is no app |

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::node::{App, AppHealth, AppStatus};
use crate::probe::foreign::{AppList, Row, checked_id, field, text};

/// Letters and digits of a swarm task's id.
const TASK_ID_CHARS: usize = 25;

/// One app per id, by id. Of several containers of one service: it runs if one does, and is as unhealthy as the worst that runs.
pub(super) fn apps(rows: &[&RawValue]) -> AppList {
    let mut list = AppList::default();
    for (n, row) in rows.iter().enumerate() {
        list.take(n + 1, Row::read(row.get()).and_then(|row| app(&Container(row))));
    }
    let mut apps: BTreeMap<String, App> = BTreeMap::new();
    for app in std::mem::take(&mut list.apps) {
        match apps.get_mut(&app.id) {
            None => {
                apps.insert(app.id.clone(), app);
            }
            Some(known) if known.status == app.status => known.health = worse(known.health, app.health),
            Some(known) if app.status == AppStatus::Running => *known = app,
            Some(_) => {}
        }
    }
    list.apps = apps.into_values().collect();
    list
}

fn worse(one: Option<AppHealth>, other: Option<AppHealth>) -> Option<AppHealth> {
    let order = [
        Some(AppHealth::Unhealthy),
        Some(AppHealth::Flapping),
        Some(AppHealth::Stale),
        Some(AppHealth::Starting),
        Some(AppHealth::Healthy),
    ];
    order.into_iter().find(|health| one == *health || other == *health).flatten()
}

/// A container as an app; `None` where it is none.
fn app(container: &Container) -> Result<Option<App>, String> {
    let Some(id) = container.id() else { return Ok(None) };
    let status = container.status()?;
    let health = container.health().filter(|_| status == AppStatus::Running);
    Ok(Some(App { id: checked_id(id)?, status, version: container.version(), health }))
}

struct Container(Row);

impl Container {
    // ---- what it does ------------------------------------------------------------------------------------

    /// The words for its state: `State`, as a word or as an object, else the beginning of `Status`.
    fn status(&self) -> Result<AppStatus, String> {
        let state = match self.0.get(&["State"]) {
            Some(Value::Object(state)) => field(state, &["Status"]).and_then(text),
            // Podman counts its states.
            Some(Value::Number(_)) | None => None,
            Some(state) => text(state),
        };
        let word = match state {
            Some(state) => state,
            None => self.0.text(&["Status"]).ok_or("it has no state")?,
        };
        let word = word.to_ascii_lowercase();
        let is_up =
            word == "running" || (word == "up" || word.starts_with("up ")) && !word.contains("(paused)");
        Ok(if is_up { AppStatus::Running } else { AppStatus::Stopped })
    }

    /// What its own check reports: a field, or in brackets behind `Status`.
    fn health(&self) -> Option<AppHealth> {
        let of = |value: &Value| match value {
            Value::Object(health) => field(health, &["Status"]).and_then(text),
            value => text(value),
        };
        let state = match self.0.get(&["State"]) {
            Some(Value::Object(state)) => field(state, &["Health", "Healthcheck"]),
            _ => None,
        };
        let field = self.0.get(&["Health", "HealthStatus"]).or(state).and_then(of);
        if let Some(health) = field.and_then(|word| AppHealth::read(&word)) {
            return Some(health);
        }
        let status = self.0.text(&["Status"])?;
        let (_, behind) = status.rsplit_once('(')?;
        let word = behind.trim_end().trim_end_matches(')').to_ascii_lowercase();
        AppHealth::read(word.strip_prefix("health:").unwrap_or(&word))
    }

    fn version(&self) -> Option<String> {
        let image = || self.0.text(&["Image", "ImageName"]).and_then(|image| tag(&image).map(str::to_owned));
        self.label("org.opencontainers.image.version").or_else(image)
    }

    // ---- what it is called -------------------------------------------------------------------------------

    fn id(&self) -> Option<String> {
        let name = self.name();
        if self.is_no_app(name.as_deref()) {
            return None;
        }
        self.of_orchestrator(name.as_deref()).or_else(|| self.of_compose()).or(name)
    }

    /// Its own name: of several the one that is no link from another container.
    fn name(&self) -> Option<String> {
        let names: Vec<String> = match self.0.get(&["Names", "Name"])? {
            Value::Array(names) => names.iter().filter_map(text).collect(),
            names => text(names)?.split(',').map(str::to_owned).collect(),
        };
        let names =
            names.iter().map(|name| name.trim().trim_start_matches('/')).filter(|name| !name.is_empty());
        names.clone().find(|name| !name.contains('/')).or(names.clone().next()).map(str::to_owned)
    }

    fn of_orchestrator(&self, name: Option<&str>) -> Option<String> {
        let swarm = || {
            let service = self.label("com.docker.swarm.service.name");
            let task = self.label("com.docker.swarm.task.name");
            service.or_else(|| without_task(task.as_deref().or(name)?))
        };
        let kubernetes = || {
            let container = self.label("io.kubernetes.container.name");
            let namespace = self.label("io.kubernetes.pod.namespace");
            // k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT
            let mut parts = name?.strip_prefix("k8s_").into_iter().flat_map(|name| name.split('_'));
            let (by_name, in_space) = (parts.next(), parts.nth(1));
            let container = container.or_else(|| by_name.map(str::to_owned))?;
            let namespace = namespace.or_else(|| in_space.map(str::to_owned));
            Some(joined(namespace.filter(|space| space != "default"), container))
        };
        let nomad = || {
            if let Some(task) = self.label("com.hashicorp.nomad.task_name") {
                return Some(joined(self.label("com.hashicorp.nomad.job_name"), task));
            }
            let allocation = self.label("com.hashicorp.nomad.alloc_id")?;
            name?.strip_suffix(&allocation)?.strip_suffix('-').map(str::to_owned)
        };
        let ecs = || {
            let container = self.label("com.amazonaws.ecs.container-name")?;
            Some(joined(self.label("com.amazonaws.ecs.task-definition-family"), container))
        };
        swarm().or_else(kubernetes).or_else(nomad).or_else(ecs)
    }

    fn of_compose(&self) -> Option<String> {
        ["com.docker.compose", "io.podman.compose"].into_iter().find_map(|by| {
            let project = self.label(&format!("{by}.project"))?;
            Some(joined(Some(project), self.label(&format!("{by}.service"))?))
        })
    }

    /// Whether it serves other containers, or runs once and is thrown away: each would have another name next time.
    fn is_no_app(&self, name: Option<&str>) -> bool {
        let is =
            |label: &str, value: &str| self.label(label).is_some_and(|is| is.eq_ignore_ascii_case(value));
        let is_flagged = self.0.get(&["IsInfra"]).is_some_and(|flag| flag == &Value::Bool(true));
        let image = self.0.text(&["Image", "ImageName"]).unwrap_or_default();
        let image = image.split('@').next().and_then(|image| image.rsplit('/').next()).unwrap_or_default();
        let image = image.split(':').next().unwrap_or_default();
        let is_pause = ["pause", "podman-pause", "catatonit-pause"].contains(&image);
        let is_hex = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_infra = name.and_then(|name| name.strip_suffix("-infra")).is_some_and(is_hex);
        let is_sandbox = is("io.kubernetes.docker.type", "podsandbox")
            || is("io.cri-containerd.kind", "sandbox")
            || is("io.kubernetes.container.name", "POD")
            || name.is_some_and(|name| name.starts_with("k8s_POD_"));
        let is_job = is("com.docker.compose.oneoff", "true")
            || is("io.podman.compose.oneoff", "true")
            || is("org.testcontainers", "true")
            || is("com.gitlab.gitlab-runner.managed", "true");
        is_flagged || is_pause || is_infra || is_sandbox || is_job
    }

    fn label(&self, name: &str) -> Option<String> {
        match self.0.get(&["Labels"])? {
            Value::Object(labels) => text(labels.get(name)?),
            // `a=1,b=2`, as `docker ps` prints them.
            Value::String(labels) => labels
                .split(',')
                .filter_map(|label| label.split_once('='))
                .find(|(key, value)| key.trim() == name && !value.trim().is_empty())
                .map(|(_, value)| value.trim().to_owned()),
            _ => None,
        }
    }
}

/// `group-member`, or the member alone where the group has no name of its own.
fn joined(group: Option<String>, member: String) -> String {
    match group {
        Some(group) if group != member => format!("{group}-{member}"),
        Some(_) | None => member,
    }
}

/// The service of a swarm task's name: `web.1.TASK`, or `web.NODE.TASK` where each node has one.
fn without_task(name: &str) -> Option<String> {
    let is_id =
        |part: &str| part.len() == TASK_ID_CHARS && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (rest, task) = name.rsplit_once('.')?;
    let (service, slot) = rest.rsplit_once('.')?;
    let is_slot = is_id(slot) || (!slot.is_empty() && slot.bytes().all(|byte| byte.is_ascii_digit()));
    (is_id(task) && is_slot && !service.is_empty()).then(|| service.to_owned())
}

/// The tag of an image's name; none where only a digest names it.
fn tag(image: &str) -> Option<&str> {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let (before, tag) = name.rsplit_once(':')?;
    (!tag.contains('/') && before != "sha256").then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::foreign::rows_of;

    fn list(text: &str) -> AppList {
        apps(&rows_of(text).unwrap())
    }

    /// The apps of rows, each as `id status health version`.
    fn read(text: &str) -> Vec<String> {
        let words = |app: &App| {
            let status = format!("{:?}", app.status).to_lowercase();
            let health = app.health.map_or("-".to_owned(), |health| format!("{health:?}").to_lowercase());
            format!("{} {status} {health} {}", app.id, app.version.as_deref().unwrap_or("-"))
        };
        list(text).apps.iter().map(words).collect()
    }

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
        assert_eq!(read(TWO), ["db stopped - -", "map stopped - 3.1.4", "shop-web running - 1.27"]);
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

    /// The kind: all or nothing. Rows that are odd in many ways, between two that are not.
    #[test]
    fn an_odd_row_is_left_out_and_counted_and_the_others_are_read() {
        for odd in [
            "null",
            "7",
            r#"["web"]"#,
            r#"{"Names":["/odd"]}"#,
            r#"{"Names":["/odd"],"State":null,"Status":null}"#,
            r#"{"Names":["/odd"],"State":"running","Size":1e999}"#,
            r#"{"Names":["/odd\ud800"],"State":"running"}"#,
            r#"{"Names":["/odd\u0007"],"State":"running"}"#,
        ] {
            let text = format!(
                r#"[{{"Names":["/a"],"State":"running"}},{odd},{{"Names":["/b"],"State":"exited"}}]"#
            );
            let list = list(&text);
            let ids: Vec<_> = list.apps.iter().map(|app| app.id.as_str()).collect();
            assert_eq!((ids, list.left_out), (vec!["a", "b"], 1), "{odd}");
            assert!(list.problem("/s").unwrap().starts_with("/s: 1 row is left out; row 2: "), "{odd}");
        }
    }

    /// Fields that are missing, null, of another type or in other letters leave the row readable.
    #[test]
    fn every_field_is_optional_and_counts_in_any_case() {
        for row in [
            r#"{"Names":["/web"],"Image":null,"State":"running","Labels":null}"#,
            r#"{"names":["/web"],"image":7,"STATE":"Running","labels":[]}"#,
            r#"{"Names":"web","State":"RUNNING","Labels":"a=1"}"#,
            r#"{"Names":[null,"/other/web","/web"],"Status":"Up 3 hours","State":""}"#,
            r#"{"Names":["/web"],"State":2,"Status":"up About an hour"}"#,
            r#"{"Name":"/web","State":{"Status":"running","Pid":7},"Image":[]}"#,
            r#"{"Names":["/web"],"State":"running","Labels":{"com.docker.compose.project":null,"x":{}}}"#,
        ] {
            assert_eq!(list(&format!("[{row}]")).apps.len(), 1, "{row}");
            assert!(read(&format!("[{row}]"))[0].starts_with("web running -"), "{row}");
        }
    }

    /// An unhealthy container is not just running, by whichever way its engine reports it.
    #[test]
    fn health_is_read_from_every_place_where_engines_put_it() {
        let row = |fields: &str| format!(r#"[{{"Names":["/web"],{fields}}}]"#);
        for (fields, expected) in [
            (r#""State":"running","Status":"Up 2 hours (unhealthy)""#, "unhealthy"),
            (r#""State":"running","Status":"Up 2 hours (Healthy)""#, "healthy"),
            (r#""State":"running","Status":"Up 3 seconds (health: starting)""#, "starting"),
            (r#""State":"running","Health":{"Status":"UNHEALTHY","FailingStreak":3}"#, "unhealthy"),
            (r#""State":"running","health":"unhealthy""#, "unhealthy"),
            (r#""State":{"Status":"running","Health":{"Status":"unhealthy"}}"#, "unhealthy"),
            (r#""State":"running","Status":"Up 2 hours","Health":{"Status":"none"}"#, "-"),
            (r#""State":"running","Status":"Up 2 hours""#, "-"),
        ] {
            assert_eq!(read(&row(fields)), [format!("web running {expected} -")], "{fields}");
        }
        assert_eq!(read(&row(r#""State":"exited","Health":"unhealthy""#)), ["web stopped - -"]);
        let of_service = |state: &str, status: &str| {
            format!(
                r#"{{"Names":["/x"],"State":"{state}","Status":"{status}","Labels":{{"com.docker.swarm.service.name":"web"}}}}"#
            )
        };
        let (well, ill) = (of_service("running", "Up (healthy)"), of_service("running", "Up (unhealthy)"));
        let ended = of_service("exited", "Exited (1)");
        assert_eq!(read(&format!("[{ended},{well},{ill}]")), ["web running unhealthy -"]);
    }

    /// Ids that stay when a container is made again, or none.
    #[test]
    fn tasks_have_the_name_of_what_they_are_a_task_of_and_infrastructure_has_none() {
        let task = "x8f3k2l9a0b1c2d3e4f5g6h7i";
        let node = "n8f3k2l9a0b1c2d3e4f5g6h7i";
        let uid = "0f0e7a52-1d3c-4d7a-9d0c-6b1f0a7c2e11";
        let cases: Vec<(String, &str, Option<&str>)> = vec![
            (
                format!("/shop_web.1.{task}"),
                r#""com.docker.swarm.service.name":"shop_web""#,
                Some("shop_web"),
            ),
            (
                format!("/shop_web.2.{task}"),
                r#""com.docker.swarm.task.name":"shop_web.2.x8f3k2l9a0b1c2d3e4f5g6h7i""#,
                Some("shop_web"),
            ),
            (format!("/agent.{node}.{task}"), "", Some("agent")),
            ("/my.app.v2".to_owned(), "", Some("my.app.v2")),
            (format!("/k8s_web_web-7d9f-x2_default_{uid}_0"), "", Some("web")),
            (
                "/a".to_owned(),
                r#""io.kubernetes.container.name":"web","io.kubernetes.pod.namespace":"shop""#,
                Some("shop-web"),
            ),
            (format!("/k8s_POD_web-7d9f-x2_default_{uid}_0"), "", None),
            ("/a".to_owned(), r#""io.kubernetes.docker.type":"podsandbox""#, None),
            (
                format!("/cache-{uid}"),
                r#""com.hashicorp.nomad.alloc_id":"0f0e7a52-1d3c-4d7a-9d0c-6b1f0a7c2e11""#,
                Some("cache"),
            ),
            (
                "/b".to_owned(),
                r#""com.amazonaws.ecs.container-name":"web","com.amazonaws.ecs.task-definition-family":"shop""#,
                Some("shop-web"),
            ),
            ("/3f2a1b0c9d8e-infra".to_owned(), "", None),
            ("/blog-infra".to_owned(), "", Some("blog-infra")),
            (
                "/shop-web-run-1f2e".to_owned(),
                r#""com.docker.compose.project":"shop","com.docker.compose.service":"web","com.docker.compose.oneoff":"True""#,
                None,
            ),
            ("/ryuk".to_owned(), r#""org.testcontainers":"true""#, None),
            (
                "/c".to_owned(),
                r#""io.podman.compose.project":"shop","io.podman.compose.service":"web""#,
                Some("shop-web"),
            ),
        ];
        for (name, labels, expected) in cases {
            let list = list(&format!(r#"[{{"Names":["{name}"],"State":"running","Labels":{{{labels}}}}}]"#));
            let id = list.apps.first().map(|app| app.id.as_str());
            assert_eq!((id, list.left_out), (expected, 0), "{name} {labels}");
        }
        for row in [
            r#"{"Names":["a"],"State":"running","IsInfra":true}"#,
            r#"{"Names":["/pod-infra"],"State":"running","Image":"localhost/podman-pause:5.0-17"}"#,
            r#"{"Names":["/p"],"State":"running","Image":"registry.k8s.io/pause:3.9"}"#,
        ] {
            assert_eq!(list(&format!("[{row}]")).apps, [], "{row}");
        }
    }

    #[test]
    fn labels_in_a_line_are_read_as_docker_ps_prints_them() {
        let row = r#"[{"Names":"shop-web-1","State":"running","Status":"Up 2 hours (unhealthy)","Image":"nginx:1.27",
            "Labels":"com.docker.compose.project=shop,com.docker.compose.service=web"}]"#;
        assert_eq!(read(row), ["shop-web running unhealthy 1.27"]);
    }

    proptest::proptest! {
        #[test]
        fn no_row_makes_it_panic(text in r#"[\[\]{}:,"a-zA-Z0-9 ()/._-]{0,80}"#, name in ".{0,40}") {
            let named = serde_json::json!([{"Names": [name], "State": text, "Status": text, "Labels": text}]).to_string();
            let raw = format!("[{text}]");
            for text in [raw, named] {
                if let Ok(rows) = rows_of(&text) {
                    let list = apps(&rows);
                    proptest::prop_assert!(list.apps.len() + list.left_out <= rows.len());
                }
            }
        }
    }
}
