//! Who answers a request.
//!
//! Runs in: an Apache child, in the handler, after the checks.

use crate::config::process_group::ProcessGroup;
use crate::config::{Groups, Settings};

use super::refusal::Refusal;

/// The server a request came to, as process groups know servers.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The virtual host; `None` is the main server.
    pub id: Option<usize>,
    /// Its ServerName.
    pub name: Option<&'a [u8]>,
}

/// Finds the process group that `settings` name and that `host` may use.
pub fn process_group<'a>(
    settings: &Settings<'_>,
    groups: &'a Groups,
    host: Host<'_>,
) -> Result<&'a ProcessGroup, Refusal> {
    let name = &settings.process_group[..];
    if !settings.process_group_allowed() {
        return Err(Refusal::GroupRestricted(name.to_vec()));
    }
    if name.is_empty() {
        return Err(Refusal::NoGroup);
    }
    let Some(group) = groups.find(name) else {
        return Err(Refusal::GroupUnknown(groups.undefined_sentence(name)));
    };
    if !group.usable_from(host.id, host.name) {
        return Err(Refusal::GroupOfOtherHost(
            name.to_vec(),
            group.place.to_string(),
        ));
    }
    if group.threads == 0 {
        return Err(Refusal::GroupServesNothing(name.to_vec()));
    }
    Ok(group)
}
