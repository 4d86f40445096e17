//! Carries frames between radios and the node, and reports the status of each radio.
//!
//! One task forwards the events of all radios to the node; the node's frames go to a radio from `links`, which never
//! waits. The node learns of a radio when the radio takes its first frame. A frame that the node chose while the radio
//! was not ready waits for it, at most one.
//!
//! **A flood on air stays on air**: frames wait for the node in a queue of their own, where the oldest give
//! way to the newest, and of those only [`FRAMES_IN_INBOX_MAX`] are among the node's tasks at once.

mod spec;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc};
use tombolo_transports::radio::{Radio, RadioEvent, RadioId, RadioInfo, RadioSendError};
use tombolo_transports::{LinkId, LinkIds};

use super::{NodeClient, Task, lock};
use crate::config::radio::RadioSettings;
use crate::io::{Alarm, RadioSpec, view};
use crate::node::Input;

/// Events of radios that wait to be forwarded; when full, the radios wait.
const EVENTS_MAX: usize = 16;
/// Frames of one radio that wait for the node. When full, the oldest is dropped and counted.
pub const FRAMES_HELD_MAX: usize = 64;
/// Frames of all radios among the node's tasks.
pub const FRAMES_IN_INBOX_MAX: usize = 64;

/// The radios of a running node; cheap to clone. The last clone closes them.
#[derive(Clone, Default)]
pub(crate) struct RadioSet(Arc<Vec<RadioSlot>>, Arc<Notify>);

struct RadioSlot {
    link: LinkId,
    settings: RadioSettings,
    radio: Radio,
    state: Mutex<PortState>,
}

#[derive(Default)]
struct PortState {
    /// What the radio last reported of itself.
    info: RadioInfo,
    /// What the radio is, from when it came up until the node learns of it.
    new: Option<Box<RadioSpec>>,
    /// The node knows that the radio is up.
    up: bool,
    /// The radio did not take the node's frame and is still ready, which the node does not know yet.
    passed_over: bool,
    /// A frame that came while the radio was not ready.
    waiting: Option<Vec<u8>>,
    /// Frames that wait for the node.
    received: VecDeque<Vec<u8>>,
    /// The last reason why it is down is one of the radio, not of its port: a port that opens again does not refute it.
    port_was_open: bool,
    status: RadioStatus,
}

/// The status of a radio, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RadioStatus {
    /// The limits on its airtime, in words.
    rules: String,
    /// It may send nothing.
    silent: bool,
    /// Why it is not there.
    down: Option<String>,
    /// Why it did not send the last frame.
    refused: Option<String>,
}

/// What is known of a radio whose port is open.
const NO_ANSWER_YET: &str =
    "its port is open, and no radio of the kind that its address names has answered there yet";

impl RadioSet {
    /// Opens radios; their events come on the receiver, for [`forward`].
    pub(crate) fn open(
        settings: &[RadioSettings],
        ids: &LinkIds,
    ) -> (Self, mpsc::Receiver<(RadioId, RadioEvent)>) {
        let (reports, events) = mpsc::channel(EVENTS_MAX);
        let ports = settings.iter().zip(0..).map(|(settings, number)| {
            let down = Some("its port is being opened".to_owned());
            let status = RadioStatus { rules: spec::expected(settings), down, ..RadioStatus::default() };
            RadioSlot {
                link: ids.next_id(),
                radio: Radio::open(RadioId(number), settings.driver_url(), reports.clone()),
                settings: settings.clone(),
                state: Mutex::new(PortState { status, ..PortState::default() }),
            }
        });
        (RadioSet(Arc::new(ports.collect()), Arc::default()), events)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends a frame of the node; returns false if that link is no radio.
    pub(crate) fn send(&self, link: LinkId, frame: Vec<u8>, client: &NodeClient) -> bool {
        let Some(port) = self.0.iter().find(|port| port.link == link) else { return false };
        if !port.send(&mut lock(&port.state), frame, client) {
            self.1.notify_one();
        }
        true
    }

    /// What a person should know of radios that send nothing.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let each = self.0.iter().filter_map(|port| {
            let status = lock(&port.state).status.clone();
            let why = status.down.or_else(|| status.silent.then_some(status.rules))?;
            Some(Alarm::RadioSilent { radio: port.settings.name(), why })
        });
        each.collect()
    }

    /// Adds to `links` what the node does not know: radios that never came up, frames that were not sent.
    pub(crate) fn add_links(&self, rows: &mut Vec<view::LinkView>) {
        for port in self.0.iter() {
            let (name, status) = (port.settings.name(), lock(&port.state).status.clone());
            match rows.iter_mut().find(|row| row.did.is_empty() && row.link == name) {
                Some(row) if status.silent => row.why = status.rules,
                Some(row) => {
                    if let Some(refused) = status.refused.filter(|_| row.state == "up") {
                        row.why = format!("{}; {refused}", row.why);
                    }
                }
                None => rows.push(view::LinkView::radio_absent(name, status.down.unwrap_or(status.rules))),
            }
        }
    }

    /// Adds to `airtime` the radios that never came up.
    pub(crate) fn add_airtime(&self, rows: &mut Vec<view::AirtimeView>) {
        for port in self.0.iter() {
            let (name, status) = (port.settings.name(), lock(&port.state).status.clone());
            if !rows.iter().any(|row| row.radio == name) {
                rows.push(view::AirtimeView::absent(name, status.rules, status.down));
            }
        }
    }
}

/// Forwards the events of the radios to the node, until either is gone.
pub(crate) async fn forward(
    radios: RadioSet,
    mut events: mpsc::Receiver<(RadioId, RadioEvent)>,
    client: NodeClient,
) {
    let mut turn = 0;
    loop {
        let received = radios.0.iter().any(|port| !lock(&port.state).received.is_empty());
        tokio::select! {
            event = events.recv() => {
                let Some((RadioId(number), event)) = event else { return };
                let Some(port) = radios.0.get(usize::from(number)) else { continue };
                let inputs = port.reported(event, &client);
                for input in inputs {
                    if client.send(Task::Input(input)).await.is_err() {
                        return;
                    }
                }
            }
            () = radios.1.notified() => {
                for port in radios.0.iter() {
                    let passed_over = std::mem::take(&mut lock(&port.state).passed_over);
                    let ready = Input::RadioReady { link: port.link };
                    if passed_over && client.send(Task::Input(ready)).await.is_err() {
                        return;
                    }
                }
            }
            place = client.place_for_frame(), if received => {
                let Some(place) = place else { return };
                turn += 1;
                let count = radios.0.len();
                let ports = (0..count).filter_map(|n| radios.0.get((turn + n) % count));
                let frame = ports.into_iter().find_map(|port| {
                    lock(&port.state).received.pop_front().map(|bytes| (port.link, bytes))
                });
                if let Some((link, bytes)) = frame {
                    place.send(link, bytes);
                }
            }
        }
    }
}

impl RadioSlot {
    /// Handles an event of the radio; returns what the node must learn of it.
    fn reported(&self, event: RadioEvent, client: &NodeClient) -> Vec<Input> {
        let mut state = lock(&self.state);
        let (link, name) = (self.link, self.settings.name());
        match event {
            // The last failure was of the radio, not of the port: its reason stays.
            RadioEvent::Opened if state.port_was_open => {}
            RadioEvent::Opened => state.status.down = Some(NO_ANSWER_YET.to_owned()),
            RadioEvent::Up { frame_bytes_max, info } => {
                state.info = info;
                let spec = spec::spec(&self.settings, frame_bytes_max, &state.info);
                state.is_new(spec);
            }
            RadioEvent::Ready => return self.ready(&mut state, client).into_iter().collect(),
            RadioEvent::Received(bytes) => {
                let new = state.announce_up(link);
                if state.received.len() >= FRAMES_HELD_MAX {
                    state.received.pop_front();
                    client.count("radio_frames_too_many");
                }
                state.received.push_back(bytes);
                return new.into_iter().collect();
            }
            RadioEvent::Busy { retry, why } => {
                tracing::debug!(radio = name, retry_ms = retry.ms(), %why, "the radio is busy");
            }
            RadioEvent::TooLarge { frame_bytes_max } => {
                let why = format!("it takes {frame_bytes_max} bytes only");
                state.refused(&name, "radio_frame_too_large", why, client);
                // The node starts again with frames that the radio takes.
                let spec = spec::spec(&self.settings, frame_bytes_max, &state.info);
                state.is_new(spec);
            }
            RadioEvent::DutyCycle { wait } => {
                let why = format!("its own duty cycle is reached, for {} s", wait.ms().div_ceil(1_000));
                state.refused(&name, "radio_duty_cycle", why, client);
            }
            RadioEvent::Refused { why } => state.refused(&name, "radio_refused", why.to_string(), client),
            RadioEvent::Sent => state.status.refused = None,
            RadioEvent::Down { why } => {
                let was_up = state.up;
                state.port_was_open = !why.is_of_port();
                state.status.down = Some(why.to_string());
                (state.up, state.new, state.waiting) = (false, None, None);
                return was_up.then_some(Input::RadioDown { link, why }).into_iter().collect();
            }
            _ => {}
        }
        Vec::new()
    }

    /// Handles that the radio takes a frame: the node learns of the radio, the waiting frame goes, or the node may send.
    fn ready(&self, state: &mut PortState, client: &NodeClient) -> Option<Input> {
        if let Some(new) = state.announce_up(self.link) {
            return Some(new);
        }
        let waiting = state.waiting.take();
        let sent = waiting.is_some_and(|frame| self.send(state, frame, client));
        (!sent).then_some(Input::RadioReady { link: self.link })
    }

    /// Hands a frame to the radio, or keeps it until the radio is ready; returns false if the radio can never take it.
    fn send(&self, state: &mut PortState, frame: Vec<u8>, client: &NodeClient) -> bool {
        match self.radio.send(frame.clone()) {
            Ok(()) => {}
            Err(RadioSendError::NotReady) if state.up => {
                if state.waiting.replace(frame).is_some() {
                    client.count("radio_frame_replaced");
                }
            }
            // The radio is gone meanwhile; the node learns of it by `RadioDown`.
            Err(RadioSendError::NotReady) => client.count("radio_frame_too_late"),
            Err(why) => {
                state.refused(&self.settings.name(), "radio_frame_size", why.to_string(), client);
                state.passed_over = true;
                return false;
            }
        }
        true
    }
}

impl PortState {
    /// Takes what the radio is, once it is up.
    fn is_new(&mut self, spec: RadioSpec) {
        self.status = RadioStatus {
            rules: spec.rules_text.clone(),
            silent: spec.ledger.rules.is_none(),
            down: None,
            refused: self.status.refused.take(),
        };
        if self.status.silent {
            tracing::warn!(radio = spec.name, "{}", spec.rules_text);
        } else {
            tracing::info!(radio = spec.name, "{}", spec.rules_text);
        }
        self.waiting = None;
        self.new = Some(Box::new(spec));
    }

    /// At the first sign that the radio works: the input by which the node learns of it, unless it knows already.
    fn announce_up(&mut self, link: LinkId) -> Option<Input> {
        let spec = self.new.take()?;
        self.up = true;
        Some(Input::RadioUp { link, spec })
    }

    fn refused(&mut self, radio: &str, word: &'static str, why: String, client: &NodeClient) {
        tracing::warn!(radio, "a frame was not sent: {why}");
        client.count(word);
        self.status.refused = Some(format!("the last frame was not sent: {why}"));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test waits for real sockets")]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use crate::runtime::tests::client_and_tasks;

    /// A radio on a TNC that the test emulates.
    struct Bench {
        radios: RadioSet,
        client: NodeClient,
        tasks: mpsc::Receiver<Task>,
        tnc: TcpStream,
        listener: TcpListener,
        link: LinkId,
    }

    async fn bench(options: &str) -> Bench {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("kiss+tcp://{}?region=wired{options}", listener.local_addr().unwrap());
        let (client, tasks) = client_and_tasks();
        let settings = [RadioSettings::from_url(&url).unwrap()];
        let (radios, events) = RadioSet::open(&settings, &LinkIds::default());
        tokio::spawn(forward(radios.clone(), events, client.clone()));
        let (tnc, _) = listener.accept().await.unwrap();
        let link = radios.0.first().unwrap().link;
        Bench { radios, client, tasks, tnc, listener, link }
    }

    impl Bench {
        async fn input(&mut self) -> Input {
            let next = tokio::time::timeout(Duration::from_secs(20), self.tasks.recv()).await;
            match next.unwrap().unwrap() {
                Task::Input(input) => input,
                Task::Frame { link, bytes, .. } => Input::Frame { link, bytes },
                _ => panic!("nobody else speaks to this node"),
            }
        }

        /// The next frame that the TNC is to send.
        async fn sent(&mut self) -> Vec<u8> {
            let (mut frame, mut inside) = (Vec::new(), false);
            loop {
                let byte = tokio::time::timeout(Duration::from_secs(20), self.tnc.read_u8()).await;
                match byte.unwrap().unwrap() {
                    0xC0 if inside && frame.first() == Some(&0) => return frame.split_off(1),
                    0xC0 => (frame, inside) = (Vec::new(), true),
                    byte => frame.push(byte),
                }
            }
        }

        fn dropped(&self) -> BTreeMap<&'static str, u64> {
            lock(&self.client.host.dropped).clone()
        }
    }

    #[tokio::test]
    async fn a_frame_that_comes_before_the_radio_is_ready_waits_for_it() {
        let mut bench = bench("&bitrate=9600").await;
        assert!(matches!(bench.input().await, Input::RadioUp { link, .. } if link == bench.link));
        assert!(bench.radios.send(bench.link, vec![1; 20], &bench.client));
        // The radio is not ready again: the second waits, a third takes its place.
        assert!(bench.radios.send(bench.link, vec![2; 20], &bench.client));
        assert!(bench.radios.send(bench.link, vec![3; 20], &bench.client));
        assert_eq!(bench.sent().await, [1; 20]);
        assert_eq!(bench.sent().await, [3; 20]);
        assert_eq!(bench.dropped().get("radio_frame_replaced"), Some(&1));
        assert!(matches!(bench.input().await, Input::RadioReady { .. }));
        assert!(!bench.radios.send(LinkId(99), vec![4; 20], &bench.client));
    }

    /// A program of another kind listens at the port: what is missing is its answer.
    #[tokio::test]
    async fn a_port_that_is_open_and_silent_is_shown_as_such() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("meshtastic+tcp://{}", listener.local_addr().unwrap());
        let (client, _tasks) = client_and_tasks();
        let (radios, events) = RadioSet::open(&[RadioSettings::from_url(&url).unwrap()], &LinkIds::default());
        tokio::spawn(forward(radios.clone(), events, client));
        let (_silent, _) = listener.accept().await.unwrap();
        let shown = || radios.alarms().iter().map(ToString::to_string).collect::<String>();
        for _ in 0..2_000 {
            if shown().contains(NO_ANSWER_YET) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}", shown());
    }

    /// A radio that refuses a frame stays ready, and the node learns of that: else it would wait for ever.
    #[tokio::test]
    async fn a_frame_of_a_wrong_size_does_not_stop_the_radio() {
        let mut bench = bench("&bitrate=9600&mtu=100").await;
        assert!(matches!(bench.input().await, Input::RadioUp { .. }));
        bench.radios.send(bench.link, vec![1; 101], &bench.client);
        assert!(matches!(bench.input().await, Input::RadioReady { .. }));
        assert_eq!(bench.dropped().get("radio_frame_size"), Some(&1));
        bench.radios.send(bench.link, vec![2; 100], &bench.client);
        assert_eq!(bench.sent().await, [2; 100]);
    }

    #[tokio::test]
    async fn a_radio_that_goes_and_comes_is_reported_both_times() {
        let mut bench = bench("&bitrate=9600").await;
        assert!(matches!(bench.input().await, Input::RadioUp { .. }));
        let (tnc, _) = {
            bench.tnc.shutdown().await.unwrap();
            assert!(matches!(bench.input().await, Input::RadioDown { .. }));
            assert!(
                bench
                    .radios
                    .alarms()
                    .iter()
                    .any(|alarm| alarm.to_string().contains("closed by the other end"))
            );
            bench.radios.send(bench.link, vec![1; 20], &bench.client);
            assert_eq!(bench.dropped().get("radio_frame_too_late"), Some(&1));
            bench.listener.accept().await.unwrap()
        };
        bench.tnc = tnc;
        assert!(matches!(bench.input().await, Input::RadioUp { .. }));
        assert_eq!(bench.radios.alarms(), Vec::new());
    }

    /// While the node is busy, frames wait within their bounds, and the newest are kept.
    #[tokio::test]
    async fn a_flood_on_air_neither_fills_the_inbox_nor_hides_what_is_new() {
        const FLOOD: u32 = 2_000;
        let mut bench = bench("&bitrate=9600").await;
        assert!(matches!(bench.input().await, Input::RadioUp { .. }));
        for number in 0..FLOOD {
            let text = format!("frame number {number:06}");
            let frame = [&[0xC0, 0], text.as_bytes(), &[0xC0]].concat();
            bench.tnc.write_all(&frame).await.unwrap();
        }
        let bounds = FRAMES_IN_INBOX_MAX + FRAMES_HELD_MAX;
        let taken = |bench: &Bench| bench.dropped().get("radio_frames_too_many").copied().unwrap_or_default();
        for _ in 0..400 {
            if taken(&bench) as usize + bounds >= FLOOD as usize {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(bench.tasks.len() <= FRAMES_IN_INBOX_MAX, "{} tasks", bench.tasks.len());
        let mut last = Vec::new();
        for _ in 0..FLOOD as u64 - taken(&bench) {
            let Input::Frame { bytes, .. } = bench.input().await else { panic!("only frames come") };
            last = bytes;
        }
        assert_eq!(String::from_utf8_lossy(&last), format!("frame number {:06}", FLOOD - 1));
    }
}
