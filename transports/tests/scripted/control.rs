//! A control port: it answers as tor 0.4.9 does, or with the answer that a test has put before a command.

use super::door::{Door, Frost, Place, Stream};
use super::network::{Keeper, Network, Service, TorId};
use super::onion;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE, HEXUPPER};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What tor reads of a line at most; the connection ends beyond.
const LINE_BYTES_MAX: usize = 1024 * 1024;
const SERVER_NONCE: [u8; 32] = [0xA7; 32];

/// How this tor wants to be logged in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// Anything that sends `AUTHENTICATE` is let in.
    Open,
    /// The cookie file, in both ways: plain, and proved without being sent.
    Cookie(PathBuf),
    /// The cookie file, and only the plain way, as before tor 0.2.3.
    PlainCookie(PathBuf),
    /// The cookie file, and only the proved way.
    SafeCookie(PathBuf),
    Password(String),
    /// A cookie or a password, as Debian's tor has it where an operator set a password.
    CookieOrPassword(PathBuf, String),
}

impl Login {
    /// A login by cookie, whose file is written here.
    pub(crate) fn cookie(file: PathBuf) -> Self {
        std::fs::write(&file, [0xC0; 32]).unwrap();
        Login::Cookie(file)
    }

    fn cookie_file(&self) -> Option<&PathBuf> {
        match self {
            Login::Open | Login::Password(_) => None,
            Login::Cookie(file)
            | Login::PlainCookie(file)
            | Login::SafeCookie(file)
            | Login::CookieOrPassword(file, _) => Some(file),
        }
    }

    fn password(&self) -> Option<&str> {
        match self {
            Login::Password(password) | Login::CookieOrPassword(_, password) => Some(password),
            Login::Open | Login::Cookie(_) | Login::PlainCookie(_) | Login::SafeCookie(_) => None,
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Login::Open => "NULL",
            Login::Cookie(_) => "COOKIE,SAFECOOKIE",
            Login::PlainCookie(_) => "COOKIE",
            Login::SafeCookie(_) => "SAFECOOKIE",
            Login::Password(_) => "HASHEDPASSWORD",
            Login::CookieOrPassword(..) => "COOKIE,SAFECOOKIE,HASHEDPASSWORD",
        }
    }
}

/// What a command is answered with in place of tor's own answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes. The command has no effect.
    Bytes(Vec<u8>),
    /// These bytes, then the end of the connection.
    Last(Vec<u8>),
    /// A line of so many bytes that has no end.
    Endless(usize),
    /// These bytes one by one, with this pause before each.
    Slowly(Vec<u8>, Duration),
    /// None at all; the connection stays.
    Silence,
    /// The answer and the effect of tor itself, after this time.
    Late(Duration),
    /// The answer and the effect of tor itself, and then these bytes, for an event in the middle of an exchange.
    Before(Vec<u8>),
}

impl Answer {
    /// These lines, each with its end.
    pub(crate) fn lines(lines: &[&str]) -> Self {
        Answer::Bytes(joined(lines))
    }

    /// The same, then the connection ends.
    pub(crate) fn last(lines: &[&str]) -> Self {
        Answer::Last(joined(lines))
    }

    /// The end of the connection, without a byte.
    pub(crate) fn eof() -> Self {
        Answer::Last(vec![])
    }

    /// An answer to `AUTHCHALLENGE` by a program that has not read the cookie.
    pub(crate) fn wrong_server_hash() -> Self {
        let line =
            format!("250 AUTHCHALLENGE SERVERHASH={} SERVERNONCE={}", "00".repeat(32), "11".repeat(32));
        Answer::lines(&[&line])
    }
}

fn joined(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}

#[derive(Debug)]
struct Rule {
    prefix: String,
    answer: Answer,
    once: bool,
}

#[derive(Debug)]
struct Inner {
    network: Network,
    tor: TorId,
    frost: Frost,
    login: Mutex<Login>,
    rules: Mutex<Vec<Rule>>,
    greeting: Mutex<Vec<u8>>,
    commands: Mutex<Vec<String>>,
    infos: Mutex<BTreeMap<String, String>>,
    /// Connections that are logged in.
    listeners: Mutex<BTreeMap<u32, Stream>>,
    connections: Mutex<u32>,
    keys_made: Mutex<u64>,
}

/// A control port on the loopback, or on a unix socket.
pub(crate) struct ScriptedControl {
    door: Door,
    inner: Arc<Inner>,
}

impl ScriptedControl {
    /// A control port of a tor that is alone in its network.
    pub(crate) fn start(login: Login, at: Place) -> Self {
        let network = Network::new();
        let tor = network.tor();
        Self::start_for(&network, tor, login, at)
    }

    pub(super) fn start_for(network: &Network, tor: TorId, login: Login, at: Place) -> Self {
        let infos = [
            ("version", "0.4.9.11"),
            ("status/bootstrap-phase", "NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\""),
            ("status/circuit-established", "1"),
            ("network-liveness", "up"),
            ("net/listeners/socks", ""),
        ];
        let infos = infos.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let inner = Arc::new(Inner {
            network: network.clone(),
            tor,
            frost: network.frost(tor),
            login: Mutex::new(login),
            rules: Mutex::default(),
            greeting: Mutex::default(),
            commands: Mutex::default(),
            infos: Mutex::new(infos.into()),
            listeners: Mutex::default(),
            connections: Mutex::default(),
            keys_made: Mutex::default(),
        });
        let serving = inner.clone();
        let door = Door::open(at, inner.frost.clone(), move |stream| serving.serve(stream));
        Self { door, inner }
    }

    pub(crate) fn at(&self) -> &Place {
        self.door.at()
    }

    /// Answers the next command that starts with `prefix` so; several of these are used up in order.
    pub(crate) fn once(&self, prefix: &str, answer: Answer) {
        self.inner.rules.lock().unwrap().push(Rule { prefix: prefix.to_owned(), answer, once: true });
    }

    /// Answers each command that starts with `prefix` so.
    pub(crate) fn always(&self, prefix: &str, answer: Answer) {
        self.inner.rules.lock().unwrap().push(Rule { prefix: prefix.to_owned(), answer, once: false });
    }

    /// Goes by a script: the first command that starts with the first prefix is answered so, and on.
    pub(crate) fn script(&self, lines: &[(&str, &str)]) {
        for (prefix, answer) in lines {
            self.once(prefix, Answer::lines(&answer.split('\n').collect::<Vec<_>>()));
        }
    }

    /// Answers as tor does again.
    pub(crate) fn clear(&self) {
        self.inner.rules.lock().unwrap().clear();
    }

    /// How many answers of `once` and `always` are left.
    pub(crate) fn rules_left(&self) -> usize {
        self.inner.rules.lock().unwrap().len()
    }

    /// Sends this to each connection before it was asked anything.
    pub(crate) fn greet(&self, bytes: &[u8]) {
        *self.inner.greeting.lock().unwrap() = bytes.to_vec();
    }

    /// Wants another login from now on.
    pub(crate) fn set_login(&self, login: Login) {
        *self.inner.login.lock().unwrap() = login;
    }

    /// What `GETINFO key` answers from now on.
    pub(crate) fn info(&self, key: &str, value: &str) {
        self.inner.infos.lock().unwrap().insert(key.to_owned(), value.to_owned());
    }

    /// How far this tor has come in reaching its network.
    pub(crate) fn bootstrap(&self, percent: u8) {
        let (tag, summary) = if percent < 100 {
            ("loading_descriptors", "Loading relay descriptors")
        } else {
            ("done", "Done")
        };
        let phase = format!("BOOTSTRAP PROGRESS={percent} TAG={tag} SUMMARY=\"{summary}\"");
        self.info("status/bootstrap-phase", &format!("NOTICE {phase}"));
        self.event(&format!("650 STATUS_CLIENT NOTICE {phase}"));
    }

    /// Sends an event to all that are logged in, asked for or not.
    pub(crate) fn event(&self, line: &str) {
        for mut stream in self.inner.listeners.lock().unwrap().values() {
            let _ = stream.write_all(&joined(&[line]));
        }
    }

    /// The lines that came, with secrets, in order over all connections.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.inner.commands.lock().unwrap().clone()
    }

    /// How often a command that starts with `prefix` came.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.commands().iter().filter(|command| command.starts_with(prefix)).count()
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> u32 {
        *self.inner.connections.lock().unwrap()
    }

    /// Cuts what is open; services end with their connections.
    pub(crate) fn cut(&self) {
        self.door.cut();
    }

    /// Closes the port, as a tor does that ends: the services that it kept are gone as well.
    pub(crate) fn close(&mut self) {
        self.door.close();
        let tor = self.inner.tor;
        self.inner.network.end_all(|keeper| of(keeper) == Some(tor));
        self.inner.network.end_streams(tor);
        self.inner.network.forget_client_keys(tor);
    }

    /// Opens it at the same place.
    pub(crate) fn reopen(&mut self) {
        self.door.reopen();
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.inner.frost.set(frozen);
    }
}

impl Drop for ScriptedControl {
    fn drop(&mut self) {
        self.freeze(false);
        self.close();
    }
}

fn of(keeper: Keeper) -> Option<TorId> {
    match keeper {
        Keeper::Connection(tor, _) | Keeper::Tor(tor) => Some(tor),
        Keeper::Gone => None,
    }
}

/// One connection.
struct Session {
    number: u32,
    keeper: Keeper,
    logged_in: bool,
    described: bool,
    /// The client's nonce, once it has asked for a challenge.
    challenged: Option<Vec<u8>>,
}

/// An answer, and whether the connection stays.
type Outcome = (Vec<String>, bool);

fn stays(line: impl Into<String>) -> Outcome {
    (vec![line.into()], true)
}

fn ends(line: impl Into<String>) -> Outcome {
    (vec![line.into()], false)
}

impl Inner {
    fn serve(&self, stream: Stream) {
        let number = {
            let mut connections = self.connections.lock().unwrap();
            *connections += 1;
            *connections
        };
        let keeper = Keeper::Connection(self.tor, number);
        let mut session = Session { number, keeper, logged_in: false, described: false, challenged: None };
        let mut out = &stream;
        let greeting = self.greeting.lock().unwrap().clone();
        let _ = out.write_all(&greeting);
        let mut lines = BufReader::new(&stream);
        while let Some(line) = read_line(&mut lines) {
            self.frost.wait();
            self.commands.lock().unwrap().push(line.clone());
            if !self.answer(&mut session, &line, &stream) {
                break;
            }
        }
        self.listeners.lock().unwrap().remove(&number);
        self.network.end_all(|kept| kept == keeper);
    }

    /// Returns whether the connection stays.
    fn answer(&self, session: &mut Session, line: &str, stream: &Stream) -> bool {
        let mut out = stream;
        let mut afterwards = vec![];
        match self.rule(line) {
            None => {}
            Some(Answer::Bytes(bytes)) => return out.write_all(&bytes).is_ok(),
            Some(Answer::Last(bytes)) => {
                let _ = out.write_all(&bytes);
                return false;
            }
            Some(Answer::Endless(length)) => {
                let block = [b'A'; 4096];
                let mut left = length;
                while left > 0 && out.write_all(&block[..left.min(block.len())]).is_ok() {
                    left -= left.min(block.len());
                }
                return true;
            }
            Some(Answer::Slowly(bytes, pause)) => {
                return bytes.iter().all(|byte| {
                    std::thread::sleep(pause);
                    out.write_all(&[*byte]).is_ok()
                });
            }
            Some(Answer::Silence) => return true,
            Some(Answer::Late(delay)) => std::thread::sleep(delay),
            Some(Answer::Before(bytes)) => afterwards = bytes,
        }
        let (lines, stays) = self.obey(session, line);
        if session.logged_in {
            self.listeners.lock().unwrap().entry(session.number).or_insert_with(|| stream.again());
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        out.write_all(&[joined(&lines), afterwards].concat()).is_ok() && stays
    }

    fn rule(&self, line: &str) -> Option<Answer> {
        let mut rules = self.rules.lock().unwrap();
        let at = rules.iter().position(|rule| line.starts_with(&rule.prefix))?;
        Some(if rules[at].once { rules.remove(at).answer } else { rules[at].answer.clone() })
    }

    fn obey(&self, session: &mut Session, line: &str) -> Outcome {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let word = word.to_ascii_uppercase();
        match (word.as_str(), session.logged_in) {
            ("QUIT", _) => ends("250 closing connection"),
            ("AUTHENTICATE", _) => self.authenticate(session, rest),
            ("AUTHCHALLENGE", false) => self.challenge(session, rest),
            ("AUTHCHALLENGE", true) => (vec![], false),
            ("PROTOCOLINFO", logged_in) if logged_in || !session.described => {
                session.described = true;
                (self.describe(), true)
            }
            (_, false) => ends("514 Authentication required."),
            ("GETINFO", true) => self.getinfo(session, rest),
            ("SETEVENTS", true) => {
                const EVENTS: [&str; 6] =
                    ["HS_DESC", "STATUS_CLIENT", "STATUS_GENERAL", "NETWORK_LIVENESS", "CIRC", "STREAM"];
                match rest.split_whitespace().find(|event| !EVENTS.contains(event)) {
                    Some(event) => stays(format!("552 Unrecognized event \"{event}\"")),
                    None => stays("250 OK"),
                }
            }
            ("ADD_ONION", true) => self.add_onion(session, rest),
            ("DEL_ONION", true) => self.delete_onion(session, rest),
            ("ONION_CLIENT_AUTH_ADD", true) => self.add_client_key(rest),
            ("ONION_CLIENT_AUTH_REMOVE", true) => {
                let name = rest.trim();
                if !onion::is_name(name) {
                    stays(format!("512 Invalid v3 address \"{name}\""))
                } else if self.network.remove_client_key(self.tor, name) {
                    stays("250 OK")
                } else {
                    stays(format!("251 No credentials for \"{name}\""))
                }
            }
            ("SIGNAL" | "DROPGUARDS" | "SETCONF" | "TAKEOWNERSHIP", true) => stays("250 OK"),
            (_, true) => stays(format!("510 Unrecognized command \"{word}\"")),
        }
    }

    fn describe(&self) -> Vec<String> {
        let login = self.login.lock().unwrap();
        let file = login.cookie_file().map_or(String::new(), |file| {
            let path = file.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
            format!(" COOKIEFILE=\"{path}\"")
        });
        let auth = format!("250-AUTH METHODS={}{file}", login.methods());
        let version = "250-VERSION Tor=\"0.4.9.11\"".to_owned();
        vec!["250-PROTOCOLINFO 1".to_owned(), auth, version, "250 OK".to_owned()]
    }

    fn challenge(&self, session: &mut Session, rest: &str) -> Outcome {
        let login = self.login.lock().unwrap().clone();
        let Some(nonce) = rest.strip_prefix("SAFECOOKIE ") else {
            return ends("513 AUTHCHALLENGE only supports SAFECOOKIE authentication");
        };
        let Ok(nonce) = HEXLOWER_PERMISSIVE.decode(nonce.trim().as_bytes()) else {
            return ends("513 Invalid base16 client nonce");
        };
        let Some(cookie) = login.cookie_file().map(|file| std::fs::read(file).unwrap()) else {
            return ends("515 Cookie authentication is disabled");
        };
        let proof = onion::server_hash(&cookie, &nonce, &SERVER_NONCE);
        session.challenged = Some(nonce);
        stays(format!("250 AUTHCHALLENGE SERVERHASH={proof} SERVERNONCE={}", HEXUPPER.encode(&SERVER_NONCE)))
    }

    fn authenticate(&self, session: &mut Session, rest: &str) -> Outcome {
        let login = self.login.lock().unwrap().clone();
        let secret = match unquoted(rest.trim()) {
            Some(text) => text.into_bytes(),
            None => match HEXLOWER_PERMISSIVE.decode(rest.trim().as_bytes()) {
                Ok(bytes) => bytes,
                Err(_) => {
                    return ends(
                        "551 Invalid hexadecimal encoding.  Maybe you tried a plain text password?  If so, the standard requires that you put it in double quotes.",
                    );
                }
            },
        };
        let cookie = login.cookie_file().map(|file| std::fs::read(file).unwrap());
        let refused = match (&login, session.challenged.take(), &cookie) {
            (Login::Open, _, _) => None,
            (_, Some(nonce), Some(cookie)) => {
                let proof = HEXUPPER.decode(onion::client_hash(cookie, &nonce, &SERVER_NONCE).as_bytes());
                (proof.unwrap() != secret).then_some("Safe cookie response did not match expected value.")
            }
            (login, _, _) if login.password().is_some_and(|password| password.as_bytes() == secret) => None,
            (Login::SafeCookie(_), None, _) => Some("Wrong length on authentication cookie."),
            (Login::Password(_), _, _) => Some(
                "Password did not match HashedControlPassword *value* from configuration. Maybe you tried a plain text password? If so, the standard requires that you put it in double quotes.",
            ),
            (_, None, Some(cookie)) if secret.len() != cookie.len() => {
                Some("Wrong length on authentication cookie.")
            }
            (_, _, Some(cookie)) => {
                (cookie != &secret).then_some("Authentication cookie did not match expected value.")
            }
            (_, _, None) => Some("Wrong length on authentication cookie."),
        };
        match refused {
            None => {
                session.logged_in = true;
                stays("250 OK")
            }
            Some(reason) => ends(format!("515 Authentication failed: {reason}")),
        }
    }

    fn getinfo(&self, session: &Session, rest: &str) -> Outcome {
        let infos = self.infos.lock().unwrap();
        let mut lines = vec![];
        for key in rest.split_whitespace() {
            let kept = match key {
                "onions/current" => Some(session.keeper),
                "onions/detached" => Some(Keeper::Tor(self.tor)),
                _ => None,
            };
            if let Some(kept) = kept {
                let services = self.network.services().into_iter();
                let names: Vec<String> =
                    services.filter(|(_, service)| service.keeper == kept).map(|(name, _)| name).collect();
                lines.extend(block(key, &names));
            } else if let Some(value) = infos.get(key) {
                lines.push(format!("250-{key}={value}"));
            } else {
                return stays(format!("552 Unrecognized key \"{key}\""));
            }
        }
        lines.push("250 OK".to_owned());
        (lines, true)
    }

    fn add_onion(&self, session: &Session, rest: &str) -> Outcome {
        let mut words = rest.split_whitespace();
        let Some(key) = words.next() else {
            return stays("512 Bad arguments to ADD_ONION: Need at least 1 argument(s)");
        };
        let (mut flags, mut ports, mut clients) = (vec![], BTreeMap::new(), vec![]);
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name.to_ascii_lowercase().as_str() {
                "port" => match port_and_target(value) {
                    Some((port, target)) => drop(ports.insert(port, target)),
                    None => return stays("512 Invalid VIRTPORT/TARGET"),
                },
                "flags" => {
                    const FLAGS: [&str; 5] =
                        ["DiscardPK", "Detach", "V3Auth", "NonAnonymous", "MaxStreamsCloseCircuit"];
                    flags = value.split(',').map(str::to_owned).collect();
                    if let Some(flag) = flags.iter().find(|flag| !FLAGS.contains(&flag.as_str())) {
                        return stays(format!("512 Invalid 'Flags' argument: \"{flag}\""));
                    }
                }
                "clientauthv3" => match onion::client_key(value) {
                    Some(client) => clients.push((client, value)),
                    None => return stays("512 Cannot decode v3 client auth key"),
                },
                "maxstreams" if value.parse::<u16>().is_ok() => {}
                "maxstreams" => return stays("512 Invalid 'MaxStreams' argument"),
                _ => {
                    return stays(format!(
                        "512 Bad arguments to ADD_ONION: Unrecognized keyword argument \"{name}\""
                    ));
                }
            }
        }
        let has = |flag: &str| flags.iter().any(|there| there == flag);
        match (ports.is_empty(), has("V3Auth"), clients.is_empty()) {
            (true, _, _) => return stays("512 Missing 'Port' argument"),
            (_, true, true) => return stays("512 No auth clients specified"),
            (_, false, false) => return stays("512 No auth type specified"),
            _ => {}
        }
        let (secret, fresh) = match key.split_once(':') {
            Some(("NEW" | "new", kind))
                if ["BEST", "ED25519-V3"].contains(&kind.to_ascii_uppercase().as_str()) =>
            {
                (self.new_key(), true)
            }
            Some(("ED25519-V3", blob)) => (blob.to_owned(), false),
            _ => return stays("513 Invalid key type"),
        };
        let Some(public) = onion::public_of_expanded(&secret) else {
            return stays("512 Failed to decode ED25519-V3 key");
        };
        let name = onion::name(&public);
        let keeper = if has("Detach") { Keeper::Tor(self.tor) } else { session.keeper };
        let keys = has("V3Auth").then(|| clients.iter().map(|(client, _)| *client).collect());
        let mut lines = vec![format!("250-ServiceID={name}")];
        if fresh && !has("DiscardPK") {
            lines.push(format!("250-PrivateKey=ED25519-V3:{secret}"));
        }
        lines.extend(clients.iter().map(|(_, text)| format!("250-ClientAuthV3={text}")));
        lines.push("250 OK".to_owned());
        if !self.network.add(&name, Service { ports, clients: keys, keeper, flags }) {
            return stays("550 Onion address collision");
        }
        (lines, true)
    }

    fn new_key(&self) -> String {
        let mut made = self.keys_made.lock().unwrap();
        *made += 1;
        let seed = (u64::from(self.tor.0) << 32) | *made;
        onion::expanded(seed)
    }

    fn delete_onion(&self, session: &Session, rest: &str) -> Outcome {
        let name = rest.trim();
        let mine = |keeper| keeper == session.keeper || keeper == Keeper::Tor(self.tor);
        if !onion::is_name(name) {
            stays("512 Malformed Onion Service id")
        } else if self.network.end(name, mine) {
            stays("250 OK")
        } else {
            stays("552 Unknown Onion Service id")
        }
    }

    fn add_client_key(&self, rest: &str) -> Outcome {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [name, key, ..] = words.as_slice() else {
            return stays("512 Incomplete ONION_CLIENT_AUTH_ADD command");
        };
        let (kind, blob) = key.split_once(':').unwrap_or((key, ""));
        if !onion::is_name(name) {
            return stays(format!("512 Invalid v3 address \"{name}\""));
        }
        if !kind.eq_ignore_ascii_case("x25519") {
            return stays(format!("552 Unrecognized key type \"{kind}\""));
        }
        match onion::client_public(blob) {
            None => stays("512 Failed to decode x25519 private key"),
            Some(public) if self.network.set_client_key(self.tor, name, public) => {
                stays("251 Client for onion existed and replaced")
            }
            Some(_) => stays("250 OK"),
        }
    }
}

/// A value of several lines, as tor writes it: `250+` and a dot where there is more than one.
fn block(key: &str, values: &[String]) -> Vec<String> {
    match values {
        [] => vec![format!("250-{key}=")],
        [one] => vec![format!("250-{key}={one}")],
        more => [&[format!("250+{key}=")], more, &[".".to_owned()]].concat(),
    }
}

fn port_and_target(value: &str) -> Option<(u16, Place)> {
    let (port, target) = match value.split_once(',') {
        Some((port, target)) => (port.parse().ok()?, target.parse().ok()?),
        None => (value.parse().ok()?, value.parse().ok()?),
    };
    (port != 0).then_some((port, target))
}

/// The text within double quotes.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut plain = String::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        plain.push(if char == '\\' { chars.next()? } else { char });
    }
    Some(plain)
}

/// The next line without its end; `None` at the end, or where a line is longer than tor reads.
fn read_line(from: &mut impl BufRead) -> Option<String> {
    let mut line = vec![];
    loop {
        let bytes = from.fill_buf().ok().filter(|bytes| !bytes.is_empty())?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        line.extend_from_slice(&bytes[..taken]);
        from.consume(taken);
        if end.is_some() {
            let text = String::from_utf8_lossy(&line).into_owned();
            return Some(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
    }
}

/// A private key for `ONION_CLIENT_AUTH_ADD` and the public one for `ClientAuthV3=`, of a number.
pub(crate) fn client_pair(number: u8) -> (String, String) {
    let private = BASE64.encode(&[number | 0x40; 32]);
    let public = data_encoding::BASE32_NOPAD.encode(&onion::client_public(&private).unwrap());
    (private, public)
}
