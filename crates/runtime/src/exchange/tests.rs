use std::sync::atomic::Ordering;

use wire::frame::Kind;
use wire::response::Log;

use super::frame_writer::tests::{frames, Sink};
use super::frame_writer::Frames;
use super::response::{Refusal, COPY_LIMIT};
use super::response_head::Head;
use super::*;

fn exchange(facts: Facts) -> (Exchange, Arc<Sink>) {
    sized_exchange(facts, 7)
}

/// An exchange on a stream that takes `step` bytes at a time.
fn sized_exchange(facts: Facts, step: usize) -> (Exchange, Arc<Sink>) {
    let sink = Arc::new(Sink {
        step,
        ..Sink::default()
    });
    let stream: Arc<dyn Stream> = Arc::clone(&sink) as _;
    let outlet = Box::new(Frames::new(Arc::clone(&stream), Vec::new()));
    let body = Body::new(Arc::clone(&stream), b"body".to_vec(), 0..4, true);
    let exchange = Exchange::new(outlet, &stream, facts);
    exchange.set_body(body);
    (exchange, sink)
}

/// One whose head stands in line.
fn begun(step: usize) -> (Exchange, Arc<Sink>) {
    let (exchange, sink) = sized_exchange(Facts::default(), step);
    let mut output = exchange.wait_output();
    output.set_head(head(&[])).unwrap();
    output.begin(false).unwrap();
    drop(output);
    (exchange, sink)
}

fn sent(sink: &Sink) -> Vec<(Kind, Vec<u8>)> {
    frames(&sink.taken.lock().unwrap().0)
}

fn head(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new(b"200 OK").unwrap();
    for (name, value) in fields {
        head.field(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

#[test]
fn a_small_answer_is_head_data_and_end() {
    let (exchange, sink) = exchange(Facts::default());
    let mut output = exchange.wait_output();
    output.set_head(head(&[("Content-Length", "5")])).unwrap();
    output.begin(false).unwrap();
    output.data(b"hello and more");
    assert_eq!((output.shortfall(), output.length), (None, 5));
    drop(output);
    exchange.finish(Some(Last::End(End::default())));
    let frames = sent(&sink);
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
        let (exchange, sink) = exchange(Facts::default());
        let mut output = exchange.wait_output();
        let mut head = Head::new(status.as_bytes()).unwrap();
        head.field(b"Content-Length", b"5").unwrap();
        output.set_head(head).unwrap();
        output.begin(head_request).unwrap();
        output.data(b"he");
        assert_eq!(output.shortfall(), owed);
        output.flush();
        let data = sent(&sink).iter().any(|(kind, _)| *kind == Kind::Data);
        assert_eq!(data, owed.is_some());
    }
}

#[test]
fn the_head_can_be_replaced_until_it_leaves_and_nothing_goes_before_it() {
    let (exchange, _) = exchange(Facts::default());
    let mut output = exchange.wait_output();
    assert_eq!(output.begin(false), Err(Refusal::NoHead));
    output.set_head(head(&[])).unwrap();
    output.set_head(head(&[])).unwrap();
    output.begin(false).unwrap();
    assert_eq!(output.set_head(head(&[])), Err(Refusal::HeadSent));
    assert_eq!(
        output.interim(&Head::interim(103, "")),
        Err(Refusal::HeadSent)
    );
}

#[test]
fn after_the_end_everything_is_refused() {
    let (exchange, _) = exchange(Facts::default());
    exchange.finish(None);
    let mut output = exchange.wait_output();
    assert!(output.over());
    assert_eq!(output.set_head(head(&[])), Err(Refusal::Over));
    assert_eq!(output.log(Level::Error, b"x"), Err(Refusal::Over));
    assert_eq!(output.print(b"late\n"), Err(vec![b"late".to_vec()]));
    assert!(exchange.wait_input().is_none());
}

#[test]
fn prints_become_records_between_the_other_frames() {
    let (exchange, sink) = exchange(Facts::default());
    let mut output = exchange.wait_output();
    output.print(b"one").unwrap();
    output.print(b"\n").unwrap();
    output.set_head(head(&[])).unwrap();
    output.begin(false).unwrap();
    output.print(b"partial").unwrap();
    assert_eq!(output.flush_lines(), None);
    output.flush();
    let frames = sent(&sink);
    let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Log, Kind::Head, Kind::Log]);
    assert_eq!(Log::decode(&frames[2].1).unwrap().text, b"partial");
}

#[test]
fn the_prepared_continue_goes_out_with_the_first_read_and_whenever_it_is_asked_for() {
    let (exchange, sink) = exchange(Facts {
        expects_continue: true,
        interim: true,
        head: false,
    });
    let mut ready = Head::interim(100, "Continue");
    ready.field(b"X-Own", b"1").unwrap();
    exchange.wait_output().prepare_continue(ready);
    exchange.pull();
    let mut output = exchange.wait_output();
    let again = output.continue_head();
    assert_eq!(again.fields().count(), 1);
    assert!(output.send_continue(&again));
    output.flush();
    drop(output);
    let kinds: Vec<_> = sent(&sink).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Interim, Kind::Pull, Kind::Interim]);
}

#[test]
fn a_continue_sent_before_the_first_read_is_not_repeated_by_it() {
    let (exchange, sink) = exchange(Facts {
        expects_continue: true,
        interim: true,
        head: false,
    });
    let mut output = exchange.wait_output();
    output.prepare_continue(Head::interim(100, "Continue"));
    let head = output.continue_head();
    assert!(output.send_continue(&head));
    drop(output);
    exchange.pull();
    let mut output = exchange.wait_output();
    output.set_head(super::tests::head(&[])).unwrap();
    output.begin(false).unwrap();
    assert!(!output.send_continue(&head));
    drop(output);
    let kinds: Vec<_> = sent(&sink).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Interim, Kind::Pull]);
}

#[test]
fn interim_responses_have_a_bound() {
    let (exchange, _) = exchange(Facts::default());
    let mut output = exchange.wait_output();
    let taken = (0..2000).filter(|_| output.interim(&Head::interim(102, "")).is_ok());
    assert_eq!(taken.count(), 1000);
}

#[test]
fn an_answer_is_finished_without_waiting_where_the_stream_takes_it_and_else_afterwards() {
    for full in [false, true] {
        // The stream takes a few bytes at a time, as a socket does that is almost full.
        let (exchange, sink) = begun(7);
        sink.full.store(full, Ordering::SeqCst);
        exchange.wait_output().data(b"body");
        let end = End {
            kept: true,
            ..End::default()
        };
        let mut last = Some(Last::End(end));
        assert!(exchange.finish_at_once(&mut last).is_none());
        assert!(!sink.kept.load(Ordering::SeqCst));
        let (_, input) = exchange.finish(last);
        assert_eq!(input.len(), 4, "memory of the input is had back");
        assert!(sink.kept.load(Ordering::SeqCst));
        let kinds: Vec<_> = sent(&sink).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Head, Kind::Data, Kind::End], "full: {full}");
    }
}

#[test]
fn an_answer_that_goes_out_in_one_piece_is_finished_at_once() {
    let (exchange, sink) = begun(1 << 20);
    let output = exchange.wait_output();
    // Another thread is at the answer.
    assert!(exchange.finish_at_once(&mut None).is_none());
    drop(output);
    let mut last = Some(Last::End(End {
        kept: true,
        ..End::default()
    }));
    assert!(exchange.finish_at_once(&mut last).is_some());
    assert_eq!(last, None);
    assert!(sink.kept.load(Ordering::SeqCst));
    assert!(exchange.wait_output().over());
    assert_eq!(sent(&sink).len(), 2);
}

#[test]
fn what_is_held_goes_with_what_comes_next_or_when_it_is_asked_for() {
    let (exchange, sink) = begun(1 << 20);
    let mut output = exchange.wait_output();
    assert!(output.hold(b"one"));
    drop(output);
    assert!(sent(&sink).is_empty());
    exchange.send_held();
    assert_eq!(sent(&sink).len(), 2);
    let mut output = exchange.wait_output();
    assert!(output.hold(b"two"));
    assert!(!output.hold(&[b'x'; COPY_LIMIT]), "enough for a message");
    drop(output);
    // Nothing is held any more: who has collected it sends it.
    exchange.send_held();
    assert_eq!(sent(&sink).len(), 2);
    exchange.wait_output().flush();
    assert_eq!(sent(&sink).len(), 4);
}

#[test]
fn what_a_full_stream_has_not_taken_stays_held() {
    let (exchange, sink) = begun(1 << 20);
    let mut output = exchange.wait_output();
    assert!(output.hold(b"one"));
    drop(output);
    for (full, seen) in [(true, 0), (true, 0), (false, 2)] {
        sink.full.store(full, Ordering::SeqCst);
        exchange.send_held();
        assert_eq!(sent(&sink).len(), seen);
    }
}

#[test]
fn nothing_is_held_for_somebody_who_has_left() {
    let (exchange, sink) = begun(1 << 20);
    assert!(exchange.wait_output().hold(b"one"));
    sink.gone.store(true, Ordering::SeqCst);
    exchange.send_held();
    let mut output = exchange.wait_output();
    assert!(!output.hold(b"two"));
    assert_eq!(output.sent(), Err(Refusal::Gone));
}
