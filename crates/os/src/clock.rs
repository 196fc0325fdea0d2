//! Clocks. Timers and limits use [`monotonic`]; the epoch is for stamps that people or other
//! processes read.

use std::time::Duration;

fn read(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec to write to.
    let done = unsafe { libc::clock_gettime(clock, &mut now) };
    debug_assert_eq!(done, 0, "the clocks used here always exist");
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Time since some point before this process began; never goes back, not set by anybody, and the
/// same in all processes of the machine.
pub fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// [`monotonic`] in milliseconds.
pub fn monotonic_ms() -> u64 {
    monotonic().as_millis() as u64
}

/// [`monotonic`] in microseconds.
pub fn monotonic_us() -> u64 {
    monotonic().as_micros() as u64
}

/// Time since the machine was started, with the time it was suspended: the clock by which the
/// kernel says when a process was started.
pub fn since_boot() -> Duration {
    read(libc::CLOCK_BOOTTIME)
}

/// Time since 1970 in UTC. May jump.
pub fn epoch() -> Duration {
    read(libc::CLOCK_REALTIME)
}

/// [`epoch`] in microseconds.
pub fn epoch_us() -> u64 {
    epoch().as_micros() as u64
}

/// A moment in local time, as the calendar has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    pub year: i32,
    /// 0 is January.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// 0 is Sunday.
    pub weekday: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

/// Local time of a moment since 1970, by the process's `TZ`.
pub fn local(since_epoch: Duration) -> Calendar {
    let seconds = since_epoch.as_secs() as libc::time_t;
    // SAFETY: all-zero is a valid `tm`: integers, and a null zone name.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values; on failure `tm` stays all-zero, which is valid.
    unsafe { libc::localtime_r(&seconds, &mut tm) };
    Calendar {
        year: tm.tm_year + 1900,
        month: tm.tm_mon as u8,
        day: tm.tm_mday as u8,
        weekday: tm.tm_wday as u8,
        hour: tm.tm_hour as u8,
        minute: tm.tm_min as u8,
        second: tm.tm_sec as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let first = monotonic();
        assert!(monotonic() >= first);
        assert!(monotonic_us() / 1000 <= monotonic_ms());
    }

    #[test]
    fn the_epoch_is_this_century() {
        assert!((2020..2100).contains(&local(epoch()).year));
    }
}
