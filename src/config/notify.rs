//! Section `[notify]` and tables `[[watch]]`: what is watched, and how the operator is notified.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Deserializer};
use tombolo_transports::tor::Endpoint;

use super::{Password, program, span_within};
use crate::watches::{NotifyChannel, QuietHours, RULES_MAX, WatchKind, WatchRule};

/// The shortest time that a message may have.
pub const NOTIFY_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Section `[notify]`: how the operator is notified of alarms.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifySettings {
    /// The program that is run for each message, and its arguments with places; empty for none.
    #[serde(deserialize_with = "command")]
    pub command: Vec<String>,
    /// The HTTP address that each message is posted to; empty for none.
    #[serde(deserialize_with = "url")]
    pub url: Option<NotifyUrl>,
    /// Whether the address is reached through tor.
    pub via_tor: bool,
    /// The SOCKS port for that: [`Config::notify_settings`] fills it in.
    ///
    /// [`Config::notify_settings`]: super::Config::notify_settings
    #[serde(skip)]
    pub socks: Option<Endpoint>,
    /// The form of what is posted.
    pub format: NotifyFormat,
    /// A token for the address.
    pub token: Password,
    /// How long the program or the address may take.
    #[serde(deserialize_with = "timeout")]
    pub timeout: Duration,
    /// When only urgent messages go out.
    #[serde(deserialize_with = "quiet")]
    pub quiet: Option<QuietHours>,
    /// The kinds that do not wait for the end of the quiet hours.
    #[serde(deserialize_with = "kinds")]
    pub urgent: Vec<WatchKind>,
    /// The person that is notified, where several nodes notify the same one.
    pub operator: String,
}

/// The form of what is posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyFormat {
    /// The text as the body, with the headers `Title`, `Priority` and `Tags`.
    #[default]
    Ntfy,
    /// All fields as one JSON object.
    Json,
}

/// An address that takes messages: `http://` or `https://`.
#[derive(Clone, PartialEq, Eq)]
pub struct NotifyUrl(Uri);

/// Why a text is no address for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`url` is an address like \"https://ntfy.sh/topic\" or \"http://192.168.1.9:8080/alarms\", or \"\" for none"
)]
pub struct NotifyUrlError;

impl NotifyUrl {
    /// Whether the address asks for TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port that is called, that of the scheme where the address names none.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Host and port, as the header `Host` has them.
    pub fn authority(&self) -> &str {
        self.0.authority().map(|authority| authority.as_str()).unwrap_or_default()
    }

    /// The path with its query, as it is sent.
    pub fn path(&self) -> &str {
        self.0.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl FromStr for NotifyUrl {
    type Err = NotifyUrlError;

    fn from_str(text: &str) -> Result<Self, NotifyUrlError> {
        let uri: Uri = text.parse().map_err(|_| NotifyUrlError)?;
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        // A name or password before the host would go out in the header `Host`.
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
        if has_host && is_plain && is_known { Ok(NotifyUrl(uri)) } else { Err(NotifyUrlError) }
    }
}

/// Without the path, which is a secret at many services.
impl fmt::Debug for NotifyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotifyUrl({}://{}/..)", self.0.scheme_str().unwrap_or_default(), self.authority())
    }
}

impl Default for NotifySettings {
    fn default() -> Self {
        NotifySettings {
            command: Vec::new(),
            url: None,
            via_tor: false,
            socks: None,
            format: NotifyFormat::Ntfy,
            token: Password::default(),
            timeout: Duration::from_secs(30),
            quiet: None,
            urgent: vec![WatchKind::KeyTwice],
            operator: String::new(),
        }
    }
}

impl NotifySettings {
    /// The ways to the operator that are set.
    pub fn channels(&self) -> Vec<NotifyChannel> {
        let command = (!self.command.is_empty()).then_some(NotifyChannel::Command);
        command.into_iter().chain(self.url.as_ref().map(|_| NotifyChannel::Url)).collect()
    }
}

fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    program(deserializer, "command")
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    span_within(deserializer, NOTIFY_TIMEOUT_MIN)
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NotifyUrl>, D::Error> {
    optional(deserializer)
}

fn quiet<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<QuietHours>, D::Error> {
    optional(deserializer)
}

/// A text that stands for something; an empty one for nothing.
fn optional<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = (!text.is_empty()).then(|| text.parse()).transpose();
    read.map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
}

fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WatchKind>, D::Error> {
    let known = || WatchKind::ALL.map(WatchKind::label).join(", ");
    let labels = Vec::<String>::deserialize(deserializer)?;
    let kind = |label: &String| {
        let unknown = || serde::de::Error::custom(format!("`{label}` is no kind of alarm: {}", known()));
        WatchKind::from_label(label).ok_or_else(unknown)
    };
    labels.iter().map(kind).collect()
}

/// The tables `[[watch]]`, each checked.
pub(super) fn watches<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WatchRule>, D::Error> {
    let rules = Vec::<WatchRule>::deserialize(deserializer)?;
    if rules.len() > RULES_MAX {
        return Err(serde::de::Error::custom(format!("there are at most {RULES_MAX} watches")));
    }
    let checked = rules.into_iter().map(WatchRule::checked).collect::<Result<_, _>>();
    checked.map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_address_has_scheme_host_and_port() {
        let parts = |text: &str| {
            let url: NotifyUrl = text.parse().unwrap();
            (url.is_https(), url.host().to_owned(), url.port(), url.path().to_owned())
        };
        assert_eq!(parts("https://ntfy.sh/a?b=c"), (true, "ntfy.sh".into(), 443, "/a?b=c".into()));
        assert_eq!(parts("http://[::1]:8080"), (false, "::1".into(), 8080, "/".into()));
        for text in
            ["ntfy.sh/a", "ftp://x/", "https://", "http://user:secret@host/", "http://a b/", "http://x/\n"]
        {
            assert_eq!(text.parse::<NotifyUrl>(), Err(NotifyUrlError), "{text}");
        }
        let url: NotifyUrl = "https://ntfy.sh/secret".parse().unwrap();
        assert!(!format!("{url:?}").contains("secret"));
    }

    #[test]
    fn settings_read_and_mistakes_are_named() {
        let text = "name = \"a\"\n[notify]\nurl = \"http://x/t\"\nformat = \"json\"\nquiet = \"22:00-07:00\"\nurgent = [\"disk\"]\n\n[[watch]]\npeer = \"hut\"\ndisk_above = 90\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.notify.channels(), [NotifyChannel::Url]);
        assert_eq!((config.notify.format, config.notify.urgent), (NotifyFormat::Json, vec![WatchKind::Disk]));
        assert_eq!(config.watches[0].kinds(), [WatchKind::Disk]);
        for (line, word) in [
            ("[notify]\nurl = \"ntfy.sh\"", "https://"),
            ("[notify]\nquiet = \"22-7\"", "22:00-07:00"),
            ("[notify]\nurgent = [\"fire\"]", "app_stopped"),
            ("[notify]\ncommand = [\"notify\"]", "absolute"),
            ("[notify]\nformat = \"xml\"", "xml"),
            ("[[watch]]\npeer = \"\"", "names a peer"),
            ("[[watch]]\npeer = \"a\"\ndisk_above = 100", "99"),
            ("[[watch]]\npeer = \"a\"\nfire = true", "fire"),
        ] {
            let (_, why) = Config::parse(&format!("name = \"a\"\n{line}\n")).expect_err(line);
            assert!(why.contains(word), "{line}: {why}");
        }
    }
}
