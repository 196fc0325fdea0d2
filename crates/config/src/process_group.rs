//! Resolves a process group: answers every question that its definition left open.
//!
//! Runs in: the Apache parent, which sends the result to the supervisor; Apache children read how
//! requests reach the group. Names of users are looked up here and nowhere else.

use std::time::Duration;

use wire::codec::Bytes;
use wire::group::{
    Identity, ListenerOptions, ProcessEnvironment, ProcessGroup, PythonOptions, ReplacementLimits,
    ResourceLimits, ScriptOwner, Timeouts,
};
use wire::own_group;

use super::daemon_options::transport::{
    DEFAULT_HEADER_BUFFER, DEFAULT_REQUEST_BUFFER, DEFAULT_REQUEST_SPOOL, DEFAULT_RESPONSE_BUFFER,
    DEFAULT_RESPONSE_SPOOL,
};
use super::daemon_process::DaemonProcess;
use super::error::{show, show_group};
use super::interpreter_options::Interpreters;
use super::module_config::{GlobalConfig, HashSeed};
use super::place::Place;
use super::resolved::{interpreter, Globals};
use super::system::{Account, System};

/// A process group, and what only Apache's own processes know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedGroup {
    /// What the supervisor and the workers are told.
    pub process_group: ProcessGroup,
    /// Where it is (first) defined.
    pub place: Place,
    /// Which servers may use it.
    pub reach: Reach,
    /// `env-file=`: the file of further environment variables, which the parent reads.
    pub env_file: Option<Vec<u8>>,
    /// How children pass requests to its workers, and responses to clients.
    pub transport: Transport,
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

/// How children pass requests to workers, and responses to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// How long a child tries to reach the group. Zero tries once.
    pub connect_timeout: Duration,
    /// One write to the client. `None` is as [`Timeouts::socket`].
    pub response_socket_timeout: Option<Duration>,
    /// Bytes of a request body that a child reads before it sends the request to a worker.
    pub request_buffer: u64,
    /// Bytes of a response that a child may buffer for its client.
    pub response_buffer: u64,
    /// Bytes of a response that may wait in a temporary file.
    pub response_spool: u64,
    /// Bytes of a request body that may wait in a temporary file.
    pub request_spool: u64,
    /// Directory of these files; `None` is the default.
    pub spool_directory: Option<Vec<u8>>,
    pub response_flush_delay: Duration,
    /// Longest response header, in bytes.
    pub header_buffer: u64,
}

/// The identity of Apache's children: `User` and `Group`, or whoever started Apache if that was not
/// root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApacheIdentity {
    /// The user. Where the user database has no entry, the name is `#uid` and home is empty.
    pub user: Account,
    /// The group; `user.gid` may be another.
    pub gid: u32,
}

impl ResolvedGroup {
    /// Whether it is the server's own.
    pub fn is_own(&self) -> bool {
        *self.process_group.name == *own_group::NAME
    }

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

    /// Fills in what a definition left open. The caller adds preloads and reach, which depend on
    /// the other definitions. The error is a sentence that begins with the place.
    pub(super) fn resolve(
        given: &DaemonProcess,
        id: u32,
        global: &GlobalConfig,
        apache: &ApacheIdentity,
        system: &dyn System,
    ) -> Result<ResolvedGroup, String> {
        let options = &given.options;
        let globals = Globals::of(global);
        let base = options.python_path.clone().unwrap_or_default();
        let own = given.is_own().then(|| system.own_group_concurrency());
        let interpreters = Interpreters {
            global,
            process_group: &given.name,
            base,
            switch_interval: options.switch_interval,
        };
        let user = options.user.as_ref().unwrap_or(&apache.user);
        let display_name = match options.display_name.as_deref() {
            None | Some(b"%{GROUP}") => {
                [b"(wsgi:", wire::own_group::shown(&given.name), b")"].concat()
            }
            Some(other) => other.to_vec(),
        };
        let home_of_user = user.uid != apache.user.uid && !user.home.is_empty();
        let chdir = (options.home.is_none() && home_of_user).then(|| user.home.clone());
        let process_group = ProcessGroup {
            name: bytes(&given.name),
            id,
            processes: options
                .processes
                .or(own.map(|own| own.processes))
                .unwrap_or(1),
            multiprocess: options.processes.is_some() || own.is_some(),
            threads: options.threads.or(own.map(|own| own.threads)).unwrap_or(15),
            display_name: display_name.into(),
            identity: identity(given, apache, system)?,
            environment: ProcessEnvironment {
                home: options.home.as_deref().map(bytes),
                chdir: chdir.filter(|_| system.is_root()).map(Bytes),
                chroot: options.chroot.as_deref().map(bytes),
                umask: options.umask,
                lang: options.lang.as_deref().map(bytes),
                locale: options.locale.as_deref().map(bytes),
                variables: options
                    .env
                    .iter()
                    .map(|(name, value)| (bytes(name), bytes(value)))
                    .collect(),
                clear_env: options.clear_env.unwrap_or(false),
            },
            python: PythonOptions {
                home: options
                    .python_home
                    .clone()
                    .or(globals.python_home)
                    .map(Bytes),
                eggs: options
                    .python_eggs
                    .clone()
                    .or(globals.python_eggs.filter(|_| given.is_own()))
                    .map(Bytes),
                optimize: globals.python_optimize,
                dont_write_bytecode: globals.dont_write_bytecode,
                hash_seed: globals.python_hash_seed.map(|seed| match seed {
                    HashSeed::Random => bytes(b"random"),
                    HashSeed::Fixed(seed) => bytes(seed.to_string().as_bytes()),
                }),
                warnings: globals.python_warnings.into_iter().map(Bytes).collect(),
                free_threading: interpreter(global, &given.name, None, Vec::new()).free_threading,
                destroy_interpreter: globals.destroy_interpreter,
                main_interpreter: interpreters.of(Some(b"")),
                sub_interpreters: interpreters.of(None),
                application_groups: interpreters.of_application_groups(),
            },
            resources: ResourceLimits {
                stack_size: size(options.stack_size),
                cpu_time: time(options.cpu_time_limit),
                cpu_priority: options.cpu_priority.unwrap_or(0),
                memory: size(options.memory_limit),
                virtual_memory: size(options.virtual_memory_limit),
            },
            replacement: ReplacementLimits {
                maximum_requests: options.maximum_requests.filter(|&count| count > 0),
                maximum_requests_jitter: options.maximum_requests_jitter.unwrap_or(0),
                max_rss: size(options.max_rss),
            },
            script_owner: ScriptOwner {
                user: options.script_user.as_ref().map(|user| user.uid),
                group: options.script_group.as_ref().map(|group| group.gid),
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
                socket: time(options.socket_timeout),
                queue: time(options.queue_timeout),
            },
            listener: ListenerOptions {
                uid: options.socket_user.as_ref().unwrap_or(&apache.user).uid,
                backlog: options.listen_backlog.unwrap_or(100),
                send_buffer: options.send_buffer_size.filter(|&bytes| bytes > 0),
                receive_buffer: options.receive_buffer_size.filter(|&bytes| bytes > 0),
            },
            preload: Vec::new(),
            global_reachable: false,
        };
        let transport = Transport {
            connect_timeout: options.connect_timeout.unwrap_or(Duration::from_secs(15)),
            response_socket_timeout: time(options.response_socket_timeout),
            request_buffer: options
                .request_buffer_size
                .unwrap_or(DEFAULT_REQUEST_BUFFER),
            response_buffer: size(options.response_buffer_size).unwrap_or(DEFAULT_RESPONSE_BUFFER),
            response_spool: options
                .response_spool_size
                .unwrap_or(DEFAULT_RESPONSE_SPOOL),
            request_spool: options.request_spool_size.unwrap_or(DEFAULT_REQUEST_SPOOL),
            spool_directory: options.spool_directory.clone(),
            response_flush_delay: options
                .response_flush_delay
                .unwrap_or(Duration::from_millis(5)),
            header_buffer: size(options.header_buffer_size).unwrap_or(DEFAULT_HEADER_BUFFER),
        };
        Ok(ResolvedGroup {
            process_group,
            place: given.place.clone(),
            reach: Reach::Everywhere,
            env_file: options.env_file.clone(),
            transport,
        })
    }
}

fn bytes(text: &[u8]) -> Bytes {
    text.into()
}

fn identity(
    given: &DaemonProcess,
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
            user: bytes(&apache.user.name),
            user_home: bytes(&apache.user.home),
            no_new_privs,
        });
    }
    let user = options.user.as_ref().unwrap_or(&apache.user);
    let name = show_group(&given.name);
    let place = match given.place.is_known() {
        true => format!("{} process", given.place),
        false => "Process".to_owned(),
    };
    if user.uid == 0 {
        let mend = match given.is_own() {
            true => "Let Apache run as another User.".to_owned(),
            false => format!("Give it a user of its own: WSGIDaemonProcess {name} user=..."),
        };
        return Err(format!(
            "{place} group \"{name}\" would run as root, because Apache's User is root. {mend}"
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
                "{place} group \"{name}\": the groups of its user \"{}\" cannot be looked up: {reason}. \
                 List them with supplementary-groups=, or mend the group database.",
                show(&user.name),
            )
        })?,
    };
    Ok(Identity {
        switch: true,
        uid: user.uid,
        gid,
        groups,
        user: bytes(&user.name),
        user_home: bytes(&user.home),
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

    fn resolved(text: &str) -> ResolvedGroup {
        let resolved = TestConfiguration::of(text).resolve_groups();
        assert_eq!(resolved.refusals, Vec::<String>::new());
        resolved.groups.all()[0].clone()
    }

    fn group(text: &str) -> ProcessGroup {
        resolved(text).process_group
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let ResolvedGroup {
            process_group: group,
            transport,
            ..
        } = resolved("WSGIDaemonProcess shop");
        assert_eq!(
            (group.processes, group.multiprocess, group.threads),
            (1, false, 15)
        );
        assert_eq!((group.identity.uid, group.identity.gid), (33, 33));
        assert_eq!(group.identity.groups, [33]);
        assert_eq!(group.display_name, "(wsgi:shop)".into());
        assert_eq!(group.environment.home, None);
        assert_eq!(group.environment.chdir, None);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(group.timeouts.deadlock, seconds(300));
        assert_eq!(group.timeouts.graceful, seconds(15));
        assert_eq!(group.timeouts.eviction, seconds(15));
        assert_eq!(group.timeouts.shutdown, seconds(5));
        assert_eq!(transport.connect_timeout, Duration::from_secs(15));
        assert_eq!(
            (group.timeouts.request, group.timeouts.socket),
            (None, None)
        );
        assert_eq!(group.listener.backlog, 100);
        assert_eq!(group.listener.uid, 33);
        assert_eq!(transport.request_buffer, 64 * 1024);
        assert_eq!(transport.response_buffer, 1024 * 1024);
        assert_eq!(transport.response_spool, 1 << 30);
        assert_eq!(transport.request_spool, 1 << 30);
        assert_eq!(transport.spool_directory, None);
        assert_eq!(transport.header_buffer, 32768);
        assert_eq!(transport.response_flush_delay, Duration::from_millis(5));
        assert_eq!(group.replacement.maximum_requests, None);
        let main = group.python.main_interpreter;
        assert!(main.restrict_signal && !main.restrict_stdout);
        assert!(group.python.destroy_interpreter && !group.global_reachable);
    }

    #[test]
    fn processes_given_at_all_means_multiprocess() {
        assert!(group("WSGIDaemonProcess shop processes=1").multiprocess);
    }

    #[test]
    fn zero_turns_a_limit_off() {
        let ResolvedGroup {
            process_group: group,
            transport,
            ..
        } = resolved(
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
            (group.replacement.maximum_requests, group.resources.memory),
            (None, None)
        );
        assert_eq!(
            (group.listener.send_buffer, transport.header_buffer),
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
            let environment = group(&format!("WSGIDaemonProcess shop {text}")).environment;
            (environment.home, environment.chdir)
        };
        assert_eq!(home("user=ann"), (None, Some("/home/ann".into())));
        assert_eq!(home("user=ann home=/srv"), (Some("/srv".into()), None));
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
        let identity = &resolved.groups.all()[0].process_group.identity;
        assert_eq!((identity.switch, identity.uid), (false, 33));
        assert_eq!(
            resolved.groups.all()[0].process_group.environment.chdir,
            None
        );
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
        let machine = &configuration.machine;
        let resolved = resolve_groups(
            reading,
            &servers,
            global,
            &apache,
            Default::default(),
            machine,
        );
        assert_eq!(
            resolved.refusals,
            [
                "shop.conf:1 process group \"shop\" would run as root, because Apache's User is \
                 root. Give it a user of its own: WSGIDaemonProcess shop user=..."
            ],
        );
        assert_eq!(
            resolved
                .groups
                .find(b"b")
                .unwrap()
                .process_group
                .identity
                .user,
            Bytes(ann().name)
        );
        assert_ne!(www_data(), ann());
    }

    #[test]
    fn the_title_may_name_the_group() {
        let title = |text: &str| group(&format!("WSGIDaemonProcess shop {text}")).display_name;
        assert_eq!(title("display-name=%{GROUP}"), "(wsgi:shop)".into());
        assert_eq!(title("display-name='my shop'"), "my shop".into());
    }

    #[test]
    fn python_is_that_of_the_group_else_that_of_the_server() {
        let text = "WSGIPythonHome /srv/venv\nWSGIPythonOptimize 1\nWSGIPythonHashSeed 7";
        let python = group(&format!("WSGIDaemonProcess shop\n{text}")).python;
        assert_eq!(python.home.unwrap(), "/srv/venv".into());
        assert_eq!((python.optimize, python.hash_seed), (1, Some("7".into())));
        let python = group(&format!(
            "WSGIDaemonProcess shop python-home=/opt/py\n{text}"
        ))
        .python;
        assert_eq!(python.home.unwrap(), "/opt/py".into());
        let seed = |line: &str| {
            group(&format!("WSGIDaemonProcess shop\n{line}"))
                .python
                .hash_seed
        };
        assert_eq!(seed("WSGIPythonHashSeed random"), Some("random".into()));
        assert_eq!(seed(""), None);
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
        let main = group.python.main_interpreter;
        assert_eq!(main.path, ["/srv/first".into(), "/srv/lib".into()]);
        assert_eq!(main.switch_interval, Some(Duration::from_millis(100)));
        assert!(main.restrict_stdin && main.restrict_stdout);
        assert!(main.restrict_signal);
        assert_eq!(main, group.python.sub_interpreters);
        assert!(group.python.application_groups.is_empty());
    }
}
