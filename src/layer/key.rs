//! The key of a map entry: an array of text segments, written `a/b/c`.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU64, Ordering as Memory};

use tombolo_delta::{CborReader, CborWriter, Value, cbor_head_len};
use triomphe::ThinArc;

use crate::layer::compact::allocated;
use crate::layer::{BucketIndex, ContentError, EntryError};
use crate::limits::{DEPTH_MAX, SEGMENT_BYTES_MAX};

/// A key: 1 to 64 segments of at most 1,024 bytes each. A JSON object is spread over keys, one segment
/// per member name, so that two people who edit different members both win.
///
/// A key stands in several indexes at once (entries, merged view, history), and lookups compare it many times. So its copies share one
/// allocation, which has the segments one behind the other, as they stand in the canonical CBOR: each text with its head.
#[derive(Clone)]
pub struct KeyPath(ThinArc<KeyHeader, u8>);

struct KeyHeader {
    segments: u8,
    /// The first bytes of the hash of the key, once it was asked for; before, [`HASH_UNKNOWN`].
    hash: AtomicU64,
}

/// The first head of a CBOR text that has its length in the bytes behind it; one below has it in itself.
const TEXT_HEAD_WITH_LENGTH: u8 = 0x78;

/// In place of a hash that was not asked for yet. A key that has this hash is hashed each time.
const HASH_UNKNOWN: u64 = 0;

/// Bytes of a key's allocation in front of its texts: references, header, length.
const KEY_OVERHEAD_BYTES: usize = 4 * size_of::<usize>();

/// The segments of a key, from the top down.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    texts: &'a [u8],
    left: usize,
}

impl<'a> Segments<'a> {
    /// The bytes of the next segment. The head of a CBOR text of at most 1,024 bytes has one to three bytes.
    fn next_bytes(&mut self) -> Option<&'a [u8]> {
        let (head, rest) = self.texts.split_first()?;
        let (length, rest) = match head & 0x1f {
            24 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
            25 => {
                rest.split_first_chunk().map(|(length, rest)| (u16::from_be_bytes(*length).into(), rest))?
            }
            length => (usize::from(length), rest),
        };
        let (text, rest) = rest.split_at_checked(length)?;
        (self.texts, self.left) = (rest, self.left - 1);
        Some(text)
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.next_bytes().map(|text| std::str::from_utf8(text).expect("a key is made of texts"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Segments<'_> {}

impl std::fmt::Debug for KeyPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPath").field(&self.segments().collect::<Vec<_>>()).finish()
    }
}

impl PartialEq for KeyPath {
    fn eq(&self, other: &Self) -> bool {
        self.is_copy_of(other) || (self.depth() == other.depth() && self.texts() == other.texts())
    }
}

impl Eq for KeyPath {}

impl std::hash::Hash for KeyPath {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash64());
    }
}

impl Ord for KeyPath {
    fn cmp(&self, other: &Self) -> Ordering {
        crate::steps::count();
        if self.is_copy_of(other) {
            return Ordering::Equal;
        }
        if let (1, 1, Some((head, ours)), Some((other_head, others))) =
            (self.depth(), other.depth(), self.texts().split_first(), other.texts().split_first())
            && head == other_head
            && *head < TEXT_HEAD_WITH_LENGTH
        {
            // Texts of one length, as the keys of a table have.
            return ours.cmp(others);
        }
        let (mut ours, mut others) = (self.segments(), other.segments());
        loop {
            let (a, b) = (ours.next_bytes(), others.next_bytes());
            match a.cmp(&b) {
                Ordering::Equal if a.is_some() => {}
                ordering => return ordering,
            }
        }
    }
}

impl PartialOrd for KeyPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A key beside its hash: a table of many keys grows without a look at each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HashedKey {
    hash: u64,
    /// The key itself.
    pub(crate) key: KeyPath,
}

impl HashedKey {
    /// The key with its hash.
    pub(crate) fn of(key: &KeyPath) -> Self {
        HashedKey { hash: key.hash64(), key: key.clone() }
    }
}

impl std::hash::Hash for HashedKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No segment at all.
    #[error("a key has at least one segment")]
    Empty,
    /// The key has too many segments.
    #[error("a key has at most {DEPTH_MAX} segments")]
    TooDeep,
    /// A segment is too long.
    #[error("a segment of a key has at most {SEGMENT_BYTES_MAX} bytes")]
    SegmentTooLong,
    /// The text ends in a lone backslash.
    #[error("a backslash at the end of a key escapes nothing: write `\\\\` for the character itself")]
    LoneBackslash,
    /// The value is not an array of texts.
    #[error("a key is an array of texts")]
    NotTexts,
}

impl KeyPath {
    /// A key from its segments.
    ///
    /// # Errors
    ///
    /// `Empty` for no segment, or the limit that is exceeded.
    pub fn new<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self, KeyError> {
        let (mut texts, mut depth) = (CborWriter::with_capacity(64), 0);
        for segment in segments {
            let segment = segment.as_ref();
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(KeyError::TooDeep);
            }
            if segment.len() > SEGMENT_BYTES_MAX {
                return Err(KeyError::SegmentTooLong);
            }
            texts.text(segment);
        }
        match depth {
            0 => Err(KeyError::Empty),
            depth => Ok(Self::of(depth, &texts.finish())),
        }
    }

    /// Reads `a/b/c`; `\/` is a slash and `\\` a backslash within a segment. Empty segments count: `a//b`
    /// has three, since a JSON member may be called "".
    ///
    /// # Errors
    ///
    /// An error where the text ends in a lone backslash, or the key exceeds a limit.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if !text.contains('\\') {
            return Self::new(text.split('/'));
        }
        let mut segments = vec![String::new()];
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            let literal = match c {
                '/' => {
                    segments.push(String::new());
                    continue;
                }
                '\\' => characters.next().ok_or(KeyError::LoneBackslash)?,
                other => other,
            };
            if let Some(last) = segments.last_mut() {
                last.push(literal);
            }
        }
        Self::new(segments)
    }

    /// The key of so many texts, each with its head.
    fn of(depth: usize, texts: &[u8]) -> Self {
        let segments = u8::try_from(depth).expect("a key has at most 64 segments");
        let header = KeyHeader { segments, hash: AtomicU64::new(HASH_UNKNOWN) };
        KeyPath(ThinArc::from_header_and_slice(header, texts))
    }

    fn texts(&self) -> &[u8] {
        &self.0.slice
    }

    fn is_copy_of(&self, other: &Self) -> bool {
        ThinArc::as_ptr(&self.0) == ThinArc::as_ptr(&other.0)
    }

    /// The bucket of a map layer that the key falls into: the first 12 bits of BLAKE3 of its canonical CBOR.
    pub(super) fn bucket(&self) -> BucketIndex {
        BucketIndex::of_key_hash(self.hash64())
    }

    /// The first 8 bytes of BLAKE3 of its canonical CBOR.
    pub(crate) fn hash64(&self) -> u64 {
        // Each thread that computes it finds the same.
        match self.0.header.header.hash.load(Memory::Relaxed) {
            HASH_UNKNOWN => self.note_hash(&self.to_cbor()),
            known => known,
        }
    }

    fn note_hash(&self, cbor: &[u8]) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(cbor).as_bytes();
        let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        self.0.header.header.hash.store(hash, Memory::Relaxed);
        hash
    }

    /// Bytes that the key takes in memory, about; its copies share them.
    pub fn memory_bytes(&self) -> usize {
        allocated(KEY_OVERHEAD_BYTES + self.texts().len())
    }

    /// The segments, from the top down.
    pub fn segments(&self) -> Segments<'_> {
        Segments { texts: self.texts(), left: self.depth() }
    }

    /// How many segments there are.
    pub fn depth(&self) -> usize {
        usize::from(self.0.header.header.segments)
    }

    /// Whether `self` is `other` or stands above it.
    pub fn is_prefix_of(&self, other: &KeyPath) -> bool {
        // Each text has its length in front, so equal bytes are equal segments.
        self.depth() <= other.depth() && other.texts().starts_with(self.texts())
    }

    /// All keys that stand above this one.
    pub fn parents(&self) -> impl Iterator<Item = KeyPath> + '_ {
        let mut below = self.segments();
        (1..self.depth()).filter_map(move |depth| {
            below.next_bytes()?;
            let end = self.texts().len() - below.texts.len();
            self.texts().get(..end).map(|above| Self::of(depth, above))
        })
    }

    /// The key one segment further down.
    ///
    /// # Errors
    ///
    /// The limit that the longer key exceeds.
    pub fn child(&self, segment: &str) -> Result<KeyPath, KeyError> {
        KeyPath::new(self.segments().chain([segment]))
    }

    /// As the array of texts that travels.
    pub fn to_value(&self) -> Value {
        Value::Array(self.segments().map(Value::from).collect())
    }

    /// Appends the canonical CBOR of the array of texts.
    pub fn write(&self, out: &mut CborWriter) {
        out.array(self.depth()).encoded(self.texts());
    }

    /// The canonical CBOR of the array of texts.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut out = CborWriter::with_capacity(64);
        self.write(&mut out);
        out.finish()
    }

    /// The order of the canonical CBOR of two keys.
    pub(crate) fn cmp_records(&self, other: &Self) -> Ordering {
        match self.is_copy_of(other) {
            true => Ordering::Equal,
            false => (self.depth(), self.texts()).cmp(&(other.depth(), other.texts())),
        }
    }

    /// Bytes of the canonical CBOR of the array of texts.
    pub fn size(&self) -> usize {
        cbor_head_len(self.depth() as u64) + self.texts().len()
    }

    /// The next item of a reader, an array of texts, which may be a peer's.
    ///
    /// # Errors
    ///
    /// An error where the item is no array of texts, or the key exceeds a limit.
    pub fn read(reader: &mut CborReader<'_>) -> Result<Self, ContentError> {
        let from = reader.position();
        let depth = reader.enter_array()?.ok_or(EntryError::from(KeyError::NotTexts))?;
        let first = reader.position();
        match depth {
            0 => return Err(EntryError::from(KeyError::Empty).into()),
            depth if depth > DEPTH_MAX => return Err(EntryError::from(KeyError::TooDeep).into()),
            _ => {}
        }
        for _ in 0..depth {
            let segment = reader.next_text()?.ok_or(EntryError::from(KeyError::NotTexts))?;
            if segment.len() > SEGMENT_BYTES_MAX {
                return Err(EntryError::from(KeyError::SegmentTooLong).into());
            }
        }
        // The reader takes canonical CBOR only, so what was read is what the key keeps, and what its bucket is a hash of.
        let key = Self::of(depth, reader.read_since(first));
        key.note_hash(reader.read_since(from));
        Ok(key)
    }

    /// From an array of texts of a peer.
    ///
    /// # Errors
    ///
    /// An error where the value is no array of texts, or the key exceeds a limit.
    pub fn from_value(value: &Value) -> Result<Self, KeyError> {
        let Value::Array(items) = value else { return Err(KeyError::NotTexts) };
        if items.len() > DEPTH_MAX {
            return Err(KeyError::TooDeep);
        }
        fn segment(item: &Value) -> Result<&str, KeyError> {
            if let Value::Text(text) = item { Ok(text) } else { Err(KeyError::NotTexts) }
        }
        KeyPath::new(items.iter().map(segment).collect::<Result<Vec<_>, _>>()?)
    }
}

/// Bytes of a key's first segment that most comparisons need not look beyond.
const SORT_PREFIX_BYTES: usize = 24;

/// Sorts by the order of keys. The start of each key is laid beside the others first: a comparison of two keys reads memory that lies
/// far apart.
pub fn sort_by_key_path<T>(items: &mut [T], key_of: impl Fn(&T) -> &KeyPath) {
    if items.is_sorted_by(|a, b| key_of(a) <= key_of(b)) {
        return;
    }
    items.sort_by_cached_key(|item| {
        let key = key_of(item);
        let mut prefix = [0; SORT_PREFIX_BYTES];
        let first = key.segments().next_bytes().unwrap_or_default();
        prefix.iter_mut().zip(first).for_each(|(prefix, byte)| *prefix = *byte);
        // Where the starts are equal, or one is the other with zeros behind it, the whole keys decide.
        (prefix, key.clone())
    });
}

impl std::fmt::Display for KeyPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, segment) in self.segments().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            f.write_str(&segment.replace('\\', "\\\\").replace('/', "\\/"))?;
        }
        Ok(())
    }
}

/// Characters of a key that a message names.
const EXCERPT_CHARS_MAX: usize = 80;

/// The start of a key, for a message: a key has up to 64 kB.
pub fn key_excerpt(key: &str) -> String {
    match key.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", key.get(..end).unwrap_or_default()),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_backslash_escapes_a_slash() {
        let key = KeyPath::parse("a\\/b/c\\\\/").unwrap();
        assert_eq!(key.segments().collect::<Vec<_>>(), ["a/b", "c\\", ""]);
        assert_eq!(KeyPath::parse("a\\"), Err(KeyError::LoneBackslash));
        assert_eq!(KeyPath::parse(""), Err(KeyError::Empty));
        assert_eq!(KeyPath::parse(&"/".repeat(64)), Err(KeyError::TooDeep));
    }

    proptest! {
        /// Zeros, prefixes and equal starts are where a padded start could mislead.
        #[test]
        fn keys_sort_as_they_compare(
            keys in proptest::collection::vec(proptest::collection::vec("[a\0]{0,3}(long enough to fill the start)?[ab\0]?", 1..3), 0..40)
        ) {
            let mut keys: Vec<KeyPath> = keys.into_iter().map(|segments| KeyPath::new(segments).unwrap()).collect();
            let mut expected = keys.clone();
            expected.sort();
            sort_by_key_path(&mut keys, |key| key);
            prop_assert_eq!(keys, expected);
        }

        #[test]
        fn any_key_reads_back(segments in proptest::collection::vec(".{0,8}", 1..6)) {
            let key = KeyPath::new(segments.clone()).unwrap();
            if segments != [""] {
                prop_assert_eq!(&KeyPath::parse(&key.to_string()).unwrap(), &key);
            }
            prop_assert_eq!(&KeyPath::from_value(&key.to_value()).unwrap(), &key);
            let cbor = key.to_cbor();
            prop_assert_eq!(key.size(), cbor.len());
            let read = KeyPath::read(&mut CborReader::new(&cbor, &tombolo_delta::Limits::SNAPSHOT)).unwrap();
            prop_assert_eq!(&read, &key);
            prop_assert_eq!(read.bucket(), key.bucket());
        }
    }

    #[test]
    fn a_message_names_the_start_of_a_long_key() {
        assert_eq!(key_excerpt("a/b"), "a/b");
        assert_eq!(key_excerpt(&"é".repeat(60_000)).chars().count(), EXCERPT_CHARS_MAX + 1);
    }
}
