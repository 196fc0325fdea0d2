//! Asks the supervisor how a worker died that had begun with a request.
//!
//! Runs in: an Apache child, on the thread whose request failed because of that. The supervisor
//! learns of a death a moment after the connection has ended, so it is asked a few times. If it
//! reports no death, the worker has probably only closed the connection, and nobody asks again for
//! a while. The answer is an addition to a log line: the request has failed in any case.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use os::clock;
use wire::log_id::{WORKER_DIED, WORKER_KILLED};
use wire::status::StatusReport;

use super::status_query;

/// Pauses before each query, in milliseconds. The first suffices unless the machine is busy. The
/// supervisor repeats a report for a tenth of a second, so the later ones are longer than that.
const PAUSES: [u64; 4] = [5, 115, 120, 240];
/// Time limit of one query.
const LIMIT: Duration = Duration::from_millis(500);
/// The same if part of the response was sent: its client should see at once that it is broken.
const PAUSES_AT_ONCE: [u64; 1] = [3];
const LIMIT_AT_ONCE: Duration = Duration::from_millis(20);
/// How long nobody asks after queries that reported no death, in milliseconds.
const QUIET: u64 = 5000;

/// The supervisor's line on the last death in the group since `begun`, if there was one.
pub fn how_a_worker_died(
    path: &[u8],
    group: &[u8],
    begun: Duration,
    at_once: bool,
) -> Option<String> {
    static NOT_BEFORE: AtomicU64 = AtomicU64::new(0);
    if clock::monotonic_ms() < NOT_BEFORE.load(Ordering::Relaxed) {
        return None;
    }
    let (pauses, limit) = match at_once {
        true => (&PAUSES_AT_ONCE[..], LIMIT_AT_ONCE),
        false => (&PAUSES[..], LIMIT),
    };
    for &pause in pauses {
        std::thread::sleep(Duration::from_millis(pause));
        // A supervisor that does not answer in time is busy.
        let Ok(report) = status_query::query_status(path, limit) else {
            break;
        };
        let since = clock::monotonic().saturating_sub(begun);
        if let Some(line) = death(&report, group, since) {
            return Some(line);
        }
    }
    if !at_once {
        NOT_BEFORE.store(clock::monotonic_ms() + QUIET, Ordering::Relaxed);
    }
    None
}

/// The last line about the group, where it is of a death and no older than `since`.
fn death(report: &StatusReport, group: &[u8], since: Duration) -> Option<String> {
    let group = report.groups.iter().find(|known| *known.name == *group)?;
    let (age, line) = group.last_error.as_ref()?;
    let line = line.text();
    let of_death = [WORKER_DIED, WORKER_KILLED]
        .iter()
        .any(|id| line.starts_with(&format!("{id}: ")));
    (of_death && u128::from(*age) <= since.as_millis()).then(|| line.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::sample_report;
    use super::*;

    #[test]
    fn only_a_death_since_the_request_came_is_told() {
        let mut report = sample_report::report();
        let name = report.groups[0].name.clone();
        let since = Duration::from_millis(300);
        for (line, age, how_a_worker_died) in [
            ("WSGI0339: worker 7 was killed by SIGSEGV", 299, true),
            ("WSGI0343: worker 7 did not leave in time", 0, true),
            ("WSGI0339: worker 7 was killed by SIGSEGV", 301, false),
            ("WSGI0341: no Python", 10, false),
        ] {
            report.groups[0].last_error = Some((age, line.into()));
            let said = death(&report, &name, since);
            assert_eq!(said.as_deref(), how_a_worker_died.then_some(line));
        }
        assert_eq!(death(&report, b"another", since), None);
        report.groups[0].last_error = None;
        assert_eq!(death(&report, &name, since), None);
    }

    #[test]
    fn without_a_supervisor_nothing_is_told() {
        assert_eq!(
            how_a_worker_died(b"/nonexistent/s", b"shop", Duration::ZERO, false),
            None
        );
    }
}
