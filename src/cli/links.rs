//! `links`: the links to peers and the radios, and why each is used or not.

use crate::time::Wall;
use serde_json::Value as Json;

use super::error::CliResult;
use super::{CliContext, print};
use crate::node::Query;
use crate::system_clock::now;

/// The reason follows on lines of its own: no terminal is wide enough for a table of sentences.
const HEAD: [&str; 8] = ["PEER", "STATE", ">RATE", ">LOSS", "HEARD", ">SENT", ">GOT", ">AIR TODAY"];
/// Characters of a line with a reason.
const WIDTH: usize = 79;
const FOOT: &str = "Today began at 00:00 UTC. What a radio sends is for all who listen: beside a peer stand the bytes heard from it, and its share of the airtime.";

pub(super) fn run(context: &CliContext) -> CliResult {
    if !context.node.is_running() {
        context.node.check_there()?;
        print::hint("no links: the node does not run. Start `tombolo up`");
        return if context.json { Ok(print::exact("[]")?) } else { Ok(()) };
    }
    let reply = context.node.ask(Query::Links)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let rows = print::items(&reply.json);
    if rows.is_empty() {
        print::hint("no links yet, and no peers: `tombolo invite` prints a code for one");
        return Ok(());
    }
    Ok(print::line(&page(rows, now().wall))?)
}

/// One table: under each link the peer at its other end, and under each row why it is used or not.
fn page(rows: &[Json], now: Wall) -> String {
    let mut table = print::Table::new(&HEAD);
    rows.iter().for_each(|row| table.row(cells(row, now)));
    let table = table.lines();
    let mut set = table.lines();
    let mut lines: Vec<String> = set.next().map(str::to_owned).into_iter().collect();
    let mut link = None;
    for (row, figures) in rows.iter().zip(set) {
        let of = print::text(row, "link");
        if link.replace(of) != Some(of) {
            lines.push(print::clean(&title(of)));
        }
        lines.push(figures.to_owned());
        lines.extend(print::wrapped(&why(row, now), 4, WIDTH));
        lines.extend(last_failure(row, now).iter().flat_map(|text| print::wrapped(text, 4, WIDTH)));
        for transfer in row.get("transfers").map(print::items).unwrap_or_default() {
            lines.extend(print::wrapped(&print::transfer(transfer), 4, WIDTH));
        }
    }
    if rows.iter().any(|row| row.get("airtime_share_today_s").is_some()) {
        lines.push(String::new());
        lines.extend(print::wrapped(FOOT, 0, WIDTH));
    }
    lines.join("\n")
}

fn title(link: &str) -> String {
    match link {
        "none" => "no link".to_owned(),
        radio if radio.contains("://") => format!("radio {radio}"),
        other => other.to_owned(),
    }
}

fn cells(link: &Json, now: Wall) -> [String; 8] {
    let heard = print::text(link, "last_heard");
    let time = |field| link.get(field).and_then(Json::as_f64);
    let air = time("airtime_today_s").or(time("airtime_share_today_s"));
    [
        print::text(link, "peer").to_owned(),
        print::text(link, "state").to_owned(),
        link.get("rate_bps").and_then(Json::as_u64).map_or("-".to_owned(), rate),
        link.get("loss_permille").and_then(Json::as_u64).map_or("-".to_owned(), loss),
        if heard.is_empty() { "-".to_owned() } else { print::age(heard, now) },
        bytes(link, "bytes_sent"),
        bytes(link, "bytes_heard"),
        air.map_or("-".to_owned(), print::seconds),
    ]
}

/// The reason, and how far the peer is from us.
fn why(row: &Json, now: Wall) -> String {
    let step = row.get("step").filter(|_| !matches!(print::text(row, "state"), "away" | "silent"));
    let step = step.map(|step| format!("; {}", print::step(step, now)));
    let stays = row.get("step").map_or(0, |step| print::number(step, "not_by_radio"));
    let stays = match (stays, &step) {
        (1.., Some(_)) => format!(", but for {} that may not go by this radio", print::count(stays, "layer")),
        _ => String::new(),
    };
    format!("{}{}{stays}", print::text(row, "why"), step.unwrap_or_default())
}

/// `980 bit/s`, `1.2 kbit/s`, `48 Mbit/s`.
fn rate(bps: u64) -> String {
    let scaled = |unit: f64| bps as f64 / unit;
    match bps {
        0..1_000 => format!("{bps} bit/s"),
        1_000..1_000_000 => format!("{:.1} kbit/s", scaled(1e3)),
        1_000_000..1_000_000_000 => format!("{:.0} Mbit/s", scaled(1e6)),
        _ => format!("{:.0} Gbit/s", scaled(1e9)),
    }
}

/// `0 %`, `0.5 %`, `12 %`.
fn loss(permille: u64) -> String {
    match permille % 10 {
        0 => format!("{} %", permille / 10),
        tenths => format!("{}.{tenths} %", permille / 10),
    }
}

/// The last failure of a link, where it has had one.
fn last_failure(row: &Json, now: Wall) -> Option<String> {
    let last = row.get("failures").map(print::items)?.first()?;
    Some(format!("last failed {}: {}", print::age(print::text(last, "at"), now), print::text(last, "why")))
}

fn bytes(link: &Json, field: &str) -> String {
    link.get(field).and_then(Json::as_u64).map_or("-".to_owned(), print::size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(rows: &str) -> String {
        let rows: Json = serde_json::from_str(rows).unwrap();
        page(print::items(&rows), Wall::from_ms(1_800_000_000_000))
    }

    /// Each kind of row as a person sees it, within 80 columns.
    #[test]
    fn the_table_is_read_at_a_glance() {
        let page = page_of(
            r#"[{"peer":"harbour","did":"a","link":"lan","state":"up","bytes_sent":120000,"bytes_heard":99,
                 "rate_bps":48000000,"loss_permille":5,"failures":[{"at":"2027-01-15T07:58:00Z","why":"nothing heard for too long"}],
                 "step":{"state":"in step","we_lack":0,"they_lack":0},"why":"used: cheaper than the radio"},
                {"peer":"(all who listen)","did":"","link":"meshtastic+serial:///dev/serial/by-id/usb-0815","state":"up",
                 "bytes_sent":1200,"bytes_heard":1300,"airtime_today_s":61.0,"rate_bps":1080,"loss_permille":120,
                 "transfers":[{"way":"out","document":"hut/plan by hut","frames_done":12,"frames":70,"repair":false,"about_s":39.5},
                              {"way":"in","from":"boat","frames_done":1,"frames":9,"repair":false,"about_s":9.0}],
                 "why":"EU868, 869.525 MHz, LongFast: 10 % of any hour [ETSI EN 300 220-2 V3.2.1 and ERC Rec 70-03]"},
                {"peer":"boat","did":"b","link":"meshtastic+serial:///dev/serial/by-id/usb-0815","state":"heard",
                 "last_heard":"2027-01-15T08:00:00Z","bytes_heard":640,"airtime_share_today_s":2.1,
                 "step":{"state":"catching up","we_lack":0,"they_lack":3,"unacknowledged":1,"not_by_radio":2},
                 "why":"used: the only link to this peer"},
                {"peer":"mole","did":"c","link":"none","state":"away","step":{"state":"not connected"},
                 "why":"not used: an untrusted peer is sent nothing, and nothing of it is taken"}]"#,
        );
        let expected = "\
PEER              STATE        RATE   LOSS  HEARD    SENT     GOT  AIR TODAY
lan
harbour           up      48 Mbit/s  0.5 %  -      120 kB    99 B          -
    used: cheaper than the radio; in step
    last failed 2 min ago: nothing heard for too long
radio meshtastic+serial:///dev/serial/by-id/usb-0815
(all who listen)  up     1.1 kbit/s   12 %  -      1.2 kB  1.3 kB  1 min 1 s
    EU868, 869.525 MHz, LongFast: 10 % of any hour [ETSI EN 300 220-2 V3.2.1
    and ERC Rec 70-03]
    sending hut/plan by hut: 12 of 70 frames, about 40 s to go
    receiving from boat: 1 of 9 frames, about 9.00 s to go
boat              heard           -      -  now         -   640 B     2.10 s
    used: the only link to this peer; they lack 3, unacknowledged 1, but for 2
    layers that may not go by this radio
no link
mole              away            -      -  -           -       -          -
    not used: an untrusted peer is sent nothing, and nothing of it is taken

Today began at 00:00 UTC. What a radio sends is for all who listen: beside a
peer stand the bytes heard from it, and its share of the airtime.";
        assert_eq!(page, expected, "\n{page}");
        assert!(page.lines().all(|line| line.chars().count() < 80));
    }
}
