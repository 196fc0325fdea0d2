//! The configuration in the form that requests need, computed once.
//!
//! Runs in: the Apache parent, which makes it when a configuration comes into force. Read in: the
//! children, by all threads at once; only the connection pool in it changes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::words::Text;
use config::{Globals, Groups, ResolvedGroup};
use httpd::regex::Regex;
use os::rlimit::Resource;

use super::connect::connection_pool::GroupPool;
use super::relay::spool::{Place, Usage};
use super::relay::RelayLimits;

/// How long a client may hold the worker up, in all, before the response goes to a temporary file.
/// A client that reads quickly never causes one.
const SPOOL_AFTER: Duration = Duration::from_millis(100);

/// How a child reaches the workers of one group.
#[derive(Debug)]
pub struct GroupEndpoint {
    /// Path of the group's listening socket.
    pub path: Vec<u8>,
    /// The group's secret of this generation.
    pub key: [u8; 16],
    /// Idle connections of the child; none in the parent.
    pub pool: GroupPool,
}

/// The configuration that is in force, as requests need it.
pub struct ActiveConfiguration {
    /// The process groups.
    pub groups: Groups,
    /// How to reach each, by name.
    pub endpoints: HashMap<Vec<u8>, GroupEndpoint>,
    /// The expressions of `WSGIScriptAliasMatch`, by their text.
    pub regexes: HashMap<Text, Regex>,
    /// Settings of the whole server.
    pub globals: Globals,
    /// Path of the supervisor's status socket; `None` where there is no supervisor.
    pub status: Option<Vec<u8>>,
    /// Directory for temporary files of groups that name none.
    pub spool_directory: PathBuf,
    /// How many descriptors may wait for clients in a child (temporary files and those that workers
    /// passed), and how many idle connections.
    pub share_of_descriptors: usize,
}

/// Maximum number of descriptors for each use in a child that keeps some: a quarter of the
/// process's limit. Most of the rest are for clients' connections and running requests.
pub fn share_of_descriptors() -> usize {
    // If the kernel does not tell, the smallest limit that is usual.
    let most = Resource::OpenFiles.limit().map_or(1024, |limit| limit.soft);
    usize::try_from(most / 4).unwrap_or(usize::MAX).min(4096)
}

/// The directory for temporary files of groups that name none. Not `/tmp` first: it often is
/// memory.
pub fn default_spool_directory() -> PathBuf {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = ["/var/tmp", "/tmp"].map(PathBuf::from);
    named
        .filter(|path| path.is_absolute())
        .into_iter()
        .chain(usual)
        .find(|path| path.is_dir())
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

impl ActiveConfiguration {
    /// Where response data of `group` waits that does not fit into memory: `most` bytes per
    /// request.
    pub fn spool<'a>(&'a self, group: &'a ResolvedGroup, most: u64) -> Place<'a> {
        static USAGE: Usage = Usage::new();
        let own = group.transport.spool_directory.as_deref();
        Place {
            directory: own.map_or(&self.spool_directory, |path| {
                Path::new(OsStr::from_bytes(path))
            }),
            most,
            descriptors: self.share_of_descriptors,
            usage: &USAGE,
        }
    }
}

/// The limits of a conversation with a worker of `group`. `timeout` is the server's `Timeout`.
pub fn limits(group: &ResolvedGroup, timeout: Duration) -> RelayLimits {
    let timeouts = &group.process_group.timeouts;
    let transport = &group.transport;
    let response_buffer = usize::try_from(transport.response_buffer).unwrap_or(usize::MAX);
    RelayLimits {
        connect: transport.connect_timeout,
        successor: transport.connect_timeout + timeouts.startup.unwrap_or_default(),
        silence: timeouts.socket.unwrap_or(timeout),
        client: timeout,
        reader: transport
            .response_socket_timeout
            .or(timeouts.socket)
            .unwrap_or(timeout),
        flush_delay: transport.response_flush_delay,
        flush_bytes: response_buffer,
        response_buffer,
        spool_after: SPOOL_AFTER,
        header_field: usize::try_from(transport.header_buffer).unwrap_or(usize::MAX),
    }
}
