//! The parent's side of the conversation with the supervisor.
//!
//! Runs in: the Apache parent, on its only thread. Every send and every wait has a limit: a
//! supervisor that hangs must not keep Apache from starting, restarting or ending.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use os::poll::{poll_uninterrupted, Wanted};
use os::{clock, socket};
use wire::control::{
    ConfigurationRefusal, FromSupervisor, GroupSetup, StatusSocket, ToSupervisor, Withdrawn,
    MAX_MESSAGE,
};
use wire::group::ServerFacts;
use wire::Malformed;

use super::error_log::ErrorLog;

/// Longest time the supervisor takes to read one message.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// Longest time it takes to bind its sockets and answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The whole configuration that the supervisor gets, kept in case it dies and another one is
/// started.
#[derive(Debug)]
pub struct SupervisorConfiguration {
    /// Settings of all groups.
    pub facts: ServerFacts,
    /// The main error log.
    pub log: ErrorLog,
    /// The groups, each with the error log it writes to where that is not the main one.
    pub groups: Vec<(GroupSetup, Option<ErrorLog>)>,
    /// Path of the status socket.
    pub status: Option<StatusSocket>,
}

/// Why a configuration did not come into force.
#[derive(Debug)]
pub enum TellError {
    /// The supervisor does not exist, or has exited.
    Gone(io::Error),
    /// It did not answer in time.
    Silent(Duration),
    /// Its answer is none that a supervisor of this version gives.
    Malformed(Malformed),
    /// A message is larger than any may be.
    TooLong(Malformed),
    /// It cannot serve the configuration and keeps the old one.
    Refused(ConfigurationRefusal),
}

impl fmt::Display for TellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TellError::Gone(error) => write!(f, "the supervisor is gone: {error}"),
            TellError::Silent(limit) => {
                write!(
                    f,
                    "the supervisor did not answer within {} s",
                    limit.as_secs()
                )
            }
            TellError::Malformed(error) => write!(
                f,
                "the supervisor's answer makes no sense ({error}); are mod_wsgi.so and \
                 mod_wsgi-supervisor of the same version?"
            ),
            TellError::TooLong(error) => write!(f, "the configuration is too large: {error}"),
            TellError::Refused(refusal) => f.write_str(&refusal.sentence.text()),
        }
    }
}

impl SupervisorConfiguration {
    /// Sends the configuration to the supervisor at the other end of `control` and waits for its
    /// answer.
    pub fn tell(&self, control: BorrowedFd<'_>) -> Result<(), TellError> {
        socket::set_send_timeout(control, Some(SEND_LIMIT)).map_err(TellError::Gone)?;
        discard_old_answers(control);
        let begin = ToSupervisor::Begin(Box::new(self.facts.clone()));
        send_with_log(control, &begin, Some(&self.log))?;
        for (group, log) in &self.groups {
            let group = ToSupervisor::Group(Box::new(group.clone()));
            send_with_log(control, &group, log.as_ref())?;
        }
        if let Some(address) = &self.status {
            send(control, &ToSupervisor::Status(address.clone()), None)?;
        }
        send(control, &ToSupervisor::Commit(()), None)?;
        match answer(control)? {
            FromSupervisor::Accepted(()) => Ok(()),
            FromSupervisor::Refused(refusal) => Err(TellError::Refused(refusal)),
        }
    }
}

/// Tells the supervisor that httpd is about to read a new configuration, which may or may not load
/// the module at `module`. Does not wait: the supervisor keeps serving even if it never hears of
/// it.
pub fn withdraw(control: BorrowedFd<'_>, module: &Path) {
    let at = u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX);
    // The path under which the kernel lists the file in a process's maps.
    let module = module.canonicalize().unwrap_or_else(|_| module.to_owned());
    let module = module.as_os_str().as_bytes().into();
    let message = ToSupervisor::Withdrawn(Withdrawn { at, module });
    if let Ok(packet) = message.encode() {
        let packet = [IoSlice::new(&packet)];
        let _ = socket::send(control, &packet, None, socket::Wait::Never);
    }
}

/// Tells the supervisor to end all workers and exit, and waits until its end of the socket closes.
/// Returns whether it has exited.
pub fn stop(control: BorrowedFd<'_>, limit: Duration) -> bool {
    let sent = socket::set_send_timeout(control, Some(SEND_LIMIT))
        .map_err(TellError::Gone)
        .and_then(|()| send(control, &ToSupervisor::Stop(()), None));
    match sent {
        Err(TellError::Gone(error)) => error.kind() == io::ErrorKind::BrokenPipe,
        Err(_) => false,
        Ok(()) => has_hung_up(control, limit),
    }
}

fn has_hung_up(control: BorrowedFd<'_>, limit: Duration) -> bool {
    let end = clock::monotonic() + limit;
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let left = end.saturating_sub(clock::monotonic());
        let mut wanted = [Wanted::readable(control)];
        match poll_uninterrupted(&mut wanted, Some(left)) {
            Ok(1..) => match socket::recv(control, &mut buffer, socket::Wait::Never) {
                Ok(0) => return true,
                // A late answer to an earlier message.
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            },
            Ok(0) | Err(_) => return false,
        }
    }
}

/// Discards answers that came too late, so that none is taken for the answer to the next message.
fn discard_old_answers(control: BorrowedFd<'_>) {
    let mut buffer = vec![0; MAX_MESSAGE];
    while matches!(
        socket::recv(control, &mut buffer, socket::Wait::Never),
        Ok(1..)
    ) {}
}

fn send_with_log(
    control: BorrowedFd<'_>,
    message: &ToSupervisor,
    log: Option<&ErrorLog>,
) -> Result<(), TellError> {
    match log {
        None => send(control, message, None),
        Some(ErrorLog::Descriptor(log)) => send(control, message, Some(log.as_fd())),
        Some(ErrorLog::System(how)) => {
            send(control, message, None)?;
            send(control, &ToSupervisor::Syslog(how.clone()), None)
        }
    }
}

fn send(
    control: BorrowedFd<'_>,
    message: &ToSupervisor,
    pass: Option<BorrowedFd<'_>>,
) -> Result<(), TellError> {
    let packet = message.encode().map_err(TellError::TooLong)?;
    match socket::send(control, &[IoSlice::new(&packet)], pass, socket::Wait::AsSet) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(TellError::Silent(SEND_LIMIT))
        }
        Err(error) => Err(TellError::Gone(error)),
    }
}

fn answer(control: BorrowedFd<'_>) -> Result<FromSupervisor, TellError> {
    let mut wanted = [Wanted::readable(control)];
    match poll_uninterrupted(&mut wanted, Some(ANSWER_LIMIT)) {
        Ok(0) => return Err(TellError::Silent(ANSWER_LIMIT)),
        Ok(_) => {}
        Err(error) => return Err(TellError::Gone(error)),
    }
    let mut buffer = vec![0; MAX_MESSAGE];
    match socket::recv(control, &mut buffer, socket::Wait::Never) {
        Ok(0) => Err(TellError::Gone(io::ErrorKind::UnexpectedEof.into())),
        Ok(length) => FromSupervisor::decode(&buffer[..length]).map_err(TellError::Malformed),
        Err(error) => Err(TellError::Gone(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::thread;

    fn configuration() -> SupervisorConfiguration {
        let facts = ServerFacts {
            apache_version: (2, (4, 71)),
            module_version: (6, (1, 1)),
            server_description: "Apache".into(),
            build_date: "".into(),
            mpm_name: "event".into(),
            mpm_max_processes: 16,
            mpm_max_threads: 25,
            runtime: "/lib/libwsgi_runtime.so".into(),
            default_python: "/usr/bin/python3".into(),
            parent_pid: 1,
            one_process: false,
        };
        SupervisorConfiguration {
            facts,
            log: ErrorLog::system(None, b"apache2"),
            groups: Vec::new(),
            status: Some(StatusSocket {
                path: "/run/wsgi.1.status.sock".into(),
                uid: 33,
            }),
        }
    }

    fn supervisor(
        answer: impl FnOnce(ToSupervisor) -> Option<FromSupervisor> + Send + 'static,
    ) -> (OwnedFd, thread::JoinHandle<()>) {
        let (ours, theirs) = socket::seqpacket_pair().unwrap();
        let limit = Some(Duration::from_secs(20));
        socket::set_receive_timeout(theirs.as_fd(), limit).unwrap();
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; MAX_MESSAGE];
            loop {
                let length =
                    socket::recv(theirs.as_fd(), &mut buffer, socket::Wait::AsSet).unwrap();
                match ToSupervisor::decode(&buffer[..length]).unwrap() {
                    ToSupervisor::Begin(_)
                    | ToSupervisor::Group(_)
                    | ToSupervisor::Status(_)
                    | ToSupervisor::Syslog(_) => {}
                    last => {
                        if let Some(answer) = answer(last) {
                            let packet = answer.encode().unwrap();
                            let packet = [IoSlice::new(&packet)];
                            socket::send(theirs.as_fd(), &packet, None, socket::Wait::AsSet)
                                .unwrap();
                        }
                        return;
                    }
                }
            }
        });
        (ours, thread)
    }

    #[test]
    fn a_configuration_is_accepted_refused_or_the_supervisor_is_gone() {
        let (control, thread) = supervisor(|_| Some(FromSupervisor::Accepted(())));
        assert!(configuration().tell(control.as_fd()).is_ok());
        thread.join().unwrap();
        let refuse = |_| {
            Some(FromSupervisor::Refused(ConfigurationRefusal {
                sentence: "no room".into(),
                addresses: Vec::new(),
            }))
        };
        let (control, thread) = supervisor(refuse);
        let error = configuration().tell(control.as_fd()).unwrap_err();
        assert_eq!(error.to_string(), "no room");
        thread.join().unwrap();
        let error = configuration().tell(control.as_fd()).unwrap_err();
        assert!(matches!(error, TellError::Gone(_)));
        let (control, thread) = supervisor(|_| None);
        let error = configuration().tell(control.as_fd()).unwrap_err();
        assert!(matches!(error, TellError::Gone(_)));
        thread.join().unwrap();
    }

    #[test]
    fn a_stop_is_done_when_the_other_end_closes_and_not_before() {
        let (control, thread) = supervisor(|last| {
            assert_eq!(last, ToSupervisor::Stop(()));
            None
        });
        assert!(stop(control.as_fd(), Duration::from_secs(5)));
        thread.join().unwrap();
        assert!(stop(control.as_fd(), Duration::from_secs(5)));
        let (control, _held) = socket::seqpacket_pair().unwrap();
        assert!(!stop(control.as_fd(), Duration::from_millis(5)));
    }
}
