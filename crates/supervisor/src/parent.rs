//! The conversation with the Apache parent: configurations come in, and each has one answer.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use os::socket::{self, Wait};
use wire::control::{Door, FromSupervisor, Refusal, StatusDoor, ToSupervisor, Withdrawn};
use wire::group::{Group, ServerFacts};

use crate::error_log::Place;

/// Most groups of a configuration.
const MAX_GROUPS: usize = 4096;

/// A complete configuration.
#[derive(Debug)]
pub struct Configuration {
    pub server: ServerFacts,
    /// The main server's error log.
    pub log: Option<Place>,
    /// Each with its own error log, where it has one.
    pub groups: Vec<(Group, Option<Place>)>,
    /// Where to answer those who ask how things are.
    pub status: Option<StatusDoor>,
}

/// What the parent wants.
#[derive(Debug)]
pub enum Order {
    Configure(Box<Configuration>),
    Stop,
    /// It reads another configuration, of which the module may be no part.
    Withdraw(Withdrawn),
    /// It has closed the conversation: it is gone.
    Gone,
}

#[derive(Debug)]
pub struct Parent {
    socket: OwnedFd,
    /// A configuration that has begun.
    begun: Option<Box<Configuration>>,
}

impl Parent {
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            begun: None,
        }
    }

    /// The next order; `None` when there is nothing more to read. `buffer` is scratch space of
    /// [`wire::control::MAX_MESSAGE`] bytes.
    pub fn next_order(&mut self, buffer: &mut [u8]) -> Option<Order> {
        loop {
            let received = match socket::recv_with_fd(self.socket.as_fd(), buffer, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Order::Gone),
                Ok(received) if received.len == 0 => return Some(Order::Gone),
                Ok(received) => received,
            };
            let message = if received.truncated {
                Err(wire::Malformed::TooLong)
            } else {
                ToSupervisor::decode(&buffer[..received.len])
            };
            match message {
                Ok(ToSupervisor::Begin(server)) => {
                    self.begun = Some(Box::new(Configuration {
                        server: *server,
                        log: received.fd.map(Place::Descriptor),
                        groups: Vec::new(),
                        status: None,
                    }));
                }
                Ok(ToSupervisor::Group(group)) => match &mut self.begun {
                    Some(begun) if begun.groups.len() < MAX_GROUPS => {
                        let log = received.fd.map(Place::Descriptor);
                        begun.groups.push((*group, log));
                    }
                    Some(_) => self.refuse(
                        &format!("there are more than {MAX_GROUPS} groups"),
                        Vec::new(),
                    ),
                    // Of a configuration that was refused already.
                    None => {}
                },
                Ok(ToSupervisor::Status(door)) => {
                    if let Some(begun) = &mut self.begun {
                        begun.status = Some(door);
                    }
                }
                Ok(ToSupervisor::Syslog(how)) => {
                    if let Some(begun) = &mut self.begun {
                        let last = begun.groups.last_mut().map(|(_, log)| log);
                        *last.unwrap_or(&mut begun.log) = Some(Place::System(how));
                    }
                }
                Ok(ToSupervisor::Commit(())) => {
                    if let Some(complete) = self.begun.take() {
                        return Some(Order::Configure(complete));
                    }
                }
                Ok(ToSupervisor::Stop(())) => return Some(Order::Stop),
                Ok(ToSupervisor::Withdrawn(withdrawn)) => return Some(Order::Withdraw(withdrawn)),
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

    /// The configuration is in force.
    pub fn accept(&self) {
        self.answer(&FromSupervisor::Accepted(()));
    }

    /// The configuration, complete or not, is forgotten; what ran before goes on, behind those doors.
    pub fn refuse(&mut self, why: &str, doors: Vec<Door>) {
        self.begun = None;
        self.answer(&FromSupervisor::Refused(Refusal {
            sentence: why.into(),
            doors,
        }));
    }

    /// A parent that does not read its answers has a limit of its own.
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
