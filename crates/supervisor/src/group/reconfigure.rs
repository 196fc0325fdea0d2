//! Applies a new configuration to a running group, and decides which workers may serve under it.
//!
//! Runs in: the supervisor, at every graceful restart. The current configuration decides which
//! process serves a request. Earlier workers go on until their successors are ready only if they
//! run as the users, in the place and under the limits of the new configuration, and at the same
//! socket. Otherwise they accept no more requests. Requests then wait for a successor, and get 503
//! at once if no successor can be started.

use std::rc::Rc;
use std::time::Duration;

use os::listener::Listener;
use wire::control::{GroupSetup, WorkerSetup};
use wire::group::{
    Identity, ListenerOptions, ProcessEnvironment, ProcessGroup, ResourceLimits, ScriptOwner,
    ServerFacts,
};
use wire::log_id::WORKERS_NOT_AS_CONFIGURED;
use wire::response::Level;

use super::{Group, Python, EARLIER_KEYS};
use crate::error_log::ErrorLog;

/// The options in which workers of `old` and `new` differ in user, place or limits. Empty if
/// workers of `old` may serve for `new`. Code and environment do not count.
///
/// Lists every field by name, so that a new field cannot be forgotten.
pub(super) fn changed(old: &ProcessGroup, new: &ProcessGroup) -> Vec<&'static str> {
    let ProcessGroup {
        // Which requests they serve.
        listener:
            ListenerOptions {
                uid: socket_uid,
                backlog: _,
                send_buffer: _,
                receive_buffer: _,
            },
        identity:
            Identity {
                switch,
                uid,
                gid,
                groups,
                user,
                user_home,
                no_new_privs,
            },
        environment:
            ProcessEnvironment {
                home,
                chdir,
                chroot,
                umask,
                lang: _,
                locale: _,
                variables: _,
                clear_env: _,
            },
        resources:
            ResourceLimits {
                cpu_time,
                cpu_priority,
                memory,
                virtual_memory,
                // How the worker runs, not what it may do.
                stack_size: _,
            },
        script_owner:
            ScriptOwner {
                user: script_user,
                group: script_group,
            },
        // The end of a worker's life, which the supervisor controls.
        replacement: _,
        name: _,
        id: _,
        processes: _,
        multiprocess: _,
        threads: _,
        python: _,
        timeouts: _,
        display_name: _,
        preload: _,
        global_reachable: _,
    } = old;
    let (who, place, limits) = (&new.identity, &new.environment, &new.resources);
    let is_same_user =
        (switch, uid, user, user_home) == (&who.switch, &who.uid, &who.user, &who.user_home);
    [
        ("user", is_same_user),
        ("group", *gid == who.gid),
        ("supplementary-groups", *groups == who.groups),
        ("no-new-privs", *no_new_privs == who.no_new_privs),
        ("home", (home, chdir) == (&place.home, &place.chdir)),
        ("chroot", *chroot == place.chroot),
        ("umask", *umask == place.umask),
        ("cpu-time-limit", *cpu_time == limits.cpu_time),
        ("cpu-priority", *cpu_priority == limits.cpu_priority),
        ("memory-limit", *memory == limits.memory),
        (
            "virtual-memory-limit",
            *virtual_memory == limits.virtual_memory,
        ),
        ("script-user", *script_user == new.script_owner.user),
        ("script-group", *script_group == new.script_owner.group),
        ("Apache's User", *socket_uid == new.listener.uid),
    ]
    .into_iter()
    .filter_map(|(option, is_same)| (!is_same).then_some(option))
    .collect()
}

impl Group {
    /// Applies a new configuration of the same group: starts a new generation. `listener` replaces
    /// the old listener if it was bound anew.
    pub fn reconfigure(
        &mut self,
        setup: GroupSetup,
        server: Rc<ServerFacts>,
        listener: Option<Listener>,
        log: ErrorLog,
        now: Duration,
    ) {
        self.loaded_scripts.renew(now);
        if setup.key != self.key {
            self.earlier_keys.push_front(self.key);
            self.earlier_keys.retain(|key| *key != setup.key);
            self.earlier_keys.truncate(EARLIER_KEYS);
        }
        let mut changed = changed(&self.config, &setup.group);
        if listener.is_some() {
            changed.push(match setup.socket_path == self.socket_path {
                true => "its socket (it was shut down or removed)",
                false => "WSGISocketPrefix",
            });
        }
        if changed.is_empty() {
            self.tell_key(setup.key);
        } else {
            self.send_predecessors_away(&changed, now);
        }
        if let Some(listener) = listener {
            self.unlink();
            self.listener = listener;
        }
        self.config = setup.group;
        self.socket_path = setup.socket_path;
        self.key = setup.key;
        self.bound_demand();
        self.server = server;
        self.log = log;
        self.generation += 1;
        self.python = Python::Unknown;
        self.starts.reset();
        self.lives.reset();
        self.loads.reset();
        self.short_lives = 0;
        self.hasty = 0;
        self.trouble = None;
        self.unloadable = None;
        self.left_out.clear();
        self.ending = None;
    }

    /// Lets the running workers serve requests of the new configuration.
    fn tell_key(&self, key: [u8; 16]) {
        for worker in &self.workers {
            worker.tell_secrets(WorkerSetup {
                group: self.config.clone(),
                key,
                server: (*self.server).clone(),
                generation: worker.generation,
                earlier_keys: self.earlier_keys.iter().copied().collect(),
                loaded_scripts: Vec::new(),
                has_peers: false,
            });
        }
    }

    /// Drains the running workers. Their reports of requested scripts are discarded, because they
    /// are not handed to other workers.
    fn send_predecessors_away(&mut self, changed: &[&str], now: Duration) {
        self.loaded_scripts.clear();
        let graceful = self.graceful_limit();
        let serving = self.workers.iter().filter(|worker| worker.is_ready());
        if serving.count() > 0 && self.ending.is_none() {
            let text = format!(
                "{} changed, so the workers of before take no more requests: these wait until a worker \
                 of the new configuration is ready",
                changed.join(", ")
            );
            self.note(Level::Notice, WORKERS_NOT_AS_CONFIGURED, &text);
        }
        let why = format!("{} changed", changed.join(", "));
        for index in 0..self.workers.len() {
            self.drain(index, graceful, &why, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    type Change = fn(&mut ProcessGroup);

    #[test]
    fn each_option_that_says_who_where_or_within_what_limits_is_named() {
        let old = testing::group("shop");
        let cases: [(&str, Change); 17] = [
            ("user", |g| g.identity.uid = 7),
            ("user", |g| g.identity.switch = true),
            ("user", |g| g.identity.user_home = "/home/other".into()),
            ("group", |g| g.identity.gid = 7),
            ("supplementary-groups", |g| g.identity.groups = vec![7]),
            ("no-new-privs", |g| g.identity.no_new_privs = true),
            ("home", |g| g.environment.home = Some("/srv".into())),
            ("home", |g| g.environment.chdir = Some("/srv".into())),
            ("chroot", |g| g.environment.chroot = Some("/srv".into())),
            ("umask", |g| g.environment.umask = Some(0o77)),
            ("cpu-time-limit", |g| {
                g.resources.cpu_time = Some(Duration::from_secs(7))
            }),
            ("cpu-priority", |g| g.resources.cpu_priority = 7),
            ("memory-limit", |g| g.resources.memory = Some(7)),
            ("virtual-memory-limit", |g| {
                g.resources.virtual_memory = Some(7)
            }),
            ("script-user", |g| g.script_owner.user = Some(7)),
            ("script-group", |g| g.script_owner.group = Some(7)),
            ("Apache's User", |g| g.listener.uid = 7),
        ];
        for (option, change) in cases {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(changed(&old, &new), [option]);
        }
    }

    #[test]
    fn code_environment_and_numbers_of_workers_change_nothing_of_it() {
        let old = testing::group("shop");
        let mut new = old.clone();
        new.processes = 9;
        new.threads = 9;
        new.python.home = Some("/srv/venv".into());
        new.environment.variables = vec![("A".into(), "1".into())];
        new.replacement.maximum_requests = Some(9);
        assert!(changed(&old, &new).is_empty());
    }
}
