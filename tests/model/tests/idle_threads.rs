//! Request threads that hand over who waits for the next request. A thread that is never woken is a
//! deadlock, which loom reports with the order of steps that led to it.

#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use model::idle_threads::IdleThreads;

/// Runs `body` in every order that differs by at most this many preemptions.
fn check(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

/// One request of a thread: it waits for its turn, takes the request up, and serves it.
fn serve_once(idle: &IdleThreads, number: u32) {
    idle.become_ready();
    idle.leave_ready();
    drop(idle.serve(number, 1));
}

fn spawn_all(idle: &Arc<IdleThreads>, count: u32, body: fn(&IdleThreads, u32)) -> Vec<thread::JoinHandle<()>> {
    (1..=count)
        .map(|number| {
            let idle = Arc::clone(idle);
            thread::spawn(move || body(&idle, number))
        })
        .collect()
}

#[test]
fn whoever_sits_by_is_called_when_all_ready_threads_are_at_work() {
    check(3, || {
        let idle = Arc::new(IdleThreads::new(3));
        for thread in spawn_all(&idle, 3, serve_once) {
            thread.join().unwrap();
        }
        assert!(!idle.is_busy());
    });
}

#[test]
fn each_call_wakes_one_thread_more() {
    check(2, || {
        let idle = Arc::new(IdleThreads::new(4));
        // This thread stands for the two that are ready first.
        idle.become_ready();
        idle.become_ready();
        let threads = spawn_all(&idle, 2, serve_once);
        idle.leave_ready();
        idle.leave_ready();
        for thread in threads {
            thread.join().unwrap();
        }
        // Nobody is left who counts as ready without being it: two may be ready at once.
        idle.become_ready();
        idle.become_ready();
    });
}

#[test]
fn nobody_sits_by_after_a_dismissal() {
    check(3, || {
        let idle = Arc::new(IdleThreads::new(3));
        idle.become_ready();
        idle.become_ready();
        let threads = spawn_all(&idle, 2, |idle, _| idle.become_ready());
        idle.close();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_call_and_a_dismissal_at_once_leave_nobody_sitting() {
    check(3, || {
        let idle = Arc::new(IdleThreads::new(3));
        idle.become_ready();
        idle.become_ready();
        let threads = spawn_all(&idle, 1, serve_once);
        let busy = Arc::clone(&idle);
        let others = thread::spawn(move || {
            busy.leave_ready();
            busy.leave_ready();
        });
        idle.close();
        others.join().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_at_a_time_contends_at_the_front_and_is_counted_until_it_has_left() {
    check(3, || {
        let idle = Arc::new(IdleThreads::new(3));
        let threads = spawn_all(&idle, 2, |idle, _| {
            let mut waiting = idle.wait_for_gil();
            waiting.enter_turnstile();
            assert!(idle.gil_is_waited_for());
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!idle.gil_is_waited_for());
    });
}
