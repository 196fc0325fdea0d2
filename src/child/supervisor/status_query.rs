//! Queries the supervisor: connects, and reads until it closes the connection.
//!
//! Runs in: an Apache child. Sends nothing. One time limit applies to the whole query.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use os::poll::{poll_uninterrupted, Wanted};
use os::{clock, socket};
use wire::status::{StatusReport, MAX_REPORT};

/// How long to wait before connecting again if the accept queue is full.
const PAUSE: Duration = Duration::from_millis(10);

/// The report of the supervisor at `path`, which must come within `limit`.
///
/// # Errors
/// Why there is no report, as part of a sentence.
pub fn query_status(path: &[u8], limit: Duration) -> Result<StatusReport, String> {
    let end = clock::monotonic() + limit;
    let shown = String::from_utf8_lossy(path);
    let late = || format!("no answer at {shown} within {} s", limit.as_secs_f64());
    let broken = |error: io::Error| format!("the answer at {shown} broke off: {error}");
    let socket = loop {
        match socket::connect_unix(path, false) {
            Ok(socket) => break socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if clock::monotonic() + PAUSE >= end {
                    return Err(late());
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(format!("nobody answers at {shown}: {error}")),
        }
    };
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = end.saturating_sub(clock::monotonic());
        let mut wanted = [Wanted::readable(socket.as_fd())];
        if left.is_zero() || poll_uninterrupted(&mut wanted, Some(left)).map_err(broken)? == 0 {
            return Err(late());
        }
        match socket::recv(socket.as_fd(), &mut buffer, socket::Wait::Never) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(broken(error)),
        }
        if answer.len() > MAX_REPORT {
            return Err(format!("the answer at {shown} has no end"));
        }
    }
    if answer.is_empty() {
        return Err(format!("the answer at {shown} is empty"));
    }
    StatusReport::decode(&answer)
        .map_err(|error| format!("the answer at {shown} makes no sense ({error})"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixListener;

    use super::super::sample_report;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    /// Asks somebody who says `answer` and then stays or goes.
    fn asked(name: &str, answer: Vec<u8>, stays: bool) -> Result<StatusReport, String> {
        let path = std::env::temp_dir().join(format!("status-{}-{name}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let limit = Some(Duration::from_secs(20));
        socket::set_receive_timeout(listener.as_fd(), limit).unwrap();
        let (done, until) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let (mut visitor, _) = listener.accept().unwrap();
            let _ = visitor.write_all(&answer);
            if stays {
                let _ = until.recv();
            }
        });
        let report = query_status(path.as_os_str().as_bytes(), LIMIT);
        drop(done);
        thread.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        report
    }

    #[test]
    fn a_report_is_read_to_its_end() {
        let mut report = sample_report::report();
        // More than a socket's buffer holds.
        report.groups = vec![report.groups.remove(0); 2000];
        assert_eq!(asked("whole", report.encode(), false), Ok(report));
    }

    #[test]
    fn what_is_no_report_is_told_in_a_sentence() {
        let cut = sample_report::report().encode()[..30].to_vec();
        for (name, answer, stays, said) in [
            ("empty", Vec::new(), false, "is empty"),
            ("cut", cut.clone(), false, "makes no sense"),
            ("silent", cut, true, "within 1 s"),
            (
                "endless",
                vec![1; MAX_REPORT + 100_000],
                false,
                "has no end",
            ),
        ] {
            let why = asked(name, answer, stays).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        let why = query_status(b"/nonexistent/s", LIMIT).unwrap_err();
        assert!(
            why.starts_with("nobody answers at /nonexistent/s: No such file"),
            "{why}"
        );
    }
}
