//! Why frames are refused: counted by reason, for `status`.

use std::collections::BTreeMap;

/// Why a frame had no effect, or not the one it claims. All of it may be noise, another federation, or malice: it is
/// counted, and the station carries on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FrameRejection {
    /// Shorter than a frame of its kind.
    #[error("shorter than any frame")]
    TooShort,
    /// Longer than any radio's frame.
    #[error("longer than any frame")]
    TooLong,
    /// An audience of ours, and no known member of it.
    #[error("from no known member of that audience")]
    UnknownSender,
    /// Its sender's boot epoch is not known; kept for a while, and asked for.
    #[error("its sender's boot epoch is not known yet")]
    UnknownEpoch,
    /// Its counter was taken before.
    #[error("received before")]
    Replayed,
    /// Its counter is older than the window reaches.
    #[error("too old to know whether it was received before")]
    TooOld,
    /// Taken, but counters far ahead had come before it: a member forges in its sender's name, or it was held up for long.
    #[error("counters far ahead in its sender's name had come before")]
    LedAway,
    /// Its counter is no number: a signed one is needed first.
    #[error("too far from the counter that was expected")]
    FarCounter,
    /// Not sealed under the key that it claims, or damaged.
    #[error("the tag does not hold")]
    BadTag,
    /// Sealed as by us, and not by us: a member forges, or there is a copy of us.
    #[error("sent in this node's name by another sender")]
    InOurName,
    /// An announcement whose signature is of no member that we know in that audience.
    #[error("an announcement that its sender did not sign")]
    BadSignature,
    /// An announcement of an epoch that is not the newest of its author.
    #[error("a boot epoch that is not its sender's newest")]
    OldEpoch,
    /// Of kind `Open`, and none.
    #[error("no announcement, part of one, or request")]
    Announcement,
    /// A call sign that is no text.
    #[error("no call sign")]
    CallSign,
    /// A fragment that does not fit; see the assembler's counters.
    #[error("a fragment that fits no message")]
    Fragment,
    /// A NACK that names what its message does not have.
    #[error("a NACK that fits no message")]
    Nack,
    /// In clear mode: filled up with anything but the zero bytes that it announces, or longer than is filled up.
    #[error("not padded as frames are")]
    Padding,
    /// A kind that has no place in this mode.
    #[error("a kind that is not spoken in this mode")]
    Kind,
}

/// How often each happened.
pub type Rejections = BTreeMap<FrameRejection, u64>;
