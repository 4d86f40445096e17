//! What of a ledger is on disk.
//!
//! ```text
//! 1   version, 2
//! 16  boot id
//! n   monotonic time, ms
//! n   0, or 1 + wall clock, ms: only a trusted one is written
//! n   airtime written ahead, us
//! n   slices, each: ms until it leaves the sum, us for each of 8 priorities
//! n   day; today's us for each of 8 priorities
//! n   accounts, each: account, today's us
//! 8   BLAKE3 of all before, first bytes
//! ```
//! Version 1 had five priorities (control, upkeep, state, document, bulk) and is still read.
//! n is a LEB128 number in its shortest form. The digest detects a torn or damaged file; it is no protection against a forger.

use super::account::{ACCOUNTS_MAX, Account};
use super::window::{SLICES_RECORDED_MAX, Spent};
use super::{CLOCK_ERROR, HOUR, KEEP, Priority};
use crate::time::{Millis, Mono, Wall};

/// The longest record: 41 bytes of head, then slices and accounts of at most 10 bytes a number, and the digest.
pub const RECORD_BYTES_MAX: usize = 8_192;
const VERSION: u8 = 2;
/// The priorities of the version before, in its order.
const OF_VERSION_1: [Priority; 5] =
    [Priority::Control, Priority::Upkeep, Priority::State, Priority::Document, Priority::Bulk];
const DIGEST_BYTES: usize = 8;
/// No slice leaves the sum later than this: an hour of queue and the hour after it.
const LEFT_MS_MAX: u64 = HOUR.ms() + KEEP.ms();

/// Distinguishes one boot of a machine from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

/// A time by every clock there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The boot that monotonic time belongs to.
    pub boot: BootId,
    /// The instant on the monotonic clock, whose zero does not change within a boot.
    pub monotonic: Mono,
    /// The wall clock, only if it is trusted.
    pub trusted_wall: Option<Wall>,
}

/// Airtime that leaves the sum together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// How long after the record's moment it leaves.
    pub(super) left: Millis,
    pub(super) spent_us: Spent,
}

/// What a ledger was at a moment, and how much it may have spent since.
#[derive(Clone, Debug, Eq)]
pub struct LedgerRecord {
    /// Which of the records that were handed out; not on disk.
    pub(super) serial: u64,
    pub(super) moment: Moment,
    pub(super) ahead_us: u64,
    pub(super) slices: Vec<Slice>,
    pub(super) day: u32,
    pub(super) today_us: Spent,
    pub(super) accounts: Vec<(Account, u64)>,
}

/// By what is on disk.
impl PartialEq for LedgerRecord {
    fn eq(&self, other: &Self) -> bool {
        self.encode() == other.encode()
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than any record.
    #[error("{bytes} bytes are more than a ledger record has")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It ends early or is damaged.
    #[error("the ledger record is torn or damaged")]
    Damaged,
    /// Written by a version that we do not know.
    #[error("ledger record of version {0}, which this program does not know")]
    Version(u8),
    /// A number out of its range or not in shortest form.
    #[error("a number at byte {at} of the ledger record is out of range")]
    OutOfRange {
        /// Offset of the field in bytes.
        at: usize,
    },
    /// More slices or accounts than a record has.
    #[error("{count} entries at byte {at} of the ledger record are too many")]
    TooMany {
        /// How many it claims.
        count: u64,
        /// Where it claims so.
        at: usize,
    },
    /// Bytes after the end.
    #[error("bytes after the end of the ledger record")]
    Trailing,
}

impl LedgerRecord {
    /// When it was taken.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// What may be spent under it, microseconds.
    pub fn ahead_us(&self) -> u64 {
        self.ahead_us
    }

    /// How long ago it was taken, at least; `None` if that cannot be known.
    pub(super) fn passed(&self, now: Moment) -> Option<Millis> {
        if now.boot == self.moment.boot {
            let then = self.moment.monotonic;
            return (now.monotonic >= then).then(|| now.monotonic.since(then));
        }
        let (now, then) = (now.trusted_wall?, self.moment.trusted_wall?);
        (now >= then).then(|| now.since(then) - CLOCK_ERROR)
    }

    /// At most [`RECORD_BYTES_MAX`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.moment.boot.0);
        put(&mut bytes, self.moment.monotonic.ms());
        put(&mut bytes, self.moment.trusted_wall.map_or(0, |wall| wall.ms().saturating_add(1)));
        put(&mut bytes, self.ahead_us);
        put(&mut bytes, self.slices.len() as u64);
        for slice in &self.slices {
            put(&mut bytes, slice.left.ms());
            slice.spent_us.iter().for_each(|us| put(&mut bytes, *us));
        }
        put(&mut bytes, u64::from(self.day));
        self.today_us.iter().for_each(|us| put(&mut bytes, *us));
        put(&mut bytes, self.accounts.len() as u64);
        for (account, today_us) in &self.accounts {
            put(&mut bytes, account.0);
            put(&mut bytes, *today_us);
        }
        let digest = digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    /// Reads what [`LedgerRecord::encode`] wrote. On an error the caller goes on with
    /// [`Ledger::after_loss`](super::Ledger::after_loss).
    ///
    /// # Errors
    /// [`RecordError`] for bytes that [`encode`](Self::encode) did not write, or that were damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        let (body, found) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(RecordError::Damaged)?;
        if digest(body) != *found {
            return Err(RecordError::Damaged);
        }
        let mut reader = RecordReader { bytes: body, at: 0, priorities: &Priority::ALL };
        match reader.byte()? {
            VERSION => {}
            1 => reader.priorities = &OF_VERSION_1,
            other => return Err(RecordError::Version(other)),
        }
        let boot = BootId(reader.array()?);
        let monotonic = Mono::from_ms(reader.number(u64::MAX)?);
        let trusted_wall = reader.number(u64::MAX)?.checked_sub(1).map(Wall::from_ms);
        let ahead_us = reader.number(u64::MAX)?;
        let slices = reader.list(SLICES_RECORDED_MAX, |reader| {
            Ok(Slice { left: Millis::from_ms(reader.number(LEFT_MS_MAX)?), spent_us: reader.spent()? })
        })?;
        let day = u32::try_from(reader.number(u64::from(u32::MAX))?).unwrap_or(u32::MAX);
        let today_us = reader.spent()?;
        let accounts = reader.list(ACCOUNTS_MAX + 1, |reader| {
            Ok((Account(reader.number(u64::MAX)?), reader.number(u64::MAX)?))
        })?;
        if reader.at < body.len() {
            return Err(RecordError::Trailing);
        }
        let moment = Moment { boot, monotonic, trusted_wall };
        Ok(LedgerRecord { serial: 0, moment, ahead_us, slices, day, today_us, accounts })
    }
}

fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut digest = [0; DIGEST_BYTES];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut digest);
    digest
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct RecordReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The priorities that the record has figures of, in its order.
    priorities: &'static [Priority],
}

impl RecordReader<'_> {
    fn byte(&mut self) -> Result<u8, RecordError> {
        let byte = self.bytes.get(self.at).copied().ok_or(RecordError::Damaged)?;
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(RecordError::Damaged)?;
        self.at += N;
        Ok(*array)
    }

    fn number(&mut self, max: u64) -> Result<u64, RecordError> {
        let at = self.at;
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return Err(RecordError::OutOfRange { at });
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return if number <= max { Ok(number) } else { Err(RecordError::OutOfRange { at }) };
            }
        }
        Err(RecordError::OutOfRange { at })
    }

    fn spent(&mut self) -> Result<Spent, RecordError> {
        let mut spent = Spent::default();
        for priority in self.priorities {
            let us = self.number(u64::MAX)?;
            if let Some(of_priority) = spent.get_mut(*priority as usize) {
                *of_priority = us;
            }
        }
        Ok(spent)
    }

    fn list<T>(
        &mut self,
        count_max: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let at = self.at;
        let count = self.number(u64::MAX)?;
        if count > count_max as u64 {
            return Err(RecordError::TooMany { count, at });
        }
        (0..count).map(|_| entry(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> LedgerRecord {
        LedgerRecord {
            serial: 7,
            moment: Moment {
                boot: BootId([9; 16]),
                monotonic: Mono::from_ms(1_000_000),
                trusted_wall: Some(Wall::from_ms(1_790_000_000_000)),
            },
            ahead_us: 1_125_000,
            slices: vec![Slice { left: Millis::from_ms(5), spent_us: [1, 2, 3, 4, 5, 6, 7, 500_000] }; 64],
            day: 20_000,
            today_us: [1, 2, 3, 4, 5, 6, 7, 8],
            accounts: (0..65).map(|n| (Account(n * n * n), n)).collect(),
        }
    }

    /// A body with the right digest, as a hostile file would have.
    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        body.extend(digest(&body));
        body
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_stays_short() {
        let bytes = record().encode();
        assert_eq!(LedgerRecord::decode(&bytes), Ok(record()));
        let mut largest = record();
        largest.slices =
            vec![Slice { left: Millis::from_ms(LEFT_MS_MAX), spent_us: [u64::MAX; 8] }; SLICES_RECORDED_MAX];
        largest.accounts = vec![(Account::OTHERS, u64::MAX); ACCOUNTS_MAX + 1];
        assert!(largest.encode().len() <= RECORD_BYTES_MAX);
        assert_eq!(LedgerRecord::decode(&largest.encode()), Ok(largest));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_named() {
        let bytes = record().encode();
        for len in 0..bytes.len() {
            assert_eq!(LedgerRecord::decode(&bytes[..len]), Err(RecordError::Damaged));
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert_eq!(LedgerRecord::decode(&flipped), Err(RecordError::Damaged));
        }
    }

    #[test]
    fn a_hostile_file_with_a_good_digest_is_refused_by_name() {
        let mut body = record().encode();
        body.truncate(body.len() - DIGEST_BYTES);
        let mut other = body.clone();
        other[0] = 3;
        assert_eq!(LedgerRecord::decode(&sealed(other)), Err(RecordError::Version(3)));
        let mut longer = body.clone();
        longer.push(0);
        assert_eq!(LedgerRecord::decode(&sealed(longer)), Err(RecordError::Trailing));
        assert_eq!(LedgerRecord::decode(&sealed(body[..40].to_vec())), Err(RecordError::Damaged));
        let mut many = body[..17].to_vec();
        many.extend([0, 0, 0, 0xff, 0xff, 0x7f]);
        let refused = LedgerRecord::decode(&sealed(many));
        assert_eq!(refused, Err(RecordError::TooMany { count: 0x1f_ffff, at: 20 }));
        let mut late = body[..17].to_vec();
        late.extend([0, 0, 0, 1, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(LedgerRecord::decode(&sealed(late)), Err(RecordError::OutOfRange { at: 21 }));
        let long = vec![1; RECORD_BYTES_MAX + 1];
        assert_eq!(LedgerRecord::decode(&long), Err(RecordError::TooLong { bytes: RECORD_BYTES_MAX + 1 }));
    }

    /// A record of the version before this one: its five priorities are found under their names.
    #[test]
    fn a_record_of_version_1_keeps_what_was_spent() {
        let mut body = vec![1];
        body.extend([9; 16]);
        // Time, no wall clock, nothing ahead; one slice that leaves in 100 ms; day 7; no accounts.
        body.extend([5, 0, 0, 1, 100, 1, 2, 3, 4, 5, 7, 10, 20, 30, 40, 50, 0]);
        let read = LedgerRecord::decode(&sealed(body)).unwrap();
        let slice = Slice { left: Millis::from_ms(100), spent_us: [0, 1, 0, 0, 2, 3, 4, 5] };
        assert_eq!((read.slices, read.day), (vec![slice], 7));
        assert_eq!(read.today_us, [0, 10, 0, 0, 20, 30, 40, 50]);
    }

    /// A file may claim anything: sums stay at their greatest rather than wrap round to nothing spent.
    #[test]
    fn a_record_that_claims_the_world_makes_the_ledger_wait() {
        use crate::airtime::ledger::{Ledger, LedgerConfig, Priority, Verdict};
        let mut claims = record();
        claims.slices =
            vec![Slice { left: Millis::from_ms(LEFT_MS_MAX), spent_us: [u64::MAX; 8] }; SLICES_RECORDED_MAX];
        claims.ahead_us = u64::MAX;
        let rules =
            crate::airtime::region::Region::Eu868.rules(crate::airtime::region::Usage::default()).unwrap();
        let now = Moment { monotonic: Mono::from_ms(5), ..claims.moment };
        let mut ledger = Ledger::restore(LedgerConfig::new(Some(rules)), &claims, now);
        for priority in Priority::ALL {
            assert_eq!(
                ledger.verdict(Mono::from_ms(5), 1, priority),
                Verdict::Wait(Millis::from_ms(LEFT_MS_MAX))
            );
        }
        ledger.charge(Mono::from_ms(5), u64::MAX, Account(1), Priority::Bulk);
        assert_eq!(ledger.left_us(Mono::from_ms(5), Priority::Control), 0);
        assert!(ledger.snapshot(now).encode().len() <= RECORD_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic_and_one_record_has_one_form(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut start = record().encode();
            start.truncate(17);
            start.extend(&body);
            for body in [body, start] {
                let bytes = sealed(body);
                if let Ok(record) = LedgerRecord::decode(&bytes)
                    && bytes.first() == Some(&VERSION)
                {
                    prop_assert_eq!(record.encode(), bytes);
                }
            }
        }
    }
}
