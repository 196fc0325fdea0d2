use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::AtomicU32;

use super::*;

const TICK: u64 = CHECK_INTERVAL.as_micros() as u64;

/// A source, and how to connect to it.
fn open(threads: u32) -> (RequestSource, impl Fn() -> UnixStream) {
    open_as(threads, false)
}

fn open_as(threads: u32, is_shared: bool) -> (RequestSource, impl Fn() -> UnixStream) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "request_source-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let request_source = RequestSource::open(listener.into(), threads, is_shared).unwrap();
    let connect = move || UnixStream::connect(&path).unwrap();
    (request_source, connect)
}

/// What comes next, waited for.
fn next(request_source: &RequestSource) -> Picked {
    match request_source.wait().unwrap() {
        true => request_source.pick(),
        false => Picked::Nothing,
    }
}

fn new(request_source: &RequestSource) -> ChildConnection {
    match next(request_source) {
        Picked::New(connection) => connection,
        _ => panic!("no new connection"),
    }
}

fn known(request_source: &RequestSource) -> ChildConnection {
    loop {
        match next(request_source) {
            Picked::Known(connection) => return connection,
            Picked::Nothing => {}
            _ => panic!("nobody else is there"),
        }
    }
}

/// A connection that is kept, from its child's end.
fn keep_alive_connection(
    request_source: &RequestSource,
    connect: &impl Fn() -> UnixStream,
) -> UnixStream {
    let child = connect();
    request_source.keep(new(request_source));
    child
}

/// How it ends for the child: with the kind of an error, or without.
fn end(child: &mut UnixStream) -> Result<usize, io::ErrorKind> {
    child.read(&mut [0; 8]).map_err(|error| error.kind())
}

#[test]
fn nobody_waits_at_a_listener_that_an_application_has_made_to_wait() {
    let (request_source, connect) = open(1);
    let listener = UnixListener::from(request_source.listener.try_clone().unwrap());
    listener.set_nonblocking(false).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let child = connect();
        drop(new(&request_source));
        // Looks once more whether another one waits.
        assert!(matches!(request_source.pick(), Picked::Nothing));
        listener.set_nonblocking(false).unwrap();
        request_source.close();
        drop(child);
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_kept_connection_is_given_out_when_something_comes() {
    let (request_source, connect) = open(1);
    let mut child = keep_alive_connection(&request_source, &connect);
    for _ in 0..2 {
        child.write_all(b"x").unwrap();
        let connection = known(&request_source);
        socket::recv(connection.as_fd(), &mut [0; 8], socket::Wait::Never).unwrap();
        request_source.keep(connection);
    }
}

#[test]
fn what_a_forked_process_has_a_copy_of_is_not_kept() {
    let (request_source, connect) = open(1);
    let mut before = connect();
    let connection = new(&request_source);
    request_source.note_fork(Moment::Around);
    request_source.keep(connection);
    assert_eq!(end(&mut before), Ok(0));
    let mut during = keep_alive_connection(&request_source, &connect);
    // Idle at the fork: the new process closes its copy.
    request_source.note_fork(Moment::Around);
    during.write_all(b"x").unwrap();
    request_source.keep(known(&request_source));
    during.set_nonblocking(true).unwrap();
    assert_eq!(end(&mut during), Err(io::ErrorKind::WouldBlock));
}

#[test]
fn those_at_the_listener_come_first() {
    let (request_source, connect) = open(1);
    let mut first = keep_alive_connection(&request_source, &connect);
    let _others = [connect(), connect()];
    first.write_all(b"x").unwrap();
    for _ in 0..2 {
        new(&request_source);
    }
    assert!(matches!(next(&request_source), Picked::Known(_)));
}

#[test]
fn closing_wakes_all_who_wait_and_closes_what_was_kept() {
    let (request_source, connect) = open(3);
    let mut child = keep_alive_connection(&request_source, &connect);
    std::thread::scope(|scope| {
        let waiting = [(); 3].map(|()| scope.spawn(|| !request_source.wait().unwrap()));
        request_source.close();
        for thread in waiting {
            assert!(thread.join().unwrap());
        }
    });
    assert_eq!(end(&mut child), Ok(0));
    assert!(!request_source.has_room());
}

#[test]
fn a_request_is_sent_away_unread_where_all_are_busy_and_nothing_moves() {
    let (request_source, connect) = open(1);
    let mut child = keep_alive_connection(&request_source, &connect);
    let mut idle = keep_alive_connection(&request_source, &connect);
    idle.set_nonblocking(true).unwrap();
    child.write_all(b"request").unwrap();
    let (busy, wake) = request_source.serve(1, 1);
    assert!(wake);
    let mut stalls = StallWatch::default();
    request_source.look(&mut stalls, 1000);
    assert_eq!(request_source.next_look(&stalls, 1000), CHECK_INTERVAL);
    request_source.look(&mut stalls, 1000 + TICK);
    assert_eq!(end(&mut child), Err(io::ErrorKind::ConnectionReset));
    // One without a request stays.
    assert_eq!(end(&mut idle), Err(io::ErrorKind::WouldBlock));
    drop(busy);
}

#[test]
fn a_request_stays_where_threads_come_free_but_not_where_others_always_go_first() {
    let (request_source, connect) = open(1);
    let mut child = keep_alive_connection(&request_source, &connect);
    child.write_all(b"request").unwrap();
    child.set_nonblocking(true).unwrap();
    let mut stalls = StallWatch::default();
    for (looks, seen) in [
        (1..9, io::ErrorKind::WouldBlock),
        (9..20, io::ErrorKind::ConnectionReset),
    ] {
        for look in looks {
            let busy = request_source.serve(1, 1);
            request_source.look(&mut stalls, look * TICK);
            drop(busy);
        }
        assert_eq!(end(&mut child), Err(seen));
    }
}

#[test]
fn a_new_connection_has_a_second_to_begin_and_keeps_its_place_once_it_has() {
    let (request_source, connect) = open(1);
    let (mut silent, mut speaks) = (connect(), connect());
    let now = clock::monotonic_us();
    for _ in 0..2 {
        request_source.put_back(new(&request_source));
    }
    speaks.write_all(b"request").unwrap();
    speaks.set_nonblocking(true).unwrap();
    let _busy = request_source.serve(1, 1);
    let mut stalls = StallWatch::default();
    for look in 0..3 {
        request_source.look(&mut stalls, now + look * 2 * TICK);
    }
    request_source.look(&mut stalls, now + 10 * FIRST_REQUEST_LIMIT);
    assert_eq!(end(&mut silent), Ok(0));
    assert_eq!(end(&mut speaks), Err(io::ErrorKind::WouldBlock));
}

#[test]
fn what_one_thread_was_woken_for_another_may_pick() {
    let (request_source, connect) = open(2);
    let mut child = keep_alive_connection(&request_source, &connect);
    child.write_all(b"request").unwrap();
    while !request_source.wait().unwrap() {}
    assert!(matches!(request_source.pick(), Picked::Known(_)));
    assert!(matches!(request_source.pick(), Picked::Nothing));
}

#[test]
fn a_request_that_threads_wait_with_for_the_lock_is_sent_away_where_others_share_the_listener() {
    for (shared, seen) in [
        (false, io::ErrorKind::WouldBlock),
        (true, io::ErrorKind::ConnectionReset),
    ] {
        let (request_source, connect) = open_as(2, shared);
        let mut child = keep_alive_connection(&request_source, &connect);
        child.write_all(b"request").unwrap();
        child.set_nonblocking(true).unwrap();
        let (_busy, wake) = request_source.serve(1, 1);
        assert!(!wake, "another thread is free");
        while !request_source.wait().unwrap() {}
        let (waiting, wake) = request_source.wait_for_gil();
        assert!(wake);
        let mut stalls = StallWatch::default();
        request_source.look(&mut stalls, 1000);
        request_source.look(&mut stalls, 1000 + GIL_STALL - 1);
        assert_eq!(end(&mut child), Err(io::ErrorKind::WouldBlock));
        request_source.look(&mut stalls, 1000 + GIL_STALL);
        assert_eq!(end(&mut child), Err(seen));
        drop(waiting);
    }
}

#[test]
fn what_is_attended_to_is_attended_to_once_more_after_it_was_said_that_it_is_not() {
    let (request_source, connect) = open(1);
    let _child = keep_alive_connection(&request_source, &connect);
    let mut stalls = StallWatch::default();
    assert!(!request_source.is_attending(&mut stalls));
    let (busy, wake) = request_source.serve(1, 1);
    assert!(wake && request_source.is_attending(&mut stalls));
    request_source.look(&mut stalls, 1000);
    drop(busy);
    request_source.look(&mut stalls, 1000 + CHECK_OFTEN_FOR - 1);
    assert!(request_source.is_attending(&mut stalls));
    request_source.look(&mut stalls, 1000 + CHECK_OFTEN_FOR);
    assert!(!request_source.attended().load(Ordering::SeqCst));
    assert!(request_source.is_attending(&mut stalls));
    assert!(!request_source.is_attending(&mut stalls));
}

#[test]
fn what_was_held_back_before_the_main_thread_came_is_sent_although_it_has_nothing_to_attend_to() {
    let (request_source, _connect) = open(2);
    let mut stalls = StallWatch::default();
    request_source.look(&mut stalls, 1000);
    assert!(!request_source.is_attending(&mut stalls));
    let (busy, _) = request_source.serve(1, 1);
    // From here on the first thread may hold back a piece; the second finds nothing to serve.
    let (waiting, wake) = request_source.wait_for_gil();
    assert!(wake && request_source.attended().load(Ordering::SeqCst));
    drop(waiting);
    request_source.look(&mut stalls, 2000);
    assert!(!request_source.attended().load(Ordering::SeqCst));
    assert!(request_source.is_attending(&mut stalls));
    assert!(!request_source.is_attending(&mut stalls));
    drop(busy);
}

#[test]
fn where_others_share_the_listener_it_is_looked_after_more_often_while_there_is_something_to_do() {
    let (request_source, _connect) = open_as(1, true);
    let mut stalls = StallWatch::default();
    let mut next = |now| {
        request_source.look(&mut stalls, now);
        request_source.next_look(&stalls, now)
    };
    assert_eq!(next(1), SHARED_CHECK_INTERVAL);
    assert_eq!(next(1 + RECENTLY), IDLE_CHECK_INTERVAL);
    drop(request_source.serve(1, 1));
    assert_eq!(next(2 + RECENTLY), SHARED_CHECK_INTERVAL);
    assert_eq!(next(2 + 2 * RECENTLY), IDLE_CHECK_INTERVAL);
}

#[test]
fn who_has_found_somebody_takes_somebody_found() {
    let (request_source, connect) = open(2);
    let mut keep_alive = keep_alive_connection(&request_source, &connect);
    // Nobody is at the listener when the thread looks, and somebody when it has the lock.
    assert!(matches!(request_source.pick(), Picked::Nothing));
    keep_alive.write_all(b"request").unwrap();
    assert!(request_source.wait().unwrap());
    let _other = connect();
    request_source
        .more_at_listener
        .store(true, Ordering::Relaxed);
    assert!(matches!(request_source.pick(), Picked::Known(_)));
    assert!(matches!(request_source.pick(), Picked::New(_)));
}

#[test]
fn a_connection_that_nobody_takes_any_more_comes_again() {
    let (request_source, connect) = open(1);
    let mut reported = connect();
    reported.write_all(b"request").unwrap();
    assert!(request_source.wait().unwrap());
    let mut behind = connect();
    behind.set_nonblocking(true).unwrap();
    request_source.close();
    request_source.close();
    assert_eq!(end(&mut reported), Err(io::ErrorKind::ConnectionReset));
    // In the queue still, for others.
    assert_eq!(end(&mut behind), Err(io::ErrorKind::WouldBlock));
    assert!(!request_source.wait().unwrap());
}

#[test]
fn a_new_connection_whose_request_comes_late_is_sent_away_where_others_may_take_it() {
    for (shared, seen) in [
        (false, io::ErrorKind::WouldBlock),
        (true, io::ErrorKind::ConnectionReset),
    ] {
        let (request_source, connect) = open_as(1, shared);
        let mut late = connect();
        request_source.put_back(new(&request_source));
        late.write_all(b"request").unwrap();
        late.set_nonblocking(true).unwrap();
        let (_busy, wake) = request_source.serve(1, 1);
        assert!(wake);
        let mut stalls = StallWatch::default();
        request_source.look(&mut stalls, 1000);
        request_source.look(&mut stalls, 1000 + TICK);
        assert_eq!(end(&mut late), Err(seen));
    }
}

#[test]
fn the_time_without_descriptors_counts_while_connections_wait() {
    let (request_source, connect) = open(1);
    let mut stalls = StallWatch::default();
    assert_eq!(request_source.refused_for(5_000), 0);
    let _waits = connect();
    request_source.note_refused(1_000);
    request_source.note_refused(2_000);
    request_source.look(&mut stalls, 3_000);
    assert_eq!(request_source.refused_for(5_000), 4_000);
    // Accepted after all.
    let accepted = new(&request_source);
    assert_eq!(request_source.refused_for(5_000), 0);
    // Another process took what waited.
    request_source.note_refused(6_000);
    request_source.look(&mut stalls, 7_000);
    assert_eq!(request_source.refused_for(8_000), 0);
    drop(accepted);
}
