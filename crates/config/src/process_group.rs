//! A process group as resolved: everything the supervisor has to know, with no question left.
//!
//! Runs in: the Apache parent, which sends it to the supervisor; Apache children read what
//! concerns the way of a request. `None` here never means "not said": it means what its comment
//! says. Names of users are looked up already.

use std::time::Duration;

use super::daemon_options::transport::{
    DEFAULT_HEADER_BUFFER, DEFAULT_REQUEST_BUFFER, DEFAULT_RESPONSE_BUFFER, DEFAULT_RESPONSE_SPOOL,
};
use super::daemon_process::GroupGiven;
use super::error::show;
use super::given::GlobalGiven;
use super::place::Place;
use super::resolved::{interpreter, Globals};
use super::system::{Account, System};

/// One process group.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessGroup {
    /// Its name, unique in the server.
    pub name: Vec<u8>,
    /// Order of definition, from 1.
    pub id: u32,
    /// Where it was (first) defined.
    pub place: Place,
    /// Who may use it.
    pub reach: Reach,
    /// Whom its processes run as.
    pub identity: Identity,
    /// Number of processes.
    pub processes: u32,
    /// `wsgi.multiprocess`: whether `processes=` was written at all.
    pub multiprocess: bool,
    /// Threads of each process; 0 is a process that serves no requests.
    pub threads: u32,
    /// Title in the process list; `None` leaves the executable's.
    pub display_name: Vec<u8>,
    /// What surrounds the processes.
    pub surroundings: Surroundings,
    /// Their Python.
    pub python: Python,
    /// When a process is replaced, and what the kernel lets it have.
    pub limits: Limits,
    /// Limits of time. `None` is no limit.
    pub timeouts: Timeouts,
    /// The way of requests and responses.
    pub transport: Transport,
    /// Scripts to load before the first request, in order: (file, application group).
    pub preload: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether a request for the main interpreter (`%{GLOBAL}`) can reach the group.
    pub global_reachable: bool,
}

/// Which servers may use a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every server: it is defined in the main server.
    Everywhere,
    /// The virtual hosts that define it, and those with the same ServerName.
    VirtualHosts {
        /// Their identities, as in [`Place::server`].
        ids: Vec<usize>,
        /// The ServerName; `None` when there is none.
        hostname: Option<Vec<u8>>,
    },
}

/// Whom processes run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whether to change to it: only when Apache was started by root. Else the rest tells who
    /// Apache runs as.
    pub switch: bool,
    pub uid: u32,
    pub gid: u32,
    /// All supplementary groups, exactly these.
    pub groups: Vec<u32>,
    /// Login name.
    pub user: Vec<u8>,
    /// Home directory; empty where the user has none.
    pub user_home: Vec<u8>,
    pub no_new_privs: bool,
}

/// What surrounds processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// `home=`: working directory and first entry of `sys.path`.
    pub home: Option<Vec<u8>>,
    /// Working directory where `home` is `None`; `None` leaves it.
    pub chdir: Option<Vec<u8>>,
    pub chroot: Option<Vec<u8>>,
    /// `None` inherits Apache's.
    pub umask: Option<u32>,
    pub lang: Option<Vec<u8>>,
    pub locale: Option<Vec<u8>>,
    /// Environment variables, in order.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    pub env_file: Option<Vec<u8>>,
    pub clear_env: bool,
}

/// Which Python, and how it is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct Python {
    /// Virtual environment or prefix; `None` is the one named at installation.
    pub home: Option<Vec<u8>>,
    /// Directories to put in front of `sys.path`, in order.
    pub path: Vec<Vec<u8>>,
    pub eggs: Option<Vec<u8>>,
    /// `None` is Python's own.
    pub switch_interval: Option<Duration>,
    pub optimize: u32,
    pub dont_write_bytecode: bool,
    /// `None` is random.
    pub hash_seed: Option<u32>,
    pub warnings: Vec<Vec<u8>>,
    pub restrict_stdin: bool,
    pub restrict_stdout: bool,
    pub restrict_signal: bool,
    pub destroy_interpreter: bool,
}

/// When a process is replaced, and what the kernel lets it have. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub maximum_requests: Option<u64>,
    /// Upper end of what each process adds to `maximum_requests`.
    pub maximum_requests_jitter: u64,
    /// Bytes of resident memory.
    pub max_rss: Option<u64>,
    /// Bytes; `None` is the system's.
    pub stack_size: Option<u64>,
    pub cpu_time: Option<Duration>,
    /// Nice value; 0 leaves it.
    pub cpu_priority: i32,
    /// Bytes (RLIMIT_DATA).
    pub memory: Option<u64>,
    /// Bytes (RLIMIT_AS).
    pub virtual_memory: Option<u64>,
    /// Required owner of scripts: uid.
    pub script_user: Option<u32>,
    /// Required group of scripts: gid.
    pub script_group: Option<u32>,
}

/// Limits of time. `None` is no limit, where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub startup: Option<Duration>,
    /// `None` does not watch.
    pub deadlock: Option<Duration>,
    pub inactivity: Option<Duration>,
    pub request: Option<Duration>,
    /// `None` does not interrupt a request before its process is replaced.
    pub interrupt: Option<Duration>,
    /// `None` waits for nothing.
    pub graceful: Option<Duration>,
    /// As `graceful`, after SIGUSR1.
    pub eviction: Option<Duration>,
    pub shutdown: Option<Duration>,
    pub restart_interval: Option<Duration>,
    /// How long a child tries to reach the group. Zero tries once.
    pub connect: Duration,
    /// A single read or write between child and process. `None` is the server's `Timeout`.
    pub socket: Option<Duration>,
    pub queue: Option<Duration>,
    /// A single write to the client. `None` is as `socket`.
    pub response_socket: Option<Duration>,
}

/// The way of requests and responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    pub listen_backlog: u32,
    /// Owner of the socket's file: uid.
    pub socket_uid: u32,
    /// Bytes; `None` is the system's.
    pub send_buffer: Option<u32>,
    /// Bytes; `None` is the system's.
    pub receive_buffer: Option<u32>,
    /// Bytes of a request body that are waited for before a worker is asked.
    pub request_buffer: u64,
    /// Bytes of a response a child may hold for its client.
    pub response_buffer: u64,
    /// Bytes of a response that may wait in a temporary file.
    pub response_spool: u64,
    /// Where those files are made; `None` is the default.
    pub spool_directory: Option<Vec<u8>>,
    pub response_flush_delay: Duration,
    /// Longest response header, in bytes.
    pub header_buffer: u64,
}

/// Whom Apache's children run as: its `User` and `Group`, or whoever started it when that was
/// not root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApacheIdentity {
    /// The user. Where the user database has no entry, the name is `#uid` and home is empty.
    pub user: Account,
    /// The group; `user.gid` may be another.
    pub gid: u32,
}

impl ProcessGroup {
    /// Whether a server may use the group: `id` as in [`Place::server`] (`None` is the main
    /// server), and its ServerName.
    pub fn usable_from(&self, id: Option<usize>, hostname: Option<&[u8]>) -> bool {
        match &self.reach {
            Reach::Everywhere => true,
            Reach::VirtualHosts { ids, hostname: own } => {
                id.is_some_and(|id| ids.contains(&id))
                    || matches!((own, hostname), (Some(own), Some(other)) if own.eq_ignore_ascii_case(other))
            }
        }
    }

    /// Fills in what a definition left open. Preloads and reach are for the caller, who knows
    /// the other definitions. The error is a sentence that begins with the place.
    pub(super) fn resolve(
        given: &GroupGiven,
        id: u32,
        global: &GlobalGiven,
        apache: &ApacheIdentity,
        system: &dyn System,
    ) -> Result<ProcessGroup, String> {
        let options = &given.options;
        let globals = Globals::of(global);
        let base = options.python_path.clone().unwrap_or_default();
        let interpreter = interpreter(global, &given.name, None, base);
        let user = options.user.as_ref().unwrap_or(&apache.user);
        let display_name = match options.display_name.as_deref() {
            None | Some(b"%{GROUP}") => [b"(wsgi:", &given.name[..], b")"].concat(),
            Some(other) => other.to_vec(),
        };
        let home_of_user = user.uid != apache.user.uid && !user.home.is_empty();
        let chdir = (options.home.is_none() && home_of_user).then(|| user.home.clone());
        Ok(ProcessGroup {
            name: given.name.clone(),
            id,
            place: given.place.clone(),
            reach: Reach::Everywhere,
            identity: identity(given, apache, system)?,
            processes: options.processes.unwrap_or(1),
            multiprocess: options.processes.is_some(),
            threads: options.threads.unwrap_or(15),
            display_name,
            surroundings: Surroundings {
                home: options.home.clone(),
                chdir: chdir.filter(|_| system.is_root()),
                chroot: options.chroot.clone(),
                umask: options.umask,
                lang: options.lang.clone(),
                locale: options.locale.clone(),
                env: options.env.clone(),
                env_file: options.env_file.clone(),
                clear_env: options.clear_env.unwrap_or(false),
            },
            python: Python {
                home: options.python_home.clone().or(globals.python_home),
                path: interpreter.python_path,
                eggs: options.python_eggs.clone(),
                switch_interval: interpreter.switch_interval.or(options.switch_interval),
                optimize: globals.python_optimize,
                dont_write_bytecode: globals.dont_write_bytecode,
                hash_seed: globals.python_hash_seed,
                warnings: globals.python_warnings,
                restrict_stdin: interpreter.restrict_stdin,
                restrict_stdout: interpreter.restrict_stdout,
                restrict_signal: interpreter.restrict_signal,
                destroy_interpreter: globals.destroy_interpreter,
            },
            limits: Limits {
                maximum_requests: options.maximum_requests.filter(|&count| count > 0),
                maximum_requests_jitter: options.maximum_requests_jitter.unwrap_or(0),
                max_rss: size(options.max_rss),
                stack_size: size(options.stack_size),
                cpu_time: time(options.cpu_time_limit),
                cpu_priority: options.cpu_priority.unwrap_or(0),
                memory: size(options.memory_limit),
                virtual_memory: size(options.virtual_memory_limit),
                script_user: options.script_user.as_ref().map(|user| user.uid),
                script_group: options.script_group.as_ref().map(|group| group.gid),
            },
            timeouts: Timeouts {
                startup: time(options.startup_timeout),
                deadlock: time_or(options.deadlock_timeout, 300),
                inactivity: time(options.inactivity_timeout),
                request: time(options.request_timeout),
                interrupt: time(options.interrupt_timeout),
                graceful: time_or(options.graceful_timeout, 15),
                eviction: time(options.eviction_timeout).or(time_or(options.graceful_timeout, 15)),
                shutdown: time_or(options.shutdown_timeout, 5),
                restart_interval: time(options.restart_interval),
                connect: options.connect_timeout.unwrap_or(Duration::from_secs(15)),
                socket: time(options.socket_timeout),
                queue: time(options.queue_timeout),
                response_socket: time(options.response_socket_timeout),
            },
            transport: Transport {
                listen_backlog: options.listen_backlog.unwrap_or(100),
                socket_uid: options.socket_user.as_ref().unwrap_or(&apache.user).uid,
                send_buffer: options.send_buffer_size.filter(|&bytes| bytes > 0),
                receive_buffer: options.receive_buffer_size.filter(|&bytes| bytes > 0),
                request_buffer: options
                    .request_buffer_size
                    .unwrap_or(DEFAULT_REQUEST_BUFFER),
                response_buffer: size(options.response_buffer_size)
                    .unwrap_or(DEFAULT_RESPONSE_BUFFER),
                response_spool: options
                    .response_spool_size
                    .unwrap_or(DEFAULT_RESPONSE_SPOOL),
                spool_directory: options.spool_directory.clone(),
                response_flush_delay: options
                    .response_flush_delay
                    .unwrap_or(Duration::from_millis(5)),
                header_buffer: size(options.header_buffer_size).unwrap_or(DEFAULT_HEADER_BUFFER),
            },
            preload: Vec::new(),
            global_reachable: false,
        })
    }
}

fn identity(
    given: &GroupGiven,
    apache: &ApacheIdentity,
    system: &dyn System,
) -> Result<Identity, String> {
    let options = &given.options;
    let no_new_privs = options.no_new_privs.unwrap_or(false);
    if !system.is_root() {
        return Ok(Identity {
            switch: false,
            uid: apache.user.uid,
            gid: apache.gid,
            groups: Vec::new(),
            user: apache.user.name.clone(),
            user_home: apache.user.home.clone(),
            no_new_privs,
        });
    }
    let user = options.user.as_ref().unwrap_or(&apache.user);
    let name = show(&given.name);
    if user.uid == 0 {
        return Err(format!(
            "{} process group \"{name}\" would run as root, because Apache's User is root. Give \
             it a user of its own: WSGIDaemonProcess {name} user=...",
            given.place,
        ));
    }
    let gid = options.group.as_ref().map_or(apache.gid, |group| group.gid);
    let groups = match &options.supplementary_groups {
        Some(listed) => {
            // The primary group belongs to the list of setgroups(2), once.
            let further = listed.iter().copied().filter(|&listed| listed != gid);
            [gid].into_iter().chain(further).collect()
        }
        None => system.groups_of(user, gid).map_err(|reason| {
            format!(
                "{} the groups of user \"{}\", of process group \"{name}\", cannot be looked up: \
                 {reason}. List them with supplementary-groups=, or mend the group database.",
                given.place,
                show(&user.name),
            )
        })?,
    };
    Ok(Identity {
        switch: true,
        uid: user.uid,
        gid,
        groups,
        user: user.name.clone(),
        user_home: user.home.clone(),
        no_new_privs,
    })
}

/// A time of which zero means "off".
fn time(given: Option<Duration>) -> Option<Duration> {
    given.filter(|time| !time.is_zero())
}

fn time_or(given: Option<Duration>, default: u64) -> Option<Duration> {
    time(Some(given.unwrap_or(Duration::from_secs(default))))
}

/// A size of which zero means "the default".
fn size(given: Option<u64>) -> Option<u64> {
    given.filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::super::groups::{resolve_groups, Server};
    use super::super::testing::TestConfiguration;
    use super::super::testing::{ann, www_data};
    use super::*;

    fn group(text: &str) -> ProcessGroup {
        let resolved = TestConfiguration::of(text).resolve_groups();
        assert_eq!(resolved.refusals, Vec::<String>::new());
        resolved.groups.all()[0].clone()
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let group = group("WSGIDaemonProcess shop");
        assert_eq!(
            (group.processes, group.multiprocess, group.threads),
            (1, false, 15)
        );
        assert_eq!((group.identity.uid, group.identity.gid), (33, 33));
        assert_eq!(group.identity.groups, [33]);
        assert_eq!(group.display_name, b"(wsgi:shop)");
        assert_eq!(group.surroundings.home, None);
        assert_eq!(group.surroundings.chdir, None);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(group.timeouts.deadlock, seconds(300));
        assert_eq!(group.timeouts.graceful, seconds(15));
        assert_eq!(group.timeouts.eviction, seconds(15));
        assert_eq!(group.timeouts.shutdown, seconds(5));
        assert_eq!(group.timeouts.connect, Duration::from_secs(15));
        assert_eq!(
            (group.timeouts.request, group.timeouts.socket),
            (None, None)
        );
        assert_eq!(group.transport.listen_backlog, 100);
        assert_eq!(group.transport.socket_uid, 33);
        assert_eq!(group.transport.request_buffer, 64 * 1024);
        assert_eq!(group.transport.response_buffer, 1024 * 1024);
        assert_eq!(group.transport.response_spool, 1 << 30);
        assert_eq!(group.transport.spool_directory, None);
        assert_eq!(group.transport.header_buffer, 32768);
        assert_eq!(
            group.transport.response_flush_delay,
            Duration::from_millis(5)
        );
        assert_eq!(group.limits.maximum_requests, None);
        assert!(group.python.restrict_signal && !group.python.restrict_stdout);
        assert!(group.python.destroy_interpreter && !group.global_reachable);
    }

    #[test]
    fn processes_given_at_all_means_multiprocess() {
        assert!(group("WSGIDaemonProcess shop processes=1").multiprocess);
    }

    #[test]
    fn zero_turns_a_limit_off() {
        let group = group(
            "WSGIDaemonProcess shop deadlock-timeout=0 graceful-timeout=0 shutdown-timeout=0 \
             maximum-requests=0 memory-limit=0 header-buffer-size=0 send-buffer-size=0",
        );
        assert_eq!(
            (group.timeouts.deadlock, group.timeouts.graceful),
            (None, None)
        );
        assert_eq!(
            (group.timeouts.eviction, group.timeouts.shutdown),
            (None, None)
        );
        assert_eq!(
            (group.limits.maximum_requests, group.limits.memory),
            (None, None)
        );
        assert_eq!(
            (group.transport.send_buffer, group.transport.header_buffer),
            (None, 32768)
        );
    }

    #[test]
    fn identity_is_user_group_and_groups() {
        let ids = |text: &str| {
            let identity = group(&format!("WSGIDaemonProcess shop {text}")).identity;
            assert!(identity.switch);
            (identity.uid, identity.gid, identity.groups)
        };
        assert_eq!(ids("user=ann"), (1001, 33, vec![33, 27]));
        assert_eq!(ids("user=ann group=ann"), (1001, 1001, vec![1001, 27]));
        assert_eq!(
            ids("user=ann supplementary-groups=sudo"),
            (1001, 33, vec![33, 27])
        );
        assert_eq!(ids("supplementary-groups=www-data"), (33, 33, vec![33]));
    }

    #[test]
    fn another_user_starts_in_its_home_directory() {
        let home = |text: &str| {
            let surroundings = group(&format!("WSGIDaemonProcess shop {text}")).surroundings;
            (surroundings.home, surroundings.chdir)
        };
        assert_eq!(home("user=ann"), (None, Some(b"/home/ann".to_vec())));
        assert_eq!(home("user=ann home=/srv"), (Some(b"/srv".to_vec()), None));
        assert_eq!(home("user=www-data"), (None, None));
    }

    #[test]
    fn without_root_nothing_changes_identity() {
        let mut configuration = TestConfiguration::new();
        configuration.machine.root = false;
        configuration
            .read("WSGIDaemonProcess shop user=ann group=ann")
            .unwrap();
        let resolved = configuration.resolve_groups();
        let identity = &resolved.groups.all()[0].identity;
        assert_eq!((identity.switch, identity.uid), (false, 33));
        assert_eq!(resolved.groups.all()[0].surroundings.chdir, None);
    }

    #[test]
    fn nothing_runs_as_root_because_apache_does() {
        let configuration =
            TestConfiguration::of("WSGIDaemonProcess shop\nWSGIDaemonProcess b user=ann");
        let root = Account {
            name: b"root".to_vec(),
            uid: 0,
            gid: 0,
            home: b"/root".to_vec(),
        };
        let apache = ApacheIdentity { user: root, gid: 0 };
        let servers = [Server {
            id: None,
            hostname: None,
        }];
        let (reading, global) = (&configuration.reading, &configuration.main.global);
        let resolved = resolve_groups(reading, &servers, global, &apache, &configuration.machine);
        assert_eq!(
            resolved.refusals,
            [
                "shop.conf:1 process group \"shop\" would run as root, because Apache's User is \
                 root. Give it a user of its own: WSGIDaemonProcess shop user=..."
            ],
        );
        assert_eq!(
            resolved.groups.find(b"b").unwrap().identity.user,
            ann().name
        );
        assert_ne!(www_data(), ann());
    }

    #[test]
    fn the_title_may_name_the_group() {
        let title = |text: &str| group(&format!("WSGIDaemonProcess shop {text}")).display_name;
        assert_eq!(title("display-name=%{GROUP}"), b"(wsgi:shop)");
        assert_eq!(title("display-name='my shop'"), b"my shop");
    }

    #[test]
    fn python_is_that_of_the_group_else_that_of_the_server() {
        let text = "WSGIPythonHome /srv/venv\nWSGIPythonOptimize 1\nWSGIPythonHashSeed 7";
        let python = group(&format!("WSGIDaemonProcess shop\n{text}")).python;
        assert_eq!(python.home.unwrap(), b"/srv/venv");
        assert_eq!((python.optimize, python.hash_seed), (1, Some(7)));
        let python = group(&format!(
            "WSGIDaemonProcess shop python-home=/opt/py\n{text}"
        ))
        .python;
        assert_eq!(python.home.unwrap(), b"/opt/py");
    }

    #[test]
    fn sections_for_interpreters_reach_their_group() {
        let group = group(
            "WSGIDaemonProcess shop python-path=/srv/lib switch-interval=0.1
            WSGIPythonPath /embedded
            WSGISwitchInterval 0.2
            WSGIRestrictStdin On
            <WSGIInterpreterOptions process-group=shop>
            WSGIRestrictStdout On
            WSGIPythonPath /srv/first
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions process-group=blog>
            WSGIRestrictSignal Off
            </WSGIInterpreterOptions>",
        );
        assert_eq!(
            group.python.path,
            [b"/srv/first".to_vec(), b"/srv/lib".to_vec()]
        );
        assert_eq!(
            group.python.switch_interval,
            Some(Duration::from_millis(100))
        );
        assert!(group.python.restrict_stdin && group.python.restrict_stdout);
        assert!(group.python.restrict_signal);
    }
}
