//! Workers that send nonsense, or nothing.

use super::super::spool::tests::in_use;
use super::super::spool::Place;
use super::*;

#[test]
fn frames_out_of_order_are_refused() {
    let start = Lines::default;
    for lines in [
        start().data(b"x").end(),
        start().end(),
        start().frame(Kind::Pull, b""),
        start().file(0, 1),
        start().interim(101),
        start().interim(200),
        start().frame(Kind::Body, b"x"),
        start().fail(200, b"").frame(Kind::Retry, b"\x09"),
        start().frame(Kind::Retry, b"\x09"),
        start().frame(Kind::Log, b"\x63text"),
        start().head(101, &[]),
        start().head(1000, &[]),
        start().head(200, &[("Content-Length", "-5")]),
        start().head(200, &[("Content-Length", "1"), ("Content-Length", "2")]),
        start().head(200, &[("X", "a\r\nb")]),
        start().interim(103).retry(Retry::Stale),
    ] {
        let mut client = FakeClient::default();
        let outcome = play(lines.said(), &mut client, request());
        assert!(
            matches!(outcome, RelayOutcome::Status(502 | 500)),
            "{outcome:?} {:x?}",
            lines.0
        );
        assert_eq!(client.reports.len(), 1, "{:?}", client.reports);
        assert_eq!(client.status, None);
    }
    for rest in [
        start().head(200, &[]),
        start().interim(103),
        start().retry(Retry::Draining),
        start().fail(500, b""),
        start().file(0, 1),
    ] {
        let mut client = FakeClient::default();
        let lines = [start().head(200, &[]).data(b"x").0, rest.0].concat();
        assert_eq!(
            play(Script::sending(&lines), &mut client, request()),
            RelayOutcome::Broken
        );
        assert!(client.said("WSGI0360") && client.broken == 1);
    }
}

#[test]
fn silence_has_an_end_even_when_it_is_filled_with_log_records() {
    let mut client = FakeClient::default();
    let silent = Script::sending(b"").then(Afterwards::StaysSilent);
    assert_eq!(
        play(silent, &mut client, request()),
        RelayOutcome::Status(504)
    );
    assert!(client.said("WSGI0145"));

    let mut client = FakeClient::default();
    let stops = Lines::default()
        .head(200, &[])
        .data(b"x")
        .said()
        .then(Afterwards::StaysSilent);
    assert_eq!(play(stops, &mut client, request()), RelayOutcome::Broken);
    assert!(client.said("WSGI0118"));
    assert_eq!(client.flushes, 1);

    // The third kind says something now and then, which does not count.
    struct Talker(Instant, Vec<u8>);
    impl WorkerConnection for Talker {
        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
            assert!(
                self.0.elapsed() < Duration::from_secs(5),
                "it is listened to for ever"
            );
            std::thread::sleep(Duration::from_millis(1));
            into[..self.1.len()].copy_from_slice(&self.1);
            Ok(Received {
                len: self.1.len(),
                file: None,
            })
        }
        fn wait(
            &mut self,
            interest: Interest,
            _: Option<BorrowedFd<'_>>,
            _: Duration,
        ) -> io::Result<Interest> {
            Ok(Interest {
                to_client: false,
                from_client: false,
                to_worker: false,
                ..interest
            })
        }
    }
    struct Once(Option<Talker>);
    impl Dial for Once {
        type Connection = Talker;
        fn dial(&mut self, _: Duration, _: ConnectionChoice) -> Result<Talker, DialError> {
            self.0
                .take()
                .ok_or(DialError::Never(io::ErrorKind::NotFound.into()))
        }
        fn keep(&mut self, _: Talker, _: u32) {}
        fn place(&self) -> String {
            String::new()
        }
    }
    let mut client = FakeClient::default();
    let talker = Talker(Instant::now(), Lines::default().log(b"still here").0);
    assert_eq!(
        relay_request(&mut Once(Some(talker)), &mut client, request()),
        RelayOutcome::Status(504)
    );
}

/// A small generator: the tests repeat, and need nothing else.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn garbage_and_mutated_answers_end_and_break_nothing() {
    let good = Lines::default()
        .log(b"text")
        .interim(103)
        .frame(Kind::Pull, b"")
        .head(200, &[("Content-Length", "9"), ("Set-Cookie", "a=1")])
        .data(b"hel")
        .file(0, 4)
        .data(b"lo")
        .end()
        .0;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let limits = RelayLimits {
        silence: Duration::from_millis(1),
        client: Duration::from_millis(1),
        reader: Duration::from_millis(1),
        successor: Duration::ZERO,
        ..limits()
    };
    let mut complete = 0;
    for round in 0..5000 {
        let mut bytes = good.clone();
        if round % 10 == 0 {
            bytes.iter_mut().for_each(|byte| *byte = dice.throw() as u8);
        } else {
            for _ in 0..dice.throw() % 4 {
                let at = dice.throw() as usize % bytes.len().max(1);
                if bytes.is_empty() {
                    break;
                }
                match dice.throw() % 4 {
                    0 => bytes[at] = dice.throw() as u8,
                    1 => drop(bytes.drain(at..(at + 9).min(bytes.len()))),
                    2 => bytes.insert(at, dice.throw() as u8),
                    _ => bytes.truncate(at.max(1)),
                }
            }
        }
        let script = Script::sending(&bytes)
            .in_pieces_of(1 + dice.throw() as usize % 40)
            .with_file(a_file(b"file"))
            .then(if dice.throw() % 8 == 0 {
                Afterwards::Resets
            } else {
                Afterwards::Closes
            });
        let mut client = FakeClient::sending(&[Sends::Bytes(b"in"), Sends::End]);
        let outcome = play(
            script,
            &mut client,
            RelayRequest {
                limits,
                ..uploading()
            },
        );
        match outcome {
            RelayOutcome::Complete(_) => {
                complete += 1;
                assert_eq!((client.ended, client.broken), (1, 0));
            }
            RelayOutcome::Broken => assert_eq!((client.ended, client.broken), (0, 1)),
            RelayOutcome::Status(status) => {
                assert!(status >= 400 && client.status.is_none());
            }
            RelayOutcome::Redirect(_) | RelayOutcome::Gone => {}
        }
    }
    assert!(complete > 100, "the good ones still pass: {complete}");
}

#[test]
fn a_descriptor_without_a_file_is_closed_and_refused_however_the_bytes_are_cut() {
    let start = || Lines::default().head(200, &[]);
    let (log, data) = (Lines::default().log(b"x").0.len(), &[b'x'; 3000][..]);
    let head = start().0.len();
    for (lines, at) in [
        // With a head behind which no file comes, with data and with the end.
        (start().data(data).end(), 0),
        (start().data(data).end(), head),
        (start().data(data).file(0, 4).end(), head),
        (start().data(data).file(0, 4).end(), head + 50),
        (
            start().data(data).end(),
            head + frame::HEAD_LEN + data.len(),
        ),
        // With a log record before the head, behind which the file would come.
        (
            Lines(Lines::default().log(&[b'x'; 50]).0)
                .head(200, &[])
                .file(0, 4),
            0,
        ),
        (Lines::default().log(b"x").retry(Retry::Stale), log),
        (Lines::default().fail(500, b"x"), 0),
        (Lines::default().frame(Kind::Pull, b"").log(&[b'x'; 50]), 0),
    ] {
        for piece in [1, 7, 40] {
            let (reader, writer) = os::descriptor::pipe().unwrap();
            let script = lines.said().in_pieces_of(piece).with_file_at(at, writer);
            let mut client = FakeClient::default();
            let outcome = play(script, &mut client, uploading());
            let refused = matches!(outcome, RelayOutcome::Status(502) | RelayOutcome::Broken);
            assert!(refused, "{outcome:?} {at} {piece}");
            assert!(client.said("WSGI0360"), "{:?}", client.reports);
            let closed = std::fs::File::from(reader).read(&mut [0]).unwrap();
            assert_eq!((closed, client.ended), (0, 0));
        }
    }
}

#[test]
fn a_descriptor_may_come_with_its_file_or_with_the_head_directly_before_it() {
    let lines = Lines::default().head(200, &[("X", "y")]).file(0, 4).end();
    let head = Lines::default().head(200, &[("X", "y")]).0.len();
    for (at, piece) in [(0, 1), (0, 9), (0, 999), (head, 1), (head, 9), (head, 999)] {
        let script = lines.said().in_pieces_of(piece);
        let mut client = FakeClient::default();
        let script = script.with_file_at(at, a_file(b"file"));
        let outcome = play(script, &mut client, request());
        assert_eq!(outcome, RelayOutcome::Complete(END), "{at} {piece}");
        assert_eq!(client.body, b"file");
    }
}

#[test]
fn where_no_descriptor_may_wait_a_file_is_copied_in_its_turn() {
    let body = vec![b'x'; 300_000];
    let lines = Lines::default()
        .head(200, &[])
        .data(&body)
        .file(1, 100_000)
        .data(b"!")
        .end();
    let expected = [&body[..], &[b'f'; 100_000], b"!"].concat();
    let none_left = Place {
        descriptors: 0,
        ..place(1 << 30)
    };
    let mut warnings = 0;
    for room in [0, 20_000, usize::MAX] {
        let mut client = FakeClient::with_room(room);
        let script = lines.said().with_file(a_file(&[b'f'; 100_001]));
        let request = RelayRequest {
            spool: none_left,
            ..request()
        };
        let outcome = play(script, &mut client, request);
        assert_eq!(outcome, RelayOutcome::Complete(END));
        assert!(client.body == expected && client.ended == 1);
        warnings += usize::from(client.said("WSGI0424"));
    }
    assert_eq!(warnings, 1);
    // One that is shorter than announced breaks the response, as always.
    let mut client = FakeClient::default();
    let script = lines.said().with_file(a_file(&[b'f'; 5000]));
    let request = RelayRequest {
        spool: none_left,
        ..request()
    };
    assert_eq!(play(script, &mut client, request), RelayOutcome::Broken);
    assert!(client.said("WSGI0363"), "{:?}", client.reports);
}

#[test]
fn a_file_counts_until_its_response_is_over() {
    let place = place(1 << 30);
    let lines = Lines::default().head(200, &[]).file(0, 4).end();
    let mut client = FakeClient::default();
    let script = lines.said().with_file(a_file(b"file"));
    let request = RelayRequest {
        spool: place,
        ..request()
    };
    assert_eq!(
        play(script, &mut client, request),
        RelayOutcome::Complete(END)
    );
    assert_eq!((client.files, in_use(place)), (1, (0, 0)));
}
