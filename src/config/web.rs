//! Section `[web]`: where the page, the metrics and the interface over TCP are served, and to which programs.

use std::net::SocketAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Password;

/// Characters of a token at least: with fewer it could be guessed over the network.
pub(super) const TOKEN_CHARS_MIN: usize = 16;
/// Characters of a token at most.
pub(super) const TOKEN_CHARS_MAX: usize = 256;
/// Further names of this machine.
pub(super) const HOSTS_MAX: usize = 16;

/// Section `[web]`: the page for browsers, `/metrics`, and `/v1` over TCP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "WebSection")]
pub struct WebSettings {
    /// The TCP address to listen on; none: nothing is served over TCP.
    pub listen: Option<SocketAddr>,
    /// What a browser or a program has to show for changes, and on other addresses than loopback for everything.
    pub token: Password,
    /// Names under which this machine is reached, beside its address and its own name.
    pub hosts: Vec<String>,
    /// Whether the page and the metrics are shown without the token; left out, on a loopback address only.
    pub read_without_token: Option<bool>,
}

impl WebSettings {
    /// Whether the page and the metrics are shown without the token.
    pub fn is_open_to_read(&self) -> bool {
        let is_loopback = self.listen.is_some_and(|address| address.ip().is_loopback());
        self.read_without_token.unwrap_or(is_loopback)
    }
}

/// The section as it is written; what does not go together is found once it is whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct WebSection {
    #[serde(deserialize_with = "address")]
    listen: Option<SocketAddr>,
    #[serde(deserialize_with = "token")]
    token: Password,
    #[serde(deserialize_with = "hosts")]
    hosts: Vec<String>,
    read_without_token: Option<bool>,
}

impl TryFrom<WebSection> for WebSettings {
    type Error = String;

    fn try_from(section: WebSection) -> Result<Self, String> {
        let WebSection { listen, token, hosts, read_without_token } = section;
        match listen {
            Some(address) if !address.ip().is_loopback() && token.text().is_none() => Err(format!(
                "`listen = \"{address}\"` is open to the network, so it needs a `token`: `openssl rand -hex 16` prints one"
            )),
            _ => Ok(WebSettings { listen, token, hosts, read_without_token }),
        }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        D::Error::custom(format!(
            "`{text}` is no address with a port, like \"127.0.0.1:8663\" or \"0.0.0.0:8663\""
        ))
    })
}

fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Password, D::Error> {
    let token = Password::deserialize(deserializer)?;
    let Some(text) = token.text() else { return Ok(token) };
    let length = text.chars().count();
    if !(TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&length)
        || !text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(D::Error::custom(format!(
            "`token` has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} letters, digits or signs without spaces: `openssl rand -hex 16` prints one"
        )));
    }
    Ok(token)
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let is_name = |name: &String| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        !name.is_empty() && name.len() <= 253 && name.bytes().all(is_plain)
    };
    match names.iter().find(|name| !is_name(name)) {
        _ if names.len() > HOSTS_MAX => {
            Err(D::Error::custom(format!("`hosts` has at most {HOSTS_MAX} names")))
        }
        Some(name) => Err(D::Error::custom(format!("`{name}` is no name of a machine, like \"hut.lan\""))),
        None => Ok(names.iter().map(|name| name.to_ascii_lowercase()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn read(section: &str) -> Result<Config, (usize, String)> {
        Config::parse(&format!("name = \"a\"\n[web]\n{section}\n"))
    }

    #[test]
    fn a_mistake_is_named() {
        for (section, word) in [
            ("listen = \"8663\"", "no address"),
            ("listen = \"0.0.0.0:8663\"", "needs a `token`"),
            ("listen = \"192.0.2.4:8663\"\ntoken = \"\"", "needs a `token`"),
            ("token = \"short\"", "16 to 256"),
            ("token = \"0123456789abcdef 0\"", "without spaces"),
            ("hosts = [\"hut/lan\"]", "no name"),
            ("port = 1", "port"),
        ] {
            let (line, why) = read(section).expect_err(section);
            assert!(line >= 2 && why.contains(word), "{section}: {line}, {why}");
        }
    }

    #[test]
    fn what_is_shown_without_the_token_follows_the_address() {
        let open = |section: &str| read(section).unwrap().web.is_open_to_read();
        let token = "token = \"0123456789abcdef\"\n";
        assert!(open("listen = \"127.0.0.1:8663\""));
        assert!(open(&format!("{token}listen = \"[::1]:8663\"")));
        assert!(!open(&format!("{token}listen = \"0.0.0.0:8663\"")));
        assert!(open(&format!("{token}listen = \"0.0.0.0:8663\"\nread_without_token = true")));
        assert!(!open(&format!("{token}listen = \"127.0.0.1:8663\"\nread_without_token = false")));
        let shown = format!("{:?}", read(token).unwrap().web);
        assert!(!shown.contains("0123"), "{shown}");
    }
}
