//! A channel that emulated radios share, and the thread that each of them lives in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Everybody hears everybody, at once and without loss.
#[derive(Debug)]
pub(crate) struct Air<P>(Mutex<Vec<UnboundedSender<P>>>);

impl<P: Clone> Air<P> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![])))
    }

    /// A place on the channel, and what is heard there.
    pub(crate) fn tune_in(&self) -> (usize, UnboundedReceiver<P>) {
        let (tell, hear) = unbounded_channel();
        let mut radios = self.0.lock().unwrap();
        radios.push(tell);
        (radios.len() - 1, hear)
    }

    pub(crate) fn send(&self, from: usize, packet: &P) {
        for (place, radio) in self.0.lock().unwrap().iter().enumerate() {
            if place != from {
                let _ = radio.send(packet.clone());
            }
        }
    }
}

/// Serves on a free port of the loopback, in a thread of its own: the test may block.
pub(crate) fn serve<F>(radio: impl FnOnce(TcpListener) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()>,
{
    let (tell, at) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            radio(listener).await;
        });
    });
    at.recv().unwrap()
}
