//! The role of the Apache parent: it turns the configuration into running process groups.
//!
//! Runs in: the Apache parent, on its only thread, while a configuration is checked or brought into
//! force. No thread, no signal handler, no Python, no `static` here: httpd throws this image away
//! and loads it anew at every restart.

#![forbid(unsafe_code)]

pub mod control_channel;
pub mod env_file;
pub mod error_log;
pub mod group_message;
pub mod installed_files;
pub mod supervisor;
pub mod system;

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use wire::control::StatusSocket;
use wire::group::ServerFacts;
use wire::log_id::{
    CONFIGURATION_NOT_APPLIED, CONFIGURATION_REFUSED, DIRECTIVES_WITHOUT_EFFECT, DROPPED_DIRECTIVE,
    GROUP_OUT_OF_REACH, OWN_GROUP_LEFT_OUT, RANDOM_BYTES_UNAVAILABLE, RELATIVE_PYTHON_PATH,
    SUPERVISOR_NOT_STARTED,
};

use config::own_group::OtherDirectives;
use config::process_group::Reach;
use config::{self, Globals, Reading, ResolvedGroup, ResolvedGroups, ServerConfig};
use control_channel::SupervisorConfiguration;
use error_log::ErrorLog;
use group_message::{Additions, SocketNames};
use httpd::hooks::{ConfigurationRefused, Configured};
use httpd::log::Log;
use httpd::process::{self, Purpose, State};
use httpd::server::{self, Server};
use installed_files::Files;
use system::Machine;

/// The version of mod_wsgi whose behaviour this module has. Applications and the server's version
/// string show it, and programs use it to learn what they can rely on.
pub const VERSION: (u32, u32, u32) = (6, 1, 1);

/// How requests reach one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAddress {
    /// Path of its listening socket.
    pub socket_path: Vec<u8>,
    /// The key that every request must carry.
    pub key: [u8; 16],
}

/// The result of a configuration that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// By group.
    pub addresses: HashMap<Vec<u8>, GroupAddress>,
    /// Path of the supervisor's status socket, where there is a supervisor.
    pub status: Option<Vec<u8>>,
}

/// Resolves the configuration that was read and checks it. Logs the reasons if it is refused.
pub fn check(
    configured: &Configured<'_>,
    reading: &Reading,
    main: &ServerConfig,
) -> Result<ResolvedGroups, ConfigurationRefused> {
    let machine = Machine::new(configured.pool);
    let servers: Vec<config::groups::Server<'_>> = configured
        .main
        .and_following()
        .map(|server| config::groups::Server {
            id: server.is_virtual().then(|| server.id()),
            hostname: server.name(),
        })
        .collect();
    let mut others = OtherDirectives::default();
    configured.each_directive(|name, args| others.note(name, args));
    let mut resolved = config::resolve_groups(
        reading,
        &servers,
        &main.global,
        &machine.apache_identity(),
        others,
        &machine,
    );
    let refused = resolved.refusals.iter();
    let mut refusals: Vec<String> = refused
        .map(|sentence| format!("{CONFIGURATION_REFUSED}: {sentence}"))
        .collect();
    if !resolved.groups.all().is_empty() {
        let names = socket_names(configured, main);
        let too_long = resolved
            .groups
            .all()
            .iter()
            .filter_map(|group| names.check(group).err());
        refusals.extend(too_long);
        let serves = process::purpose() == Purpose::Serve;
        // Any user may run `-t`. A file that this user cannot see may still be there for root.
        let sees_all = serves || os::accounts::effective_uid() == 0;
        // What starts Apache creates its runtime directory, so a check may not find it yet.
        let is_there = serves || Globals::of(&main.global).socket_prefix.is_some();
        let pardoned = |number| match number {
            libc::EACCES => !sees_all,
            libc::ENOENT => !is_there,
            _ => false,
        };
        // At a restart the running groups keep their sockets, and the supervisor reports what
        // fails.
        if !process::is_restart() {
            refusals.extend(names.check_directory(pardoned).err());
        }
        let groups = resolved.groups.all().iter();
        let files = groups.filter(|group| sees_all || env_file::is_readable(group));
        refusals.extend(files.filter_map(|group| env_file::read(group).err()));
        if let Err(missing) = companions() {
            refusals.push(missing);
        }
    }
    if resolved.is_own_group_only_possible && !refusals.is_empty() {
        // A site without Python in it, which lets `.htaccess` files choose handlers, starts all the
        // same.
        resolved.leave_own_group_out(refusals.join(" "));
        refusals.clear();
    }
    if process::purpose() == Purpose::CheckConfiguration {
        warn(configured, reading, &resolved);
    }
    for refusal in &refusals {
        // The start-up log is the terminal as long as there is one.
        configured.scratch.error(refusal);
    }
    if refusals.is_empty() {
        Ok(resolved)
    } else {
        Err(ConfigurationRefused)
    }
}

/// Warns of settings that are probably not meant. Once: with `-t` when the configuration is
/// checked, otherwise when it is put into force, because the error log is not open before.
pub fn warn(configured: &Configured<'_>, reading: &Reading, resolved: &ResolvedGroups) {
    let dropped = reading.dropped_sentences();
    for (number, sentences) in [
        (GROUP_OUT_OF_REACH, &resolved.warnings),
        (RELATIVE_PYTHON_PATH, &resolved.relative_paths),
        (DROPPED_DIRECTIVE, &dropped),
    ] {
        for sentence in sentences {
            configured.main.warning(format!("{number}: {sentence}"));
        }
    }
    if let Some(reason) = &resolved.own_group_left_out {
        configured.main.warning(format!(
            "{OWN_GROUP_LEFT_OUT}: the server's own process group (%{{GLOBAL}}) is left out, and requests \
             that come to it get 500: {reason}"
        ));
    }
    for (number, place, remark) in &reading.numbered_remarks {
        configured
            .main
            .warning(format!("{number}: {place} {remark}"));
    }
    if let Some(sentence) = reading.without_effect_sentence() {
        configured
            .main
            .warning(format!("{DIRECTIVES_WITHOUT_EFFECT}: {sentence}"));
    }
}

/// Whether the configuration that was read will be served. Not if httpd only checks or shows it,
/// and not in the first of the two readings of a start.
pub fn is_to_serve() -> bool {
    process::purpose() == Purpose::Serve && process::state() == State::Configuring
}

/// Puts the groups into force. An error has been logged already. A restart never returns one,
/// because the old groups keep running.
pub fn start(
    configured: &Configured<'_>,
    groups: &[ResolvedGroup],
    main: &ServerConfig,
) -> Result<Started, ConfigurationRefused> {
    let version = format!("mod_wsgi/{}.{}.{}", VERSION.0, VERSION.1, VERSION.2);
    process::add_version_component(configured.pool, &version);
    let refused = |sentence: String| {
        configured.scratch.error(sentence);
        ConfigurationRefused
    };
    if groups.is_empty() && process::companion().is_none() {
        return Ok(Started::default());
    }
    let files = companions().map_err(refused)?;
    let names = socket_names(configured, main);
    let mut addresses = HashMap::new();
    let mut messages = Vec::with_capacity(groups.len());
    for group in groups {
        let key = os::random::bytes16().map_err(|error| {
            refused(format!(
                "{RANDOM_BYTES_UNAVAILABLE}: the system gives no secret: {error}"
            ))
        })?;
        let address = GroupAddress {
            socket_path: names.path(group),
            key,
        };
        addresses.insert(group.process_group.name.0.clone(), address);
        let server = server_of(group, configured.main);
        let additions = Additions {
            key,
            env_file: env_file::read(group).map_err(refused)?,
            timeout: configured.main.timeout(),
            log_level: server.log_level(),
        };
        let message = group_message::message(group, &names, additions);
        messages.push((message, log_of(server, configured.main)));
    }
    let configuration = SupervisorConfiguration {
        facts: facts(&files),
        log: ErrorLog::of(configured.main),
        groups: messages,
        status: Some(StatusSocket {
            path: names.status_path().into(),
            uid: process::children_identity().uid,
        }),
    };
    let mut started = Started {
        addresses,
        status: Some(names.status_path()),
    };
    let first = !process::is_restart();
    if process::companion().is_none() {
        let prefix = &names.prefix;
        // Sockets of earlier Apaches that had no time to clean up. The supervisor reports a
        // directory that cannot be read.
        let _ = os::listener::remove_leftovers(prefix, std::process::id());
    }
    let limit = group_message::time_to_stop(groups);
    match supervisor::serve(configured.pool, &files.supervisor, configuration, limit) {
        Ok(()) => Ok(started),
        Err(failure) if first => Err(refused(format!("{SUPERVISOR_NOT_STARTED}: {failure}."))),
        Err(failure) => {
            let before = failure.addresses_still_served();
            let rest = match before.len() == started.addresses.len() {
                true => "They go on as they were.",
                false => {
                    "Those that ran before go on as they were; requests for others get 503 until a \
                     restart succeeds."
                }
            };
            configured.main.error(format!(
                "{CONFIGURATION_NOT_APPLIED}: the new configuration of process groups is not in force: {failure}. \
                 {rest}"
            ));
            for address in before {
                let (socket_path, key) = (address.socket_path.0.clone(), address.key);
                started
                    .addresses
                    .insert(address.group.0.clone(), GroupAddress { socket_path, key });
            }
            Ok(started)
        }
    }
}

/// The files beside the module.
fn companions() -> Result<Files, String> {
    let module = process::module_file().unwrap_or_else(|| PathBuf::from("/"));
    Files::beside(&module).map_err(|missing| missing.to_string())
}

fn socket_names(configured: &Configured<'_>, main: &ServerConfig) -> SocketNames {
    let prefix = Globals::of(&main.global)
        .socket_prefix
        .or_else(|| server::runtime_relative(configured.pool, c"wsgi").map(<[u8]>::to_vec));
    SocketNames {
        prefix: prefix.unwrap_or_default(),
        parent_pid: std::process::id(),
    }
}

/// The server whose log a group's workers write to: the virtual host that defines it, or the main
/// one.
fn server_of<'s>(group: &ResolvedGroup, main: Server<'s>) -> Server<'s> {
    let Reach::VirtualHosts { ids, .. } = &group.reach else {
        return main;
    };
    main.and_following()
        .find(|server| ids.contains(&server.id()))
        .unwrap_or(main)
}

/// The error log of a server, where it is not the main one.
fn log_of(server: Server<'_>, main: Server<'_>) -> Option<ErrorLog> {
    (server.error_log_name() != main.error_log_name()).then(|| ErrorLog::of(server))
}

fn facts(files: &Files) -> ServerFacts {
    let mpm = process::mpm();
    let (major, minor, patch) = process::version();
    ServerFacts {
        apache_version: (major, (minor, patch)),
        module_version: (VERSION.0, (VERSION.1, VERSION.2)),
        server_description: server::description().into(),
        build_date: process::build_date().into(),
        mpm_name: mpm.name.into(),
        mpm_max_processes: mpm.max_processes,
        mpm_max_threads: mpm.max_threads,
        runtime: files.runtime.as_os_str().as_bytes().into(),
        default_python: installed_files::DEFAULT_PYTHON.into(),
        parent_pid: std::process::id(),
        one_process: process::is_single(),
    }
}
