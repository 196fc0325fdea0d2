//! What the supervisor tells those who ask how things are.

#![forbid(unsafe_code)]

mod harness;

use harness::{eventually, kill, Supervisor};
use wire::scoreboard;
use wire::status::State;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the fake worker show a request that runs.
fn show(supervisor: &Supervisor, path: &[u8]) {
    let cells: Vec<_> = (0..scoreboard::cells(3)).map(|_| 0.into()).collect();
    let begun = scoreboard::RequestStart {
        now: os::clock::monotonic_us(),
        queue_time: 7,
        method: b"GET",
        path,
        application_group: b"",
    };
    scoreboard::Scoreboard(&cells).describe(1, begun.now);
    scoreboard::Scoreboard(&cells).begin(2, &begun);
    let bytes: Vec<u8> = cells
        .into_iter()
        .flat_map(|cell: std::sync::atomic::AtomicU64| cell.into_inner().to_ne_bytes())
        .collect();
    let said = supervisor.ask("shop", &format!("board 0 {}", hex(&bytes)));
    assert_eq!(said, "ok");
}

#[test]
fn groups_workers_and_what_they_do_are_told() {
    let mut supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    let pid = supervisor.pid("shop");
    show(&supervisor, b"/cart?card=1");
    // The worker answers as soon as it can, which may be before the supervisor has heard that it does.
    let report = eventually("a request that runs in a group that is ready", || {
        let report = supervisor.status();
        let group = &report.groups[0];
        (group.state == State::Ready && group.workers[0].busy == 1).then_some(report)
    });
    assert_eq!(report.pid, supervisor.process.pid());
    assert!(report.resident > 0 && !report.is_cut);
    let group = &report.groups[0];
    assert_eq!((&*group.name, group.state), (&b"shop"[..], State::Ready));
    assert_eq!(
        (group.generation, group.processes, group.threads),
        (1, 1, 3)
    );
    assert_eq!((group.starts, group.deaths), (1, 0));
    assert!(matches!(group.waiting, None | Some(0)));
    let worker = &group.workers[0];
    assert_eq!((worker.pid, worker.state), (pid, State::Ready));
    assert!(worker.resident > 1 << 20);
    let running = &worker.running[0];
    assert_eq!((&*running.line, running.thread), (&b"GET /cart"[..], 2));
    supervisor.stop();
    supervisor.over();
}

#[test]
fn deaths_failures_and_waits_are_told() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    kill(supervisor.pid("shop"));
    let group = eventually("a death", || {
        let group = supervisor.status().groups.remove(0);
        (group.deaths == 1 && group.state == State::Ready).then_some(group)
    });
    assert_eq!(group.starts, 2);
    let (_, line) = group.last_error.unwrap();
    assert!(line.starts_with(b"WSGI0339: worker "), "{}", line.text());
    supervisor
        .configure(&[supervisor.group("shop", "crash")])
        .unwrap();
    let group = eventually("a failed successor", || {
        let group = supervisor.status().groups.remove(0);
        (group.generation == 2 && !group.reason.is_empty()).then_some(group)
    });
    assert_eq!(group.state, State::Ready);
    assert!(
        group.reason.starts_with(b"WSGI0338: "),
        "{}",
        group.reason.text()
    );
    kill(group.workers[0].pid);
    let group = eventually("nobody", || {
        let group = supervisor.status().groups.remove(0);
        (group.state == State::BackingOff).then_some(group)
    });
    assert!(group.next_start <= 5000);
}

#[test]
fn noise_on_a_board_is_read_as_numbers() {
    let mut supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    supervisor.pid("shop");
    show(&supervisor, b"/");
    std::thread::scope(|scope| {
        let noise = scope.spawn(|| supervisor.ask("shop", "noise"));
        while !noise.is_finished() {
            let report = supervisor.status();
            for running in &report.groups[0].workers[0].running {
                assert!(running.line.len() <= scoreboard::MAX_LINE);
            }
        }
        let size: usize = noise.join().unwrap().parse().unwrap();
        assert_eq!(size, scoreboard::cells(3) * 8);
    });
    supervisor.stop();
    supervisor.over();
}

#[test]
fn many_who_ask_at_once_are_all_told() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(supervisor.status().groups.len(), 1);
                }
            });
        }
    });
}
