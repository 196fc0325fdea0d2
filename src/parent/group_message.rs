//! Turns the resolved configuration into messages for the supervisor.
//!
//! Runs in: the Apache parent. Plain values in, plain values out.

use std::time::Duration;

use wire::codec::Bytes;
use wire::control::GroupSetup;
use wire::log_id::{SOCKET_DIRECTORY_UNUSABLE, SOCKET_PATH_TOO_LONG};

use config::ResolvedGroup;

/// The common beginning of the names of this Apache's sockets, which no other Apache uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketNames {
    /// `WSGISocketPrefix`, or `wsgi` in the runtime directory; absolute.
    pub prefix: Vec<u8>,
    /// The Apache parent.
    pub parent_pid: u32,
}

impl SocketNames {
    /// Path of the socket of `group`. It is the same in every generation, because the socket lives
    /// as long as the parent: a request from before a restart still reaches the group.
    pub fn path(&self, group: &ResolvedGroup) -> Vec<u8> {
        let mut path = self.prefix.clone();
        let name = file_name(&group.process_group.name);
        path.extend_from_slice(format!(".{}.{name}.sock", self.parent_pid).as_bytes());
        path
    }

    /// Path of the supervisor's status socket.
    pub fn status_path(&self) -> Vec<u8> {
        let mut path = self.prefix.clone();
        path.extend_from_slice(format!(".{}.{STATUS}.sock", self.parent_pid).as_bytes());
        path
    }

    /// Refuses a directory in which no socket can be created, or in which another user could
    /// replace one. `pardoned` tells which system errors to ignore.
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

    /// Refuses a socket whose path is too long for the kernel, with room for any pid of the parent.
    pub fn check(&self, group: &ResolvedGroup) -> Result<(), String> {
        let longest = SocketNames {
            prefix: self.prefix.clone(),
            parent_pid: os::process::MAX_PID,
        };
        let path = longest.path(group);
        os::listener::check_path(&path).map_err(|(part, length, limit)| {
            format!(
                "{SOCKET_PATH_TOO_LONG}: the socket of process group \"{}\" would be {}, {part} has {length} \
                 bytes; the system allows {limit}. Choose a shorter path with WSGISocketPrefix.",
                group.process_group.shown_name(),
                String::from_utf8_lossy(&path),
            )
        })
    }
}

/// The supervisor's own socket, among those of groups.
const STATUS: &str = "status";

/// A group's name as part of a file name: the name itself if it is short, harmless and not taken,
/// otherwise a hash of it.
fn file_name(group: &[u8]) -> String {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    match std::str::from_utf8(group) {
        // Not longer than the name of any other, so that the path fits where theirs do.
        Ok("") => "~".to_owned(),
        Ok(name)
            if name.len() <= 32
                && !name.starts_with('.')
                && name != STATUS
                && group.iter().all(harmless) =>
        {
            name.to_owned()
        }
        _ => {
            // FNV-1a: a configuration has few names, and nobody gains by a collision.
            let hash = group.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            format!("~{hash:016x}")
        }
    }
}

/// What the parent adds to a group's definition before it sends it.
pub struct Additions {
    /// The secret of this generation.
    pub key: [u8; 16],
    /// The variables of the group's `env-file=`.
    pub env_file: Vec<(Bytes, Bytes)>,
    /// The server's `Timeout`.
    pub timeout: Duration,
    /// The number of the server's `LogLevel`.
    pub log_level: u32,
}

/// The message for one group.
pub fn message(group: &ResolvedGroup, names: &SocketNames, additions: Additions) -> GroupSetup {
    let socket_path = names.path(group).into();
    let mut group = group.process_group.clone();
    group.timeouts.socket.get_or_insert(additions.timeout);
    // A variable of `env=` takes precedence: it comes later.
    group.environment.variables.splice(0..0, additions.env_file);
    GroupSetup {
        group,
        socket_path,
        key: additions.key,
        log_level: additions.log_level,
    }
}

/// How long the supervisor may need to end everything: the longest `shutdown-timeout`, and a little
/// for itself.
pub fn time_to_stop(groups: &[ResolvedGroup]) -> Duration {
    const MARGIN: Duration = Duration::from_secs(2);
    const LONGEST: Duration = Duration::from_secs(60);
    let longest = groups
        .iter()
        .filter_map(|group| group.process_group.timeouts.shutdown)
        .max();
    (longest.unwrap_or_default() + MARGIN).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::testing::TestConfiguration;

    #[test]
    fn a_socket_is_named_after_its_group_and_stays_so_when_others_come_and_go() {
        assert_eq!(file_name(b"shop.example-1"), "shop.example-1");
        let (odd, other) = (file_name(b"a/b"), file_name(b"a b"));
        assert!(odd.starts_with('~') && odd.len() == 17 && odd != other);
        assert_ne!(file_name(&[b'a'; 33]), "a".repeat(33));
        assert_ne!(file_name(b".."), "..");
        assert_eq!(file_name(b""), "~");
        assert_ne!(file_name(STATUS.as_bytes()), STATUS);
    }

    #[test]
    fn the_message_has_the_server_timeout_and_the_env_file_where_the_group_says_nothing_else() {
        let text = "WSGIDaemonProcess shop env=A=1\nWSGIDaemonProcess blog socket-timeout=5";
        let groups = TestConfiguration::of(text).resolve_groups().groups;
        let names = SocketNames {
            prefix: b"/run/wsgi".to_vec(),
            parent_pid: 7,
        };
        let sent = |name: &[u8]| {
            let additions = Additions {
                key: [1; 16],
                env_file: vec![("A".into(), "0".into())],
                timeout: Duration::from_secs(60),
                log_level: 6,
            };
            message(groups.find(name).unwrap(), &names, additions)
        };
        let shop = sent(b"shop");
        assert_eq!(*shop.socket_path, *b"/run/wsgi.7.shop.sock");
        assert_eq!(shop.group.timeouts.socket, Some(Duration::from_secs(60)));
        let variables = [("A".into(), "0".into()), ("A".into(), "1".into())];
        assert_eq!(shop.group.environment.variables, variables);
        let blog = sent(b"blog").group;
        assert_eq!(blog.timeouts.socket, Some(Duration::from_secs(5)));
    }
}
