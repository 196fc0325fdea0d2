//! The stack of a thread, as Python's faulthandler writes it.
//!
//! Runs in: the main thread, or the thread that handles the supervisor's messages while the main
//! thread loads scripts.

use std::fmt;
use std::time::Duration;

use os::dump::{Dumps, Scope};
use os::signal::Thread;

/// Frames of ours, which say nothing about the application.
const OWN: &str = "<mod_wsgi ";
/// Functions that run a server: those in files of such a name, and those of such a name.
const SERVERS: [&str; 12] = [
    "/werkzeug/serving.py",
    "/wsgiref/simple_server.py",
    "/socketserver.py",
    "/waitress/server.py",
    "/cheroot/server.py",
    "/gevent/baseserver.py",
    "/eventlet/wsgi.py",
    "/tornado/ioloop.py",
    "/tornado/platform/asyncio.py",
    "/uvicorn/server.py",
    "/hypercorn/run.py",
    "/gunicorn/arbiter.py",
];
const SERVES: [&str; 3] = ["serve_forever", "run_simple", "run_forever"];
/// Parts of the names of files that are not written for one site.
const FOREIGN: [&str; 4] = [
    "/site-packages/",
    "/dist-packages/",
    "/lib/python3",
    "<frozen ",
];

/// Lines of text, the innermost frame first.
pub struct Stack {
    pub text: String,
}

/// One frame: `  File "/srv/shop/views.py", line 210 in report`.
#[derive(Clone, Copy)]
struct Frame<'a> {
    file: &'a str,
    line: &'a str,
    function: &'a str,
}

impl<'a> Frame<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let rest = line.strip_prefix("  File \"")?;
        let (file, rest) = rest.rsplit_once("\", line ")?;
        let (line, function) = rest.split_once(" in ")?;
        let frame = Frame {
            file,
            line,
            function,
        };
        (!file.starts_with(OWN)).then_some(frame)
    }

    fn serves(&self) -> bool {
        SERVERS.iter().any(|name| self.file.ends_with(name)) || SERVES.contains(&self.function)
    }

    fn is_foreign(&self) -> bool {
        FOREIGN.iter().any(|part| self.file.contains(part))
    }
}

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.function, self.file, self.line)
    }
}

/// How long a thread may take to show its stack.
const SHOW: Duration = Duration::from_millis(200);
/// Most bytes of a stack in a log record.
const MOST: usize = 16 * 1024;

impl Stack {
    /// The stack of a thread, or of all; empty if it cannot be had.
    pub fn of(dumps: &mut Option<Dumps>, thread: Thread, scope: Scope) -> Self {
        let shown = dumps.as_mut().map(|dumps| dumps.ask(thread, scope, SHOW));
        Self::read(&shown.unwrap_or_default(), MOST)
    }

    /// Cuts what is longer than `most` bytes.
    fn read(shown: &[u8], most: usize) -> Self {
        let shown = &shown[..shown.len().min(most)];
        let text = String::from_utf8_lossy(shown);
        let frames: Vec<_> = text
            .lines()
            .filter(|line| !line.contains(OWN) && !line.starts_with("Stack (most"))
            .collect();
        Self {
            text: frames.join("\n"),
        }
    }

    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.text.lines().filter_map(Frame::read)
    }

    /// The thread is in no Python code.
    pub fn is_empty(&self) -> bool {
        self.frames().next().is_none()
    }

    /// `, now in wait (/srv/db.py:728), called by report (/srv/views.py:210)`; nothing where it is
    /// not known.
    pub fn place(&self) -> String {
        let mut frames = self.frames();
        match (frames.next(), frames.next()) {
            (None, _) => String::new(),
            (Some(inner), None) => format!(", now in {inner}"),
            (Some(inner), Some(outer)) => format!(", now in {inner}, called by {outer}"),
        }
    }

    /// The function of the thread that runs a server, and its caller: `, run_simple
    /// (/srv/venv/.../serving.py:1093), called by <module> (/srv/shop/shop.py:53)`.
    pub fn server(&self) -> Option<String> {
        let frames: Vec<_> = self.frames().collect();
        let outermost = frames.iter().rposition(Frame::serves)?;
        let (server, callers) = (frames[outermost], &frames[outermost + 1..]);
        Some(match callers.iter().find(|frame| !frame.is_foreign()) {
            Some(own) => format!(", {server}, called by {own}"),
            None => format!(", {server}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_frames_of_the_application_are_named() {
        let shown = b"Stack (most recent call first):\n  File \"/srv/a \", line b.py\", line 7 in wait\n  \
                      File \"/srv/views.py\", line 210 in report\n  File \"<mod_wsgi x>\", line 1 in f\n";
        let stack = Stack::read(shown, 1000);
        assert_eq!(
            stack.place(),
            ", now in wait (/srv/a \", line b.py:7), called by report (/srv/views.py:210)"
        );
        assert_eq!(stack.text.lines().count(), 2);
        assert_eq!(Stack::read(b"", 9).place(), "");
        assert!(Stack::read(
            b"Stack (most recent call first):\n  <no Python frame>\n",
            99
        )
        .is_empty());
    }

    #[test]
    fn a_server_is_told_with_the_line_of_the_site_that_runs_it() {
        let shown = b"Stack (most recent call first):
  File \"/usr/lib/python3.11/selectors.py\", line 415 in select
  File \"/usr/lib/python3.11/socketserver.py\", line 233 in serve_forever
  File \"/srv/venv/lib/python3.11/site-packages/werkzeug/serving.py\", line 1093 in run_simple
  File \"/srv/venv/lib/python3.11/site-packages/flask/app.py\", line 900 in run
  File \"/srv/shop/shop.py\", line 53 in main
  File \"/srv/shop/shop.py\", line 60 in <module>
  File \"<frozen importlib._bootstrap>\", line 241 in _call_with_frames_removed
  File \"/srv/shop/shop.wsgi\", line 1 in <module>
";
        assert_eq!(
            Stack::read(shown, 10_000).server().as_deref(),
            Some(
                ", run_simple (/srv/venv/lib/python3.11/site-packages/werkzeug/serving.py:1093), \
                 called by main (/srv/shop/shop.py:53)"
            )
        );
        let shown = b"  File \"/srv/shop.py\", line 5 in serve_forever\n";
        let own = Stack::read(shown, 99).server();
        assert_eq!(own.as_deref(), Some(", serve_forever (/srv/shop.py:5)"));
        let shown = b"  File \"/srv/shop.py\", line 5 in connect\n";
        assert_eq!(Stack::read(shown, 99).server(), None);
    }

    #[test]
    fn any_text_can_be_read() {
        for shown in [
            &b"\xff\xfe\n  File \""[..],
            b"  File \"x\", line ",
            b"  File \"x\", line 1",
        ] {
            for cut in 0..=shown.len() {
                let stack = Stack::read(shown, cut);
                assert!(stack.is_empty());
            }
        }
    }
}
