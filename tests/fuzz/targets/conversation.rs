//! A whole conversation with a hostile worker, as an Apache child has it: whatever the worker sends
//! and however it is cut, the conversation ends, the client gets one response or none, and a
//! response is complete only when the worker has ended it.
//!
//! The module's own files are taken in by their paths: the module itself needs httpd's headers.
#![no_main]
#![allow(dead_code)]

#[path = "../../../src/child/relay/mod.rs"]
mod relay;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use relay::client::{BodyRead, BodySource, Client, FileSent, Gone};
use relay::response_body::PassedFile;
use relay::response_head::ResponseHead;
use relay::worker::{Dial, DialError, Interest, WorkerConnection, Received, ConnectionChoice};
use relay::failure::RelayFailure;
use relay::spool::{Place, Usage};
use relay::upload::Upload;
use relay::{relay_request, RelayLimits, RelayRequest, RelayOutcome};
use libfuzzer_sys::fuzz_target;
use wire::response::{valid_name, valid_value, BodyFailure, Head, Level};

/// A worker that sends `lines` in pieces, whatever it is told, and goes.
struct Worker<'a> {
    lines: &'a [u8],
    piece: usize,
    resets: bool,
    passes_files: bool,
}

impl WorkerConnection for Worker<'_> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        if self.lines.is_empty() && self.resets {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let len = self.lines.len().min(self.piece).min(into.len());
        let (now, later) = self.lines.split_at(len);
        into[..len].copy_from_slice(now);
        self.lines = later;
        // Where a `File` frame may begin.
        let file = (self.passes_files && now.contains(&20)).then(a_file);
        Ok(Received { len, file })
    }

    fn wait(
        &mut self,
        interest: Interest,
        _: Option<BorrowedFd<'_>>,
        _: Duration,
    ) -> io::Result<Interest> {
        // Everything but that the client is lost: this one stays.
        Ok(Interest {
            client_lost: false,
            ..interest
        })
    }
}

static USAGE: Usage = Usage::new();

/// A regular file that is always there.
fn the_file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| File::open("/proc/self/exe").expect("this program"))
}

fn a_file() -> OwnedFd {
    the_file().try_clone().expect("a descriptor").into()
}

struct Once<'a>(Option<Worker<'a>>);

impl<'a> Dial for Once<'a> {
    type Connection = Worker<'a>;

    fn dial(&mut self, _: Duration, _: ConnectionChoice) -> Result<Worker<'a>, DialError> {
        self.0
            .take()
            .ok_or(DialError::Never(io::ErrorKind::NotFound.into()))
    }

    fn keep(&mut self, _: Worker<'a>, _: u32) {}

    fn place(&self) -> String {
        String::new()
    }
}

#[derive(Default)]
struct Browser {
    body_left: usize,
    fails: Option<BodyFailure>,
    headed: bool,
    declared: Option<u64>,
    got: u64,
    ended: bool,
    broken: bool,
    /// What its socket takes at once; without one it is an HTTP/2 stream.
    room: Option<usize>,
}

impl Browser {
    fn take(&mut self, len: u64, is_last: bool) {
        assert!(self.headed && !self.ended && !self.broken);
        self.got += len;
        self.ended = is_last;
        assert!(self.declared.is_none_or(|declared| self.got <= declared));
    }
}

impl BodySource for Browser {
    fn read_body(&mut self, at_most: usize, into: &mut Vec<u8>) -> BodyRead {
        let len = at_most.min(self.body_left);
        into.resize(into.len() + len, b'b');
        self.body_left -= len;
        match (self.body_left, self.fails) {
            (0, None) => BodyRead::Last,
            (0, Some(failure)) => BodyRead::Failed(failure),
            _ => BodyRead::Some,
        }
    }

    fn wait_for_body(&self, _: Duration, _: Duration) {}
}

impl Client for Browser {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        // Any descriptor does: nobody reads it.
        self.room.map(|_| the_file().as_fd())
    }

    fn interim(&mut self, head: &Head<'_>) {
        assert!(!self.headed && matches!(head.status, 100 | 102 | 103));
    }

    fn head(&mut self, head: &ResponseHead<'_>) {
        use relay::response_head::PlacedField::*;
        assert!(!self.headed && (200..=999).contains(&head.status()));
        self.headed = true;
        self.declared = head.content_length;
        for field in head.fields() {
            match field {
                ContentType(value) => assert!(valid_value(&value)),
                LastModified(value) => assert!(valid_value(value)),
                WithErrors(name, value)
                | Beside(name, value)
                | Instead(name, value)
                | Joined(name, value) => {
                    assert!(valid_name(name) && valid_value(value));
                    assert!(!name.eq_ignore_ascii_case(b"Transfer-Encoding"));
                    assert!(!name.eq_ignore_ascii_case(b"Content-Length"));
                    assert!(!name.eq_ignore_ascii_case(b"Connection"));
                }
                CloseConnection => {}
            }
        }
    }

    fn error_head(&mut self, head: &ResponseHead<'_>) {
        assert!(!self.headed && head.status() >= 400);
    }

    fn data(&mut self, pieces: &[&[u8]], is_last: bool) -> Result<(), Gone> {
        self.take(pieces.concat().len() as u64, is_last);
        Ok(())
    }

    fn room(&self) -> Option<usize> {
        self.room
    }

    fn abandon(&mut self) {
        unreachable!("it is never slow");
    }

    fn is_gone(&self) -> bool {
        false
    }

    fn bytes_sent(&self) -> u64 {
        self.got
    }

    fn file(&mut self, _: PassedFile, _: u64, len: u64, is_last: bool) -> Result<FileSent, Gone> {
        self.take(len, is_last);
        Ok(FileSent::Whole)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        assert!(self.headed && !self.ended && !self.broken);
        Ok(())
    }

    fn break_off(&mut self) {
        assert!(self.headed && !self.ended && !self.broken);
        self.broken = true;
    }

    fn log(&mut self, _: Level, _: &[u8]) {}

    fn report(&mut self, failure: &RelayFailure) {
        assert!(!failure.text.is_empty());
    }
}

// The first byte says what kind of request it is, the second how the worker's bytes are cut.
fuzz_target!(|input: &[u8]| {
    let [kind, piece, lines @ ..] = input else {
        return;
    };
    let has = |bit: u8| kind & (1 << bit) != 0;
    let limits = RelayLimits {
        connect: Duration::ZERO,
        successor: Duration::ZERO,
        silence: Duration::from_secs(60),
        client: Duration::from_secs(60),
        reader: Duration::from_secs(60),
        flush_delay: Duration::ZERO,
        flush_bytes: 1000,
        response_buffer: 500,
        spool_after: Duration::ZERO,
        header_field: 32 << 10,
    };
    let request = RelayRequest {
        group: b"shop",
        message: b"request",
        upload: if has(0) {
            Upload::open(has(1))
        } else {
            Upload::whole()
        },
        head_only: has(2),
        error_override: has(3),
        may_redirect: has(4),
        limits,
        spool: Place {
            directory: Path::new("/dev/shm"),
            // A worker that is cut finely spools.
            most: u64::from(piece % 8 < 4) << 20,
            descriptors: 3,
            usage: &USAGE,
        },
    };
    let mut browser = Browser {
        body_left: 100_000,
        fails: has(5).then_some(BodyFailure::TooLarge),
        room: [None, Some(0), Some(100), Some(usize::MAX)][usize::from(piece % 4)],
        ..Browser::default()
    };
    let worker = Worker {
        lines,
        piece: usize::from(*piece) + 1,
        resets: has(6),
        passes_files: has(7),
    };
    match relay_request(&mut Once(Some(worker)), &mut browser, request) {
        RelayOutcome::Complete(end) => assert!(browser.ended && !browser.broken && !end.broken),
        RelayOutcome::Broken => assert!(browser.broken && !browser.ended),
        RelayOutcome::Status(status) => assert!(status >= 400 && !browser.headed),
        RelayOutcome::Redirect(location) => assert!(location.starts_with(b"/") && !browser.headed),
        RelayOutcome::Gone => unreachable!("this client stays"),
    }
});
