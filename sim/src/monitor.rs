//! Checks what is on air, with knowledge of its sender: no key and nonce is used twice, no hour has more airtime than the
//! law permits, nothing confidential is sent in clear.

use std::collections::{BTreeMap, BTreeSet};

use tombolo::time::Mono;
use tombolo_mesh::frame::keys::{BootEpoch, Mode};
use tombolo_mesh::frame::{Header, Kind};
use tombolo_transports::LinkId;

const HOUR_US: u64 = 3_600_000_000;
/// Bytes of a secret that show that it was on air.
const MARK_BYTES: usize = 16;

/// What one key and one nonce are: the radio (its sender and its own boot epochs), the epoch with its salt, the
/// audience (by alias, and by what it calls the sender), and the counter. Runs send fewer frames under one key
/// than 16 bits count.
type NonceUse = (LinkId, u32, [u8; 8], [u8; 2], u8, u16);

/// The airtime of one radio, and its limit.
#[derive(Debug)]
struct Watched {
    mode: Mode,
    budget_us: Option<u64>,
    /// From when to when it was on air, microseconds.
    on_air: Vec<(u64, u64)>,
}

/// Receives every frame and checks it.
#[derive(Debug, Default)]
pub struct Monitor {
    radios: BTreeMap<LinkId, Watched>,
    used: BTreeMap<NonceUse, [u8; 32]>,
    /// First bytes of the signatures of what must not be heard in clear.
    secrets: BTreeSet<[u8; MARK_BYTES]>,
    /// When frames of which kind were handed out, and by which radio.
    sent: Vec<(Mono, LinkId, u8)>,
    wrongs: Vec<String>,
}

impl Monitor {
    pub(super) fn watch(&mut self, link: LinkId, mode: Mode, budget_us: Option<u64>) {
        self.radios.insert(link, Watched { mode, budget_us, on_air: Vec::new() });
    }

    /// Checks a frame that a node sends.
    pub(super) fn sent(&mut self, time: Mono, link: LinkId, epoch: Option<BootEpoch>, frame: &[u8]) {
        let kind = frame.first().map_or(u8::MAX, |first| Kind::of(*first).number());
        self.sent.push((time, link, kind));
        match self.radios.get(&link).map(|radio| radio.mode) {
            Some(Mode::Encrypted) => self.look_at_nonce(time, link, epoch, frame),
            Some(Mode::SignedClear) => self.look_for_secrets(time, link, frame),
            None => {}
        }
    }

    fn look_at_nonce(&mut self, time: Mono, link: LinkId, epoch: Option<BootEpoch>, frame: &[u8]) {
        let Some((header, _)) = Header::decode(frame) else { return };
        if matches!(header.kind, Kind::OPEN | Kind::JOIN | Kind::CALL_SIGN) {
            return;
        }
        let Some(BootEpoch { number, salt }) = epoch else {
            return self.wrongs.push(format!("at {} ms: {link} seals without a boot epoch", time.ms()));
        };
        let key = (link, number, salt, header.alias.0, header.hint.0, header.counter_low);
        let hash = *blake3::hash(frame).as_bytes();
        if self.used.insert(key, hash).is_some_and(|before| before != hash) {
            self.wrongs.push(format!("at {} ms: {link} used a key and nonce twice: {key:?}", time.ms()));
        }
    }

    fn look_for_secrets(&mut self, time: Mono, link: LinkId, frame: &[u8]) {
        let found = frame.windows(MARK_BYTES).find(|window| self.secrets.contains(*window));
        if found.is_some() {
            self.wrongs.push(format!("at {} ms: {link} sent in clear what is confidential", time.ms()));
        }
    }

    /// From now on this signature must not be heard in clear.
    pub fn keep_secret(&mut self, signature: &[u8; 64]) {
        let (marks, _) = signature.as_chunks::<MARK_BYTES>();
        self.secrets.extend(marks);
    }

    /// This signature may be heard in clear after all.
    pub fn release(&mut self, signature: &[u8; 64]) {
        let (marks, _) = signature.as_chunks::<MARK_BYTES>();
        self.secrets.retain(|mark| !marks.contains(mark));
    }

    pub(super) fn was_on_air(&mut self, link: LinkId, start_us: u64, end_us: u64) {
        if let Some(radio) = self.radios.get_mut(&link) {
            radio.on_air.push((start_us, end_us));
        }
    }

    /// Does not check the airtime of this radio. Its machine's clock goes wrong: if the clock is set forward while the
    /// machine is down, the node takes more time for passed than has passed.
    pub(super) fn excuse(&mut self, link: LinkId) {
        if let Some(radio) = self.radios.get_mut(&link) {
            radio.budget_us = None;
        }
    }

    /// Frames that nodes handed out.
    pub fn frames(&self) -> u64 {
        self.sent.len() as u64
    }

    /// How many frames with content went out since then, by radio and kind: updates, whole layers, unsigned states. A fragment does
    /// not show of what it is one.
    pub fn content_since(&self, time: Mono) -> BTreeMap<(LinkId, u8), usize> {
        let mut frames = BTreeMap::new();
        for sent in self.since(time).filter(|(_, kind)| matches!(kind, 5 | 6 | 9)) {
            *frames.entry(sent).or_default() += 1;
        }
        frames
    }

    /// How many frontiers went out since then.
    pub fn frontiers_since(&self, time: Mono) -> usize {
        self.since(time).filter(|(_, kind)| *kind == 8).count()
    }

    fn since(&self, time: Mono) -> impl Iterator<Item = (LinkId, u8)> {
        let first = self.sent.partition_point(|(at, ..)| *at < time);
        self.sent.iter().skip(first).map(|(_, link, kind)| (*link, *kind))
    }

    /// What was wrong on air, airtime included.
    pub fn wrongs(&mut self) -> Vec<String> {
        let mut wrongs = self.wrongs.clone();
        for (link, radio) in &mut self.radios {
            radio.on_air.sort_unstable();
            let most_us = most_in_an_hour(&radio.on_air);
            if radio.budget_us.is_some_and(|budget_us| most_us > budget_us) {
                wrongs
                    .push(format!("{link} was on air for {most_us} us in an hour, of {:?}", radio.budget_us));
            }
        }
        wrongs
    }
}

/// The longest time on air within any window of an hour: the worst begins with a frame or ends with one.
fn most_in_an_hour(frames: &[(u64, u64)]) -> u64 {
    let begins = frames.iter().map(|(start, _)| (*start, start.saturating_add(HOUR_US)));
    let ends = frames.iter().map(|(_, end)| (end.saturating_sub(HOUR_US), *end));
    let within = |(from, to): (u64, u64)| {
        let first = frames.partition_point(|(_, end)| *end <= from);
        let here = frames.iter().skip(first).take_while(|(start, _)| *start < to);
        here.map(|(start, end)| (*end).min(to).saturating_sub((*start).max(from))).sum::<u64>()
    };
    begins.chain(ends).map(within).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_hour_may_begin_or_end_within_a_pause() {
        let minute = 60_000_000;
        assert_eq!(most_in_an_hour(&[]), 0);
        // The first frame has left the window when the third is on air, but for half of it.
        let frames = [(0, minute), (30 * minute, 31 * minute), (60 * minute + minute / 2, 62 * minute)];
        assert_eq!(most_in_an_hour(&frames), 2 * minute + minute / 2);
        let far_apart = [(0, minute), (90 * minute, 91 * minute)];
        assert_eq!(most_in_an_hour(&far_apart), minute);
    }

    #[test]
    fn a_counter_that_comes_again_under_one_key_is_noticed_and_a_new_salt_is_a_new_key() {
        let mut monitor = Monitor::default();
        let link = LinkId(7);
        monitor.watch(link, Mode::Encrypted, None);
        let epoch = |salt| Some(BootEpoch { number: 3, salt: [salt; 8] });
        let frame = |byte: u8| [&[0x50, 1, 2, 3, 0, 9][..], &[byte; 20]].concat();
        monitor.sent(Mono::from_ms(1), link, epoch(1), &frame(1));
        monitor.sent(Mono::from_ms(2), link, epoch(1), &frame(1));
        monitor.sent(Mono::from_ms(3), link, epoch(2), &frame(2));
        assert!(monitor.wrongs().is_empty());
        monitor.sent(Mono::from_ms(4), link, epoch(1), &frame(3));
        assert_eq!(monitor.wrongs().len(), 1);
    }
}
