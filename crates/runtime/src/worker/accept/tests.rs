use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::AtomicU32;

use super::*;

const TICK: u64 = GLANCE.as_micros() as u64;

/// A reception, and how to connect to it.
fn open(threads: u32) -> (Reception, impl Fn() -> UnixStream) {
    open_as(threads, false)
}

fn open_as(threads: u32, is_shared: bool) -> (Reception, impl Fn() -> UnixStream) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "reception-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let reception = Reception::open(listener.into(), threads, is_shared).unwrap();
    let connect = move || UnixStream::connect(&path).unwrap();
    (reception, connect)
}

/// What comes next, waited for.
fn next(reception: &Reception) -> Next {
    match reception.wait().unwrap() {
        true => reception.pick(),
        false => Next::Nothing,
    }
}

fn new(reception: &Reception) -> Visitor {
    match next(reception) {
        Next::New(visitor) => visitor,
        _ => panic!("no new connection"),
    }
}

fn known(reception: &Reception) -> Visitor {
    loop {
        match next(reception) {
            Next::Known(visitor) => return visitor,
            Next::Nothing => {}
            _ => panic!("nobody else is there"),
        }
    }
}

/// A connection that is kept, from its child's end.
fn kept(reception: &Reception, connect: &impl Fn() -> UnixStream) -> UnixStream {
    let child = connect();
    reception.keep(new(reception));
    child
}

/// How it ends for the child: with the kind of an error, or without.
fn end(child: &mut UnixStream) -> Result<usize, io::ErrorKind> {
    child.read(&mut [0; 8]).map_err(|error| error.kind())
}

#[test]
fn a_kept_connection_is_given_out_when_something_comes() {
    let (reception, connect) = open(1);
    let mut child = kept(&reception, &connect);
    for _ in 0..2 {
        child.write_all(b"x").unwrap();
        let visitor = known(&reception);
        socket::recv(visitor.as_fd(), &mut [0; 8], socket::Wait::Never).unwrap();
        reception.keep(visitor);
    }
}

#[test]
fn what_a_forked_process_has_a_copy_of_is_not_kept() {
    let (reception, connect) = open(1);
    let mut before = connect();
    let visitor = new(&reception);
    reception.note_fork(Moment::Around);
    reception.keep(visitor);
    assert_eq!(end(&mut before), Ok(0));
    let mut during = kept(&reception, &connect);
    // In the room at that moment: the new process closes its copy.
    reception.note_fork(Moment::Around);
    during.write_all(b"x").unwrap();
    reception.keep(known(&reception));
    during.set_nonblocking(true).unwrap();
    assert_eq!(end(&mut during), Err(io::ErrorKind::WouldBlock));
}

#[test]
fn those_at_the_listener_come_first() {
    let (reception, connect) = open(1);
    let mut first = kept(&reception, &connect);
    let _others = [connect(), connect()];
    first.write_all(b"x").unwrap();
    for _ in 0..2 {
        new(&reception);
    }
    assert!(matches!(next(&reception), Next::Known(_)));
}

#[test]
fn closing_wakes_all_who_wait_and_closes_what_was_kept() {
    let (reception, connect) = open(3);
    let mut child = kept(&reception, &connect);
    std::thread::scope(|scope| {
        let waiting = [(); 3].map(|()| scope.spawn(|| !reception.wait().unwrap()));
        reception.close();
        for thread in waiting {
            assert!(thread.join().unwrap());
        }
    });
    assert_eq!(end(&mut child), Ok(0));
    assert!(!reception.has_room());
}

#[test]
fn a_request_is_sent_away_unread_where_all_are_busy_and_nothing_moves() {
    let (reception, connect) = open(1);
    let mut child = kept(&reception, &connect);
    let mut idle = kept(&reception, &connect);
    idle.set_nonblocking(true).unwrap();
    child.write_all(b"request").unwrap();
    let (busy, wake) = reception.serve(1, 1);
    assert!(wake);
    let mut lookout = Lookout::default();
    reception.look(&mut lookout, 1000);
    assert_eq!(reception.next_look(&lookout, 1000), GLANCE);
    reception.look(&mut lookout, 1000 + TICK);
    assert_eq!(end(&mut child), Err(io::ErrorKind::ConnectionReset));
    // One without a request stays.
    assert_eq!(end(&mut idle), Err(io::ErrorKind::WouldBlock));
    drop(busy);
}

#[test]
fn a_request_stays_where_threads_come_free_but_not_where_others_always_go_first() {
    let (reception, connect) = open(1);
    let mut child = kept(&reception, &connect);
    child.write_all(b"request").unwrap();
    child.set_nonblocking(true).unwrap();
    let mut lookout = Lookout::default();
    for (looks, seen) in [
        (1..9, io::ErrorKind::WouldBlock),
        (9..20, io::ErrorKind::ConnectionReset),
    ] {
        for look in looks {
            let busy = reception.serve(1, 1);
            reception.look(&mut lookout, look * TICK);
            drop(busy);
        }
        assert_eq!(end(&mut child), Err(seen));
    }
}

#[test]
fn a_new_connection_has_a_second_to_begin_and_keeps_its_place_once_it_has() {
    let (reception, connect) = open(1);
    let (mut silent, mut speaks) = (connect(), connect());
    let now = clock::monotonic_us();
    for _ in 0..2 {
        reception.put_back(new(&reception));
    }
    speaks.write_all(b"request").unwrap();
    speaks.set_nonblocking(true).unwrap();
    let _busy = reception.serve(1, 1);
    let mut lookout = Lookout::default();
    for look in 0..3 {
        reception.look(&mut lookout, now + look * 2 * TICK);
    }
    reception.look(&mut lookout, now + 10 * PATIENCE);
    assert_eq!(end(&mut silent), Ok(0));
    assert_eq!(end(&mut speaks), Err(io::ErrorKind::WouldBlock));
}

#[test]
fn what_one_thread_was_woken_for_another_may_pick() {
    let (reception, connect) = open(2);
    let mut child = kept(&reception, &connect);
    child.write_all(b"request").unwrap();
    while !reception.wait().unwrap() {}
    assert!(matches!(reception.pick(), Next::Known(_)));
    assert!(matches!(reception.pick(), Next::Nothing));
}

#[test]
fn a_request_that_threads_wait_with_for_the_lock_is_sent_away_where_others_share_the_listener() {
    for (shared, seen) in [
        (false, io::ErrorKind::WouldBlock),
        (true, io::ErrorKind::ConnectionReset),
    ] {
        let (reception, connect) = open_as(2, shared);
        let mut child = kept(&reception, &connect);
        child.write_all(b"request").unwrap();
        child.set_nonblocking(true).unwrap();
        let (_busy, wake) = reception.serve(1, 1);
        assert!(!wake, "another thread is free");
        while !reception.wait().unwrap() {}
        let (contending, wake) = reception.contend();
        assert!(wake);
        let mut lookout = Lookout::default();
        reception.look(&mut lookout, 1000);
        reception.look(&mut lookout, 1000 + LOCKED_OUT - 1);
        assert_eq!(end(&mut child), Err(io::ErrorKind::WouldBlock));
        reception.look(&mut lookout, 1000 + LOCKED_OUT);
        assert_eq!(end(&mut child), Err(seen));
        drop(contending);
    }
}

#[test]
fn what_is_attended_to_is_attended_to_once_more_after_it_was_said_that_it_is_not() {
    let (reception, connect) = open(1);
    let _child = kept(&reception, &connect);
    let mut lookout = Lookout::default();
    assert!(!reception.is_attending(&mut lookout));
    let (busy, wake) = reception.serve(1, 1);
    assert!(wake && reception.is_attending(&mut lookout));
    reception.look(&mut lookout, 1000);
    drop(busy);
    reception.look(&mut lookout, 1000 + VIGIL - 1);
    assert!(reception.is_attending(&mut lookout));
    reception.look(&mut lookout, 1000 + VIGIL);
    assert!(!reception.attended().load(Ordering::SeqCst));
    assert!(reception.is_attending(&mut lookout));
    assert!(!reception.is_attending(&mut lookout));
}

#[test]
fn where_others_share_the_listener_it_is_looked_after_more_often_while_there_is_something_to_do() {
    let (reception, _connect) = open_as(1, true);
    let mut lookout = Lookout::default();
    let mut next = |now| {
        reception.look(&mut lookout, now);
        reception.next_look(&lookout, now)
    };
    assert_eq!(next(1), ROUND);
    assert_eq!(next(1 + NOW_AND_THEN), LONG_ROUND);
    drop(reception.serve(1, 1));
    assert_eq!(next(2 + NOW_AND_THEN), ROUND);
    assert_eq!(next(2 + 2 * NOW_AND_THEN), LONG_ROUND);
}

#[test]
fn who_has_found_somebody_takes_somebody_found() {
    let (reception, connect) = open(2);
    let mut kept_one = kept(&reception, &connect);
    // Nobody is at the listener when the thread looks, and somebody when it has the lock.
    assert!(matches!(reception.pick(), Next::Nothing));
    kept_one.write_all(b"request").unwrap();
    assert!(reception.wait().unwrap());
    let _other = connect();
    reception.others_wait.store(true, Ordering::Relaxed);
    assert!(matches!(reception.pick(), Next::Known(_)));
    assert!(matches!(reception.pick(), Next::New(_)));
}

#[test]
fn a_connection_that_nobody_takes_any_more_comes_again() {
    let (reception, connect) = open(1);
    let mut told = connect();
    told.write_all(b"request").unwrap();
    assert!(reception.wait().unwrap());
    let mut behind = connect();
    behind.set_nonblocking(true).unwrap();
    reception.close();
    reception.close();
    assert_eq!(end(&mut told), Err(io::ErrorKind::ConnectionReset));
    // In the queue still, for others.
    assert_eq!(end(&mut behind), Err(io::ErrorKind::WouldBlock));
    assert!(!reception.wait().unwrap());
}

#[test]
fn a_new_connection_whose_request_comes_late_is_sent_away_where_others_may_take_it() {
    for (shared, seen) in [
        (false, io::ErrorKind::WouldBlock),
        (true, io::ErrorKind::ConnectionReset),
    ] {
        let (reception, connect) = open_as(1, shared);
        let mut late = connect();
        reception.put_back(new(&reception));
        late.write_all(b"request").unwrap();
        late.set_nonblocking(true).unwrap();
        let (_busy, wake) = reception.serve(1, 1);
        assert!(wake);
        let mut lookout = Lookout::default();
        reception.look(&mut lookout, 1000);
        reception.look(&mut lookout, 1000 + TICK);
        assert_eq!(end(&mut late), Err(seen));
    }
}
