//! A listener that can be closed, opened again at the same place, frozen, and cut off from all that came in.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a listener looks whether it was closed or frozen.
const TICK: Duration = Duration::from_millis(5);

/// Where a door is, or where a service leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// A free port of the loopback, chosen when the door opens.
    pub(crate) fn free() -> Self {
        Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub(crate) fn connect(&self) -> io::Result<Stream> {
        match self {
            Place::Tcp(at) => TcpStream::connect(at).map(Stream::Tcp),
            Place::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        }
    }

    /// The TCP port; a unix socket has none.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Place::Tcp(at) => at.port(),
            Place::Unix(path) => panic!("{} has no port", path.display()),
        }
    }
}

/// As tor and our settings write it: `127.0.0.1:9051`, `unix:/run/tor/control`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(at) => at.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Place {
    type Err = ();

    /// Reads the target of an onion service's port as `ADD_ONION` has it.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Place::Unix(path.trim_matches('"').into())),
            None => {
                text.parse().or_else(|_| format!("127.0.0.1:{text}").parse()).map(Place::Tcp).map_err(|_| ())
            }
        }
    }
}

/// A connection of either kind. A clone is the same connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn again(&self) -> Self {
        match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().unwrap()),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().unwrap()),
        }
    }

    /// Ends it in both directions.
    pub(crate) fn cut(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn block(&self) {
        match self {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(false).unwrap();
                let _ = stream.set_nodelay(true);
            }
            Stream::Unix(stream) => stream.set_nonblocking(false).unwrap(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(buffer),
            Stream::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write(bytes),
            Stream::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(at: &Place) -> (Self, Place) {
        match at {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address).unwrap();
                listener.set_nonblocking(true).unwrap();
                let at = Place::Tcp(listener.local_addr().unwrap());
                (Listener::Tcp(listener), at)
            }
            Place::Unix(path) => {
                let _ = std::fs::remove_file(path);
                let listener = UnixListener::bind(path).unwrap();
                listener.set_nonblocking(true).unwrap();
                (Listener::Unix(listener), at.clone())
            }
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Whether a door, and what runs behind it, stands still.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frost(Arc<AtomicBool>);

impl Frost {
    pub(crate) fn set(&self, frozen: bool) {
        self.0.store(frozen, Ordering::SeqCst);
    }

    /// Returns when it thaws.
    pub(crate) fn wait(&self) {
        while self.0.load(Ordering::SeqCst) {
            std::thread::sleep(TICK);
        }
    }
}

type Serve = Arc<dyn Fn(Stream) + Send + Sync>;

/// A listener; each connection is served by a thread of its own.
pub(crate) struct Door {
    at: Place,
    serve: Serve,
    frost: Frost,
    streams: Arc<Mutex<Vec<Stream>>>,
    open: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Door {
    pub(crate) fn open(at: Place, frost: Frost, serve: impl Fn(Stream) + Send + Sync + 'static) -> Self {
        let mut door = Door { at, serve: Arc::new(serve), frost, streams: Arc::default(), open: None };
        door.reopen();
        door
    }

    pub(crate) fn at(&self) -> &Place {
        &self.at
    }

    /// Listens again, where it listened before.
    pub(crate) fn reopen(&mut self) {
        assert!(self.open.is_none(), "{} is open", self.at);
        let (listener, at) = Listener::bind(&self.at);
        self.at = at;
        let closed = Arc::new(AtomicBool::new(false));
        let (shut, serve, frost, streams) =
            (closed.clone(), self.serve.clone(), self.frost.clone(), self.streams.clone());
        let thread = std::thread::spawn(move || {
            while !shut.load(Ordering::SeqCst) {
                let waits = frost.0.load(Ordering::SeqCst);
                let Some(stream) = (!waits).then(|| listener.accept().ok()).flatten() else {
                    std::thread::sleep(TICK);
                    continue;
                };
                stream.block();
                streams.lock().unwrap().push(stream.again());
                let serve = serve.clone();
                std::thread::spawn(move || {
                    let same = stream.again();
                    serve(stream);
                    // The list has one more handle of it, so closing this one would not end the connection.
                    same.cut();
                });
            }
        });
        self.open = Some((closed, thread));
    }

    /// Listens no more, and cuts what is open.
    pub(crate) fn close(&mut self) {
        if let Some((closed, thread)) = self.open.take() {
            closed.store(true, Ordering::SeqCst);
            thread.join().unwrap();
            if let Place::Unix(path) = &self.at {
                let _ = std::fs::remove_file(path);
            }
        }
        self.cut();
    }

    /// Cuts what is open, and goes on listening.
    pub(crate) fn cut(&self) {
        self.streams.lock().unwrap().drain(..).for_each(|stream| stream.cut());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.frost.set(false);
        self.close();
    }
}
