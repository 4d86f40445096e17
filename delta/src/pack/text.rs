//! Texts: a word known already, a version that goes up, lines that change, or a literal in place of the middle.

use super::list::LINES;
use super::{Packer, Site};
use crate::bump::{Bump, runs};
use crate::entropy::Coder;
use crate::hint::FieldKey;
use crate::lines::{Listed, TextLines};
use crate::list::common_ends;
use crate::matching::{END, ESCAPE, Guide, TextModel};
use crate::predict::Running;
use crate::slots::{
    BUMP_BY, BUMP_DOWN, BUMP_REST, BUMP_RUN, BUMP_VALUE, CLOCK, CLOCK_KIND, COUNT, TEXT_HOW, TRIMMED,
    WORD_RANK,
};
use crate::survey::{NodeClass, Survey};
use crate::time::WrittenTime;
use crate::{DecodeError, Value};

/// What a text looks like, judged by its key's words and the old text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One of a few words.
    Vocabulary = 0,
    /// Mostly digits and points.
    Version = 1,
    /// A short text of another shape.
    Short = 2,
    /// Long, or of many lines.
    Long = 3,
}

/// How a changed text is encoded.
const BY_WORD: usize = 0;
const BY_BUMP: usize = 1;
const BY_LITERAL: usize = 2;
const BY_LINES: usize = 3;

/// From here on a text is long.
const LONG: usize = 120;
/// A text without lines is cut into words when it is longer than this.
const WORDS_FROM: usize = 240;
/// A version is shorter than this.
const VERSION_LONG: usize = 40;
/// A text longer than this may keep its ends.
const TRIM_FROM: usize = 48;
/// Ends are kept when together they are longer than this.
const TRIM_LEAST: usize = 30;
/// A number is looked for in texts up to this.
const BUMP_WITHIN: usize = 4096;
/// Bytes before a literal that help to predict it.
const LEAD: usize = 12;

impl<C: Coder> Packer<'_, C> {
    pub(super) fn changed_text(
        &mut self,
        site: Site<'_>,
        old: &str,
        new: Option<&str>,
    ) -> Result<String, DecodeError> {
        if site.class() != NodeClass::Clock {
            let text = self.text_from(site.key, old, new)?;
            self.words.under(site.key, self.base).add(new.unwrap_or(&text));
            return Ok(text);
        }
        match WrittenTime::parse(old) {
            Some(moment) => self.clock(site.key, old, moment, new),
            None => self.text_from(site.key, old, new),
        }
    }

    /// A clock as the difference from where it should stand.
    fn clock(
        &mut self,
        key: &FieldKey<'_>,
        old: &str,
        moment: WrittenTime,
        new: Option<&str>,
    ) -> Result<String, DecodeError> {
        let new_moment = new.and_then(WrittenTime::parse).filter(|new| new.fine == moment.fine);
        if !self.symbols.bit(CLOCK_KIND, new_moment.is_some()) {
            return self.text_from(key, old, new);
        }
        self.moment_by(CLOCK, self.running.clock(moment), new_moment)
    }

    /// A moment as its difference from an expected one, in the units that its text shows.
    pub(super) fn moment_by(
        &mut self,
        slot: usize,
        expected: WrittenTime,
        new: Option<WrittenTime>,
    ) -> Result<String, DecodeError> {
        let unit = i128::from(WrittenTime::unit_ms(expected.fine));
        let by = new.map_or(0, |new| i128::from(new.time_ms) - i128::from(expected.time_ms)) / unit;
        let by = self.symbols.signed(slot, by)?;
        let time_ms = by.checked_mul(unit).map(|by| by + i128::from(expected.time_ms));
        let time_ms = time_ms.and_then(|time| i64::try_from(time).ok()).ok_or(DecodeError::Number)?;
        WrittenTime { time_ms, fine: expected.fine }.print().ok_or(DecodeError::Number)
    }

    fn text_from(&mut self, key: &FieldKey<'_>, old: &str, new: Option<&str>) -> Result<String, DecodeError> {
        let shape = self.shape(key, old);
        let bump = new.filter(|_| old.len() <= BUMP_WITHIN).and_then(|new| Bump::between(old, new));
        let how = new.map_or(0, |new| self.how(key, old, new, bump.as_ref()));
        match self.symbols.tree(TEXT_HOW + shape as usize * 4, 2, how) {
            BY_WORD => self.word(key, shape, Some(old), new),
            BY_BUMP => self.bumped(old, bump),
            BY_LINES => self.lines(old, new),
            _ => {
                let text = self.spliced(key.name(), old.as_bytes(), new.map(str::as_bytes))?;
                String::from_utf8(text).map_err(|_| DecodeError::NotUtf8)
            }
        }
    }

    fn how(&mut self, key: &FieldKey<'_>, old: &str, new: &str, bump: Option<&Bump>) -> usize {
        if old != new && separator(old).is_some_and(|separator| new.contains(separator)) {
            BY_LINES
        } else if old != new && self.words.under(key, self.base).rank(new).is_some() {
            BY_WORD
        } else if bump.is_some() {
            BY_BUMP
        } else {
            BY_LITERAL
        }
    }

    pub(super) fn shape(&mut self, key: &FieldKey<'_>, text: &str) -> Shape {
        let numeric = |text: &str| text.bytes().filter(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        if text.len() > LONG || text.contains('\n') {
            Shape::Long
        } else if self.words.under(key, self.base).is_vocabulary() {
            Shape::Vocabulary
        } else if text.len() < VERSION_LONG && numeric(text) * 2 > text.len() {
            Shape::Version
        } else {
            Shape::Short
        }
    }

    /// A word that stands elsewhere under the key, by its rank; the old text itself is left out.
    pub(super) fn word(
        &mut self,
        key: &FieldKey<'_>,
        shape: Shape,
        old: Option<&str>,
        new: Option<&str>,
    ) -> Result<String, DecodeError> {
        let words = self.words.under(key, self.base);
        let skipped = old.and_then(|old| words.rank(old)).unwrap_or(usize::MAX);
        let count = words.len() - usize::from(skipped != usize::MAX);
        let rank = new.and_then(|new| words.rank(new)).unwrap_or(0);
        let rank = rank - usize::from(rank > skipped);
        let rank = if count == 0 {
            return Err(DecodeError::Position);
        } else if shape == Shape::Vocabulary || count < 3 {
            self.symbols.count(WORD_RANK + (shape as usize).min(2) * COUNT, rank)
        } else {
            self.symbols.uniform(count, rank)
        };
        let rank = rank.saturating_add(usize::from(rank >= skipped));
        let word = self.words.under(key, self.base).at(rank).ok_or(DecodeError::Position)?.to_owned();
        self.spend(word.len())?;
        Ok(word)
    }

    fn bumped(&mut self, old: &str, given: Option<Bump>) -> Result<String, DecodeError> {
        let runs = runs(old);
        let last = runs.len().checked_sub(1).ok_or(DecodeError::Position)?;
        let given = given.unwrap_or(Bump { run: last, by: 1, rest: Vec::new() });
        let from_last = self.symbols.count(BUMP_RUN, last.saturating_sub(given.run));
        let run = last.checked_sub(from_last).ok_or(DecodeError::Position)?;
        let down = self.symbols.bit(BUMP_DOWN, given.by < 0);
        let by = self.symbols.count(BUMP_BY, given.by.unsigned_abs() as usize - 1) as i64 + 1;
        let old_rest: Vec<u64> = runs.iter().skip(run + 1).map(|(_, number)| *number).collect();
        let rest = self.bumped_rest(old_rest, &given.rest)?;
        let bump = Bump { run, by: if down { -by } else { by }, rest };
        let text = bump.apply(old).ok_or(DecodeError::Number)?;
        self.spend(text.len())?;
        Ok(text)
    }

    /// The numbers behind the one that changes: as they were, zero, or anything.
    fn bumped_rest(&mut self, old: Vec<u64>, given: &[u64]) -> Result<Vec<u64>, DecodeError> {
        if old.is_empty() {
            return Ok(old);
        }
        let how = match given {
            _ if given == old => 0,
            _ if given.iter().all(|number| *number == 0) => 1,
            _ => 2,
        };
        match self.symbols.tree(BUMP_REST, 2, how) {
            0 => Ok(old),
            1 => Ok(vec![0; old.len()]),
            _ => (0..old.len())
                .map(|at| {
                    self.symbols.coder.check()?;
                    let number = given.get(at).copied().unwrap_or(0);
                    Ok(self.symbols.count(BUMP_VALUE, number as usize) as u64)
                })
                .collect(),
        }
    }

    /// A text of many lines, or of many words, as a list of them. The result is needed when decoding only.
    fn lines(&mut self, old: &str, new: Option<&str>) -> Result<String, DecodeError> {
        let separator = separator(old).ok_or(DecodeError::Position)?;
        let old = TextLines::of(old, separator);
        let given = new.map(|new| old.edit_to(&TextLines::of(new, separator)));
        // Every line is a node like this one.
        let survey = Survey::of(&Value::from(""), &Running::new(self.context, false));
        let key = FieldKey::new(LINES);
        let site = Site { key: &key, survey: &survey, at: 0, in_record: false };
        let edit = self.list(site, Listed::Lines(&old), given.as_ref())?;
        if C::ENCODING {
            return Ok(String::new());
        }
        old.edited(&edit).ok_or(DecodeError::Position)
    }

    /// Bytes in place of the middle of the old ones; the ends may be kept.
    pub(super) fn spliced(
        &mut self,
        key: &str,
        old: &[u8],
        new: Option<&[u8]>,
    ) -> Result<Vec<u8>, DecodeError> {
        let (mut head, mut tail) = (0, 0);
        if old.len() > TRIM_FROM {
            let (same_head, same_tail) = new.map_or((0, 0), |new| common_ends(old, new));
            if self.symbols.bit(TRIMMED, same_head + same_tail > TRIM_LEAST) {
                head = self.symbols.uniform(old.len() + 1, same_head);
                tail = self.symbols.uniform(old.len() - head + 1, same_tail);
            }
        }
        let (kept_head, rest) = old.split_at(head);
        let (middle, kept_tail) = rest.split_at(rest.len() - tail);
        let new = new.and_then(|new| new.get(head..new.len() - tail));
        let lead = kept_head.split_at(head.saturating_sub(LEAD)).1;
        let literal = self.literal(key, [middle, b""], lead, new)?;
        Ok([kept_head, &literal, kept_tail].concat())
    }

    /// Bytes as they are, with two texts that they may follow.
    pub(super) fn literal(
        &mut self,
        key: &str,
        guides: [&[u8]; 2],
        lead: &[u8],
        new: Option<&[u8]>,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut text = self.text.take().unwrap_or_else(|| TextModel::new(self.base));
        text.open(key, lead);
        let bytes = self.bytes(&mut text, guides.map(Guide::new), new);
        self.text = Some(text);
        bytes
    }

    fn bytes(
        &mut self,
        text: &mut TextModel,
        mut guides: [Guide<'_>; 2],
        new: Option<&[u8]>,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut bytes = Vec::new();
        loop {
            self.symbols.coder.check()?;
            let given = new.and_then(|new| new.get(bytes.len()).copied());
            let first = given.map_or(END, |byte| byte.max(ESCAPE));
            match text.byte(&mut self.symbols, first, &mut guides, self.content) {
                END => return Ok(bytes),
                ESCAPE => {
                    let escaped = given.map_or(0, |byte| byte.wrapping_add(2));
                    let escaped = text.byte(&mut self.symbols, escaped, &mut guides, self.content);
                    bytes.push(escaped.wrapping_sub(2));
                }
                byte => bytes.push(byte),
            }
            self.spend(1)?;
        }
    }
}

/// What an old text is cut at: lines, or the words of a long one.
fn separator(old: &str) -> Option<char> {
    let in_words = |separator: &char| old.len() > WORDS_FROM && old.contains(*separator);
    if old.contains('\n') { Some('\n') } else { [' ', ','].into_iter().find(in_words) }
}
