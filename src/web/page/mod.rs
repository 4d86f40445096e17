//! The page: how all stands, from the one sentence to the day's log. Made of the replies of `/v1` by a pure function, readable
//! without script, and never longer than [`PAGE_BYTES_MAX`].

mod cards;
mod picture;
mod sections;
mod shell;

use serde_json::Value as Json;

use super::html::{age, esc, marked};
use super::snapshot::Snapshot;
use crate::time::Wall;
use crate::words::verdict::{Gravity, NEEDS_SHOWN_MAX, Need, StatusVerdict, needs};
use crate::words::{count, items, short_did, text};

pub(super) use shell::{CONTENT_POLICY, invite, locked, message};

/// Bytes of the page. With more peers, documents or entries than fit, the later ones are counted only.
pub(super) const PAGE_BYTES_MAX: usize = 60_000;

/// What the viewer may do, and the mark that its forms carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights<'a> {
    /// The mark of forms, where the viewer may change something.
    pub(super) form: Option<&'a str>,
    /// Whether the token would open more.
    pub(super) has_token: bool,
}

/// How much of each list is shown.
#[derive(Clone, Copy, Debug)]
struct PageLimits {
    cards: usize,
    rows: usize,
    log: usize,
}

/// From everything that people look at down to what fits in any case.
const LIMITS: [PageLimits; 5] = [
    PageLimits { cards: 24, rows: 48, log: 40 },
    PageLimits { cards: 16, rows: 24, log: 20 },
    PageLimits { cards: 8, rows: 12, log: 10 },
    PageLimits { cards: 4, rows: 6, log: 5 },
    PageLimits { cards: 1, rows: 1, log: 1 },
];

/// A page that is being written.
struct PageWriter<'a> {
    snapshot: &'a Snapshot,
    rights: Rights<'a>,
    now: Wall,
    limits: PageLimits,
    out: String,
}

/// Writes the page as HTML, within its limit of bytes.
pub(super) fn render(snapshot: &Snapshot, rights: Rights<'_>, now: Wall) -> String {
    let written = LIMITS.into_iter().map(|limits| {
        let mut page = PageWriter { snapshot, rights, now, limits, out: String::new() };
        page.all();
        shell::document(&title(snapshot), &page.out, &shell::token_form(rights))
    });
    let mut last = String::new();
    for page in written {
        let fits = page.len() <= PAGE_BYTES_MAX;
        last = page;
        if fits {
            break;
        }
    }
    last
}

fn title(snapshot: &Snapshot) -> String {
    let name = snapshot.status.get("id").map_or("", |id| text(id, "name"));
    format!("{name} · Tombolo")
}

impl PageWriter<'_> {
    fn all(&mut self) {
        let needs = needs(&self.snapshot.status);
        self.head(&needs);
        self.needs(&needs);
        self.cards();
        self.picture();
        self.air();
        self.links();
        self.documents();
        self.invites();
        self.log();
    }

    /// This node, and the verdict.
    fn head(&mut self, needs: &[Need]) {
        let status = &self.snapshot.status;
        let verdict = StatusVerdict::of(status, needs);
        let (class, sign) = match verdict.gravity {
            None => ("well", "✓"),
            Some(Gravity::Note) => ("note", "i"),
            Some(Gravity::Missing) => ("missing", "!"),
            Some(Gravity::Failing) => ("failing", "✕"),
        };
        let id = status.get("id").unwrap_or(&Json::Null);
        let time = text(status, "time");
        self.out.push_str(&format!(
            "<header><p class=who><strong>{}</strong> <span class=did>{}</span> <span class=asof>as of {}</span></p>\
             <h1 class={class} id=verdict><span class=sign aria-hidden=true>{sign}</span><span>{}</span></h1></header>",
            esc(text(id, "name")),
            esc(&short_did(text(id, "did"))),
            super::html::stamp(time, &crate::words::moment(time)),
            marked(&verdict.sentence),
        ));
    }

    /// What needs the operator, each with what helps.
    fn needs(&mut self, needs: &[Need]) {
        let conflicts = items(&self.snapshot.conflicts).len();
        let settle = (conflicts > 0).then(|| Need {
            gravity: Gravity::Note,
            what: format!("{} to settle", count(conflicts as u64, "conflict")),
            remedy: "Both values stand under Documents; `tombolo conflicts` lists them.".to_owned(),
        });
        let all: Vec<&Need> = needs.iter().chain(&settle).collect();
        if all.is_empty() {
            return;
        }
        self.out.push_str("<section id=needs><h2>Needs you</h2><ol>");
        for need in all.iter().take(NEEDS_SHOWN_MAX) {
            let (class, word) = match need.gravity {
                Gravity::Note => ("note", "Note"),
                Gravity::Missing => ("missing", "Missing"),
                Gravity::Failing => ("failing", "Failing"),
            };
            self.out.push_str(&format!(
                "<li class={class}><b>{word}</b> {}. <span class=remedy>{}</span></li>",
                marked(need.what.trim_end_matches('.')),
                marked(&need.remedy)
            ));
        }
        self.out.push_str("</ol>");
        if let Some(more @ 1..) = all.len().checked_sub(NEEDS_SHOWN_MAX) {
            self.out.push_str(&format!(
                "<p class=more>and {more} more: <code>tombolo status</code> lists all.</p>"
            ));
        }
        self.out.push_str("</section>");
    }

    /// Opens a form of an act, with the mark of this page.
    fn form(&mut self, act: &str, mark: &str, fields: &[(&str, &str)]) {
        self.out.push_str(&format!(
            "<form method=post action=\"/act/{act}\"><input type=hidden name=mark value=\"{}\">",
            esc(mark)
        ));
        for (name, value) in fields {
            self.out.push_str(&format!(
                "<input type=hidden name={name} value=\"{}\">",
                super::html::attribute(value)
            ));
        }
    }

    /// An age, or a word where there is no time.
    fn age_or(&self, time: &str, else_word: &str) -> String {
        if time.is_empty() { esc(else_word) } else { age(time, self.now) }
    }

    /// `and 3 more` where a list was cut.
    fn more(&mut self, all: usize, shown: usize, command: &str) {
        if let Some(more @ 1..) = all.checked_sub(shown) {
            self.out
                .push_str(&format!("<p class=more>and {more} more: <code>{command}</code> lists all.</p>"));
        }
    }
}

#[cfg(test)]
mod tests;
