//! What a child needs of the configuration, computed once.
//!
//! Runs in: the Apache parent, which makes it when a configuration comes into force. Read in: the children,
//! by all threads at once; only the connection pool in it changes.

use std::collections::HashMap;
use std::time::Duration;

use config::given::Text;
use config::process_group::ProcessGroup;
use config::{Globals, Groups};
use httpd::regex::Regex;
use os::rlimit::Resource;

use super::connect::connection_pool::GroupPool;
use super::relay::RelayLimits;

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
    /// What holds for the whole server.
    pub globals: Globals,
    /// Path of the supervisor's status socket; `None` where there is no supervisor.
    pub status: Option<Vec<u8>>,
}

/// How many descriptors each of the things in a child that keep some may have: a quarter of what the
/// process may have open. Most of the rest are clients' connections and those of running requests.
pub fn share_of_descriptors() -> usize {
    // Where the kernel does not say, what most systems allow at least.
    let most = Resource::OpenFiles.limit().map_or(1024, |limit| limit.soft);
    usize::try_from(most / 4).unwrap_or(usize::MAX).min(4096)
}

/// The limits of a conversation with a worker of `group`. `timeout` is the server's `Timeout`.
pub fn limits(group: &ProcessGroup, timeout: Duration) -> RelayLimits {
    let timeouts = &group.timeouts;
    RelayLimits {
        connect: timeouts.connect,
        successor: timeouts.connect + timeouts.startup.unwrap_or_default(),
        silence: timeouts.socket.unwrap_or(timeout),
        client: timeout,
        reader: timeouts
            .response_socket
            .or(timeouts.socket)
            .unwrap_or(timeout),
        flush_delay: group.transport.response_flush_delay,
        flush_bytes: usize::try_from(group.transport.response_buffer).unwrap_or(usize::MAX),
        response_buffer: usize::try_from(group.transport.response_buffer).unwrap_or(usize::MAX),
        header_field: usize::try_from(group.transport.header_buffer).unwrap_or(usize::MAX),
    }
}
