//! The session with a KISS TNC, plain or of the MeshCore modem firmware.
//!
//! A plain TNC reports nothing, so it is paced by what its air can carry; carrier and slots are paid once for a burst. A
//! modem that reports takes the next frame when the last one is through.

use super::modem::{Modem, ModemOutbox, Output};
use super::pace::Pace;
use super::{BusyReason, KissOptions, RadioDownReason, RadioEvent, RadioInfo, RadioUrl, RefusedReason};
use std::collections::VecDeque;
use tombolo_mesh::airtime::{self, Modulation};
use tombolo_mesh::time::{Millis, Mono};
use tombolo_mesh::wire::ax25::{self, UiFrame};
use tombolo_mesh::wire::kiss::modem::{self, ModemReport};
use tombolo_mesh::wire::kiss::{Event, FRAME_BYTES_MAX, KissCommand, KissDecoder};
use tombolo_mesh::wire::meshcore;

/// The rate on the air where none is given: 1200 baud AFSK, what most TNCs speak, bit/s.
const BIT_RATE: u32 = 1200;
/// Carrier before the first bit as most TNCs have it from the start, in units of 10 ms.
const TXDELAY: u8 = 30;
/// Likewise the chance to send in a free slot.
const PERSIST: u8 = 63;
/// Likewise a slot, in units of 10 ms.
const SLOT: u8 = 10;
/// Own frames remembered to know their echo, and for how long.
const ECHOES_MAX: usize = 64;
const ECHO_MAX: Millis = Millis::from_ms(60_000);

/// Time for a modem to answer the first questions.
const ANSWER_MAX: Millis = Millis::from_ms(3_000);
/// How often it is asked them: a board that restarts as its port is opened needs a while.
const QUESTIONS_MAX: u32 = 4;
/// Between signs of life asked of a modem.
const PING_EVERY: Millis = Millis::from_ms(60_000);
/// A frame that a modem has taken is through after four times its time on the air and this, for the channel to
/// become free.
const REPORT: Millis = Millis::from_ms(15_000);
/// Between attempts to hand over a frame while a modem is busy.
const BUSY: Millis = Millis::from_ms(500);
/// Attempts before a frame is dropped.
const ATTEMPTS_MAX: u32 = 40;

/// One connection to a TNC.
#[derive(Debug)]
pub(super) struct Tnc {
    options: KissOptions,
    decoder: KissDecoder,
    out: ModemOutbox,
    echoes: Echoes,
    line: Pacing,
}

/// When the next frame may come.
#[derive(Debug)]
enum Pacing {
    Reckoned(Reckoned),
    Reported(Reported),
}

impl Tnc {
    pub(super) fn new(options: KissOptions, rate: AssumedRate) -> Self {
        let line = if options.reports {
            Pacing::Reported(Reported::default())
        } else {
            Pacing::Reckoned(Reckoned::new(&options, rate))
        };
        Self {
            options,
            decoder: KissDecoder::default(),
            out: ModemOutbox::default(),
            echoes: Echoes::default(),
            line,
        }
    }

    fn command(&mut self, command: KissCommand<'_>) {
        self.out.write(command.encode(self.options.tnc_port));
    }

    fn heard(&mut self, now: Mono, bytes: Vec<u8>) {
        let on_air_bytes = bytes.len();
        let frame = match self.options.call {
            None => bytes,
            Some(own) => match UiFrame::decode(&bytes) {
                Some(frame) if frame.destination != ax25::DESTINATION => return,
                Some(frame) if frame.source == own => {
                    if !self.echoes.is_echo(now, &frame.payload) {
                        tracing::warn!(call = %own, "another station sends with our call sign");
                    }
                    return;
                }
                Some(frame) => frame.payload,
                None => return,
            },
        };
        if self.echoes.is_echo(now, &frame) {
            return;
        }
        if let Pacing::Reckoned(line) = &mut self.line {
            line.pace.heard(now, line.frame_airtime(on_air_bytes));
        }
        self.out.tell(RadioEvent::Received(frame));
    }

    /// The frame as the TNC takes it.
    fn wrap(&self, frame: Vec<u8>) -> Vec<u8> {
        match self.options.call {
            Some(source) => UiFrame { destination: ax25::DESTINATION, source, payload: frame }.encode(),
            None => frame,
        }
    }

    fn up(&mut self, info: RadioInfo) {
        self.out.tell(RadioEvent::Up { frame_bytes_max: self.frame_bytes_max(), info });
        self.out.tell(RadioEvent::Ready);
    }

    /// The longest frame: as set, less where AX.25 and the modem's own limit leave less.
    fn frame_bytes_max(&self) -> usize {
        let header = self.options.call.map_or(0, |_| ax25::HEADER_BYTES);
        let modem = if self.options.reports { modem::PACKET_BYTES_MAX } else { FRAME_BYTES_MAX };
        self.options.mtu.min(modem - header)
    }

    fn reported(&mut self, now: Mono, report: ModemReport) {
        let Pacing::Reported(line) = &mut self.line else { return };
        line.heard_at = now;
        match report {
            ModemReport::Radio { frequency_hz, bandwidth_hz, spreading_factor, coding_rate } => {
                // Zeros until it is set by KISS: it is on the firmware's default.
                let preamble_symbols = meshcore::preamble_symbols(spreading_factor);
                let modulation = Modulation { spreading_factor, bandwidth_hz, coding_rate, preamble_symbols };
                let set = frequency_hz > 0 && bandwidth_hz > 0;
                line.info.frequency_hz = set.then_some(frequency_hz);
                line.info.modulation = set.then_some(modulation);
            }
            ModemReport::DeviceName(name) => line.info.name = Some(name),
            ModemReport::Airtime { ms } => line.frame_airtime_max = Some(Millis::from_ms(u64::from(ms))),
            // The last of the questions asked at the start.
            ModemReport::Pong if !line.up => {
                line.up = true;
                let info = line.info.clone();
                self.up(info);
            }
            ModemReport::TxDone { sent } if line.pending.is_some() => {
                line.pending = None;
                self.out.tell(if sent {
                    RadioEvent::Sent
                } else {
                    RadioEvent::Refused { why: RefusedReason::Failed }
                });
                self.out.tell(RadioEvent::Ready);
            }
            ModemReport::Error(modem::TX_BUSY) => {
                if let Some(pending) = line.pending.as_mut().filter(|pending| pending.retry_at.is_none()) {
                    pending.retry_at = Some(now + BUSY);
                    self.out.tell(RadioEvent::Busy { retry: BUSY, why: BusyReason::Sending });
                }
            }
            _ => {}
        }
    }

    /// The first questions to a reporting modem.
    fn ask(&mut self, now: Mono) {
        if let Pacing::Reported(line) = &mut self.line {
            (line.heard_at, line.questions) = (now, line.questions + 1);
        }
        for question in [modem::GET_RADIO, modem::GET_DEVICE_NAME, &modem::get_airtime(255), modem::PING] {
            self.command(KissCommand::SetHardware(question));
        }
    }

    /// What a reporting modem owes by now.
    fn tick_reported(&mut self, now: Mono) {
        let Pacing::Reported(line) = &mut self.line else { return };
        let (silent, up) = (now.since(line.heard_at), line.up);
        if !up && silent >= ANSWER_MAX && line.questions < QUESTIONS_MAX {
            return self.ask(now);
        }
        if silent >= if up { PING_EVERY + ANSWER_MAX } else { ANSWER_MAX } {
            return self.out.fail(RadioDownReason::Silent);
        }
        if up && silent >= PING_EVERY && !line.asked {
            line.asked = true;
            return self.command(KissCommand::SetHardware(modem::PING));
        }
        let Some(pending) = &mut line.pending else { return };
        let again = pending.retry_at.is_some_and(|at| at <= now);
        let why = if pending.attempts >= ATTEMPTS_MAX && again {
            RefusedReason::Busy
        } else if pending.until <= now {
            RefusedReason::NoReport
        } else {
            if again {
                pending.attempts += 1;
                pending.retry_at = None;
                let bytes = pending.bytes.clone();
                self.command(KissCommand::Data(&bytes));
            }
            return;
        };
        line.pending = None;
        self.out.tell(RadioEvent::Refused { why });
        self.out.tell(RadioEvent::Ready);
    }
}

impl Modem for Tnc {
    fn connected(&mut self, now: Mono) {
        let KissOptions { txdelay, persist, slot, .. } = self.options;
        let settings = [
            txdelay.map(KissCommand::TxDelay),
            persist.map(KissCommand::Persistence),
            slot.map(KissCommand::SlotTime),
        ];
        settings.into_iter().flatten().for_each(|setting| self.command(setting));
        match &mut self.line {
            Pacing::Reckoned(_) => self.up(RadioInfo::default()),
            Pacing::Reported(_) => self.ask(now),
        }
    }

    fn received(&mut self, now: Mono, bytes: &[u8]) {
        self.decoder.push(bytes);
        while let Some(event) = self.decoder.next_event() {
            if let Pacing::Reported(line) = &mut self.line {
                (line.heard_at, line.asked) = (now, false);
            }
            match event {
                Event::Data { port, bytes } if port == self.options.tnc_port => self.heard(now, bytes),
                Event::Data { .. } => {}
                Event::Hardware { bytes } => {
                    if let Some(report) = ModemReport::parse(&bytes) {
                        self.reported(now, report);
                    }
                }
            }
        }
    }

    fn send(&mut self, now: Mono, frame: Vec<u8>) {
        self.echoes.remember(now, &frame);
        let bytes = self.wrap(frame);
        self.command(KissCommand::Data(&bytes));
        match &mut self.line {
            Pacing::Reckoned(line) => line.pace.handed_over(now, line.frame_airtime(bytes.len())),
            Pacing::Reported(line) => {
                let until = now + REPORT + 4 * line.frame_airtime_max.unwrap_or(REPORT).min(REPORT);
                line.pending = Some(PendingFrame { bytes, until, retry_at: None, attempts: 1 });
            }
        }
    }

    fn tick(&mut self, now: Mono) {
        match &mut self.line {
            Pacing::Reckoned(line) => {
                if line.pace.take_ready(now) {
                    self.out.tell(RadioEvent::Ready);
                }
            }
            Pacing::Reported(_) => self.tick_reported(now),
        }
    }

    fn timeout(&self) -> Option<Mono> {
        match &self.line {
            Pacing::Reckoned(line) => line.pace.due(),
            Pacing::Reported(line) => Some(line.due()),
        }
    }

    fn take(&mut self) -> Option<Output> {
        self.out.take()
    }
}

/// The line of a TNC that reports nothing.
#[derive(Debug)]
struct Reckoned {
    rate: AssumedRate,
    pace: Pace,
}

/// How fast bytes leave a TNC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AssumedRate {
    /// A modem with HDLC framing, bit/s.
    Bits(u32),
    LoRa(Modulation),
}

impl AssumedRate {
    /// As the URL gives it, else [`BIT_RATE`].
    pub(super) fn of(url: &RadioUrl) -> Self {
        let preset = url.preset.as_deref().and_then(|preset| preset.parse().ok());
        match preset {
            Some(airtime::PhyRate::LoRa { modulation, .. }) => Self::LoRa(modulation),
            Some(airtime::PhyRate::BitRate { bits_per_second, .. }) => Self::Bits(bits_per_second),
            None => Self::Bits(url.bitrate.unwrap_or(BIT_RATE)),
        }
    }
}

impl Reckoned {
    fn new(options: &KissOptions, rate: AssumedRate) -> Self {
        let tens = |of: Option<u8>, or: u8| Millis::from_ms(u64::from(of.unwrap_or(or)) * 10);
        let slots = 256 / (u64::from(options.persist.unwrap_or(PERSIST)) + 1);
        let lead_in = tens(options.txdelay, TXDELAY) + slots * tens(options.slot, SLOT);
        Self { rate, pace: Pace::new(lead_in) }
    }

    /// Time on the air of a frame; with HDLC that is flags, check sequence, and one stuffed bit in 30 as in
    /// random bytes.
    fn frame_airtime(&self, bytes: usize) -> Millis {
        match self.rate {
            AssumedRate::Bits(bit_rate) => {
                let bits = (bytes as u64 + 4) * 8 * 31 / 30;
                Millis::from_ms((bits * 1000).div_ceil(u64::from(bit_rate.max(1))))
            }
            AssumedRate::LoRa(modulation) => Millis::from_us_rounded_up(modulation.message_us(bytes)),
        }
    }
}

/// A modem that reports when a frame is through.
#[derive(Debug, Default)]
struct Reported {
    up: bool,
    /// How often the first questions were asked.
    questions: u32,
    info: RadioInfo,
    /// Time on the air of the longest frame, as the modem reports it.
    frame_airtime_max: Option<Millis>,
    pending: Option<PendingFrame>,
    heard_at: Mono,
    /// Whether a sign of life was asked for since it was last heard.
    asked: bool,
}

#[derive(Debug)]
struct PendingFrame {
    bytes: Vec<u8>,
    until: Mono,
    /// Set while the modem was busy: when to try again.
    retry_at: Option<Mono>,
    attempts: u32,
}

impl Reported {
    fn due(&self) -> Mono {
        let life_end = match (self.up, self.asked) {
            (false, _) => self.heard_at + ANSWER_MAX,
            (true, false) => self.heard_at + PING_EVERY,
            (true, true) => self.heard_at + PING_EVERY + ANSWER_MAX,
        };
        let pending_due =
            self.pending.as_ref().map(|pending| pending.retry_at.unwrap_or(Mono::NEVER).min(pending.until));
        pending_due.unwrap_or(Mono::NEVER).min(life_end)
    }
}

/// The last frames sent: on a shared sound card a TNC hears itself.
#[derive(Debug, Default)]
struct Echoes(VecDeque<([u8; 8], Mono)>);

impl Echoes {
    fn remember(&mut self, now: Mono, frame: &[u8]) {
        if self.0.len() >= ECHOES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((print(frame), now));
    }

    fn is_echo(&mut self, now: Mono, frame: &[u8]) -> bool {
        self.0.retain(|(_, at)| now.since(*at) < ECHO_MAX);
        !self.0.is_empty() && self.0.iter().any(|(known, _)| *known == print(frame))
    }
}

fn print(frame: &[u8]) -> [u8; 8] {
    blake3::hash(frame).as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radio::RadioProtocol;
    use crate::radio::pace::RECKONED_MAX;

    fn tnc(options: &str) -> Tnc {
        let url = RadioUrl::parse(&format!("kiss+tcp://h?{options}")).unwrap();
        let RadioProtocol::Kiss(options) = &url.protocol else { panic!() };
        Tnc::new(*options, AssumedRate::of(&url))
    }

    /// What was reported, and the frames that were written to the TNC.
    fn drain(tnc: &mut Tnc) -> (Vec<RadioEvent>, Vec<Event>) {
        let (mut told, mut wire) = (vec![], KissDecoder::default());
        while let Some(output) = tnc.take() {
            match output {
                Output::Write(bytes) => wire.push(&bytes),
                Output::Tell(event) => told.push(event),
                Output::Fail(why) => told.push(RadioEvent::Down { why }),
            }
        }
        (told, std::iter::from_fn(|| wire.next_event()).collect())
    }

    /// Goes on to the next report.
    fn next(tnc: &mut Tnc, now_ms: &mut u64) -> Vec<RadioEvent> {
        loop {
            let (told, _) = drain(tnc);
            if !told.is_empty() {
                return told;
            }
            *now_ms = (tnc.timeout().unwrap().max(Mono::from_ms(*now_ms))).ms();
            tnc.tick(Mono::from_ms(*now_ms));
        }
    }

    fn hardware(tnc: &mut Tnc, now_ms: u64, bytes: &[u8]) {
        tnc.received(Mono::from_ms(now_ms), &KissCommand::SetHardware(bytes).encode(0));
    }

    #[test]
    fn a_plain_tnc_is_handed_frames_at_the_pace_of_its_air() {
        let (mut tnc, mut now_ms) = (tnc("bitrate=9600"), 0);
        tnc.connected(Mono::from_ms(now_ms));
        assert!(matches!(
            drain(&mut tnc).0[..],
            [RadioEvent::Up { frame_bytes_max: 255, .. }, RadioEvent::Ready]
        ));
        for _ in 0..200 {
            tnc.send(Mono::from_ms(now_ms), vec![1; 200]);
            assert_eq!(next(&mut tnc, &mut now_ms), [RadioEvent::Ready]);
        }
        // 200 bytes take 176 ms at this rate; carrier, slots and pauses come on top, once per burst.
        let each_ms = now_ms / 200;
        assert!((176..300).contains(&each_ms), "{each_ms}");
    }

    #[test]
    fn what_is_heard_puts_the_next_frame_off() {
        let (mut quiet, mut busy) = (tnc("bitrate=1200"), tnc("bitrate=1200"));
        quiet.send(Mono::ZERO, vec![1; 100]);
        busy.send(Mono::ZERO, vec![1; 100]);
        // 124 bytes at 1200 bit/s have just passed.
        busy.received(Mono::from_ms(900), &KissCommand::Data(&[2; 120]).encode(0));
        let quiet_ms = quiet.timeout().unwrap().ms();
        let later_ms = busy.timeout().unwrap().ms() - quiet_ms;
        assert!((820..870).contains(&later_ms), "{later_ms}");
        for i in 0..1000_u32 {
            busy.received(
                Mono::from_ms(1_000),
                &KissCommand::Data(&[&[3; 250], i.to_be_bytes().as_slice()].concat()).encode(0),
            );
        }
        assert!(busy.timeout().unwrap().ms() <= 1_000 + quiet_ms, "no more was heard than time went by");
        for now_ms in (20..2 * RECKONED_MAX.ms()).step_by(100) {
            busy.received(
                Mono::from_ms(now_ms),
                &KissCommand::Data(&[&[4; 250], now_ms.to_be_bytes().as_slice()].concat()).encode(0),
            );
        }
        assert!(
            busy.timeout().unwrap().ms() <= RECKONED_MAX.ms() + quiet_ms,
            "no flood silences us for ever"
        );
    }

    #[test]
    fn the_own_echo_is_dropped_and_the_same_bytes_later_are_not() {
        let mut tnc = tnc("bitrate=9600");
        let frame = vec![7; 60];
        let echo = KissCommand::Data(&frame).encode(0);
        tnc.send(Mono::ZERO, frame.clone());
        tnc.received(Mono::from_ms(500), &echo);
        assert_eq!(drain(&mut tnc).0, []);
        tnc.received(Mono::from_ms(ECHO_MAX.ms()), &echo);
        assert_eq!(drain(&mut tnc).0, [RadioEvent::Received(frame)]);
    }

    #[test]
    fn with_a_call_sign_only_frames_of_ours_by_others_are_heard() {
        let (mut own, mut other) = (tnc("call=N0CALL-1"), tnc("call=N0CALL-2"));
        other.send(Mono::ZERO, b"from the other".to_vec());
        let (_, wire) = drain(&mut other);
        let [Event::Data { bytes, .. }] = &wire[..] else { panic!("{wire:?}") };
        own.received(Mono::ZERO, &KissCommand::Data(bytes).encode(0));
        assert_eq!(drain(&mut own).0, [RadioEvent::Received(b"from the other".to_vec())]);
        // Its own call, another port, another destination, no AX.25 at all.
        other.received(Mono::ZERO, &KissCommand::Data(bytes).encode(0));
        own.received(Mono::ZERO, &KissCommand::Data(bytes).encode(1));
        own.received(Mono::ZERO, &KissCommand::Data(b"bare bytes that are no AX.25").encode(0));
        let mut foreign = UiFrame::decode(bytes).unwrap();
        foreign.destination = "APRS".parse().unwrap();
        own.received(Mono::ZERO, &KissCommand::Data(&foreign.encode()).encode(0));
        assert_eq!((drain(&mut own).0, drain(&mut other).0), (vec![], vec![]));
    }

    #[test]
    fn settings_are_told_to_the_tnc() {
        let mut tnc = tnc("txdelay=25&persist=200&slot=5&tncport=2");
        tnc.connected(Mono::ZERO);
        let mut written = vec![];
        while let Some(output) = tnc.take() {
            if let Output::Write(bytes) = output {
                written.extend(bytes);
            }
        }
        assert_eq!(written, [0xC0, 0x21, 25, 0xC0, 0xC0, 0x22, 200, 0xC0, 0xC0, 0x23, 5, 0xC0]);
    }

    fn modem_up() -> Tnc {
        let mut tnc = tnc("modem=meshcore");
        tnc.connected(Mono::ZERO);
        let (told, wire) = drain(&mut tnc);
        let asked = [modem::GET_RADIO, modem::GET_DEVICE_NAME, &[0x0F, 255], modem::PING];
        let asked = asked.map(|bytes| Event::Hardware { bytes: bytes.to_vec() });
        assert_eq!((told, wire), (vec![], asked.to_vec()));
        let radio =
            [&[0x8B][..], &869_618_000_u32.to_le_bytes(), &62_500_u32.to_le_bytes(), &[8, 8]].concat();
        hardware(&mut tnc, 5, &radio);
        hardware(&mut tnc, 5, b"\x96Heltec V3");
        hardware(&mut tnc, 5, &[&[0x8F][..], &2246_u32.to_le_bytes()].concat());
        hardware(&mut tnc, 5, &[0x97]);
        let (told, _) = drain(&mut tnc);
        let [RadioEvent::Up { frame_bytes_max: 255, info }, RadioEvent::Ready] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(info.name.as_deref(), Some("Heltec V3"));
        assert_eq!(info.frequency_hz, Some(869_618_000));
        assert_eq!(info.modulation.unwrap().spreading_factor, 8);
        tnc
    }

    #[test]
    fn a_modem_that_reports_takes_the_next_frame_when_the_last_is_through() {
        let mut tnc = modem_up();
        tnc.send(Mono::from_ms(10), vec![1; 50]);
        drain(&mut tnc);
        tnc.tick(Mono::from_ms(5_000));
        assert_eq!(drain(&mut tnc).0, []);
        hardware(&mut tnc, 5_010, &[0xF8, 1]);
        assert_eq!(drain(&mut tnc).0, [RadioEvent::Sent, RadioEvent::Ready]);
        // A second report for the same frame belongs to none.
        hardware(&mut tnc, 5_020, &[0xF8, 1]);
        assert_eq!(drain(&mut tnc).0, []);
    }

    #[test]
    fn a_busy_modem_gets_the_same_frame_again() {
        let (mut tnc, mut now_ms) = (modem_up(), 10);
        tnc.send(Mono::from_ms(now_ms), vec![1; 50]);
        let (_, first) = drain(&mut tnc);
        hardware(&mut tnc, now_ms, &[0xF1, modem::TX_BUSY]);
        assert_eq!(next(&mut tnc, &mut now_ms), [RadioEvent::Busy { retry: BUSY, why: BusyReason::Sending }]);
        tnc.tick(Mono::from_ms(now_ms + BUSY.ms()));
        assert_eq!(drain(&mut tnc).1, first);
        hardware(&mut tnc, 1_000, &[0xF8, 1]);
        assert_eq!(drain(&mut tnc).0, [RadioEvent::Sent, RadioEvent::Ready]);
    }

    #[test]
    fn a_modem_that_never_reports_costs_one_frame() {
        let (mut tnc, mut now_ms) = (modem_up(), 10);
        tnc.send(Mono::from_ms(now_ms), vec![1; 50]);
        hardware(&mut tnc, 20, &[0xF0]);
        assert_eq!(
            next(&mut tnc, &mut now_ms),
            [RadioEvent::Refused { why: RefusedReason::NoReport }, RadioEvent::Ready]
        );
        assert!(now_ms < 40_000, "{now_ms}");
    }

    #[test]
    fn a_modem_that_is_always_busy_costs_one_frame_and_no_more_than_its_time() {
        let (mut tnc, mut now_ms) = (modem_up(), 10);
        tnc.send(Mono::from_ms(now_ms), vec![1; 50]);
        let mut busy = 0;
        loop {
            hardware(&mut tnc, now_ms, &[0xF1, modem::TX_BUSY]);
            let told = next(&mut tnc, &mut now_ms);
            if let [RadioEvent::Refused { .. }, RadioEvent::Ready] = &told[..] {
                break;
            }
            busy += 1;
            assert!(busy <= ATTEMPTS_MAX && now_ms < 60_000, "{told:?}");
            tnc.tick(tnc.timeout().unwrap());
        }
        assert!(busy > 10);
    }

    #[test]
    fn a_modem_that_falls_silent_is_down() {
        let (mut tnc, mut now_ms) = (modem_up(), 10);
        assert_eq!(next(&mut tnc, &mut now_ms), [RadioEvent::Down { why: RadioDownReason::Silent }]);
        assert!((60_000..70_000).contains(&now_ms), "{now_ms}");
        let (mut mute, mut now_ms) = (super::tests::tnc("modem=meshcore"), 0);
        mute.connected(Mono::ZERO);
        assert_eq!(next(&mut mute, &mut now_ms), [RadioEvent::Down { why: RadioDownReason::Silent }]);
    }
}
