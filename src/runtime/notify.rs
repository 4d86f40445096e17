//! Hands messages to the operator: to the operator's program, and to an HTTP address.
//!
//! The node decides what goes and when, and has put on disk that it was taken. Here one try is made, and its end reported: that
//! it arrived, that it did not, or that it may have. Text of peers goes into arguments and headers without control characters.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tombolo_transports::tor::{TorFailure, socks};

use super::install::run;
use super::template::filled;
use super::{Handed, NodeClient, Task};
use crate::commands::RunEnd;
use crate::config::{NotifyFormat, NotifySettings, NotifyUrl};
use crate::io::AlarmMessage;
use crate::node::Input;
use crate::system_clock::utc_offset_minutes;
use crate::watches::{DeliveryEnd, NotifyChannel};

/// How often the distance from UTC to local time is read: it changes twice a year.
const OFFSET_EVERY: Duration = Duration::from_secs(60);
/// How long a connection may take, of the time that a message has.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages share no circuit with links to peers.
const TOR_ISOLATION: &str = "notify";
/// Bytes of an answer that are read; the rest is of no interest.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Bytes of an answer's head.
const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Characters of an answer that are shown to a person.
const SHOWN_CHARS_MAX: usize = 200;

/// Hands messages over as long as it is held.
pub(crate) struct Notifier {
    tasks: JoinSet<()>,
}

impl Notifier {
    /// Starts to take messages.
    pub(crate) fn start(
        settings: NotifySettings,
        messages: mpsc::Receiver<Handed>,
        client: NodeClient,
    ) -> Notifier {
        let mut tasks = JoinSet::new();
        if !settings.channels().is_empty() {
            tasks.spawn(follow_offset(client.clone()));
            tasks.spawn(serve(settings, messages, client));
        }
        Notifier { tasks }
    }

    /// Ends what is being handed over; its outcome is unknown at the next start.
    pub(crate) async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Gives the node the distance from UTC to local time: with the first one it begins to take messages.
async fn follow_offset(client: NodeClient) {
    loop {
        let input = Input::UtcOffset { minutes: utc_offset_minutes() };
        if client.send(Task::Input(input)).await.is_err() {
            return;
        }
        tokio::time::sleep(OFFSET_EVERY).await;
    }
}

async fn serve(settings: NotifySettings, mut messages: mpsc::Receiver<Handed>, client: NodeClient) {
    let settings = Arc::new(settings);
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some((key, message)) => {
                    let (settings, client) = (settings.clone(), client.clone());
                    running.spawn(async move {
                        let (end, _) = hand_over(&settings, key.channel, &message).await;
                        let _ = client.send(Task::Input(Input::Notified { key, end })).await;
                    });
                }
                None => break,
            },
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("a message was not handed over to its end: {error}");
                }
            }
        }
    }
}

/// One try on one channel. Returns its end, and what a person may want to see of it.
pub(crate) async fn hand_over(
    settings: &NotifySettings,
    channel: NotifyChannel,
    message: &AlarmMessage,
) -> (DeliveryEnd, String) {
    match (channel, &settings.url) {
        (NotifyChannel::Command, _) => by_command(settings, message).await,
        (NotifyChannel::Url, Some(url)) => by_url(settings, url, message).await,
        (NotifyChannel::Url, None) => {
            let why = "the settings name no address any more".to_owned();
            (DeliveryEnd::Refused { why }, String::new())
        }
    }
}

// ---- the program -----------------------------------------------------------------------------------------

async fn by_command(settings: &NotifySettings, message: &AlarmMessage) -> (DeliveryEnd, String) {
    let plain = [&message.title, &message.body, &message.subject].map(|text| one_line(text));
    let [title, body, subject] = &plain;
    let app = one_line(message.app.as_deref().unwrap_or_default());
    let priority = message.priority.to_string();
    let places = [
        ("{title}", title.as_str()),
        ("{message}", body),
        ("{subject}", subject),
        ("{kind}", message.kind),
        ("{app}", &app),
        ("{id}", &message.id),
        ("{priority}", &priority),
    ];
    let result = run(&filled(&settings.command, &places), settings.timeout).await;
    let output = result.output;
    let failed = |what: &str| match output.is_empty() {
        true => what.to_owned(),
        false => format!("{what}: {}", one_line(&output)),
    };
    let end = match result.end {
        RunEnd::Success => DeliveryEnd::Sent,
        // By convention a program that fails has not done what it was asked.
        RunEnd::Exit(code) => DeliveryEnd::NotYet { why: failed(&format!("exit code {code}")) },
        RunEnd::NotStarted => DeliveryEnd::NotYet { why: failed("the program did not start") },
        RunEnd::Signal(signal) => DeliveryEnd::Unknown { why: failed(&format!("ended by signal {signal}")) },
        RunEnd::TimedOut => DeliveryEnd::Unknown { why: failed("it took too long, and was ended") },
    };
    (end, output)
}

// ---- the address -----------------------------------------------------------------------------------------

/// What failed before the request began: it did not arrive.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{place}: {source}")]
    Connect { place: String, source: io::Error },
    #[error("{place} through tor: {source}")]
    Tor { place: String, source: TorFailure },
    #[error("{place} does not answer within {} s", .within.as_secs())]
    Slow { place: String, within: Duration },
    #[error("`{0}` is no name that TLS can check")]
    Name(String),
    #[error(
        "this machine has no certificates of authorities: install ca-certificates, or name a file in SSL_CERT_FILE"
    )]
    NoRoots,
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    #[error("{place} does not speak HTTP: {source}")]
    Http { place: String, source: hyper::Error },
}

trait NotifyStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> NotifyStream for T {}

async fn by_url(settings: &NotifySettings, url: &NotifyUrl, message: &AlarmMessage) -> (DeliveryEnd, String) {
    let place = format!("{}:{}", url.host(), url.port());
    let connecting = tokio::time::timeout(connect_timeout(settings), connect(settings, url, &place)).await;
    let stream = match connecting
        .unwrap_or(Err(ConnectError::Slow { place: place.clone(), within: connect_timeout(settings) }))
    {
        Ok(stream) => stream,
        Err(error) => return (DeliveryEnd::NotYet { why: error.to_string() }, String::new()),
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_HEAD_BYTES_MAX);
    let (mut sender, connection) = match builder.handshake(TokioIo::new(stream)).await {
        Ok(parts) => parts,
        Err(source) => {
            let why = ConnectError::Http { place, source }.to_string();
            return (DeliveryEnd::NotYet { why }, String::new());
        }
    };
    let mut connecting = JoinSet::new();
    connecting.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a message to the operator: {error}");
        }
    });
    // From here on the message may have arrived, whatever happens.
    let exchange = async {
        let response = sender.send_request(request(settings, url, message)).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        Ok::<_, hyper::Error>((status, body))
    };
    match tokio::time::timeout(settings.timeout, exchange).await {
        Ok(Ok((status, body))) => {
            let shown: String = one_line(&body).chars().take(SHOWN_CHARS_MAX).collect();
            let answer = format!("{status} {shown}").trim_end().to_owned();
            (end_of(status, &place, &answer), answer)
        }
        Ok(Err(error)) => {
            (DeliveryEnd::Unknown { why: format!("{place}: the connection broke: {error}") }, String::new())
        }
        Err(_) => {
            let why = format!("{place} has not answered within {} s", settings.timeout.as_secs());
            (DeliveryEnd::Unknown { why }, String::new())
        }
    }
}

/// What a status means for the message.
fn end_of(status: StatusCode, place: &str, answer: &str) -> DeliveryEnd {
    let why = || format!("{place} answers {answer}");
    match status.as_u16() {
        200..=299 => DeliveryEnd::Sent,
        // It has not taken the message, and may later.
        408 | 425 | 429 | 500..=599 => DeliveryEnd::NotYet { why: why() },
        _ => DeliveryEnd::Refused { why: why() },
    }
}

/// Tor builds circuits first, and has a limit of its own.
fn connect_timeout(settings: &NotifySettings) -> Duration {
    match settings.socks {
        Some(_) => settings.timeout,
        None => CONNECT_TIMEOUT.min(settings.timeout),
    }
}

async fn connect(
    settings: &NotifySettings,
    url: &NotifyUrl,
    place: &str,
) -> Result<Box<dyn NotifyStream>, ConnectError> {
    let failed = |source| ConnectError::Connect { place: place.to_owned(), source };
    let stream: Box<dyn NotifyStream> = match &settings.socks {
        None => Box::new(TcpStream::connect((url.host(), url.port())).await.map_err(failed)?),
        Some(socks) => {
            let through = socks::connect_to(socks, url.host(), url.port(), TOR_ISOLATION).await;
            Box::new(through.map_err(|source| ConnectError::Tor { place: place.to_owned(), source })?)
        }
    };
    if !url.is_https() {
        return Ok(stream);
    }
    let name =
        ServerName::try_from(url.host().to_owned()).map_err(|_| ConnectError::Name(url.host().to_owned()))?;
    let connector = TlsConnector::from(Arc::new(tls().await?));
    Ok(Box::new(connector.connect(name, stream).await.map_err(failed)?))
}

/// TLS that trusts the authorities of this machine.
async fn tls() -> Result<rustls::ClientConfig, ConnectError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = rustls::RootCertStore::empty();
    let certs = loaded.map(|loaded| loaded.certs).unwrap_or_default();
    let (usable, _) = roots.add_parsable_certificates(certs);
    if usable == 0 {
        return Err(ConnectError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(ConnectError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn request(settings: &NotifySettings, url: &NotifyUrl, message: &AlarmMessage) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method("POST")
        .uri(url.path())
        .header("host", url.authority())
        .header("user-agent", concat!("tombolo/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close");
    if let Some(token) = settings.token.text() {
        request = request.header("authorization", format!("Bearer {}", one_line(token)));
    }
    let body = match settings.format {
        NotifyFormat::Ntfy => {
            request = request
                .header("title", header_text(&message.title))
                .header("priority", message.priority.to_string())
                .header("tags", message.tag)
                .header("content-type", "text/plain; charset=utf-8");
            one_line(&message.body).into_bytes()
        }
        NotifyFormat::Json => {
            request = request.header("content-type", "application/json");
            serde_json::to_vec(message).expect("a message has text keys and no failing parts")
        }
    };
    request.body(Full::new(Bytes::from(body))).expect("its headers are one line of visible ASCII each")
}

/// A text as a header carries it: visible ASCII as it is, anything else as an encoded word (RFC 2047), which ntfy reads.
fn header_text(text: &str) -> String {
    let text = one_line(text);
    match text.chars().all(|c| matches!(c, ' '..='~')) && !text.starts_with("=?") {
        true => text,
        false => format!("=?UTF-8?B?{}?=", data_encoding::BASE64.encode(text.as_bytes())),
    }
}

/// A text in one line, without control characters and those that change the direction of writing.
pub(crate) fn one_line(text: &str) -> String {
    let is_shown = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let shown: String = text.chars().map(|c| if is_shown(c) { c } else { ' ' }).collect();
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn message(title: &str) -> AlarmMessage {
        AlarmMessage {
            id: "0123456789abcdef".to_owned(),
            kind: "silent",
            title: title.to_owned(),
            body: format!("{title}: since noon"),
            subject: "hut".to_owned(),
            did: None,
            app: None,
            priority: 5,
            tag: "rotating_light",
            raised_at: "2026-11-01T00:00:00Z".to_owned(),
            reported_by: vec!["attic".to_owned()],
        }
    }

    /// A server that takes one request, and what it answers.
    async fn served(format: NotifyFormat, answer: &'static str, title: &str) -> (DeliveryEnd, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/topic?x=1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                let count = stream.read(&mut buffer).await.unwrap();
                got.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&got).into_owned();
                let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let head = text.find("\r\n\r\n").map(|at| at + 4);
                if let (Some(length), Some(head)) = (length, head)
                    && got.len() >= head + length.parse::<usize>().unwrap()
                {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    return text;
                }
            }
        });
        let token: NotifySettings = toml::from_str("token = \"tk_1\"").unwrap();
        let settings = NotifySettings { url: Some(url.parse().unwrap()), format, ..token };
        let (end, _) = hand_over(&settings, NotifyChannel::Url, &message(title)).await;
        (end, server.await.unwrap())
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn ntfy_gets_headers_and_a_text() {
        let (end, got) = served(NotifyFormat::Ntfy, OK, "hut is silent").await;
        assert_eq!(end, DeliveryEnd::Sent);
        assert!(got.starts_with("POST /topic?x=1 HTTP/1.1\r\n"), "{got}");
        for line in [
            "title: hut is silent\r\n",
            "priority: 5\r\n",
            "tags: rotating_light\r\n",
            "authorization: Bearer tk_1\r\n",
        ] {
            assert!(got.contains(line), "{line} in {got}");
        }
        assert!(got.ends_with("\r\n\r\nhut is silent: since noon"), "{got}");
    }

    #[tokio::test]
    async fn json_gets_every_field() {
        let (end, got) = served(NotifyFormat::Json, OK, "hut is \"silent\"").await;
        assert_eq!(end, DeliveryEnd::Sent);
        let body: serde_json::Value = serde_json::from_str(got.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["title"], "hut is \"silent\"");
        assert_eq!((body["kind"].as_str(), body["priority"].as_u64()), (Some("silent"), Some(5)));
        assert_eq!(body["message"], "hut is \"silent\": since noon");
        assert_eq!(body["reported_by"][0], "attic");
    }

    /// A SOCKS port like tor's: it is given the name, not an address, and the message goes through it alone.
    #[tokio::test]
    async fn an_address_is_reached_through_tor_by_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socks = Some(listener.local_addr().unwrap().to_string().parse().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 512];
            let methods = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..methods].contains(&2), "a password isolates");
            stream.write_all(&[5, 2]).await.unwrap();
            let login = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..login].windows(6).any(|bytes| bytes == b"notify"));
            stream.write_all(&[1, 0]).await.unwrap();
            let asked = stream.read(&mut buffer).await.unwrap();
            let name = b"alarms.example";
            assert_eq!(buffer[..5], [5, 1, 0, 3, name.len() as u8], "by name");
            assert_eq!(buffer[5..asked], [&name[..], &[0, 80]].concat());
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            let mut text = String::new();
            while !text.contains("hut is silent: since noon") {
                let count = stream.read(&mut buffer).await.unwrap();
                assert_ne!(count, 0, "{text}");
                text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
            text
        });
        let url = Some("http://alarms.example/topic".parse().unwrap());
        let settings = NotifySettings { url, socks, ..NotifySettings::default() };
        let (end, _) = hand_over(&settings, NotifyChannel::Url, &message("hut is silent")).await;
        assert_eq!(end, DeliveryEnd::Sent);
        assert!(server.await.unwrap().contains("host: alarms.example\r\n"));
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let settings = NotifySettings { socks: Some(free.to_string().parse().unwrap()), ..settings };
        let (end, _) = hand_over(&settings, NotifyChannel::Url, &message("x")).await;
        assert!(matches!(&end, DeliveryEnd::NotYet { why } if why.contains("through tor")), "{end:?}");
    }

    /// A name that a peer chose cannot add a header, a line or an option.
    #[tokio::test]
    async fn text_of_peers_stays_one_value() {
        let (_, got) = served(NotifyFormat::Ntfy, OK, "hut\r\nActions: http, Open, http://evil\r\n").await;
        let head = got.split("\r\n\r\n").next().unwrap();
        assert!(head.contains("title: hut  Actions: http, Open, http://evil\r\n"), "{head}");
        assert!(!head.lines().any(|line| line.starts_with("Actions")), "{head}");
        assert_eq!(header_text("Hütte"), "=?UTF-8?B?SMO8dHRl?=");
        let template = ["/bin/echo", "{title}", "{message}"].map(str::to_owned).to_vec();
        let settings = NotifySettings { command: template, ..NotifySettings::default() };
        let (end, output) = hand_over(&settings, NotifyChannel::Command, &message("-n\n\u{202e}$(id)")).await;
        assert_eq!((end, output.as_str()), (DeliveryEnd::Sent, " -n  $(id)  -n  $(id): since noon"));
    }

    #[tokio::test]
    async fn each_end_is_what_is_known_of_the_message() {
        let answered = |status: &'static str| served(NotifyFormat::Ntfy, status, "x");
        let full = answered("HTTP/1.1 507 Full\r\ncontent-length: 0\r\n\r\n").await.0;
        assert!(matches!(full, DeliveryEnd::NotYet { .. }), "{full:?}");
        let denied = answered("HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nkey?").await.0;
        assert!(matches!(&denied, DeliveryEnd::Refused { why } if why.contains("key?")), "{denied:?}");
        let broken = answered("").await.0;
        assert!(matches!(broken, DeliveryEnd::Unknown { .. }), "{broken:?}");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let url = Some(format!("http://{free}/").parse().unwrap());
        let settings = NotifySettings { url, ..NotifySettings::default() };
        let refused = hand_over(&settings, NotifyChannel::Url, &message("x")).await.0;
        assert!(matches!(refused, DeliveryEnd::NotYet { .. }), "{refused:?}");
        let command = |script: &str| NotifySettings {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(1),
            ..NotifySettings::default()
        };
        for (script, expected) in
            [("exit 3", "exit code 3"), ("kill -9 $$", "signal 9"), ("sleep 9", "too long")]
        {
            let (end, _) = hand_over(&command(script), NotifyChannel::Command, &message("x")).await;
            let (DeliveryEnd::NotYet { why } | DeliveryEnd::Unknown { why }) = &end else {
                panic!("{end:?}")
            };
            assert!(why.contains(expected), "{why}");
            assert_eq!(matches!(end, DeliveryEnd::NotYet { .. }), script == "exit 3");
        }
    }
}
