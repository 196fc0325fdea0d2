//! The status of process groups, for people and for programs.
//!
//! Runs in: an Apache child, on the thread that serves the request. Two ways lead here: the handler
//! `wsgi-status`, and mod_status, whose page gets a section. Both ask the supervisor, wait for it a
//! second at most, and write what it said; no Python and no worker is involved. Counters and the
//! lines of requests come from applications and from clients, so all of it is escaped, whatever
//! the form.

mod json;
mod metrics;
mod section;
mod text;

use std::time::Duration;

use wire::log_id::STATUS_UNAVAILABLE;
use wire::response::Level;
use wire::status::{GroupStatus, State, StatusReport};

use httpd::hooks::{HookStatus, StatusPage};
use httpd::request::Request;
use httpd::response_writer::{self, AfterWrite, ResponseWriter};

use super::active_configuration::ActiveConfiguration;
use super::request_log::write_log;
use super::supervisor::status_query;

/// The handler.
pub const HANDLER: &[u8] = b"wsgi-status";

/// Longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(1);

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Metrics,
}

impl Form {
    fn asked_by(query: &[u8]) -> Form {
        let has = |word: &[u8]| {
            query
                .split(|&byte| byte == b'&')
                .any(|part| part.split(|&byte| byte == b'=').next() == Some(word))
        };
        if has(b"json") {
            Form::Json
        } else if has(b"metrics") {
            Form::Metrics
        } else {
            Form::Text
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Form::Text => "text/plain; charset=utf-8",
            Form::Json => "application/json",
            Form::Metrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn write(self, report: &StatusReport) -> String {
        match self {
            Form::Text => text::write(report),
            Form::Json => json::write(report),
            Form::Metrics => metrics::write(report),
        }
    }
}

/// The handler hook, for requests whose handler is [`HANDLER`].
pub fn handle(request: Request<'_>, active: &ActiveConfiguration) -> HookStatus {
    if !request.is_get() {
        return HookStatus::status(405);
    }
    let form = Form::asked_by(request.args().unwrap_or_default());
    let (media_type, body) = match report(active) {
        Ok(report) => (form.media_type(), form.write(&report)),
        Err(sentence) => {
            write_log(request, Level::Error, sentence.as_bytes());
            request.set_status(503);
            (Form::Text.media_type(), format!("{sentence}\n"))
        }
    };
    // Cannot fail: these texts contain no NUL byte.
    let _ = request.set_content_type(media_type.as_bytes());
    let _ = request.headers_out().set(b"Cache-Control", b"no-store");
    request.set_content_length(body.len() as u64);
    // An error means only that the client has left.
    let _ = ResponseWriter::of(request).send(&[body.as_bytes()], AfterWrite::End);
    HookStatus::OK
}

/// The section of mod_status's page.
pub fn section(request: Request<'_>, page: StatusPage, active: &ActiveConfiguration) {
    // Without process groups the page gets no section.
    if active.status.is_none() {
        return;
    }
    response_writer::print(request, section::write(&report(active), page).as_bytes());
}

/// The supervisor's report, or a sentence for the log.
fn report(active: &ActiveConfiguration) -> Result<StatusReport, String> {
    let Some(path) = &active.status else {
        return Ok(StatusReport {
            pid: 0,
            age: 0,
            resident: 0,
            is_cut: false,
            groups: Vec::new(),
        });
    };
    status_query::query_status(path, LIMIT).map_err(|why| {
        format!(
            "{STATUS_UNAVAILABLE}: The supervisor does not tell how process groups are: {why}. Look \
             for lines of the supervisor in the error log."
        )
    })
}

/// Threads of a group: at work, and all those that take requests.
fn threads(group: &GroupStatus) -> (u64, u64) {
    let busy = group.workers.iter().map(|worker| u64::from(worker.busy));
    let ready = group.workers.iter().filter(|w| w.state == State::Ready);
    (busy.sum(), ready.count() as u64 * u64::from(group.threads))
}

/// Memory of a group's processes, in bytes. Pages they share count for each.
fn resident(group: &GroupStatus) -> u64 {
    let all = group.workers.iter().map(|worker| worker.resident);
    all.fold(0, u64::saturating_add)
}

/// The age of the request that has run longest, in microseconds; 0 if none runs.
fn oldest(group: &GroupStatus) -> u64 {
    let running = group.workers.iter().flat_map(|worker| &worker.running);
    running.map(|request| request.age).max().unwrap_or(0)
}

/// Milliseconds as seconds.
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

/// Microseconds as seconds.
fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::supervisor::sample_report;

    #[test]
    fn the_query_chooses_the_form() {
        for (query, form) in [
            (&b""[..], Form::Text),
            (b"json", Form::Json),
            (b"x=1&json", Form::Json),
            (b"metrics", Form::Metrics),
            (b"metrics=", Form::Metrics),
            (b"jsonp", Form::Text),
        ] {
            assert_eq!(Form::asked_by(query), form);
        }
    }

    #[test]
    fn every_form_takes_any_numbers_and_any_bytes() {
        let mut report = sample_report::report();
        let group = &mut report.groups[0];
        let hostile: Vec<u8> = (0..=255).collect();
        group.name = hostile.clone().into();
        group.reason = hostile.clone().into();
        group.totals.busy = u64::MAX;
        group.totals.requests = u64::MAX;
        group.next_start = u64::MAX;
        let worker = &mut group.workers[0];
        worker.resident = u64::MAX;
        worker.age = u64::MAX;
        worker.last_error = Some((u32::MAX, u64::MAX));
        worker.busy = u32::MAX;
        worker.running[0].age = u64::MAX;
        worker.running[0].line = hostile.into();
        group.workers.push(group.workers[0].clone());
        for form in [Form::Text, Form::Json, Form::Metrics] {
            let text = form.write(&report);
            let odd = |c: char| c.is_control() && c != '\n';
            assert!(!text.contains(odd), "{text:?}");
        }
        assert_eq!(resident(&report.groups[0]), u64::MAX);
    }
}
