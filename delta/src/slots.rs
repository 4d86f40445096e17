//! The layout of the model: for each question the packed form asks, where its chances begin.
//!
//! The order is part of the format, since [`crate::priors`] lists the chances in it.

macro_rules! slots {
    ($at:expr; $(#[$doc:meta])* $name:ident = $length:expr; $($rest:tt)*) => {
        $(#[$doc])*
        pub(crate) const $name: usize = $at;
        slots!($at + $length; $($rest)*);
    };
    ($at:expr;) => {
        /// How many slots there are.
        pub(crate) const SLOTS: usize = $at;
    };
}

macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident = $length:expr;)*) => {
        slots! { 0; $($(#[$doc])* $name = $length;)* }
        /// The names and lengths in order.
        #[cfg(test)]
        pub(crate) const TABLE: &[(&str, usize)] = &[$((stringify!($name), $length)),*];
    };
}

/// Slots of a count: its class in unary, then the top bit of what is below the class.
pub(crate) const COUNT: usize = 50;
/// Where the top bits begin in a count.
pub(crate) const COUNT_TOP: usize = 25;
/// Slots of a signed number: a tree of 7 bits for its class, then by class its sign and top bits; the largest classes
/// share theirs.
pub(crate) const SIGNED: usize = 288;
/// From this class on signs and top bits are shared.
pub(crate) const SIGNED_SHARED: usize = 32;
/// Where the signs begin in a signed number.
pub(crate) const SIGNED_SIGN: usize = 127;
/// Where the trees of the two bits below the highest begin in a signed number, four slots a class.
pub(crate) const SIGNED_TOP: usize = 160;

layout! {
    /// Do the running fields run?
    RUNNING = 1;
    /// Is the root edited in place? By kind.
    ROOT = 8;
    /// Is a root that is no map unchanged?
    ROOT_KEPT = 1;
    /// Is the new value of the old one's kind? By class.
    SAME_KIND = 16;
    /// Has a lively entry changed? By class.
    LIVELY = 16;
    /// Has an entry of a small record changed? By class, texts by their shape.
    RECORD = 32;
    /// Do keys come or go? By place.
    MAP_SHAPE = 4;
    /// Which of the two runs?
    MAP_WHICH = 4;
    /// Do items come or go? By kind of list.
    LIST_SHAPE = 3;
    /// Which of both? By kind of list.
    LIST_WHICH = 12;
    /// How many quiet entries changed? By place.
    QUIET_COUNT = 3 * COUNT;
    /// How many items changed? By whether one must have, and kind of list.
    ITEM_COUNT = 6 * COUNT;
    /// How many entries, items go?
    REMOVED_COUNT = 2 * COUNT;
    /// How many entries, items come?
    INSERTED_COUNT = 2 * COUNT;
    /// Do the last items go? By kind of list.
    REMOVED_LAST = 3;
    /// Do items come at the front, the back, or anywhere? By kind of list.
    INSERTED_WHERE = 12;
    /// Was the item moved?
    MOVED = 3;
    /// Has the moved item changed?
    MOVED_CHANGED = 1;
    /// Did the entry stand under another key?
    RENAMED = 1;
    /// Is a new key a number?
    KEY_NUMBER = 1;
    /// A key that is a number.
    KEY_INT = SIGNED;
    /// Has the new map the keys of its sibling?
    SAME_KEYS = 1;
    /// How many entries has a new map?
    MAP_LENGTH = COUNT;
    /// How many items has a new array?
    LIST_LENGTH = COUNT;
    /// The kind of a new value, by its sibling's.
    KIND = 72;
    /// A new truth value, by its sibling.
    NEW_BOOL = 3;
    /// How a changed text is encoded, by shape.
    TEXT_HOW = 20;
    /// How a new text is encoded, by shape.
    NEW_TEXT_HOW = 20;
    /// Are both ends of a long text kept?
    TRIMMED = 1;
    /// Rank of a word among the known ones, by shape.
    WORD_RANK = 3 * COUNT;
    /// Which number of a version goes up or down, from the last?
    BUMP_RUN = COUNT;
    /// Does the number go down?
    BUMP_DOWN = 1;
    /// By how much does it change?
    BUMP_BY = COUNT;
    /// Do the numbers behind it stay, become zero, or something else?
    BUMP_REST = 4;
    /// The number in place of a zero.
    BUMP_VALUE = COUNT;
    /// Is the clock still one, and is a new text's moment encoded in milliseconds?
    CLOCK_KIND = 2;
    /// How far a clock is from where it should be.
    CLOCK = SIGNED;
    /// How far a new moment is from the signed time.
    MOMENT = SIGNED;
    /// How far an uptime is from where it should be.
    UPTIME = SIGNED;
    /// Is the difference a whole number of pages? By size of the page.
    PAGED = 2;
    /// Pages, by size of the old number; then differences that are none.
    PAGES = 4 * SIGNED;
    /// Difference of a lively integer, by size of the old one.
    LIVELY_INT = 3 * SIGNED;
    /// Difference of a small integer.
    SMALL_INT = SIGNED;
    /// Difference of a settled integer.
    SETTLED_INT = SIGNED;
    /// A new integer, and its difference from a sibling.
    NEW_INT = 2 * SIGNED;
    /// Is the float a decimal? By whether the old one is.
    DECIMAL = 2;
    /// Digits behind the point, by those of the old one.
    DIGITS = 64;
    /// Units in the last place that the decimal is off, by digits.
    ULPS = 64;
    /// Difference of the decimals as integers, by digits.
    DECIMAL_BY = 8 * SIGNED;
    /// Difference of the bits of other floats.
    FLOAT_BITS = SIGNED;
    /// Text: what followed the same bytes before, by length of the match and counts.
    TEXT_GROUP = 6 * 64;
    /// Text: what followed the longest match, by its length.
    TEXT_LONGEST = 20 * 2;
    /// Text: what the first guide predicts.
    TEXT_GUIDE_A = 12 * 2;
    /// Text: what the second guide predicts.
    TEXT_GUIDE_B = 12 * 2;
    /// Text: the byte alone, by kind of the one before.
    TEXT_BYTE = 4 * 256;
}
