//! The report as OpenMetrics text, for Prometheus and its like.
//!
//! Numbers are per group: a label per process would make a new time series with each of them.

use std::fmt::{Display, Write};

use wire::status::{GroupStatus, State, StatusReport};

use super::{micros, oldest, resident, seconds, threads};

/// Kind of a family, as `# TYPE` has it.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// One family: its name, its unit or nothing, what it says, and each group's value.
struct Family {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    value: fn(&GroupStatus) -> Option<f64>,
}

const FAMILIES: &[Family] = &[
    Family {
        name: "wsgi_generation",
        kind: Kind::Gauge,
        unit: "",
        help: "Generation of the group, counted from 1 and raised by each restart of Apache.",
        value: |group| Some(group.generation.into()),
    },
    Family {
        name: "wsgi_processes_wanted",
        kind: Kind::Gauge,
        unit: "",
        help: "Processes the group is to have.",
        value: |group| Some(group.processes.into()),
    },
    Family {
        name: "wsgi_threads",
        kind: Kind::Gauge,
        unit: "",
        help: "Threads of processes that take requests.",
        value: |group| Some(threads(group).1 as f64),
    },
    Family {
        name: "wsgi_threads_busy",
        kind: Kind::Gauge,
        unit: "",
        help: "Threads that are at work on a request.",
        value: |group| Some(threads(group).0 as f64),
    },
    Family {
        name: "wsgi_waiting_connections",
        kind: Kind::Gauge,
        unit: "",
        help: "Requests that wait for a thread.",
        value: |group| group.waiting.map(f64::from),
    },
    Family {
        name: "wsgi_oldest_request_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        help: "How long the request has run that runs longest; 0 for none.",
        value: |group| Some(micros(oldest(group))),
    },
    Family {
        name: "wsgi_resident_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        help:
            "Memory of the group's processes that is not swapped out; what they share counts for \
               each.",
        value: |group| Some(resident(group) as f64),
    },
    Family {
        name: "wsgi_requests",
        kind: Kind::Counter,
        unit: "",
        help: "Requests that were run.",
        value: |group| Some(group.totals.requests as f64),
    },
    Family {
        name: "wsgi_request_run_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "Time that threads were at work on requests that have ended.",
        value: |group| Some(micros(group.totals.busy)),
    },
    Family {
        name: "wsgi_request_queue_seconds",
        kind: Kind::Counter,
        unit: "seconds",
        help: "Time that requests which have ended had waited for a thread.",
        value: |group| Some(micros(group.totals.queued)),
    },
    Family {
        name: "wsgi_process_starts",
        kind: Kind::Counter,
        unit: "",
        help: "Processes that were started.",
        value: |group| Some(group.starts as f64),
    },
    Family {
        name: "wsgi_process_replacements",
        kind: Kind::Counter,
        unit: "",
        help: "Processes that left in order and had a successor.",
        value: |group| Some(group.replacements as f64),
    },
    Family {
        name: "wsgi_process_deaths",
        kind: Kind::Counter,
        unit: "",
        help: "Processes that ended and were not to.",
        value: |group| Some(group.deaths as f64),
    },
];

/// The whole exposition.
pub fn write(report: &StatusReport) -> String {
    let mut out = String::new();
    let mut own = |name: &str, unit: &str, help: &str, value: f64| {
        describe(&mut out, name, "gauge", unit, help);
        sample(&mut out, name, "", &[], value);
    };
    own(
        "wsgi_supervisor_age_seconds",
        "seconds",
        "Time since the supervisor was started; all counters begin then.",
        seconds(report.age),
    );
    own(
        "wsgi_supervisor_resident_bytes",
        "bytes",
        "Memory of the supervisor that is not swapped out.",
        report.resident as f64,
    );
    own(
        "wsgi_report_complete",
        "",
        "0 where groups or processes had to be left out of this report.",
        f64::from(u8::from(!report.is_cut)),
    );
    states(&mut out, &report.groups);
    processes(&mut out, &report.groups);
    for family in FAMILIES {
        let (kind, suffix) = match family.kind {
            Kind::Gauge => ("gauge", ""),
            Kind::Counter => ("counter", "_total"),
        };
        describe(&mut out, family.name, kind, family.unit, family.help);
        for group in &report.groups {
            if let Some(value) = (family.value)(group) {
                let labels = [("group", &*group.name)];
                sample(&mut out, family.name, suffix, &labels, value);
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

fn states(out: &mut String, groups: &[GroupStatus]) {
    let name = "wsgi_group_state";
    describe(out, name, "stateset", "", "What the group is doing.");
    for group in groups {
        for state in State::ALL {
            let labels = [("group", &*group.name), (name, state.word().as_bytes())];
            let is = f64::from(u8::from(group.state == state));
            sample(out, name, "", &labels, is);
        }
    }
}

fn processes(out: &mut String, groups: &[GroupStatus]) {
    let name = "wsgi_processes";
    describe(out, name, "gauge", "", "Processes of the group, by state.");
    // Backing off is a state of the group; no process has it.
    for group in groups {
        for state in State::ALL.iter().filter(|&&s| s != State::BackingOff) {
            let labels = [("group", &*group.name), ("state", state.word().as_bytes())];
            let count = group.workers.iter().filter(|w| w.state == *state).count();
            sample(out, name, "", &labels, count as f64);
        }
    }
}

fn describe(out: &mut String, name: &str, kind: &str, unit: &str, help: &str) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = writeln!(out, "# HELP {name} {help}");
}

fn sample(out: &mut String, name: &str, suffix: &str, labels: &[(&str, &[u8])], value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    for (index, (label, text)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let _ = write!(out, "{before}{label}=\"{}\"", Escaped(text));
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

/// A label's value.
struct Escaped<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in String::from_utf8_lossy(self.0).chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                // The format allows control characters, but no reader expects them.
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::supervisor::sample_report;

    #[test]
    fn families_are_described_once_and_the_end_is_marked() {
        let mut report = sample_report::report();
        let mut second = report.groups[0].clone();
        second.name = "a\\b\nc".into();
        second.waiting = None;
        report.groups.push(second);
        let text = write(&report);
        for line in [
            "# TYPE wsgi_requests counter",
            "# HELP wsgi_requests Requests that were run.",
            "wsgi_requests_total{group=\"sh\\\"op\"} 1234",
            "wsgi_requests_total{group=\"a\\\\b\\nc\"} 1234",
            "# UNIT wsgi_request_run_seconds seconds",
            "wsgi_request_run_seconds_total{group=\"sh\\\"op\"} 5.5",
            "wsgi_group_state{group=\"sh\\\"op\",wsgi_group_state=\"ready\"} 1",
            "wsgi_group_state{group=\"sh\\\"op\",wsgi_group_state=\"backing-off\"} 0",
            "wsgi_processes{group=\"sh\\\"op\",state=\"ready\"} 1",
            "wsgi_waiting_connections{group=\"sh\\\"op\"} 0",
            "wsgi_supervisor_age_seconds 7500",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n") && !text.contains("\n\n"));
        assert!(!text.contains("wsgi_waiting_connections{group=\"a"));
        let mut described = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            assert!(!described.contains(&line), "{line}");
            described.push(line);
        }
    }
}
