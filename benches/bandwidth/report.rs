//! The output of the rows, as a table, as JSON and as a drawing.

use crate::traces::Trace;
use std::fmt::Write;
use std::time::Duration;
use tombolo_mesh::airtime::Modulation;

/// One codec on one trace.
pub(crate) struct BandwidthRow {
    trace: String,
    codec: String,
    first: usize,
    sizes: Vec<usize>,
    wrong: usize,
    encode_us: f64,
    decode_us: f64,
}

/// What a message costs on air, by preset.
const PRESETS: [(&str, Modulation); 3] = [
    ("LongFast", Modulation::LONG_FAST),
    ("SF7/125", Modulation::SF7_125),
    ("SF12/125", Modulation::SF12_125),
];

/// The share of an hour that a duty cycle of 1 % leaves.
const DUTY_SECONDS_AN_HOUR: f64 = 36.0;

pub(crate) fn print_head(trace: &Trace, base: u32) {
    println!("\n{}: {} documents, base {base} old", trace.name, trace.documents.len());
    print!("| codec | changes | mean | p50 | p99 | max | first | encode us | decode us |");
    PRESETS.iter().for_each(|(name, _)| print!(" {name} s | an hour at 1 % |"));
    println!("\n|---|{}", "--:|".repeat(8 + 2 * PRESETS.len()));
}

impl BandwidthRow {
    pub(crate) fn new(trace: &str, codec: &str, first: usize) -> BandwidthRow {
        let (trace, codec) = (trace.to_owned(), codec.to_owned());
        BandwidthRow { trace, codec, first, sizes: Vec::new(), wrong: 0, encode_us: 0.0, decode_us: 0.0 }
    }

    pub(crate) fn add(&mut self, bytes: usize, right: bool) {
        self.sizes.push(bytes);
        self.check(right);
    }

    pub(crate) fn check(&mut self, right: bool) {
        self.wrong += usize::from(!right);
    }

    pub(crate) fn finish(&mut self, encoding: Duration, decoding: Duration) {
        self.sizes.sort_unstable();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / self.sizes.len().max(1) as f64;
        (self.encode_us, self.decode_us) = (each(encoding), each(decoding));
    }

    fn mean(&self) -> f64 {
        self.sizes.iter().sum::<usize>() as f64 / self.sizes.len().max(1) as f64
    }

    fn percentile(&self, percent: usize) -> usize {
        self.sizes.get(self.sizes.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0)
    }

    fn max(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }

    pub(crate) fn print(&self) {
        let wrong = if self.wrong > 0 { format!(" ({} wrong)", self.wrong) } else { String::new() };
        print!(
            "| {}{wrong} | {} | {:.1} | {} | {} | {} | {} | {:.0} | {:.0} |",
            self.codec,
            self.sizes.len(),
            self.mean(),
            self.percentile(50),
            self.percentile(99),
            self.max(),
            self.first,
            self.encode_us,
            self.decode_us,
        );
        for (_, preset) in &PRESETS {
            let total = self.sizes.iter().map(|bytes| preset.message_us(*bytes)).sum::<u64>() as f64 / 1e6;
            let each = total / self.sizes.len().max(1) as f64;
            print!(" {each:.3} | {:.0} |", DUTY_SECONDS_AN_HOUR / each);
        }
        println!();
    }

    pub(crate) fn json(&self) -> String {
        let tenth = |number: f64| (number * 100.0).round() / 100.0;
        serde_json::json!({
            "trace": self.trace,
            "codec": self.codec,
            "changes": self.sizes.len(),
            "wrong": self.wrong,
            "mean": tenth(self.mean()),
            "p50": self.percentile(50),
            "p99": self.percentile(99),
            "max": self.max(),
            "first": self.first,
            "encode_us": tenth(self.encode_us),
            "decode_us": tenth(self.decode_us),
        })
        .to_string()
    }
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const LINE: f64 = 16.0;
/// The scale goes to here.
const BYTES_MAX: f64 = 100_000.0;

/// A line a row: from the median to the 99th percentile, a dot at the mean; bytes on a log scale.
pub(crate) fn plot(rows: &[BandwidthRow]) -> String {
    let x = |bytes: f64| LEFT + (WIDTH - LEFT - 20.0) * bytes.max(1.0).log10() / BYTES_MAX.log10();
    let height = LINE * (rows.len() as f64 + 3.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for power in 0..=5 {
        let (at, bytes) = (x(10f64.powi(power)), 10u32.pow(power as u32));
        let _ =
            writeln!(svg, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"20\" y2=\"{height}\" stroke=\"#ddd\"/>");
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"14\" text-anchor=\"middle\">{bytes} B</text>");
    }
    for (index, row) in rows.iter().enumerate() {
        let y = LINE * (index as f64 + 2.0);
        let colour = if row.codec == "tombolo" { "#c33" } else { "#357" };
        let (from, to) = (x(row.percentile(50) as f64), x(row.percentile(99) as f64));
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text>",
            LEFT - 8.0,
            y + 4.0,
            row.trace,
            row.codec
        );
        let _ = writeln!(
            svg,
            "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>"
        );
        let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/>", x(row.mean()));
    }
    svg.push_str("</svg>\n");
    svg
}
