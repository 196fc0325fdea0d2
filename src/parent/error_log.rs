//! Finds a server's error log, so that the supervisor can write to it too.
//!
//! Runs in: the Apache parent.

use std::os::fd::OwnedFd;

use wire::control::Syslog;

use httpd::process;
use httpd::server::Server;

/// httpd's list of facilities, in its order: httpd accepts a beginning of a name, too.
const FACILITIES: [(&str, u32); 20] = [
    ("auth", 4),
    ("authpriv", 10),
    ("cron", 9),
    ("daemon", 3),
    ("ftp", 11),
    ("kern", 0),
    ("lpr", 6),
    ("mail", 2),
    ("news", 7),
    ("syslog", 5),
    ("user", 1),
    ("uucp", 8),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// An error log.
#[derive(Debug)]
pub enum ErrorLog {
    /// A file, or a pipe to a program.
    Descriptor(OwnedFd),
    /// The system's log. It also stands in for a log that a module provides, which only httpd can
    /// write to.
    System(Syslog),
}

impl ErrorLog {
    /// The error log of `server`.
    pub fn of(server: Server<'_>) -> ErrorLog {
        let own = server
            .error_log_descriptor()
            .and_then(|log| log.try_clone_to_owned().ok());
        own.map_or_else(
            || ErrorLog::system(server.error_log_name(), process::short_name()),
            ErrorLog::Descriptor,
        )
    }

    /// As `ErrorLog syslog[:facility[:tag]]` has it.
    pub fn system(given: Option<&[u8]>, program: &[u8]) -> ErrorLog {
        let mut words = given.unwrap_or_default().splitn(3, |&byte| byte == b':');
        let _syslog = words.next();
        let facility = words.next().filter(|name| !name.is_empty());
        let known = facility.and_then(|name| {
            let begins = |whole: &str| {
                let beginning = whole.as_bytes().get(..name.len());
                beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(name))
            };
            FACILITIES.iter().find(|(whole, _)| begins(whole))
        });
        let tag = words.next().filter(|tag| !tag.is_empty());
        ErrorLog::System(Syslog {
            facility: known.map_or(23, |(_, number)| *number),
            tag: tag.unwrap_or(program).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_log_is_spoken_to_as_httpd_would() {
        for (given, facility, tag) in [
            ("syslog", 23, "apache2"),
            ("syslog:local3", 19, "apache2"),
            ("SYSLOG:User:shop", 1, "shop"),
            ("syslog::shop", 23, "shop"),
            ("syslog:daemon:", 3, "apache2"),
            ("syslog:nowhere:shop", 23, "shop"),
            ("journald", 23, "apache2"),
        ] {
            let ErrorLog::System(how) = ErrorLog::system(Some(given.as_bytes()), b"apache2") else {
                panic!("{given} is no file");
            };
            assert_eq!((how.facility, &*how.tag.text()), (facility, tag), "{given}");
        }
    }
}
