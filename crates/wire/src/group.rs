//! What one process group is to be: the resolved `WSGIDaemonProcess` and what the server adds to it.
//!
//! Written by the Apache parent, read by the supervisor, and handed on to the group's workers.
//! Names are resolved already: nobody but the parent looks into the user database.

use crate::codec::Bytes;
use crate::message;

message! {
    /// One process group. Times are milliseconds and sizes bytes; 0 means "off" or "the system's".
    pub struct Group {
        /// Name as in the configuration; unique in the server.
        pub name: Bytes,
        /// 1-based order of definition.
        pub id: u32,
        /// Where the group listens: an absolute path of at most 107 bytes.
        pub socket_path: Bytes,
        /// Secret of this generation; a request must carry it.
        pub key: [u8; 16],
        /// Owner of the socket file: the user Apache's children run as.
        pub socket_uid: u32,
        pub listen_backlog: u32,
        pub processes: u32,
        /// Whether `processes=` was written at all: then `wsgi.multiprocess` is True, even with 1.
        pub processes_given: bool,
        /// 0: a service process that serves no requests.
        pub threads: u32,
        pub identity: Identity,
        pub place: Place,
        pub python: Python,
        pub limits: Limits,
        pub timeouts: Timeouts,
        /// Title in the process list.
        pub display_name: Bytes,
        /// Scripts to load before the worker is ready: (script, application group).
        pub preload: Vec<(Bytes, Bytes)>,
        /// Where the configuration can send `%{GLOBAL}` requests to this group: then its named
        /// application groups all get sub-interpreters.
        pub global_reachable: bool,
        /// `LogLevel` of the server that defines the group: the number of the least severe level.
        pub log_level: u32,
    }
}

impl Group {
    /// The workers' working directory: `home=`, or the one Apache chose. `None`: the supervisor's.
    pub fn working_directory(&self) -> Option<&[u8]> {
        let place = &self.place;
        let path = place.home.as_ref().or(place.chdir.as_ref())?;
        Some(&path.0)
    }
}

message! {
    /// Whom the workers run as. Only a root parent can change identity.
    pub struct Identity {
        /// Whether to change identity at all (Apache was started by root).
        pub switch: bool,
        pub uid: u32,
        pub gid: u32,
        /// All supplementary groups, exactly these.
        pub groups: Vec<u32>,
        /// Login name; empty where the uid has none.
        pub user: Bytes,
        /// Home directory of the user; empty where it has none.
        pub user_home: Bytes,
        pub no_new_privs: bool,
    }
}

message! {
    /// Where the workers stand and what surrounds them.
    pub struct Place {
        /// `home=`: working directory and first entry of `sys.path`.
        pub home: Option<Bytes>,
        /// Working directory where `home=` is not given.
        pub chdir: Option<Bytes>,
        pub chroot: Option<Bytes>,
        pub umask: Option<u32>,
        pub lang: Option<Bytes>,
        pub locale: Option<Bytes>,
        /// Environment variables of `env-file=` and `env=`, in order.
        pub env: Vec<(Bytes, Bytes)>,
        pub clear_env: bool,
    }
}

message! {
    /// Which Python, and how it is set up.
    pub struct Python {
        /// `python-home=` or `WSGIPythonHome`, as given.
        pub home: Option<Bytes>,
        /// Directories for `site.addsitedir`, in order.
        pub path: Vec<Bytes>,
        pub eggs: Option<Bytes>,
        /// Microseconds.
        pub switch_interval: u64,
        pub optimize: u32,
        pub dont_write_bytecode: bool,
        /// `None` is random.
        pub hash_seed: Option<u32>,
        pub warnings: Vec<Bytes>,
        pub restrict_stdin: bool,
        pub restrict_stdout: bool,
        pub restrict_signal: bool,
        pub destroy_interpreter: bool,
    }
}

message! {
    pub struct Limits {
        pub maximum_requests: u64,
        /// Each worker's limit is raised by a random part of this.
        pub maximum_requests_jitter: u64,
        pub stack_size: u64,
        pub cpu_time: u64,
        pub cpu_priority: i64,
        pub memory: u64,
        pub virtual_memory: u64,
        pub max_rss: u64,
        /// Who must own scripts, and their directories: uid.
        pub script_user: Option<u32>,
        /// The group they must belong to: gid.
        pub script_group: Option<u32>,
        pub send_buffer: u32,
        pub receive_buffer: u32,
    }
}

message! {
    pub struct Timeouts {
        pub startup: u64,
        pub deadlock: u64,
        pub inactivity: u64,
        pub request: u64,
        pub interrupt: u64,
        pub graceful: u64,
        pub eviction: u64,
        pub shutdown: u64,
        pub restart_interval: u64,
        /// Per read or write on the connection between child and worker.
        pub socket: u64,
        pub queue: u64,
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

    /// A group with every field set to something of its own.
    pub(crate) fn group() -> Group {
        Group {
            name: "shop".into(),
            id: 1,
            socket_path: "/run/wsgi.1.1.sock".into(),
            key: [3; 16],
            socket_uid: 33,
            listen_backlog: 100,
            processes: 2,
            processes_given: true,
            threads: 5,
            identity: Identity {
                switch: true,
                uid: 1001,
                gid: 1002,
                groups: vec![1002, 44],
                user: "user1".into(),
                user_home: "/home/user1".into(),
                no_new_privs: false,
            },
            place: Place {
                home: Some("/srv/shop".into()),
                chdir: None,
                chroot: None,
                umask: Some(0o22),
                lang: Some("C.UTF-8".into()),
                locale: None,
                env: vec![("A".into(), "1".into())],
                clear_env: false,
            },
            python: Python {
                home: Some("/srv/shop/venv".into()),
                path: vec!["/srv/lib".into()],
                eggs: None,
                switch_interval: 5000,
                optimize: 0,
                dont_write_bytecode: true,
                hash_seed: Some(1),
                warnings: vec!["error".into()],
                restrict_stdin: false,
                restrict_stdout: true,
                restrict_signal: true,
                destroy_interpreter: true,
            },
            limits: Limits {
                maximum_requests: 1,
                maximum_requests_jitter: 2,
                stack_size: 3,
                cpu_time: 4,
                cpu_priority: -5,
                memory: 6,
                virtual_memory: 7,
                max_rss: 8,
                script_user: Some(11),
                script_group: None,
                send_buffer: 9,
                receive_buffer: 10,
            },
            timeouts: Timeouts {
                startup: 1,
                deadlock: 2,
                inactivity: 3,
                request: 4,
                interrupt: 5,
                graceful: 6,
                eviction: 7,
                shutdown: 8,
                restart_interval: 9,
                socket: 10,
                queue: 11,
            },
            display_name: "(wsgi:shop)".into(),
            preload: vec![("/srv/shop.wsgi".into(), "".into())],
            global_reachable: true,
            log_level: 6,
        }
    }
}
