//! Request bodies that are read before a worker is asked.

use std::path::Path;

use super::super::early_body::{self, ReadPlan};
use super::super::spool::tests::in_use;
use super::super::spool::Place;
use super::super::upload::WINDOW;
use super::bodies::body_frames;
use super::*;

/// A piece of a body: as large as the first part of the plan below.
static PIECE: [u8; 1000] = [b'p'; 1000];

fn plan(place: Place<'static>, length: Option<u64>) -> ReadPlan<'static> {
    ReadPlan {
        group: b"shop",
        length,
        message: PIECE.len(),
        place,
    }
}

/// A client that lets us wait after its first piece, and then sends so many further ones.
fn slow(pieces: usize, last: Sends) -> FakeClient {
    let mut client = FakeClient::sending(&[
        Sends::Bytes(&PIECE),
        Sends::NothingFor(Duration::from_millis(400)),
    ]);
    for _ in 0..pieces {
        client.sends.push_back(Sends::Bytes(&PIECE));
        client.sends.push_back(Sends::NothingYet);
    }
    client.sends.push_back(last);
    client
}

/// A client all of whose pieces are here.
fn quick(pieces: usize, last: Sends) -> FakeClient {
    let mut client = FakeClient {
        sends: vec![Sends::Bytes(&PIECE); pieces].into(),
        ..FakeClient::default()
    };
    client.sends.push_back(last);
    client
}

/// The message, the frames of the body behind it, and what the log was given.
type Asked = (Vec<u8>, Vec<(Kind, Vec<u8>)>, Vec<RelayFailure>);

/// What a worker gets that reads the whole body: message, and the body behind it.
fn asked(client: &mut FakeClient, plan: &ReadPlan<'static>) -> Asked {
    let mut first = Vec::new();
    let early = early_body::read(client, plan, &mut first).unwrap();
    let is_whole = early.upload.is_whole();
    let limits = RelayLimits {
        client: Duration::from_secs(5),
        ..limits()
    };
    let request = RelayRequest {
        upload: early.upload,
        limits,
        ..request()
    };
    let lines = match is_whole {
        true => Lines::default(),
        false => Lines::default().frame(Kind::Pull, b""),
    };
    let script = Script::sending(&lines.0).then(Afterwards::StaysSilent);
    let (_, heard) = play_all([script], client, request);
    let frames = body_frames(&heard[0]);
    (first, frames, early.warning.into_iter().collect())
}

fn body_of(frames: &[(Kind, Vec<u8>)]) -> usize {
    let data = frames.iter().filter(|(kind, _)| *kind == Kind::Body);
    data.map(|(_, bytes)| bytes.len()).sum()
}

#[test]
fn a_slow_body_waits_in_a_file_until_it_is_whole() {
    for length in [Some(301_000), None] {
        let place = place(1 << 30);
        let mut client = slow(300, Sends::End);
        let mut first = Vec::new();
        let early = early_body::read(&mut client, &plan(place, length), &mut first).unwrap();
        assert!(client.sends.len() <= 2 && first == PIECE);
        assert_eq!(in_use(place), (1, 1 << 20));
        // Nobody waits for the client any more.
        assert!(!early.upload.may_be_coming() && !early.upload.is_whole());
        drop(early);
        assert_eq!(in_use(place), (0, 0));
        let (first, frames, warnings) = asked(&mut slow(300, Sends::End), &plan(place, length));
        assert!(first == PIECE && warnings.is_empty());
        assert_eq!(body_of(&frames), 300_000);
        assert_eq!(frames.last(), Some(&(Kind::BodyEnd, Vec::new())));
        // As large pieces as a client that sends quickly leads to.
        assert_eq!(frames.len(), 300_000_usize.div_ceil(WINDOW) + 1);
        assert_eq!(in_use(place), (0, 0));
    }
}

#[test]
fn a_quick_body_goes_to_no_file_and_is_read_no_further_than_need_be() {
    // Where any attempt would be an error.
    let nowhere = Place {
        directory: Path::new("/no/such"),
        ..place(1 << 30)
    };
    for length in [Some(301_000), None] {
        let mut client = quick(301, Sends::End);
        let mut first = Vec::new();
        let early = early_body::read(&mut client, &plan(nowhere, length), &mut first).unwrap();
        assert!(early.warning.is_none() && early.upload.may_be_coming());
        let read = 302 - client.sends.len();
        assert_eq!(read, 1 + WINDOW.div_ceil(PIECE.len()));
        let (_, frames, _) = asked(&mut quick(301, Sends::End), &plan(nowhere, length));
        assert_eq!(body_of(&frames), 300_000);
        assert_eq!(frames.last(), Some(&(Kind::BodyEnd, Vec::new())));
    }
    // One that ends before that is whole, in one frame.
    let (_, frames, _) = asked(&mut quick(3, Sends::End), &plan(nowhere, None));
    assert_eq!((frames.len(), body_of(&frames)), (2, 2000));
    // And a small one is in the message.
    let mut client = FakeClient::sending(&[Sends::Bytes(b"small"), Sends::NothingYet, Sends::End]);
    let (first, frames, _) = asked(&mut client, &plan(nowhere, None));
    assert_eq!((&first[..], frames.len()), (&b"small"[..], 0));
}

#[test]
fn a_body_that_finds_no_room_goes_on_as_if_there_were_no_file() {
    let nowhere = Place {
        directory: Path::new("/no/such"),
        ..place(1 << 30)
    };
    let none_left = Place {
        descriptors: 0,
        ..place(1 << 30)
    };
    for place in [place(0), none_left, nowhere, place(200_000)] {
        for length in [Some(301_000), None] {
            let (first, frames, _) = asked(&mut slow(300, Sends::End), &plan(place, length));
            assert_eq!(
                first.len() + body_of(&frames),
                301_000,
                "{place:?} {length:?}"
            );
            assert_eq!(frames.last(), Some(&(Kind::BodyEnd, Vec::new())));
            assert_eq!(in_use(place), (0, 0));
        }
    }
    // One that is known to be too long for the file is not begun with.
    let place = place(200_000);
    let mut client = slow(300, Sends::End);
    let mut first = PIECE.to_vec();
    let early = early_body::read(&mut client, &plan(place, Some(301_000)), &mut first).unwrap();
    assert_eq!(
        (early.upload.may_be_coming(), client.sends.len()),
        (true, 603)
    );
}

#[test]
fn a_client_that_waits_for_the_response_gets_it() {
    let place = place(1 << 30);
    for said in [&PIECE[..5], &PIECE[..]] {
        let mut client = FakeClient::sending(&[Sends::Bytes(b"x")]);
        client.sends = [Sends::Bytes(said)].into();
        let (mut first, before) = (Vec::new(), Instant::now());
        let early = early_body::read(&mut client, &plan(place, None), &mut first).unwrap();
        assert!(early.upload.may_be_coming() && first == said);
        let waited = before.elapsed();
        assert!(waited >= Duration::from_millis(900) && waited < Duration::from_secs(4));
    }
}

#[test]
fn a_body_that_breaks_off_reaches_no_worker_and_leaves_no_file() {
    let place = place(1 << 30);
    for failure in [
        BodyFailure::TooLarge,
        BodyFailure::Timeout,
        BodyFailure::ClientGone,
        BodyFailure::Malformed,
    ] {
        for mut client in [
            slow(300, Sends::Fails(failure)),
            quick(3, Sends::Fails(failure)),
            FakeClient::sending(&[Sends::Fails(failure)]),
        ] {
            let mut first = Vec::new();
            let read = early_body::read(&mut client, &plan(place, None), &mut first);
            assert_eq!(read.map(|_| ()), Err(failure));
            assert_eq!(in_use(place), (0, 0));
        }
    }
}

#[test]
fn a_body_that_nobody_reads_leaves_the_connection_as_it_was() {
    let place = place(1 << 30);
    let plan = plan(place, Some(301_000));
    let mut client = slow(300, Sends::End);
    let mut first = Vec::new();
    let early = early_body::read(&mut client, &plan, &mut first).unwrap();
    let mut lines = Lines::default().head(200, &[]).data(b"hello");
    End {
        keep_alive: true,
        ..END
    }
    .append(&mut lines.0);
    let mut cast = Cast::of([lines.said()]);
    let request = RelayRequest {
        upload: early.upload,
        ..request()
    };
    let outcome = relay_request(&mut cast, &mut client, request);
    assert!(matches!(outcome, RelayOutcome::Complete(_)));
    assert_eq!(
        (&cast.pooled[..], &cast.heard.borrow()[0][..]),
        (&[END.pid][..], MESSAGE)
    );
    assert_eq!(in_use(place), (0, 0));
}
