//! Version bumps: one number in a text goes up or down, those behind it stay, become zero, or something else.

use std::fmt::Write;
use std::ops::Range;

/// What happens to the numbers of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bump {
    /// Which number changes, from the first.
    pub(crate) run: usize,
    /// By how much; not zero.
    pub(crate) by: i64,
    /// The numbers behind it.
    pub(crate) rest: Vec<u64>,
}

/// A number has at most so many digits, so that it and its sums fit.
const DIGITS_MAX: usize = 15;
/// The largest step of a number.
const BY_MAX: u64 = 1 << 24;
/// The largest number that is encoded in full.
const REST_MAX: u64 = 1 << 20;

/// The numbers in a text: where they stand and what they are.
pub(crate) fn runs(text: &str) -> Vec<(Range<usize>, u64)> {
    let mut runs = Vec::new();
    let mut digits =
        text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()).map(|(at, _)| at).peekable();
    while let Some(start) = digits.next() {
        let mut end = start + 1;
        while digits.next_if_eq(&end).is_some() {
            end += 1;
        }
        if end - start <= DIGITS_MAX
            && let Some(number) = text.get(start..end).and_then(|run| run.parse().ok())
        {
            runs.push((start..end, number));
        }
    }
    runs
}

impl Bump {
    /// The bump that makes `new` of `old`, if one does.
    pub(crate) fn between(old: &str, new: &str) -> Option<Bump> {
        let (old_runs, new_runs) = (runs(old), runs(new));
        if old_runs.len() != new_runs.len() {
            return None;
        }
        let run =
            old_runs.iter().zip(&new_runs).position(|(a, b)| old.get(a.0.clone()) != new.get(b.0.clone()))?;
        let by = i64::try_from(new_runs.get(run)?.1).ok()? - i64::try_from(old_runs.get(run)?.1).ok()?;
        let rest: Vec<u64> = new_runs.iter().skip(run + 1).map(|(_, number)| *number).collect();
        if by == 0 || by.unsigned_abs() > BY_MAX || rest.iter().any(|number| *number > REST_MAX) {
            return None;
        }
        let bump = Bump { run, by, rest };
        (bump.apply(old)? == new).then_some(bump)
    }

    /// The text with its numbers changed; a number written with zeros in front keeps its width.
    pub(crate) fn apply(&self, old: &str) -> Option<String> {
        let mut text = String::with_capacity(old.len() + 4);
        let mut copied = 0;
        for (at, (place, number)) in runs(old).into_iter().enumerate().skip(self.run) {
            let new = match at.checked_sub(self.run + 1) {
                None => number.checked_add_signed(self.by)?,
                Some(behind) => *self.rest.get(behind)?,
            };
            text += old.get(copied..place.start)?;
            let width = if old.get(place.clone())?.starts_with('0') { place.len() } else { 0 };
            write!(text, "{new:0width$}").ok()?;
            copied = place.end;
        }
        text += old.get(copied..)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_up_and_down() {
        for (old, new, run, by, rest) in [
            ("1.2.3", "1.2.4", 2, 1, vec![]),
            ("v1.9.3", "v1.10.0", 1, 1, vec![0]),
            ("2026.08.31-rc2", "2026.09.12-rc2", 1, 1, vec![12, 2]),
            ("0.21.1", "0.20.7", 1, -1, vec![7]),
        ] {
            let bump = Bump::between(old, new);
            assert_eq!(bump, Some(Bump { run, by, rest }), "{old} {new}");
            assert_eq!(bump.and_then(|bump| bump.apply(old)).as_deref(), Some(new));
        }
        for (old, new) in
            [("1.2", "1.2.3"), ("a", "b"), ("1.2.3", "1.2.3"), ("0", "9999999999999"), ("1.2", "x1.3")]
        {
            assert_eq!(Bump::between(old, new), None, "{old} {new}");
        }
    }
}
