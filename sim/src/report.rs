//! What a run did, in figures.

use std::collections::BTreeMap;
use std::fmt;

use crate::faults::FaultCounts;
use crate::{HOUR, WireTraffic};
use tombolo::time::Millis;

/// One run, or several added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// The number of runs.
    pub runs: u64,
    /// The number of machines.
    pub machines: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes that were rightly refused: the writer may only read, or does not know the document yet.
    pub refused: u64,
    /// Virtual time with all faults on.
    pub faulty: Millis,
    /// Virtual time from the end of the faults to one content everywhere; the longest, of several.
    pub converged: Millis,
    /// Messages handed to the wires.
    pub messages: u64,
    /// The bytes of those messages.
    pub bytes: u64,
    /// Frames handed to radios.
    pub frames: u64,
    /// The faults that were injected.
    pub faults: FaultCounts,
    /// What the nodes refused, by reason.
    pub rejections: BTreeMap<String, u64>,
    /// The digest of everything that happened; of several runs, that of the last.
    pub digest: String,
    /// What must never happen and did.
    pub wrongs: Vec<String>,
}

impl RunReport {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &RunReport) {
        self.runs += other.runs;
        self.machines += other.machines;
        self.writes += other.writes;
        self.refused += other.refused;
        self.faulty += other.faulty;
        self.converged = self.converged.max(other.converged);
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.faults.add(&other.faults);
        for (reason, count) in &other.rejections {
            *self.rejections.entry(reason.clone()).or_default() += count;
        }
        self.digest.clone_from(&other.digest);
        self.wrongs.extend(other.wrongs.iter().cloned());
    }

    /// Takes the figures of the wires.
    pub fn carry(&mut self, traffic: WireTraffic) {
        self.messages = traffic.messages;
        self.bytes = traffic.bytes;
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.faulty / HOUR;
        write!(
            f,
            "{} runs, {} machines, {hours} virtual hours with faults, {} writes acknowledged, {} refused, {} messages ({} kB), {} frames, \
             in step at most {} ms after the faults; {} faults: {}",
            self.runs,
            self.machines,
            self.writes,
            self.refused,
            self.messages,
            self.bytes / 1000,
            self.frames,
            self.converged.ms(),
            self.faults.total(),
            self.faults,
        )?;
        if !self.rejections.is_empty() {
            write!(f, "; rejections: {:?}", self.rejections)?;
        }
        Ok(())
    }
}
