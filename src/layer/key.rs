//! The key of a map entry: an array of text segments, written `a/b/c`.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use tombolo_delta::{CborReader, CborWriter, Value, cbor_head_len};

use crate::layer::compact::allocated;
use crate::layer::{BucketIndex, ContentError, EntryError};
use crate::limits::{DEPTH_MAX, SEGMENT_BYTES_MAX};

/// A key: 1 to 64 segments of at most 1,024 bytes each. A JSON object is spread over keys, one segment
/// per member name, so that two people who edit different members both win.
///
/// A key stands in several indexes at once (entries, merged view, history), so its copies share the segments, and its bucket once
/// that was asked for.
#[derive(Clone)]
pub struct KeyPath(Arc<KeyParts>);

struct KeyParts {
    segments: Box<[String]>,
    bucket: OnceLock<BucketIndex>,
}

impl std::fmt::Debug for KeyPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPath").field(&self.segments()).finish()
    }
}

impl PartialEq for KeyPath {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.segments() == other.segments()
    }
}

impl Eq for KeyPath {}

impl std::hash::Hash for KeyPath {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.segments().hash(state);
    }
}

impl Ord for KeyPath {
    fn cmp(&self, other: &Self) -> Ordering {
        crate::steps::count();
        match Arc::ptr_eq(&self.0, &other.0) {
            true => Ordering::Equal,
            false => self.segments().cmp(other.segments()),
        }
    }
}

impl PartialOrd for KeyPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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
    pub fn new(segments: Vec<String>) -> Result<Self, KeyError> {
        Self::check(&segments)?;
        Ok(Self::of(segments.into()))
    }

    /// Whether segments make a key.
    ///
    /// # Errors
    ///
    /// `Empty` for no segment, or the limit that is exceeded.
    pub fn check(segments: &[String]) -> Result<(), KeyError> {
        match segments.len() {
            0 => Err(KeyError::Empty),
            n if n > DEPTH_MAX => Err(KeyError::TooDeep),
            _ if segments.iter().any(|s| s.len() > SEGMENT_BYTES_MAX) => Err(KeyError::SegmentTooLong),
            _ => Ok(()),
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

    /// Sorts before every key, and is none: the lower end of a range.
    pub(crate) fn lowest() -> Self {
        Self::of(Box::from([]))
    }

    fn of(segments: Box<[String]>) -> Self {
        KeyPath(Arc::new(KeyParts { segments, bucket: OnceLock::new() }))
    }

    /// The bucket of a map layer that the key falls into: the first 12 bits of BLAKE3 of its canonical CBOR.
    pub(super) fn bucket(&self) -> BucketIndex {
        *self.0.bucket.get_or_init(|| BucketIndex::of_key_cbor(&self.to_cbor()))
    }

    /// Bytes that the key takes in memory, about; its copies share them.
    pub fn memory_bytes(&self) -> usize {
        let counters = 2 * size_of::<usize>();
        let texts: usize = self.segments().iter().map(|segment| allocated(segment.len())).sum();
        allocated(counters + size_of::<KeyParts>()) + allocated(size_of_val(self.segments())) + texts
    }

    /// The segments, from the top down.
    pub fn segments(&self) -> &[String] {
        &self.0.segments
    }

    /// Whether `self` is `other` or stands above it.
    pub fn is_prefix_of(&self, other: &KeyPath) -> bool {
        other.segments().starts_with(self.segments())
    }

    /// All keys that stand above this one.
    pub fn parents(&self) -> impl Iterator<Item = KeyPath> + '_ {
        let segments = self.segments();
        (1..segments.len()).filter_map(move |n| segments.get(..n)).map(|above| Self::of(above.into()))
    }

    /// The key one segment further down.
    ///
    /// # Errors
    ///
    /// The limit that the longer key exceeds.
    pub fn child(&self, segment: &str) -> Result<KeyPath, KeyError> {
        let mut segments = self.segments().to_vec();
        segments.push(segment.to_owned());
        KeyPath::new(segments)
    }

    /// As the array of texts that travels.
    pub fn to_value(&self) -> Value {
        Value::Array(self.segments().iter().map(|s| Value::from(s.as_str())).collect())
    }

    /// Appends the canonical CBOR of the array of texts.
    pub fn write(&self, out: &mut CborWriter) {
        out.array(self.segments().len());
        for segment in self.segments() {
            out.text(segment);
        }
    }

    /// The canonical CBOR of the array of texts.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut out = CborWriter::with_capacity(64);
        self.write(&mut out);
        out.finish()
    }

    /// Bytes of the canonical CBOR of the array of texts.
    pub fn size(&self) -> usize {
        let texts = self.segments().iter().map(|segment| cbor_head_len(segment.len() as u64) + segment.len());
        cbor_head_len(self.segments().len() as u64) + texts.sum::<usize>()
    }

    /// The next item of a reader, an array of texts, which may be a peer's.
    ///
    /// # Errors
    ///
    /// An error where the item is no array of texts, or the key exceeds a limit.
    pub fn read(reader: &mut CborReader<'_>) -> Result<Self, ContentError> {
        let from = reader.position();
        let length = reader.enter_array()?.ok_or(EntryError::from(KeyError::NotTexts))?;
        if length > DEPTH_MAX {
            return Err(EntryError::from(KeyError::TooDeep).into());
        }
        let mut segments = Vec::with_capacity(length);
        for _ in 0..length {
            let segment = reader.next_text()?.ok_or(EntryError::from(KeyError::NotTexts))?;
            segments.push(segment.to_owned());
        }
        let key = KeyPath::new(segments).map_err(EntryError::from)?;
        // The reader takes canonical CBOR only, so what was read is what the bucket is a hash of.
        let _ = key.0.bucket.set(BucketIndex::of_key_cbor(reader.read_since(from)));
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
        let segment = |item: &Value| match item {
            Value::Text(text) => Ok(text.to_string()),
            _ => Err(KeyError::NotTexts),
        };
        KeyPath::new(items.iter().map(segment).collect::<Result<_, _>>()?)
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
        let first = key.segments().first().map_or(&[][..], |segment| segment.as_bytes());
        prefix.iter_mut().zip(first).for_each(|(prefix, byte)| *prefix = *byte);
        // Where the starts are equal, or one is the other with zeros behind it, the whole keys decide.
        (prefix, key.clone())
    });
}

impl std::fmt::Display for KeyPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, segment) in self.segments().iter().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            f.write_str(&segment.replace('\\', "\\\\").replace('/', "\\/"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_backslash_escapes_a_slash() {
        let key = KeyPath::parse("a\\/b/c\\\\/").unwrap();
        assert_eq!(key.segments(), ["a/b", "c\\", ""]);
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
}
