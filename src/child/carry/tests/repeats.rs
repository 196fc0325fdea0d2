//! Requests that are sent again, and those that must not be.

use super::*;

#[test]
fn a_request_handed_back_is_sent_again_as_it_was() {
    for first in [
        Lines::default().retry(Retry::Stale).said(),
        Lines::default()
            .log(b"the script has changed")
            .retry(Retry::Draining)
            .said(),
        Script::sending(b"").then(Afterwards::Resets),
        Lines::default()
            .log(b"loading")
            .said()
            .then(Afterwards::Resets),
    ] {
        let mut client = FakeClient::default();
        let (outcome, heard) = play_all([first, hello().said()], &mut client, order());
        assert_eq!(outcome, Outcome::Complete(END));
        assert_eq!(heard, [MESSAGE, MESSAGE]);
    }
    let mut deaf = hello().said();
    deaf.deaf = true;
    let mut client = FakeClient::default();
    let (outcome, heard) = play_all([deaf, hello().said()], &mut client, order());
    assert_eq!(
        (outcome, &heard[..]),
        (
            Outcome::Complete(END),
            &[b"".to_vec(), MESSAGE.to_vec()][..]
        )
    );
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
        let (outcome, heard) = play_all([begun, hello().said()], &mut client, order());
        assert!(
            matches!(outcome, Outcome::Status(502) | Outcome::Broken),
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
    assert_eq!((outcome, heard.len()), (Outcome::Status(502), 1));
}

#[test]
fn a_group_that_hands_everything_back_is_given_up() {
    let mut client = FakeClient::default();
    let scripts = (0..2000).map(|_| Lines::default().retry(Retry::Stale).said());
    let before = Instant::now();
    let (outcome, heard) = play_all(scripts, &mut client, order());
    assert_eq!(outcome, Outcome::Status(503));
    assert!(client.said("WSGI0124") && heard.len() > 3);
    assert!(before.elapsed() < Duration::from_secs(2));

    // Workers that die with the request unread are given fewer chances.
    let mut client = FakeClient::default();
    let scripts = (0..2000).map(|_| Script::sending(b"").then(Afterwards::Resets));
    let (outcome, heard) = play_all(scripts, &mut client, order());
    assert_eq!((outcome, heard.len()), (Outcome::Status(503), 10));
}

#[test]
fn a_door_that_is_closed_is_tried_again_and_one_that_is_not_there_is_not() {
    let mut cast = Cast {
        scripts: [hello().said()].into(),
        refusals: [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionRefused]
            .map(|kind| DialError::Later(kind.into()))
            .into(),
        dialled: 0,
        heard: std::rc::Rc::default(),
    };
    assert_eq!(
        carry(&mut cast, &mut FakeClient::default(), order()),
        Outcome::Complete(END)
    );

    let refusal = || DialError::Later(io::ErrorKind::WouldBlock.into());
    cast.refusals = (0..1000).map(|_| refusal()).collect();
    let mut client = FakeClient::default();
    assert_eq!(carry(&mut cast, &mut client, order()), Outcome::Status(503));
    assert!(client.said("WSGI0116"));

    cast.refusals = [DialError::Never(io::ErrorKind::PermissionDenied.into())].into();
    let mut client = FakeClient::default();
    assert_eq!(carry(&mut cast, &mut client, order()), Outcome::Status(503));
    assert!(client.said("WSGI0117"));
}
