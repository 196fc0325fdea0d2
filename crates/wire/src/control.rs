//! The two control conversations: parent with supervisor, supervisor with worker.
//!
//! Each message is one packet of a `SOCK_SEQPACKET` socket that the child process inherited. If one
//! side is gone, its socket is closed, and the other process exits too.

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

/// A message without fields.
impl Field for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn get(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

conversation! {
    /// From the Apache parent. A configuration is `Begin`, one `Group` for each group, and
    /// `Commit`.
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
        /// Apache stops: end all workers and exit.
        4 => Stop(()),
        /// Between `Begin` and `Commit`: the socket at which to answer status queries.
        5 => Status(StatusSocket),
        /// After `Begin` or a `Group` that came without a descriptor: its error log is syslog.
        6 => Syslog(Syslog),
        /// Apache discards its configuration and reads another one. A `Begin` follows soon, unless
        /// the new configuration no longer loads the module.
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
    /// How records look in syslog.
    pub struct Syslog {
        /// 0 to 23, as RFC 5424 numbers them.
        pub facility: u32,
        /// The program name in front of each record.
        pub tag: Bytes,
    }
}

crate::message! {
    /// What the supervisor needs to find out whether the next configuration loads the module.
    pub struct Withdrawn {
        /// When the configuration was discarded, in milliseconds since the machine was started.
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
        /// The configuration can't be applied; the previous groups go on.
        2 => Refused(ConfigurationRefusal),
    }
}

crate::message! {
    /// Why a configuration was not applied, and how requests reach the previous groups.
    pub struct ConfigurationRefusal {
        /// For the log.
        pub sentence: Bytes,
        /// Groups of the refused configuration that still run as the configured users.
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
    /// The configuration of a worker.
    pub struct WorkerSetup {
        pub group: ProcessGroup,
        /// Secret of this generation; a request must carry it, or one of `earlier_keys`.
        pub key: [u8; 16],
        pub server: ServerFacts,
        /// Counts the generations of the group, from 1.
        pub generation: u32,
        /// Secrets of earlier generations: Apache children from before a restart still use them.
        pub earlier_keys: Vec<[u8; 16]>,
        /// Scripts that predecessors have loaded: (script, application group). The worker loads
        /// them after the group's own list, before it is ready, and skips scripts that no longer
        /// exist.
        pub loaded_scripts: Vec<(Bytes, Bytes)>,
        /// Whether other workers serve the group. Then a worker that can't load a script sends
        /// [`FromWorker::CannotLoad`] and exits.
        pub has_peers: bool,
    }
}

/// Maximum number of [`WorkerSetup::loaded_scripts`].
pub const MAX_LOADED_SCRIPTS: usize = 64;

conversation! {
    /// From the supervisor to a worker.
    pub enum ToWorker as ToWorker {
        /// The first message; sent again for a new configuration. Then the worker adopts only `key`
        /// and `earlier_keys`: it serves requests with the new key until its successors are ready
        /// and it must drain. Boxed: it is by far the largest.
        1 => Setup(Box<WorkerSetup>),
        /// Take no more requests, finish running ones within so many milliseconds, and exit.
        2 => Drain(u64),
        /// Exit at once; shutdown hooks may run for so many milliseconds.
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
    /// The worker received SIGUSR1.
    Signal = 4,
    /// A time limit of the worker passed.
    TimeLimit = 5,
    /// There was no request for `inactivity-timeout`. The successor loads no scripts in advance.
    Inactive = 6,
    /// It cannot accept connections, probably because the application uses all descriptors.
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
        /// Python has started, preloaded scripts are loaded, and the threads are about to accept.
        1 => Ready(()),
        /// The worker requests its replacement. Until it must drain it still accepts requests,
        /// unless the reason is `Stale`.
        2 => AskReplacement(ReplacementReason),
        /// The worker can't start: a sentence for the log. It exits by itself.
        3 => Unusable(Bytes),
        /// The worker has loaded a script for its first request: (script, application group). The
        /// supervisor passes the pair on to successors in [`WorkerSetup::loaded_scripts`] and does
        /// not interpret it.
        4 => Loaded((Bytes, Bytes)),
        /// The report of a script that can't be loaded while other workers serve. The worker exits
        /// by itself.
        5 => CannotLoad(Bytes),
        /// The report of a script that can't be loaded; the worker has logged it and goes on.
        6 => FailedToLoad(Bytes),
        /// As `Loaded`, for a script in the main interpreter whose application group a client could
        /// name.
        7 => LoadedForClientName((Bytes, Bytes)),
        /// The worker has the most sub-interpreters that it may have with names chosen by clients,
        /// and refuses further names: it goes on, and is to be replaced when the supervisor thinks
        /// fit.
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
