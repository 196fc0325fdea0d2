//! The report as JSON, for programs. `docs/guides/status.md` describes it. New members may come;
//! existing ones keep their names and meaning.
//!
//! Runs in: an Apache child, on the thread that serves the request.

use std::fmt::{Display, Write};

use wire::status::{GroupStatus, RequestTotals, RunningRequest, StatusReport, WorkerStatus};

use super::{micros, resident, seconds, threads};

/// The whole document.
pub fn write(report: &StatusReport) -> String {
    let mut out = Json::default();
    out.object(|o| {
        o.member("version", 1);
        o.key("supervisor");
        o.object(|o| {
            o.member("pid", report.pid);
            o.member("age_seconds", seconds(report.age));
            o.member("resident_bytes", report.resident);
        });
        o.member("complete", !report.is_cut);
        o.key("groups");
        o.list(&report.groups, group);
    });
    out.text.push('\n');
    out.text
}

fn group(o: &mut Json, group: &GroupStatus) {
    let (busy, all) = threads(group);
    o.text_member("name", &group.name);
    o.member("generation", group.generation);
    o.text_member("state", group.state.word().as_bytes());
    o.optional_text("reason", &group.reason);
    o.member("next_start_seconds", seconds(group.next_start));
    o.member("user_id", group.uid);
    o.member("processes", group.processes);
    o.member("threads_per_process", group.threads);
    o.member("threads", all);
    o.member("threads_busy", busy);
    o.key("waiting");
    match group.waiting {
        Some(count) => o.value(count),
        None => o.value("null"),
    }
    totals(o, &group.totals);
    o.member("resident_bytes", resident(group));
    o.member("starts", group.starts);
    o.member("replacements", group.replacements);
    o.member("deaths", group.deaths);
    o.key("last_error");
    match &group.last_error {
        None => o.value("null"),
        Some((age, line)) => o.object(|o| {
            o.member("age_seconds", seconds(*age));
            o.text_member("text", line);
        }),
    }
    o.key("workers");
    o.list(&group.workers, worker);
}

fn totals(o: &mut Json, totals: &RequestTotals) {
    o.member("requests", totals.requests);
    o.member("busy_seconds", micros(totals.busy));
    o.member("queued_seconds", micros(totals.queued));
}

fn worker(o: &mut Json, worker: &WorkerStatus) {
    o.member("pid", worker.pid);
    o.member("generation", worker.generation);
    o.text_member("state", worker.state.word().as_bytes());
    o.optional_text("reason", &worker.reason);
    o.member("age_seconds", seconds(worker.age));
    o.member("resident_bytes", worker.resident);
    totals(o, &worker.totals);
    o.member("threads_busy", worker.busy);
    o.key("last_error");
    match worker.last_error {
        None => o.value("null"),
        Some((number, age)) => o.object(|o| {
            o.text_member("id", format!("WSGI{number:04}").as_bytes());
            o.member("age_seconds", seconds(age));
        }),
    }
    o.key("running");
    o.list(&worker.running, running);
}

fn running(o: &mut Json, request: &RunningRequest) {
    o.member("thread", request.thread);
    o.member("age_seconds", micros(request.age));
    o.member("queued_seconds", micros(request.queue_time));
    o.optional_text("request", &request.line);
    o.text_member("application_group", &request.application_group);
}

/// Writes a JSON document.
#[derive(Default)]
struct Json {
    text: String,
}

impl Json {
    fn comma(&mut self) {
        if !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    fn key(&mut self, name: &'static str) {
        self.comma();
        // Writing to a `String` cannot fail.
        let _ = write!(self.text, "\"{name}\":");
    }

    /// Writes a value as `Display` shows it: a number, `true`, `null`.
    fn value(&mut self, value: impl Display) {
        let _ = write!(self.text, "{value}");
    }

    fn member(&mut self, name: &'static str, value: impl Display) {
        self.key(name);
        self.value(value);
    }

    fn text_member(&mut self, name: &'static str, bytes: &[u8]) {
        self.key(name);
        self.string(bytes);
    }

    /// Writes a text member; `null` if it is empty.
    fn optional_text(&mut self, name: &'static str, bytes: &[u8]) {
        if bytes.is_empty() {
            self.member(name, "null");
        } else {
            self.text_member(name, bytes);
        }
    }

    /// Writes a string; bytes that are not UTF-8 are replaced.
    fn string(&mut self, bytes: &[u8]) {
        self.text.push('"');
        for c in String::from_utf8_lossy(bytes).chars() {
            match c {
                '"' | '\\' => self.text.extend(['\\', c]),
                // So that the document is harmless inside an HTML page.
                '<' | '>' | '&' => self.escape(c),
                c if c.is_control() => self.escape(c),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    fn escape(&mut self, c: char) {
        let _ = write!(self.text, "\\u{:04x}", u32::from(c));
    }

    fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.text.push('{');
        members(self);
        self.text.push('}');
    }

    fn list<T>(&mut self, items: &[T], members: impl Fn(&mut Self, &T)) {
        self.text.push('[');
        for item in items {
            self.comma();
            self.object(|o| members(o, item));
        }
        self.text.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::supervisor::sample_report;

    #[test]
    fn a_document_has_every_member_and_escapes() {
        let mut report = sample_report::report();
        report.groups[0].last_error = None;
        report.groups[0].waiting = None;
        let expected = concat!(
            r#"{"version":1,"supervisor":{"pid":4000,"age_seconds":7500,"resident_bytes":3145728},"#,
            r#""complete":true,"groups":[{"name":"sh\"op","generation":2,"state":"ready","#,
            r#""reason":null,"next_start_seconds":0,"user_id":1001,"processes":1,"#,
            r#""threads_per_process":15,"threads":15,"threads_busy":1,"waiting":null,"#,
            r#""requests":1234,"busy_seconds":5.5,"queued_seconds":0.25,"#,
            r#""resident_bytes":33554432,"starts":4,"replacements":2,"deaths":1,"#,
            r#""last_error":null,"workers":[{"pid":4711,"generation":2,"state":"ready","#,
            r#""reason":null,"age_seconds":65,"resident_bytes":33554432,"requests":1234,"#,
            r#""busy_seconds":5.5,"queued_seconds":0.25,"threads_busy":1,"#,
            r#""last_error":{"id":"WSGI0312","age_seconds":9},"running":[{"thread":3,"#,
            r#""age_seconds":5.2,"queued_seconds":0.0003,"#,
            r#""request":"GET /a\"b\u003cc\u003e\\d\u000a"#,
            "\u{fffd}",
            r#"","application_group":"shop.example|"}]}]}]}"#,
            "\n"
        );
        assert_eq!(write(&report), expected);
    }

    #[test]
    fn nothing_is_empty_lists() {
        let mut report = sample_report::report();
        report.groups.clear();
        assert!(write(&report).ends_with("\"complete\":true,\"groups\":[]}\n"));
    }
}
