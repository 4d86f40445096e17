//! A card for each node: trust, presence, sync status, figures with their ages, apps, the link in use, the last day.

use serde_json::Value as Json;

use super::PageWriter;
use crate::web::html::{esc, esc_cut, stamp};
use crate::words::{
    self, clock_time, hears_us, items, name, number, presence, route, size, span, step, text,
};

/// Characters of a name.
const NAME_CHARS: usize = 40;
/// Apps on a card.
const APPS_MAX: usize = 12;
/// Sensors on a card.
const SENSORS_MAX: usize = 12;
/// Documents on a card that are behind.
const BEHIND_MAX: usize = 3;

/// How what is known of a node stands: the class and the sign of its card, so that no colour is alone.
fn standing(state: &str) -> (&'static str, &'static str) {
    match state {
        "here" => ("here", "●"),
        "quiet" => ("quiet", "◐"),
        "overdue" => ("overdue", "▲"),
        "link lost" => ("lost", "✕"),
        "gone" => ("gone", "■"),
        _ => ("unmet", "○"),
    }
}

impl PageWriter<'_> {
    pub(super) fn cards(&mut self) {
        self.out.push_str("<section id=nodes><h2>Nodes</h2><div class=cards>");
        self.own_card();
        let peers = self.snapshot.status.get("peers").map(items).unwrap_or_default();
        for (n, peer) in peers.iter().take(self.limits.cards).enumerate() {
            self.peer_card(n, peer);
        }
        self.out.push_str("</div>");
        self.more(peers.len(), self.limits.cards, "tombolo status");
        self.out.push_str(LEGEND);
        self.out.push_str("</section>");
    }

    fn own_card(&mut self) {
        let status = &self.snapshot.status;
        let id = status.get("id").unwrap_or(&Json::Null);
        self.out.push_str(&format!(
            "<article class=\"card here\" id=self><h3><span class=sign aria-hidden=true>●</span>{}\
             <span class=trust>this node</span></h3>",
            esc_cut(text(id, "name"), NAME_CHARS)
        ));
        let state = &self.snapshot.own_state;
        let written = self.age_or(text(state, "timestamp"), "not yet");
        self.out.push_str(&format!("<p class=ages>written {written}</p>"));
        self.figures(state);
        self.apps(state);
        if let Some(tor) = status.get("tor") {
            let words = match text(tor, "problem") {
                "" => text(tor, "service"),
                problem => problem,
            };
            self.out.push_str(&format!("<p class=link>Tor: {}</p>", esc(words)));
        }
        self.out.push_str("</article>");
    }

    fn peer_card(&mut self, n: usize, status: &Json) {
        let did = text(status, "did");
        let peers = items(&self.snapshot.peers);
        let peer = peers.iter().find(|peer| text(peer, "did") == did).unwrap_or(&Json::Null);
        let shown = status.get("presence").unwrap_or(&Json::Null);
        let (class, sign) = standing(text(shown, "state"));
        let level = match peer.get("suspended").and_then(Json::as_bool) {
            Some(true) => "suspended",
            _ => text(status, "trust_level"),
        };
        let is_old = !words::is_current(shown);
        let old = if is_old { " old" } else { "" };
        self.out.push_str(&format!(
            "<article class=\"card {class}{old}\" id=p{n}><h3><span class=sign aria-hidden=true>{sign}</span>{}\
             <span class=trust>{}</span></h3><p class=state>{}</p>",
            esc_cut(&name(status), NAME_CHARS),
            esc(level),
            self.presence_words(shown),
        ));
        self.step_words(status);
        let state = peer.get("last_state").unwrap_or(&Json::Null);
        let written = self.age_or(text(state, "timestamp"), "no state yet");
        let heard = self.age_or(text(status, "heard_at"), "never");
        let hears = hears_us(shown);
        self.out.push_str(&format!(
            "<p class=ages>written {written} · heard {heard} · hears us: {}</p>",
            esc(&hears)
        ));
        self.clock(did);
        self.figures(state);
        self.apps(state);
        self.link_in_use(status);
        self.strip(shown);
        self.acts(status, &name(status));
        self.out.push_str("</article>");
    }

    /// `quiet until 14:20`, and why where the peer is missed.
    fn presence_words(&self, shown: &Json) -> String {
        let words = presence(shown);
        let time = match (text(shown, "until"), text(shown, "since")) {
            ("", "") => return format!("<b>{}</b>", esc(&words)),
            ("", since) => since,
            (until, _) => until,
        };
        let start = words.trim_end_matches(&clock_time(time)).to_owned();
        let shown_time = stamp(time, &clock_time(time));
        match words::is_current(shown) {
            true => format!("<b>{}{shown_time}</b>, as expected", esc(&start)),
            false => format!("<b>{}{shown_time}</b>: {}", esc(&start), esc(text(shown, "why"))),
        }
    }

    /// In step, or behind by what since when.
    fn step_words(&mut self, status: &Json) {
        self.out.push_str(&format!("<p class=step>{}", esc(&step(status, self.now))));
        let behind = status.get("behind").map(items).unwrap_or_default();
        let friends = status.get("presence").and_then(|presence| presence.get("friends"));
        if let Some(friends) = friends.filter(|friends| number(friends, "missing") > 0 || behind.is_empty()) {
            self.out.push_str(&format!("<br><small>{}</small>", esc(text(friends, "verdict"))));
        }
        for document in behind.iter().take(BEHIND_MAX) {
            self.out.push_str(&format!("<br><small>{}</small>", esc(text(document, "words"))));
            if let Some(seconds) = document.get("leaves_in_s").and_then(Json::as_u64) {
                self.out.push_str(&format!(" <b class=leaves>leaves in {}</b>", span(seconds)));
            }
        }
        if let Some(more @ 1..) = behind.len().checked_sub(BEHIND_MAX) {
            self.out.push_str(&format!("<br><small>and {more} more</small>"));
        }
        self.out.push_str("</p>");
    }

    /// The clock of a peer, where it is wrong.
    fn clock(&mut self, did: &str) {
        let rows = self.snapshot.status.get("clocks").map(items).unwrap_or_default();
        let row = rows.iter().find(|row| text(row, "did") == did);
        let ahead = row.and_then(|row| row.get("ahead_s")).and_then(Json::as_i64).unwrap_or_default();
        if let Some(words) = words::clock(ahead) {
            self.out.push_str(&format!("<p class=clock>{}</p>", esc(&words)));
        }
    }

    /// CPU, memory, disk, uptime, and what sensors show.
    fn figures(&mut self, state: &Json) {
        let share = |used: &str, total: &str| {
            let (used, total) = (state.get(used)?.as_u64()?, state.get(total)?.as_u64()?);
            Some((used as f64 * 100.0 / (total.max(1)) as f64, format!("{} of {}", size(used), size(total))))
        };
        let cpu = state.get("cpu_usage_percent").and_then(Json::as_f64).map(|cpu| (cpu, String::new()));
        let bars = [
            ("CPU", cpu),
            ("Memory", share("mem_used_bytes", "mem_total_bytes")),
            ("Disk", share("disk_used_bytes", "disk_total_bytes")),
        ];
        let bars: Vec<_> = bars.into_iter().filter_map(|(label, bar)| Some((label, bar?))).collect();
        let uptime = state.get("uptime_secs").and_then(Json::as_u64);
        let sensors = state.get("sensors").and_then(Json::as_object);
        if bars.is_empty() && uptime.is_none() && sensors.is_none() {
            return;
        }
        self.out.push_str("<dl class=figures>");
        for (label, (percent, detail)) in bars {
            let percent = percent.clamp(0.0, 100.0);
            let class = if percent >= 90.0 { " class=full" } else { "" };
            let detail = if detail.is_empty() { String::new() } else { format!("<small>{detail}</small>") };
            self.out.push_str(&format!(
                "<div><dt>{label}</dt><dd><svg viewBox=\"0 0 100 8\" preserveAspectRatio=none aria-hidden=true>\
                 <rect width=100 height=8 /><rect{class} width={percent:.0} height=8 /></svg><b>{percent:.0} %</b>{detail}</dd></div>"
            ));
        }
        if let Some(uptime) = uptime {
            self.out.push_str(&format!("<div><dt>Up for</dt><dd><b>{}</b></dd></div>", span(uptime)));
        }
        for (name, sensor) in sensors.into_iter().flatten().take(SENSORS_MAX) {
            let value = match sensor.get("value") {
                Some(Json::String(text)) => text.clone(),
                value => value.map(Json::to_string).unwrap_or_default(),
            };
            self.out.push_str(&format!(
                "<div class=sensor><dt>{}</dt><dd><b>{} {}</b></dd></div>",
                esc_cut(name, NAME_CHARS),
                esc_cut(&value, NAME_CHARS),
                esc_cut(text(sensor, "unit"), 12)
            ));
        }
        self.out.push_str("</dl>");
    }

    fn apps(&mut self, state: &Json) {
        let apps = state.get("apps").map(items).unwrap_or_default();
        if apps.is_empty() {
            return;
        }
        self.out.push_str("<ul class=apps>");
        for app in apps.iter().take(APPS_MAX) {
            let (status, health) = (text(app, "status"), text(app, "health"));
            let (class, sign) = match (status, health) {
                (_, "unhealthy" | "flapping") => ("amiss", "▲"),
                ("running", _) => ("running", "●"),
                ("stopped", _) => ("stopped", "○"),
                _ => ("installed", "◌"),
            };
            let words = if health.is_empty() { status.to_owned() } else { format!("{status}, {health}") };
            self.out.push_str(&format!(
                "<li class={class}><span aria-hidden=true>{sign}</span> {} <small>{} {}</small></li>",
                esc_cut(text(app, "id"), NAME_CHARS),
                esc_cut(text(app, "version"), 20),
                esc(&words),
            ));
        }
        if let Some(more @ 1..) = apps.len().checked_sub(APPS_MAX) {
            self.out.push_str(&format!("<li><small>and {more} more</small></li>"));
        }
        self.out.push_str("</ul>");
    }

    /// The link in use, and why.
    fn link_in_use(&mut self, status: &Json) {
        let (link, why) = route(status);
        let link = match link {
            "" => String::new(),
            link => format!("<b>{}</b>: ", esc_cut(link, NAME_CHARS)),
        };
        self.out.push_str(&format!("<p class=link>{link}{}</p>", esc(why)));
    }

    /// The last day in half hours; equal neighbours are one shape.
    fn strip(&mut self, shown: &Json) {
        let letters: Vec<char> = text(shown, "half_hours").chars().collect();
        if letters.is_empty() {
            return;
        }
        let count = |wanted| letters.iter().filter(|letter| **letter == wanted).count();
        self.out.push_str(&format!(
            "<svg class=strip viewBox=\"0 0 {} 10\" preserveAspectRatio=none role=img><title>The last 24 hours in half hours: heard in {}, \
             silent as expected in {}, overdue in {}, not known of {}</title>",
            letters.len(),
            count('h'),
            count('s'),
            count('o'),
            count('-')
        ));
        let mut start = 0;
        for run in letters.chunk_by(|a, b| a == b) {
            // Three heights as well as three colours.
            let (class, y, height) = match run.first() {
                Some('h') => ("h", 0, 10),
                Some('s') => ("s", 6, 4),
                Some('o') => ("o", 3, 7),
                _ => ("u", 9, 1),
            };
            let gap = if class == "u" { 0.0 } else { 0.15 };
            self.out.push_str(&format!(
                "<rect class={class} x={start} y={y} width={:.2} height={height} />",
                run.len() as f64 - gap
            ));
            start += run.len();
        }
        self.out.push_str("</svg>");
    }

    /// What the token allows: trust, name, removal.
    fn acts(&mut self, status: &Json, name: &str) {
        let Some(mark) = self.rights.form else { return };
        let did = text(status, "did").to_owned();
        self.out.push_str("<details class=act><summary>Change</summary>");
        self.form("trust", mark, &[("peer", &did)]);
        self.out.push_str("<label>Trust <select name=level>");
        for level in ["trusted", "observer", "untrusted"] {
            let selected = if text(status, "trust_level") == level { " selected" } else { "" };
            self.out.push_str(&format!("<option{selected}>{level}</option>"));
        }
        self.out.push_str("</select></label><button>Set</button></form>");
        self.form("rename", mark, &[("peer", &did)]);
        self.out.push_str(&format!(
            "<label>Name here <input name=name required maxlength=64 value=\"{}\"></label><button>Rename</button></form>",
            esc(name)
        ));
        self.form("remove", mark, &[("peer", &did)]);
        self.out.push_str(
            "<label><input type=checkbox name=sure value=yes required> It stops seeing what is written here from now on; what it wrote stays.</label>\
             <button class=danger>Remove</button></form>",
        );
        self.out.push_str(&format!("<p class=did>{}</p></details>", esc(&did)));
    }
}

/// What the strips and the signs mean.
const LEGEND: &str = "<p class=legend><span><i class=h></i> heard</span><span><i class=s></i> silent as expected</span>\
    <span><i class=o></i> overdue</span><span><i class=u></i> not known</span><span>one bar is half an hour, now at the right</span></p>";
