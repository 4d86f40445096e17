//! A SOCKS5 server as tor's: onion names lead to what its network has under them; a test may put another treatment before
//! the next requests. All that came is kept: user names, host names, and whether an address was looked up elsewhere.

use super::door::{Door, Frost, Place, Stream};
use super::network::{Lookup, Network, Stalled, TorId};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a request asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name that was not resolved.
    Name(String),
    Ip(IpAddr),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    /// 1 is CONNECT; tor has 0xF0 and 0xF1 for look-ups.
    pub(crate) command: u8,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// What a request meets in place of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// The network, as without a treatment.
    Network,
    /// This reply byte; 0 is followed by a stream on which nothing comes.
    Code(u8),
    /// No reply; the connection stays.
    Hang,
    /// The network, after this time.
    Late(Duration),
    /// The end of the connection after so many bytes of a good reply, of 10.
    CutReply(usize),
    /// A good stream, which ends after so many bytes from the service.
    CutStream(usize),
    /// A good stream on which all that is sent vanishes after so many bytes from the service, as on a dead circuit.
    Stall(usize),
    /// These bytes in place of the reply to the request, then the end.
    Reply(Vec<u8>),
    /// These bytes in place of the answer to the greeting, then the end.
    Greeting(Vec<u8>),
    /// The answer that user name and password are wrong.
    BadLogin,
}

#[derive(Debug)]
struct Inner {
    network: Network,
    tor: TorId,
    frost: Frost,
    extended: Mutex<bool>,
    treatments: Mutex<VecDeque<Treatment>>,
    always: Mutex<Treatment>,
    dials: Mutex<Vec<Dial>>,
    replies: Mutex<Vec<u8>>,
}

/// A SOCKS port on the loopback, or on a unix socket.
pub(crate) struct ScriptedSocks {
    door: Door,
    inner: Arc<Inner>,
}

impl ScriptedSocks {
    /// A SOCKS port on this network, without a control port.
    pub(crate) fn start(network: &Network) -> Self {
        Self::start_for(network, network.tor(), Place::free())
    }

    pub(super) fn start_for(network: &Network, tor: TorId, at: Place) -> Self {
        let inner = Arc::new(Inner {
            network: network.clone(),
            tor,
            frost: network.frost(tor),
            extended: Mutex::new(true),
            treatments: Mutex::default(),
            always: Mutex::new(Treatment::Network),
            dials: Mutex::default(),
            replies: Mutex::default(),
        });
        let serving = inner.clone();
        let door = Door::open(at, inner.frost.clone(), move |stream| {
            let _ = serving.serve(&stream);
        });
        Self { door, inner }
    }

    pub(crate) fn at(&self) -> &Place {
        self.door.at()
    }

    /// Treats the next request so; several of these are used up in order.
    pub(crate) fn next(&self, treatment: Treatment) {
        self.inner.treatments.lock().unwrap().push_back(treatment);
    }

    /// Treats so what no `next` is left for.
    pub(crate) fn always(&self, treatment: Treatment) {
        *self.inner.always.lock().unwrap() = treatment;
    }

    /// Whether replies are as with `ExtendedErrors` (they are at first): without, 0xF0 to 0xF7 become 0x04.
    pub(crate) fn set_extended(&self, extended: bool) {
        *self.inner.extended.lock().unwrap() = extended;
    }

    /// What was asked for, in order.
    pub(crate) fn dials(&self) -> Vec<Dial> {
        self.inner.dials.lock().unwrap().clone()
    }

    /// The user names of the requests for a name, in order.
    pub(crate) fn users_of(&self, host: &str) -> Vec<String> {
        let named = self.dials().into_iter().filter(|dial| dial.host == Host::Name(host.to_owned()));
        named.map(|dial| dial.user.unwrap_or_default()).collect()
    }

    /// The reply bytes that were sent, in order.
    pub(crate) fn replies(&self) -> Vec<u8> {
        self.inner.replies.lock().unwrap().clone()
    }

    /// Cuts all streams, as tor does when a circuit dies.
    pub(crate) fn cut(&self) {
        self.door.cut();
    }

    pub(crate) fn close(&mut self) {
        self.door.close();
    }

    pub(crate) fn reopen(&mut self) {
        self.door.reopen();
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.inner.frost.set(frozen);
    }
}

impl Drop for ScriptedSocks {
    fn drop(&mut self) {
        self.freeze(false);
    }
}

impl Inner {
    fn serve(&self, stream: &Stream) -> io::Result<()> {
        let treatment = || {
            let next = self.treatments.lock().unwrap().pop_front();
            next.unwrap_or_else(|| self.always.lock().unwrap().clone())
        };
        let [version, count] = take(stream)?;
        let methods = take_some(stream, count.into())?;
        if version != 5 {
            return Ok(());
        }
        self.frost.wait();
        let treatment = treatment();
        if let Treatment::Greeting(bytes) = &treatment {
            return send(stream, bytes);
        }
        let (user, password) = if methods.contains(&2) {
            send(stream, &[5, 2])?;
            let [_, length] = take(stream)?;
            let user = text(take_some(stream, length.into())?);
            let [length] = take(stream)?;
            let password = text(take_some(stream, length.into())?);
            let wrong = treatment == Treatment::BadLogin;
            send(stream, &[1, wrong.into()])?;
            if wrong {
                return Ok(());
            }
            (Some(user), Some(password))
        } else if methods.contains(&0) {
            send(stream, &[5, 0])?;
            (None, None)
        } else {
            return send(stream, &[5, 0xFF]);
        };
        let [_, command, _, kind] = take(stream)?;
        let host = match kind {
            1 => Host::Ip(IpAddr::from(take::<4>(stream)?)),
            4 => Host::Ip(IpAddr::from(take::<16>(stream)?)),
            3 => {
                let [length] = take(stream)?;
                Host::Name(text(take_some(stream, length.into())?))
            }
            _ => return self.reply(stream, 0x08),
        };
        let port = u16::from_be_bytes(take(stream)?);
        self.dials.lock().unwrap().push(Dial { command, user, password, host: host.clone(), port });
        self.frost.wait();
        self.treat(stream, &treatment, &host, port)
    }

    fn treat(&self, stream: &Stream, treatment: &Treatment, host: &Host, port: u16) -> io::Result<()> {
        let good = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        match treatment {
            Treatment::Network | Treatment::Greeting(_) | Treatment::BadLogin => {
                self.connect(stream, host, port, Way::Open)
            }
            Treatment::Late(delay) => {
                std::thread::sleep(*delay);
                self.connect(stream, host, port, Way::Open)
            }
            Treatment::CutStream(bytes) => self.connect(stream, host, port, Way::Cut(*bytes)),
            Treatment::Stall(bytes) => self.connect(stream, host, port, Way::Stall(*bytes)),
            Treatment::Code(code) => {
                self.reply(stream, *code)?;
                if *code == 0 { drain(stream) } else { Ok(()) }
            }
            Treatment::Hang => drain(stream),
            Treatment::CutReply(bytes) => send(stream, &good[..*bytes]),
            Treatment::Reply(bytes) => send(stream, bytes),
        }
    }

    fn connect(&self, stream: &Stream, host: &Host, port: u16, way: Way) -> io::Result<()> {
        let name = match host {
            Host::Name(name) => name.strip_suffix(".onion"),
            Host::Ip(_) => None,
        };
        // What is no onion service would go to an exit; there is none.
        let Some(name) = name else { return self.reply(stream, 0x02) };
        let (target, tor) = match self.network.look_up(self.tor, &name.to_ascii_lowercase(), port) {
            Lookup::Target { place, tor } => (place, tor),
            Lookup::Refused(code) => return self.reply(stream, code),
        };
        let frosts = [self.frost.clone(), self.network.frost(tor)];
        frosts.iter().for_each(Frost::wait);
        let Ok(service) = target.connect() else { return self.reply(stream, 0x01) };
        self.reply(stream, 0)?;
        let stalled = self.network.opened(tor, stream, &service);
        let upward = {
            let (from, to, stalled, frosts) =
                (stream.again(), service.again(), stalled.clone(), frosts.clone());
            std::thread::spawn(move || copy(&from, &to, Way::Open, &stalled, &frosts))
        };
        copy(&service, stream, way, &stalled, &frosts);
        if stalled.load(Ordering::SeqCst) {
            // The client is not shown that the service has gone.
            drain(stream)?;
        }
        stream.cut();
        service.cut();
        upward.join().unwrap();
        Ok(())
    }

    fn reply(&self, stream: &Stream, code: u8) -> io::Result<()> {
        let plain = !*self.extended.lock().unwrap();
        let code = if plain && code >= 0xF0 { 0x04 } else { code };
        self.replies.lock().unwrap().push(code);
        send(stream, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0])
    }
}

/// What becomes of a stream that was opened.
#[derive(Clone, Copy)]
enum Way {
    Open,
    Cut(usize),
    Stall(usize),
}

/// Passes on what comes until one end closes, or the way ends. A stream of tor closes in both directions at once.
fn copy(mut from: &Stream, to: &Stream, way: Way, stalled: &Stalled, frosts: &[Frost]) {
    let (mut buffer, mut passed) = ([0; 16 * 1024], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        frosts.iter().for_each(Frost::wait);
        if stalled.load(Ordering::SeqCst) {
            continue;
        }
        let left = match way {
            Way::Open => usize::MAX,
            Way::Cut(bytes) | Way::Stall(bytes) => bytes - passed,
        };
        let count = count.min(left);
        if send(to, &buffer[..count]).is_err() {
            break;
        }
        passed += count;
        match way {
            Way::Cut(bytes) if passed == bytes => break,
            Way::Stall(bytes) if passed == bytes => stalled.store(true, Ordering::SeqCst),
            Way::Open | Way::Cut(_) | Way::Stall(_) => {}
        }
    }
    if !stalled.load(Ordering::SeqCst) {
        to.cut();
        from.cut();
    }
}

fn drain(mut stream: &Stream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn take<const N: usize>(mut stream: &Stream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_some(mut stream: &Stream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn send(mut stream: &Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
