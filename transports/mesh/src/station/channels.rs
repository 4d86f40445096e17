//! The audiences that a station takes part in: who may be behind a header, and which counters were seen.

use crate::frame::keys::{Alias, AudienceKey, BootEpoch, Hint};
use crate::frame::{Counter, Counters, Track};
use crate::peer::PeerId;
use std::collections::{BTreeMap, BTreeSet};

/// Audiences at once, those of two included; a further one is refused.
pub const CHANNELS_MAX: usize = 128;
/// Members of one audience that a station listens for; a larger audience is refused.
pub const MEMBERS_MAX: usize = 256;
/// A window's place is recorded when it moved so far: after a restart no more than this can be heard once more.
pub const WINDOW_RECORD_FRAMES: u32 = 16;

/// Why an audience was not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// There are [`CHANNELS_MAX`] channels already.
    #[error("{CHANNELS_MAX} audiences are as many as one radio takes")]
    TooMany,
    /// The audience has more than [`MEMBERS_MAX`] members.
    #[error("{members} members; a radio takes {MEMBERS_MAX}")]
    TooManyMembers {
        /// How many there are.
        members: usize,
    },
}

/// The keys of an audience; none in clear mode.
#[derive(Clone, Debug)]
pub(super) struct ChannelKeys {
    pub(super) current: AudienceKey,
    pub(super) previous: Option<AudienceKey>,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) keys: Option<ChannelKeys>,
    pub(super) members: BTreeSet<PeerId>,
    series: Counters,
    windows: BTreeMap<PeerId, Listening>,
}

/// What was heard of one sender in its boot epoch.
#[derive(Debug)]
struct Listening {
    epoch: BootEpoch,
    track: Track,
    recorded: Option<u32>,
    /// Epoch of the key under which the last frame came.
    under: Option<u32>,
}

/// Who may have sent a frame, and under which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SenderCandidate {
    pub(super) channel: PeerId,
    pub(super) sender: PeerId,
    pub(super) previous: bool,
}

/// How far a window is, for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRecord {
    /// Owner of the audience.
    pub channel: PeerId,
    /// The sender whose frames the window is for.
    pub sender: PeerId,
    /// Number of its boot epoch.
    pub epoch: u32,
    /// Everything up to this counter counts as heard.
    pub highest: u32,
}

/// All of them, and who is behind which header.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_owner: BTreeMap<PeerId, Channel>,
    index: BTreeMap<(Alias, Hint), Vec<SenderCandidate>>,
    aliases: BTreeSet<Alias>,
    /// From the last run: taken up when the window is first needed.
    recorded: BTreeMap<(PeerId, PeerId), WindowRecord>,
    /// No counter below this is used in an audience that is taken up: it may have been, under the same key.
    floor: u32,
}

impl Channel {
    fn key(&self, previous: bool) -> Option<&AudienceKey> {
        let keys = self.keys.as_ref()?;
        if previous { keys.previous.as_ref() } else { Some(&keys.current) }
    }

    fn key_of_epoch(&self, epoch: u32) -> Option<&AudienceKey> {
        [false, true].into_iter().filter_map(|previous| self.key(previous)).find(|key| key.epoch == epoch)
    }
}

impl Channels {
    pub(super) fn new(records: Vec<WindowRecord>) -> Self {
        let recorded = records.into_iter().map(|record| ((record.channel, record.sender), record)).collect();
        Channels { recorded, ..Self::default() }
    }

    /// Takes up an audience, or changes it.
    pub(super) fn set(
        &mut self,
        owner: PeerId,
        keys: Option<ChannelKeys>,
        members: BTreeSet<PeerId>,
    ) -> Result<(), ChannelError> {
        if members.len() > MEMBERS_MAX {
            return Err(ChannelError::TooManyMembers { members: members.len() });
        }
        let full = self.by_owner.len() >= CHANNELS_MAX;
        match self.by_owner.get_mut(&owner) {
            Some(channel) => {
                channel.windows.retain(|sender, _| members.contains(sender));
                (channel.keys, channel.members) = (keys, members);
            }
            None if full => return Err(ChannelError::TooMany),
            None => {
                let (series, windows) = (Counters::starting_at(self.floor), BTreeMap::new());
                self.by_owner.insert(owner, Channel { keys, members, series, windows });
            }
        }
        self.build_index();
        Ok(())
    }

    pub(super) fn drop_channel(&mut self, owner: &PeerId) {
        if let Some(channel) = self.by_owner.remove(owner) {
            self.floor = self.floor.max(channel.series.next());
            self.build_index();
        }
    }

    fn build_index(&mut self) {
        self.index.clear();
        self.aliases.clear();
        for (owner, channel) in &self.by_owner {
            for (alias, previous, sender, hint) in headers(owner, channel) {
                let candidate = SenderCandidate { channel: *owner, sender, previous };
                self.index.entry((alias, hint)).or_default().push(candidate);
                self.aliases.insert(alias);
            }
        }
    }

    pub(super) fn get(&self, owner: &PeerId) -> Option<&Channel> {
        self.by_owner.get(owner)
    }

    pub(super) fn key(&self, owner: &PeerId, previous: bool) -> Option<&AudienceKey> {
        self.by_owner.get(owner)?.key(previous)
    }

    /// The key of this epoch, while it is the present one or the one before.
    pub(super) fn key_of_epoch(&self, owner: &PeerId, epoch: u32) -> Option<&AudienceKey> {
        self.by_owner.get(owner)?.key_of_epoch(epoch)
    }

    /// The epoch of the key under which a member was heard last.
    pub(super) fn heard_under(&self, owner: &PeerId, sender: &PeerId) -> Option<u32> {
        self.by_owner.get(owner)?.windows.get(sender)?.under
    }

    /// A frame of a member was taken, under the present key or the one before.
    pub(super) fn took(&mut self, owner: &PeerId, sender: &PeerId, previous: bool) {
        let Some(channel) = self.by_owner.get_mut(owner) else { return };
        let under = channel.key(previous).map(|key| key.epoch);
        if let Some(listening) = channel.windows.get_mut(sender) {
            listening.under = under;
        }
    }

    pub(super) fn candidates(&self, alias: Alias, hint: Hint) -> &[SenderCandidate] {
        self.index.get(&(alias, hint)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn knows(&self, alias: Alias) -> bool {
        self.aliases.contains(&alias)
    }

    /// Everybody in any audience.
    pub(super) fn everybody(&self) -> BTreeSet<PeerId> {
        self.by_owner.values().flat_map(|channel| &channel.members).copied().collect()
    }

    /// What stands for `peer` in a header that its peers understand: in its own audience, or else in one that it is in.
    pub(super) fn address(&self, peer: &PeerId) -> Option<(Alias, Hint)> {
        let own = self.by_owner.get_key_value(peer);
        let any = || self.by_owner.iter().find(|(_, channel)| channel.members.contains(peer));
        let (owner, channel) = own.or_else(any)?;
        Some(match channel.key(false) {
            Some(key) => (key.alias(), key.hint(peer)),
            None => (Alias::clear(owner), Hint::clear(owner, peer)),
        })
    }

    /// Our next counter in an audience.
    pub(super) fn take_counter(&mut self, owner: &PeerId) -> Option<Counter> {
        self.by_owner.get_mut(owner)?.series.take()
    }

    pub(super) fn next_counter(&self, owner: &PeerId) -> u32 {
        self.by_owner.get(owner).map_or(0, |channel| channel.series.next())
    }

    /// A frame in our name had this counter: none of ours has it.
    pub(super) fn leave_out(&mut self, owner: &PeerId, heard: u32) {
        if let Some(channel) = self.by_owner.get_mut(owner) {
            channel.series.leave_out(heard);
        }
    }

    /// The highest of our next counters in any audience.
    pub(super) fn highest_counter(&self) -> u32 {
        self.by_owner.values().map(|channel| channel.series.next()).max().unwrap_or(0).max(self.floor)
    }

    /// One number for all audiences, for a signed announcement: none of our next frames has a lower one.
    pub(super) fn align_counters(&mut self) -> u32 {
        self.floor = self.highest_counter();
        self.by_owner.values_mut().for_each(|channel| channel.series.go_up_to(self.floor));
        self.floor
    }

    /// A new boot epoch of ours: counters restart, under keys that are new.
    pub(super) fn restart_counters(&mut self, start: u32) {
        self.floor = start;
        self.by_owner.values_mut().for_each(|channel| channel.series = Counters::starting_at(start));
    }

    /// The counters of a sender's boot epoch, of which it signed that `signed` is the next. A new epoch has new ones.
    pub(super) fn track(
        &mut self,
        owner: &PeerId,
        sender: &PeerId,
        epoch: BootEpoch,
        signed: u32,
    ) -> Option<&mut Track> {
        let channel = self.by_owner.get_mut(owner)?;
        if channel.windows.get(sender).is_none_or(|listening| listening.epoch != epoch) {
            let record = self.recorded.remove(&(*owner, *sender));
            let highest = record.filter(|record| record.epoch == epoch.number).map(|record| record.highest);
            let track = highest.map_or_else(Track::default, |highest| Track::from_record(highest, signed));
            channel.windows.insert(*sender, Listening { epoch, track, recorded: highest, under: None });
        }
        let listening = channel.windows.get_mut(sender)?;
        listening.track.heard_signed(signed);
        Some(&mut listening.track)
    }

    /// What is to be recorded of a window after a frame was taken, if it moved far enough.
    pub(super) fn record(&mut self, owner: &PeerId, sender: &PeerId) -> Option<WindowRecord> {
        let listening = self.by_owner.get_mut(owner)?.windows.get_mut(sender)?;
        let highest = listening.track.highest()?;
        // Back as well, where it had been led away.
        let far = |recorded: u32| highest.abs_diff(recorded) >= WINDOW_RECORD_FRAMES;
        listening.recorded.is_none_or(far).then(|| {
            listening.recorded = Some(highest);
            WindowRecord { channel: *owner, sender: *sender, epoch: listening.epoch.number, highest }
        })
    }
}

/// Every header that may stand before a frame in this audience.
fn headers<'a>(
    owner: &'a PeerId,
    channel: &'a Channel,
) -> impl Iterator<Item = (Alias, bool, PeerId, Hint)> + 'a {
    let keyed = [false, true].into_iter().filter_map(|previous| Some((previous, channel.key(previous)?)));
    let sealed = keyed.flat_map(move |(previous, key)| {
        channel.members.iter().map(move |member| (key.alias(), previous, *member, key.hint(member)))
    });
    let clear = channel.members.iter().filter(|_| channel.keys.is_none());
    sealed.chain(clear.map(|member| (Alias::clear(owner), false, *member, Hint::clear(owner, member))))
}
