//! The two control conversations: parent with supervisor, supervisor with worker.
//!
//! Each message is one packet of a `SOCK_SEQPACKET` socket that the younger process inherited; a
//! socket that closes means that the other side is gone, and its partner leaves too.

use crate::codec::{Bytes, Field, Malformed, Reader};
use crate::frame::{self, Kind};
use crate::group::{ProcessGroup, ServerFacts};

/// Longest packet of a control conversation, frame head included.
pub const MAX_MESSAGE: usize = 128 * 1024;

macro_rules! conversation {
    ($(#[$meta:meta])* pub enum $name:ident as $kind:ident { $($(#[$vmeta:meta])* $tag:literal => $variant:ident ( $ty:ty ),)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant($ty),)* }

        impl $name {
            /// The message as one packet.
            ///
            /// # Errors
            /// [`Malformed::TooLong`] past [`MAX_MESSAGE`].
            pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
                let mut out = Vec::new();
                frame::append(&mut out, Kind::$kind, |out| {
                    match self { $(Self::$variant(value) => { out.push($tag); value.put(out); })* }
                    Ok::<_, Malformed>(())
                })?;
                Ok(out)
            }

            /// Reads one packet.
            pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
                let mut r = frame::only(packet, Kind::$kind)?;
                let message = match r.u8()? {
                    $($tag => Self::$variant(Field::get(&mut r)?),)*
                    other => return Err(Malformed::Unknown(other)),
                };
                r.finish()?;
                Ok(message)
            }
        }
    };
}

/// Nothing further to say.
impl Field for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn get(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

conversation! {
    /// From the Apache parent. A configuration is `Begin`, a `Group` each, `Commit`.
    pub enum ToSupervisor as ToSupervisor {
        /// A configuration begins. The main server's error log travels with it as a descriptor
        /// where it is a file or a pipe.
        1 => Begin(Box<ServerFacts>),
        /// One group; the error log it writes to travels with it as a descriptor, where it is not
        /// the main server's.
        2 => Group(Box<GroupSetup>),
        /// The configuration is complete: bind what is new, start successors, drain predecessors,
        /// end groups that are gone. Answered with `Accepted` or `Refused`.
        3 => Commit(()),
        /// Apache stops: end everything and leave.
        4 => Stop(()),
        /// Between `Begin` and `Commit`: where to answer those who ask how things are.
        5 => Status(StatusSocket),
        /// Behind `Begin` or a `Group` that came without a descriptor: its error log is the system's.
        6 => Syslog(Syslog),
        /// Apache throws its configuration away, to read another one. Most often a `Begin` follows
        /// soon; none follows where the module is no longer part of it.
        7 => Withdrawn(Withdrawn),
    }
}

crate::message! {
    /// One process group, and what the parent adds to its definition.
    pub struct GroupSetup {
        pub group: ProcessGroup,
        /// Where the group listens: an absolute path of at most 107 bytes.
        pub socket_path: Bytes,
        /// Secret of this generation; a request must carry it.
        pub key: [u8; 16],
        /// `LogLevel` of the server that defines the group: the number of the least severe level.
        pub log_level: u32,
    }
}

crate::message! {
    /// How records look in the system's log.
    pub struct Syslog {
        /// 0 to 23, as RFC 5424 numbers them.
        pub facility: u32,
        /// Who is said to speak.
        pub tag: Bytes,
    }
}

crate::message! {
    /// What is evidence of whether the module is part of the configuration that is read next.
    pub struct Withdrawn {
        /// When, in milliseconds since the machine was started.
        pub at: u64,
        /// The file the module was loaded from.
        pub module: Bytes,
    }
}

crate::message! {
    /// The status socket.
    pub struct StatusSocket {
        /// An absolute path of at most 107 bytes.
        pub path: Bytes,
        /// Owner of the file: the user Apache's children run as.
        pub uid: u32,
    }
}

conversation! {
    pub enum FromSupervisor as FromSupervisor {
        /// All sockets are bound; workers are being started.
        1 => Accepted(()),
        /// The configuration can't be served; what ran before goes on.
        2 => Refused(ConfigurationRefusal),
    }
}

crate::message! {
    /// Why a configuration is not in force, and how to reach what ran before.
    pub struct ConfigurationRefusal {
        /// For the log.
        pub sentence: Bytes,
        /// Groups of the refused configuration that run on as what they were.
        pub addresses: Vec<GroupAddress>,
    }
}

crate::message! {
    /// How requests reach a group.
    pub struct GroupAddress {
        /// Name of the group.
        pub group: Bytes,
        /// Path of its listening socket.
        pub socket_path: Bytes,
        /// The secret its workers know.
        pub key: [u8; 16],
    }
}

crate::message! {
    /// What a worker is to be.
    pub struct WorkerSetup {
        pub group: ProcessGroup,
        /// Secret of this generation; a request must carry it, or one of `earlier_keys`.
        pub key: [u8; 16],
        pub server: ServerFacts,
        /// Counts the generations of the group, from 1.
        pub generation: u32,
        /// Secrets of earlier generations that Apache children of before a restart still use.
        pub earlier_keys: Vec<[u8; 16]>,
        /// Scripts that predecessors were asked for, as these have told: (script, application
        /// group). To be loaded before the worker is ready, after those of the group's own list; one
        /// that is gone is left out.
        pub loaded_scripts: Vec<(Bytes, Bytes)>,
        /// Others serve the group: a worker that can't load a script does better to leave, with
        /// [`FromWorker::CannotLoad`], than to be ready.
        pub has_peers: bool,
    }
}

/// Most scripts of a repertoire.
pub const MAX_LOADED_SCRIPTS: usize = 64;

conversation! {
    /// From the supervisor to a worker.
    pub enum ToWorker as ToWorker {
        /// First. Again when a new configuration has come: of that the worker, whose successors
        /// are being started, takes over `key` and `earlier_keys` only, so that it can serve
        /// requests that carry the new key until it is told to drain. Boxed: it is by far the
        /// largest.
        1 => Setup(Box<WorkerSetup>),
        /// Take no more requests, finish those that run within so many milliseconds, leave.
        2 => Drain(u64),
        /// Leave at once; shutdown hooks may run for so many milliseconds.
        3 => Stop(u64),
    }
}

/// Why a worker asks to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplacementReason {
    /// The script changed on disk.
    Stale = 1,
    /// `maximum-requests` was reached.
    MaximumRequests = 2,
    /// The script could not be loaded, and a script is never run twice in one interpreter.
    LoadFailed = 3,
    /// A signal asked for it.
    Signal = 4,
    /// A time limit of the worker passed.
    TimeLimit = 5,
    /// There was no request for `inactivity-timeout`: the successor is to load nothing.
    Inactive = 6,
    /// It can accept no connections, most likely since the application holds all descriptors.
    CannotAccept = 7,
}

impl Field for ReplacementReason {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match input.u8()? {
            1 => Self::Stale,
            2 => Self::MaximumRequests,
            3 => Self::LoadFailed,
            4 => Self::Signal,
            5 => Self::TimeLimit,
            6 => Self::Inactive,
            7 => Self::CannotAccept,
            other => return Err(Malformed::Unknown(other)),
        })
    }
}

impl<T: Field> Field for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::get(input).map(Self::new)
    }
}

conversation! {
    /// From a worker to the supervisor.
    pub enum FromWorker as FromWorker {
        /// Python is up, preloaded scripts are in, the threads are about to accept.
        1 => Ready(()),
        /// The worker wishes to be replaced. It still accepts unless the reason is `Stale`,
        /// until it is told to drain.
        2 => AskReplacement(ReplacementReason),
        /// The worker can't come up: a sentence for the log. It leaves by itself.
        3 => Unusable(Bytes),
        /// The first request for a script came, and it is loaded: (script, application group).
        /// Handed to successors as part of their [`WorkerSetup::loaded_scripts`], and otherwise bytes
        /// that nobody reads anything into.
        4 => Loaded((Bytes, Bytes)),
        /// A script can't be loaded, and others serve: the report. The worker leaves by itself.
        5 => CannotLoad(Bytes),
        /// A script can't be loaded, and the worker goes on: the report, which is in a log by now.
        6 => FailedToLoad(Bytes),
        /// As `Loaded`, for a script in the main interpreter whose application group a client could
        /// name.
        7 => LoadedForClientName((Bytes, Bytes)),
        /// The worker has as many sub-interpreters with names of clients as it may have, and refuses
        /// further names: it goes on, and is to be replaced when the supervisor thinks fit.
        8 => ClientNamesUsedUp(()),
        /// This script is about to be loaded, before the worker is ready: a worker that ends or hangs
        /// then does so because of it.
        9 => Loading(Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::tests::process_group;

    fn facts() -> ServerFacts {
        ServerFacts {
            apache_version: (2, (4, 71)),
            module_version: (6, (1, 1)),
            server_description: "Apache".into(),
            build_date: "".into(),
            mpm_name: "event".into(),
            mpm_max_processes: 16,
            mpm_max_threads: 25,
            runtime: "/usr/lib/apache2/modules/libwsgi_runtime.so".into(),
            default_python: "/usr/bin/python3".into(),
            parent_pid: 42,
            one_process: false,
        }
    }

    #[test]
    fn every_message_round_trips_and_every_prefix_is_refused() {
        let setup = WorkerSetup {
            group: process_group(),
            key: [3; 16],
            server: facts(),
            generation: 2,
            earlier_keys: vec![[1; 16]],
            loaded_scripts: vec![("/srv/shop.wsgi".into(), "".into())],
            has_peers: true,
        };
        let packet = ToWorker::Setup(Box::new(setup.clone())).encode().unwrap();
        assert_eq!(
            ToWorker::decode(&packet),
            Ok(ToWorker::Setup(Box::new(setup)))
        );
        for cut in 0..packet.len() {
            assert!(ToWorker::decode(&packet[..cut]).is_err());
        }
        for message in [
            ToSupervisor::Begin(Box::new(facts())),
            ToSupervisor::Group(Box::new(GroupSetup {
                group: process_group(),
                socket_path: "/run/wsgi.1.1.sock".into(),
                key: [3; 16],
                log_level: 6,
            })),
            ToSupervisor::Commit(()),
            ToSupervisor::Stop(()),
            ToSupervisor::Withdrawn(Withdrawn {
                at: 9,
                module: "/usr/lib/apache2/modules/mod_wsgi.so".into(),
            }),
            ToSupervisor::Status(StatusSocket {
                path: "/run/wsgi.1.status.sock".into(),
                uid: 33,
            }),
            ToSupervisor::Syslog(Syslog {
                facility: 23,
                tag: "apache2".into(),
            }),
        ] {
            assert_eq!(
                ToSupervisor::decode(&message.encode().unwrap()),
                Ok(message)
            );
        }
        for message in [
            FromWorker::Ready(()),
            FromWorker::AskReplacement(ReplacementReason::Stale),
            FromWorker::Unusable("no encodings".into()),
            FromWorker::Loaded(("/srv/shop.wsgi".into(), "a".into())),
            FromWorker::CannotLoad("Traceback".into()),
            FromWorker::FailedToLoad("Traceback".into()),
            FromWorker::LoadedForClientName(("/srv/shop.wsgi".into(), "a".into())),
            FromWorker::ClientNamesUsedUp(()),
            FromWorker::Loading("/srv/shop.wsgi".into()),
        ] {
            assert_eq!(FromWorker::decode(&message.encode().unwrap()), Ok(message));
        }
    }

    #[test]
    fn a_packet_of_another_conversation_is_refused() {
        let packet = ToWorker::Drain(15_000).encode().unwrap();
        assert!(ToSupervisor::decode(&packet).is_err());
    }

    #[test]
    fn a_packet_with_bytes_after_its_message_is_refused() {
        let mut packet = ToWorker::Stop(5_000).encode().unwrap();
        packet.push(0);
        assert_eq!(ToWorker::decode(&packet), Err(Malformed::Trailing));
    }
}
