//! Numbers: as the difference from the old one, in the steps in which it moves.

use super::Packer;
use crate::DecodeError;
use crate::decimal::{DIGITS_MAX, Decimal, ULPS_MAX};
use crate::entropy::Coder;
use crate::slots::{
    DECIMAL, DECIMAL_BY, DIGITS, FLOAT_BITS, LIVELY_INT, PAGED, PAGES, SETTLED_INT, SIGNED, SMALL_INT, ULPS,
    UPTIME,
};
use crate::survey::{NodeClass, SurveyNode};
use crate::value::Int;

/// A page of 4096 bytes or more.
const WHOLE_PAGE_BITS: u32 = 12;
/// An old value without decimals counts as one with so many digits.
const NO_DIGITS: u32 = 7;

impl<C: Coder> Packer<'_, C> {
    pub(super) fn int(&mut self, node: SurveyNode, old: Int, new: Option<Int>) -> Result<Int, DecodeError> {
        if node.class == NodeClass::Uptime {
            let expected = self.running.uptime(old);
            return self.int_by(UPTIME, expected, new);
        }
        let size = (i128::BITS - old.get().unsigned_abs().leading_zeros()) as usize;
        if node.page_bits > 0 {
            return self.paged(u32::from(node.page_bits), old, new);
        }
        let slot = match node.class {
            NodeClass::LivelyLarge | NodeClass::LivelySmall => LIVELY_INT + (size / 8).min(2) * SIGNED,
            NodeClass::Int if size < 16 => SMALL_INT,
            _ => SETTLED_INT,
        };
        self.int_by(slot, old, new)
    }

    /// An integer that moves in pages, or for once does not.
    fn paged(&mut self, bits: u32, old: Int, new: Option<Int>) -> Result<Int, DecodeError> {
        let by = new.map_or(0, |new| new.get() - old.get());
        let whole = by & ((1 << bits) - 1) == 0;
        if !self.symbols.bit(PAGED + usize::from(bits >= WHOLE_PAGE_BITS), whole) {
            return self.int_by(PAGES + 3 * SIGNED, old, new);
        }
        let size = i128::BITS - (old.get() >> bits).unsigned_abs().leading_zeros();
        let slot = PAGES + (size as usize / 6).min(3 - 1) * SIGNED;
        let pages = self.symbols.signed(slot, by >> bits)?;
        let by = pages.checked_mul(1 << bits).ok_or(DecodeError::Number)?;
        Int::new(old.get() + by).ok_or(DecodeError::Number)
    }

    /// An integer as its difference from an expected one.
    pub(super) fn int_by(
        &mut self,
        slot: usize,
        expected: Int,
        new: Option<Int>,
    ) -> Result<Int, DecodeError> {
        let by = self.symbols.signed(slot, new.map_or(0, |new| new.get() - expected.get()))?;
        Int::new(expected.get() + by).ok_or(DecodeError::Number)
    }

    pub(super) fn float(&mut self, old: f64, new: Option<f64>) -> Result<f64, DecodeError> {
        let old_decimal = Decimal::of(old);
        let decimal = new.and_then(Decimal::of);
        if self.symbols.bit(DECIMAL + usize::from(old_decimal.is_some()), decimal.is_some()) {
            return self.decimal(old_decimal, decimal).map(|decimal| decimal.float());
        }
        let new = new.unwrap_or(0.0);
        let by = self.symbols.signed(FLOAT_BITS, i128::from(new.to_bits()) - i128::from(old.to_bits()))?;
        let bits = u64::try_from(i128::from(old.to_bits()) + by).map_err(|_| DecodeError::Number)?;
        Ok(f64::from_bits(bits))
    }

    fn decimal(&mut self, old: Option<Decimal>, new: Option<Decimal>) -> Result<Decimal, DecodeError> {
        let new = new.unwrap_or(Decimal { scaled: 0, digits: 0, ulps: 0 });
        let old_digits = old.map_or(NO_DIGITS, |old| old.digits);
        let digits = self.symbols.tree(DIGITS + old_digits as usize * 8, 3, new.digits as usize) as u32;
        if digits > DIGITS_MAX {
            return Err(DecodeError::Number);
        }
        let expected = old.map_or(0, |old| old.scaled_to(digits));
        let by =
            self.symbols.signed(DECIMAL_BY + digits as usize * SIGNED, i128::from(new.scaled) - expected)?;
        let scaled = i64::try_from(expected + by).map_err(|_| DecodeError::Number)?;
        let ulps = self.symbols.tree(ULPS + digits as usize * 8, 3, (new.ulps + ULPS_MAX) as usize) as i64
            - ULPS_MAX;
        Ok(Decimal { scaled, digits, ulps })
    }
}
