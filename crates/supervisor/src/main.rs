//! `mod_wsgi-supervisor`: starts, watches, replaces and drains the worker processes of mod_wsgi.
//!
//! Started once by the Apache parent, with the control conversation as descriptor 3 and the error
//! log as standard error, and lives as long as the parent does: over graceful restarts, holding
//! the groups' listening sockets. One thread, no Python, no byte of a client. It ends when the
//! parent says so or is gone.
//!
//! With `--examine` it is another, short-lived process: see [`python_probe`].

#![forbid(unsafe_code)]

mod backoff;
mod error_log;
mod group;
mod launch;
mod parent;
mod path_walk;
mod python_check;
mod python_probe;
mod status;
mod supervisor;
#[cfg(test)]
mod testing;
mod unavailable;
mod withdrawal;
mod worker;
mod worker_output;

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

/// Name in the process list.
pub(crate) const TITLE: &[u8] = b"mod_wsgi-supervisor";
/// Where the Apache parent has put the control conversation.
const CONTROL: i32 = 3;

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    let done = match arguments.get(1) {
        Some(first) if first == python_check::ARGUMENT => python_probe::run(&arguments[2..]),
        _ => supervise(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read it any more, and this process must end all the same.
            let line = format!("mod_wsgi-supervisor: {error}\n");
            let standard_error = os::descriptor::standard_error();
            let kind = os::write_now::kind(standard_error);
            let _ = os::write_now::write_now(standard_error, kind, line.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn supervise() -> std::io::Result<()> {
    let control = os::descriptor::take_inherited(CONTROL).map_err(|error| {
        let text = format!("descriptor {CONTROL} is no control socket ({error}): Apache starts me");
        std::io::Error::new(error.kind(), text)
    })?;
    // Shows where it is not named so already; a failure shows the file's path instead.
    let _ = os::title::set(TITLE);
    let log = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()?;
    supervisor::Supervisor::new(control, log)?.run()
}
