//! Floats that a person or a sensor wrote with a few digits behind the point, as integers.
//!
//! Only the four basic operations of IEEE 754 on exact powers of ten are used: both ends agree to the bit.

/// A float as `scaled / 10^digits`, and the few units in the last place by which it differs from that quotient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) scaled: i64,
    pub(crate) digits: u32,
    pub(crate) ulps: i64,
}

/// Most digits behind the point.
pub(crate) const DIGITS_MAX: u32 = 6;
/// A sum of decimals may be off by so many units in the last place.
pub(crate) const ULPS_MAX: i64 = 3;
/// Up to here a float holds every integer.
const SCALED_MAX: f64 = 4_503_599_627_370_496.0;
const POWERS: [f64; DIGITS_MAX as usize + 1] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

impl Decimal {
    /// The fewest digits that name the float, if few do.
    pub(crate) fn of(float: f64) -> Option<Decimal> {
        (0..=DIGITS_MAX).zip(POWERS).find_map(|(digits, power)| {
            let scaled = (float * power).round();
            if scaled.is_nan() || scaled.abs() > SCALED_MAX {
                return None;
            }
            // An integer has no negative zero: -0.0 and its neighbours are far from any quotient.
            let scaled = scaled as i64;
            let ulps = (float.to_bits() as i64).wrapping_sub((scaled as f64 / power).to_bits() as i64);
            (ulps.unsigned_abs() <= ULPS_MAX.unsigned_abs()).then_some(Decimal { scaled, digits, ulps })
        })
    }

    /// The float that this names.
    pub(crate) fn float(&self) -> f64 {
        let power = POWERS.get(self.digits as usize).copied().unwrap_or(1.0);
        let quotient = self.scaled as f64 / power;
        f64::from_bits((quotient.to_bits() as i64).wrapping_add(self.ulps) as u64)
    }

    /// The scaled number with another count of digits, cut where it has fewer.
    pub(crate) fn scaled_to(&self, digits: u32) -> i128 {
        let scaled = i128::from(self.scaled);
        if digits >= self.digits {
            scaled * 10i128.pow(digits - self.digits)
        } else {
            scaled / 10i128.pow(self.digits - digits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A float that is encoded as a decimal comes back to the bit.
        #[test]
        fn decimals_come_back(bits in any::<u64>(), cents in any::<i32>()) {
            let subnormal = f64::from_bits(bits & (1 << 63 | 15));
            for float in [f64::from_bits(bits), subnormal, f64::from(cents) / 100.0, f64::from(cents) * 0.1 * 3.0] {
                if let Some(decimal) = Decimal::of(float) {
                    prop_assert_eq!(decimal.float().to_bits(), float.to_bits());
                }
            }
        }
    }

    #[test]
    fn a_sum_of_decimals_is_one_unit_off() {
        let decimal = Decimal::of(1.968_000_000_000_000_2);
        assert_eq!(decimal, Some(Decimal { scaled: 1968, digits: 3, ulps: 1 }));
        assert_eq!(Decimal::of(1.0 / 3.0), None);
        assert_eq!(Decimal::of(-0.0), None);
    }

    /// The least negative floats round to a zero that an integer cannot sign.
    #[test]
    fn what_is_next_to_a_negative_zero_keeps_its_sign() {
        for float in [-5e-324, -1e-323, -1.5e-323, -2e-323, 5e-324, 1.5e-323] {
            if let Some(decimal) = Decimal::of(float) {
                assert_eq!(decimal.float().to_bits(), f64::to_bits(float), "{float:e}");
            }
        }
    }
}
