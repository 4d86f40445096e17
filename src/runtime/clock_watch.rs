//! Informs the node when the kernel begins or ceases to count the clock of this machine as synchronised. Where the kernel does not show it to this
//! process, as in the systemd unit, whose `ProtectClock=` forbids adjtimex(2), the programs are asked that may ask it.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{NodeClient, Task};
use crate::clock::KernelClock;
use crate::io::Input;
use crate::system_clock::{kernel_clock, next_look};

/// How often programs are asked: each start of one costs an idle machine more than a look at the kernel.
const PROGRAMS_EVERY: Duration = Duration::from_secs(600);
/// How long a program may take to answer.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked whether it has ended.
const PROGRAM_PAUSE: Duration = Duration::from_millis(10);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The task that asks; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    _task: JoinSet<()>,
}

impl ClockWatch {
    /// Starts to watch.
    pub(crate) fn start(client: NodeClient) -> Self {
        let mut task = JoinSet::new();
        task.spawn(watch(client));
        ClockWatch { _task: task }
    }
}

async fn watch(client: NodeClient) {
    let mut told = None;
    let mut of_programs: Option<(KernelClock, Instant)> = None;
    loop {
        let clock = match (kernel_clock(), of_programs) {
            (KernelClock::Unknown, Some((answer, at))) if at.elapsed() < PROGRAMS_EVERY => answer,
            (KernelClock::Unknown, _) => {
                let asked = tokio::task::spawn_blocking(told_by_programs);
                let answer = asked.await.unwrap_or(KernelClock::Unknown);
                of_programs = Some((answer, Instant::now()));
                answer
            }
            (known, _) => known,
        };
        let is_synchronised = clock == KernelClock::Synchronised;
        if told.replace(is_synchronised) != Some(is_synchronised) {
            let input = Input::ClockSynchronised(is_synchronised);
            if client.send(Task::Input(input)).await.is_err() {
                return;
            }
        }
        tokio::time::sleep_until(next_look()).await;
    }
}

/// What `timedatectl`, else `chronyc`, show of the clock; blocks for some seconds at most.
pub(crate) fn told_by_programs() -> KernelClock {
    let timedatectl = output_of("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
    match timedatectl.as_deref().map(str::trim) {
        Some("yes") => return KernelClock::Synchronised,
        Some("no") => return KernelClock::NotSynchronised,
        _ => {}
    }
    // The last field of the line is the leap status.
    let chrony = output_of("chronyc", &["-c", "tracking"]);
    match chrony.as_deref().and_then(|line| line.trim().rsplit(',').next()) {
        Some("Normal") => KernelClock::Synchronised,
        Some("Not synchronised") => KernelClock::NotSynchronised,
        _ => KernelClock::Unknown,
    }
}

/// The output of a program that ends in time and well.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < PROGRAM_TIMEOUT => std::thread::sleep(PROGRAM_PAUSE),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut output = String::new();
    child.stdout.take()?.take(ANSWER_BYTES_MAX).read_to_string(&mut output).ok()?;
    status.success().then_some(output)
}
