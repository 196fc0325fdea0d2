//! Groups that can't be served, workers that misbehave, and configurations that are refused.

#![forbid(unsafe_code)]

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use harness::{eventually, is_alive, Supervisor};

#[test]
fn a_broken_virtual_environment_is_told_once_and_answers_503_and_heals_by_itself() {
    let supervisor = Supervisor::start();
    supervisor.prefix("well");
    let groups = [supervisor.group("well", ""), supervisor.group("sick", "")];
    supervisor.configure(&groups).unwrap();
    let (status, text) = supervisor.refusal("sick");
    assert_eq!(status, 503);
    let home = supervisor.path("sick");
    let expected = format!(
        "WSGI0345: process group 'sick' has no worker: python-home={} does not exist",
        home.display()
    );
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.ends_with("(WSGI0341)"), "{text}");
    let sentence = format!(
        "WSGI0341: process group 'sick': python-home={} does not exist",
        home.display()
    );
    // Several attempts later it has still been said once, and the neighbour never noticed.
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(supervisor.count_logged(&sentence), 1);
    supervisor.pid("well");
    supervisor.prefix("sick");
    let begin = Instant::now();
    eventually("it heals", || {
        supervisor.try_ask("sick", "pid")?.is_ascii().then_some(())
    });
    assert!(begin.elapsed() < Duration::from_secs(6));
    supervisor.logged("is served again");
}

#[test]
fn a_worker_that_crashes_at_start_is_tried_ever_more_rarely() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "crash");
    group.group.processes = 4;
    supervisor.configure(&[group]).unwrap();
    let (status, text) = supervisor.refusal("shop");
    assert_eq!(status, 503);
    assert!(text.contains("WSGI0338"), "{text}");
    let python = supervisor.path("shop/bin/python3");
    let expected = format!("{} exited with status 7 before", python.display());
    assert!(supervisor.logged("WSGI0338").contains(&expected));
    std::thread::sleep(Duration::from_secs(3));
    // All four at first; then one each after 0.1, 0.2, 0.4, 0.8 and 1.6 s, or later.
    let attempts = supervisor.count_logged("cannot come up");
    assert!((2..=10).contains(&attempts), "{attempts}");
    assert_eq!(supervisor.count_logged("WSGI0338"), 1);
    // While an attempt is under way, too, the answer is immediate.
    for _ in 0..20 {
        let begin = Instant::now();
        supervisor.refusal("shop");
        assert!(begin.elapsed() < Duration::from_millis(500));
    }
}

#[test]
fn what_a_worker_says_of_itself_is_the_reason_given() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "unusable")])
        .unwrap();
    let (_, text) = supervisor.refusal("shop");
    assert!(text.contains("WSGI0335"), "{text}");
    supervisor.logged("WSGI0335: process group 'shop': no module named encodings");
}

#[test]
fn a_worker_that_is_ready_and_dies_at_once_is_no_fork_bomb() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "brief")])
        .unwrap();
    supervisor.refusal("shop");
    // Five at once, and then four with waits between them, before anybody is turned away.
    let deaths = supervisor.count_logged("exited with status 9");
    assert!(deaths >= 9, "{deaths}");
    // From there on the waits are of 0.8 s and more.
    let begin = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let more = supervisor.count_logged("exited with status 9") - deaths;
    let most = begin.elapsed().as_millis() / 800 + 1;
    assert!(more as u128 <= most, "{more} in {:?}", begin.elapsed());
}

#[test]
fn a_successor_that_fails_leaves_the_old_generation_in_service() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    supervisor.configure(&[group.clone()]).unwrap();
    let old = supervisor.pid("shop");
    group.group.environment.variables = vec![("MODE".into(), "crash".into())];
    supervisor.configure(&[group.clone()]).unwrap();
    supervisor.logged("WSGI0338");
    for _ in 0..20 {
        assert_eq!(supervisor.pid("shop"), old);
    }
    group.group.environment.variables = vec![("MODE".into(), "".into())];
    supervisor.configure(&[group]).unwrap();
    eventually("the old one leaves", || (!is_alive(old)).then_some(()));
    supervisor.pid("shop");
}

#[test]
fn requests_wait_for_the_first_start_and_are_not_refused() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "slow0.5")])
        .unwrap();
    assert!(supervisor.ask("shop", "pid").parse::<u32>().is_ok());
}

#[test]
fn a_large_request_to_a_group_without_workers_is_answered_all_the_same() {
    let supervisor = Supervisor::start();
    supervisor
        .configure(&[supervisor.group("sick", "")])
        .unwrap();
    supervisor.refusal("sick");
    let mut socket = supervisor.connect("sick").unwrap();
    socket.write_all(&vec![1; 3 << 20]).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert!(wire::frame::split(&answer).unwrap().is_some());
}

#[test]
fn a_worker_that_talks_nonsense_is_replaced() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    for packet in ["ff", "2301000000000000", &"41".repeat(100)] {
        let worker = supervisor.pid("shop");
        // It may be dead before it has answered.
        supervisor.try_ask("shop", &format!("raw {packet}"));
        eventually("it is gone", || (!is_alive(worker)).then_some(()));
        // Not counted as one of a row of short lives.
        assert_ne!(supervisor.pid("shop"), worker);
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert_eq!(supervisor.count_logged("WSGI0336"), 3);
}

#[test]
fn a_worker_that_lost_its_descriptors_is_replaced() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    group.group.timeouts.shutdown = Some(Duration::from_millis(100));
    supervisor.configure(&[group]).unwrap();
    let worker = supervisor.pid("shop");
    supervisor.try_ask("shop", "silent");
    eventually("it is gone", || (!is_alive(worker)).then_some(()));
    assert_ne!(supervisor.pid("shop"), worker);
    supervisor.logged("WSGI0337");
}

#[test]
fn a_user_who_may_not_enter_gets_the_directory_named() {
    if os::accounts::effective_uid() != 0 {
        return;
    }
    let supervisor = Supervisor::start();
    supervisor.prefix("private/shop");
    let private = supervisor.path("private");
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&private, mode).unwrap();
    };
    mode(0o750);
    let mut group = supervisor.group("shop", "");
    let home = supervisor.path("private/shop");
    group.group.python.home = Some(home.into_os_string().into_encoded_bytes().into());
    group.group.identity.switch = true;
    group.group.identity.uid = 65534;
    group.group.identity.gid = 65533;
    group.group.identity.user = "nobody".into();
    supervisor.configure(&[group]).unwrap();
    let (status, _) = supervisor.refusal("shop");
    assert_eq!(status, 503);
    let expected = format!(
        "nobody may not enter {}, which is mode 0750 owned by root:root. Allow it (chmod o+x",
        private.display()
    );
    supervisor.logged(&expected);
    mode(0o755);
    eventually("it heals", || {
        let answer = supervisor.try_ask("shop", "pid")?;
        answer[0].is_ascii_digit().then_some(())
    });
}

#[test]
fn a_configuration_that_cannot_be_is_refused_and_changes_nothing() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let good = supervisor.group("shop", "");
    supervisor.configure(std::slice::from_ref(&good)).unwrap();
    let old = supervisor.pid("shop");

    let mut elsewhere = supervisor.group("new", "");
    elsewhere.socket_path = "/no/such/directory/s".into();
    let refused = supervisor
        .configure(&[supervisor.group("other", ""), elsewhere])
        .unwrap_err();
    assert!(
        refused.contains("'new' cannot listen at /no/such/directory/s"),
        "{refused}"
    );
    assert!(!supervisor.path("other.sock").exists());

    let refused = supervisor
        .configure(&[good.clone(), good.clone()])
        .unwrap_err();
    assert!(refused.contains("defined twice"), "{refused}");

    let mut long = good.clone();
    long.group.environment.variables = vec![("A".into(), vec![b'x'; 60 * 1024].into()); 2];
    // Fits as a group; with what a worker needs besides it does not.
    long.group.python.main_interpreter.path = vec![vec![b'p'; 8 * 1024 - 400].into()];
    if let Ok(packet) = wire::control::ToSupervisor::Group(Box::new(long.clone())).encode() {
        assert!(packet.len() <= wire::control::MAX_MESSAGE);
        let refused = supervisor.configure(&[long]).unwrap_err();
        assert!(refused.contains("shorten"), "{refused}");
    }

    supervisor.send_raw(b"\xff\xff");
    let refused = supervisor.answer().unwrap_err();
    assert!(refused.contains("same build"), "{refused}");
    assert_eq!(supervisor.pid("shop"), old);
    assert_eq!(supervisor.children(), [old]);
}

#[test]
fn a_successor_that_cannot_load_its_scripts_stays_out_of_service_and_says_so_once() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    supervisor.configure(&[group.clone()]).unwrap();
    let old = supervisor.pid("shop");
    supervisor.ask("shop", "loaded /srv/shop.wsgi");
    group.group.environment.variables = vec![("MODE".into(), "cannotload".into())];
    supervisor.configure(&[group.clone()]).unwrap();
    supervisor.logged("broken deploy");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(supervisor.pid("shop"), old);
    assert_eq!(supervisor.count_logged("WSGI0347"), 1);
    assert_eq!(supervisor.count_logged("broken deploy"), 1);
    group.group.environment.variables = vec![("MODE".into(), "".into())];
    supervisor.configure(&[group]).unwrap();
    eventually("the old one leaves", || (!is_alive(old)).then_some(()));
    let setup = supervisor.ask("shop", "setup");
    let script: String = b"/srv/shop.wsgi"
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert!(setup.contains(&script), "the successor knows the script");
}

#[test]
fn a_successor_that_cannot_load_claims_nothing_of_workers_that_have_loaded_nothing() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    supervisor.configure(&[group.clone()]).unwrap();
    supervisor.pid("shop");
    group.group.environment.variables = vec![("MODE".into(), "cannotload".into())];
    supervisor.configure(&[group]).unwrap();
    let line = supervisor.logged("WSGI0347");
    assert!(line.contains("no worker of the group has loaded"), "{line}");
    assert!(!line.contains("go on with what"), "{line}");
}

#[test]
fn a_group_that_ends_with_apache_is_not_said_to_be_configured_no_more() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    let mut long = supervisor.connect("shop").unwrap();
    long.write_all(b"deaf\n").unwrap();
    long.read_to_end(&mut Vec::new()).unwrap();
    // Connected before the socket's file goes, and asked after.
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(supervisor.connect("shop").unwrap());
    }
    supervisor.stop();
    let mut answer = Vec::new();
    waiting
        .last_mut()
        .unwrap()
        .read_to_end(&mut answer)
        .unwrap();
    let (_, payload, _) = wire::frame::split(&answer).unwrap().unwrap();
    let text = String::from_utf8_lossy(wire::response::Fail::decode(payload).unwrap().text);
    assert!(
        text.contains("'shop' ends, because Apache stops or is restarted"),
        "{text}"
    );
}

#[test]
fn a_refusal_names_the_sockets_of_groups_that_go_on_as_the_same_users() {
    let supervisor = Supervisor::start();
    for name in ["same", "other", "moved"] {
        supervisor.prefix(name);
    }
    let (mut same, mut other) = (supervisor.group("same", ""), supervisor.group("other", ""));
    let mut moved = supervisor.group("moved", "");
    supervisor
        .configure(&[same.clone(), other.clone(), moved.clone()])
        .unwrap();
    let mut elsewhere = supervisor.group("new", "");
    elsewhere.socket_path = "/no/such/directory/s".into();
    let path = same.socket_path.clone();
    same.key = [9; 16];
    same.socket_path = "/no/such/directory/t".into();
    other.group.identity.uid = 12345;
    moved.group.environment.home = Some("/srv".into());
    supervisor
        .configure(&[same, other, moved, elsewhere])
        .unwrap_err();
    let addresses = supervisor.addresses.lock().unwrap();
    let told: Vec<_> = addresses.iter().map(|d| (d.group.text(), d.key)).collect();
    assert_eq!(told, [("same".into(), [1; 16])]);
    assert_eq!(addresses[0].socket_path, path);
}

#[test]
fn one_that_is_superseded_finishes_its_requests_and_ends() {
    let mut supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    let worker = supervisor.pid("shop");
    let mut long = supervisor.connect("shop").unwrap();
    long.write_all(format!("wait {}\n", supervisor.text("finish")).as_bytes())
        .unwrap();
    long.read_exact(&mut [0; 6]).unwrap();
    supervisor.process.signal(os::signal::SIGUSR2).unwrap();
    supervisor.logged("WSGI0348");
    supervisor.abandon();
    std::thread::sleep(Duration::from_millis(600));
    assert!(is_alive(worker), "it has a request");
    supervisor.touch("finish");
    let mut answer = String::new();
    long.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.trim(), worker.to_string());
    supervisor.over();
}

#[test]
fn a_worker_that_never_ran_is_told_of_once() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    let mut group = supervisor.group("shop", "");
    // Root's place alone, in which there is no Python; or nobody's, for who is not root.
    group.group.environment.chroot = Some("/proc/self".into());
    supervisor.configure(&[group]).unwrap();
    let (status, text) = supervisor.refusal("shop");
    assert_eq!(status, 503);
    assert!(text.contains("WSGI0333"), "{text}");
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(supervisor.count_logged("WSGI0333: process group"), 1);
    assert_eq!(supervisor.count_logged("WSGI0338"), 0);
}

#[test]
fn a_worker_that_has_its_listener_wait_does_not_have_the_supervisor_wait() {
    let supervisor = Supervisor::start();
    supervisor.prefix("shop");
    supervisor
        .configure(&[supervisor.group("shop", "")])
        .unwrap();
    // The flag belongs to the socket, which the supervisor shares with the worker.
    assert_eq!(supervisor.ask("shop", "blocking"), "ok");
    // The group ends, and its queue is answered by the supervisor until the last worker has left.
    let worker = supervisor.pid("shop");
    fs::remove_dir_all(supervisor.path("shop")).unwrap();
    harness::kill(worker);
    let (status, _) = supervisor.refusal("shop");
    assert_eq!(status, 503);
    let begun = Instant::now();
    supervisor.status();
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_supervisor_ends_although_nobody_reads_why() {
    let (_reader, writer) = os::descriptor::pipe().unwrap();
    let again = os::descriptor::reopen_for_appending(writer.as_fd()).unwrap();
    let mut again = fs::File::from(again);
    while again.write(&[b'x'; 4096]).is_ok() {}
    // It lacks its control socket.
    let program = env!("CARGO_BIN_EXE_mod_wsgi-supervisor");
    let null = os::descriptor::null().unwrap();
    let mut command = os::spawn::Command::new(program.as_bytes(), &[b"mod_wsgi-supervisor"]);
    command.fds = vec![null.as_fd(), null.as_fd(), writer.as_fd()];
    let mut process = command.spawn().unwrap();
    let ended = process.wait(Duration::from_secs(10)).unwrap();
    if ended.is_none() {
        process.signal(os::signal::SIGKILL).unwrap();
        process.wait(Duration::from_secs(10)).unwrap();
    }
    assert!(ended.is_some());
}
