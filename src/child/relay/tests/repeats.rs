//! Requests that are sent again, and those that must not be.

use super::*;

/// What is heard of a connection whose process is to be sent nothing more.
const FORGET: &[u8] = b"<forget>";

#[test]
fn a_request_handed_back_is_sent_again_as_it_was() {
    for first in [
        Lines::default().retry(Retry::Stale).said(),
        Lines::default()
            .log(b"the script has changed")
            .retry(Retry::Draining)
            .said(),
        Lines::default().retry(Retry::Withdrawn).said(),
        Script::sending(b"").then(Afterwards::Resets),
        Lines::default()
            .log(b"loading")
            .said()
            .then(Afterwards::Resets),
    ] {
        let mut client = FakeClient::default();
        let (outcome, heard) = play_all([first, hello().said()], &mut client, request());
        assert_eq!(outcome, RelayOutcome::Complete(END));
        assert_eq!(heard, [MESSAGE, MESSAGE]);
    }
    let deaf = hello().said().with_ear(Ear::Closed);
    let mut client = FakeClient::default();
    let (outcome, heard) = play_all([deaf, hello().said()], &mut client, request());
    assert_eq!(outcome, RelayOutcome::Complete(END));
    assert_eq!(heard, [FORGET, b"", MESSAGE]);
}

#[test]
fn a_request_that_has_begun_is_never_sent_again() {
    for begun in [
        Script::sending(b""),
        Lines::default()
            .interim(103)
            .said()
            .then(Afterwards::Resets),
        Lines::default()
            .head(200, &[])
            .said()
            .then(Afterwards::Resets),
        Lines::default().log(b"x").said(),
    ] {
        let mut client = FakeClient::default();
        let (outcome, heard) = play_all([begun, hello().said()], &mut client, request());
        assert!(
            matches!(outcome, RelayOutcome::Status(502) | RelayOutcome::Broken),
            "{outcome:?}"
        );
        assert_eq!(heard.len(), 1);
    }
    let mut client = FakeClient::default();
    let pulled = Lines::default()
        .frame(Kind::Pull, b"")
        .said()
        .then(Afterwards::Resets);
    let (outcome, heard) = play_all([pulled, hello().said()], &mut client, uploading());
    assert_eq!((outcome, heard.len()), (RelayOutcome::Status(502), 1));
}

#[test]
fn a_group_that_hands_everything_back_is_given_up() {
    let mut client = FakeClient::default();
    let scripts = (0..2000).map(|_| Lines::default().retry(Retry::Stale).said());
    let before = Instant::now();
    let (outcome, heard) = play_all(scripts, &mut client, request());
    assert_eq!(outcome, RelayOutcome::Status(503));
    assert!(client.said("WSGI0124") && heard.len() > 3);
    assert!(before.elapsed() < Duration::from_secs(2));

    // Workers that die with the request unread are given fewer chances.
    let mut client = FakeClient::default();
    let scripts = (0..2000).map(|_| Script::sending(b"").then(Afterwards::Resets));
    let (outcome, heard) = play_all(scripts, &mut client, request());
    assert_eq!((outcome, heard.len()), (RelayOutcome::Status(503), 10));
}

#[test]
fn a_door_that_is_closed_is_tried_again_and_one_that_is_not_there_is_not() {
    let mut cast = Cast::of([hello().said()]);
    cast.refusals = [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionRefused]
        .map(|kind| DialError::Later(kind.into()))
        .into();
    assert_eq!(
        relay_request(&mut cast, &mut FakeClient::default(), request()),
        RelayOutcome::Complete(END)
    );

    let refusal = || DialError::Later(io::ErrorKind::WouldBlock.into());
    cast.refusals = (0..1000).map(|_| refusal()).collect();
    let mut client = FakeClient::default();
    assert_eq!(
        relay_request(&mut cast, &mut client, request()),
        RelayOutcome::Status(503)
    );
    assert!(client.said("WSGI0116"));

    cast.refusals = [DialError::Never(io::ErrorKind::PermissionDenied.into())].into();
    let mut client = FakeClient::default();
    assert_eq!(
        relay_request(&mut cast, &mut client, request()),
        RelayOutcome::Status(503)
    );
    assert!(client.said("WSGI0117"));
}

/// A worker that keeps the connection.
fn keeping() -> Script {
    let end = End {
        keep_alive: true,
        ..END
    };
    let mut lines = Lines::default().head(200, &[("Content-Length", "5")]);
    lines = lines.data(b"hello");
    end.append(&mut lines.0);
    lines.said()
}

#[test]
fn a_connection_is_kept_where_nothing_of_its_request_is_left() {
    let mut cast = Cast::of([keeping()]);
    let outcome = relay_request(&mut cast, &mut FakeClient::default(), request());
    assert!(matches!(outcome, RelayOutcome::Complete(end) if end.keep_alive));
    assert_eq!(cast.pooled, [END.pid]);

    // Something follows its end; the worker waits for word; it keeps nothing.
    let mut chatty = keeping();
    Log {
        level: Level::Error,
        text: b"late",
    }
    .append(&mut chatty.lines);
    let mut awaiting = Lines::default().head(200, &[]);
    let end = End {
        keep_alive: true,
        awaited: true,
        ..END
    };
    end.append(&mut awaiting.0);
    for script in [chatty, awaiting.said(), hello().said()] {
        let mut cast = Cast::of([script]);
        relay_request(&mut cast, &mut FakeClient::default(), request());
        assert_eq!(cast.pooled, []);
    }
    // Some of the body was sent, and the application has not read it to its end.
    let mut pulled = Lines::default().frame(Kind::Pull, b"").head(200, &[]);
    End {
        keep_alive: true,
        ..END
    }
    .append(&mut pulled.0);
    let mut client = FakeClient {
        sends: [Sends::Bytes(b"part"), Sends::NothingYet].into(),
        ..FakeClient::default()
    };
    let mut cast = Cast::of([pulled.said()]);
    relay_request(&mut cast, &mut client, uploading());
    assert_eq!(cast.pooled, []);
}

#[test]
fn a_request_that_meets_a_closed_connection_is_sent_over_a_new_one() {
    let deaf = hello().said().with_ear(Ear::Closed);
    let mut ended = Script::sending(b"");
    ended.leaves_unread = true;
    // That one has no thread to spare, and may have again in a moment.
    let reset = Script::sending(b"").then(Afterwards::Resets);
    for (first, is_forgotten) in [(deaf, true), (ended, true), (reset, false)] {
        let mut cast = Cast::of([first, hello().said()]);
        cast.first_is_kept = true;
        let outcome = relay_request(&mut cast, &mut FakeClient::default(), request());
        assert_eq!(outcome, RelayOutcome::Complete(END));
        assert_eq!(cast.dialled, 2);
        assert_eq!(cast.heard.take()[0] == FORGET, is_forgotten);
    }
    // One whose request had been read is not.
    let mut cast = Cast::of([Script::sending(b""), hello().said()]);
    cast.first_is_kept = true;
    let outcome = relay_request(&mut cast, &mut FakeClient::default(), request());
    assert_eq!((outcome, cast.dialled), (RelayOutcome::Status(502), 1));
}

#[test]
fn a_request_that_a_stopped_process_leaves_unread_is_withdrawn() {
    let withdrawn = [MESSAGE, b"<end>"].concat();
    // A long one does not even fit into its socket.
    for (ear, heard) in [(Ear::Open, &withdrawn[..]), (Ear::Full, b"")] {
        let mut stopped = Script::sending(b"")
            .then(Afterwards::StaysSilent)
            .with_ear(ear);
        stopped.leaves_unread = true;
        let mut request = request();
        request.limits.silence = Duration::from_secs(60);
        let mut cast = Cast::of([stopped, hello().said()]);
        cast.first_is_kept = true;
        let outcome = relay_request(&mut cast, &mut FakeClient::default(), request);
        assert_eq!(outcome, RelayOutcome::Complete(END));
        assert_eq!(cast.heard.take(), [FORGET, heard, MESSAGE]);
    }
}
