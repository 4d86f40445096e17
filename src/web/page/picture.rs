//! Which node hears which: nodes on a circle, a line for each pair that hears each other, drawn here as SVG. Kinds of links differ in colour
//! and in dashes; a line of which only one end hears the other has an arrow to that end.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use serde_json::Value as Json;

use super::PageWriter;
use crate::web::html::esc;
use crate::words::{clock_time, items, name, text};

/// Nodes in the picture.
const NODES_MAX: usize = 16;
/// Pairs in the list below it.
const PAIRS_MAX: usize = 40;
/// Width of a name in the picture, in letters of usual width.
const LABEL_WIDTH: f64 = 12.0;
/// Size of the drawing, and the half axes of the ellipse on which the nodes stand.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
const HALF_AXES: (f64, f64) = (225.0, 115.0);
/// Radius of a node.
const RADIUS: f64 = 11.0;

/// A node of the picture.
struct Spot {
    name: String,
    anchor: String,
    state: &'static str,
    at: (f64, f64),
}

/// What is known between two nodes, by place in the picture: whether each hears the other, and over what.
#[derive(Default)]
struct Pair<'a> {
    /// The lower place hears the higher.
    low_hears: Option<&'a Json>,
    high_hears: Option<&'a Json>,
}

impl PageWriter<'_> {
    pub(super) fn picture(&mut self) {
        let rows = items(&self.snapshot.hearing);
        if rows.is_empty() {
            return;
        }
        let (spots, places) = self.spots();
        let mut pairs: BTreeMap<(usize, usize), Pair<'_>> = BTreeMap::new();
        for row in rows {
            let place = |field| places.get(text(row, field)).copied();
            let (Some(by), Some(of)) = (place("by_did"), place("of_did")) else { continue };
            let pair = pairs.entry((by.min(of), by.max(of))).or_default();
            if by < of {
                pair.low_hears = Some(row);
            } else {
                pair.high_hears = Some(row);
            }
        }
        self.out.push_str(&format!(
            "<section id=hearing><h2>Who hears whom</h2><svg class=map viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img>\
             <title>Which node hears which, and over what; the list below has the same in words</title>\
             <defs><marker id=arrow viewBox=\"0 0 8 8\" refX=7 refY=4 markerWidth=7 markerHeight=7 orient=auto>\
             <path d=\"M0 0L8 4L0 8z\"/></marker></defs>"
        ));
        for ((low, high), pair) in &pairs {
            if let (Some(low), Some(high)) = (spots.get(*low), spots.get(*high)) {
                self.out.push_str(&edge(low, high, pair));
            }
        }
        spots.iter().for_each(|spot| self.out.push_str(&node(spot)));
        self.out.push_str("</svg><p class=legend><span><i class=mesh></i> radio</span><span><i class=lan></i> LAN</span>\
            <span><i class=tor></i> Tor</span><span><i class=gone></i> lost</span><span>an arrow: only that end hears the other</span></p>");
        self.hearing_list(rows);
        self.out.push_str("</section>");
    }

    /// The nodes on an ellipse, this one on top, and the place of each by its DID.
    fn spots(&self) -> (Vec<Spot>, BTreeMap<String, usize>) {
        let status = &self.snapshot.status;
        let id = status.get("id").unwrap_or(&Json::Null);
        let peers = status.get("peers").map(items).unwrap_or_default();
        let peers = peers.iter().take(NODES_MAX - 1);
        let count = peers.len() + 1;
        let own = (text(id, "name").to_owned(), "self".to_owned(), "here", text(id, "did").to_owned());
        let others = peers.enumerate().map(|(n, peer)| {
            let state = match peer.get("presence").map_or("", |presence| text(presence, "state")) {
                "here" => "here",
                "quiet" => "quiet",
                "overdue" => "overdue",
                "link lost" => "lost",
                "gone" => "gone",
                _ => "unmet",
            };
            (name(peer), format!("p{n}"), state, text(peer, "did").to_owned())
        });
        let all: Vec<_> = std::iter::once(own).chain(others).collect();
        let places = all.iter().enumerate().map(|(n, (.., did))| (did.clone(), n)).collect();
        let spot = |(n, (name, anchor, state, _))| {
            let angle = n as f64 / count as f64 * TAU;
            let at = (WIDTH / 2.0 + angle.sin() * HALF_AXES.0, HEIGHT / 2.0 - angle.cos() * HALF_AXES.1);
            Spot { name, anchor, state, at }
        };
        (all.into_iter().enumerate().map(spot).collect(), places)
    }

    fn hearing_list(&mut self, rows: &[Json]) {
        let shown = self.limits.rows.min(PAIRS_MAX);
        self.out.push_str("<details id=hearing-list><summary>The same in words</summary><ul class=plain>");
        for row in rows.iter().take(shown) {
            self.out.push_str(&format!(
                "<li>{}, as of {}</li>",
                esc(&words(row)),
                super::super::html::stamp(text(row, "at"), &clock_time(text(row, "at")))
            ));
        }
        self.out.push_str("</ul>");
        if let Some(more @ 1..) = rows.len().checked_sub(shown) {
            self.out.push_str(&format!(
                "<p class=more>and {more} more: <code>GET /v1/hearing</code> has all.</p>"
            ));
        }
        self.out.push_str("</details>");
    }
}

/// `hut hears boat by radio`.
fn words(row: &Json) -> String {
    let (by, of) = (text(row, "by"), text(row, "of"));
    match (text(row, "over"), text(row, "last_heard")) {
        ("mesh", _) => format!("{by} hears {of} by radio"),
        ("lan", _) => format!("{by} hears {of} over LAN"),
        ("tor", _) => format!("{by} hears {of} through Tor"),
        ("", "") => format!("{by} has lost {of}"),
        ("", at) => format!("{by} has lost {of}, heard last about {}", clock_time(at)),
        _ => format!("{by} hears {of} within one process"),
    }
}

fn edge(low: &Spot, high: &Spot, pair: &Pair<'_>) -> String {
    let over = |row: Option<&Json>| row.map_or("", |row| text(row, "over")).to_owned();
    let (low_over, high_over) = (over(pair.low_hears), over(pair.high_hears));
    // The arrow stands at the end that hears.
    let (from, to, medium, is_one_way) = match (low_over.is_empty(), high_over.is_empty()) {
        (false, false) => (low, high, low_over, false),
        (false, true) => (high, low, low_over, pair.high_hears.is_some()),
        (true, false) => (low, high, high_over, pair.low_hears.is_some()),
        (true, true) => (low, high, String::new(), false),
    };
    let class = match medium.as_str() {
        "mesh" => "mesh",
        "lan" | "memory" => "lan",
        "tor" => "tor",
        _ => "gone",
    };
    let ((x1, y1), (x2, y2)) = (towards(from.at, to.at), towards(to.at, from.at));
    let arrow = if is_one_way { " marker-end=\"url(#arrow)\"" } else { "" };
    let sides = [pair.low_hears, pair.high_hears].into_iter().flatten();
    let title: Vec<String> = sides.map(words).collect();
    // The reasons of a link of this node stand with its peer, below.
    let anchor = if low.anchor == "self" { format!("l-{}", high.anchor) } else { "hearing-list".to_owned() };
    let place = format!("x1={x1:.0} y1={y1:.0} x2={x2:.0} y2={y2:.0}");
    format!(
        "<a href=\"#{anchor}\"><title>{}</title><line class=tap {place} /><line class={class} {place}{arrow} /></a>",
        esc(&title.join("; "))
    )
}

/// The point at the rim of a node, in the direction of another.
fn towards(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1.0);
    (from.0 + dx / length * (RADIUS + 3.0), from.1 + dy / length * (RADIUS + 3.0))
}

fn node(spot: &Spot) -> String {
    let (x, y) = spot.at;
    let (right, up) = ((x - WIDTH / 2.0) / HALF_AXES.0, (HEIGHT / 2.0 - y) / HALF_AXES.1);
    // Names of nodes in the upper half stand above them. The highest and the lowest stand further out, and those beside them run
    // outwards: there several names are almost on one line.
    let (is_middle, is_flat) = (right.abs() < 0.1, up.abs() > 0.7);
    let out = if is_middle { 20.0 } else { 8.0 };
    let label = if up > 0.0 { y - RADIUS - out } else { y + RADIUS + 10.0 + out };
    let (x_label, side) = match (is_flat && !is_middle, right > 0.0) {
        (false, _) => (x, ""),
        (true, true) => (x - RADIUS, " r"),
        (true, false) => (x + RADIUS, " l"),
    };
    // Letters are larger on a phone: those below a node move down there.
    let half = if up > 0.0 { "o" } else { "u" };
    format!(
        "<a href=\"#{}\"><circle class={} cx={x:.0} cy={y:.0} r={RADIUS} /><text class=\"{half}{side}\" x={x_label:.0} y={label:.0}>{}</text></a>",
        spot.anchor,
        spot.state,
        esc(&label_of(&spot.name))
    )
}

/// A name that is no wider than the picture has room for.
fn label_of(name: &str) -> String {
    let width = |c: char| match c {
        'A'..='Z' | '@' | 'm' | 'w' => 1.5,
        '\u{2e80}'.. => 2.0,
        _ => 1.0,
    };
    let mut room = LABEL_WIDTH - name.chars().map(width).sum::<f64>();
    let mut name: Vec<char> = name.chars().collect();
    let is_cut = room < 0.0;
    while let Some(last) = name.pop_if(|_| room < 0.0) {
        room += width(last);
    }
    name.into_iter().chain(is_cut.then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_fits_its_place_in_any_script() {
        assert_eq!(label_of("lighthouse"), "lighthouse");
        assert_eq!(label_of("lighthouse-keepers-cottage"), "lighthouse-k…");
        assert_eq!(label_of(&"W".repeat(64)), format!("{}…", "W".repeat(8)));
        assert_eq!(label_of(&"灯".repeat(20)), format!("{}…", "灯".repeat(6)));
        assert_eq!(label_of(""), "");
    }
}
