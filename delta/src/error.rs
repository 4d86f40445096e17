//! Why bytes, a delta or a Rust value were refused. Each act has its own enum; the facts are in the fields.

use thiserror::Error;

/// Why bytes are not one deterministic CBOR value within the limits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CborError {
    /// More bytes than the limit.
    #[error("{bytes} bytes where at most {max} are allowed")]
    TooLong {
        /// How many there are.
        bytes: usize,
        /// How many may be.
        max: usize,
    },
    /// Arrays and maps nest deeper than the limit.
    #[error("nested deeper than {max} levels")]
    TooDeep {
        /// How deep they may.
        max: usize,
    },
    /// More items than the limit.
    #[error("more than {max} items")]
    TooManyItems {
        /// How many may be.
        max: usize,
    },
    /// The bytes end inside a value.
    #[error("ends inside a value")]
    Truncated,
    /// Bytes follow the value.
    #[error("bytes follow the value at {at}")]
    Trailing {
        /// Where the first of them stands.
        at: usize,
    },
    /// A head longer than it need be.
    #[error("the head at {at} is longer than it need be")]
    LongHead {
        /// The offset of its first byte.
        at: usize,
    },
    /// A float that a shorter one would hold.
    #[error("the float at {at} is longer than it need be")]
    LongFloat {
        /// The offset of its first byte.
        at: usize,
    },
    /// Indefinite lengths are not deterministic.
    #[error("indefinite length at {at}")]
    Indefinite {
        /// The offset of its first byte.
        at: usize,
    },
    /// Additional information 28 to 30 means nothing.
    #[error("reserved head at {at}")]
    Reserved {
        /// The offset of its first byte.
        at: usize,
    },
    /// Tags, and with them bignums, are left out of the model.
    #[error("tag at {at}")]
    Tag {
        /// The offset of its first byte.
        at: usize,
    },
    /// `undefined` and other simple values are left out of the model.
    #[error("simple value {value} at {at}")]
    Simple {
        /// The value that is not allowed.
        value: u8,
        /// The offset of its first byte.
        at: usize,
    },
    /// A text that is not UTF-8.
    #[error("the text at {at} is not UTF-8")]
    NotUtf8 {
        /// The offset of its first byte.
        at: usize,
    },
    /// A map key that is neither a text nor an integer.
    #[error("the key at {at} is neither a text nor an integer")]
    KeyKind {
        /// The offset of its first byte.
        at: usize,
    },
    /// Keys out of order.
    #[error("the key at {at} is out of order")]
    KeyOrder {
        /// The offset of its first byte.
        at: usize,
    },
    /// The same key twice.
    #[error("the key at {at} stands twice")]
    KeyTwice {
        /// The offset of its first byte.
        at: usize,
    },
}

/// Why bytes are not a delta for this base.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not exactly one CBOR byte string.
    #[error("not one CBOR byte string: {0}")]
    Frame(#[from] CborError),
    /// A CBOR value of another kind.
    #[error("not a CBOR byte string")]
    NotBytes,
    /// The delta goes on where its bytes have ended.
    #[error("the delta is cut off")]
    Truncated,
    /// The delta ends before its bytes do.
    #[error("bytes follow the delta")]
    Trailing,
    /// A count or position beyond what the base holds.
    #[error("a count or position beyond the base")]
    Position,
    /// A number outside the model.
    #[error("a number out of range")]
    Number,
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotUtf8,
    /// Keys out of order, or one twice.
    #[error("keys out of order")]
    KeyOrder,
    /// New content beyond the limit.
    #[error("more than {max} bytes of new content")]
    TooMuch {
        /// How many bytes may be.
        max: usize,
    },
    /// New content nests deeper than the limit.
    #[error("new content nested deeper than {max} levels")]
    TooDeep {
        /// How deep it may.
        max: usize,
    },
}

/// Why a delta does not apply: it was made against another base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The delta changes an array or map where the base has something else.
    #[error("the base has a value of another kind")]
    Kind,
    /// The delta speaks of an item or entry that the base does not have.
    #[error("the base has no such item")]
    Position,
    /// The delta brings a key that the base has, or brings one twice.
    #[error("the key stands twice")]
    KeyTwice,
}

/// Why a Rust value is no [`Value`](crate::Value), or the other way round.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SerdeError {
    /// The type's own conversion failed.
    #[error("{0}")]
    Type(String),
    /// A tag or bignum.
    #[error("a tag or a number beyond 64 bits")]
    Tag,
    /// A map key that is neither a text nor an integer.
    #[error("a map key that is neither a text nor an integer")]
    KeyKind,
    /// The same key twice.
    #[error("a map key stands twice")]
    KeyTwice,
    /// Nested deeper than any value that can be read again.
    #[error("nested deeper than {max} levels")]
    TooDeep {
        /// How deep it may.
        max: usize,
    },
}
