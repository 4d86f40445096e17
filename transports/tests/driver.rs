//! What the driver promises for every radio: it comes back, takes one frame at a time, and bears whatever the other end does.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]

mod emulated;
#[path = "../../fuzz/radio_checks.rs"]
mod radio_checks;

use emulated::air::Air;
use emulated::meshcore::EmulatedMeshcore;
use emulated::meshtastic::EmulatedMeshtastic;
use emulated::parts::{Program, client};
use emulated::{PATIENCE, Station, both_until, frame};
use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tombolo_mesh::time::Millis;
use tombolo_mesh::wire::kiss;
use tombolo_transports::radio::{
    BusyReason, Radio, RadioDownReason, RadioEvent, RadioId, RadioSendError, RadioUrl,
};

/// A TNC that the test controls.
struct Tnc {
    listener: TcpListener,
    url: String,
}

impl Tnc {
    async fn new(options: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("kiss+tcp://{}?{options}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    async fn accept(&self) -> Connection {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        Connection { stream, decoder: kiss::KissDecoder::default() }
    }
}

struct Connection {
    stream: TcpStream,
    decoder: kiss::KissDecoder,
}

impl Connection {
    /// The next frame the driver writes.
    async fn event(&mut self) -> kiss::Event {
        let mut read = [0; 1024];
        loop {
            if let Some(event) = self.decoder.next_event() {
                return event;
            }
            let got = timeout(PATIENCE, self.stream.read(&mut read)).await.unwrap().unwrap();
            assert!(got > 0, "closed");
            self.decoder.push(&read[..got]);
        }
    }

    async fn data(&mut self) -> Vec<u8> {
        loop {
            if let kiss::Event::Data { bytes, .. } = self.event().await {
                return bytes;
            }
        }
    }

    async fn say(&mut self, command: kiss::KissCommand<'_>) {
        self.stream.write_all(&command.encode(0)).await.unwrap();
    }
}

#[tokio::test]
async fn a_radio_that_goes_is_found_again_and_its_unused_ready_is_void() {
    let tnc = Tnc::new("bitrate=9600").await;
    let mut station = Station::open(&tnc.url);
    let connection = tnc.accept().await;
    station.up().await;
    drop(connection);
    let closed = RadioEvent::Down { why: RadioDownReason::Closed };
    station.until("down", |station| station.log.contains(&closed)).await;
    assert_eq!(station.radio.send(vec![1; 20]), Err(RadioSendError::NotReady));
    let mut connection = tnc.accept().await;
    station.outgoing.push_back(vec![2; 20]);
    station.until("ready again", |station| station.outgoing.is_empty()).await;
    assert_eq!(connection.data().await, vec![2; 20]);
}

#[tokio::test]
async fn a_radio_that_is_not_there_yet_is_waited_for_ever_more_rarely() {
    let tnc = Tnc::new("bitrate=9600").await;
    let address = tnc.listener.local_addr().unwrap();
    let url = tnc.url.clone();
    drop(tnc);
    let mut station = Station::open(&url);
    let refused = RadioEvent::Down { why: RadioDownReason::Open(ErrorKind::ConnectionRefused) };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        station.step(Duration::from_millis(100)).await;
    }
    let attempts = station.count(|event| *event == refused);
    assert!((3..=4).contains(&attempts), "{attempts} attempts in 4 s: {:?}", station.log);
    let listener = TcpListener::bind(address).await.unwrap();
    let tnc = Tnc { listener, url };
    let _connection = tnc.accept().await;
    station.up().await;
}

#[tokio::test]
async fn a_serial_port_that_is_not_there_is_told_by_its_kind_of_error() {
    let mut station = Station::open("kiss+serial:///dev/no-such-port?baud=9600");
    let missing = RadioEvent::Down { why: RadioDownReason::Open(ErrorKind::NotFound) };
    station.until("told", |station| station.log.contains(&missing)).await;
}

/// A person reads what is wrong and what to do, and never the library's words for an error it does not know.
#[tokio::test]
async fn a_wrong_place_is_told_in_words_that_help() {
    for (url, words) in [
        ("kiss+tcp://no-such-host.invalid:8001", "no address is known for that host name"),
        ("meshtastic+tcp://127.0.0.1:1", "nothing listens at that port"),
        ("kiss+serial:///etc/passwd", "that is no serial port"),
        ("kiss+serial:///dev/null", "that is no serial port"),
        ("meshcore+serial:///dev/no-such-port", "is the radio plugged in"),
    ] {
        let mut station = Station::open(url);
        station.until("told", |station| station.count(|_| true) > 0).await;
        let told = station.log.iter().find_map(|event| match event {
            RadioEvent::Down { why } => Some(why.to_string()),
            _ => None,
        });
        assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{url}: {told:?}");
    }
}

#[tokio::test]
async fn one_frame_per_ready_and_of_the_lengths_it_takes() {
    let tnc = Tnc::new("bitrate=9600&mtu=100").await;
    let (tell, mut events) = mpsc::channel(8);
    let radio = Radio::open(RadioId(7), RadioUrl::parse(&tnc.url).unwrap(), tell);
    assert_eq!(radio.send(vec![1; 20]), Err(RadioSendError::NotReady), "before it is up");
    let mut connection = tnc.accept().await;
    while timeout(PATIENCE, events.recv()).await.unwrap() != Some((RadioId(7), RadioEvent::Ready)) {}
    assert_eq!(radio.frame_bytes_max(), 100);
    assert_eq!(radio.send(vec![1; 101]), Err(RadioSendError::TooLong { bytes: 101, bytes_max: 100 }));
    assert_eq!(radio.send(vec![1; 14]), Err(RadioSendError::TooShort { bytes: 14, bytes_min: 15 }));
    assert_eq!(radio.send(vec![1; 100]), Ok(()), "refusals leave the Ready");
    assert_eq!(radio.send(vec![2; 100]), Err(RadioSendError::NotReady));
    assert_eq!(connection.data().await, vec![1; 100]);
}

#[tokio::test]
async fn letting_go_of_a_radio_closes_its_port() {
    let tnc = Tnc::new("").await;
    let mut station = Station::open(&tnc.url);
    let mut connection = tnc.accept().await;
    station.up().await;
    drop(station);
    let mut read = [0; 16];
    assert_eq!(timeout(PATIENCE, connection.stream.read(&mut read)).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_reader_that_is_slow_slows_the_radio_and_loses_nothing() {
    let tnc = Tnc::new("").await;
    let mut station = Station::open(&tnc.url);
    let mut connection = tnc.accept().await;
    station.up().await;
    let all: Vec<_> = (0..2000).map(|number| frame(b'x', number, 200)).collect();
    let wire: Vec<u8> = all.iter().flat_map(|frame| kiss::KissCommand::Data(frame).encode(0)).collect();
    let writer = tokio::spawn(async move {
        connection.stream.write_all(&wire).await.unwrap();
        connection
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    station.until("all", |station| station.heard.len() == 2000).await;
    assert_eq!(station.heard, all);
    writer.await.unwrap();
}

#[tokio::test]
async fn noise_on_the_line_costs_no_frame_that_follows() {
    let tnc = Tnc::new("").await;
    let mut station = Station::open(&tnc.url);
    let mut connection = tnc.accept().await;
    station.up().await;
    let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    connection.stream.write_all(&noise).await.unwrap();
    connection.say(kiss::KissCommand::Data(b"after all that noise")).await;
    station
        .until("heard", |station| station.heard.last().is_some_and(|last| last == b"after all that noise"))
        .await;
    assert_eq!(station.count(|event| matches!(event, RadioEvent::Down { .. })), 0);
}

/// The MeshCore modem firmware, with the answers that its document describes.
#[tokio::test]
async fn a_modem_that_reports_is_believed() {
    let tnc = Tnc::new("modem=meshcore&preset=LongFast").await;
    let mut station = Station::open(&tnc.url);
    let mut connection = tnc.accept().await;
    for answer in [
        &[0x8B, 0x50, 0x51, 0xD5, 0x33, 0x24, 0xF4, 0, 0, 8, 8][..],
        b"\x96Hut",
        &[0x8F, 0xC6, 8, 0, 0],
        &[0x97],
    ] {
        let kiss::Event::Hardware { .. } = connection.event().await else { panic!("a question") };
        connection.say(kiss::KissCommand::SetHardware(answer)).await;
    }
    let (frame_bytes_max, info) = station.up().await;
    assert_eq!(
        (frame_bytes_max, info.name.as_deref(), info.frequency_hz),
        (255, Some("Hut"), Some(869_618_000))
    );
    station.outgoing.extend([vec![1; 60], vec![2; 60]]);
    let (mut heard, busy) =
        (vec![], RadioEvent::Busy { retry: Millis::from_ms(500), why: BusyReason::Sending });
    for _ in 0..3 {
        station.until("handed over", |station| !station.ready).await;
        let bytes = connection.data().await;
        if heard.is_empty() {
            // Busy with something older: the same frame comes again.
            connection.say(kiss::KissCommand::SetHardware(&[0xF1, 7])).await;
            station.until("busy", |station| station.log.contains(&busy)).await;
        } else {
            connection.say(kiss::KissCommand::SetHardware(&[0xF8, 1])).await;
            let sent = heard.len();
            station.until("sent", |station| station.count(|event| *event == RadioEvent::Sent) == sent).await;
            station.step(Duration::from_millis(100)).await;
        }
        heard.push(bytes);
    }
    assert_eq!(heard, [vec![1; 60], vec![1; 60], vec![2; 60]]);
    connection.say(kiss::KissCommand::Data(b"heard with signal")).await;
    connection.say(kiss::KissCommand::SetHardware(&[0xF9, 20, 0xA0])).await;
    station.until("heard", |station| station.heard == [b"heard with signal"]).await;
}

/// A serial port that leads to an emulated radio.
fn serial(to: std::net::SocketAddr, link: Option<&std::path::Path>) -> Option<(Program, String)> {
    if !emulated::parts::has("python3") {
        println!("SKIPPED: needs python3 (apt install python3)");
        return None;
    }
    let program =
        Program::start(Command::new("python3").arg(client("pty.py")).arg(to.to_string()).args(link));
    let path = program.line().unwrap();
    Some((program, path))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_same_radios_answer_on_serial_ports() {
    let air = Air::new();
    let (a, b) = (EmulatedMeshcore::start("a", &air), EmulatedMeshcore::start("b", &air));
    let Some((_a, device)) = serial(a.at, None) else { return };
    let mut a = Station::open(&format!("meshcore+serial://{device}"));
    let mut b = Station::open(&format!("meshcore+tcp://{}", b.at));
    a.outgoing.push_back(frame(b'a', 1, 163));
    b.outgoing.push_back(frame(b'b', 1, 163));
    // Each once it is up: what is sent before the other has its channel is lost.
    a.up().await;
    b.up().await;
    a.outgoing.push_back(frame(b'a', 2, 163));
    b.outgoing.push_back(frame(b'b', 2, 163));
    both_until("both", PATIENCE, (&mut a, &mut b), |a, b| {
        a.heard.contains(&frame(b'b', 2, 163)) && b.heard.contains(&frame(b'a', 2, 163))
    })
    .await;

    let air = Air::new();
    let (c, d) = (EmulatedMeshtastic::start("c", &air), EmulatedMeshtastic::start("d", &air));
    let Some((_c, device)) = serial(c.at, None) else { return };
    let mut c = Station::open(&format!("meshtastic+serial://{device}"));
    let mut d = Station::open(&format!("meshtastic+tcp://{}", d.at));
    c.up().await;
    d.up().await;
    c.outgoing.push_back(frame(b'c', 1, 231));
    d.outgoing.push_back(frame(b'd', 1, 231));
    both_until("both", PATIENCE, (&mut c, &mut d), |c, d| c.heard.len() == 1 && d.heard.len() == 1).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_serial_port_that_is_pulled_and_plugged_in_comes_back() {
    let link = std::env::temp_dir().join(format!("tombolo-tty-{}", std::process::id()));
    let tnc = Tnc::new("").await;
    let to = tnc.listener.local_addr().unwrap();
    let Some((mut cable, _)) = serial(to, Some(&link)) else { return };
    let mut connection = tnc.accept().await;
    let mut station = Station::open(&format!("kiss+serial://{}?baud=19200", link.display()));
    station.up().await;
    station.outgoing.push_back(vec![3; 50]);
    station.until("handed over", |station| station.outgoing.is_empty()).await;
    assert_eq!(connection.data().await, vec![3; 50]);
    cable.write("pull");
    station
        .until("down", |station| station.count(|event| matches!(event, RadioEvent::Down { .. })) > 0)
        .await;
    let Some((_cable, _)) = serial(to, Some(&link)) else { return };
    let mut connection = tnc.accept().await;
    station
        .until("up again", |station| station.count(|event| matches!(event, RadioEvent::Up { .. })) == 2)
        .await;
    connection.say(kiss::KissCommand::Data(b"back on the line")).await;
    station.until("heard", |station| station.heard == [b"back on the line"]).await;
    let _ = std::fs::remove_file(&link);
}

/// Bytes that a fuzzer found worth keeping are replayed by every test run.
#[test]
fn the_corpus_of_each_stream_decoder_holds() {
    for (name, check) in [
        ("kiss", radio_checks::kiss as fn(&[u8])),
        ("meshcore", radio_checks::meshcore),
        ("meshtastic", radio_checks::meshtastic),
    ] {
        let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut replayed = 0;
        for entry in std::fs::read_dir(&folder).expect("the target has a corpus") {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed >= 3, "{folder}");
    }
}
