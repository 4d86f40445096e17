//! Whole numbers in LEB128: seven bits a byte, the lowest first; the highest bit is set on every byte but the last.
//!
//! One rule holds wherever Tombolo writes such a number: a number has one form, the shortest, and is below 2^64.
//! Every other form is refused, so that equal content has equal bytes.

/// The bytes of the largest number.
pub const BYTES_MAX: usize = 10;

/// Why bytes do not begin with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    /// The bytes end within the number.
    #[error("a number is cut short")]
    Truncated,
    /// A shorter form of the number exists.
    #[error("a number is not in its shortest form")]
    Overlong,
    /// The number needs more than 64 bits.
    #[error("a number exceeds 64 bits")]
    Overflow,
}

/// Appends the shortest form of a number.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Returns the number at the front of `bytes`, and the bytes behind it.
///
/// # Errors
///
/// `Truncated` where the bytes end within the number, `Overlong` where a shorter form exists, `Overflow` beyond
/// 64 bits.
pub fn take(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    let mut number = 0u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or(VarintError::Truncated)?;
        rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(VarintError::Overflow);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            // A last byte of zero adds nothing.
            return if *byte == 0 && shift > 0 { Err(VarintError::Overlong) } else { Ok((number, rest)) };
        }
    }
    Err(VarintError::Overflow)
}

/// A signed number as an unsigned one that is small where its distance from zero is: 0, -1, 1, -2 become 0, 1, 2, 3.
pub fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The signed number that [`zigzag`] made one of.
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_shortest_form_is_taken() {
        assert_eq!(take(&[0x00]), Ok((0, &[][..])));
        assert_eq!(take(&[0x80, 0x00]), Err(VarintError::Overlong));
        assert_eq!(take(&[0xff, 0x80, 0x00]), Err(VarintError::Overlong));
        assert_eq!(take(&[0x80]), Err(VarintError::Truncated));
        assert_eq!(take(&[]), Err(VarintError::Truncated));
        let largest = [&[0xff; 9][..], &[0x01, 7]].concat();
        assert_eq!(take(&largest), Ok((u64::MAX, &[7][..])));
        assert_eq!(take(&[&[0xff; 9][..], &[0x02]].concat()), Err(VarintError::Overflow));
        assert_eq!(take(&[&[0xff; 9][..], &[0x81, 0x00]].concat()), Err(VarintError::Overflow));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(number in any::<u64>(), shift in 0u32..64, behind in any::<Vec<u8>>()) {
            let number = number >> shift;
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            prop_assert!(bytes.len() <= BYTES_MAX);
            bytes.extend(&behind);
            prop_assert_eq!(take(&bytes), Ok((number, &behind[..])));
        }

        #[test]
        fn a_number_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok((number, rest)) = take(&bytes) {
                let mut again = Vec::new();
                put(&mut again, number);
                again.extend(rest);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
