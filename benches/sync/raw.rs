//! The floor: raw quinn between two endpoints of one process, with the node's own TLS. One stream, one write per update, socket
//! buffers raised; the receiver puts what comes into a map and does nothing else.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, SendStream};
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc;
use tombolo_transports::tls::{AllowList, Tls, server_name};

use crate::part::Figures;
use crate::work::{FRAME_BYTES, KEY_BYTES, frame};

const SOCKET_BUFFER_BYTES: usize = 8 << 20;

struct Pair {
    listener: Endpoint,
    dialler: Endpoint,
    address: SocketAddr,
    name: String,
}

impl Pair {
    fn new() -> Self {
        let [listens, dials] = [[1; 32], [2; 32]].map(|seed| {
            let allowed = Arc::new(AllowList::default());
            (Tls::new(&seed, allowed.clone()).unwrap(), allowed)
        });
        listens.1.replace([dials.0.id()]);
        dials.1.replace([listens.0.id()]);
        let server = QuicServerConfig::try_from(listens.0.server(false).unwrap()).unwrap();
        let server = quinn::ServerConfig::with_crypto(Arc::new(server));
        let client = QuicClientConfig::try_from(dials.0.client(false).unwrap()).unwrap();
        let listener = endpoint(Some(server));
        let mut dialler = endpoint(None);
        dialler.set_default_client_config(quinn::ClientConfig::new(Arc::new(client)));
        let address = listener.local_addr().unwrap();
        Pair { listener, dialler, address, name: server_name(&listens.0.id()) }
    }

    async fn connect(&self) -> (Connection, Connection) {
        let dialled = async { self.dialler.connect(self.address, &self.name).unwrap().await.unwrap() };
        let accepted = async { self.listener.accept().await.unwrap().await.unwrap() };
        tokio::join!(dialled, accepted)
    }
}

fn endpoint(server: Option<quinn::ServerConfig>) -> Endpoint {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(socket2::Protocol::UDP)).unwrap();
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let socket = UdpSocket::from(socket);
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(quinn::TokioRuntime)).unwrap()
}

/// Reads frames into a map, and reports how many there are after each.
async fn merge(mut stream: RecvStream, seen: mpsc::UnboundedSender<usize>) {
    let mut map: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut frame = vec![0; FRAME_BYTES];
    while stream.read_exact(&mut frame).await.is_ok() {
        let (key, value) = frame[2..].split_at(KEY_BYTES);
        map.insert(key.to_vec(), value.to_vec());
        if seen.send(map.len()).is_err() {
            break;
        }
    }
}

async fn await_count(seen: &mut mpsc::UnboundedReceiver<usize>, count: usize) {
    while seen.recv().await.unwrap() < count {}
}

async fn stream_of(connection: &Connection) -> SendStream {
    connection.open_uni().await.unwrap()
}

/// Sends updates as fast as they go, until all are in the receiver's map.
pub(crate) async fn burst(updates: usize) -> Figures {
    let pair = Pair::new();
    let (from, to) = pair.connect().await;
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let mut stream = stream_of(&from).await;
    stream.write_all(&frame(usize::MAX >> 1)).await.unwrap();
    tokio::spawn(async move { merge(to.accept_uni().await.unwrap(), seen_in).await });
    await_count(&mut seen, 1).await;
    let mut figures = Figures::begin();
    let sender = tokio::spawn(async move {
        for n in 0..updates {
            stream.write_all(&frame(n)).await.unwrap();
        }
        stream
    });
    await_count(&mut seen, updates + 1).await;
    figures.end();
    let _ = sender.await;
    figures
}

/// Sends single updates, each once the one before has arrived; the median.
pub(crate) async fn latency(updates: usize) -> Figures {
    let pair = Pair::new();
    let (from, to) = pair.connect().await;
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let mut stream = stream_of(&from).await;
    stream.write_all(&frame(usize::MAX >> 1)).await.unwrap();
    tokio::spawn(async move { merge(to.accept_uni().await.unwrap(), seen_in).await });
    await_count(&mut seen, 1).await;
    let mut figures = Figures::begin();
    let mut times = Vec::new();
    for n in 0..updates {
        let begun = Instant::now();
        stream.write_all(&frame(n)).await.unwrap();
        await_count(&mut seen, n + 2).await;
        times.push(begun.elapsed().as_secs_f64());
    }
    figures.end();
    figures.seconds = crate::part::median(times);
    figures
}

/// Connects and sends a whole map, until the receiver has it.
pub(crate) async fn cold(entries: usize) -> Figures {
    let map: Vec<Vec<u8>> = (0..entries).map(frame).collect();
    let pair = Pair::new();
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let mut figures = Figures::begin();
    let (to, from) = pair.connect().await;
    tokio::spawn(async move {
        let mut stream = stream_of(&from).await;
        for frame in &map {
            stream.write_all(frame).await.unwrap();
        }
        let _ = stream.finish();
        let _ = stream.stopped().await;
    });
    tokio::spawn(async move { merge(to.accept_uni().await.unwrap(), seen_in).await });
    await_count(&mut seen, entries).await;
    figures.end();
    figures
}
