//! What the supervisor is told: the settled configuration as messages.
//!
//! Runs in: the Apache parent. Plain values in, plain values out.

use std::time::Duration;

use wire::codec::Bytes;
use wire::group::{self, Group};
use wire::log_id::{SOCKET_DIRECTORY_UNUSABLE, SOCKET_PATH_TOO_LONG};

use config::jail;
use config::process_group::ProcessGroup;

/// Beginning of the names of all sockets of this Apache, and of nobody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketNames {
    /// `WSGISocketPrefix`, or `wsgi` in the runtime directory; absolute.
    pub prefix: Vec<u8>,
    /// The Apache parent.
    pub parent_pid: u32,
}

impl SocketNames {
    /// Where `group` listens. The name is the same in every generation: the socket lives as long
    /// as the parent, so that a request of before a restart finds its way.
    pub fn path(&self, group: &ProcessGroup) -> Vec<u8> {
        let mut path = self.prefix.clone();
        let name = file_name(&group.name);
        path.extend_from_slice(format!(".{}.{name}.sock", self.parent_pid).as_bytes());
        path
    }

    /// Where the supervisor answers those who ask how things are.
    pub fn status_path(&self) -> Vec<u8> {
        let mut path = self.prefix.clone();
        path.extend_from_slice(format!(".{}.{STATUS}.sock", self.parent_pid).as_bytes());
        path
    }

    /// Refuses a directory in which no socket can be made, or in which somebody else could put his in
    /// its place; `pardoned` says which errors of the system mean nothing.
    pub fn check_directory(&self, pardoned: impl Fn(i32) -> bool) -> Result<(), String> {
        os::listener::check_directory(&self.prefix).or_else(|error| match error.raw_os_error() {
            Some(number) if pardoned(number) => Ok(()),
            _ => Err(format!(
                "{SOCKET_DIRECTORY_UNUSABLE}: the sockets of process groups cannot be made at {}: {error}. \
                 WSGISocketPrefix names a place where root alone may write, such as /run/apache2/wsgi.",
                String::from_utf8_lossy(&self.prefix)
            )),
        })
    }

    /// Refuses a socket whose path the kernel cannot take, whatever number the parent that serves
    /// will have.
    pub fn check(&self, group: &ProcessGroup) -> Result<(), String> {
        let longest = SocketNames {
            prefix: self.prefix.clone(),
            parent_pid: os::process::MAX_PID,
        };
        let path = longest.path(group);
        os::listener::check_path(&path).map_err(|(part, length, limit)| {
            format!(
                "{SOCKET_PATH_TOO_LONG}: the socket of process group \"{}\" would be {}, {part} has {length} \
                 bytes; the system allows {limit}. Choose a shorter path with WSGISocketPrefix.",
                String::from_utf8_lossy(&group.name),
                String::from_utf8_lossy(&path),
            )
        })
    }
}

/// The supervisor's own socket, among those of groups.
const STATUS: &str = "status";

/// A group's name as part of a file's: itself when it is short, harmless and not taken, else a
/// number made of it.
fn file_name(group: &[u8]) -> String {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    match std::str::from_utf8(group) {
        Ok(name)
            if name.len() <= 32
                && !name.starts_with('.')
                && name != STATUS
                && group.iter().all(harmless) =>
        {
            name.to_owned()
        }
        _ => {
            // FNV-1a: names of one configuration are few, and nobody gains by a collision.
            let hash = group.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            format!("~{hash:016x}")
        }
    }
}

/// The message for one group, but for the variables of its `env-file=`. `timeout` is the server's
/// `Timeout`, `log_level` the number of its `LogLevel`.
pub fn message(
    group: &ProcessGroup,
    names: &SocketNames,
    key: [u8; 16],
    timeout: Duration,
    log_level: u32,
) -> Group {
    Group {
        name: bytes(&group.name),
        id: group.id,
        socket_path: names.path(group).into(),
        key,
        socket_uid: group.transport.socket_uid,
        listen_backlog: group.transport.listen_backlog,
        processes: group.processes,
        processes_given: group.multiprocess,
        threads: group.threads,
        identity: group::Identity {
            switch: group.identity.switch,
            uid: group.identity.uid,
            gid: group.identity.gid,
            groups: group.identity.groups.clone(),
            user: bytes(&group.identity.user),
            user_home: bytes(&group.identity.user_home),
            no_new_privs: group.identity.no_new_privs,
        },
        place: place(group),
        python: python(group),
        limits: limits(group),
        timeouts: timeouts(group, timeout),
        display_name: group.display_name.clone().into(),
        preload: preload(group),
        global_reachable: group.global_reachable,
        log_level,
    }
}

/// The scripts as the group's processes see them. Requests for those they cannot see are refused.
fn preload(group: &ProcessGroup) -> Vec<(Bytes, Bytes)> {
    let chroot = group.surroundings.chroot.as_deref();
    let seen = group.preload.iter().filter_map(|(script, application)| {
        let script = match chroot {
            Some(root) => jail::inside(root, script)?,
            None => script,
        };
        Some((bytes(script), bytes(application)))
    });
    seen.collect()
}

fn place(group: &ProcessGroup) -> group::Place {
    let around = &group.surroundings;
    group::Place {
        home: some_bytes(&around.home),
        chdir: some_bytes(&around.chdir),
        chroot: some_bytes(&around.chroot),
        umask: around.umask,
        lang: some_bytes(&around.lang),
        locale: some_bytes(&around.locale),
        env: around
            .env
            .iter()
            .map(|(name, value)| (bytes(name), bytes(value)))
            .collect(),
        clear_env: around.clear_env,
    }
}

fn python(group: &ProcessGroup) -> group::Python {
    let python = &group.python;
    group::Python {
        home: some_bytes(&python.home),
        path: python
            .path
            .iter()
            .map(|directory| bytes(directory))
            .collect(),
        eggs: some_bytes(&python.eggs),
        switch_interval: python.switch_interval.map_or(0, |interval| {
            u64::try_from(interval.as_micros())
                .unwrap_or(u64::MAX)
                .max(1)
        }),
        optimize: python.optimize,
        dont_write_bytecode: python.dont_write_bytecode,
        hash_seed: python.hash_seed,
        warnings: python.warnings.iter().map(|filter| bytes(filter)).collect(),
        restrict_stdin: python.restrict_stdin,
        restrict_stdout: python.restrict_stdout,
        restrict_signal: python.restrict_signal,
        destroy_interpreter: python.destroy_interpreter,
    }
}

fn limits(group: &ProcessGroup) -> group::Limits {
    let limits = &group.limits;
    group::Limits {
        maximum_requests: limits.maximum_requests.unwrap_or(0),
        maximum_requests_jitter: limits.maximum_requests_jitter,
        stack_size: limits.stack_size.unwrap_or(0),
        cpu_time: millis(limits.cpu_time),
        cpu_priority: i64::from(limits.cpu_priority),
        memory: limits.memory.unwrap_or(0),
        virtual_memory: limits.virtual_memory.unwrap_or(0),
        max_rss: limits.max_rss.unwrap_or(0),
        script_user: limits.script_user,
        script_group: limits.script_group,
        send_buffer: group.transport.send_buffer.unwrap_or(0),
        receive_buffer: group.transport.receive_buffer.unwrap_or(0),
    }
}

fn timeouts(group: &ProcessGroup, timeout: Duration) -> group::Timeouts {
    let limits = &group.timeouts;
    group::Timeouts {
        startup: millis(limits.startup),
        deadlock: millis(limits.deadlock),
        inactivity: millis(limits.inactivity),
        request: millis(limits.request),
        interrupt: millis(limits.interrupt),
        graceful: millis(limits.graceful),
        eviction: millis(limits.eviction),
        shutdown: millis(limits.shutdown),
        restart_interval: millis(limits.restart_interval),
        socket: millis(Some(limits.socket.unwrap_or(timeout))),
        queue: millis(limits.queue),
    }
}

/// Milliseconds, 0 for "off". A time that is on is at least one.
fn millis(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}

fn bytes(text: &[u8]) -> Bytes {
    text.to_vec().into()
}

fn some_bytes(text: &Option<Vec<u8>>) -> Option<Bytes> {
    text.as_deref().map(bytes)
}

/// How long the supervisor may need to end everything: the longest `shutdown-timeout`, and a little
/// for itself.
pub fn time_to_stop(groups: &[ProcessGroup]) -> Duration {
    const MARGIN: Duration = Duration::from_secs(2);
    const LONGEST: Duration = Duration::from_secs(60);
    let longest = groups
        .iter()
        .filter_map(|group| group.timeouts.shutdown)
        .max();
    (longest.unwrap_or_default() + MARGIN).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_after_its_group_and_stays_so_when_others_come_and_go() {
        assert_eq!(file_name(b"shop.example-1"), "shop.example-1");
        let (odd, other) = (file_name(b"a/b"), file_name(b"a b"));
        assert!(odd.starts_with('~') && odd.len() == 17 && odd != other);
        assert_ne!(file_name(&[b'a'; 33]), "a".repeat(33));
        assert_ne!(file_name(b".."), "..");
        assert_ne!(file_name(STATUS.as_bytes()), STATUS);
    }

    #[test]
    fn a_time_that_is_on_never_becomes_zero() {
        assert_eq!(millis(None), 0);
        assert_eq!(millis(Some(Duration::from_micros(5))), 1);
        assert_eq!(millis(Some(Duration::from_secs(5))), 5000);
    }
}
