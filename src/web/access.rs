//! What a request over TCP may see and do: by its `Host`, its `Origin`, and the token that it shows.
//!
//! A page in a browser elsewhere can make that browser send requests here. It cannot choose their `Host` freely (a name of its own is
//! refused, which ends DNS rebinding), it does not have the cookie (`SameSite=Strict`), and it cannot read the mark that every
//! form of the page carries.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, ORIGIN};
use subtle::ConstantTimeEq;

use crate::config::WebSettings;

/// How long a browser keeps the session, seconds: a month.
const SESSION_SECONDS: u64 = 30 * 24 * 60 * 60;

/// What a request may see and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Viewer {
    /// Nothing but the form that takes the token.
    Stranger,
    /// The page and the metrics, read only; no values that only members may see.
    Reader,
    /// May see everything, and make changes.
    Operator,
}

/// Why a request is refused before it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// The request has no `Host`, or several.
    #[error("the request has no Host header")]
    NoHost,
    /// The name is none of this machine's.
    #[error(
        "`{0}` is no name of this node: add it to `hosts` in section [web] of tombolo.toml, or use its address"
    )]
    ForeignHost(String),
    /// The request was made by a page of another origin.
    #[error("a page of `{0}` may not use this node")]
    ForeignOrigin(String),
}

/// The rules of one listener.
#[derive(Clone)]
pub(crate) struct WebAccess {
    token: Option<String>,
    session: String,
    form: String,
    cookie: String,
    hosts: Vec<String>,
    open_to_read: bool,
}

impl WebAccess {
    /// The rules that follow from the settings; `machine` is the name of this machine.
    pub(crate) fn new(settings: &WebSettings, machine: &str, port: u16) -> Self {
        let token = settings.token.text().map(str::to_owned);
        let derive = |context| {
            let key = blake3::derive_key(context, token.as_deref().unwrap_or_default().as_bytes());
            data_encoding::HEXLOWER.encode(&key)
        };
        let mut hosts = settings.hosts.clone();
        if !machine.is_empty() {
            let machine = machine.to_ascii_lowercase();
            hosts.push(format!("{machine}.local"));
            hosts.push(machine);
        }
        WebAccess {
            session: derive("tombolo 1 web session"),
            form: derive("tombolo 1 web form"),
            // Cookies of one machine are shared between its ports, on which several nodes may listen.
            cookie: format!("tombolo-{port}"),
            hosts,
            open_to_read: settings.is_open_to_read(),
            token,
        }
    }

    /// Checks `Host` and `Origin`; `local` is the address of this machine that the connection leads to.
    pub(crate) fn admit(&self, headers: &HeaderMap, local: IpAddr) -> Result<(), AccessError> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(AccessError::NoHost) };
        let host = String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase();
        if !self.is_own(name_of(&host), local) {
            return Err(AccessError::ForeignHost(host));
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
        match origin == format!("http://{host}") || origin == format!("https://{host}") {
            true => Ok(()),
            false => Err(AccessError::ForeignOrigin(origin)),
        }
    }

    fn is_own(&self, name: &str, local: IpAddr) -> bool {
        let address: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_here = address.is_some_and(|address| address.to_canonical() == local.to_canonical());
        let is_loopback = name == "localhost" && local.to_canonical().is_loopback();
        is_here || is_loopback || self.hosts.iter().any(|host| host == name)
    }

    /// Whether there is a token at all: without one nothing can be changed over TCP.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// What a request may see and do, by its bearer token or its session.
    pub(crate) fn viewer(&self, headers: &HeaderMap) -> Viewer {
        match (self.has_bearer(headers) || self.has_session(headers), self.open_to_read) {
            (true, _) => Viewer::Operator,
            (false, true) => Viewer::Reader,
            (false, false) => Viewer::Stranger,
        }
    }

    /// Whether a program shows the token as `Authorization: Bearer`.
    pub(crate) fn has_bearer(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' '));
        shown.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && self.is_token(token.trim())
        })
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        self.has_token() && pairs.any(|(name, value)| name == self.cookie && is_equal(value, &self.session))
    }

    /// Whether a text is the token.
    pub(crate) fn is_token(&self, text: &str) -> bool {
        self.token.as_deref().is_some_and(|token| is_equal(text, token))
    }

    /// The mark that a form of the page carries, by which it is known as one.
    pub(crate) fn form_mark(&self) -> &str {
        &self.form
    }

    /// Whether a form carries the mark.
    pub(crate) fn is_form_mark(&self, text: &str) -> bool {
        self.has_token() && is_equal(text, &self.form)
    }

    /// The cookie that opens a session, or ends it.
    pub(crate) fn set_cookie(&self, is_open: bool) -> String {
        let (value, seconds) = if is_open { (self.session.as_str(), SESSION_SECONDS) } else { ("", 0) };
        format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict", self.cookie)
    }
}

/// The name in `name:port`, `[address]:port` or a name alone.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether two secrets are equal, in a time that does not show where they differ.
fn is_equal(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|text| blake3::hash(text.as_bytes()));
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TOKEN: &str = "0123456789abcdef";

    fn access(section: &str) -> WebAccess {
        let config = Config::parse(&format!("name = \"a\"\n[web]\n{section}\n")).unwrap();
        WebAccess::new(&config.web, "Hut", 8663)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_foreign_host_or_origin_is_refused() {
        let rules = access("hosts = [\"Hut.Example\"]");
        let (lan, loopback) = ("192.0.2.4".parse().unwrap(), "::1".parse().unwrap());
        let admit = |pairs: &[(&'static str, &str)], local| rules.admit(&headers(pairs), local).is_ok();
        for host in ["192.0.2.4:8663", "hut", "HUT.local:8663", "hut.example:1"] {
            assert!(admit(&[("host", host)], lan), "{host}");
        }
        for host in ["localhost:8663", "[::1]:8663", "[::1]"] {
            assert!(admit(&[("host", host)], loopback), "{host}");
        }
        for host in ["localhost", "evil.example", "192.0.2.5", "hut.evil.example", "", "127.0.0.1"] {
            assert!(!admit(&[("host", host)], lan), "{host}");
        }
        assert!(!admit(&[], lan) && !admit(&[("host", "hut"), ("host", "hut")], lan));
        assert!(admit(&[("host", "hut:8663"), ("origin", "http://hut:8663")], lan));
        for origin in ["http://evil.example", "null", "http://hut", "http://hut:8664"] {
            assert!(!admit(&[("host", "hut:8663"), ("origin", origin)], lan), "{origin}");
        }
    }

    #[test]
    fn the_token_opens_everything_and_its_absence_nothing() {
        let rules = access(&format!("listen = \"127.0.0.1:8663\"\ntoken = \"{TOKEN}\""));
        let viewer = |pairs: &[(&'static str, &str)]| rules.viewer(&headers(pairs));
        assert_eq!(viewer(&[]), Viewer::Reader);
        assert_eq!(viewer(&[("authorization", &format!("Bearer {TOKEN}"))]), Viewer::Operator);
        assert_eq!(viewer(&[("authorization", "Bearer 0123456789abcdee")]), Viewer::Reader);
        let cookie = rules.set_cookie(true);
        assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
        let session = cookie.split(';').next().unwrap();
        assert_eq!(viewer(&[("cookie", &format!("a=b; {session}"))]), Viewer::Operator);
        assert_eq!(viewer(&[("cookie", "tombolo-8663=")]), Viewer::Reader);
        assert!(rules.is_form_mark(rules.form_mark()) && !rules.is_form_mark(""));

        let closed = access(&format!("listen = \"0.0.0.0:8663\"\ntoken = \"{TOKEN}\""));
        assert_eq!(closed.viewer(&headers(&[])), Viewer::Stranger);
        let none = access("listen = \"127.0.0.1:8663\"");
        let session = none.set_cookie(true);
        let session = session.split(';').next().unwrap();
        assert_eq!(none.viewer(&headers(&[("cookie", session)])), Viewer::Reader);
        assert_eq!(none.viewer(&headers(&[("authorization", "Bearer ")])), Viewer::Reader);
        assert!(!none.is_form_mark(none.form_mark()));
    }
}
