use std::sync::atomic::Ordering;

use wire::frame::Kind;
use wire::response::Log;

use super::frame_writer::tests::{frames, FakeStream};
use super::frame_writer::FrameWriter;
use super::response::{SendError, COPY_LIMIT};
use super::response_head::ResponseHead;
use super::*;

fn exchange(facts: Facts) -> (Exchange, Arc<FakeStream>) {
    sized_exchange(facts, 7)
}

/// An exchange on a stream that takes `step` bytes at a time.
fn sized_exchange(facts: Facts, step: usize) -> (Exchange, Arc<FakeStream>) {
    let fake = Arc::new(FakeStream {
        step,
        ..FakeStream::default()
    });
    let stream: Arc<dyn Stream> = Arc::clone(&fake) as _;
    let sink = Box::new(FrameWriter::new(Arc::clone(&stream), Vec::new()));
    let body = RequestBody::new(Arc::clone(&stream), b"body".to_vec(), 0..4, true);
    let exchange = Exchange::new(sink, &stream, facts);
    exchange.set_body(body);
    (exchange, fake)
}

/// One whose head stands in line.
fn begun(step: usize) -> (Exchange, Arc<FakeStream>) {
    let (exchange, fake) = sized_exchange(Facts::default(), step);
    let mut response = exchange.wait_response();
    response.set_head(head(&[])).unwrap();
    response.begin(false).unwrap();
    drop(response);
    (exchange, fake)
}

fn sent(fake: &FakeStream) -> Vec<(Kind, Vec<u8>)> {
    frames(&fake.sent.lock().unwrap().0)
}

fn head(fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::new(b"200 OK").unwrap();
    for (name, value) in fields {
        head.field(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

#[test]
fn a_small_answer_is_head_data_and_end() {
    let (exchange, fake) = exchange(Facts::default());
    let mut response = exchange.wait_response();
    response.set_head(head(&[("Content-Length", "5")])).unwrap();
    response.begin(false).unwrap();
    response.data(b"hello and more");
    assert_eq!((response.shortfall(), response.length), (None, 5));
    drop(response);
    exchange.finish(Some(Conclusion::End(End::default())));
    let frames = sent(&fake);
    let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Head, Kind::Data, Kind::End]);
    assert_eq!(frames[1].1, b"hello");
}

#[test]
fn a_body_shorter_than_declared_is_a_shortfall_but_not_for_head_or_304() {
    for (status, head_request, owed) in [
        ("200 OK", false, Some(3)),
        ("200 OK", true, None),
        ("304 Not Modified", false, None),
    ] {
        let (exchange, fake) = exchange(Facts::default());
        let mut response = exchange.wait_response();
        let mut head = ResponseHead::new(status.as_bytes()).unwrap();
        head.field(b"Content-Length", b"5").unwrap();
        response.set_head(head).unwrap();
        response.begin(head_request).unwrap();
        response.data(b"he");
        assert_eq!(response.shortfall(), owed);
        response.flush();
        let data = sent(&fake).iter().any(|(kind, _)| *kind == Kind::Data);
        assert_eq!(data, owed.is_some());
    }
}

#[test]
fn the_head_can_be_replaced_until_it_leaves_and_nothing_goes_before_it() {
    let (exchange, _) = exchange(Facts::default());
    let mut response = exchange.wait_response();
    assert_eq!(response.begin(false), Err(SendError::NoHead));
    response.set_head(head(&[])).unwrap();
    response.set_head(head(&[])).unwrap();
    response.begin(false).unwrap();
    assert_eq!(response.set_head(head(&[])), Err(SendError::HeadSent));
    assert_eq!(
        response.interim(&ResponseHead::interim(103, "")),
        Err(SendError::HeadSent)
    );
}

#[test]
fn after_the_end_everything_is_refused() {
    let (exchange, _) = exchange(Facts::default());
    exchange.finish(None);
    let mut response = exchange.wait_response();
    assert!(response.over());
    assert_eq!(response.set_head(head(&[])), Err(SendError::RequestEnded));
    assert_eq!(
        response.log(Level::Error, b"x"),
        Err(SendError::RequestEnded)
    );
    assert_eq!(response.print(b"late\n"), Err(vec![b"late".to_vec()]));
    assert!(exchange.wait_input().is_none());
}

#[test]
fn prints_become_records_between_the_other_frames() {
    let (exchange, fake) = exchange(Facts::default());
    let mut response = exchange.wait_response();
    response.print(b"one").unwrap();
    response.print(b"\n").unwrap();
    response.set_head(head(&[])).unwrap();
    response.begin(false).unwrap();
    response.print(b"partial").unwrap();
    assert_eq!(response.flush_lines(), None);
    response.flush();
    let frames = sent(&fake);
    let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Log, Kind::Head, Kind::Log]);
    assert_eq!(Log::decode(&frames[2].1).unwrap().text, b"partial");
}

#[test]
fn the_prepared_continue_goes_out_with_the_first_read_and_whenever_it_is_asked_for() {
    let (exchange, fake) = exchange(Facts {
        expects_continue: true,
        interim: true,
        head: false,
    });
    let mut ready = ResponseHead::interim(100, "Continue");
    ready.field(b"X-Own", b"1").unwrap();
    exchange.wait_response().prepare_continue(ready);
    exchange.pull();
    let mut response = exchange.wait_response();
    let again = response.continue_head();
    assert_eq!(again.fields().count(), 1);
    assert!(response.send_continue(&again));
    response.flush();
    drop(response);
    let kinds: Vec<_> = sent(&fake).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Interim, Kind::Pull, Kind::Interim]);
}

#[test]
fn a_continue_sent_before_the_first_read_is_not_repeated_by_it() {
    let (exchange, fake) = exchange(Facts {
        expects_continue: true,
        interim: true,
        head: false,
    });
    let mut response = exchange.wait_response();
    response.prepare_continue(ResponseHead::interim(100, "Continue"));
    let head = response.continue_head();
    assert!(response.send_continue(&head));
    drop(response);
    exchange.pull();
    let mut response = exchange.wait_response();
    response.set_head(super::tests::head(&[])).unwrap();
    response.begin(false).unwrap();
    assert!(!response.send_continue(&head));
    drop(response);
    let kinds: Vec<_> = sent(&fake).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Interim, Kind::Pull]);
}

#[test]
fn interim_responses_have_a_bound() {
    let (exchange, _) = exchange(Facts::default());
    let mut response = exchange.wait_response();
    let taken = (0..2000).filter(|_| response.interim(&ResponseHead::interim(102, "")).is_ok());
    assert_eq!(taken.count(), 1000);
}

#[test]
fn an_answer_is_finished_without_waiting_where_the_stream_takes_it_and_else_afterwards() {
    for full in [false, true] {
        // The stream takes a few bytes at a time, as a socket does that is almost full.
        let (exchange, fake) = begun(7);
        fake.full.store(full, Ordering::SeqCst);
        exchange.wait_response().data(b"body");
        let end = End {
            keep_alive: true,
            ..End::default()
        };
        let mut last = Some(Conclusion::End(end));
        assert!(exchange.finish_at_once(&mut last).is_none());
        assert!(!fake.keep_alive.load(Ordering::SeqCst));
        let (_, input) = exchange.finish(last);
        assert_eq!(input.len(), 4, "memory of the input is had back");
        assert!(fake.keep_alive.load(Ordering::SeqCst));
        let kinds: Vec<_> = sent(&fake).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Head, Kind::Data, Kind::End], "full: {full}");
    }
}

#[test]
fn an_answer_that_goes_out_in_one_piece_is_finished_at_once() {
    let (exchange, fake) = begun(1 << 20);
    let response = exchange.wait_response();
    // Another thread is at the response.
    assert!(exchange.finish_at_once(&mut None).is_none());
    drop(response);
    let mut last = Some(Conclusion::End(End {
        keep_alive: true,
        ..End::default()
    }));
    assert!(exchange.finish_at_once(&mut last).is_some());
    assert_eq!(last, None);
    assert!(fake.keep_alive.load(Ordering::SeqCst));
    assert!(exchange.wait_response().over());
    assert_eq!(sent(&fake).len(), 2);
}

#[test]
fn what_is_held_goes_with_what_comes_next_or_when_it_is_asked_for() {
    let (exchange, fake) = begun(1 << 20);
    let mut response = exchange.wait_response();
    assert!(response.hold(b"one"));
    drop(response);
    assert!(sent(&fake).is_empty());
    exchange.send_held();
    assert_eq!(sent(&fake).len(), 2);
    let mut response = exchange.wait_response();
    assert!(response.hold(b"two"));
    assert!(!response.hold(&[b'x'; COPY_LIMIT]), "enough for a message");
    drop(response);
    // Nothing is held any more: who has collected it sends it.
    exchange.send_held();
    assert_eq!(sent(&fake).len(), 2);
    exchange.wait_response().flush();
    assert_eq!(sent(&fake).len(), 4);
}

#[test]
fn what_a_full_stream_has_not_taken_stays_held() {
    let (exchange, fake) = begun(1 << 20);
    let mut response = exchange.wait_response();
    assert!(response.hold(b"one"));
    drop(response);
    for (full, seen) in [(true, 0), (true, 0), (false, 2)] {
        fake.full.store(full, Ordering::SeqCst);
        exchange.send_held();
        assert_eq!(sent(&fake).len(), seen);
    }
}

#[test]
fn nothing_is_held_for_somebody_who_has_left() {
    let (exchange, fake) = begun(1 << 20);
    assert!(exchange.wait_response().hold(b"one"));
    fake.gone.store(true, Ordering::SeqCst);
    exchange.send_held();
    let mut response = exchange.wait_response();
    assert!(!response.hold(b"two"));
    assert_eq!(response.sent(), Err(SendError::Disconnected));
}
