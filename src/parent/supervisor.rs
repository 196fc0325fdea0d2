//! Starts, watches and ends the supervisor.
//!
//! Runs in: the Apache parent, on its only thread: at a start or restart, when httpd finds that the
//! supervisor has died, and at the very end. The supervisor stays the same over graceful restarts,
//! which send it the new configuration, so that no group's socket is ever closed. A restart without
//! grace loses the requests in flight anyway, so it starts a new supervisor from the program that
//! is installed by then.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use os::process::Child;
use os::spawn::Command;
use os::{clock, descriptor, signal, socket};
use wire::control::GroupAddress;
use wire::log_id::{
    SUPERVISOR_DIED, SUPERVISOR_GIVEN_UP, SUPERVISOR_NOT_RESTARTED, SUPERVISOR_REPLACED,
    SUPERVISOR_STOP_TIMED_OUT,
};

use super::control_channel::{self, SupervisorConfiguration, TellError};
use super::error_log::ErrorLog;
use httpd::log::{Level, Log, MainLog};
use httpd::pool::Pool;
use httpd::process::{self, Fate, State};

/// Longest time from fork to exec.
const EXEC_LIMIT: Duration = Duration::from_secs(10);
/// Maximum number of supervisors that replace one that died within [`RESTART_WINDOW`]. After more
/// deaths none is started.
const MOST_RESTARTS: usize = 5;
/// How long the supervisor outlives httpd's order to its children to end. They close their clients'
/// connections, and the clients ask again. If the workers were gone first, clients would get
/// errors.
const HEAD_START: Duration = Duration::from_millis(50);
/// See [`MOST_RESTARTS`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// Why no supervisor serves a new configuration.
#[derive(Debug)]
pub enum ServeError {
    /// Its program was not started.
    NotStarted(String),
    /// It runs, but did not accept the configuration.
    NotServing(TellError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::NotStarted(reason) => write!(f, "cannot start the supervisor: {reason}"),
            ServeError::NotServing(error) => write!(f, "{error}"),
        }
    }
}

impl ServeError {
    /// How to reach the groups that keep running with their old configuration.
    pub fn addresses_still_served(&self) -> &[GroupAddress] {
        match self {
            ServeError::NotServing(TellError::Refused(refusal)) => &refusal.addresses,
            ServeError::NotServing(_) | ServeError::NotStarted(_) => &[],
        }
    }
}

/// Starts a supervisor and sends it `configuration`. Returns its pid. It is stored as the companion
/// of the process only once it has accepted the configuration.
fn begin(program: &Path, configuration: &SupervisorConfiguration) -> Result<u32, ServeError> {
    let (mut child, control) = spawn(program, &configuration.log)
        .map_err(|reason| ServeError::NotStarted(format!("{}: {reason}", program.display())))?;
    match configuration.tell(control.as_fd()) {
        Ok(()) => {
            process::keep_companion(child.pid(), control);
            Ok(child.pid())
        }
        Err(error) => {
            // Closing our end of the socket tells it to exit. It has started no workers yet, so it
            // exits at once.
            drop(control);
            if !matches!(child.wait(EXEC_LIMIT), Ok(Some(_))) {
                let _ = child.signal(signal::SIGKILL);
                let _ = child.wait(EXEC_LIMIT);
            }
            Err(ServeError::NotServing(error))
        }
    }
}

/// Runs the supervisor's program. Its descriptors: 0 is the null device, 1 and 2 are the main error
/// log, 3 is its end of the control socket.
fn spawn(program: &Path, log: &ErrorLog) -> Result<(Child, OwnedFd), String> {
    let in_words = |error: io::Error| error.to_string();
    let (ours, theirs) = socket::seqpacket_pair().map_err(in_words)?;
    let null = descriptor::null().map_err(in_words)?;
    let stderr = io::stderr();
    let log: BorrowedFd<'_> = match log {
        ErrorLog::Descriptor(log) => log.as_fd(),
        ErrorLog::System(_) => stderr.as_fd(),
    };
    let path = program.as_os_str().as_bytes();
    let mut command = Command::new(path, &[path]);
    // Workers inherit Apache's environment through it, as with mod_wsgi.
    command.env = std::env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .collect();
    command.fds = vec![null.as_fd(), log, log, theirs.as_fd()];
    // Ctrl-C in a terminal must reach Apache only, which then ends the supervisor.
    command.detached = true;
    // It stays in the directory Apache runs in (`/`, or where it was started in the foreground), and
    // so do workers for which no other directory is named, as with mod_wsgi.
    command.cwd = None;
    // The closed control socket tells it of our death too, unless another process holds a copy.
    command.parent_death_signal = Some(signal::SIGTERM);
    let mut child = command.spawn().map_err(in_words)?;
    match child.wait_started(EXEC_LIMIT) {
        Some(Ok(())) => Ok((child, ours)),
        Some(Err(failure)) => {
            let _ = child.wait(EXEC_LIMIT);
            Err(failure.to_string())
        }
        None => {
            let _ = child.signal(signal::SIGKILL);
            let _ = child.wait(EXEC_LIMIT);
            Err(format!("not running after {} s", EXEC_LIMIT.as_secs()))
        }
    }
}

/// Puts `configuration` into force: sends it to the running supervisor, or starts one.
///
/// Until `pool` is cleared, httpd watches the supervisor, and one that dies is replaced by another
/// with the same configuration. When the process exits, the supervisor is ended first, within
/// `time_to_stop`.
pub fn serve(
    pool: Pool<'_>,
    program: &Path,
    configuration: SupervisorConfiguration,
    time_to_stop: Duration,
) -> Result<(), ServeError> {
    let running = process::companion();
    let result = match &running {
        None => begin(program, &configuration),
        Some(companion) => match configuration.tell(companion.control.as_fd()) {
            Ok(()) => Ok(companion.pid),
            Err(TellError::Gone(_)) => {
                process::forget_companion();
                begin(program, &configuration)
            }
            Err(TellError::Malformed(_)) => replace(program, &configuration, companion.pid),
            Err(error) => Err(ServeError::NotServing(error)),
        },
    };
    let pid = match (&result, running) {
        (Ok(pid), _) => *pid,
        // The running supervisor keeps its old configuration.
        (Err(ServeError::NotServing(_)), Some(companion)) => companion.pid,
        (Err(_), _) => return result.map(drop),
    };
    end_with(pool, time_to_stop);
    watch(pool, pid, program, configuration, time_to_stop);
    result.map(drop)
}

/// Starts a supervisor of this version beside one of another version, whose messages differ: the
/// module was upgraded and Apache reloaded. The new one takes over the paths of the sockets. Then a
/// signal that all versions understand tells the old one to finish its requests and exit.
fn replace(
    program: &Path,
    configuration: &SupervisorConfiguration,
    old: u32,
) -> Result<u32, ServeError> {
    let new = begin(program, configuration)?;
    let sentence = format!(
        "{SUPERVISOR_REPLACED}: the supervisor (pid {old}) is of another version than the module; \
         another one (pid {new}) has taken over, and the old one ends when its requests are finished."
    );
    MainLog.notice(sentence);
    process::signal_child(old, signal::SIGUSR2);
    Ok(new)
}

/// Ends the supervisor when the process exits. At a graceful restart, tells it that httpd reads a
/// new configuration. If the process is killed, the supervisor notices that by itself.
fn end_with(pool: Pool<'_>, time_to_stop: Duration) {
    let parent = std::process::id();
    pool.at_end(move || {
        if std::process::id() != parent {
            return;
        }
        match (
            process::state(),
            process::companion(),
            process::module_file(),
        ) {
            (State::Exiting, _, _) => end(time_to_stop),
            (State::Discarding, Some(companion), Some(module)) => {
                control_channel::withdraw(companion.control.as_fd(), &module);
            }
            _ => {}
        }
    });
}

/// Ends the supervisor, if there is one.
fn end(limit: Duration) {
    let Some(companion) = process::companion() else {
        return;
    };
    process::forget_companion();
    if control_channel::stop(companion.control.as_fd(), limit) {
        process::reap(companion.pid, limit);
    } else {
        let sentence = format!(
            "{SUPERVISOR_STOP_TIMED_OUT}: the supervisor (pid {}) has not ended within {} s; it is left to end by \
             itself.",
            companion.pid,
            limit.as_secs()
        );
        MainLog.warning(sentence);
    }
}

fn watch(
    pool: Pool<'_>,
    pid: u32,
    program: &Path,
    configuration: SupervisorConfiguration,
    time_to_stop: Duration,
) {
    let program = program.to_owned();
    let mut pid = pid;
    let mut deaths: Vec<Duration> = Vec::new();
    process::watch(pool, pid, move |fate| {
        let how = match fate {
            Fate::Ended(status) => format!("ended with status or signal {status}"),
            Fate::Lost => "is lost".to_owned(),
            Fate::Reclaimed => {
                // A child whose thread waits for a worker does not react to httpd's order; when its
                // workers are gone, it exits at once. After a restart there is a new supervisor.
                std::thread::sleep(HEAD_START);
                end(time_to_stop);
                return None;
            }
        };
        process::forget_companion();
        if process::state() != State::Serving {
            return None;
        }
        let now = clock::monotonic();
        deaths.retain(|&death| now.saturating_sub(death) < RESTART_WINDOW);
        deaths.push(now);
        if deaths.len() > MOST_RESTARTS {
            let sentence = format!(
                "{SUPERVISOR_GIVEN_UP}: the supervisor (pid {pid}) {how}, for the {}th time within {} s. It is \
                 not started again: process groups answer 503 until Apache is restarted.",
                deaths.len(),
                RESTART_WINDOW.as_secs()
            );
            MainLog.log(Level::Alert, sentence);
            return None;
        }
        MainLog.critical(format!(
            "{SUPERVISOR_DIED}: the supervisor (pid {pid}) {how}; starting it and all process groups again."
        ));
        match begin(&program, &configuration) {
            Ok(successor) => {
                pid = successor;
                Some(successor)
            }
            Err(failure) => {
                MainLog.log(
                    Level::Alert,
                    format!(
                        "{SUPERVISOR_NOT_RESTARTED}: {failure}. Process groups answer 503 until Apache is restarted."
                    ),
                );
                None
            }
        }
    });
}

/// Called in a new Apache child: closes its copy of the control socket, which would hide the
/// parent's death from the supervisor.
pub fn leave_to_parent() {
    if !process::is_single() {
        process::forget_companion();
    }
}
