//! Deterministic CBOR (RFC 8949, 4.2.1): one value, one byte string.
//!
//! Shortest heads, keys sorted by their encoding, definite lengths, no duplicate keys, floats shortened only where
//! widening gives the same bits. Any other form is refused with an error that names it, before
//! anything is allocated for it: a declared length is never believed beyond the bytes that are there.

use crate::value::{Int, Key, Map, Value};
use crate::{CborError, Limits};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// The value's one byte string.
pub fn to_cbor(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    write(&mut out, value);
    out
}

/// The value of a byte string that is the one [`to_cbor`] writes, with nothing behind it.
///
/// # Errors
///
/// The first deviation from the deterministic form, or the limit that is exceeded.
pub fn from_cbor(bytes: &[u8], limits: &Limits) -> Result<Value, CborError> {
    if bytes.len() > limits.bytes_max {
        return Err(CborError::TooLong { bytes: bytes.len(), max: limits.bytes_max });
    }
    let mut reader = CborReader::new(bytes, limits);
    let value = reader.value(0)?;
    reader.finish()?;
    Ok(value)
}

/// How many bytes [`to_cbor`] makes of a value.
pub fn cbor_len(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Int(int) => cbor_head_len(int.parts().1),
        Value::Float(float) => float_len(float.to_bits()),
        Value::Bytes(bytes) => cbor_head_len(bytes.len() as u64) + bytes.len(),
        Value::Text(text) => cbor_head_len(text.len() as u64) + text.len(),
        Value::Array(items) => cbor_head_len(items.len() as u64) + items.iter().map(cbor_len).sum::<usize>(),
        Value::Map(map) => {
            let key_len = |key: &Key| match key {
                Key::Int(int) => cbor_head_len(int.parts().1),
                Key::Text(text) => cbor_head_len(text.len() as u64) + text.len(),
            };
            let entries = map.iter().map(|(key, value)| key_len(key) + cbor_len(value));
            cbor_head_len(map.len() as u64) + entries.sum::<usize>()
        }
    }
}

/// Bytes of a head with this argument: of a whole number itself, or of what stands before a text, byte string or array.
pub fn cbor_head_len(argument: u64) -> usize {
    match argument {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}

fn float_len(bits: u64) -> usize {
    match (HALF.narrow(bits), SINGLE.narrow(bits)) {
        (Some(_), _) => 3,
        (None, Some(_)) => 5,
        (None, None) => 9,
    }
}

/// Writes deterministic CBOR piece by piece, where a [`Value`] would only be made to be written.
#[derive(Debug, Default)]
pub struct CborWriter {
    out: Vec<u8>,
}

impl CborWriter {
    /// A writer that has room for so many bytes before it grows.
    pub fn with_capacity(bytes: usize) -> Self {
        CborWriter { out: Vec::with_capacity(bytes) }
    }

    /// A writer that appends to some bytes.
    pub fn appending(out: Vec<u8>) -> Self {
        CborWriter { out }
    }

    /// Appends the head of an array; its items are to follow.
    #[inline]
    pub fn array(&mut self, items: usize) -> &mut Self {
        write_head(&mut self.out, ARRAY, items as u64);
        self
    }

    /// Appends a text with its head.
    #[inline]
    pub fn text(&mut self, text: &str) -> &mut Self {
        write_text(&mut self.out, text);
        self
    }

    /// Appends a byte string with its head.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        write_bytes(&mut self.out, bytes);
        self
    }

    /// Appends a whole number from zero up.
    #[inline]
    pub fn unsigned(&mut self, number: u64) -> &mut Self {
        write_head(&mut self.out, UNSIGNED, number);
        self
    }

    /// Appends the number `-1 - complement`.
    #[inline]
    pub fn negative(&mut self, complement: u64) -> &mut Self {
        write_head(&mut self.out, NEGATIVE, complement);
        self
    }

    /// Appends any value, whole.
    #[inline]
    pub fn value(&mut self, value: &Value) -> &mut Self {
        write(&mut self.out, value);
        self
    }

    /// Appends an item that is encoded already, in the deterministic form.
    #[inline]
    pub fn encoded(&mut self, item: &[u8]) -> &mut Self {
        self.out.extend_from_slice(item);
        self
    }

    /// How many bytes were written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Ends with the bytes that were written.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Appends the head and content of a byte string.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, BYTES, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The content of the one byte string that `bytes` must be.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<Option<&[u8]>, CborError> {
    let mut reader = CborReader::new(bytes, &Limits::SNAPSHOT);
    let (major, length) = reader.head()?;
    if major != BYTES {
        return Ok(None);
    }
    let content = reader.take(length)?;
    reader.finish()?;
    Ok(Some(content))
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(bool) => out.push(if *bool { TRUE } else { FALSE }),
        Value::Int(int) => write_int(out, *int),
        Value::Float(float) => write_float(out, float.to_bits()),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Text(text) => write_text(out, text),
        Value::Array(items) => {
            write_head(out, ARRAY, items.len() as u64);
            items.iter().for_each(|item| write(out, item));
        }
        Value::Map(map) => {
            write_head(out, MAP, map.len() as u64);
            for (key, value) in map.iter() {
                match key {
                    Key::Int(int) => write_int(out, *int),
                    Key::Text(text) => write_text(out, text),
                }
                write(out, value);
            }
        }
    }
}

#[inline]
fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    if argument < 24 {
        out.push(major | argument as u8);
    } else if let Ok(short) = u8::try_from(argument) {
        out.extend([major | 24, short]);
    } else if let Ok(short) = u16::try_from(argument) {
        out.push(major | 25);
        out.extend(short.to_be_bytes());
    } else if let Ok(short) = u32::try_from(argument) {
        out.push(major | 26);
        out.extend(short.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend(argument.to_be_bytes());
    }
}

fn write_int(out: &mut Vec<u8>, int: Int) {
    let (negative, magnitude) = int.parts();
    write_head(out, if negative { NEGATIVE } else { UNSIGNED }, magnitude);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, TEXT, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn write_float(out: &mut Vec<u8>, bits: u64) {
    if let Some(half) = HALF.narrow(bits) {
        out.push(0xf9);
        out.extend((half as u16).to_be_bytes());
    } else if let Some(single) = SINGLE.narrow(bits) {
        out.push(0xfa);
        out.extend((single as u32).to_be_bytes());
    } else {
        out.push(0xfb);
        out.extend(bits.to_be_bytes());
    }
}

/// A float shorter than 64 bits: done on bits, since a cast may change the payload of a NaN.
struct Short {
    exponent_bits: u32,
    fraction_bits: u32,
}

const HALF: Short = Short { exponent_bits: 5, fraction_bits: 10 };
const SINGLE: Short = Short { exponent_bits: 8, fraction_bits: 23 };
const DOUBLE_BIAS: i64 = 1023;
const DOUBLE_FRACTION_BITS: u32 = 52;

impl Short {
    fn bias(&self) -> i64 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// The short form, if it widens to the same 64 bits.
    fn narrow(&self, bits: u64) -> Option<u64> {
        let (sign, exponent) = (bits >> 63, (bits >> DOUBLE_FRACTION_BITS) & 0x7ff);
        let fraction = bits & ((1 << DOUBLE_FRACTION_BITS) - 1);
        let drop = DOUBLE_FRACTION_BITS - self.fraction_bits;
        let scale = exponent as i64 - DOUBLE_BIAS + self.bias();
        let top = (1 << self.exponent_bits) - 1;
        let body = match exponent {
            0x7ff => (top << self.fraction_bits) | (fraction >> drop),
            0 => 0,
            _ if scale >= top as i64 => return None,
            _ if scale > 0 => ((scale as u64) << self.fraction_bits) | (fraction >> drop),
            _ => {
                (fraction | 1 << DOUBLE_FRACTION_BITS).checked_shr(drop + 1 + scale.unsigned_abs() as u32)?
            }
        };
        let short = sign << (self.exponent_bits + self.fraction_bits) | body;
        (self.widen(short) == bits).then_some(short)
    }

    /// The same number, infinity or NaN in 64 bits.
    fn widen(&self, short: u64) -> u64 {
        let top = (1u64 << self.exponent_bits) - 1;
        let sign = short >> (self.exponent_bits + self.fraction_bits) << 63;
        let exponent = (short >> self.fraction_bits) & top;
        let fraction = short & ((1 << self.fraction_bits) - 1);
        let drop = DOUBLE_FRACTION_BITS - self.fraction_bits;
        if exponent == top {
            return sign | 0x7ff << DOUBLE_FRACTION_BITS | fraction << drop;
        }
        if exponent > 0 {
            let exponent = (exponent as i64 - self.bias() + DOUBLE_BIAS) as u64;
            return sign | exponent << DOUBLE_FRACTION_BITS | fraction << drop;
        }
        if fraction == 0 {
            return sign;
        }
        let shift = fraction.leading_zeros() - (63 - self.fraction_bits);
        let exponent = (1 - self.bias() + DOUBLE_BIAS - i64::from(shift)) as u64;
        let fraction = (fraction << shift) & ((1 << self.fraction_bits) - 1);
        sign | exponent << DOUBLE_FRACTION_BITS | fraction << drop
    }
}

/// Reads deterministic CBOR piece by piece, where a [`Value`] would only be made to be taken apart. It accepts what [`from_cbor`]
/// accepts, within the same limits, except that the caller compares the length of the input with `bytes_max`.
#[derive(Debug)]
pub struct CborReader<'a> {
    bytes: &'a [u8],
    at: usize,
    items_left: usize,
    /// Items, keys and values that the arrays and maps around this place have announced and that are still to come.
    owed: usize,
    /// Of each array that was entered, the items that are still to come.
    entered: Vec<usize>,
    limits: &'a Limits,
}

impl<'a> CborReader<'a> {
    /// A reader at the first item of some bytes, which may be a peer's.
    pub fn new(bytes: &'a [u8], limits: &'a Limits) -> Self {
        CborReader { bytes, at: 0, items_left: limits.items_max, owed: 0, entered: Vec::new(), limits }
    }

    /// Enters the next item, an array, and returns how many items it has; none where another item follows, which stays.
    ///
    /// # Errors
    ///
    /// The deviation from the deterministic form, or the limit that is exceeded.
    pub fn enter_array(&mut self) -> Result<Option<usize>, CborError> {
        if self.peek()? >> 5 != ARRAY {
            return Ok(None);
        }
        let depth = self.begin_item();
        self.count_item()?;
        let (_, argument) = self.head()?;
        if depth >= self.limits.depth_max {
            return Err(CborError::TooDeep { max: self.limits.depth_max });
        }
        let length = self.fitting(argument, 1)?;
        self.owed += length;
        self.entered.push(length);
        Ok(Some(length))
    }

    /// The next item, a text; none where another item follows, which stays.
    ///
    /// # Errors
    ///
    /// The deviation from the deterministic form, or the limit that is exceeded.
    pub fn next_text(&mut self) -> Result<Option<&'a str>, CborError> {
        if self.peek()? >> 5 != TEXT {
            return Ok(None);
        }
        self.begin_item();
        self.count_item()?;
        let at = self.at;
        let (_, length) = self.head()?;
        self.text(length, at).map(Some)
    }

    /// The next item, a whole number; none where another item follows, which stays.
    ///
    /// # Errors
    ///
    /// The deviation from the deterministic form, or the limit that is exceeded.
    pub fn next_int(&mut self) -> Result<Option<Int>, CborError> {
        if !matches!(self.peek()? >> 5, UNSIGNED | NEGATIVE) {
            return Ok(None);
        }
        self.begin_item();
        self.count_item()?;
        let (major, argument) = self.head()?;
        Ok(Some(Int::from_parts(major == NEGATIVE, argument)))
    }

    /// The next item, whatever it is.
    ///
    /// # Errors
    ///
    /// The deviation from the deterministic form, or the limit that is exceeded.
    pub fn next_value(&mut self) -> Result<Value, CborError> {
        let depth = self.begin_item();
        self.value(depth)
    }

    /// How many bytes were read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes that were read from a position on.
    pub fn read_since(&self, position: usize) -> &'a [u8] {
        self.bytes.get(position..self.at).unwrap_or_default()
    }

    /// Whether nothing stands behind what was read.
    ///
    /// # Errors
    ///
    /// [`CborError::Trailing`] if something does.
    pub fn finish(&self) -> Result<(), CborError> {
        if self.at < self.bytes.len() { Err(CborError::Trailing { at: self.at }) } else { Ok(()) }
    }

    /// Leaves the arrays that are at their end, and takes one item of the one around. Returns how deep the item stands.
    fn begin_item(&mut self) -> usize {
        while self.entered.last() == Some(&0) {
            self.entered.pop();
        }
        if let Some(left) = self.entered.last_mut() {
            *left -= 1;
            self.owed -= 1;
        }
        self.entered.len()
    }

    fn count_item(&mut self) -> Result<(), CborError> {
        let max = self.limits.items_max;
        self.items_left = self.items_left.checked_sub(1).ok_or(CborError::TooManyItems { max })?;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, CborError> {
        self.count_item()?;
        let at = self.at;
        if self.peek()? >> 5 == SIMPLE {
            return self.simple();
        }
        let (major, argument) = self.head()?;
        match major {
            UNSIGNED => Ok(Value::Int(Int::from_parts(false, argument))),
            NEGATIVE => Ok(Value::Int(Int::from_parts(true, argument))),
            BYTES => Ok(Value::Bytes(self.take(argument)?.to_vec())),
            TEXT => Ok(Value::Text(self.text(argument, at)?.to_owned())),
            TAG => Err(CborError::Tag { at }),
            _ if depth >= self.limits.depth_max => Err(CborError::TooDeep { max: self.limits.depth_max }),
            ARRAY => self.array(argument, depth),
            _ => self.map(argument, depth),
        }
    }

    fn array(&mut self, length: u64, depth: usize) -> Result<Value, CborError> {
        let length = self.fitting(length, 1)?;
        let mut items = Vec::with_capacity(length);
        self.owed += length;
        for _ in 0..length {
            self.owed -= 1;
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, length: u64, depth: usize) -> Result<Value, CborError> {
        let length = self.fitting(length, 2)?;
        let mut entries: Vec<(Key, Value)> = Vec::with_capacity(length);
        self.owed += 2 * length;
        for _ in 0..length {
            let at = self.at;
            self.owed -= 1;
            let key = self.key()?;
            self.owed -= 1;
            match entries.last() {
                Some((last, _)) if *last == key => return Err(CborError::KeyTwice { at }),
                Some((last, _)) if *last > key => return Err(CborError::KeyOrder { at }),
                _ => {}
            }
            let value = self.value(depth + 1)?;
            entries.push((key, value));
        }
        Ok(Value::Map(Map::from_sorted(entries).expect("each key was compared with the one before")))
    }

    fn key(&mut self) -> Result<Key, CborError> {
        let at = self.at;
        if self.peek()? >> 5 == SIMPLE {
            return Err(CborError::KeyKind { at });
        }
        match self.head()? {
            (UNSIGNED, argument) => Ok(Key::Int(Int::from_parts(false, argument))),
            (NEGATIVE, argument) => Ok(Key::Int(Int::from_parts(true, argument))),
            (TEXT, length) => Ok(Key::Text(self.text(length, at)?.to_owned())),
            _ => Err(CborError::KeyKind { at }),
        }
    }

    fn simple(&mut self) -> Result<Value, CborError> {
        let at = self.at;
        let head = self.peek()?;
        self.at += 1;
        let (bits, shorter) = match head {
            FALSE => return Ok(Value::Bool(false)),
            TRUE => return Ok(Value::Bool(true)),
            NULL => return Ok(Value::Null),
            0xf9 => return Ok(Value::Float(f64::from_bits(HALF.widen(self.argument(2)?)))),
            0xfa => {
                let bits = SINGLE.widen(self.argument(4)?);
                (bits, HALF.narrow(bits))
            }
            0xfb => {
                let bits = self.argument(8)?;
                (bits, HALF.narrow(bits).or_else(|| SINGLE.narrow(bits)))
            }
            0xf8 => return Err(CborError::Simple { value: self.argument(1)? as u8, at }),
            0xff => return Err(CborError::Indefinite { at }),
            0xfc..=0xfe => return Err(CborError::Reserved { at }),
            _ => return Err(CborError::Simple { value: head & 31, at }),
        };
        if shorter.is_some() {
            Err(CborError::LongFloat { at })
        } else {
            Ok(Value::Float(f64::from_bits(bits)))
        }
    }

    /// Major type and argument of a head in its shortest form.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let at = self.at;
        let first = self.peek()?;
        self.at += 1;
        let (argument, least) = match first & 31 {
            short @ 0..=23 => (u64::from(short), 0),
            24 => (self.argument(1)?, 24),
            25 => (self.argument(2)?, 1 << 8),
            26 => (self.argument(4)?, 1 << 16),
            27 => (self.argument(8)?, 1 << 32),
            31 => return Err(CborError::Indefinite { at }),
            _ => return Err(CborError::Reserved { at }),
        };
        if argument < least { Err(CborError::LongHead { at }) } else { Ok((first >> 5, argument)) }
    }

    fn argument(&mut self, length: u64) -> Result<u64, CborError> {
        Ok(self.take(length)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: u64, at: usize) -> Result<&'a str, CborError> {
        std::str::from_utf8(self.take(length)?).map_err(|_| CborError::NotUtf8 { at })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = self.fitting(length, 1)?;
        let taken = self.bytes.get(self.at..self.at + length).ok_or(CborError::Truncated)?;
        self.at += length;
        Ok(taken)
    }

    /// A declared length, if as many things of `least` bytes each can still follow, and then what is owed around them: so
    /// what is reserved for all arrays and maps that are open is no more than the input has bytes.
    fn fitting(&self, length: u64, least: u64) -> Result<usize, CborError> {
        let left = (self.bytes.len() - self.at).saturating_sub(self.owed) as u64;
        if length > left / least { Err(CborError::Truncated) } else { Ok(length as usize) }
    }

    fn peek(&self) -> Result<u8, CborError> {
        self.bytes.get(self.at).copied().ok_or(CborError::Truncated)
    }
}
