//! Protocol buffers, as much of them as the Meshtastic messages need: fields read one by one, unknown ones left to the reader
//! to pass over.
//!
//! After *Protocol Buffers, Encoding*: a field is a varint of `number << 3 | type`, then a varint (0), 8 bytes (1), a varint of
//! a length and so many bytes (2), or 4 bytes (5). The last of several fields of one number counts.

/// A value, by how it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> FieldValue<'a> {
    /// A number written as a varint or in four bytes; other sizes are cut as the standard requires.
    pub(super) fn u32(self) -> u32 {
        match self {
            Self::Varint(n) | Self::Fixed64(n) => n as u32,
            Self::Fixed32(n) => n,
            Self::Bytes(_) => 0,
        }
    }

    pub(super) fn bool(self) -> bool {
        self.u32() != 0
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    pub(super) fn fields(self) -> Fields<'a> {
        Fields(self.bytes())
    }

    /// Text as a person may see it.
    pub(super) fn text(self, chars_max: usize) -> String {
        let text = String::from_utf8_lossy(self.bytes());
        text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
    }
}

/// The fields of a message in the order they are written. Ends at the first byte that is no field: what came before
/// counts, as little as that may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, FieldValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        field
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u32, FieldValue<'a>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let value = match key & 7 {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(*self.take(8)?.first_chunk()?)),
            2 => {
                let bytes = usize::try_from(self.varint()?).ok()?;
                FieldValue::Bytes(self.take(bytes)?)
            }
            5 => FieldValue::Fixed32(u32::from_le_bytes(*self.take(4)?.first_chunk()?)),
            _ => return None,
        };
        Some((number, value))
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// A message being written; zeros and empty values are left out, as the standard's third version does.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn varint(mut self, number: u32, value: u64) -> Self {
        if value != 0 {
            self.key(number, 0);
            self.raw_varint(value);
        }
        self
    }

    pub(super) fn fixed32(mut self, number: u32, value: u32) -> Self {
        if value != 0 {
            self.key(number, 5);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
        self
    }

    pub(super) fn bytes(mut self, number: u32, value: &[u8]) -> Self {
        if !value.is_empty() {
            self.key(number, 2);
            self.raw_varint(value.len() as u64);
            self.0.extend_from_slice(value);
        }
        self
    }

    /// A message inside, which is there even if it is empty.
    pub(super) fn message(mut self, number: u32, value: Message) -> Self {
        self.key(number, 2);
        self.raw_varint(value.0.len() as u64);
        self.0.extend_from_slice(&value.0);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn key(&mut self, number: u32, kind: u32) {
        self.raw_varint(u64::from((number << 3) | kind));
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of the standard's page on encoding.
    #[test]
    fn known_values_have_their_known_bytes() {
        assert_eq!(Message::default().varint(1, 150).finish(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().bytes(2, b"testing").finish(), b"\x12\x07testing");
        let inner = Message::default().varint(1, 150);
        assert_eq!(Message::default().message(3, inner).finish(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Fields(&[0x08, 0x96, 0x01]).next(), Some((1, FieldValue::Varint(150))));
    }

    #[test]
    fn a_negative_number_takes_ten_bytes_and_is_itself_again() {
        let bytes = Message::default().varint(12, -90_i64 as u64).finish();
        assert_eq!(bytes.len(), 11);
        assert_eq!(Fields(&bytes).next().unwrap().1.u32() as i32, -90);
    }

    #[test]
    fn what_is_no_field_ends_the_message() {
        // A group, a field number of zero, a length beyond the end, a varint of eleven bytes.
        for bytes in [&[0x0b_u8][..], &[0x00, 0x01], &[0x12, 0x05, 0x01], &[0xff; 12]] {
            assert_eq!(Fields(bytes).count(), 0, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn fields_come_back(number in 1_u32..1 << 28, varint in 1_u64.., fixed in 1_u32.., bytes in prop::collection::vec(any::<u8>(), 1..300)) {
            let message = Message::default().varint(number, varint).fixed32(number, fixed).bytes(number, &bytes);
            let message = message.finish();
            let fields: Vec<_> = Fields(&message).collect();
            let want = vec![(number, FieldValue::Varint(varint)), (number, FieldValue::Fixed32(fixed)), (number, FieldValue::Bytes(&bytes))];
            prop_assert_eq!(fields, want);
        }

        #[test]
        fn any_bytes_are_fields_that_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Fields(&bytes).count() <= bytes.len());
        }
    }
}
