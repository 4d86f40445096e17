//! Everything that passes on the loopback while the stories run, taken by tcpdump, as streams of bytes.
//!
//! The test runs in a network namespace of its own, so that nothing but its own connections is there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Set for the run inside the namespace.
const INSIDE: &str = "TOMBOLO_TOR_NAMESPACE";

/// Runs this test again in a network namespace of its own, with a loopback that is up. Returns false where it runs in one
/// already, or none can be made.
pub(crate) fn ran_in_a_namespace(test: &str) -> bool {
    let command = |line: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", line]).stdin(Stdio::null());
        command
    };
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let probe = command("ip link set lo up").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return false;
    }
    let mut inside = command("ip link set lo up && exec \"$0\" \"$@\"");
    inside.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(inside.status().unwrap().success(), "the stories failed");
    true
}

/// A running tcpdump.
pub(crate) struct Capture {
    child: Child,
    file: tempfile::TempDir,
}

impl Capture {
    /// Begins, where this process has a namespace and tcpdump; else prints the line that `scripts/test` counts.
    pub(crate) fn start() -> Option<Self> {
        if std::env::var_os(INSIDE).is_none() {
            println!("SKIPPED: captures need root, for a network namespace");
            return None;
        }
        let file = tempfile::tempdir().unwrap();
        let mut command = Command::new("tcpdump");
        command.args(["-i", "lo", "-n", "-s", "0", "-B", "65536", "-Z", "root", "-w"]);
        command.arg(file.path().join("lo.pcap")).arg("tcp");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            println!("SKIPPED: needs tcpdump (apt install tcpdump)");
            return None;
        };
        // It keeps its own end of the pipe, which is read to the end below.
        let mut lines = BufReader::new(child.stderr.as_mut().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "tcpdump ended");
        }
        Some(Capture { child, file })
    }

    /// Ends it; returns what passed.
    pub(crate) fn end(mut self) -> Vec<CapturedStream> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        self.child.wait().unwrap();
        let lost =
            words.lines().find(|line| line.contains("dropped by kernel")).unwrap_or_default().to_owned();
        println!("totals: tor: capture: {}", words.lines().collect::<Vec<_>>().join(", "));
        assert!(lost.starts_with("0 "), "packets are missing: {lost}");
        streams(&std::fs::read(self.path()).unwrap())
    }

    fn path(&self) -> PathBuf {
        self.file.path().join("lo.pcap")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one end of a connection sent.
pub(crate) struct CapturedStream {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) bytes: Vec<u8>,
    next: u32,
}

/// The streams of a capture in the format of libpcap, in the byte order of this machine: Ethernet, IPv4 or IPv6, TCP. What
/// was sent again counts once.
fn streams(capture: &[u8]) -> Vec<CapturedStream> {
    let mut streams: Vec<CapturedStream> = vec![];
    let mut open: HashMap<(u16, u16), usize> = HashMap::new();
    let mut rest = &capture[24..];
    while rest.len() >= 16 {
        let length = u32::from_ne_bytes(rest[8..12].try_into().unwrap()) as usize;
        let Some(packet) = rest.get(16..16 + length) else { break };
        rest = &rest[16 + length..];
        let Some(segment) = tcp(packet) else { continue };
        let (from, to) = (be16(&segment[0..2]), be16(&segment[2..4]));
        let sequence = u32::from_be_bytes(segment[4..8].try_into().unwrap());
        let payload = &segment[usize::from(segment[12] >> 4) * 4..];
        let is_first = segment[13] & 0x02 != 0;
        if is_first || !open.contains_key(&(from, to)) {
            open.insert((from, to), streams.len());
            streams.push(CapturedStream {
                from,
                to,
                bytes: vec![],
                next: sequence.wrapping_add(u32::from(is_first)),
            });
        }
        let stream = &mut streams[open[&(from, to)]];
        let known = stream.next.wrapping_sub(sequence) as usize;
        // A gap is passed over: tcpdump counts what it lost.
        let new: &[u8] = if known > payload.len() && known < 1 << 31 {
            &[]
        } else {
            payload.get(known..).unwrap_or(payload)
        };
        if !new.is_empty() {
            stream.bytes.extend(new);
            stream.next = sequence.wrapping_add(payload.len() as u32);
        }
    }
    streams
}

fn tcp(packet: &[u8]) -> Option<&[u8]> {
    let ip = packet.get(14..)?;
    let (start, end) = match be16(&packet[12..14]) {
        0x0800 => (usize::from(ip[0] & 15) * 4, usize::from(be16(&ip[2..4]))),
        0x86dd => (40, 40 + usize::from(be16(&ip[4..6]))),
        _ => return None,
    };
    // A length of 0 stands for a segment that the system cuts later.
    let end = if end <= start { ip.len() } else { end.min(ip.len()) };
    ip.get(start..end).filter(|segment| segment.len() >= 20)
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes.try_into().unwrap())
}

#[test]
fn a_stream_is_put_together_from_its_segments() {
    let segment = |sequence: u32, flags: u8, payload: &[u8]| {
        let mut tcp = vec![0; 20];
        tcp[0..4].copy_from_slice(&[0x23, 0x28, 0x00, 0x50]);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[12..14].copy_from_slice(&[0x50, flags]);
        tcp.extend(payload);
        let mut ip = vec![0x45, 0];
        ip.extend((20 + tcp.len() as u16).to_be_bytes());
        ip.resize(20, 0);
        let packet = [vec![0; 12], vec![8, 0], ip, tcp].concat();
        let mut record = vec![0; 8];
        record.extend((packet.len() as u32).to_ne_bytes());
        record.extend((packet.len() as u32).to_ne_bytes());
        [record, packet].concat()
    };
    let first = u32::MAX - 2;
    let capture = [
        vec![0; 24],
        segment(first, 2, b""),
        segment(first.wrapping_add(1), 0, b"secret "),
        segment(first.wrapping_add(1), 0, b"secret "),
        segment(first.wrapping_add(5), 0, b"et wo"),
        segment(first.wrapping_add(10), 0, b"rds"),
    ];
    let found = streams(&capture.concat());
    assert_eq!((found.len(), found[0].from, found[0].to), (1, 9000, 80));
    assert_eq!(String::from_utf8_lossy(&found[0].bytes), "secret words");
}
