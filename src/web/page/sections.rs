//! What stands below the cards: air, links with their reasons, documents with conflicts, open invites, the log.

use serde_json::Value as Json;

use super::PageWriter;
use crate::layer::DocumentName;
use crate::web::html::{age, esc, esc_cut, marked, stamp};
use crate::web::snapshot::CONFLICTS_MAX;
use crate::words::{
    airtime_used, count, items, moment, name, number, seconds, short_did, size, step, text, transfer,
};

/// Characters of a value in a conflict.
const VALUE_CHARS: usize = 160;
/// Characters of a name.
const NAME_CHARS: usize = 48;
/// The age of the oldest entry of the log that is shown, milliseconds: a day.
const LOG_MS: u64 = 24 * 60 * 60 * 1000;

fn figure(row: &Json, field: &str) -> f64 {
    row.get(field).and_then(Json::as_f64).unwrap_or_default()
}

impl PageWriter<'_> {
    // ---- air ---------------------------------------------------------------------------------------------

    pub(super) fn air(&mut self) {
        let radios = items(&self.snapshot.airtime);
        if radios.is_empty() {
            return;
        }
        self.out.push_str("<section id=air><h2>Air</h2>");
        for radio in radios.iter().take(self.limits.rows) {
            self.radio(radio);
        }
        self.out.push_str("</section>");
    }

    fn radio(&mut self, radio: &Json) {
        let (used, words) = (figure(radio, "used_last_hour_s"), esc(&airtime_used(radio)));
        self.out.push_str(&format!("<article class=radio><h3>{}</h3>", esc_cut(text(radio, "radio"), 80)));
        match radio.get("budget_hour_s").and_then(Json::as_f64) {
            Some(budget) if budget > 0.0 => {
                let percent = (used / budget * 100.0).clamp(0.0, 100.0);
                self.out.push_str(&format!(
                    "<p class=budget><svg viewBox=\"0 0 100 8\" preserveAspectRatio=none aria-hidden=true><rect width=100 height=8 />\
                     <rect width={percent:.1} height=8 /></svg><b>{words}</b></p>"
                ));
            }
            _ => self.out.push_str(&format!("<p class=budget><b>{words}</b></p>")),
        }
        self.out.push_str(&format!("<p>{}</p>", esc(text(radio, "rules"))));
        match text(radio, "never") {
            "" => {}
            never => self.out.push_str(&format!("<p class=amiss>Never sent: {}</p>", esc(never))),
        }
        self.classes(radio);
        let peers = radio.get("by_peer").map(items).unwrap_or_default();
        let share = |peer: &Json| {
            format!("{} {}", esc_cut(text(peer, "what"), NAME_CHARS), esc(&seconds(figure(peer, "today_s"))))
        };
        let shares: Vec<String> = peers.iter().take(self.limits.rows).map(share).collect();
        if !shares.is_empty() {
            self.out.push_str(&format!("<p>By peer today: {}</p>", shares.join(" · ")));
        }
        self.out.push_str("</article>");
    }

    fn classes(&mut self, radio: &Json) {
        let classes = radio.get("by_priority").map(items).unwrap_or_default();
        if classes.is_empty() {
            return;
        }
        self.out.push_str(
            "<div class=wide><table><tr><th>Class<th>Last hour<th>Reserved<th>Left now<th>Leaves</tr>",
        );
        for class in classes {
            let reserved = class.get("share_s").and_then(Json::as_f64).map_or("-".to_owned(), seconds);
            let leaves = match class.get("leaves_in_s").and_then(Json::as_f64) {
                None => "never".to_owned(),
                Some(wait) if wait <= 0.0 => "now".to_owned(),
                Some(wait) => format!("in {}", seconds(wait.ceil())),
            };
            self.out.push_str(&format!(
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                esc(text(class, "what")),
                esc(&seconds(figure(class, "hour_s"))),
                esc(&reserved),
                esc(&seconds(figure(class, "left_s"))),
                esc(&leaves)
            ));
        }
        self.out.push_str("</table></div>");
    }

    // ---- links -------------------------------------------------------------------------------------------

    pub(super) fn links(&mut self) {
        let rows = items(&self.snapshot.links);
        if rows.is_empty() {
            return;
        }
        self.out.push_str("<section id=links><h2>Links</h2><ul class=rows>");
        for row in rows.iter().take(self.limits.rows) {
            self.link(row);
        }
        self.out.push_str("</ul>");
        self.more(rows.len(), self.limits.rows, "tombolo links");
        self.choices();
        self.out.push_str("</section>");
    }

    fn link(&mut self, row: &Json) {
        let link = match text(row, "link") {
            "none" => "no link",
            link => link,
        };
        let heard = match text(row, "last_heard") {
            "" => String::new(),
            at => format!(", heard {}", age(at, self.now)),
        };
        self.out.push_str(&format!(
            "<li><b>{}</b> <span class=via>{}, {}{heard}</span><br>{}",
            esc_cut(text(row, "peer"), NAME_CHARS),
            esc_cut(link, 80),
            esc(text(row, "state")),
            esc(text(row, "why")),
        ));
        if let Some(shown) = row.get("step") {
            self.out.push_str(&format!("; {}", esc(&step(shown, self.now))));
        }
        for moving in row.get("transfers").map(items).unwrap_or_default() {
            self.out.push_str(&format!("<br><small>{}</small>", esc(&transfer(moving))));
        }
        if let Some(failure) = row.get("failures").map(items).and_then(<[Json]>::first) {
            self.out.push_str(&format!(
                "<br><small>last failed {}: {}</small>",
                age(text(failure, "at"), self.now),
                esc(text(failure, "why"))
            ));
        }
        self.out.push_str("</li>");
    }

    /// For each peer the newest choice of a link, with the reasons of those that lost.
    fn choices(&mut self) {
        let peers = self.snapshot.status.get("peers").map(items).unwrap_or_default();
        for choice in self.snapshot.choices.iter().take(self.limits.cards) {
            let Some(n) = peers.iter().position(|peer| text(peer, "did") == text(choice, "did")) else {
                continue;
            };
            self.out.push_str(&format!(
                "<details id=l-p{n}><summary>Why this link to {}</summary><p>{}</p><ul class=plain>",
                esc_cut(text(choice, "peer"), NAME_CHARS),
                esc(text(choice, "message"))
            ));
            for candidate in choice.get("candidates").map(items).unwrap_or_default().iter().take(8) {
                let cost = match text(candidate, "cost") {
                    "" => String::new(),
                    cost => format!(" <small>{}</small>", esc(cost)),
                };
                self.out.push_str(&format!(
                    "<li><b>{}</b>: {}{cost}</li>",
                    esc_cut(text(candidate, "name"), NAME_CHARS),
                    esc(text(candidate, "why"))
                ));
            }
            self.out.push_str("</ul></details>");
        }
    }

    // ---- documents ---------------------------------------------------------------------------------------

    pub(super) fn documents(&mut self) {
        let rows = items(&self.snapshot.documents);
        if rows.is_empty() {
            return;
        }
        let is_own = |row: &&Json| DocumentName::new(text(row, "name")).is_ok_and(|name| name.is_reserved());
        let (kept, shared): (Vec<&Json>, Vec<&Json>) = rows.iter().partition(is_own);
        self.out.push_str("<section id=documents><h2>Documents</h2>");
        if shared.is_empty() {
            self.out.push_str("<p class=more>None yet: <code>tombolo create NAME</code> makes one.</p>");
        }
        self.document_rows(&shared, "tombolo ls");
        self.conflicts();
        let words = format!("{} that nodes keep by themselves", count(kept.len() as u64, "document"));
        self.out.push_str(&format!("<details id=kept><summary>{words}</summary>"));
        self.document_rows(&kept, "tombolo ls --all");
        self.out.push_str("</details></section>");
    }

    fn document_rows(&mut self, rows: &[&Json], command: &str) {
        self.out.push_str("<ul class=rows>");
        for row in rows.iter().take(self.limits.rows) {
            let changed = match text(row, "changed_at") {
                "" => "never changed".to_owned(),
                at => format!("changed {}", age(at, self.now)),
            };
            self.out.push_str(&format!(
                "<li><b>{}</b> <span class=via>of {}</span><br>{changed}, {}</li>",
                esc_cut(text(row, "name"), NAME_CHARS),
                self.called(text(row, "owner")),
                size(number(row, "bytes"))
            ));
        }
        self.out.push_str("</ul>");
        self.more(rows.len(), self.limits.rows, command);
    }

    /// Both values of each conflict; those of others' documents are not for every reader of the page.
    fn conflicts(&mut self) {
        let rows = items(&self.snapshot.conflicts);
        if rows.is_empty() {
            return;
        }
        self.out.push_str(&format!("<h3>{}</h3>", count(rows.len() as u64, "conflict")));
        let Some(mark) = self.rights.form else {
            self.out.push_str("<p>The values are shown with the token.</p>");
            return;
        };
        self.out.push_str("<ul class=rows>");
        let shown_max = self.limits.rows.min(CONFLICTS_MAX);
        for row in rows.iter().take(shown_max) {
            self.conflict(row, mark);
        }
        self.out.push_str("</ul>");
        self.more(rows.len(), shown_max, "tombolo conflicts");
    }

    fn conflict(&mut self, row: &Json, mark: &str) {
        let value = |value: Option<&Json>| match value {
            None | Some(Json::Null) => "<i>deleted</i>".to_owned(),
            Some(value) => format!("<code>{}</code>", esc_cut(&value.to_string(), VALUE_CHARS)),
        };
        let is_deleted = row.get("deleted").and_then(Json::as_bool) == Some(true);
        let lost = row.get("value").filter(|_| !is_deleted);
        let document = text(row, "document");
        let (owner, doc) = document.rsplit_once('/').unwrap_or(("", document));
        let (winner, loser, key) = (text(row, "winner"), text(row, "loser"), text(row, "key"));
        self.out.push_str(&format!(
            "<li class=conflict><b>{}</b> <span class=via>in {} of {}</span><table>\
             <tr><td>shows<td>{}<td>by {}<td>",
            esc_cut(key, NAME_CHARS),
            esc_cut(doc, NAME_CHARS),
            self.called(owner),
            value(row.get("shown").and_then(|shown| shown.get("value"))),
            self.called(winner),
        ));
        self.form("settle", mark, &[("doc", document), ("key", key)]);
        self.out.push_str("<button>Keep</button></form>");
        self.out.push_str(&format!(
            "<tr><td>lost<td>{}<td>by {}, {}<td>",
            value(lost),
            self.called(loser),
            age(text(row, "written_at"), self.now)
        ));
        self.form("settle", mark, &[("doc", document), ("key", key), ("take", loser)]);
        self.out.push_str("<button>Take</button></form></table></li>");
    }

    /// The name of a node by its DID.
    fn called(&self, did: &str) -> String {
        let status = &self.snapshot.status;
        let peers = status.get("peers").map(items).unwrap_or_default().iter();
        let known = status.get("id").into_iter().chain(peers).find(|node| text(node, "did") == did);
        esc_cut(&known.map_or_else(|| short_did(did), name), NAME_CHARS)
    }

    // ---- invites -----------------------------------------------------------------------------------------

    /// The form that makes an invite, and those that are open.
    pub(super) fn invites(&mut self) {
        let Some(mark) = self.rights.form else { return };
        self.out.push_str("<section id=invites><h2>Invite a node</h2>");
        self.form("invite", mark, &[]);
        self.out.push_str(
            "<label>It is <select name=level><option>trusted</option><option>observer</option></select> here, the code works for</label>\
             <select name=expires><option value=1h>an hour</option><option value=24h selected>a day</option><option value=7d>a week</option></select>\
             <button>Make a code</button></form>",
        );
        let open = items(&self.snapshot.invites).iter().filter(|invite| text(invite, "accepted").is_empty());
        let open: Vec<&Json> = open.collect();
        if !open.is_empty() {
            self.out.push_str("<ul class=plain>");
        }
        for invite in open.iter().take(self.limits.rows) {
            self.out.push_str(&format!(
                "<li>a code for one {}, made {}, works until {}</li>",
                esc(text(invite, "level")),
                age(text(invite, "created_at"), self.now),
                stamp(text(invite, "expires"), &moment(text(invite, "expires")))
            ));
        }
        if !open.is_empty() {
            self.out.push_str("</ul>");
        }
        self.out.push_str("</section>");
    }

    // ---- log ---------------------------------------------------------------------------------------------

    /// The newest entries of the last day. What was refused names strangers, so it is shown with the token only.
    pub(super) fn log(&mut self) {
        let is_shown = |entry: &&Json| {
            let at = chrono::DateTime::parse_from_rfc3339(text(entry, "at"));
            let at = at.ok().and_then(|at| u64::try_from(at.timestamp_millis()).ok()).unwrap_or_default();
            let is_recent = self.now.ms().saturating_sub(at) <= LOG_MS;
            is_recent && (self.rights.form.is_some() || text(entry, "kind") != "rejection")
        };
        let entries: Vec<&Json> = items(&self.snapshot.log).iter().rev().filter(is_shown).collect();
        if entries.is_empty() {
            return;
        }
        self.out.push_str("<section id=log><h2>The last 24 hours</h2><ul class=log>");
        for entry in entries.iter().take(self.limits.log) {
            let at = text(entry, "at");
            let times = match number(entry, "times") {
                0 | 1 => String::new(),
                times => format!(" <small>({times} times)</small>"),
            };
            let peer = match text(entry, "peer") {
                "" => String::new(),
                peer => format!("<b>{}</b>: ", esc_cut(peer, NAME_CHARS)),
            };
            self.out.push_str(&format!(
                "<li class={}>{} <span>{peer}{}{times}</span></li>",
                esc(text(entry, "kind")),
                stamp(at, &moment(at)),
                marked(text(entry, "message"))
            ));
        }
        self.out.push_str("</ul>");
        self.more(entries.len(), self.limits.log, "tombolo log");
        self.out.push_str("</section>");
    }
}
