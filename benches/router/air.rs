//! What the airtime of a day is spent on, frame by frame: which frames brought a node a state that it did not have, which brought
//! none, and which keep nodes in step.

use tombolo_sim::field::Field;

/// Kinds of frames (`src/broadcast/kinds.rs`, `transports/mesh/src/frame/mod.rs`).
const FRAGMENT: u8 = 1;
const UPDATE: u8 = 5;
const WHOLE: u8 = 6;
const HEARTBEAT: u8 = 7;
const FRONTIER: u8 = 8;

/// Airtime by its use, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AirUse {
    /// Frames that brought at least one node a state that it did not have.
    pub(super) news_us: u64,
    /// Parts of messages that take several frames.
    pub(super) parts_us: u64,
    /// Frames with states that every receiver had.
    pub(super) again_us: u64,
    /// Heartbeats.
    pub(super) heartbeats_us: u64,
    /// Frontiers: what a node holds, and so what it lacks.
    pub(super) frontiers_us: u64,
    /// Questions for parts, announcements, keys.
    pub(super) others_us: u64,
}

impl AirUse {
    /// What no choice of links can spare: each of these frames brought something new.
    pub(super) fn needed_s(&self) -> f64 {
        self.news_us as f64 / 1e6
    }

    /// Each use with its name, seconds.
    pub(super) fn named_s(&self) -> [(&'static str, f64); 6] {
        let AirUse { news_us, parts_us, again_us, heartbeats_us, frontiers_us, others_us } = *self;
        [
            ("new states", news_us),
            ("parts", parts_us),
            ("known states", again_us),
            ("heartbeats", heartbeats_us),
            ("frontiers", frontiers_us),
            ("others", others_us),
        ]
        .map(|(name, us)| (name, us as f64 / 1e6))
    }
}

/// Watches every frame of a field, and what the nodes with a radio take from it.
pub(super) struct AirWatch {
    nodes: std::ops::Range<usize>,
    taken: Vec<u64>,
    seen_us: u64,
    pub(super) spent: AirUse,
}

impl AirWatch {
    /// Watches from now on the nodes that have a radio.
    pub(super) fn new(field: &Field, nodes: std::ops::Range<usize>) -> Self {
        let mut watch = AirWatch { nodes, taken: Vec::new(), seen_us: 0, spent: AirUse::default() };
        watch.taken = watch.taken_now(field);
        watch.seen_us = field.air.log().next_back().map_or(0, |on_air| on_air.end_us);
        watch
    }

    fn taken_now(&self, field: &Field) -> Vec<u64> {
        self.nodes.clone().map(|node| field.states_taken(node)).collect()
    }

    /// Looks at what has left the air since the last look. To be called at each step, so that what a node takes is attributed to the
    /// frame that brought it.
    pub(super) fn look(&mut self, field: &Field) {
        let taken = self.taken_now(field);
        let is_news = taken != self.taken;
        self.taken = taken;
        let since_us = self.seen_us;
        for on_air in field.air.log().rev().take_while(|on_air| on_air.end_us > since_us) {
            self.seen_us = self.seen_us.max(on_air.end_us);
            let us = on_air.end_us - on_air.start_us;
            let spent = &mut self.spent;
            let of = match on_air.frame.first().map_or(u8::MAX, |first| first >> 4) {
                FRAGMENT => &mut spent.parts_us,
                UPDATE | WHOLE if is_news => &mut spent.news_us,
                UPDATE | WHOLE => &mut spent.again_us,
                HEARTBEAT => &mut spent.heartbeats_us,
                FRONTIER => &mut spent.frontiers_us,
                _ => &mut spent.others_us,
            };
            *of += us;
        }
    }
}
