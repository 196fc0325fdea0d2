//! Request threads that hand over who waits for the next request. A thread that is never woken is a
//! deadlock, which loom reports with the order of steps that led to it.

#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use model::idle_threads::Roster;

/// Runs `body` in every order that differs by at most this many preemptions.
fn check(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

/// One request of a thread: it waits for its turn, takes the request up, and serves it.
fn serve_once(roster: &Roster, number: u32) {
    roster.stand_by();
    roster.step_forward();
    drop(roster.serve(number, 1));
}

fn spawn_all(roster: &Arc<Roster>, count: u32, body: fn(&Roster, u32)) -> Vec<thread::JoinHandle<()>> {
    (1..=count)
        .map(|number| {
            let roster = Arc::clone(roster);
            thread::spawn(move || body(&roster, number))
        })
        .collect()
}

#[test]
fn whoever_sits_by_is_called_when_all_ready_threads_are_at_work() {
    check(3, || {
        let roster = Arc::new(Roster::new(3));
        for thread in spawn_all(&roster, 3, serve_once) {
            thread.join().unwrap();
        }
        assert!(!roster.is_busy());
    });
}

#[test]
fn each_call_wakes_one_thread_more() {
    check(2, || {
        let roster = Arc::new(Roster::new(4));
        // This thread stands for the two that are ready first.
        roster.stand_by();
        roster.stand_by();
        let threads = spawn_all(&roster, 2, serve_once);
        roster.step_forward();
        roster.step_forward();
        for thread in threads {
            thread.join().unwrap();
        }
        // Nobody is left who counts as ready without being it: two may be ready at once.
        roster.stand_by();
        roster.stand_by();
    });
}

#[test]
fn nobody_sits_by_after_a_dismissal() {
    check(3, || {
        let roster = Arc::new(Roster::new(3));
        roster.stand_by();
        roster.stand_by();
        let threads = spawn_all(&roster, 2, |roster, _| roster.stand_by());
        roster.dismiss();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_call_and_a_dismissal_at_once_leave_nobody_sitting() {
    check(3, || {
        let roster = Arc::new(Roster::new(3));
        roster.stand_by();
        roster.stand_by();
        let threads = spawn_all(&roster, 1, serve_once);
        let busy = Arc::clone(&roster);
        let others = thread::spawn(move || {
            busy.step_forward();
            busy.step_forward();
        });
        roster.dismiss();
        others.join().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_at_a_time_contends_at_the_front_and_is_counted_until_it_has_left() {
    check(3, || {
        let roster = Arc::new(Roster::new(3));
        let threads = spawn_all(&roster, 2, |roster, _| {
            let mut contending = roster.contend();
            contending.come_to_the_front();
            assert!(roster.is_contended());
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!roster.is_contended());
    });
}
