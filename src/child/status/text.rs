//! The report as plain text, for people at a terminal.

use std::fmt::Write;

use wire::status::{GroupStatus, StatusReport, WorkerStatus};

use config::error::show;

use super::{micros, resident, seconds, threads};

/// The whole page. Writing to a `String` cannot fail.
pub fn write(report: &StatusReport) -> String {
    let mut out = String::new();
    if report.pid == 0 {
        out.push_str("mod_wsgi: no process groups are configured\n");
        return out;
    }
    let _ = writeln!(
        out,
        "mod_wsgi: supervisor {}, up {}, {}",
        report.pid,
        span(seconds(report.age)),
        bytes(report.resident),
    );
    for group in &report.groups {
        of_group(&mut out, group);
    }
    if report.is_cut {
        out.push_str("\nThere is more, left out here.\n");
    }
    out
}

fn of_group(out: &mut String, group: &GroupStatus) {
    let (busy, all) = threads(group);
    let _ = write!(
        out,
        "\ngroup {}: {}, generation {}, user id {}",
        show(&group.name),
        group.state.word(),
        group.generation,
        group.uid
    );
    if group.next_start > 0 {
        let _ = write!(out, ", next start in {}", span(seconds(group.next_start)));
    }
    let waiting = group.waiting.map_or("?".into(), |count| count.to_string());
    let totals = &group.totals;
    let _ = writeln!(
        out,
        "\n  threads busy {busy} of {all}, waiting {waiting}, requests {}, memory {}",
        totals.requests,
        bytes(resident(group)),
    );
    let _ = writeln!(
        out,
        "  processes {} of {}, started {}, replaced {}, died {}",
        group.workers.len(),
        group.processes,
        group.starts,
        group.replacements,
        group.deaths,
    );
    if totals.requests > 0 {
        let mean = |sum: u64| span(micros(sum) / totals.requests as f64);
        let (ran, queued) = (mean(totals.busy), mean(totals.queued));
        let _ = writeln!(
            out,
            "  a request took {ran} on average, after {queued} in the queue"
        );
    }
    if !group.reason.is_empty() {
        let _ = writeln!(out, "  because {}", show(&group.reason));
    }
    if let Some((age, line)) = &group.last_error {
        let _ = writeln!(out, "  {} ago {}", span(seconds(*age)), show(line));
    }
    for worker in &group.workers {
        of_worker(out, worker, group.threads);
    }
}

fn of_worker(out: &mut String, worker: &WorkerStatus, threads: u32) {
    let _ = write!(
        out,
        "  pid {} generation {} {}, up {}, {}, requests {}, threads busy {} of {threads}",
        worker.pid,
        worker.generation,
        worker.state.word(),
        span(seconds(worker.age)),
        bytes(worker.resident),
        worker.totals.requests,
        worker.busy,
    );
    if !worker.reason.is_empty() {
        let _ = write!(out, ", to be replaced: {}", show(&worker.reason));
    }
    if let Some((number, age)) = worker.last_error {
        let _ = write!(out, ", WSGI{number:04} {} ago", span(seconds(age)));
    }
    out.push('\n');
    for request in &worker.running {
        let _ = write!(
            out,
            "    thread {} for {}: {}, queued {}",
            request.thread,
            span(micros(request.age)),
            line(&request.line),
            span(micros(request.queue_time)),
        );
        if !request.application_group.is_empty() {
            let _ = write!(out, ", in {}", show(&request.application_group));
        }
        out.push('\n');
    }
}

/// Method and path. The worker may be changing them while they are read.
pub fn line(line: &[u8]) -> String {
    if line.is_empty() {
        "(beginning)".into()
    } else {
        show(line)
    }
}

/// A length of time, rounded for people: `3 ms`, `5.2 s`, `65 s`, `2 h 5 min`.
pub fn span(seconds: f64) -> String {
    const DAY: u64 = 86_400;
    let whole = seconds as u64;
    if seconds < 0.01 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if whole < 600 {
        format!("{whole} s")
    } else if whole < 2 * 3600 {
        format!("{} min", whole / 60)
    } else if whole < 2 * DAY {
        format!("{} h {} min", whole / 3600, whole / 60 % 60)
    } else {
        format!("{} d {} h", whole / DAY, whole / 3600 % 24)
    }
}

/// A size: `31.2 MiB`.
pub fn bytes(size: u64) -> String {
    format!("{:.1} MiB", size as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::supervisor::sample_report;

    #[test]
    fn a_page_is_lines_of_text() {
        let page = write(&sample_report::report());
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(
            lines,
            [
                "mod_wsgi: supervisor 4000, up 2 h 5 min, 3.0 MiB",
                "",
                "group sh\"op: ready, generation 2, user id 1001",
                "  threads busy 1 of 15, waiting 0, requests 1234, memory 32.0 MiB",
                "  processes 1 of 1, started 4, replaced 2, died 1",
                "  a request took 4.5 ms on average, after 0.2 ms in the queue",
                "  12.0 s ago WSGI0339: worker 4710 was killed",
                "  pid 4711 generation 2 ready, up 65 s, 32.0 MiB, requests 1234, threads busy 1 of \
                 15, WSGI0312 9.0 s ago",
                "    thread 3 for 5.2 s: GET /a\"b<c>\\d\\n\\xff, queued 0.3 ms, in shop.example|",
            ]
        );
    }

    #[test]
    fn times_are_for_people() {
        for (seconds, said) in [
            (0.0, "0.0 ms"),
            (0.25, "250 ms"),
            (59.94, "59.9 s"),
            (61.0, "61 s"),
            (7199.0, "119 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(span(seconds), said);
        }
    }
}
