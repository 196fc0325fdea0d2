//! Responses as they should be, and those that break off.

use std::io::Write;

use super::*;

#[test]
fn a_small_response_goes_to_the_client_in_one_piece() {
    let mut client = FakeClient::default();
    let (outcome, heard) = play_all([hello().said()], &mut client, request());
    assert_eq!(outcome, RelayOutcome::Complete(END));
    assert_eq!(
        (client.status, &client.body[..]),
        (Some(200), &b"hello"[..])
    );
    assert_eq!((client.pieces, client.ended, client.flushes), (1, 1, 0));
    assert_eq!(heard, [MESSAGE]);
    assert_eq!(client.reports, []);
}

#[test]
fn pieces_of_any_size_make_the_same_response() {
    let lines = Lines::default()
        .log(b"one\ntwo")
        .head(200, &[])
        .data(b"hel")
        .data(b"")
        .log(b"three")
        .data(b"lo")
        .end();
    for size in 1..=lines.0.len() {
        let mut client = FakeClient::default();
        let outcome = play(lines.said().in_pieces_of(size), &mut client, request());
        assert_eq!(outcome, RelayOutcome::Complete(END), "{size}");
        assert_eq!((&client.body[..], client.ended), (&b"hello"[..], 1));
        assert_eq!(client.logged.len(), 2);
    }
}

#[test]
fn a_worker_that_goes_at_any_byte_never_makes_a_complete_response() {
    let lines = hello();
    let head = Lines::default().head(
        200,
        &[("Content-Type", "text/plain"), ("Content-Length", "5")],
    );
    for cut in 0..lines.0.len() {
        for afterwards in [Afterwards::Closes, Afterwards::Resets] {
            let mut client = FakeClient::default();
            let script = Script::sending(&lines.0[..cut]).then(afterwards);
            let outcome = play(script, &mut client, request());
            if cut < head.0.len() {
                // Reset with nothing begun: the request is sent again, to nobody here.
                let again = afterwards == Afterwards::Resets;
                assert_eq!(
                    outcome,
                    RelayOutcome::Status(if again { 503 } else { 502 }),
                    "{cut}"
                );
                assert!(client.said(if again { "WSGI0117" } else { "WSGI0146" }));
            } else {
                assert_eq!(outcome, RelayOutcome::Broken, "{cut}");
                assert_eq!((client.broken, client.ended), (1, 0));
                assert!(client.said("WSGI0119"));
            }
        }
    }
}

#[test]
fn a_body_is_cut_at_its_length_and_a_short_one_is_broken() {
    let long = Lines::default()
        .head(200, &[("Content-Length", "3")])
        .data(b"hel")
        .data(b"lo")
        .end();
    let mut client = FakeClient::default();
    assert_eq!(
        play(long.said(), &mut client, request()),
        RelayOutcome::Complete(END)
    );
    assert_eq!((&client.body[..], client.ended), (&b"hel"[..], 1));

    let short = Lines::default()
        .head(200, &[("Content-Length", "50")])
        .data(b"hel")
        .end();
    let mut client = FakeClient::default();
    assert_eq!(
        play(short.said(), &mut client, request()),
        RelayOutcome::Broken
    );
    assert!(client.said("WSGI0362") && client.broken == 1);

    // HEAD, 204 and 304 keep the length and have no body.
    for (status, head_only) in [(200, true), (204, false), (304, false)] {
        let lines = Lines::default()
            .head(status, &[("Content-Length", "50")])
            .end();
        let mut client = FakeClient::default();
        let request = RelayRequest {
            head_only,
            ..request()
        };
        assert_eq!(
            play(lines.said(), &mut client, request),
            RelayOutcome::Complete(END)
        );
        assert_eq!(client.ended, 1);
    }
}

#[test]
fn an_application_that_fails_half_way_breaks_the_response() {
    let lines = Lines::default().head(200, &[]).data(b"hel").broken_end();
    let mut client = FakeClient::with_room(usize::MAX);
    assert_eq!(
        play(lines.said(), &mut client, request()),
        RelayOutcome::Broken
    );
    assert!(client.said("WSGI0361"));
    assert_eq!(
        (&client.body[..], client.ended, client.broken),
        (&b"hel"[..], 0, 1)
    );
}

#[test]
fn a_failure_is_answered_with_its_status() {
    let mut client = FakeClient::default();
    let lines = Lines::default()
        .log(b"Traceback")
        .fail(504, b"WSGI0084: too long in the queue");
    assert_eq!(
        play(lines.said(), &mut client, request()),
        RelayOutcome::Status(504)
    );
    assert!(client.said("WSGI0084"));
    assert_eq!(client.logged, [(Level::Error, "Traceback".to_owned())]);
    // Without a text the records before it have said it all.
    let mut client = FakeClient::default();
    assert_eq!(
        play(
            Lines::default().fail(500, b"").said(),
            &mut client,
            request()
        ),
        RelayOutcome::Status(500)
    );
    assert_eq!(client.reports, []);
}

#[test]
fn a_client_that_leaves_ends_the_conversation_at_once() {
    let mut client = FakeClient {
        leaves_after: Some(5),
        ..FakeClient::with_room(usize::MAX)
    };
    let lines = Lines::default().head(200, &[]).data(b"hello").data(b"more");
    let script = lines.said().in_pieces_of(1).then(Afterwards::StaysSilent);
    let limits = RelayLimits {
        silence: Duration::from_secs(60),
        ..limits()
    };
    let before = Instant::now();
    assert_eq!(
        play(
            script,
            &mut client,
            RelayRequest {
                limits,
                ..request()
            }
        ),
        RelayOutcome::Gone
    );
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(client.broken, 0);
}

#[test]
fn an_error_can_be_left_to_httpd_and_a_local_location_too() {
    let lines = Lines::default()
        .head(401, &[("WWW-Authenticate", "Basic"), ("X", "y")])
        .data(b"no")
        .end();
    let mut client = FakeClient::default();
    let request_ = RelayRequest {
        error_override: true,
        ..request()
    };
    assert_eq!(
        play(lines.said(), &mut client, request_),
        RelayOutcome::Status(401)
    );
    assert_eq!(
        (client.status, &client.fields[..]),
        (None, &["WWW-Authenticate".to_owned()][..])
    );

    let lines = Lines::default()
        .head(200, &[("Location", "/file")])
        .data(b"x")
        .end();
    let mut client = FakeClient::default();
    assert_eq!(
        play(lines.said(), &mut client, request()),
        RelayOutcome::Redirect(b"/file".to_vec())
    );
    let mut client = FakeClient::default();
    let request_ = RelayRequest {
        may_redirect: false,
        ..request()
    };
    assert_eq!(
        play(lines.said(), &mut client, request_),
        RelayOutcome::Complete(END)
    );
    // A worker that stays on the line does not keep the client waiting.
    let script = Lines::default().head(200, &[("Location", "/file")]).said();
    let mut client = FakeClient::default();
    let outcome = play(script.then(Afterwards::StaysSilent), &mut client, request());
    assert_eq!(outcome, RelayOutcome::Redirect(b"/file".to_vec()));
}

#[test]
fn a_file_is_sent_from_its_descriptor() {
    let lines = Lines::default()
        .head(200, &[("Content-Length", "7")])
        .data(b"a ")
        .file(2, 5)
        .end();
    let mut client = FakeClient::default();
    let script = lines.said().with_file(a_file(b"__hello__"));
    assert_eq!(
        play(script, &mut client, request()),
        RelayOutcome::Complete(END)
    );
    assert_eq!((&client.body[..], client.ended), (&b"a hello"[..], 1));
}

#[test]
fn a_descriptor_that_is_no_readable_file_breaks_the_response() {
    let lines = Lines::default().head(200, &[]).file(0, 5).end();
    let (reader, _writer) = os::descriptor::pipe().unwrap();
    let write_only = {
        let path = std::env::temp_dir().join(format!("wsgi-relay-w-{}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        (&file).write_all(b"hello").unwrap();
        std::fs::remove_file(&path).unwrap();
        OwnedFd::from(file)
    };
    let directory = OwnedFd::from(std::fs::File::open("/").unwrap());
    for descriptor in [reader, write_only, directory, a_file(b"hell")] {
        let mut client = FakeClient::default();
        let outcome = play(lines.said().with_file(descriptor), &mut client, request());
        assert_eq!(outcome, RelayOutcome::Broken);
        assert!(client.said("WSGI0363"), "{:?}", client.reports);
    }
    let mut client = FakeClient::default();
    assert_eq!(
        play(lines.said(), &mut client, request()),
        RelayOutcome::Broken
    );
    assert!(client.said("WSGI0360"));
}

#[test]
fn nothing_is_flushed_behind_the_end() {
    let limits = RelayLimits {
        flush_bytes: 3,
        ..limits()
    };
    let mut client = FakeClient::default();
    let request = RelayRequest {
        limits,
        ..request()
    };
    assert_eq!(
        play(hello().said(), &mut client, request),
        RelayOutcome::Complete(END)
    );
    assert_eq!((client.flushes, client.ended), (0, 1));
}

#[test]
fn a_header_field_has_a_bound_of_its_own() {
    let long = "v".repeat(33_000);
    for (value, status) in [(&long[..32_000], None), (&long[..], Some(500))] {
        let lines = Lines::default().head(200, &[("X", value)]).end();
        let mut client = FakeClient::default();
        match (play(lines.said(), &mut client, request()), status) {
            (RelayOutcome::Complete(_), None) => {}
            (RelayOutcome::Status(500), Some(500)) => assert!(client.said("WSGI0144")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn interim_responses_pass_and_have_a_bound() {
    let mut client = FakeClient::default();
    let lines = Lines(Lines::default().interim(103).interim(102).0)
        .head(200, &[])
        .end();
    assert_eq!(
        play(lines.said(), &mut client, request()),
        RelayOutcome::Complete(END)
    );
    assert_eq!(client.interims, [103, 102]);
    let many = (0..1100).fold(Lines::default(), |lines, _| lines.interim(102));
    let mut client = FakeClient::default();
    assert_eq!(
        play(many.said(), &mut client, request()),
        RelayOutcome::Status(502)
    );
    assert_eq!(client.interims.len(), 1000);
}

#[test]
fn a_worker_that_asks_is_told_how_the_response_went() {
    let mut lines = hello();
    let end_len = Lines::default().end().0.len();
    lines.0.truncate(lines.0.len() - end_len);
    let end = End {
        awaited: true,
        ..END
    };
    end.append(&mut lines.0);
    let told = |aborted, bytes| {
        let mut frame = Vec::new();
        Sent { aborted, bytes }.append(&mut frame);
        [MESSAGE, &frame].concat()
    };
    let mut client = FakeClient::default();
    let (outcome, heard) = play_all([lines.said()], &mut client, request());
    assert_eq!(
        (outcome, &heard[0]),
        (RelayOutcome::Complete(end), &told(false, 5))
    );
    let mut client = FakeClient {
        leaves_after: Some(0),
        ..FakeClient::default()
    };
    let (outcome, heard) = play_all([hello().said()], &mut client, request());
    assert_eq!((outcome, &heard[0]), (RelayOutcome::Gone, &told(true, 0)));
    // Nobody has asked.
    let (_, heard) = play_all([hello().said()], &mut FakeClient::default(), request());
    assert_eq!(heard[0], MESSAGE);
}

#[test]
fn the_worker_hears_of_a_client_that_closes_its_side_and_the_response_goes_on() {
    for upload in [Upload::whole(), Upload::open(false)] {
        let is_whole = upload.is_settled();
        let mut script = Script::sending(b"").then(Afterwards::StaysSilent);
        script.client_closes = true;
        let mut request = request();
        request.upload = upload;
        request.limits.silence = Duration::from_millis(250);
        let mut client = FakeClient {
            socket: Some(a_file(b"")),
            ..FakeClient::default()
        };
        let (outcome, heard) = play_all([script], &mut client, request);
        assert_eq!(outcome, RelayOutcome::Status(504));
        let end: &[u8] = if is_whole { b"<end>" } else { b"" };
        assert_eq!(heard[0], [MESSAGE, end].concat());
    }
}

#[test]
fn a_client_without_a_socket_is_looked_after() {
    let script = Script::sending(b"").then(Afterwards::StaysSilent);
    let mut request = request();
    request.limits.silence = Duration::from_secs(10);
    let mut client = FakeClient {
        gone: true,
        ..FakeClient::default()
    };
    assert_eq!(play(script, &mut client, request), RelayOutcome::Gone);
}

#[test]
fn a_worker_is_done_before_a_slow_client_has_its_response() {
    // The client takes nothing before the worker has said all of its lines.
    let body = vec![b'x'; 300_000];
    let lines = Lines::default().head(200, &[]).data(&body).end();
    let mut client = FakeClient::with_room(0);
    let script = lines.said().in_pieces_of(5000).with_slow_client();
    assert_eq!(
        play(script, &mut client, request()),
        RelayOutcome::Complete(END)
    );
    assert_eq!((client.body == body, client.ended), (true, 1));
}

#[test]
fn what_is_held_for_a_slow_client_has_a_bound() {
    let body = vec![b'x'; 300_000];
    let lines = Lines::default().head(200, &[]).data(&body).end();
    let limits = RelayLimits {
        response_buffer: 100_000,
        reader: Duration::from_millis(20),
        silence: Duration::from_secs(60),
        ..limits()
    };
    let mut client = FakeClient::with_room(0);
    let script = lines.said().in_pieces_of(5000).with_slow_client();
    // It never is done, so this client never takes anything.
    let request_ = RelayRequest {
        limits,
        ..request()
    };
    assert_eq!(play(script, &mut client, request_), RelayOutcome::Gone);
    assert!(client.said("WSGI0371"), "{:?}", client.reports);
    assert_eq!((client.abandoned, client.ended, client.broken), (1, 0, 0));
    assert!(client.body.len() <= 16 << 10);
    // One that takes a little at a time gets all of it in the end, and so does an HTTP/2 stream.
    for client in [FakeClient::with_room(0), FakeClient::default()] {
        let mut client = client;
        let request_ = RelayRequest {
            limits,
            ..request()
        };
        let script = lines.said().in_pieces_of(5000);
        assert_eq!(
            play(script, &mut client, request_),
            RelayOutcome::Complete(END)
        );
        assert_eq!((client.body == body, client.ended), (true, 1));
    }
}

#[test]
fn a_response_that_breaks_before_the_client_has_any_of_it_gives_it_none() {
    // Over HTTP/2, where it waited for more: httpd can still answer with an error of its own.
    let lines = Lines::default().head(200, &[]).data(b"hel").broken_end();
    let mut client = FakeClient::default();
    assert_eq!(
        play(lines.said(), &mut client, request()),
        RelayOutcome::Broken
    );
    assert_eq!((&client.body[..], client.broken), (&b""[..], 1));
}

#[test]
fn a_file_waits_for_its_turn() {
    let lines = Lines::default()
        .head(200, &[])
        .data(&[b'x'; 20_000])
        .file(2, 5)
        .data(b"!")
        .end();
    for room in [0, usize::MAX] {
        let mut client = FakeClient::with_room(room);
        let script = lines.said().with_file(a_file(b"__hello__"));
        assert_eq!(
            play(script, &mut client, request()),
            RelayOutcome::Complete(END)
        );
        assert!(client.body.ends_with(b"xhello!") && client.body.len() == 20_006);
    }
}
