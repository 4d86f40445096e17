//! The session with a MeshCore companion radio.
//!
//! ```text
//! who are you, which firmware, how is the channel set up [, set it up]     Up, Ready
//! whenever something was heard     fetch until nothing is left
//! a frame                          handed over between two fetches; taken, or the queue is full: tried again
//! ```
//! One command is in flight at a time. A command without an answer ends the session: what comes later could not be
//! distinguished from the answer to the next.

use super::modem::{Modem, ModemOutbox, Output};
use super::pace::Pace;
use super::{BusyReason, MeshcoreOptions, RadioDownReason, RadioEvent, RadioInfo, RefusedReason};
use tombolo_mesh::airtime::Modulation;
use tombolo_mesh::wire::meshcore::{
    CHANNEL_SECRET, DATA_TYPE, ErrorCode, Event, FIRMWARE_MIN, MeshcoreCommand, MeshcoreDecoder,
    PAYLOAD_BYTES, on_air_bytes,
};

/// Time for an answer, milliseconds.
const ANSWER_MS_MAX: u64 = 5_000;
/// How often it is asked who it is: a board that restarts as its port is opened needs a while.
const STARTS_MAX: u32 = 3;
/// Time for the answer to a frame handed over: an implementation may answer when it is through, milliseconds.
const SENT_MS_MAX: u64 = 30_000;
/// Between questions whether something was heard: a sign of life, and a push that was lost is made up for, milliseconds.
const ASK_EVERY_MS: u64 = 20_000;
/// A frame that has begun and does not go on for so long is none, milliseconds.
const HALF_MS_MAX: u64 = 1_000;
/// From handing over to the first bit on the air: the firmware's random delay, milliseconds.
const LEAD_IN_MS: u64 = 300;
/// Between attempts while the queue is full, milliseconds.
const BUSY_MS: u64 = 1_000;
/// Attempts before a frame is dropped.
const ATTEMPTS_MAX: u32 = 30;

/// One connection to a companion.
#[derive(Debug)]
pub(super) struct Companion {
    options: MeshcoreOptions,
    decoder: MeshcoreDecoder,
    out: ModemOutbox,
    asked: Option<Asked>,
    starts: u32,
    up: bool,
    info: RadioInfo,
    /// The longest frame, as set or as the firmware showed.
    frame_bytes_max: usize,
    /// Something was heard that is not fetched yet.
    waiting: bool,
    frame: Option<FrameInHand>,
    pace: Pace,
    heard_ms: u64,
    /// When it was last asked whether something was heard: whatever else it sends meanwhile is no answer to that.
    fetched_ms: u64,
}

/// The command in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    what: Question,
    until_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Start,
    Device,
    Channel,
    SetChannel,
    Send,
    Sync,
}

/// The frame in hand.
#[derive(Debug)]
struct FrameInHand {
    bytes: Vec<u8>,
    not_before_ms: u64,
    attempts: u32,
}

impl Companion {
    pub(super) fn new(options: MeshcoreOptions) -> Self {
        Self {
            options,
            decoder: MeshcoreDecoder::default(),
            out: ModemOutbox::default(),
            asked: None,
            starts: 1,
            up: false,
            info: RadioInfo::default(),
            frame_bytes_max: options.mtu,
            waiting: false,
            frame: None,
            pace: Pace::new(LEAD_IN_MS),
            heard_ms: 0,
            fetched_ms: 0,
        }
    }

    fn ask(&mut self, now_ms: u64, what: Question) {
        if what == Question::Sync {
            self.fetched_ms = now_ms;
        }
        let secret = self.options.secret.unwrap_or(CHANNEL_SECRET);
        let channel = self.options.channel;
        let frame = self.frame.as_ref().map(|frame| frame.bytes.as_slice()).unwrap_or_default();
        let command = match what {
            Question::Start => MeshcoreCommand::AppStart,
            Question::Device => MeshcoreCommand::DeviceQuery,
            Question::Channel => MeshcoreCommand::GetChannel(channel),
            Question::SetChannel => MeshcoreCommand::SetChannel { index: channel, secret: &secret },
            Question::Send => MeshcoreCommand::SendChannelData { channel, payload: frame },
            Question::Sync => MeshcoreCommand::SyncNext,
        };
        self.out.write(command.encode());
        let for_ms = if what == Question::Send { SENT_MS_MAX } else { ANSWER_MS_MAX };
        self.asked = Some(Asked { what, until_ms: now_ms + for_ms });
    }

    fn event(&mut self, now_ms: u64, event: Event) {
        match (self.asked.map(|asked| asked.what), event) {
            (_, Event::MessageWaiting) => self.waiting = true,
            (_, Event::Overheard { on_air_bytes }) => {
                let frame_ms = self.frame_ms(on_air_bytes);
                self.pace.heard(now_ms, frame_ms);
            }
            (Some(Question::Start), Event::SelfInfo { name, frequency_khz, modulation }) => {
                self.info.name = Some(name);
                self.info.frequency_hz = frequency_khz.checked_mul(1000);
                self.info.modulation = Some(modulation);
                self.ask(now_ms, Question::Device);
            }
            (Some(Question::Device), Event::DeviceInfo { version, text, .. }) => {
                if version < FIRMWARE_MIN {
                    return self.out.fail(RadioDownReason::OldFirmware(version.into()));
                }
                self.info.firmware = (!text.is_empty()).then_some(text);
                self.ask(now_ms, Question::Channel);
            }
            (Some(Question::Channel), Event::ChannelInfo { index, secret })
                if index == self.options.channel =>
            {
                let as_is = match self.options.secret {
                    Some(wanted) => secret == wanted,
                    None => secret.iter().any(|byte| *byte != 0),
                };
                if as_is { self.come_up() } else { self.ask(now_ms, Question::SetChannel) }
            }
            (Some(Question::SetChannel), Event::Ok) => self.come_up(),
            (Some(Question::Channel | Question::SetChannel), Event::Error(_)) => {
                self.out.fail(RadioDownReason::NoChannel);
            }
            (Some(Question::Start | Question::Device), Event::Error(_)) => {
                self.out.fail(RadioDownReason::OtherRadio);
            }
            (Some(Question::Send), Event::Ok) => self.sent(now_ms),
            (Some(Question::Send), Event::Error(code)) => self.refused(now_ms, code),
            (Some(Question::Sync), Event::ChannelData { channel, data_type, payload }) => {
                self.asked = None;
                if channel == self.options.channel && data_type == DATA_TYPE {
                    self.out.tell(RadioEvent::Received(payload));
                }
            }
            // More may be waiting behind it.
            (Some(Question::Sync), Event::Message) => self.asked = None,
            (Some(Question::Sync), Event::NoMore | Event::Error(_)) => {
                (self.asked, self.waiting) = (None, false);
            }
            _ => {}
        }
    }

    fn come_up(&mut self) {
        (self.asked, self.up, self.waiting) = (None, true, true);
        self.out.tell(RadioEvent::Up { frame_bytes_max: self.frame_bytes_max, info: self.info.clone() });
        self.out.tell(RadioEvent::Ready);
    }

    fn sent(&mut self, now_ms: u64) {
        self.asked = None;
        let Some(frame) = self.frame.take() else { return };
        let frame_ms = self.frame_ms(on_air_bytes(frame.bytes.len()));
        self.pace.handed_over(now_ms, frame_ms);
        self.out.tell(RadioEvent::Sent);
    }

    fn refused(&mut self, now_ms: u64, code: ErrorCode) {
        self.asked = None;
        let Some(frame) = &mut self.frame else { return };
        match code {
            ErrorCode::TableFull | ErrorCode::BadState if frame.attempts < ATTEMPTS_MAX => {
                frame.attempts += 1;
                frame.not_before_ms = now_ms + BUSY_MS;
                return self.out.tell(RadioEvent::Busy { retry_ms: BUSY_MS, why: BusyReason::QueueFull });
            }
            ErrorCode::TableFull | ErrorCode::BadState => {
                self.out.tell(RadioEvent::Refused { why: RefusedReason::Busy });
            }
            ErrorCode::NotFound => return self.out.fail(RadioDownReason::NoChannel),
            ErrorCode::Unsupported => return self.out.fail(RadioDownReason::OldFirmware(0)),
            ErrorCode::IllegalArgument if frame.bytes.len() > PAYLOAD_BYTES => {
                self.frame_bytes_max = PAYLOAD_BYTES;
                self.out.tell(RadioEvent::TooLarge { frame_bytes_max: PAYLOAD_BYTES });
            }
            other => {
                self.out.tell(RadioEvent::Refused { why: RefusedReason::Code(other.code().into()) });
            }
        }
        self.frame = None;
        self.out.tell(RadioEvent::Ready);
    }

    /// Asks what is due, if nothing is in flight: a fetch and a frame take turns.
    fn go_on(&mut self, now_ms: u64, after: Option<Question>) {
        if self.asked.is_some() || !self.up {
            return;
        }
        let frame = self.frame.as_ref().is_some_and(|frame| frame.not_before_ms <= now_ms);
        let idle = now_ms.saturating_sub(self.fetched_ms) >= ASK_EVERY_MS;
        if frame && !(self.waiting && after == Some(Question::Send)) {
            self.ask(now_ms, Question::Send);
        } else if self.waiting || idle {
            self.ask(now_ms, Question::Sync);
        }
    }

    fn frame_ms(&self, on_air_bytes: usize) -> u64 {
        let modulation = self.info.modulation.unwrap_or(Modulation::LONG_FAST);
        modulation.frame_us(on_air_bytes.min(tombolo_mesh::airtime::FRAME_BYTES_MAX)).div_ceil(1000)
    }

    fn decode(&mut self, now_ms: u64) {
        while let Some(event) = self.decoder.next_event() {
            let asked = self.asked.map(|asked| asked.what);
            self.event(now_ms, event);
            self.go_on(now_ms, asked);
        }
    }
}

impl Modem for Companion {
    fn connected(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        self.ask(now_ms, Question::Start);
    }

    fn received(&mut self, now_ms: u64, bytes: &[u8]) {
        self.heard_ms = now_ms;
        self.decoder.push(bytes);
        self.decode(now_ms);
    }

    fn send(&mut self, now_ms: u64, frame: Vec<u8>) {
        self.frame = Some(FrameInHand { bytes: frame, not_before_ms: now_ms, attempts: 0 });
        self.go_on(now_ms, None);
    }

    fn tick(&mut self, now_ms: u64) {
        while self.decoder.held_bytes() > 0 && now_ms.saturating_sub(self.heard_ms) >= HALF_MS_MAX {
            self.decoder.resync();
            self.decode(now_ms);
        }
        match self.asked.filter(|asked| asked.until_ms <= now_ms) {
            Some(Asked { what: Question::Start, .. }) if self.starts < STARTS_MAX => {
                self.starts += 1;
                self.ask(now_ms, Question::Start);
            }
            Some(_) => return self.out.fail(RadioDownReason::Silent),
            None => {}
        }
        if self.pace.take_ready(now_ms) {
            self.out.tell(RadioEvent::Ready);
        }
        self.go_on(now_ms, None);
    }

    fn timeout(&self) -> Option<u64> {
        let half = (self.decoder.held_bytes() > 0).then_some(self.heard_ms + HALF_MS_MAX);
        let answer = self.asked.map(|asked| asked.until_ms);
        let free = self.asked.is_none() && self.up;
        let frame = self.frame.as_ref().filter(|_| free).map(|frame| frame.not_before_ms);
        let idle = free.then_some(self.fetched_ms + ASK_EVERY_MS);
        [half, answer, frame, idle, self.pace.due_ms()].into_iter().flatten().min()
    }

    fn take(&mut self) -> Option<Output> {
        self.out.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radio::{RadioProtocol, RadioUrl};

    fn companion(options: &str) -> Companion {
        let url = RadioUrl::parse(&format!("meshcore+tcp://h?{options}")).unwrap();
        let RadioProtocol::Meshcore(options) = url.protocol else { panic!() };
        Companion::new(options)
    }

    /// What was reported, and the bodies of the commands.
    fn drain(companion: &mut Companion) -> (Vec<RadioEvent>, Vec<Vec<u8>>) {
        let (mut told, mut asked) = (vec![], vec![]);
        while let Some(output) = companion.take() {
            match output {
                Output::Write(bytes) => asked.push(bytes[3..].to_vec()),
                Output::Tell(event) => told.push(event),
                Output::Fail(why) => told.push(RadioEvent::Down { why }),
            }
        }
        (told, asked)
    }

    fn say(companion: &mut Companion, now_ms: u64, body: &[u8]) -> (Vec<RadioEvent>, Vec<Vec<u8>>) {
        let bytes = [&[0x3E, body.len() as u8, 0], body].concat();
        companion.received(now_ms, &bytes);
        drain(companion)
    }

    fn self_info() -> Vec<u8> {
        let mut body = vec![5];
        body.resize(1 + 3 + 32 + 8 + 4, 0);
        body.extend(869_618_u32.to_le_bytes());
        body.extend(250_000_u32.to_le_bytes());
        body.extend(b"\x0a\x05hut");
        body
    }

    fn up(options: &str, channel: [u8; 16]) -> (Companion, Vec<Vec<u8>>) {
        let mut radio = companion(options);
        radio.connected(0);
        assert_eq!(drain(&mut radio).1[0][0], 1);
        assert_eq!(say(&mut radio, 1, &self_info()).1, [[22, 3]]);
        assert_eq!(say(&mut radio, 2, &[13, 11, 50, 8]).1, [[31, 1]]);
        let (told, asked) = say(&mut radio, 3, &[&[18, 1], &[0; 32][..], &channel].concat());
        if asked.first().is_none_or(|body| body[0] != 32) {
            assert!(matches!(told[..], [RadioEvent::Up { frame_bytes_max: 163, .. }, RadioEvent::Ready]));
        }
        (radio, asked)
    }

    #[test]
    fn a_channel_in_use_is_taken_as_it_is_and_an_unused_one_set_up() {
        let (_, asked) = up("", [3; 16]);
        assert_eq!(asked, [[10]]);
        let (mut radio, asked) = up("", [0; 16]);
        assert_eq!(asked[0][34..], CHANNEL_SECRET);
        let (told, asked) = say(&mut radio, 4, &[0]);
        assert_eq!((told.len(), asked), (2, vec![vec![10]]));
        let (_, asked) = up("secret=07070707070707070707070707070707", [3; 16]);
        assert_eq!(asked[0][34..], [7; 16]);
    }

    #[test]
    fn frames_and_fetches_take_turns() {
        let (mut radio, _) = up("", [3; 16]);
        say(&mut radio, 5, &[10]);
        radio.send(10, vec![9; 20]);
        let (_, asked) = drain(&mut radio);
        assert_eq!(asked, [[&[62, 1, 0xFF, 0x74, 0xFF][..], &[9; 20]].concat()]);
        // Something is heard while the frame is in flight: no second command before the answer.
        assert_eq!(say(&mut radio, 11, &[0x83]), (vec![], vec![]));
        assert_eq!(say(&mut radio, 12, &[0]), (vec![RadioEvent::Sent], vec![vec![10]]));
        let data = [27, 0, 0, 0, 1, 0, 0x74, 0xFF, 2, 5, 6];
        assert_eq!(say(&mut radio, 13, &data), (vec![RadioEvent::Received(vec![5, 6])], vec![vec![10]]));
        // Another channel, and another type: passed over.
        for data in [[27, 0, 0, 0, 2, 0, 0x74, 0xFF, 1, 5], [27, 0, 0, 0, 1, 0, 1, 0xFF, 1, 5]] {
            assert_eq!(say(&mut radio, 14, &data), (vec![], vec![vec![10]]));
        }
        assert_eq!(say(&mut radio, 15, &[10]), (vec![], vec![]));
    }

    #[test]
    fn a_full_queue_is_waited_for() {
        let (mut radio, _) = up("", [3; 16]);
        say(&mut radio, 5, &[10]);
        radio.send(10, vec![9; 20]);
        drain(&mut radio);
        let busy = RadioEvent::Busy { retry_ms: BUSY_MS, why: BusyReason::QueueFull };
        assert_eq!(say(&mut radio, 20, &[1, 3]), (vec![busy], vec![]));
        assert_eq!(radio.timeout(), Some(20 + BUSY_MS));
        radio.tick(20 + BUSY_MS);
        assert_eq!(drain(&mut radio).1[0][0], 62);
        let (told, _) = say(&mut radio, 1100, &[0]);
        assert_eq!(told, [RadioEvent::Sent]);
        // 37 bytes at SF10/250 kHz take 290 ms.
        radio.tick(radio.timeout().unwrap());
        assert_eq!(drain(&mut radio).0, [RadioEvent::Ready]);
    }

    #[test]
    fn a_queue_that_stays_full_costs_one_frame() {
        let (mut radio, _) = up("", [3; 16]);
        say(&mut radio, 5, &[10]);
        radio.send(10, vec![9; 20]);
        let (mut now_ms, mut busy) = (10, 0);
        let told = loop {
            // A fetch in between is answered as such.
            let fetched = radio.asked.is_some_and(|asked| asked.what == Question::Sync);
            let (told, _) = say(&mut radio, now_ms, if fetched { &[10] } else { &[1, 3] });
            if told.contains(&RadioEvent::Ready) {
                break told;
            }
            busy += told.len();
            now_ms = radio.timeout().unwrap().max(now_ms);
            radio.tick(now_ms);
        };
        assert_eq!(told, [RadioEvent::Refused { why: RefusedReason::Busy }, RadioEvent::Ready]);
        assert_eq!(busy, ATTEMPTS_MAX as usize);
    }

    #[test]
    fn older_firmware_takes_two_bytes_less() {
        let (mut radio, _) = up("mtu=163", [3; 16]);
        say(&mut radio, 5, &[10]);
        radio.send(10, vec![9; 165]);
        drain(&mut radio);
        let (told, _) = say(&mut radio, 11, &[1, 6]);
        assert_eq!(told, [RadioEvent::TooLarge { frame_bytes_max: 163 }, RadioEvent::Ready]);
    }

    #[test]
    fn a_radio_that_does_not_answer_or_is_too_old_is_down() {
        let mut radio = companion("");
        radio.connected(0);
        (0..STARTS_MAX).for_each(|_| radio.tick(radio.timeout().unwrap()));
        assert_eq!(drain(&mut radio).0, [RadioEvent::Down { why: RadioDownReason::Silent }]);
        let mut radio = companion("");
        radio.connected(0);
        say(&mut radio, 1, &self_info());
        let (told, _) = say(&mut radio, 2, &[13, 9]);
        assert_eq!(told, [RadioEvent::Down { why: RadioDownReason::OldFirmware(9) }]);
    }

    #[test]
    fn a_quiet_radio_is_asked_for_a_sign_of_life() {
        let (mut radio, _) = up("", [3; 16]);
        say(&mut radio, 5, &[10]);
        assert_eq!(radio.timeout(), Some(3 + ASK_EVERY_MS));
        radio.tick(3 + ASK_EVERY_MS);
        assert_eq!(drain(&mut radio).1, [[10]]);
        radio.tick(3 + ASK_EVERY_MS + ANSWER_MS_MAX);
        assert_eq!(drain(&mut radio).0, [RadioEvent::Down { why: RadioDownReason::Silent }]);
    }

    /// Pushes of what passes on the air are no word on what waits: a lost one of those that are would hold a frame up for as
    /// long as there is traffic.
    #[test]
    fn what_waits_is_asked_for_also_while_the_radio_talks_of_other_things() {
        let (mut radio, _) = up("", [3; 16]);
        say(&mut radio, 5, &[10]);
        let overheard = [&[0x88, 20, 180][..], &[7; 40]].concat();
        let mut asked = 0;
        for now_ms in (1_000..=60_000).step_by(1_000) {
            let (_, commands) = say(&mut radio, now_ms, &overheard);
            if commands == [[10]] {
                asked += 1;
                say(&mut radio, now_ms, &[10]);
            }
        }
        assert!(asked >= 2, "asked {asked} times in a minute");
    }
}
