//! The clocks of this machine: read here and nowhere else.

use crate::time::{Millis, Mono, Wall};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clock::{KernelClock, Now};

/// How often what nothing reports on is looked at: files, sockets, engines that are not there.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(15);

/// The next moment at which such a thing is looked at: one rhythm for all, so that an idle machine is woken once and not by each.
pub(crate) fn next_look() -> tokio::time::Instant {
    static START: OnceLock<tokio::time::Instant> = OnceLock::new();
    let now = tokio::time::Instant::now();
    let start = *START.get_or_init(|| now);
    let rounds = now.saturating_duration_since(start).as_secs() / LOOK_EVERY.as_secs() + 1;
    start + LOOK_EVERY * u32::try_from(rounds).unwrap_or(u32::MAX)
}

/// The time now. Where `machine_boot` is known, monotonic time continues from one run to the next, even if the wall clock
/// is set in between.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Now {
    static START: OnceLock<(Instant, Mono)> = OnceLock::new();
    let milliseconds = |d: Duration| Millis::from_ms(u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    let (start, up) = *START.get_or_init(|| (Instant::now(), up()));
    Now {
        mono: up + milliseconds(Instant::now().saturating_duration_since(start)),
        wall: Wall::default()
            + SystemTime::now().duration_since(UNIX_EPOCH).map_or(Millis::ZERO, milliseconds),
    }
}

/// Minutes from UTC to the local time of this machine now.
#[allow(clippy::disallowed_methods)]
#[cfg(feature = "cli")]
pub(crate) fn utc_offset_minutes() -> i32 {
    chrono::Local::now().offset().local_minus_utc() / 60
}

/// Whether the kernel counts the system clock as synchronised: its bound on the error is under the 16 s at which it gives up
/// (`NTP_PHASE_LIMIT`, adjtimex(2)). The flag `STA_UNSYNC` does not count, since some time services leave it to keep the kernel
/// from writing the hardware clock. The bound grows by 500 us a second once no service sets it, so the clock counts for nine hours more.
#[cfg(target_os = "linux")]
pub(crate) fn kernel_clock() -> KernelClock {
    const ERROR_US_MAX: i64 = 16_000_000;
    let mut reading = rtime_clock::adjtime::Timex::new();
    match rtime_clock::adjtime::adjtimex(&mut reading) {
        #[allow(clippy::useless_conversion)] // 32 bits on some machines
        Ok(_) if i64::from(reading.0.maxerror) < ERROR_US_MAX => KernelClock::Synchronised,
        Ok(_) => KernelClock::NotSynchronised,
        Err(_) => KernelClock::Unknown,
    }
}

/// Other kernels are not asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn kernel_clock() -> KernelClock {
    KernelClock::Unknown
}

/// The reading of the kernel's monotonic clock, the one behind [`Instant`], which does not show it; 0 where the boot is not
/// known.
fn up() -> Mono {
    let up = machine_boot().map(|_| rustix::time::clock_gettime(rustix::time::ClockId::Monotonic));
    let ms =
        |up: rustix::time::Timespec| up.tv_sec.saturating_mul(1_000).saturating_add(up.tv_nsec / 1_000_000);
    Mono::from_ms(up.and_then(|up| u64::try_from(ms(up)).ok()).unwrap_or(0))
}

/// The id of this boot of the machine, on Linux.
pub(crate) fn machine_boot() -> Option<[u8; 16]> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    static BOOT: OnceLock<Option<[u8; 16]>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let digits = std::fs::read_to_string(BOOT_ID).ok()?.trim().replace('-', "");
        data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
    })
}
