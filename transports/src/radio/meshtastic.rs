//! The session with a Meshtastic radio of stock firmware.
//!
//! ```text
//! wake, want_config     everything it is set to, up to config_complete      Up, Ready
//! a frame               a broadcast on the private port; queueStatus reports: taken, full, too large, duty cycle
//! ```
//! The firmware queues up to 16 packets and does not report when one is through: the next frame is asked for as its air
//! allows, and while the queue is nearly full it is asked how full it is.

use super::modem::{Modem, ModemOutbox, Output};
use super::pace::Pace;
use super::{BusyReason, MTU_MIN, MeshtasticOptions, RadioDownReason, RadioEvent, RadioInfo, RefusedReason};
use tombolo_mesh::airtime::{FRAME_BYTES_MAX, Modulation};
use tombolo_mesh::time::{Millis, Mono};
use tombolo_mesh::wire::meshtastic::{
    BROADCAST, CONFIG_ONLY, Event, MeshtasticCommand, MeshtasticDecoder, PRIVATE_PORT, Packet, WAKE, error,
    on_air_bytes, signs_broadcasts,
};

/// Time for the next message while the radio reports its settings.
const ANSWER_MAX: Millis = Millis::from_ms(5_000);
/// Requests for that before the radio counts as silent: one that sleeps loses the first, one that is busy answers late.
const REQUESTS_MAX: u32 = 6;
/// Messages while it reports them: one per node it ever heard, in older firmware.
const CONFIG_EVENTS_MAX: u32 = 5_000;
/// Time for the report on a packet.
const REPORT_MAX: Millis = Millis::from_ms(5_000);
/// Packets without report before the radio counts as silent.
const UNREPORTED_MAX: u32 = 3;
/// Between heartbeats; the firmware closes a port after 15 minutes without one.
const HEARTBEAT: Millis = Millis::from_ms(60_000);
/// A frame that has begun and does not go on for so long is none.
const HALF_MAX: Millis = Millis::from_ms(1_000);
/// From handing over to the first bit on the air: slots of the firmware's listening before sending.
const LEAD_IN: Millis = Millis::from_ms(500);
/// With fewer places left in the queue it is asked again before the next frame.
const FREE_MIN: u32 = 4;
/// Between questions how full the queue is, and between attempts while it is.
const BUSY: Millis = Millis::from_ms(1_000);
/// Attempts before a frame is dropped, and questions before the queue is taken for empty.
const ATTEMPTS_MAX: u32 = 30;
/// The wait when the duty cycle is used up and the radio does not report how long.
const DUTY_CYCLE: Millis = Millis::from_ms(10 * 60_000);
/// A longer wait is not believed: the law counts by the hour.
const DUTY_CYCLE_MAX: Millis = Millis::from_ms(60 * 60_000);
/// Stands for the mesh's "bad request", whose own number a queue uses for "full".
const BAD_REQUEST: u32 = 1000 + error::QUEUE_FULL;
/// What is taken off the longest frame when the radio reports that one was too large, bytes.
const TOO_LARGE_STEP: usize = 8;

/// One connection to a radio.
#[derive(Debug)]
pub(super) struct MeshtasticRadio {
    options: MeshtasticOptions,
    decoder: MeshtasticDecoder,
    out: ModemOutbox,
    state: SetupState,
    told: Told,
    frame_bytes_max: usize,
    next_id: u32,
    frame: Option<SentFrame>,
    /// The last packet that was taken: bad news of it may still come.
    last_id: u32,
    unreported: u32,
    /// Places left in its queue, and how often that was asked since the last frame.
    free: Option<u32>,
    questions: u32,
    /// It takes packets into a queue of which it never reports that it empties: what it reports of that is skipped.
    free_is_no_help: bool,
    pace: Pace,
    heard_at: Mono,
    heartbeat_at: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetupState {
    /// Asked what it is set to; how often, and until when the next message is due.
    Asking {
        requests: u32,
        events: u32,
        until: Mono,
    },
    Up,
}

/// What it reported while being asked.
#[derive(Debug, Default)]
struct Told {
    node: u32,
    info: RadioInfo,
    no_region: bool,
    transmitter_off: bool,
    channels: u32,
    channel_enabled: bool,
}

/// The frame in hand.
#[derive(Debug)]
struct SentFrame {
    bytes: Vec<u8>,
    id: u32,
    attempts: u32,
    /// When the radio must have reported, or, while it is busy, when to try again.
    due: FrameDue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameDue {
    Report(Mono),
    Retry(Mono),
}

impl FrameDue {
    fn at(self) -> Mono {
        match self {
            Self::Report(at) | Self::Retry(at) => at,
        }
    }
}

impl MeshtasticRadio {
    /// `id` is where the numbers of packets begin: random, so that none comes again after a restart.
    pub(super) fn new(options: MeshtasticOptions, id: u32) -> Self {
        Self {
            options,
            decoder: MeshtasticDecoder::default(),
            out: ModemOutbox::default(),
            state: SetupState::Asking { requests: 0, events: 0, until: Mono::ZERO },
            told: Told::default(),
            frame_bytes_max: options.mtu,
            next_id: id,
            frame: None,
            last_id: 0,
            unreported: 0,
            free: None,
            questions: 0,
            free_is_no_help: false,
            pace: Pace::new(LEAD_IN),
            heard_at: Mono::ZERO,
            heartbeat_at: Mono::ZERO,
        }
    }

    fn request(&mut self, now: Mono, requests: u32) {
        self.out.write(WAKE.to_vec());
        self.out.write(MeshtasticCommand::WantConfig(CONFIG_ONLY).encode());
        self.state = SetupState::Asking { requests, events: 0, until: now + ANSWER_MAX };
    }

    fn heartbeat(&mut self, now: Mono) {
        self.heartbeat_at = now;
        self.out.write(MeshtasticCommand::Heartbeat.encode());
    }

    fn event(&mut self, now: Mono, event: Event) {
        if let SetupState::Asking { requests, events, .. } = self.state {
            if events >= CONFIG_EVENTS_MAX {
                return self.out.fail(RadioDownReason::OtherRadio);
            }
            let until = now + ANSWER_MAX;
            self.state = SetupState::Asking { requests, events: events + 1, until };
        }
        match event {
            Event::MyInfo { node } => self.told.node = node,
            Event::NodeInfo { node, name } if node == self.told.node => {
                self.told.info.name = (!name.is_empty()).then_some(name);
            }
            Event::LoRa(lora) => {
                (self.told.no_region, self.told.transmitter_off) = (lora.region == 0, !lora.transmits);
                self.told.info.region = lora.region_name();
                self.told.info.modulation = lora.modulation;
            }
            Event::Channel { index, enabled } => {
                self.told.channels += 1;
                self.told.channel_enabled |= enabled && index == u32::from(self.options.channel);
            }
            Event::Metadata { firmware } => {
                self.told.info.firmware = (!firmware.is_empty()).then_some(firmware);
            }
            Event::ConfigComplete(CONFIG_ONLY) if self.state != SetupState::Up => self.complete(now),
            Event::Rebooted if self.state == SetupState::Up => self.out.fail(RadioDownReason::Restarted),
            Event::QueueStatus { result, free, id, .. } => {
                self.free = Some(free);
                self.reported(now, id, result);
            }
            // From the queue this number means "full", from the mesh "bad request".
            Event::Routing { id, error: error::QUEUE_FULL } => self.reported(now, id, BAD_REQUEST),
            Event::Routing { id, error } if error != 0 => self.reported(now, id, error),
            Event::Notification { id, text } => self.notified(now, id, &text),
            Event::Packet(packet) => self.packet(now, packet),
            _ => {}
        }
    }

    /// It has reported all of its settings.
    fn complete(&mut self, now: Mono) {
        let told = &self.told;
        if told.no_region {
            return self.out.fail(RadioDownReason::NoRegion);
        }
        if told.transmitter_off {
            return self.out.fail(RadioDownReason::TransmitterOff);
        }
        if told.channels > 0 && !told.channel_enabled {
            return self.out.fail(RadioDownReason::NoChannel);
        }
        (self.state, self.heartbeat_at) = (SetupState::Up, now);
        self.out.tell(RadioEvent::Up { frame_bytes_max: self.frame_bytes_max, info: told.info.clone() });
        self.out.tell(RadioEvent::Ready);
    }

    fn packet(&mut self, now: Mono, packet: Packet) {
        let frame_airtime = self.frame_airtime(packet.payload.len());
        self.pace.heard(now, frame_airtime);
        let ours = packet.port == PRIVATE_PORT
            && packet.channel == u32::from(self.options.channel)
            && packet.from != self.told.node
            && (packet.to == BROADCAST || packet.to == self.told.node);
        if ours && self.state == SetupState::Up && !packet.payload.is_empty() {
            self.out.tell(RadioEvent::Received(packet.payload));
        }
    }

    fn hand_over(&mut self, now: Mono, bytes: Vec<u8>, attempts: u32) {
        let id = self.next_id.max(1);
        self.next_id = id.wrapping_add(1);
        let MeshtasticOptions { channel, hops, .. } = self.options;
        self.out.write(MeshtasticCommand::Broadcast { id, channel, hops, payload: &bytes }.encode());
        self.frame = Some(SentFrame { bytes, id, attempts, due: FrameDue::Report(now + REPORT_MAX) });
    }

    /// The radio's word on a packet.
    fn reported(&mut self, now: Mono, id: u32, result: u32) {
        let in_hand = self.frame.take_if(|frame| frame.id == id && matches!(frame.due, FrameDue::Report(_)));
        let Some(mut frame) = in_hand else {
            // Bad news of a packet that was taken: there is nothing left to drop, but a wait to keep.
            if id == self.last_id && result == error::DUTY_CYCLE_LIMIT {
                self.last_id = 0;
                self.duty_cycle(now, DUTY_CYCLE);
            }
            return;
        };
        self.unreported = 0;
        let busy = |why| (why, frame.attempts < ATTEMPTS_MAX);
        match result {
            0 => {
                self.last_id = id;
                self.free_is_no_help |= self.questions >= ATTEMPTS_MAX;
                self.questions = 0;
                let frame_airtime = self.frame_airtime(frame.bytes.len());
                self.pace.handed_over(now, frame_airtime);
                return self.out.tell(RadioEvent::Sent);
            }
            error::QUEUE_FULL | error::RATE_LIMIT => {
                let reason =
                    if result == error::RATE_LIMIT { BusyReason::RateLimit } else { BusyReason::QueueFull };
                let (why, again) = busy(reason);
                if again {
                    frame.due = FrameDue::Retry(now + BUSY);
                    self.frame = Some(frame);
                    return self.out.tell(RadioEvent::Busy { retry: BUSY, why });
                }
                self.out.tell(RadioEvent::Refused { why: RefusedReason::Busy });
            }
            error::TOO_LARGE => {
                let less = frame.bytes.len().saturating_sub(TOO_LARGE_STEP).max(MTU_MIN);
                self.frame_bytes_max = self.frame_bytes_max.min(less);
                self.out.tell(RadioEvent::TooLarge { frame_bytes_max: self.frame_bytes_max });
            }
            error::DUTY_CYCLE_LIMIT => {
                self.last_id = id;
                return self.duty_cycle(now, DUTY_CYCLE);
            }
            error::NO_CHANNEL => return self.out.fail(RadioDownReason::NoChannel),
            BAD_REQUEST => self.out.tell(RadioEvent::Refused { why: RefusedReason::Code(error::QUEUE_FULL) }),
            other => self.out.tell(RadioEvent::Refused { why: RefusedReason::Code(other) }),
        }
        self.out.tell(RadioEvent::Ready);
    }

    /// A sentence for people; of those about the duty cycle the minutes count.
    fn notified(&mut self, now: Mono, id: u32, text: &str) {
        if !text.to_ascii_lowercase().contains("duty cycle") {
            return tracing::info!(text, "the radio reports");
        }
        let minutes = text.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse::<u64>().ok());
        let Some(minutes) = minutes else { return };
        let wait = Millis::from_secs(minutes.saturating_mul(60)).clamp(BUSY, DUTY_CYCLE_MAX);
        let in_hand = self.frame.take_if(|frame| id == 0 || frame.id == id).is_some();
        if in_hand || id == 0 || id == self.last_id {
            self.last_id = 0;
            self.duty_cycle(now, wait);
        }
    }

    /// No frame for a while; a caller that asks for one knows why.
    fn duty_cycle(&mut self, now: Mono, wait: Millis) {
        self.pace.stop(now, wait);
        self.out.tell(RadioEvent::DutyCycle { wait });
    }

    fn tick_frame(&mut self, now: Mono) {
        let Some(frame) = self.frame.take_if(|frame| frame.due.at() <= now) else { return };
        match frame.due {
            FrameDue::Retry(_) => self.hand_over(now, frame.bytes, frame.attempts + 1),
            FrameDue::Report(_) if self.unreported + 1 >= UNREPORTED_MAX => {
                self.out.fail(RadioDownReason::Silent)
            }
            FrameDue::Report(_) => {
                self.unreported += 1;
                self.out.tell(RadioEvent::Refused { why: RefusedReason::NoReport });
                self.out.tell(RadioEvent::Ready);
            }
        }
    }

    fn tick_ready(&mut self, now: Mono) {
        if !self.pace.take_ready(now) {
            return;
        }
        let nearly_full = self.free.is_some_and(|free| free < FREE_MIN) && !self.free_is_no_help;
        if nearly_full && self.questions < ATTEMPTS_MAX {
            self.questions += 1;
            self.heartbeat(now);
            return self.pace.pause(now, BUSY);
        }
        self.out.tell(RadioEvent::Ready);
    }

    fn frame_airtime(&self, payload_bytes: usize) -> Millis {
        let modulation = self.told.info.modulation.unwrap_or(Modulation::LONG_FAST);
        let signs = signs_broadcasts(self.told.info.firmware.as_deref());
        let bytes = on_air_bytes(payload_bytes, signs).min(FRAME_BYTES_MAX);
        Millis::from_us_rounded_up(modulation.frame_us(bytes))
    }

    fn decode(&mut self, now: Mono) {
        while let Some(event) = self.decoder.next_event() {
            self.event(now, event);
        }
    }
}

impl Modem for MeshtasticRadio {
    fn connected(&mut self, now: Mono) {
        self.heard_at = now;
        self.request(now, 1);
    }

    fn received(&mut self, now: Mono, bytes: &[u8]) {
        self.heard_at = now;
        self.decoder.push(bytes);
        self.decode(now);
    }

    fn send(&mut self, now: Mono, frame: Vec<u8>) {
        self.hand_over(now, frame, 1);
    }

    fn tick(&mut self, now: Mono) {
        while self.decoder.held_bytes() > 0 && now.since(self.heard_at) >= HALF_MAX {
            self.decoder.resync();
            self.decode(now);
        }
        match self.state {
            SetupState::Asking { requests, until, .. } if until <= now => {
                if requests >= REQUESTS_MAX {
                    return self.out.fail(RadioDownReason::Silent);
                }
                self.request(now, requests + 1);
            }
            SetupState::Asking { .. } => {}
            SetupState::Up => {
                self.tick_frame(now);
                self.tick_ready(now);
                if now.since(self.heartbeat_at) >= HEARTBEAT {
                    self.heartbeat(now);
                }
            }
        }
    }

    fn timeout(&self) -> Option<Mono> {
        let half = (self.decoder.held_bytes() > 0).then_some(self.heard_at + HALF_MAX);
        let state = match self.state {
            SetupState::Asking { until, .. } => until,
            SetupState::Up => self.heartbeat_at + HEARTBEAT,
        };
        let frame = self.frame.as_ref().map(|frame| frame.due.at());
        [half, Some(state), frame, self.pace.due()].into_iter().flatten().min()
    }

    fn take(&mut self) -> Option<Output> {
        self.out.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radio::{RadioProtocol, RadioUrl};

    const ID: u32 = 7;

    fn drain(radio: &mut MeshtasticRadio) -> (Vec<RadioEvent>, usize) {
        let (mut told, mut written) = (vec![], 0);
        while let Some(output) = radio.take() {
            match output {
                Output::Write(_) => written += 1,
                Output::Tell(event) => told.push(event),
                Output::Fail(why) => told.push(RadioEvent::Down { why }),
            }
        }
        (told, written)
    }

    fn up() -> MeshtasticRadio {
        let url = RadioUrl::parse("meshtastic+tcp://h").unwrap();
        let RadioProtocol::Meshtastic(options) = url.protocol else { panic!() };
        let mut radio = MeshtasticRadio::new(options, ID);
        radio.connected(Mono::ZERO);
        radio.event(Mono::from_ms(1), Event::MyInfo { node: 5 });
        radio.event(Mono::from_ms(2), Event::ConfigComplete(CONFIG_ONLY));
        let (told, _) = drain(&mut radio);
        assert!(matches!(told[..], [RadioEvent::Up { frame_bytes_max: 231, .. }, RadioEvent::Ready]));
        radio
    }

    fn status(result: u32, free: u32, id: u32) -> Event {
        Event::QueueStatus { result, free, places: 16, id }
    }

    /// Goes on until something is reported.
    fn next(radio: &mut MeshtasticRadio, now_ms: &mut u64) -> Vec<RadioEvent> {
        loop {
            let (told, _) = drain(radio);
            if !told.is_empty() {
                return told;
            }
            *now_ms = (radio.timeout().unwrap().max(Mono::from_ms(*now_ms))).ms();
            radio.tick(Mono::from_ms(*now_ms));
        }
    }

    #[test]
    fn a_report_of_another_packet_is_not_ours() {
        let mut radio = up();
        radio.send(Mono::from_ms(10), vec![1; 30]);
        drain(&mut radio);
        radio.event(Mono::from_ms(11), status(0, 15, ID + 1));
        assert_eq!(drain(&mut radio).0, []);
        radio.event(Mono::from_ms(12), status(0, 15, ID));
        assert_eq!(drain(&mut radio).0, [RadioEvent::Sent]);
    }

    #[test]
    fn the_word_of_the_mesh_and_of_the_queue_count_once() {
        let mut radio = up();
        radio.send(Mono::from_ms(10), vec![1; 231]);
        radio.event(Mono::from_ms(11), Event::Routing { id: ID, error: error::TOO_LARGE });
        radio.event(Mono::from_ms(12), status(error::TOO_LARGE, 16, ID));
        assert_eq!(drain(&mut radio).0, [RadioEvent::TooLarge { frame_bytes_max: 223 }, RadioEvent::Ready]);
        radio.send(Mono::from_ms(20), vec![1; 100]);
        radio.event(Mono::from_ms(21), Event::Routing { id: ID + 1, error: error::QUEUE_FULL });
        let refused = RadioEvent::Refused { why: RefusedReason::Code(error::QUEUE_FULL) };
        assert_eq!(drain(&mut radio).0, [refused, RadioEvent::Ready]);
    }

    #[test]
    fn the_minutes_of_a_duty_cycle_are_kept_whenever_they_are_told() {
        let text = "Duty cycle limit exceeded. You can send again in 12 mins".to_string();
        // After the refusal, and of no packet in particular.
        let mut radio = up();
        radio.send(Mono::from_ms(10), vec![1; 30]);
        radio.event(Mono::from_ms(11), status(error::DUTY_CYCLE_LIMIT, 16, ID));
        radio.event(Mono::from_ms(12), Event::Notification { id: 0, text });
        let waits = [DUTY_CYCLE, Millis::from_secs(12 * 60)].map(|wait| RadioEvent::DutyCycle { wait });
        assert_eq!(drain(&mut radio).0, waits);
        let mut now_ms = 12;
        assert_eq!(next(&mut radio, &mut now_ms), [RadioEvent::Ready]);
        assert!((12 * 60_000..13 * 60_000).contains(&now_ms), "{now_ms}");
        // No radio silences us for longer than the law counts.
        let text = "duty cycle: 99999999999999999 mins".to_string();
        radio.event(Mono::from_ms(now_ms), Event::Notification { id: 0, text });
        assert_eq!(drain(&mut radio).0, [RadioEvent::DutyCycle { wait: DUTY_CYCLE_MAX }]);
    }

    #[test]
    fn a_radio_that_reports_nothing_costs_three_frames() {
        let (mut radio, mut now_ms) = (up(), 10);
        for _ in 1..UNREPORTED_MAX {
            radio.send(Mono::from_ms(now_ms), vec![1; 30]);
            let refused = RadioEvent::Refused { why: RefusedReason::NoReport };
            assert_eq!(next(&mut radio, &mut now_ms), [refused, RadioEvent::Ready]);
        }
        radio.send(Mono::from_ms(now_ms), vec![1; 30]);
        assert_eq!(next(&mut radio, &mut now_ms), [RadioEvent::Down { why: RadioDownReason::Silent }]);
    }

    #[test]
    fn a_queue_that_always_says_it_is_nearly_full_is_not_believed_for_ever() {
        let (mut radio, mut now_ms) = (up(), 10);
        radio.send(Mono::from_ms(now_ms), vec![1; 30]);
        radio.event(Mono::from_ms(now_ms), status(0, 1, ID));
        assert_eq!(drain(&mut radio).0, [RadioEvent::Sent]);
        assert_eq!(next(&mut radio, &mut now_ms), [RadioEvent::Ready]);
        assert!((20_000..60_000).contains(&now_ms), "{now_ms}");
        // It takes packets all the same: from then on its air alone sets the pace.
        let begun_ms = now_ms;
        for id in ID + 1..ID + 11 {
            radio.send(Mono::from_ms(now_ms), vec![1; 30]);
            radio.event(Mono::from_ms(now_ms), status(0, 0, id));
            assert_eq!(drain(&mut radio).0, [RadioEvent::Sent]);
            assert_eq!(next(&mut radio, &mut now_ms), [RadioEvent::Ready]);
        }
        assert!(now_ms - begun_ms < 30_000, "{} ms for ten frames", now_ms - begun_ms);
    }

    #[test]
    fn what_other_nodes_and_other_channels_send_is_told_apart() {
        let mut radio = up();
        let packet = Packet { from: 9, to: BROADCAST, channel: 0, port: PRIVATE_PORT, payload: vec![1] };
        radio.event(Mono::from_ms(10), Event::Packet(packet.clone()));
        assert_eq!(drain(&mut radio).0, [RadioEvent::Received(vec![1])]);
        for other in [
            Packet { from: 5, ..packet.clone() },
            Packet { to: 77, ..packet.clone() },
            Packet { channel: 3, ..packet.clone() },
            Packet { port: 1, ..packet.clone() },
            Packet { payload: vec![], ..packet },
        ] {
            radio.event(Mono::from_ms(11), Event::Packet(other));
        }
        assert_eq!(drain(&mut radio).0, []);
    }
}
