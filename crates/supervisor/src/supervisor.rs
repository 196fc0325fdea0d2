//! The supervisor's loop: one thread, one poll, and a state that each event moves closer to the
//! configured state.
//!
//! Runs in: the supervisor process, on its only thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use os::listener::Listener;
use os::poll::{poll, Wanted};
use os::signal::{self, Arrivals};
use wire::control::{GroupAddress, GroupSetup, MAX_MESSAGE};
use wire::log_id::{
    APACHE_PARENT_DIED, MODULE_REMOVED, STATUS_SOCKET_FAILED, SUPERVISOR_SUPERSEDED,
};
use wire::response::Level;

use crate::error_log::{ErrorLog, LogTarget, Style};
use crate::group::{self, Context, Group};
use crate::launch::{own_environment, Environment};
use crate::parent::{NewConfiguration, Parent, ParentRequest};
use crate::status::{self, StatusListener};
use crate::withdrawal::Withdrawal;

/// Time limit for workers to exit when Apache stops.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Time limit for workers to exit when the parent is gone: the shutdown ends within a second.
const ORPHANED_LIMIT: Duration = Duration::from_millis(300);
/// Maximum number of sockets listed with a refusal, so that they fit into one message.
const MAX_ADDRESSES: usize = 256;
/// How long to wait for workers to end after they were killed.
const AFTERMATH: Duration = Duration::from_millis(600);

/// Identifies a polled descriptor.
#[derive(Debug, Clone, Copy)]
enum Source {
    Parent,
    Signals,
    Log,
    Status(status::StatusSource),
    /// By its index in the list, which changes only between turns.
    Group(usize, group::GroupSource),
}

pub struct Supervisor {
    parent: Parent,
    /// The parent sends no more messages.
    parent_gone: bool,
    signals: Arrivals,
    log: ErrorLog,
    status: StatusListener,
    groups: Vec<Group>,
    environment: Environment,
    /// The parent reads another configuration and has not sent it yet.
    withdrawal: Option<Withdrawal>,
    /// The server ends; this process exits at this time at the latest.
    ending: Option<Duration>,
    buffer: Vec<u8>,
}

impl Supervisor {
    /// `control` is the socket to the Apache parent. `log` is used until the parent names the error
    /// log.
    pub fn new(control: OwnedFd, log: OwnedFd) -> io::Result<Self> {
        for number in [signal::SIGHUP, signal::SIGUSR1, signal::SIGPIPE] {
            signal::ignore(number)?;
        }
        let style = Style {
            threshold: Level::Notice,
            threads: true,
        };
        Ok(Self {
            parent: Parent::new(control),
            parent_gone: false,
            signals: Arrivals::install(&[
                signal::SIGCHLD,
                signal::SIGTERM,
                signal::SIGINT,
                signal::SIGUSR2,
            ])?,
            log: ErrorLog::new(LogTarget::Descriptor(log), style),
            status: StatusListener::new(os::clock::monotonic()),
            groups: Vec::new(),
            environment: own_environment(),
            withdrawal: None,
            ending: None,
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    /// Runs until the parent stops it or is gone, and all workers have ended.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            self.steer();
            if self.is_over() {
                self.log.flush();
                return Ok(());
            }
            for source in self.wait()? {
                self.attend(source);
            }
        }
    }

    fn with_groups<R>(&mut self, body: impl FnOnce(&mut Vec<Group>, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            now: os::clock::monotonic(),
            environment: &self.environment,
            buffer: &mut self.buffer,
        };
        body(&mut self.groups, &mut context)
    }

    fn steer(&mut self) {
        let now = os::clock::monotonic();
        self.status.expire(now);
        if let Some(withdrawal) = &mut self.withdrawal {
            if let Some(evidence) = withdrawal.verdict(now) {
                self.leave_with_module(evidence);
            }
        }
        self.with_groups(|groups, context| {
            groups.iter_mut().for_each(|group| group.steer(context));
            groups.retain(|group| !group.is_over());
        });
    }

    fn is_over(&self) -> bool {
        self.ending
            .is_some_and(|limit| self.groups.is_empty() || os::clock::monotonic() >= limit)
    }

    /// Waits for an event or a deadline.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let now = os::clock::monotonic();
        let mut sources = vec![Source::Signals];
        let mut wanted = vec![Wanted::readable(self.signals.as_fd())];
        if !self.parent_gone {
            sources.push(Source::Parent);
            wanted.push(Wanted::readable(self.parent.as_fd()));
        }
        if let Some(log) = self.log.waits_for() {
            sources.push(Source::Log);
            wanted.push(Wanted::writable(log));
        }
        self.status.sources(now, &mut |source, fd| {
            sources.push(Source::Status(source));
            wanted.push(match source {
                status::StatusSource::Listener => Wanted::readable(fd),
                status::StatusSource::Client(_) => Wanted::writable(fd),
            });
        });
        for (index, group) in self.groups.iter().enumerate() {
            group.sources(now, &mut |source, fd| {
                sources.push(Source::Group(index, source));
                wanted.push(match source {
                    group::GroupSource::Log => Wanted::writable(fd),
                    _ => Wanted::readable(fd),
                });
            });
        }
        let moments = self.groups.iter().filter_map(|g| g.next_moment(now));
        let status = self.status.next_moment(now);
        let look = self.withdrawal.as_ref().map(Withdrawal::next_look);
        let next = moments.chain(self.ending).chain(status).chain(look).min();
        match poll(&mut wanted, next.map(|moment| moment.saturating_sub(now))) {
            // A signal; the next turn handles it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(_) => Ok(wanted
                .iter()
                .zip(sources)
                .filter_map(|(wanted, source)| wanted.is_ready().then_some(source))
                .collect()),
        }
    }

    fn attend(&mut self, source: Source) {
        match source {
            Source::Log => self.log.flush(),
            Source::Status(source) => self.status.attend(source, &self.groups),
            Source::Signals => {
                for number in self.signals.drain() {
                    match number {
                        signal::SIGCHLD => self.with_groups(|groups, context| {
                            groups.iter_mut().for_each(|g| g.look_for_ended(context));
                        }),
                        signal::SIGUSR2 => self.make_way(),
                        _ => self.end(STOP_LIMIT),
                    }
                }
            }
            Source::Parent => self.hear_parent(),
            Source::Group(index, source) => self.with_groups(|groups, context| {
                if let Some(group) = groups.get_mut(index) {
                    group.attend(source, context);
                }
            }),
        }
    }

    fn hear_parent(&mut self) {
        match self.parent.next_request(&mut self.buffer) {
            None => {}
            Some(ParentRequest::Withdraw(withdrawn)) => {
                let now = os::clock::monotonic();
                self.withdrawal = Some(Withdrawal::new(withdrawn, now));
            }
            Some(ParentRequest::Configure(configuration)) if self.ending.is_none() => {
                self.withdrawal = None;
                let addresses = self.addresses(&configuration.groups);
                match self.configure(*configuration) {
                    Ok(()) => self.parent.accept(),
                    Err(why) => self.parent.refuse(&why, addresses),
                }
            }
            Some(ParentRequest::Configure(_)) => {
                let why = "the supervisor is about to end";
                self.parent.refuse(why, Vec::new());
            }
            Some(ParentRequest::Stop) => self.end(STOP_LIMIT),
            Some(ParentRequest::Gone) => {
                self.parent_gone = true;
                if self.ending.is_none() {
                    let text = format!(
                        "{APACHE_PARENT_DIED}: the Apache parent is gone: all workers are ended"
                    );
                    self.log.note(Level::Notice, &text);
                }
                // If the parent sent Stop first, it ended in order: the time it granted stays
                // valid.
                self.end(ORPHANED_LIMIT);
            }
        }
    }

    /// Another supervisor, of another version, has taken over. The parent announces that by a
    /// signal, since the two versions share no protocol. Running requests are finished.
    fn make_way(&mut self) {
        let text = format!(
            "{SUPERVISOR_SUPERSEDED}: another version of the supervisor takes over; this one (pid {}) ends when its \
             requests are finished",
            os::process::id()
        );
        self.finish(&text);
    }

    /// The module is no longer part of Apache, so no more requests will come.
    fn leave_with_module(&mut self, evidence: &str) {
        let text = format!(
            "{MODULE_REMOVED}: {evidence}: the supervisor (pid {}) and its workers end when their \
             requests are finished",
            os::process::id()
        );
        self.finish(&text);
    }

    /// Drains all workers; the supervisor exits when their requests are finished.
    fn finish(&mut self, text: &str) {
        self.withdrawal = None;
        if self.ending.is_some() {
            return;
        }
        self.status.close();
        let now = os::clock::monotonic();
        let limits = self.groups.iter().map(Group::time_to_drain).max();
        self.ending = Some(now + limits.unwrap_or_default() + AFTERMATH);
        for group in &mut self.groups {
            group.retire("ends with the supervisor", now);
        }
        self.log.note(Level::Notice, text);
    }

    /// The sockets of the groups that already run, as the same users.
    fn addresses(&self, groups: &[Described]) -> Vec<GroupAddress> {
        let mut addresses = Vec::new();
        for (setup, _) in groups {
            let found = self.groups.iter().find(|group| group.runs_as(&setup.group));
            addresses.extend(found.map(Group::address));
        }
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }

    /// Stops all groups; the first call sets the time limit.
    fn end(&mut self, limit: Duration) {
        if self.ending.is_some() {
            return;
        }
        self.status.close();
        let now = os::clock::monotonic();
        self.ending = Some(now + limit + AFTERMATH);
        for group in &mut self.groups {
            group.stop(limit, now);
        }
    }

    /// Applies a configuration completely, or not at all.
    ///
    /// # Errors
    /// A sentence for the log.
    fn configure(&mut self, configuration: NewConfiguration) -> Result<(), String> {
        let NewConfiguration {
            server,
            log,
            groups,
            status,
        } = configuration;
        let style = Style {
            threshold: Level::Notice,
            threads: server.mpm_name.0 != b"prefork",
        };
        check(&groups, &server)?;
        // Steps that can fail come first. A listener that stays unused removes its file when
        // dropped.
        let mut bound = Vec::new();
        for (setup, _) in &groups {
            let listener = match self.listening(setup) {
                Some(group) => group.adjust_socket(&setup.group.listener).map(|()| None),
                None => bind(setup).map(Some),
            };
            match listener {
                Ok(listener) => bound.push(listener),
                Err(error) => {
                    let listeners = bound.iter().flatten();
                    listeners.for_each(|listener: &Listener| drop(listener.unlink()));
                    return Err(cannot_listen(setup, &error));
                }
            }
        }
        let server = Rc::new(server);
        if let Some(log) = log {
            // Otherwise a log that was moved away would stay open, and its disk space would not be
            // freed. A failure here affects only the log for last messages.
            if let LogTarget::Descriptor(log) = &log {
                let _ = os::descriptor::redirect_output(log.as_fd());
            }
            self.log = ErrorLog::new(log, style);
        }
        if let Err(error) = self.status.open(status) {
            let text = format!(
                "{STATUS_SOCKET_FAILED}: there is no status socket, so nobody can see how process groups are: \
                 {error}"
            );
            self.log.note(Level::Warning, &text);
        }
        let now = os::clock::monotonic();
        for group in &mut self.groups {
            if !groups
                .iter()
                .any(|(setup, _)| *setup.group.name == *group.name())
            {
                group.retire("is no longer configured", now);
            }
        }
        for ((setup, log), listener) in groups.into_iter().zip(bound) {
            // Workers send nothing more severe than critical or finer than debug.
            let level = setup
                .log_level
                .clamp(Level::Critical as u32, Level::Debug as u32);
            let threshold = Level::from_u8(level as u8).unwrap_or(Level::Notice);
            let log = log.map_or_else(|| self.log.clone(), |log| ErrorLog::new(log, style));
            let log = log.with_threshold(threshold);
            let server = Rc::clone(&server);
            let known = self
                .groups
                .iter_mut()
                .find(|g| *g.name() == *setup.group.name);
            match (known, listener) {
                (Some(group), listener) => group.reconfigure(setup, server, listener, log, now),
                (None, Some(listener)) => {
                    self.groups.push(Group::new(setup, server, listener, log));
                }
                // A listener was bound above for every group that was not known.
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The group of that name, if it already listens at the configured socket.
    fn listening(&self, setup: &GroupSetup) -> Option<&Group> {
        self.groups.iter().find(|group| {
            *group.name() == *setup.group.name
                && *group.socket_path() == *setup.socket_path
                && !group.is_ending()
                && group.is_reachable()
        })
    }
}

type Described = (GroupSetup, Option<LogTarget>);

/// Refuses a configuration that could not be applied later.
fn check(groups: &[Described], server: &wire::group::ServerFacts) -> Result<(), String> {
    for (index, (setup, _)) in groups.iter().enumerate() {
        let name = setup.group.shown_name();
        if groups[..index]
            .iter()
            .any(|(other, _)| other.group.name == setup.group.name)
        {
            return Err(format!("process group '{name}' is defined twice"));
        }
        let path = &setup.socket_path;
        if groups[..index]
            .iter()
            .any(|(other, _)| other.socket_path == *path)
        {
            return Err(format!("two process groups listen at {}", path.text()));
        }
        let setup = wire::control::WorkerSetup {
            group: setup.group.clone(),
            key: setup.key,
            server: server.clone(),
            generation: u32::MAX,
            earlier_keys: vec![[0; 16]; 8],
            loaded_scripts: Vec::new(),
            has_peers: true,
        };
        if wire::control::ToWorker::Setup(Box::new(setup))
            .encode()
            .is_err()
        {
            return Err(format!(
                "the configuration of process group '{name}' is longer than {} KiB: shorten its \
                 env=, python-path= or the list of its scripts",
                MAX_MESSAGE / 1024
            ));
        }
    }
    Ok(())
}

fn bind(setup: &GroupSetup) -> io::Result<Listener> {
    let root = os::accounts::effective_uid() == 0;
    let options = &setup.group.listener;
    let owner = root.then_some(options.uid);
    let listener = Listener::bind(&setup.socket_path, owner, options.backlog)?;
    if let Err(error) = os::socket::set_buffers(
        listener.as_fd(),
        options.send_buffer,
        options.receive_buffer,
    ) {
        let _ = listener.unlink();
        return Err(error);
    }
    Ok(listener)
}

fn cannot_listen(setup: &GroupSetup, error: &io::Error) -> String {
    format!(
        "process group '{}' cannot listen at {}: {error}. WSGISocketPrefix names a place where root \
         alone may write, such as /run/apache2/wsgi",
        setup.group.shown_name(),
        setup.socket_path.text()
    )
}
