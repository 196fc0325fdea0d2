//! The section in the page of mod_status: a table, or lines of `Name: value` for `?auto`.

use std::fmt::Write;

use wire::status::{GroupStatus, StatusReport};

use config::error::show;
use httpd::hooks::StatusPage;

use super::text::{bytes, line, span};
use super::{micros, resident, seconds, threads};

/// The section, or a sentence on why there is none. Writing to a `String` cannot fail.
pub fn write(report: &Result<StatusReport, String>, page: StatusPage) -> String {
    let mut out = String::new();
    match (report, page.is_short) {
        (Ok(report), true) => lines(&mut out, report),
        (Ok(report), false) => table(&mut out, report, page.is_extended),
        // The sentence names files, which readers of `?auto` need not know.
        (Err(_), true) => out.push_str("WsgiGroups: unknown\n"),
        (Err(sentence), false) => {
            let _ = writeln!(out, "{HEADING}<p>{}</p>", html(sentence));
        }
    }
    out
}

const HEADING: &str = "<hr />\n<h2>Python process groups (mod_wsgi)</h2>\n";

fn lines(out: &mut String, report: &StatusReport) {
    let _ = writeln!(out, "WsgiGroups: {}", report.groups.len());
    for (index, group) in report.groups.iter().enumerate() {
        let (busy, all) = threads(group);
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(out, "WsgiGroup[{index}]{name}: {value}");
        };
        line("Name", &show(&group.name));
        line("State", &group.state.word());
        line("Generation", &group.generation);
        line("Processes", &group.workers.len());
        line("ThreadsBusy", &busy);
        line("ThreadsTotal", &all);
        if let Some(waiting) = group.waiting {
            line("Waiting", &waiting);
        }
        line("Requests", &group.totals.requests);
        line("Starts", &group.starts);
        line("Deaths", &group.deaths);
        line("ResidentBytes", &resident(group));
    }
}

fn table(out: &mut String, report: &StatusReport, is_extended: bool) {
    out.push_str(HEADING);
    let _ = write!(
        out,
        "<p>Supervisor {}, up {}</p>\n<table border=\"1\"><tr><th>Group</th><th>State</th>\
         <th>Generation</th><th>Processes</th><th>Threads busy</th><th>Waiting</th>\
         <th>Requests</th><th>Started</th><th>Died</th><th>Memory</th></tr>\n",
        report.pid,
        span(seconds(report.age)),
    );
    for group in &report.groups {
        let (busy, all) = threads(group);
        let waiting = group.waiting.map_or("?".into(), |count| count.to_string());
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{} of {}</td><td>{busy} of {all}</td>\
             <td>{waiting}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            html(&show(&group.name)),
            group.state.word(),
            group.generation,
            group.workers.len(),
            group.processes,
            group.totals.requests,
            group.starts,
            group.deaths,
            bytes(resident(group)),
        );
    }
    out.push_str("</table>\n");
    // mod_status itself shows requests with ExtendedStatus only.
    if is_extended {
        requests(out, &report.groups);
    }
}

fn requests(out: &mut String, groups: &[GroupStatus]) {
    let running: Vec<_> = groups
        .iter()
        .flat_map(|group| group.workers.iter().map(move |worker| (group, worker)))
        .flat_map(|(group, worker)| worker.running.iter().map(move |r| (group, worker, r)))
        .collect();
    if running.is_empty() {
        return;
    }
    out.push_str(
        "<table border=\"1\"><tr><th>Group</th><th>PID</th><th>Thread</th><th>For</th>\
         <th>Queued</th><th>Request</th></tr>\n",
    );
    for (group, worker, request) in running {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            html(&show(&group.name)),
            worker.pid,
            request.thread,
            span(micros(request.age)),
            span(micros(request.queue_time)),
            html(&line(&request.line)),
        );
    }
    out.push_str("</table>\n");
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // mod_status says ISO-8859-1.
            c if !c.is_ascii() => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::supervisor::sample_report;

    const PAGE: StatusPage = StatusPage {
        is_short: false,
        is_extended: true,
    };

    #[test]
    fn a_table_shows_requests_where_mod_status_does_and_escapes_them() {
        let page = write(&Ok(sample_report::report()), PAGE);
        assert!(page.contains("<td>sh&quot;op</td><td>ready</td>"), "{page}");
        assert!(
            page.contains("<td>GET /a&quot;b&lt;c&gt;\\d\\n\\xff</td>"),
            "{page}"
        );
        let plain = StatusPage {
            is_extended: false,
            ..PAGE
        };
        assert!(!write(&Ok(sample_report::report()), plain).contains("GET"));
        let page = write(&Err("no <supervisor>".into()), PAGE);
        assert!(page.contains("<p>no &lt;supervisor&gt;</p>"), "{page}");
    }

    #[test]
    fn automatic_readers_get_lines() {
        let short = StatusPage {
            is_short: true,
            ..PAGE
        };
        let page = write(&Ok(sample_report::report()), short);
        assert!(
            page.contains("WsgiGroup[0]ThreadsBusy: 1\n") && !page.contains('<'),
            "{page}"
        );
        assert!(page.lines().all(|line| line.contains(": ")));
        assert_eq!(write(&Err(String::new()), short), "WsgiGroups: unknown\n");
    }
}
