//! The protocol with the Apache parent: it sends configurations, and each gets one answer.
//!
//! Runs in: the supervisor.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use os::socket::{self, Wait};
use wire::control::{
    ConfigurationRefusal, FromSupervisor, GroupAddress, GroupSetup, StatusSocket, ToSupervisor,
    Withdrawn,
};
use wire::group::ServerFacts;

use crate::error_log::LogTarget;

/// Maximum number of groups in a configuration.
const MAX_GROUPS: usize = 4096;

/// A complete configuration.
#[derive(Debug)]
pub struct NewConfiguration {
    pub server: ServerFacts,
    /// The main server's error log.
    pub log: Option<LogTarget>,
    /// Each with its own error log, if it has one.
    pub groups: Vec<(GroupSetup, Option<LogTarget>)>,
    /// The path of the status socket.
    pub status: Option<StatusSocket>,
}

/// An order of the parent.
#[derive(Debug)]
pub enum ParentRequest {
    Configure(Box<NewConfiguration>),
    Stop,
    /// It reads another configuration, which may not include the module.
    Withdraw(Withdrawn),
    /// It has closed the socket: it is gone.
    Gone,
}

#[derive(Debug)]
pub struct Parent {
    socket: OwnedFd,
    /// A configuration that is only partly received.
    incomplete: Option<Box<NewConfiguration>>,
}

impl Parent {
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            incomplete: None,
        }
    }

    /// The next order; `None` when there is nothing more to read. `buffer` is scratch space of
    /// [`wire::control::MAX_MESSAGE`] bytes.
    pub fn next_request(&mut self, buffer: &mut [u8]) -> Option<ParentRequest> {
        loop {
            let received = match socket::recv_with_fd(self.socket.as_fd(), buffer, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(ParentRequest::Gone),
                Ok(received) if received.len == 0 => return Some(ParentRequest::Gone),
                Ok(received) => received,
            };
            let message = if received.truncated {
                Err(wire::Malformed::TooLong)
            } else {
                ToSupervisor::decode(&buffer[..received.len])
            };
            match message {
                Ok(ToSupervisor::Begin(server)) => {
                    self.incomplete = Some(Box::new(NewConfiguration {
                        server: *server,
                        log: received.fd.map(LogTarget::Descriptor),
                        groups: Vec::new(),
                        status: None,
                    }));
                }
                Ok(ToSupervisor::Group(group)) => match &mut self.incomplete {
                    Some(incomplete) if incomplete.groups.len() < MAX_GROUPS => {
                        let log = received.fd.map(LogTarget::Descriptor);
                        incomplete.groups.push((*group, log));
                    }
                    Some(_) => self.refuse(
                        &format!("there are more than {MAX_GROUPS} groups"),
                        Vec::new(),
                    ),
                    // Part of a configuration that was already refused.
                    None => {}
                },
                Ok(ToSupervisor::Status(address)) => {
                    if let Some(incomplete) = &mut self.incomplete {
                        incomplete.status = Some(address);
                    }
                }
                Ok(ToSupervisor::Syslog(how)) => {
                    if let Some(incomplete) = &mut self.incomplete {
                        let last = incomplete.groups.last_mut().map(|(_, log)| log);
                        *last.unwrap_or(&mut incomplete.log) = Some(LogTarget::System(how));
                    }
                }
                Ok(ToSupervisor::Commit(())) => {
                    if let Some(complete) = self.incomplete.take() {
                        return Some(ParentRequest::Configure(complete));
                    }
                }
                Ok(ToSupervisor::Stop(())) => return Some(ParentRequest::Stop),
                Ok(ToSupervisor::Withdrawn(withdrawn)) => {
                    return Some(ParentRequest::Withdraw(withdrawn))
                }
                Err(malformed) => {
                    let why = format!(
                        "the module and mod_wsgi-supervisor do not understand each other \
                         ({malformed}): install both from the same build and restart Apache"
                    );
                    self.refuse(&why, Vec::new());
                }
            }
        }
    }

    /// Answers that the configuration is in force.
    pub fn accept(&self) {
        self.answer(&FromSupervisor::Accepted(()));
    }

    /// Discards the configuration, complete or not; the previous groups go on, at these sockets.
    pub fn refuse(&mut self, why: &str, addresses: Vec<GroupAddress>) {
        self.incomplete = None;
        self.answer(&FromSupervisor::Refused(ConfigurationRefusal {
            sentence: why.into(),
            addresses,
        }));
    }

    /// The parent has its own time limit for the answers, so an unread answer is no error here.
    fn answer(&self, answer: &FromSupervisor) {
        if let Ok(packet) = answer.encode() {
            let packet = [IoSlice::new(&packet)];
            let _ = socket::send(self.socket.as_fd(), &packet, None, Wait::Never);
        }
    }
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
