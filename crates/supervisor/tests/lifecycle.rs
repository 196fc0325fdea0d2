//! Start, replacement, reconfiguration and end of groups that are well.

#![forbid(unsafe_code)]

mod harness;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use harness::{eventually, is_alive, kill, Supervisor};
use wire::control::ToWorker;

#[test]
fn workers_start_and_have_what_they_need_and_nothing_else() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    group.group.processes = 3;
    supervisor.configure(&[group.clone()]).unwrap();
    let children = supervisor.has_children(3);
    assert!(children.contains(&supervisor.pid("shop")));
    assert_eq!(supervisor.ask("shop", "fds"), "0 1 2 3 4 5 6 7");
    assert_eq!(supervisor.ask("shop", "env INHERITED"), "yes");
    let setup = supervisor.ask("shop", "setup");
    let setup: Vec<u8> = (0..setup.len() / 2)
        .map(|i| u8::from_str_radix(&setup[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let Ok(ToWorker::Setup(setup)) = ToWorker::decode(&setup) else {
        panic!("no setup");
    };
    assert_eq!((setup.group, setup.generation), (group.group, 1));
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", supervisor.process.pid())).unwrap();
    assert!(cmdline.starts_with(b"mod_wsgi-supervisor\0"));
}

#[test]
fn a_killed_worker_is_replaced_at_once_and_its_end_is_logged() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    let first = supervisor.pid("shop");
    let begin = Instant::now();
    kill(first);
    let next = eventually("a successor", || {
        supervisor.children().into_iter().find(|&pid| pid != first)
    });
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(supervisor.pid("shop"), next);
    let line = supervisor.logged("WSGI0339");
    assert!(line.contains("[wsgi:error]"), "{line}");
    assert!(
        line.contains(&format!(
            "process group 'shop': worker {first} was killed by SIGKILL (signal 9)"
        )),
        "{line}"
    );
}

#[test]
fn killing_one_after_another_never_turns_a_request_away() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    group.group.processes = 2;
    supervisor.configure(&[group]).unwrap();
    for _ in 0..5 {
        kill(supervisor.pid("shop"));
    }
    supervisor.pid("shop");
    supervisor.has_children(2);
}

#[test]
fn a_new_configuration_is_served_before_the_old_one_leaves() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    supervisor.configure(&[group.clone()]).unwrap();
    let old = supervisor.pid("shop");
    let mut long = supervisor.connect("shop").unwrap();
    long.write_all(format!("wait {}\n", supervisor.text("finish")).as_bytes())
        .unwrap();
    long.read_exact(&mut [0; 6]).unwrap();

    group.group.environment.variables =
        vec![("MODE".into(), supervisor.text("start").as_str().into())];
    group.key = [2; 16];
    supervisor.configure(&[group]).unwrap();
    // The old one serves for as long as the new one is not ready, and knows the new secret.
    eventually("the new secret", || {
        let setup = supervisor.ask("shop", "setup");
        (setup.contains(&"02".repeat(16)) && setup.contains(&"01".repeat(16))).then_some(())
    });
    supervisor.has_children(2);
    assert_eq!(supervisor.pid("shop"), old);
    supervisor.touch("start");
    let new = eventually("the new generation", || {
        Some(supervisor.pid("shop")).filter(|&pid| pid != old)
    });
    assert!(is_alive(old), "it still has a request");
    supervisor.touch("finish");
    let mut answer = String::new();
    long.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.trim(), old.to_string());
    eventually("the old one leaves", || (!is_alive(old)).then_some(()));
    assert_eq!(supervisor.children(), [new]);
    let setup = supervisor.ask("shop", "setup");
    assert!(setup.contains(&"01".repeat(16)), "the earlier key is known");
}

#[test]
fn a_worker_that_asks_for_it_is_replaced_before_it_goes() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let start = supervisor.text("start");
    supervisor.touch("start");
    supervisor
        .configure(&[supervisor.group("shop", &start)])
        .unwrap();
    let first = supervisor.pid("shop");
    std::fs::remove_file(&start).unwrap();
    assert_eq!(supervisor.ask("shop", "leave 2"), "ok");
    supervisor.has_children(2);
    assert_eq!(supervisor.pid("shop"), first);
    supervisor.touch("start");
    eventually("the successor", || {
        Some(supervisor.pid("shop")).filter(|&pid| pid != first)
    });
    eventually("the first one leaves", || (!is_alive(first)).then_some(()));
}

#[test]
fn asking_again_and_again_starts_one_successor_only() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "slow0.3");
    group.group.processes = 2;
    supervisor.configure(&[group]).unwrap();
    supervisor.has_children(2);
    supervisor.pid("shop");
    for reason in [2, 4, 2, 5, 2] {
        supervisor.ask("shop", &format!("leave {reason}"));
        assert!(supervisor.children().len() <= 4);
    }
}

#[test]
fn workers_whose_interpreters_clients_have_used_up_are_replaced_one_in_a_while() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    group.group.processes = 2;
    supervisor.configure(&[group]).unwrap();
    let first = supervisor.has_children(2);
    // Every worker says so, more than once.
    eventually("a successor is ready", || {
        supervisor.ask("shop", "used-up");
        let new = supervisor.pid("shop");
        (!first.contains(&new)).then_some(())
    });
    eventually("one has left", || {
        let left = supervisor.children();
        (left.len() == 2).then_some(())
    });
    let now = supervisor.children();
    for _ in 0..20 {
        supervisor.ask("shop", "used-up");
        assert_eq!(supervisor.children(), now);
    }
}

#[test]
fn the_supervisor_rests_while_workers_past_their_time_wait_for_a_replacement() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "slow1");
    group.group.processes = 3;
    group.group.timeouts.restart_interval = Some(Duration::from_millis(100));
    supervisor.configure(&[group]).unwrap();
    let first = supervisor.has_children(3);
    eventually("a successor serves", || {
        (!first.contains(&supervisor.pid("shop"))).then_some(())
    });
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", supervisor.process.pid())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // In hundredths of a second: in user mode, and in the kernel.
    let used = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    assert!(used < 30, "{used}");
}

#[test]
fn a_group_that_vanishes_ends_and_one_that_comes_begins() {
    let supervisor = Supervisor::start();
    for name in ["a", "b", "c"] {
        supervisor.prefix(name);
    }
    let group = |name: &str| supervisor.group(name, "");
    supervisor.configure(&[group("a"), group("b")]).unwrap();
    let (a, b) = (supervisor.pid("a"), supervisor.pid("b"));
    supervisor.configure(&[group("b"), group("c")]).unwrap();
    eventually("a ends", || (!is_alive(a)).then_some(()));
    assert!(!supervisor.path("a.sock").exists());
    supervisor.pid("c");
    eventually("b has a new generation", || (!is_alive(b)).then_some(()));
    supervisor.pid("b");
    supervisor.configure(&[group("a")]).unwrap();
    supervisor.pid("a");
    supervisor.has_children(1);
}

#[test]
fn a_group_may_move_to_another_socket() {
    let mut supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    supervisor.configure(&[group.clone()]).unwrap();
    supervisor.pid("shop");
    let moved = supervisor.path("moved.sock");
    group.socket_path = moved.into_os_string().into_encoded_bytes().into();
    supervisor.configure(&[group]).unwrap();
    assert!(!supervisor.path("shop.sock").exists());
    supervisor.pid("moved");
    supervisor.stop();
    supervisor.over();
}

#[test]
fn stop_ends_everything_in_order() {
    let mut supervisor = Supervisor::start();
    for name in ["a", "b"] {
        supervisor.prefix(name);
    }
    let groups = [supervisor.group("a", ""), supervisor.group("b", "slow100")];
    supervisor.configure(&groups).unwrap();
    supervisor.pid("a");
    let children = supervisor.has_children(2);
    supervisor.stop();
    supervisor.abandon();
    supervisor.over();
    assert!(!children.into_iter().any(is_alive));
}

#[test]
fn a_worker_that_does_not_leave_is_killed_when_its_time_is_up() {
    let mut supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    group.group.timeouts.shutdown = Some(Duration::from_millis(200));
    supervisor.configure(&[group]).unwrap();
    let deaf = supervisor.pid("shop");
    supervisor.ask("shop", "deaf");
    let begin = Instant::now();
    supervisor.stop();
    supervisor.over();
    assert!(!is_alive(deaf) && begin.elapsed() < Duration::from_secs(2));
    supervisor.logged("WSGI0343");
}

#[test]
fn when_the_parent_is_gone_everything_is_within_a_second() {
    let mut supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    group.group.processes = 3;
    supervisor.configure(&[group]).unwrap();
    supervisor.ask("shop", "deaf");
    let children = supervisor.has_children(3);
    let begin = Instant::now();
    supervisor.abandon();
    supervisor.over();
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert!(!children.into_iter().any(is_alive));
}

#[test]
fn workers_do_not_outlive_a_supervisor_that_is_killed() {
    let mut supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    let worker = supervisor.pid("shop");
    supervisor.process.signal(os::signal::SIGKILL).unwrap();
    supervisor.process.wait(harness::PATIENCE).unwrap();
    eventually("the worker ends", || (!is_alive(worker)).then_some(()));
}

#[test]
fn workers_run_as_their_group_and_their_socket_belongs_to_apache() {
    if os::accounts::effective_uid() != 0 {
        return;
    }
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    group.group.identity.switch = true;
    group.group.identity.uid = 65534;
    group.group.identity.gid = 65533;
    group.group.identity.groups = vec![65532, 65533];
    group.group.identity.user = "nobody".into();
    group.group.identity.user_home = "/nonexistent".into();
    group.group.listener.uid = 33;
    supervisor.configure(&[group]).unwrap();
    assert_eq!(
        supervisor.ask("shop", "ids"),
        "(65534, 65534, 65534) (65533, 65533, 65533) [65532, 65533]"
    );
    assert_eq!(supervisor.ask("shop", "env LOGNAME"), "nobody");
    let socket = std::fs::metadata(supervisor.path("shop.sock")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&socket), 33);
}

#[test]
fn what_a_worker_writes_is_in_the_log_escaped_and_under_its_number() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    let pid = supervisor.pid("shop");
    supervisor.ask("shop", "print hello \x1b[31m there");
    let line = supervisor.logged("hello");
    let end = format!("[wsgi:error] [pid {pid}:tid {pid}] [group shop] hello \\x1b[31m there");
    assert!(line.ends_with(&end), "{line}");
}

#[test]
fn a_log_that_was_moved_away_is_let_go_with_the_next_configuration() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let group = supervisor.group("shop", "");
    supervisor.configure(std::slice::from_ref(&group)).unwrap();
    let (log, moved) = (supervisor.path("error.log"), supervisor.path("error.log.1"));
    std::fs::rename(&log, &moved).unwrap();
    std::fs::File::create(&log).unwrap();
    supervisor.configure(&[group]).unwrap();
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", supervisor.process.pid()))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .collect();
    assert!(open.contains(&log) && !open.contains(&moved), "{open:?}");
}
