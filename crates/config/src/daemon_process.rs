//! A `WSGIDaemonProcess` line as given: it defines one process group.
//!
//! Runs in: the Apache parent while the configuration is read. The options' setters are in
//! [`super::daemon_options`].

use std::collections::BTreeMap;
use std::time::Duration;

use wire::own_group;

use super::error::show;
use super::place::Place;
use super::system::{Account, AccountGroup};

/// The options of one group, as written. A zero that means "off" stays a zero here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DaemonOptions {
    pub user: Option<Account>,
    pub group: Option<AccountGroup>,
    pub supplementary_groups: Option<Vec<u32>>,
    pub umask: Option<u32>,
    pub processes: Option<u32>,
    pub threads: Option<u32>,
    pub home: Option<Vec<u8>>,
    pub chroot: Option<Vec<u8>>,
    pub lang: Option<Vec<u8>>,
    pub locale: Option<Vec<u8>>,
    pub python_home: Option<Vec<u8>>,
    pub python_path: Option<Vec<Vec<u8>>>,
    pub python_eggs: Option<Vec<u8>>,
    pub switch_interval: Option<Duration>,
    pub stack_size: Option<u64>,
    pub maximum_requests: Option<u64>,
    pub maximum_requests_jitter: Option<u64>,
    pub startup_timeout: Option<Duration>,
    pub deadlock_timeout: Option<Duration>,
    pub inactivity_timeout: Option<Duration>,
    pub request_timeout: Option<Duration>,
    pub interrupt_timeout: Option<Duration>,
    pub graceful_timeout: Option<Duration>,
    pub eviction_timeout: Option<Duration>,
    pub shutdown_timeout: Option<Duration>,
    pub restart_interval: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub socket_timeout: Option<Duration>,
    pub queue_timeout: Option<Duration>,
    pub response_socket_timeout: Option<Duration>,
    pub request_buffer_size: Option<u64>,
    pub response_buffer_size: Option<u64>,
    pub response_spool_size: Option<u64>,
    pub request_spool_size: Option<u64>,
    pub spool_directory: Option<Vec<u8>>,
    pub response_flush_delay: Option<Duration>,
    pub header_buffer_size: Option<u64>,
    pub send_buffer_size: Option<u32>,
    pub receive_buffer_size: Option<u32>,
    pub socket_user: Option<Account>,
    pub listen_backlog: Option<u32>,
    pub display_name: Option<Vec<u8>>,
    pub cpu_time_limit: Option<Duration>,
    pub cpu_priority: Option<i32>,
    pub memory_limit: Option<u64>,
    pub virtual_memory_limit: Option<u64>,
    pub max_rss: Option<u64>,
    pub script_user: Option<Account>,
    pub script_group: Option<AccountGroup>,
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    pub env_file: Option<Vec<u8>>,
    pub clear_env: Option<bool>,
    pub no_new_privs: Option<bool>,
}

/// One `WSGIDaemonProcess` line, as written.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonProcess {
    /// The group's name; empty for the server's own group.
    pub name: Vec<u8>,
    /// Its options.
    pub options: DaemonOptions,
    /// The same as text, to show where two definitions differ.
    pub as_written: BTreeMap<&'static str, Vec<Vec<u8>>>,
    /// Where it stands; the virtual host decides who may use the group.
    pub place: Place,
}

impl DaemonProcess {
    /// The server's own group, where nothing is said about it.
    pub fn own() -> DaemonProcess {
        DaemonProcess {
            name: own_group::NAME.to_vec(),
            options: DaemonOptions::default(),
            as_written: BTreeMap::new(),
            place: Place::default(),
        }
    }

    /// Whether it is the server's own.
    pub fn is_own(&self) -> bool {
        self.name == own_group::NAME
    }

    /// The options in which two definitions differ, as written here (`threads=15`). An option
    /// that only the other has reads `no threads=`.
    pub fn differences(&self, other: &DaemonProcess) -> String {
        let mut names: Vec<_> = self
            .as_written
            .keys()
            .chain(other.as_written.keys())
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut differing = Vec::new();
        for name in names {
            let here = self.as_written.get(name);
            if here != other.as_written.get(name) {
                differing.push(match here {
                    Some(values) => values
                        .iter()
                        .map(|value| format!("{name}={}", show(value)))
                        .collect::<Vec<_>>()
                        .join(" "),
                    None => format!("no {name}="),
                });
            }
        }
        differing.join(", ")
    }
}
