//! Radios for the tests: what stands in for one, and what starts real parts.
#![allow(dead_code, reason = "each test binary takes what it needs")]

pub(crate) mod air;
pub(crate) mod meshcore;
pub(crate) mod meshtastic;
pub(crate) mod parts;

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tombolo_transports::radio::{Radio, RadioEvent, RadioId, RadioInfo, RadioUrl};

/// Longer than anything here should take, on a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One radio under test, driven as a node drives it: a frame is handed over when the radio is ready.
pub(crate) struct Station {
    pub(crate) radio: Radio,
    events: mpsc::Receiver<(RadioId, RadioEvent)>,
    pub(crate) ready: bool,
    pub(crate) outgoing: VecDeque<Vec<u8>>,
    pub(crate) heard: Vec<Vec<u8>>,
    /// Everything but frames heard and `Ready`.
    pub(crate) log: Vec<RadioEvent>,
}

impl Station {
    pub(crate) fn open(url: &str) -> Self {
        let (tell, events) = mpsc::channel(64);
        let radio = Radio::open(RadioId(1), RadioUrl::parse(url).unwrap(), tell);
        Self { radio, events, ready: false, outgoing: VecDeque::new(), heard: vec![], log: vec![] }
    }

    /// Takes one event, or hands over one frame, within `wait`; returns whether there was an event.
    pub(crate) async fn step(&mut self, wait: Duration) -> bool {
        self.hand_over();
        let Ok(event) = timeout(wait, self.events.recv()).await else { return false };
        let (id, event) = event.unwrap();
        assert_eq!(id, RadioId(1));
        match event {
            RadioEvent::Ready => self.ready = true,
            RadioEvent::Received(frame) => self.heard.push(frame),
            other => {
                self.ready &= !matches!(other, RadioEvent::Down { .. });
                self.log.push(other);
            }
        }
        self.hand_over();
        true
    }

    fn hand_over(&mut self) {
        if let Some(frame) = self.outgoing.front().filter(|_| self.ready) {
            self.radio.send(frame.clone()).unwrap();
            self.outgoing.pop_front();
            self.ready = false;
        }
    }

    /// Goes on until the condition holds.
    #[track_caller]
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> impl Future<Output = ()> {
        let what = what.to_string();
        async move {
            let begun = Instant::now();
            while !holds(self) {
                assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}; {:?}", self.log);
                self.step(Duration::from_millis(100)).await;
            }
        }
    }

    /// What it reported as it came up for the first time.
    pub(crate) async fn up(&mut self) -> (usize, RadioInfo) {
        self.until("up", |station| station.up_event().is_some() && station.ready).await;
        self.up_event().unwrap()
    }

    fn up_event(&self) -> Option<(usize, RadioInfo)> {
        self.log.iter().find_map(|event| match event {
            RadioEvent::Up { frame_bytes_max, info } => Some((*frame_bytes_max, info.clone())),
            _ => None,
        })
    }

    pub(crate) fn count(&self, is: impl Fn(&RadioEvent) -> bool) -> usize {
        self.log.iter().filter(|event| is(event)).count()
    }
}

/// A frame of `bytes` that names its sender; different for each number.
pub(crate) fn frame(from: u8, number: u16, bytes: usize) -> Vec<u8> {
    let mut seed = u32::from(number) * 7919 + u32::from(from);
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    });
    [&[from], number.to_be_bytes().as_slice()].concat().into_iter().chain(noise).take(bytes).collect()
}

/// Both ends, until the condition holds; each waits a moment for its next event.
pub(crate) async fn both_until(
    what: &str,
    wait: Duration,
    (a, b): (&mut Station, &mut Station),
    mut holds: impl FnMut(&mut Station, &mut Station) -> bool,
) {
    let begun = Instant::now();
    while !holds(a, b) {
        assert!(begun.elapsed() < wait, "{what}: not after {wait:?}; a {:?}, b {:?}", a.log, b.log);
        tokio::join!(a.step(Duration::from_millis(20)), b.step(Duration::from_millis(20)));
    }
}
