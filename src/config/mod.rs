//! `tombolo.toml`: the settings of an operator, with defaults that are safe everywhere.
//!
//! A missing setting has its default; an unknown one, or a value that is not valid, is an error that names the line:
//! nothing is ignored silently. Peers and documents are not settings: they are in the store. [`Config::template`] writes the file with every default and what it means.

mod deploy;
mod mqtt;
mod notify;
pub mod radio;
mod route;
mod rpc;
mod socket;
mod tor;
mod web;

pub use deploy::{DEPLOY_TIMEOUT_MIN, DeploySettings};
pub use mqtt::{Broker, MqttSettings};
pub use notify::{NOTIFY_TIMEOUT_MIN, NotifyFormat, NotifySettings, NotifyUrl};
pub use route::RouteSection;
pub use rpc::{FORWARD_MAX, RpcSettings};
pub use socket::SocketSettings;
pub use tor::{Password, TorSettings};
pub use web::WebSettings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
#[cfg(feature = "cli")]
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::federation::name::check_node_name;
use crate::router::Preference;
use crate::watches::WatchRule;
use radio::RadioSettings;

/// The settings' name in a node's folder.
pub const CONFIG_FILE: &str = "tombolo.toml";
/// Bytes of `tombolo.toml`; a longer file is refused unread.
pub const CONFIG_BYTES_MAX: u64 = 256 * 1024;
/// The shortest interval at which a node publishes its state: below it the store would do nothing else.
pub const PUBLISH_EVERY_MIN: Duration = Duration::from_secs(1);
/// The shortest heartbeat: below it an idle link is never idle.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
/// The longest interval of any setting: a day.
pub const PACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Addresses one node listens on.
pub const LISTEN_MAX: usize = 16;

/// All settings of a node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of the node, which peers see.
    #[serde(deserialize_with = "node_name")]
    pub name: String,
    /// Whether the system clock is trusted.
    #[serde(default)]
    pub clock: ClockTrust,
    /// Which links go first, or alone, where neither the peer nor the document has a setting of its own.
    #[serde(default)]
    pub preference: Preference,
    /// The same for single peers and documents, and the terms of each kind of link.
    #[serde(default)]
    pub route: RouteSection,
    /// The interval of heartbeats on an idle link.
    #[serde(default = "default_heartbeat", deserialize_with = "heartbeat")]
    pub heartbeat: Duration,
    /// What is logged; `RUST_LOG` replaces it.
    #[serde(default = "default_log", deserialize_with = "log_filter")]
    pub log: String,
    /// MiB of memory for the documents of all peers together; 0: half of what this process may use.
    #[serde(default)]
    pub peers_memory_mib: u32,
    /// The settings of the local network.
    #[serde(default)]
    pub lan: LanSettings,
    /// The settings of Tor.
    #[serde(default)]
    pub tor: TorSettings,
    /// The settings of the state that the node publishes.
    #[serde(default)]
    pub state: StateSettings,
    /// The settings of the JSON calls.
    #[serde(default)]
    pub rpc: RpcSettings,
    /// Which users may use the local interface.
    #[serde(default)]
    pub socket: SocketSettings,
    /// The settings of the page, the metrics and the interface over TCP.
    #[serde(default)]
    pub web: WebSettings,
    /// The settings of the bridge to a broker.
    #[serde(default)]
    pub mqtt: MqttSettings,
    /// The fields of the briefs that radios carry, by document and field.
    #[serde(default)]
    pub brief: BTreeMap<String, BTreeMap<String, BriefSetting>>,
    /// The settings of deploys.
    #[serde(default)]
    pub deploy: DeploySettings,
    /// How the operator is notified of alarms.
    #[serde(default)]
    pub notify: NotifySettings,
    /// What is watched, each a table `[[watch]]`.
    #[serde(default, rename = "watch", deserialize_with = "notify::watches")]
    pub watches: Vec<WatchRule>,
    /// The radios, each a table `[[radio]]`.
    #[serde(default, rename = "radio", deserialize_with = "radio::all")]
    pub radios: Vec<RadioSettings>,
}

/// One field of a brief.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BriefSetting {
    /// Numbers are rounded to multiples of this.
    #[serde(deserialize_with = "positive")]
    pub round: Option<f64>,
    /// A number makes a new brief only when it has moved so far.
    pub threshold: f64,
}

/// Section `[lan]`: the local network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanSettings {
    /// UDP addresses to listen on; none: the node stays off the local network.
    #[serde(deserialize_with = "listen")]
    pub listen: Vec<SocketAddr>,
    /// Find peers by mDNS, and be found.
    pub mdns: bool,
    /// Announce loopback addresses as well: for several nodes on one machine.
    pub loopback: bool,
}

/// Section `[state]`: what the node publishes of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateSettings {
    /// How often the state is published.
    #[serde(deserialize_with = "publish_every")]
    pub publish_every: Duration,
    /// Where the list of containers comes from.
    pub containers: Containers,
    /// A program that prints the list of apps: its path and arguments; empty for none.
    #[serde(deserialize_with = "command")]
    pub apps_command: Vec<String>,
    /// A file that holds the list of apps; empty for none.
    #[serde(deserialize_with = "optional_path")]
    pub apps_file: Option<PathBuf>,
    /// A program that prints the operator's own fields of the state; empty for none.
    #[serde(deserialize_with = "sensors_command")]
    pub sensors_command: Vec<String>,
    /// A file that holds them; empty for none.
    #[serde(deserialize_with = "sensors_file")]
    pub sensors_file: Option<PathBuf>,
    /// How often the programs are run and the files are read.
    #[serde(deserialize_with = "publish_every")]
    pub apps_every: Duration,
}

/// Whether the system clock is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockTrust {
    /// Judged by the build date, the newest stamp in the store and the peers' clocks.
    #[default]
    Auto,
    /// The operator vouches for it.
    Set,
}

/// Where the list of containers comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Containers {
    /// The usual sockets of Docker and Podman, where there is one that we may read.
    Auto,
    /// No containers are listed.
    Off,
    /// This socket; if it cannot be read, `status` shows that.
    Socket(PathBuf),
}

/// Why the settings cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such file.
    #[error("there is no {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The system refuses to read it.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error that the system returned.
        source: std::io::Error,
    },
    /// It is longer than any settings file.
    #[error("{} is longer than {CONFIG_BYTES_MAX} bytes: that is no settings file", path.display())]
    TooLong {
        /// The path of the file.
        path: PathBuf,
    },
    /// It does not name the node.
    #[error("{} does not name the node: a line `name = \"NAME\"` at its beginning does", path.display())]
    NoName {
        /// The path of the file.
        path: PathBuf,
    },
    /// A line of it is wrong.
    #[error("{}, line {line}: {why}. Correct the line, or delete it to get the default", path.display())]
    Line {
        /// The path of the file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Config {
    /// All defaults, under a name.
    pub fn new(name: &str) -> Self {
        Config {
            name: name.to_owned(),
            clock: ClockTrust::Auto,
            preference: Preference::Auto,
            route: RouteSection::default(),
            heartbeat: default_heartbeat(),
            log: default_log(),
            peers_memory_mib: 0,
            lan: LanSettings::default(),
            tor: TorSettings::default(),
            state: StateSettings::default(),
            rpc: RpcSettings::default(),
            socket: SocketSettings::default(),
            web: WebSettings::default(),
            mqtt: MqttSettings::default(),
            brief: BTreeMap::new(),
            deploy: DeploySettings::default(),
            notify: NotifySettings::default(),
            watches: Vec::new(),
            radios: Vec::new(),
        }
    }

    /// Reads `tombolo.toml` in a node's folder.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is none, it cannot be read, or a line is not valid.
    pub fn load(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(CONFIG_FILE);
        let read = |source| ConfigError::Read { path: path.clone(), source };
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(ConfigError::Missing { path }),
            Err(e) => return Err(read(e)),
        };
        if length > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLong { path });
        }
        let text = crate::plain_file::read_text(&path, CONFIG_BYTES_MAX).map_err(read)?;
        Self::parse(&text).map_err(|(line, why)| match text.parse::<toml::Table>() {
            Ok(table) if !table.contains_key("name") => ConfigError::NoName { path },
            Ok(_) | Err(_) => ConfigError::Line { path, line, why },
        })
    }

    /// Reads settings from text.
    ///
    /// # Errors
    ///
    /// The number of a line, from 1, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|b| *b == b'\n').count() + 1;
            let why = error.message().trim_end_matches('.').replace('\n', " ");
            (line, section_twice(text, line).filter(|_| why.starts_with("duplicate")).unwrap_or(why))
        })
    }

    /// How the operator is notified, with the SOCKS port of tor where the address is reached through it.
    pub fn notify_settings(&self) -> NotifySettings {
        let socks = self.notify.via_tor.then(|| self.tor.socks());
        NotifySettings { socks, ..self.notify.clone() }
    }

    /// The file that `init` writes: every setting with its default and what it means.
    pub fn template(name: &str) -> String {
        // A JSON string is a TOML basic string: TOML knows every escape that JSON writes.
        TEMPLATE.replacen("@name@", &serde_json::Value::from(name).to_string(), 1)
    }
}

/// Where a section that stands twice begins the first time: examples name it, and the file of `init` has it already.
fn section_twice(text: &str, line: usize) -> Option<String> {
    let section = text.lines().nth(line - 1)?.trim();
    let first = 1 + text.lines().position(|other| other.trim() == section)?;
    let is_twice = section.starts_with('[') && first < line;
    is_twice.then(|| format!("the section {section} stands in line {first} already: its settings go there"))
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match f64::deserialize(deserializer)? {
        number if number.is_finite() && number > 0.0 => Ok(Some(number)),
        number => Err(D::Error::custom(format!("`round` is {number}: it must be more than 0"))),
    }
}

/// A span of time as people write it: `90s`, `15m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpan(pub Duration);

/// Why a text is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a whole number and a unit: 90s, 15m, 24h or 7d")]
pub struct TimeSpanError;

impl FromStr for TimeSpan {
    type Err = TimeSpanError;

    fn from_str(text: &str) -> Result<Self, TimeSpanError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(TimeSpanError)?;
        let number: u64 = number.parse().map_err(|_| TimeSpanError)?;
        let seconds = match unit {
            "s" => Some(number),
            "m" => number.checked_mul(60),
            "h" => number.checked_mul(60 * 60),
            "d" => number.checked_mul(24 * 60 * 60),
            _ => None,
        };
        seconds.map(|s| TimeSpan(Duration::from_secs(s))).ok_or(TimeSpanError)
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (number, unit) = match seconds {
            s if s > 0 && s % 86_400 == 0 => (s / 86_400, "d"),
            s if s > 0 && s % 3_600 == 0 => (s / 3_600, "h"),
            s if s > 0 && s % 60 == 0 => (s / 60, "m"),
            s => (s, "s"),
        };
        write!(f, "{number}{unit}")
    }
}

impl Default for LanSettings {
    fn default() -> Self {
        let port = tombolo_transports::lan::PORT;
        LanSettings {
            listen: vec![
                (std::net::Ipv4Addr::UNSPECIFIED, port).into(),
                (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
            ],
            mdns: true,
            loopback: false,
        }
    }
}

impl Default for StateSettings {
    fn default() -> Self {
        StateSettings {
            publish_every: Duration::from_secs(60),
            containers: Containers::Auto,
            apps_command: Vec::new(),
            apps_file: None,
            sensors_command: Vec::new(),
            sensors_file: None,
            apps_every: Duration::from_secs(10),
        }
    }
}

impl<'de> Deserialize<'de> for Containers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "auto" => Ok(Containers::Auto),
            "off" => Ok(Containers::Off),
            path if Path::new(path).is_absolute() => Ok(Containers::Socket(path.into())),
            _ => Err(D::Error::custom("`containers` is \"auto\", \"off\" or the absolute path of a socket")),
        }
    }
}

fn default_heartbeat() -> Duration {
    Duration::from_millis(crate::limits::HEARTBEAT.ms())
}

fn default_log() -> String {
    "info".to_owned()
}

fn node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_node_name(&name).map_err(D::Error::custom)?;
    Ok(name)
}

fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let filter = String::deserialize(deserializer)?;
    // A program that brings its own log does not use it.
    #[cfg(feature = "cli")]
    check_log_filter(&filter).map_err(|why| D::Error::custom(format!("`log` is {why}")))?;
    Ok(filter)
}

/// Reads a log filter, from the settings or `RUST_LOG`; the error describes a valid one.
#[cfg(feature = "cli")]
pub(crate) fn check_log_filter(filter: &str) -> Result<Targets, &'static str> {
    // A bare word would otherwise be taken for a target at its finest level.
    let is_level = |part: &str| part.trim().parse::<LevelFilter>().is_ok();
    let known = filter.split(',').all(|part| part.contains('=') || is_level(part));
    let targets = Targets::from_str(filter).ok().filter(|_| known);
    targets.ok_or("a level (error, warn, info, debug, trace), or `target=level` pairs")
}

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.len() > LISTEN_MAX {
        return Err(D::Error::custom(format!("`listen` has at most {LISTEN_MAX} addresses")));
    }
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is no address with a port, like \"0.0.0.0:8662\" or \"[::]:8662\""
            ))
        })
    };
    texts.iter().map(parse).collect()
}

fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    program(deserializer, "apps_command")
}

fn program<'de, D: Deserializer<'de>>(deserializer: D, setting: &str) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    match words.first() {
        Some(program) if !Path::new(program).is_absolute() => {
            Err(D::Error::custom(format!("the first word of `{setting}` is the absolute path of a program")))
        }
        _ => Ok(words),
    }
}

fn sensors_command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    program(deserializer, "sensors_command")
}

fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    path_or_none(deserializer, "apps_file")
}

fn sensors_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    path_or_none(deserializer, "sensors_file")
}

fn path_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
    setting: &str,
) -> Result<Option<PathBuf>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "" => Ok(None),
        path if Path::new(path).is_absolute() => Ok(Some(path.into())),
        _ => Err(D::Error::custom(format!("`{setting}` is an absolute path, or \"\" for none"))),
    }
}

fn publish_every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    span_within(deserializer, PUBLISH_EVERY_MIN)
}

fn heartbeat<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    span_within(deserializer, HEARTBEAT_MIN)
}

fn span_within<'de, D: Deserializer<'de>>(deserializer: D, min: Duration) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let TimeSpan(span) =
        text.parse().map_err(|e| D::Error::custom(format!("`{text}` is no span of time: {e}")))?;
    if span < min || span > PACE_MAX {
        return Err(D::Error::custom(format!(
            "`{text}` is not between {} and {}",
            TimeSpan(min),
            TimeSpan(PACE_MAX)
        )));
    }
    Ok(span)
}

const TEMPLATE: &str = include_str!("config.toml");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The template is the documentation of the defaults: it must not drift from them.
    #[test]
    fn the_template_has_exactly_the_defaults() {
        for name in ["attic", "a \"quoted\" \\ name", "Hütte 7"] {
            assert_eq!(Config::parse(&Config::template(name)), Ok(Config::new(name)));
        }
        assert_eq!(Config::parse("name = \"attic\""), Ok(Config::new("attic")));
    }

    #[test]
    fn the_page_of_settings_has_the_template() {
        let page = include_str!("../../docs/settings.md");
        assert!(
            page.contains(TEMPLATE.trim_end()),
            "docs/settings.md: put src/config/config.toml between its fences"
        );
    }

    /// Each setting can be commented out alone: what stands in the template is only the default.
    #[test]
    fn every_line_but_the_name_may_be_deleted() {
        let template = Config::template("attic");
        for (n, line) in template.lines().enumerate() {
            let rest: Vec<&str> =
                template.lines().enumerate().filter(|(m, _)| *m != n).map(|(_, l)| l).collect();
            if line.contains('=') && !line.starts_with('#') && !line.starts_with("name") {
                assert_eq!(Config::parse(&rest.join("\n")), Ok(Config::new("attic")), "without `{line}`");
            }
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let cases = [
            ("name = \"a\"\nlogg = \"info\"\n", 2, "logg"),
            ("name = \"a\"\n\n[lan]\nlisten = [\"8662\"]\n", 4, "no address"),
            ("name = \"a\"\n[lan]\nport = 1\n", 3, "port"),
            ("name = \"a\"\nheartbeat = \"15\"\n", 2, "unit"),
            ("name = \"a\"\nheartbeat = \"0s\"\n", 2, "between"),
            ("name = \"a\"\nclock = \"maybe\"\n", 2, "maybe"),
            ("name = \"a\"\nlog = \"loud\"\n", 2, "level"),
            ("name = \"\"\n", 1, "at least one"),
            ("name = \"a\"\n[state]\ncontainers = \"docker.sock\"\n", 3, "absolute"),
            ("name = \"a\"\n[state]\napps_command = [\"apps\"]\n", 3, "absolute"),
            ("name = \"a\"\nname = \"b\"\n", 2, "duplicate"),
            ("name = \"a\"\n[web]\ntoken = \"\"\n [web]\nlisten = \"\"\n", 4, "[web] stands in line 2"),
            ("name = ", 1, ""),
            ("", 1, "name"),
        ];
        for (text, line, word) in cases {
            let (found, why) = Config::parse(text).expect_err(text);
            assert_eq!(found, line, "{text}: {why}");
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn spans_read_back_as_written() {
        for text in ["0s", "90s", "15m", "24h".replace("24h", "1d").as_str(), "7d"] {
            assert_eq!(text.parse::<TimeSpan>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "s", "1", "1 s", "-1s", "1.5h", "1w", "99999999999999999999d", "1é"] {
            assert_eq!(text.parse::<TimeSpan>(), Err(TimeSpanError), "{text}");
        }
    }

    proptest! {
        /// A settings file damaged anywhere is read or refused with a line that is there, never a panic.
        #[test]
        fn any_text_is_settings_or_a_line_to_correct(
            at in 0..2_000_usize,
            cut in 0..50_usize,
            put in "[ -~\\n\"=\\[äé]{0,12}",
        ) {
            let template = Config::template("attic");
            let text: String =
                template.chars().take(at).chain(put.chars()).chain(template.chars().skip(at + cut)).collect();
            if let Err((line, why)) = Config::parse(&text) {
                prop_assert!(line >= 1 && line <= text.lines().count().max(1) + 1, "line {line}: {why}");
                prop_assert!(!why.is_empty() && !why.contains('\n'), "{why}");
            }
        }
    }
}
