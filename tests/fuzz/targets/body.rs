//! The request body as a worker reads it: whatever comes over the connection and however it is cut,
//! reads end, give no more than came, and fail alike once they have failed.
//!
//! The runtime's own files are taken in by their paths: the runtime itself needs Python.
#![no_main]
#![allow(dead_code)]

#[path = "../../../crates/runtime/src/exchange"]
mod exchange {
    pub mod frame_writer;
    pub mod request_body;
    pub mod response_head;
}

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use exchange::frame_writer::Stream;
use exchange::request_body::RequestBody;
use exchange::response_head::ResponseHead;

/// A connection on which `rest` comes in pieces.
struct Connection {
    rest: Mutex<Vec<u8>>,
    piece: usize,
}

impl Stream for Connection {
    fn send(&self, first: &[u8], _: &[u8], _: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        Ok(first.len())
    }

    fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.rest.lock().expect("one thread");
        let len = rest.len().min(self.piece).min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        rest.drain(..len);
        Ok(len)
    }

    fn receive_within(&self, into: &mut [u8], _: Duration) -> io::Result<usize> {
        self.receive(into)
    }

    fn is_ending(&self) -> bool {
        false
    }

    fn is_closed_within(&self, _: Duration) -> bool {
        false
    }

    fn hurry(&self) {}

    fn keep(&self) {}

    fn shutdown(&self) {}
}

/// A head that an application makes of `text` can be sent, and its length is one number.
fn head(text: &[u8]) {
    let mut parts = text.split(|&byte| byte == 0xff);
    let Ok(mut head) = ResponseHead::new(parts.next().unwrap_or_default()) else {
        return;
    };
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let _ = head.field(name, value);
    }
    let mut out = Vec::new();
    assert!(head.append(&mut out, wire::frame::Kind::Head).is_ok());
    let sent = wire::response::decode_head(&out[wire::frame::HEAD_LEN..]).expect("what was sent");
    let lengths = sent
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    assert_eq!(lengths.count(), usize::from(head.content_length.is_some()));
    assert!((200..=999).contains(&sent.status));
}

// The first byte says how the bytes are cut, the second how they are read, the third how many came
// with the request.
fuzz_target!(|input: &[u8]| {
    let [piece, how, first, bytes @ ..] = input else {
        return;
    };
    head(bytes);
    let (came, rest) = bytes.split_at(usize::from(*first).min(bytes.len()));
    let stream = Arc::new(Connection {
        rest: Mutex::new(rest.to_vec()),
        piece: usize::from(*piece) + 1,
    });
    let mut body = RequestBody::new(stream, came.to_vec(), 0..came.len(), how & 1 != 0);
    body.pulled();
    let size = usize::from(how >> 2);
    let mut out = Vec::new();
    loop {
        let before = out.len();
        let at_hand = body.at_hand(size);
        let read = match how & 2 {
            0 => body.read(size, &mut out),
            _ => body.read_line(size, &mut out),
        };
        assert!(out.len() - before <= size && out.len() <= bytes.len());
        match read {
            Err(lost) => {
                assert_eq!(body.read(1, &mut Vec::new()), Err(lost));
                break;
            }
            Ok(()) if out.len() == before => break,
            Ok(()) => assert!(!at_hand || body.length as usize == out.len()),
        }
    }
    body.sent(Duration::from_secs(60));
});
