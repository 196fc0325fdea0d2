//! What a process group is: a `WSGIDaemonProcess` with every question answered.
//!
//! `crates/config` fills it in Apache's parent; the supervisor and the group's workers read it as
//! it is. `None` never means "not given": it means what the field's comment says, most often that
//! there is no limit. Users and groups are numbers: only the parent looks into the user database.

use std::borrow::Cow;
use std::time::Duration;

use crate::codec::Bytes;
use crate::message;
use crate::own_group;

message! {
    /// One process group.
    pub struct ProcessGroup {
        /// Name as in the configuration; unique in the server. Empty for the server's own group.
        pub name: Bytes,
        /// Order of definition, from 1.
        pub id: u32,
        /// Number of workers; of the server's own group their maximum.
        pub processes: u32,
        /// `wsgi.multiprocess`: whether `processes=` is given, even as 1.
        pub multiprocess: bool,
        /// Request threads of each worker; 0 is a service process, which serves no requests.
        pub threads: u32,
        /// Title in the process list.
        pub display_name: Bytes,
        /// The user that the workers run as.
        pub identity: Identity,
        pub environment: ProcessEnvironment,
        pub python: PythonOptions,
        pub resources: ResourceLimits,
        pub replacement: ReplacementLimits,
        pub script_owner: ScriptOwner,
        pub timeouts: Timeouts,
        pub listener: ListenerOptions,
        /// Scripts to load before a worker is ready, in order: (path as the worker sees it,
        /// application group).
        pub preload: Vec<(Bytes, Bytes)>,
        /// Whether the configuration can send requests for `%{GLOBAL}` to this group: then its
        /// named application groups all get sub-interpreters.
        pub global_reachable: bool,
    }
}

message! {
    /// The user that the workers run as. Only a root parent can change identity.
    pub struct Identity {
        /// Whether to change identity: only if Apache was started by root. Otherwise the other
        /// fields tell whom Apache runs as.
        pub switch: bool,
        pub uid: u32,
        pub gid: u32,
        /// All supplementary groups, exactly these.
        pub groups: Vec<u32>,
        /// Login name; empty if the uid has none.
        pub user: Bytes,
        /// Home directory of the user; empty if it has none.
        pub user_home: Bytes,
        pub no_new_privs: bool,
    }
}

message! {
    /// Directories, umask, locale and environment variables of the workers.
    pub struct ProcessEnvironment {
        /// `home=`: working directory and first entry of `sys.path`.
        pub home: Option<Bytes>,
        /// Working directory if `home=` is not given; `None` is the supervisor's.
        pub chdir: Option<Bytes>,
        pub chroot: Option<Bytes>,
        /// `None` is Apache's.
        pub umask: Option<u32>,
        pub lang: Option<Bytes>,
        pub locale: Option<Bytes>,
        /// Environment variables, in order. The parent puts those of `env-file=` in front of those
        /// of `env=`.
        pub variables: Vec<(Bytes, Bytes)>,
        /// Whether Apache's environment is withheld.
        pub clear_env: bool,
    }
}

impl ProcessGroup {
    /// The name for people.
    pub fn shown_name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(own_group::shown(&self.name))
    }
}

impl ProcessEnvironment {
    /// The workers' working directory: `home=`, or the one that Apache chose. `None` is the
    /// supervisor's.
    pub fn working_directory(&self) -> Option<&[u8]> {
        self.home.as_deref().or(self.chdir.as_deref())
    }
}

message! {
    /// Which Python, and how it is set up.
    pub struct PythonOptions {
        /// `python-home=` or `WSGIPythonHome`: a virtual environment or a prefix. `None` is the
        /// Python named at installation.
        pub home: Option<Bytes>,
        pub eggs: Option<Bytes>,
        pub optimize: u32,
        pub dont_write_bytecode: bool,
        /// As PYTHONHASHSEED has it. `None` leaves that variable as it is.
        pub hash_seed: Option<Bytes>,
        pub warnings: Vec<Bytes>,
        pub free_threading: bool,
        pub destroy_interpreter: bool,
        pub main_interpreter: InterpreterOptions,
        /// Of all sub-interpreters but those of `application_groups`.
        pub sub_interpreters: InterpreterOptions,
        /// Of the interpreters of these application groups.
        pub application_groups: Vec<(Bytes, InterpreterOptions)>,
    }
}

message! {
    /// How one interpreter is set up.
    pub struct InterpreterOptions {
        /// Directories for `site.addsitedir`, in order.
        pub path: Vec<Bytes>,
        /// `None` is Python's own. An interpreter without a GIL of its own has that of the main
        /// interpreter.
        pub switch_interval: Option<Duration>,
        /// Never of the main interpreter.
        pub own_gil: bool,
        pub restrict_stdin: bool,
        pub restrict_stdout: bool,
        pub restrict_signal: bool,
    }
}

impl PythonOptions {
    /// What holds for a named application group where it has a sub-interpreter.
    pub fn of_application_group(&self, name: &[u8]) -> &InterpreterOptions {
        let found = self.application_groups.iter();
        let found = found
            .filter(|(known, _)| **known == *name)
            .map(|(_, options)| options)
            .next();
        found.unwrap_or(&self.sub_interpreters)
    }

    /// Whether a named application group may have the main interpreter: that is set up as its own
    /// would be.
    pub fn fits_main_interpreter(&self, name: &[u8]) -> bool {
        *self.of_application_group(name) == self.main_interpreter
    }

    /// The options of every interpreter.
    pub fn interpreters(&self) -> impl Iterator<Item = &InterpreterOptions> {
        let named = self.application_groups.iter().map(|(_, options)| options);
        [&self.main_interpreter, &self.sub_interpreters]
            .into_iter()
            .chain(named)
    }
}

message! {
    /// What the kernel allows a worker. `None` is the system's limit.
    pub struct ResourceLimits {
        /// Bytes of a thread's stack.
        pub stack_size: Option<u64>,
        /// CPU time of the process.
        pub cpu_time: Option<Duration>,
        /// Nice value; 0 leaves it.
        pub cpu_priority: i32,
        /// Bytes (RLIMIT_DATA).
        pub memory: Option<u64>,
        /// Bytes (RLIMIT_AS).
        pub virtual_memory: Option<u64>,
    }
}

message! {
    /// How much a worker may do or occupy before a successor replaces it. `None` is no limit.
    pub struct ReplacementLimits {
        pub maximum_requests: Option<u64>,
        /// Each worker's limit is raised by a random number up to this.
        pub maximum_requests_jitter: u64,
        /// Bytes of resident memory.
        pub max_rss: Option<u64>,
    }
}

message! {
    /// Who must own the scripts and their directories. `None` is anybody.
    pub struct ScriptOwner {
        /// `script-user=`, as uid.
        pub user: Option<u32>,
        /// `script-group=`, as gid.
        pub group: Option<u32>,
    }
}

message! {
    /// Time limits. `None` is no limit, unless the comment says otherwise.
    pub struct Timeouts {
        pub startup: Option<Duration>,
        /// `None` does not watch for deadlocks.
        pub deadlock: Option<Duration>,
        pub inactivity: Option<Duration>,
        pub request: Option<Duration>,
        /// `None` does not interrupt a request before its worker is replaced.
        pub interrupt: Option<Duration>,
        /// `None` does not wait for running requests.
        pub graceful: Option<Duration>,
        /// As `graceful`, after SIGUSR1.
        pub eviction: Option<Duration>,
        pub shutdown: Option<Duration>,
        pub restart_interval: Option<Duration>,
        /// One read or write between child and worker. `None` is the server's `Timeout`, which the
        /// parent puts in.
        pub socket: Option<Duration>,
        pub queue: Option<Duration>,
    }
}

message! {
    /// The group's listening socket.
    pub struct ListenerOptions {
        /// Owner of the socket's file, as uid: the user that Apache's children run as.
        pub uid: u32,
        pub backlog: u32,
        /// Bytes; `None` is the system's size.
        pub send_buffer: Option<u32>,
        /// Bytes; `None` is the system's size.
        pub receive_buffer: Option<u32>,
    }
}

message! {
    /// What is the same for all groups of one server.
    pub struct ServerFacts {
        /// As `apache.version`.
        pub apache_version: (u32, (u32, u32)),
        /// As `mod_wsgi.version`.
        pub module_version: (u32, (u32, u32)),
        pub server_description: Bytes,
        pub build_date: Bytes,
        pub mpm_name: Bytes,
        pub mpm_max_processes: u32,
        pub mpm_max_threads: u32,
        /// Absolute path of `libwsgi_runtime.so`.
        pub runtime: Bytes,
        /// Interpreter to use where neither `python-home=` nor `WSGIPythonHome` names one.
        pub default_python: Bytes,
        /// The parent's pid: the stem of socket names.
        pub parent_pid: u32,
        /// Apache runs in a single process (`httpd -X`): standard streams stay as they are.
        pub one_process: bool,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn interpreter_options() -> InterpreterOptions {
        InterpreterOptions {
            path: vec!["/srv/lib".into()],
            switch_interval: Some(Duration::from_millis(5)),
            own_gil: false,
            restrict_stdin: false,
            restrict_stdout: true,
            restrict_signal: true,
        }
    }

    #[test]
    fn an_application_group_has_its_own_options_or_those_of_all() {
        let python = process_group().python;
        assert!(!python.of_application_group(b"cart").own_gil);
        assert!(python.of_application_group(b"shop").own_gil);
        assert!(python.fits_main_interpreter(b"cart"));
        assert!(!python.fits_main_interpreter(b"shop"));
    }

    /// A group with every field set to something of its own.
    pub(crate) fn process_group() -> ProcessGroup {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        ProcessGroup {
            name: "shop".into(),
            id: 1,
            processes: 2,
            multiprocess: true,
            threads: 5,
            display_name: "(wsgi:shop)".into(),
            identity: Identity {
                switch: true,
                uid: 1001,
                gid: 1002,
                groups: vec![1002, 44],
                user: "user1".into(),
                user_home: "/home/user1".into(),
                no_new_privs: false,
            },
            environment: ProcessEnvironment {
                home: Some("/srv/shop".into()),
                chdir: None,
                chroot: None,
                umask: Some(0o22),
                lang: Some("C.UTF-8".into()),
                locale: None,
                variables: vec![("A".into(), "1".into())],
                clear_env: false,
            },
            python: PythonOptions {
                home: Some("/srv/shop/venv".into()),
                eggs: None,
                optimize: 0,
                dont_write_bytecode: true,
                hash_seed: Some("1".into()),
                warnings: vec!["error".into()],
                free_threading: false,
                destroy_interpreter: true,
                main_interpreter: interpreter_options(),
                sub_interpreters: InterpreterOptions {
                    own_gil: true,
                    ..interpreter_options()
                },
                application_groups: vec![("cart".into(), interpreter_options())],
            },
            resources: ResourceLimits {
                stack_size: Some(3),
                cpu_time: seconds(4),
                cpu_priority: -5,
                memory: Some(6),
                virtual_memory: None,
            },
            replacement: ReplacementLimits {
                maximum_requests: Some(1),
                maximum_requests_jitter: 2,
                max_rss: Some(8),
            },
            script_owner: ScriptOwner {
                user: Some(11),
                group: None,
            },
            timeouts: Timeouts {
                startup: seconds(1),
                deadlock: seconds(2),
                inactivity: None,
                request: seconds(4),
                interrupt: seconds(5),
                graceful: seconds(6),
                eviction: seconds(7),
                shutdown: seconds(8),
                restart_interval: seconds(9),
                socket: seconds(10),
                queue: Some(Duration::from_micros(11)),
            },
            listener: ListenerOptions {
                uid: 33,
                backlog: 100,
                send_buffer: Some(9),
                receive_buffer: None,
            },
            preload: vec![("/srv/shop.wsgi".into(), "".into())],
            global_reachable: true,
        }
    }
}
