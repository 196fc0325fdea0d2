//! Responses that wait in a temporary file for their clients.

use std::path::Path;

use super::super::spool::tests::in_use;
use super::super::spool::Place;
use super::*;

/// Bytes of which no two stretches are the same.
fn body(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(u32::to_le_bytes).collect()
}

/// A request whose client may be slow for `reader`.
fn request_with(spool: Place<'static>, reader: Duration) -> RelayRequest<'static> {
    let limits = RelayLimits {
        response_buffer: 100_000,
        reader,
        silence: Duration::from_secs(60),
        ..limits()
    };
    RelayRequest {
        limits,
        spool,
        ..request()
    }
}

fn large(body: &[u8]) -> Lines {
    body.chunks(70_000)
        .fold(Lines::default().head(200, &[]), Lines::data)
}

#[test]
fn the_worker_of_a_large_response_is_done_before_a_slow_client_has_it() {
    let (place, body) = (place(1 << 30), body(8_000_000));
    // The client takes nothing before the worker has said all of its lines.
    let script = large(&body).end().said().with_slow_client();
    let mut client = FakeClient::with_room(0);
    let request = request_with(place, Duration::from_secs(60));
    let outcome = play(script, &mut client, request);
    assert_eq!(outcome, RelayOutcome::Complete(END));
    assert_eq!((client.body == body, client.ended), (true, 1));
    assert_eq!(in_use(place), (0, 0));
}

#[test]
fn a_client_that_reads_slowly_gets_bytes_and_files_in_their_order() {
    let (place, body) = (place(1 << 30), body(4_000_000));
    let (first, second) = body.split_at(2_000_000);
    let lines = large(first).file(0, 1000).0;
    let rest = second.chunks(70_000).fold(Lines::default(), Lines::data);
    let script = Script::sending(&[lines, rest.end().0].concat())
        .with_file(a_file(&[b'f'; 1000]))
        .with_slow_client();
    let mut client = FakeClient::with_room(20_000);
    let request = request_with(place, Duration::from_secs(60));
    let outcome = play(script, &mut client, request);
    assert_eq!(outcome, RelayOutcome::Complete(END));
    let expected = [first, &[b'f'; 1000], second].concat();
    assert!(client.body == expected);
}

#[test]
fn nothing_goes_to_a_file_while_the_client_reads() {
    // A place where any attempt would be reported.
    let nowhere = Place {
        directory: Path::new("/no/such"),
        ..place(1 << 30)
    };
    let body = body(4_000_000);
    let mut client = FakeClient::with_room(0);
    let mut request = request_with(nowhere, Duration::from_secs(60));
    request.limits.spool_after = Duration::from_secs(5);
    let outcome = play(large(&body).end().said(), &mut client, request);
    assert_eq!(outcome, RelayOutcome::Complete(END));
    assert!(client.body == body && client.reports.is_empty());
}

#[test]
fn a_worker_that_dies_leaves_a_response_that_is_seen_to_be_broken() {
    let (place, body) = (place(1 << 30), body(4_000_000));
    for (afterwards, lines) in [
        (Afterwards::Closes, large(&body)),
        (Afterwards::Resets, large(&body)),
        (Afterwards::StaysSilent, large(&body).broken_end()),
    ] {
        let script = lines.said().with_slow_client().then(afterwards);
        let mut client = FakeClient::with_room(0);
        let request = request_with(place, Duration::from_secs(60));
        assert_eq!(play(script, &mut client, request), RelayOutcome::Broken);
        assert_eq!((client.broken, client.ended), (1, 0));
        assert!(body.starts_with(&client.body));
        assert_eq!(in_use(place), (0, 0));
    }
}

#[test]
fn at_the_bound_and_without_a_file_the_worker_waits() {
    let body = body(4_000_000);
    let nowhere = Place {
        directory: Path::new("/no/such"),
        ..place(1 << 30)
    };
    let none_left = Place {
        descriptors: 0,
        ..place(1 << 30)
    };
    let mut warnings = 0;
    for place in [place(1 << 20), place(0), none_left, nowhere] {
        let script = large(&body).end().said().with_slow_client();
        let mut client = FakeClient::with_room(0);
        let request = request_with(place, Duration::from_millis(100));
        // It never is done, so this client never takes anything.
        assert_eq!(play(script, &mut client, request), RelayOutcome::Gone);
        assert!(client.said("WSGI0371") && client.abandoned == 1);
        assert_eq!(in_use(place), (0, 0));
        warnings += usize::from(client.said("WSGI0440"));
    }
    // Once in a while is enough, and other tests may have caused it.
    assert!(warnings <= 1);
}

#[test]
fn a_client_that_leaves_frees_the_file() {
    let (place, body) = (place(1 << 30), body(4_000_000));
    let mut client = FakeClient {
        leaves_after: Some(50_000),
        ..FakeClient::with_room(0)
    };
    let script = large(&body).end().said().with_slow_client();
    let request = request_with(place, Duration::from_secs(60));
    assert_eq!(play(script, &mut client, request), RelayOutcome::Gone);
    assert_eq!(in_use(place), (0, 0));
}
