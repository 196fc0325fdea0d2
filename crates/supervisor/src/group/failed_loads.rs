//! What a group does about scripts that cannot be loaded before a worker is ready.
//!
//! Runs in: the supervisor. While workers serve, a successor that fails to load its scripts exits,
//! and the workers go on. While none serves, the other scripts of the group must not wait for the
//! broken one: a worker reports what raised and becomes ready without it, and a script that ends or
//! hangs its worker is left out of the next start.

use std::time::Duration;

use wire::codec::Bytes;
use wire::control::ReplacementReason;
use wire::log_id::{SCRIPT_LEFT_OUT, SUCCESSOR_CANNOT_LOAD};
use wire::response::Level;

use super::Group;
use crate::worker::{EarlyLoad, Worker};

/// Maximum number of lines in the report of a script that can't be loaded.
const MAX_REPORT_LINES: usize = 300;

impl Group {
    /// A successor failed to load; the current workers keep serving. The same report is logged
    /// once, by a worker or here.
    pub(super) fn cannot_load(&mut self, pid: u32, report: Bytes, now: Duration) {
        self.loads.failed(now);
        if self.unloadable.as_ref() == Some(&report) {
            return;
        }
        let serves = |w: &Worker| w.is_ready() && w.has_loaded;
        let meanwhile = match self.workers.iter().any(serves) {
            true => "the workers of before go on with what they have loaded",
            false => {
                "no worker of the group has loaded a script, and requests for one that is broken get 500"
            }
        };
        let text = format!(
            "a successor cannot load its scripts and is not put into service: {meanwhile}. It is tried \
             again until it works"
        );
        self.note(Level::Error, SUCCESSOR_CANNOT_LOAD, &text);
        let failure = without_number(&report);
        let is_logged = |logged: &Bytes| without_number(logged) == failure;
        if !self.failed_loads.iter().any(is_logged) {
            for line in report.split(|&byte| byte == b'\n').take(MAX_REPORT_LINES) {
                self.log.write(Level::Error, pid, line);
            }
        }
        self.unloadable = Some(report);
    }

    /// Leaves the script that a worker was at out of the next starts, if the worker ended or hung
    /// because of it and no other worker serves. `how` says what became of the worker. False where
    /// no script is to blame, or others serve.
    pub(super) fn leave_out(&mut self, load: Option<EarlyLoad>, how: &str) -> bool {
        let Some(load) = load.filter(|load| load.generation == self.generation) else {
            return false;
        };
        let EarlyLoad { pid, script, .. } = load;
        if self.left_out.contains(&script) {
            // It was started before that was known.
            return true;
        }
        let is_listed = self.config.preload.iter().any(|(path, _)| *path == script);
        if !is_listed || self.serves() {
            return false;
        }
        let text = format!(
            "worker {pid} {how} while it loaded {} before it was ready; what it wrote stands above. The \
             next worker does not load that script before there is a request for it, so that the \
             group's other scripts are served",
            script.text()
        );
        self.note(Level::Error, SCRIPT_LEFT_OUT, &text);
        self.left_out.push(script);
        true
    }

    /// Whether a worker serves requests.
    pub(super) fn serves(&self) -> bool {
        let serves = |w: &Worker| w.is_ready() && w.leaving != Some(ReplacementReason::Stale);
        self.workers.iter().any(serves)
    }
}

/// A report without its number, which says only whether there was a request.
fn without_number(report: &Bytes) -> &[u8] {
    let number = report.iter().position(|&byte| byte == b':').unwrap_or(0);
    &report[number..]
}
