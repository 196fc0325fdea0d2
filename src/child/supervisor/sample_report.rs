//! A report for the unit tests.

use wire::log_id::WORKER_DIED;
use wire::status::{GroupStatus, RequestTotals, RunningRequest, State, StatusReport, WorkerStatus};

/// Of one group with one worker, which is busy with one request.
pub fn report() -> StatusReport {
    let totals = RequestTotals {
        requests: 1234,
        busy: 5_500_000,
        queued: 250_000,
    };
    let running = RunningRequest {
        thread: 3,
        age: 5_200_000,
        queue_time: 300,
        line: b"GET /a\"b<c>\\d\n\xff"[..].into(),
        application_group: "shop.example|".into(),
    };
    let worker = WorkerStatus {
        pid: 4711,
        generation: 2,
        state: State::Ready,
        reason: "".into(),
        age: 65_000,
        resident: 32 << 20,
        totals,
        last_error: Some((312, 9_000)),
        busy: 1,
        running: vec![running],
    };
    let died = format!("{WORKER_DIED}: worker 4710 was killed");
    let group = GroupStatus {
        name: "sh\"op".into(),
        generation: 2,
        state: State::Ready,
        reason: "".into(),
        next_start: 0,
        processes: 1,
        threads: 15,
        uid: 1001,
        waiting: Some(0),
        starts: 4,
        replacements: 2,
        deaths: 1,
        totals,
        last_error: Some((12_000, died.as_str().into())),
        workers: vec![worker],
    };
    StatusReport {
        pid: 4000,
        age: 7_500_000,
        resident: 3 << 20,
        is_cut: false,
        groups: vec![group],
    }
}
