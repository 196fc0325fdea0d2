//! Starting a program with exactly the descriptors, identity and limits it is to have.
//!
//! Called in the supervisor, and in the Apache parent to start the supervisor. All that needs
//! memory is prepared before fork; between fork and exec a list of steps is walked that make
//! system calls and nothing else, so that it does not matter what other threads the process has
//! or which locks they held. Each step's result is checked, and what changes identity is read
//! back. The first step that fails is reported through a pipe and ends the new process: the
//! program never runs with less than what was asked for.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::process::Child;
use crate::rlimit::Limit;
use crate::signal::{self, Blocked};
use crate::{c_string, checked, descriptor};

/// Whom a program is to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// All supplementary groups, exactly these.
    pub groups: Vec<u32>,
}

/// A program to start, and everything about the process it starts in.
///
/// What is not asked for stays as the caller has it, but for these: signals have their defaults
/// and none is blocked, and no descriptor is open that `fds` does not name.
#[derive(Debug, Clone)]
pub struct Command<'fd> {
    /// Absolute path, as seen inside `chroot`.
    pub program: Vec<u8>,
    /// With the program's name first.
    pub args: Vec<Vec<u8>>,
    /// The whole environment.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Become 0, 1, 2 and so on; everything else is closed.
    pub fds: Vec<BorrowedFd<'fd>>,
    /// A process group of its own, so that signals to the caller's don't reach it, and no terminal,
    /// into which it could type. No session of its own: the scheduler would weigh it as a whole
    /// against all processes of the caller's session (autogroup, sched(7)).
    pub detached: bool,
    pub chroot: Option<Vec<u8>>,
    pub limits: Vec<Limit>,
    /// Scheduling priority, -20 to 19.
    pub priority: Option<i32>,
    /// Empty the capability bounding set: no set-user-id program gives capabilities any more.
    pub drop_bounding_set: bool,
    pub no_new_privs: bool,
    pub identity: Option<Identity>,
    pub umask: Option<u32>,
    pub cwd: Option<Vec<u8>>,
    /// Sent to the process when the calling thread ends.
    pub parent_death_signal: Option<i32>,
    /// Makes a step fail with this errno in place of being done: for tests of what must not
    /// happen then.
    pub fail_at: Option<(Step, i32)>,
}

macro_rules! steps {
    ($($(#[$meta:meta])* $name:ident => $text:literal,)*) => {
        /// One step between fork and exec.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Step { $($(#[$meta])* $name,)* }

        impl Step {
            /// All of them, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        /// What was tried: "change root directory".
        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

steps! {
    Descriptors => "arrange its descriptors",
    Detach => "leave its process group and terminal",
    Root => "change its root directory",
    Limits => "set its resource limits",
    Priority => "set its priority",
    BoundingSet => "drop its capability bounding set",
    NoNewPrivileges => "set no_new_privs",
    Groups => "set its supplementary groups",
    Gid => "change its group",
    Uid => "change its user",
    Irreversible => "make sure that root cannot be regained",
    Umask => "set its umask",
    WorkingDirectory => "enter its working directory",
    ParentDeathSignal => "arrange to hear of its parent's death",
    Signals => "reset its signals",
    Exec => "execute its program",
}

/// Why the program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub step: Step,
    pub errno: i32,
}

impl Failure {
    pub(crate) const LEN: usize = 8;

    fn encode(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.errno.to_ne_bytes();
        [self.step as u8, 0, 0, 0, a, b, c, d]
    }

    pub(crate) fn decode([step, _, _, _, a, b, c, d]: [u8; Self::LEN]) -> Self {
        Self {
            step: *Step::ALL.get(usize::from(step)).unwrap_or(&Step::Exec),
            errno: i32::from_ne_bytes([a, b, c, d]),
        }
    }
}

/// "cannot change its user: Operation not permitted (os error 1)".
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "cannot {}: {error}", self.step)
    }
}

impl std::error::Error for Failure {}

impl<'fd> Command<'fd> {
    /// `program` is an absolute path; `args` begin with the program's name. No descriptors, an
    /// empty environment, and nothing changed.
    pub fn new(program: &[u8], args: &[&[u8]]) -> Self {
        Self {
            program: program.to_vec(),
            args: args.iter().map(|arg| arg.to_vec()).collect(),
            env: Vec::new(),
            fds: Vec::new(),
            detached: false,
            chroot: None,
            limits: Vec::new(),
            priority: None,
            drop_bounding_set: false,
            no_new_privs: false,
            identity: None,
            umask: None,
            cwd: None,
            parent_death_signal: None,
            fail_at: None,
        }
    }

    /// Starts it. Returns at once: whether the program runs is for [`Child::started`] to tell.
    ///
    /// # Errors
    /// Where no process could be made at all, `WouldBlock` for want of room in the system's or the
    /// user's table; `InvalidInput` for a NUL byte in a path, argument or variable.
    pub fn spawn(&self) -> io::Result<Child> {
        let (report_reader, report_writer) = descriptor::pipe()?;
        descriptor::set_nonblocking(report_reader.as_fd())?;
        let mut plan = Plan::new(self, report_writer.as_raw_fd())?;
        // No handler of the caller's may run in the child.
        let blocked = Blocked::all()?;
        // SAFETY: the child calls nothing but `Plan::run`, which makes system calls only and never
        // returns.
        let pid = match unsafe { libc::fork() } {
            0 => plan.run(),
            pid => checked(pid),
        };
        drop(blocked);
        Ok(Child::new(pid?, report_reader))
    }
}

/// What the child does, with all memory it needs.
struct Plan {
    steps: Vec<(Step, Action)>,
    fail_at: Option<(Step, i32)>,
    /// Where a failure is reported; moves with the descriptors.
    report: RawFd,
}

enum Action {
    /// The descriptors that become 0 and up; scratch space for them.
    Descriptors(Vec<RawFd>),
    Detach,
    Root(CString),
    Limits(Vec<Limit>),
    Priority(i32),
    BoundingSet,
    NoNewPrivileges,
    /// Sorted as the kernel keeps them; room to read back.
    Groups(Vec<libc::gid_t>, Vec<libc::gid_t>),
    Gid(libc::gid_t),
    Uid(libc::uid_t),
    Irreversible {
        uid: libc::uid_t,
        gid: libc::gid_t,
    },
    Umask(libc::mode_t),
    WorkingDirectory(CString),
    ParentDeathSignal {
        number: libc::c_int,
        parent: libc::pid_t,
    },
    Signals,
    Exec {
        program: CString,
        args: Strings,
        env: Strings,
    },
}

/// Strings as execve takes them.
struct Strings {
    /// Into `_owned`, with a null at the end.
    pointers: Vec<*const libc::c_char>,
    _owned: Vec<CString>,
}

impl Strings {
    fn new(strings: impl Iterator<Item = io::Result<CString>>) -> io::Result<Self> {
        let owned = strings.collect::<io::Result<Vec<_>>>()?;
        let ends = std::iter::once(std::ptr::null());
        Ok(Self {
            pointers: owned.iter().map(|s| s.as_ptr()).chain(ends).collect(),
            _owned: owned,
        })
    }
}

impl Plan {
    fn new(command: &Command<'_>, report: RawFd) -> io::Result<Self> {
        let mut steps = vec![(
            Step::Descriptors,
            Action::Descriptors(command.fds.iter().map(AsRawFd::as_raw_fd).collect()),
        )];
        if command.detached {
            steps.push((Step::Detach, Action::Detach));
        }
        if let Some(root) = &command.chroot {
            steps.push((Step::Root, Action::Root(c_string(root)?)));
        }
        if !command.limits.is_empty() {
            steps.push((Step::Limits, Action::Limits(command.limits.clone())));
        }
        if let Some(priority) = command.priority {
            steps.push((Step::Priority, Action::Priority(priority)));
        }
        if command.drop_bounding_set {
            steps.push((Step::BoundingSet, Action::BoundingSet));
        }
        if command.no_new_privs {
            steps.push((Step::NoNewPrivileges, Action::NoNewPrivileges));
        }
        if let Some(Identity { uid, gid, groups }) = &command.identity {
            let (uid, gid) = (*uid, *gid);
            let mut groups = groups.clone();
            groups.sort_unstable();
            groups.dedup();
            let room = vec![0; groups.len() + 1];
            steps.push((Step::Groups, Action::Groups(groups, room)));
            steps.push((Step::Gid, Action::Gid(gid)));
            steps.push((Step::Uid, Action::Uid(uid)));
            steps.push((Step::Irreversible, Action::Irreversible { uid, gid }));
        }
        if let Some(umask) = command.umask {
            steps.push((Step::Umask, Action::Umask(umask as libc::mode_t)));
        }
        if let Some(cwd) = &command.cwd {
            steps.push((
                Step::WorkingDirectory,
                Action::WorkingDirectory(c_string(cwd)?),
            ));
        }
        // After the change of identity, which would clear it.
        if let Some(number) = command.parent_death_signal {
            // SAFETY: cannot fail and touches no memory.
            let parent = unsafe { libc::getpid() };
            steps.push((
                Step::ParentDeathSignal,
                Action::ParentDeathSignal { number, parent },
            ));
        }
        steps.push((Step::Signals, Action::Signals));
        let env = command.env.iter().map(|(name, value)| {
            let mut line = name.clone();
            line.push(b'=');
            line.extend_from_slice(value);
            c_string(&line)
        });
        steps.push((
            Step::Exec,
            Action::Exec {
                program: c_string(&command.program)?,
                args: Strings::new(command.args.iter().map(|arg| c_string(arg)))?,
                env: Strings::new(env)?,
            },
        ));
        Ok(Self {
            steps,
            fail_at: command.fail_at,
            report,
        })
    }

    /// The life of the child until exec. Async-signal-safe: no memory is taken or given back.
    fn run(&mut self) -> ! {
        for (step, action) in &mut self.steps {
            let done = match self.fail_at {
                Some((at, errno)) if at == *step => Err(io::Error::from_raw_os_error(errno)),
                _ => action.run(&mut self.report),
            };
            if let Err(error) = done {
                let failure = Failure {
                    step: *step,
                    errno: error.raw_os_error().unwrap_or(libc::EPERM),
                };
                let encoded = failure.encode();
                // SAFETY: writes from the stack; write and _exit are async-signal-safe. There is
                // nobody to tell if the write fails.
                unsafe { libc::write(self.report, encoded.as_ptr().cast(), encoded.len()) };
                break;
            }
        }
        crate::process::exit_now(127)
    }
}

/// What was asked for and done has turned out otherwise.
fn not_so() -> io::Error {
    io::Error::from_raw_os_error(libc::EPERM)
}

impl Action {
    /// Async-signal-safe. An `io::Error` made of an errno takes no memory.
    fn run(&mut self, report: &mut RawFd) -> io::Result<()> {
        match self {
            Self::Descriptors(fds) => arrange(fds, report),
            Self::Detach => {
                // SAFETY: touches no memory.
                checked(unsafe { libc::setpgid(0, 0) })?;
                leave_terminal()
            }
            Self::Root(path) => {
                // The directory first, so that the working directory never lies outside the root.
                // SAFETY: C strings.
                unsafe {
                    checked(libc::chdir(path.as_ptr()))?;
                    checked(libc::chroot(c".".as_ptr()))?;
                    checked(libc::chdir(c"/".as_ptr())).map(drop)
                }
            }
            Self::Limits(limits) => limits.iter().try_for_each(Limit::set),
            Self::Priority(priority) => {
                // SAFETY: touches no memory.
                checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, *priority) }).map(drop)
            }
            Self::BoundingSet => drop_bounding_set(),
            Self::NoNewPrivileges => {
                // SAFETY: touches no memory.
                unsafe {
                    checked(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
                    match checked(libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))? {
                        1 => Ok(()),
                        _ => Err(not_so()),
                    }
                }
            }
            Self::Groups(wanted, room) => {
                // SAFETY: both lists are of the stated lengths. `room` holds one more than wanted:
                // should there be more still, getgroups fails with EINVAL.
                let got = unsafe {
                    checked(libc::setgroups(wanted.len() as _, wanted.as_ptr()))?;
                    let len = room.len() as libc::c_int;
                    checked(libc::getgroups(len, room.as_mut_ptr()))? as usize
                };
                room.truncate(got);
                room.sort_unstable();
                if room == wanted {
                    Ok(())
                } else {
                    Err(not_so())
                }
            }
            Self::Gid(gid) => {
                let (mut real, mut effective, mut saved) = (0, 0, 0);
                // SAFETY: three writable numbers.
                unsafe {
                    checked(libc::setresgid(*gid, *gid, *gid))?;
                    checked(libc::getresgid(&mut real, &mut effective, &mut saved))?;
                }
                if [real, effective, saved] == [*gid; 3] {
                    Ok(())
                } else {
                    Err(not_so())
                }
            }
            Self::Uid(uid) => {
                let (mut real, mut effective, mut saved) = (0, 0, 0);
                // SAFETY: three writable numbers.
                unsafe {
                    checked(libc::setresuid(*uid, *uid, *uid))?;
                    checked(libc::getresuid(&mut real, &mut effective, &mut saved))?;
                }
                if [real, effective, saved] == [*uid; 3] {
                    Ok(())
                } else {
                    Err(not_so())
                }
            }
            Self::Irreversible { uid, gid } => {
                // SAFETY: touches no memory. Should one succeed, the process ends right here.
                let regained = unsafe {
                    (*uid != 0 && libc::setuid(0) == 0) || (*gid != 0 && libc::setgid(0) == 0)
                };
                if regained {
                    Err(not_so())
                } else {
                    Ok(())
                }
            }
            Self::Umask(umask) => {
                // SAFETY: cannot fail and touches no memory.
                unsafe { libc::umask(*umask) };
                Ok(())
            }
            Self::WorkingDirectory(path) => {
                // SAFETY: a C string.
                checked(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
            }
            Self::ParentDeathSignal { number, parent } => {
                // SAFETY: touches no memory.
                unsafe {
                    checked(libc::prctl(libc::PR_SET_PDEATHSIG, *number))?;
                    // It may have died before we asked to be told.
                    if libc::getppid() == *parent {
                        Ok(())
                    } else {
                        Err(io::Error::from_raw_os_error(libc::ESRCH))
                    }
                }
            }
            Self::Signals => signal::reset_all(),
            Self::Exec { program, args, env } => {
                // SAFETY: C strings, and null-terminated lists of such, all alive in the plan.
                unsafe {
                    libc::execve(
                        program.as_ptr(),
                        args.pointers.as_ptr(),
                        env.pointers.as_ptr(),
                    )
                };
                Err(io::Error::last_os_error())
            }
        }
    }
}

/// Gives up the controlling terminal, if there is one, for this process and those it starts.
fn leave_terminal() -> io::Result<()> {
    // SAFETY: a C string.
    let opened = unsafe { libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    match checked(opened) {
        Ok(terminal) => {
            // SAFETY: touches no memory. Who leads no session leaves the terminal alone.
            let left = checked(unsafe { libc::ioctl(terminal, libc::TIOCNOTTY) });
            // SAFETY: opened above, and used no more.
            unsafe { libc::close(terminal) };
            left.map(drop)
        }
        Err(error) => match error.raw_os_error() {
            // There is none, or a policy such as SELinux's keeps all of Apache from it.
            Some(libc::ENXIO | libc::ENOENT | libc::EACCES | libc::EPERM) => Ok(()),
            _ => Err(error),
        },
    }
}

fn drop_bounding_set() -> io::Result<()> {
    for capability in 0.. {
        // SAFETY: touches no memory.
        let read = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        match checked(read) {
            Ok(0) => {}
            Ok(_) => {
                // SAFETY: touches no memory.
                checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })?;
            }
            // Past the last capability the kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes the descriptors 0, 1, 2 and so on of `fds`, and `report` the next, and closes all others.
/// `report` alone closes on exec.
fn arrange(fds: &mut [RawFd], report: &mut RawFd) -> io::Result<()> {
    let count = fds.len() as RawFd;
    // Out of the way first: a source may stand where another one is to go. Afterwards no source
    // is below the border, so no dup2 below overwrites one or finds source and target the same.
    let border = count + 1;
    for fd in fds.iter_mut().chain(std::iter::once(&mut *report)) {
        // SAFETY: touches no memory.
        *fd = checked(unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, border) })?;
    }
    for (target, &source) in (0..).zip(fds.iter()) {
        // SAFETY: touches no memory.
        checked(unsafe { libc::dup2(source, target) })?;
    }
    // SAFETY: touches no memory.
    *report = checked(unsafe { libc::dup3(*report, count, libc::O_CLOEXEC) })?;
    close_from(border as libc::c_uint)
}

/// Closes all descriptors from `first` on.
fn close_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: this is the child, which uses none of them any more.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    match checked(closed) {
        // A kernel before 5.9, or a seccomp filter of its day.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            let limit = crate::rlimit::Resource::OpenFiles.limit()?;
            let last = limit.hard.min(1 << 20) as libc::c_int;
            for fd in first as libc::c_int..last {
                // SAFETY: as above; most are not open, which is no matter.
                unsafe { libc::close(fd) };
            }
            Ok(())
        }
        done => done.map(drop),
    }
}

#[cfg(test)]
mod tests;
