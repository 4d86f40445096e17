//! Two whole nodes in one process, over QUIC on the loopback interface.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tombolo::federation::TrustLevel;
use tombolo::handle::{Settings, Tombolo};
use tombolo::node::{Admin, Event, Query, Reply, Write};
use tombolo::runtime::journal::{EventGap, EventReader};
use tombolo::time::Millis;
use tombolo_delta::Value;
use tombolo_transports::Address;

use crate::part::{Figures, median, written_bytes};
use crate::work::{DOCUMENT, object, path, value};

/// The node that writes, and the one that reads.
const NAMES: [&str; 2] = ["writer", "reader"];
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts the node of a folder; its port stays the same.
async fn start(at: &Path, name: &str) -> Tombolo {
    let folder = at.join(name);
    let port_file = at.join(format!("{name}.port"));
    if !folder.exists() {
        Tombolo::create(&folder, name).unwrap();
        let free = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        std::fs::write(&port_file, free.to_string()).unwrap();
    }
    let port: u16 = std::fs::read_to_string(&port_file).unwrap().parse().unwrap();
    let mut settings = Settings::on_loopback(name);
    settings.config.lan.listen = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    Tombolo::start(&folder, settings).await.unwrap()
}

/// Two nodes that trust each other.
async fn pair(at: &Path) -> [Tombolo; 2] {
    let (writer, reader) = (start(at, NAMES[0]).await, start(at, NAMES[1]).await);
    let expires_in = Millis::from_secs(600);
    let addresses: Vec<Address> = writer.addresses();
    let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in, addresses };
    let Reply::Invite(invite) = writer.command(invite).await.unwrap() else { panic!("no invite") };
    reader.command(Admin::Join { code: invite.code, addresses: Vec::new() }).await.unwrap();
    writer.create_map(DOCUMENT).await.unwrap();
    set(&writer, DOCUMENT, 0, 0).await;
    await_all(&reader, &[(DOCUMENT.to_owned(), 0, 0)]).await;
    [writer, reader]
}

async fn set(node: &Tombolo, document: &str, n: usize, version: u64) -> u64 {
    let value = Value::Bytes(value(n, version));
    let write = Write::Set { doc: document.to_owned(), key: path(n), value };
    let Reply::Written(written) = node.command(write).await.unwrap() else { panic!("not written") };
    written.sequence
}

async fn put(node: &Tombolo, entries: usize) {
    let write = Write::Put { doc: DOCUMENT.to_owned(), value: object(entries), whole: false };
    node.command(write).await.unwrap();
}

/// Which version of a key of a document is to arrive.
type Expected = (String, usize, u64);

async fn has(node: &Tombolo, (document, n, version): &Expected) -> bool {
    let key = path(*n);
    let get = Query::Get { doc: document.clone(), key: Some(key) };
    let expected = Value::Bytes(value(*n, *version));
    matches!(node.command(get).await, Ok(Reply::Value(value)) if value == expected)
}

/// Waits until a node has what is expected.
async fn await_all(node: &Tombolo, all: &[Expected]) {
    let mut events = node.watch();
    let reached = async {
        for expected in all {
            while !has(node, expected).await {
                // Another than the one that is waited for may come, or more than fit the queue.
                let _ = events.recv().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("the nodes come into step");
}

/// Waits until a document has changed, to a sequence or a later one.
async fn await_change(events: &mut EventReader, sequence: u64) {
    loop {
        match events.recv().await.map(|event| event.event.clone()) {
            Ok(Event::Changed(change)) if change.name == DOCUMENT && change.sequence >= sequence => return,
            Ok(_) | Err(EventGap::Missed(_)) => {}
            Err(EventGap::Ended) => panic!("a node has ended"),
        }
    }
}

async fn shutdown(nodes: [Tombolo; 2]) {
    for node in nodes {
        node.shutdown().await;
    }
}

/// Many writers at once, each waiting for the reply before its next write, until the reader has all.
pub(crate) async fn burst(at: &Path, updates: usize, writers: usize) -> Figures {
    let [writer, reader] = pair(at).await;
    let mut events = reader.watch();
    let (seen, mut arrived) = tokio::sync::watch::channel(0);
    let watcher = tokio::spawn(async move {
        loop {
            match events.recv().await.map(|event| event.event.clone()) {
                Ok(Event::Changed(change)) if change.name == DOCUMENT => {
                    seen.send_modify(|newest| *newest = change.sequence.max(*newest));
                }
                Ok(_) | Err(EventGap::Missed(_)) => {}
                Err(EventGap::Ended) => return,
            }
        }
    });
    let writer = Arc::new(writer);
    let mut figures = Figures::begin();
    let tasks: Vec<_> = (0..writers)
        .map(|first| {
            let node = writer.clone();
            tokio::spawn(async move {
                let mut last = 0;
                for n in (first..updates).step_by(writers) {
                    last = set(&node, DOCUMENT, n, 0).await;
                }
                last
            })
        })
        .collect();
    let mut newest = 0;
    for task in tasks {
        newest = newest.max(task.await.unwrap());
    }
    arrived.wait_for(|seen| *seen >= newest).await.unwrap();
    figures.end();
    watcher.abort();
    let Value::Map(map) = reader.get(DOCUMENT, None).await.unwrap() else { panic!("not a map") };
    assert_eq!(map.len(), updates, "each update has arrived");
    let writer = Arc::into_inner(writer).expect("all writers have ended");
    shutdown([writer, reader]).await;
    figures
}

/// One write at a time, until the reader's watchers hear of it; the median.
pub(crate) async fn latency(at: &Path, updates: usize) -> Figures {
    let [writer, reader] = pair(at).await;
    let mut events = reader.watch();
    let mut figures = Figures::begin();
    let mut times = Vec::new();
    for n in 0..updates {
        let begun = Instant::now();
        let visible = async {
            await_change(&mut events, 0).await;
            begun.elapsed().as_secs_f64()
        };
        let (_, seconds) = tokio::join!(set(&writer, DOCUMENT, n % 100, 1 + n as u64), visible);
        times.push(seconds);
    }
    figures.end();
    figures.seconds = median(times);
    shutdown([writer, reader]).await;
    figures
}

/// Two nodes that have met, and what the first has changed since.
pub(crate) async fn prepare(
    at: &Path,
    entries: usize,
    in_step: bool,
    changes: usize,
    commits: usize,
) -> Figures {
    let [writer, reader] = pair(at).await;
    if !in_step {
        reader.shutdown().await;
        put(&writer, entries).await;
        writer.shutdown().await;
        return expect(at, vec![(DOCUMENT.to_owned(), entries - 1, 0)]);
    }
    put(&writer, entries).await;
    await_all(&reader, &[(DOCUMENT.to_owned(), entries - 1, 0)]).await;
    reader.shutdown().await;
    let mut last = (DOCUMENT.to_owned(), 0, 0);
    for n in 0..commits {
        let changed = n % changes;
        last = (DOCUMENT.to_owned(), changed * (entries / changes), 1 + n as u64);
        set(&writer, DOCUMENT, last.1, last.2).await;
    }
    writer.shutdown().await;
    expect(at, vec![last])
}

/// Notes what the second node has to have when the two have met.
fn expect(at: &Path, all: Vec<Expected>) -> Figures {
    std::fs::write(at.join("expected.json"), serde_json::to_vec(&all).unwrap()).unwrap();
    Figures::default()
}

/// Two nodes that have many small documents in step, of which the first has changed some since.
pub(crate) async fn prepare_documents(at: &Path, documents: usize, changes: usize) -> Figures {
    let [writer, reader] = pair(at).await;
    let mut all = Vec::new();
    for n in 0..documents {
        let document = small_document(n);
        writer.create_map(&document).await.unwrap();
        set(&writer, &document, n, 0).await;
        all.push((document, n, 0));
    }
    await_all(&reader, &all).await;
    reader.shutdown().await;
    for (document, n, version) in all.iter_mut().take(changes) {
        *version = 1;
        set(&writer, document, *n, *version).await;
    }
    writer.shutdown().await;
    expect(at, all)
}

fn small_document(n: usize) -> String {
    format!("note-{n}")
}

/// Starts the writer, then measures from the start of the reader until it has what the writer has.
pub(crate) async fn meet(at: &Path) -> Figures {
    let expected: Vec<Expected> =
        serde_json::from_slice(&std::fs::read(at.join("expected.json")).unwrap()).unwrap();
    let writer = start(at, NAMES[0]).await;
    assert!(has(&writer, expected.last().unwrap()).await, "the writer has what it wrote");
    let mut figures = Figures::begin();
    let reader = start(at, NAMES[1]).await;
    await_all(&reader, &expected).await;
    figures.end();
    shutdown([writer, reader]).await;
    figures
}

/// The start of one node.
pub(crate) async fn open(at: &Path) -> Figures {
    let mut figures = Figures::begin();
    let node = start(at, NAMES[0]).await;
    node.get(DOCUMENT, Some("none")).await.unwrap_err();
    figures.end();
    node.shutdown().await;
    figures
}

/// Puts a map in one write while another client asks again and again; `other` is the longest wait of that, in seconds.
pub(crate) async fn put_alone(at: &Path, entries: usize, whole: bool) -> Figures {
    let node = start(at, NAMES[0]).await;
    node.create_map(DOCUMENT).await.unwrap();
    write_alone(node, object(entries), whole).await
}

/// The same where all that a map has is deleted.
pub(crate) async fn clear_alone(at: &Path, entries: usize, whole: bool) -> Figures {
    let node = start(at, NAMES[0]).await;
    node.create_map(DOCUMENT).await.unwrap();
    put(&node, entries).await;
    write_alone(node, object(0), whole).await
}

async fn write_alone(node: Tombolo, content: Value, whole: bool) -> Figures {
    let node = Arc::new(node);
    let (is_over, longest_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut figures = Figures::begin();
    let other = {
        let (node, is_over, longest_us) = (node.clone(), is_over.clone(), longest_us.clone());
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let _ = node.command(Query::Id).await;
                longest_us.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    let write = Write::Put { doc: DOCUMENT.to_owned(), value: content, whole };
    node.command(write).await.unwrap();
    figures.end();
    is_over.store(true, Ordering::Relaxed);
    other.await.unwrap();
    figures.other = longest_us.load(Ordering::Relaxed) as f64 / 1e6;
    Arc::into_inner(node).expect("the reader has ended").shutdown().await;
    figures
}

/// Single writes to a map of 1,000 entries; `other` is what each hands to the disk, in bytes.
pub(crate) async fn commit_bytes(at: &Path, commits: usize) -> Figures {
    let node = start(at, NAMES[0]).await;
    node.create_map(DOCUMENT).await.unwrap();
    put(&node, 1_000).await;
    let mut figures = Figures::begin();
    let before = written_bytes();
    for n in 0..commits {
        set(&node, DOCUMENT, n * 7 % 1_000, 1 + n as u64).await;
    }
    figures.other = (written_bytes() - before) / commits as f64;
    figures.end();
    node.shutdown().await;
    figures
}
