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
use tombolo_mesh::time::{Millis, Mono};
use tombolo_mesh::wire::meshcore::{
    CHANNEL_SECRET, DATA_TYPE, ErrorCode, Event, FIRMWARE_MIN, MeshcoreCommand, MeshcoreDecoder,
    PAYLOAD_BYTES, on_air_bytes,
};

/// Time for an answer.
const ANSWER_MAX: Millis = Millis::from_ms(5_000);
/// How often it is asked who it is: a board that restarts as its port is opened needs a while.
const STARTS_MAX: u32 = 3;
/// Time for the answer to a frame handed over: an implementation may answer when it is through.
const SENT_MAX: Millis = Millis::from_ms(30_000);
/// Between questions whether something was heard: a sign of life, and a push that was lost is made up for.
const ASK_EVERY: Millis = Millis::from_ms(20_000);
/// A frame that has begun and does not go on for so long is none.
const HALF_MAX: Millis = Millis::from_ms(1_000);
/// From handing over to the first bit on the air: the firmware's random delay.
const LEAD_IN: Millis = Millis::from_ms(300);
/// Between attempts while the queue is full.
const BUSY: Millis = Millis::from_ms(1_000);
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
    heard_at: Mono,
    /// When it was last asked whether something was heard: whatever else it sends meanwhile is no answer to that.
    fetched_at: Mono,
}

/// The command in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    what: Question,
    until: Mono,
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
    not_before: Mono,
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
            pace: Pace::new(LEAD_IN),
            heard_at: Mono::ZERO,
            fetched_at: Mono::ZERO,
        }
    }

    fn ask(&mut self, now: Mono, what: Question) {
        if what == Question::Sync {
            self.fetched_at = now;
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
        let length = if what == Question::Send { SENT_MAX } else { ANSWER_MAX };
        self.asked = Some(Asked { what, until: now + length });
    }

    fn event(&mut self, now: Mono, event: Event) {
        match (self.asked.map(|asked| asked.what), event) {
            (_, Event::MessageWaiting) => self.waiting = true,
            (_, Event::Overheard { on_air_bytes }) => {
                let frame_airtime = self.frame_airtime(on_air_bytes);
                self.pace.heard(now, frame_airtime);
            }
            (Some(Question::Start), Event::SelfInfo { name, frequency_khz, modulation }) => {
                self.info.name = Some(name);
                self.info.frequency_hz = frequency_khz.checked_mul(1000);
                self.info.modulation = Some(modulation);
                self.ask(now, Question::Device);
            }
            (Some(Question::Device), Event::DeviceInfo { version, text, .. }) => {
                if version < FIRMWARE_MIN {
                    return self.out.fail(RadioDownReason::OldFirmware(version.into()));
                }
                self.info.firmware = (!text.is_empty()).then_some(text);
                self.ask(now, Question::Channel);
            }
            (Some(Question::Channel), Event::ChannelInfo { index, secret })
                if index == self.options.channel =>
            {
                let as_is = match self.options.secret {
                    Some(wanted) => secret == wanted,
                    None => secret.iter().any(|byte| *byte != 0),
                };
                if as_is { self.come_up() } else { self.ask(now, Question::SetChannel) }
            }
            (Some(Question::SetChannel), Event::Ok) => self.come_up(),
            (Some(Question::Channel | Question::SetChannel), Event::Error(_)) => {
                self.out.fail(RadioDownReason::NoChannel);
            }
            (Some(Question::Start | Question::Device), Event::Error(_)) => {
                self.out.fail(RadioDownReason::OtherRadio);
            }
            (Some(Question::Send), Event::Ok) => self.sent(now),
            (Some(Question::Send), Event::Error(code)) => self.refused(now, code),
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

    fn sent(&mut self, now: Mono) {
        self.asked = None;
        let Some(frame) = self.frame.take() else { return };
        let frame_airtime = self.frame_airtime(on_air_bytes(frame.bytes.len()));
        self.pace.handed_over(now, frame_airtime);
        self.out.tell(RadioEvent::Sent);
    }

    fn refused(&mut self, now: Mono, code: ErrorCode) {
        self.asked = None;
        let Some(frame) = &mut self.frame else { return };
        match code {
            ErrorCode::TableFull | ErrorCode::BadState if frame.attempts < ATTEMPTS_MAX => {
                frame.attempts += 1;
                frame.not_before = now + BUSY;
                return self.out.tell(RadioEvent::Busy { retry: BUSY, why: BusyReason::QueueFull });
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
    fn go_on(&mut self, now: Mono, after: Option<Question>) {
        if self.asked.is_some() || !self.up {
            return;
        }
        let frame = self.frame.as_ref().is_some_and(|frame| frame.not_before <= now);
        let idle = now.since(self.fetched_at) >= ASK_EVERY;
        if frame && !(self.waiting && after == Some(Question::Send)) {
            self.ask(now, Question::Send);
        } else if self.waiting || idle {
            self.ask(now, Question::Sync);
        }
    }

    fn frame_airtime(&self, on_air_bytes: usize) -> Millis {
        let modulation = self.info.modulation.unwrap_or(Modulation::LONG_FAST);
        let bytes = on_air_bytes.min(tombolo_mesh::airtime::FRAME_BYTES_MAX);
        Millis::from_us_rounded_up(modulation.frame_us(bytes))
    }

    fn decode(&mut self, now: Mono) {
        while let Some(event) = self.decoder.next_event() {
            let asked = self.asked.map(|asked| asked.what);
            self.event(now, event);
            self.go_on(now, asked);
        }
    }
}

impl Modem for Companion {
    fn connected(&mut self, now: Mono) {
        self.heard_at = now;
        self.ask(now, Question::Start);
    }

    fn received(&mut self, now: Mono, bytes: &[u8]) {
        self.heard_at = now;
        self.decoder.push(bytes);
        self.decode(now);
    }

    fn send(&mut self, now: Mono, frame: Vec<u8>) {
        self.frame = Some(FrameInHand { bytes: frame, not_before: now, attempts: 0 });
        self.go_on(now, None);
    }

    fn tick(&mut self, now: Mono) {
        while self.decoder.held_bytes() > 0 && now.since(self.heard_at) >= HALF_MAX {
            self.decoder.resync();
            self.decode(now);
        }
        match self.asked.filter(|asked| asked.until <= now) {
            Some(Asked { what: Question::Start, .. }) if self.starts < STARTS_MAX => {
                self.starts += 1;
                self.ask(now, Question::Start);
            }
            Some(_) => return self.out.fail(RadioDownReason::Silent),
            None => {}
        }
        if self.pace.take_ready(now) {
            self.out.tell(RadioEvent::Ready);
        }
        self.go_on(now, None);
    }

    fn timeout(&self) -> Option<Mono> {
        let half = (self.decoder.held_bytes() > 0).then_some(self.heard_at + HALF_MAX);
        let answer = self.asked.map(|asked| asked.until);
        let free = self.asked.is_none() && self.up;
        let frame = self.frame.as_ref().filter(|_| free).map(|frame| frame.not_before);
        let idle = free.then_some(self.fetched_at + ASK_EVERY);
        [half, answer, frame, idle, self.pace.due()].into_iter().flatten().min()
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
        companion.received(Mono::from_ms(now_ms), &bytes);
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
        radio.connected(Mono::ZERO);
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
        radio.send(Mono::from_ms(10), vec![9; 20]);
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
        radio.send(Mono::from_ms(10), vec![9; 20]);
        drain(&mut radio);
        let busy = RadioEvent::Busy { retry: BUSY, why: BusyReason::QueueFull };
        assert_eq!(say(&mut radio, 20, &[1, 3]), (vec![busy], vec![]));
        assert_eq!(radio.timeout(), Some(Mono::from_ms(20 + BUSY.ms())));
        radio.tick(Mono::from_ms(20 + BUSY.ms()));
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
        radio.send(Mono::from_ms(10), vec![9; 20]);
        let (mut now_ms, mut busy) = (10, 0);
        let told = loop {
            // A fetch in between is answered as such.
            let fetched = radio.asked.is_some_and(|asked| asked.what == Question::Sync);
            let (told, _) = say(&mut radio, now_ms, if fetched { &[10] } else { &[1, 3] });
            if told.contains(&RadioEvent::Ready) {
                break told;
            }
            busy += told.len();
            now_ms = (radio.timeout().unwrap().max(Mono::from_ms(now_ms))).ms();
            radio.tick(Mono::from_ms(now_ms));
        };
        assert_eq!(told, [RadioEvent::Refused { why: RefusedReason::Busy }, RadioEvent::Ready]);
        assert_eq!(busy, ATTEMPTS_MAX as usize);
    }

    #[test]
    fn older_firmware_takes_two_bytes_less() {
        let (mut radio, _) = up("mtu=163", [3; 16]);
        say(&mut radio, 5, &[10]);
        radio.send(Mono::from_ms(10), vec![9; 165]);
        drain(&mut radio);
        let (told, _) = say(&mut radio, 11, &[1, 6]);
        assert_eq!(told, [RadioEvent::TooLarge { frame_bytes_max: 163 }, RadioEvent::Ready]);
    }

    #[test]
    fn a_radio_that_does_not_answer_or_is_too_old_is_down() {
        let mut radio = companion("");
        radio.connected(Mono::ZERO);
        (0..STARTS_MAX).for_each(|_| radio.tick(radio.timeout().unwrap()));
        assert_eq!(drain(&mut radio).0, [RadioEvent::Down { why: RadioDownReason::Silent }]);
        let mut radio = companion("");
        radio.connected(Mono::ZERO);
        say(&mut radio, 1, &self_info());
        let (told, _) = say(&mut radio, 2, &[13, 9]);
        assert_eq!(told, [RadioEvent::Down { why: RadioDownReason::OldFirmware(9) }]);
    }

    #[test]
    fn a_quiet_radio_is_asked_for_a_sign_of_life() {
        let (mut radio, _) = up("", [3; 16]);
        say(&mut radio, 5, &[10]);
        assert_eq!(radio.timeout(), Some(Mono::from_ms(3 + ASK_EVERY.ms())));
        radio.tick(Mono::from_ms(3 + ASK_EVERY.ms()));
        assert_eq!(drain(&mut radio).1, [[10]]);
        radio.tick(Mono::from_ms(3 + ASK_EVERY.ms() + ANSWER_MAX.ms()));
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
