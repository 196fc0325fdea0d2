//! What starting a program promises, seen from inside the programs started.

use std::io::Read;
use std::time::Duration;

use super::*;
use crate::process::Exit;

const LIMIT: Duration = Duration::from_secs(10);

/// Runs a shell script with its output on a pipe and returns that.
fn output(change: impl Fn(&mut Command<'_>), script: &str) -> String {
    let (reader, writer) = descriptor::pipe().unwrap();
    let null = descriptor::null().unwrap();
    let args = [&b"sh"[..], b"-c", script.as_bytes()];
    let mut command = Command::new(b"/bin/sh", &args);
    command.fds = vec![null.as_fd(), writer.as_fd(), writer.as_fd()];
    change(&mut command);
    let mut child = command.spawn().unwrap();
    assert_eq!(child.wait_started(LIMIT), Some(Ok(())));
    drop(writer);
    let mut text = String::new();
    std::fs::File::from(reader)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait(LIMIT).unwrap(), Some(Exit::Status(0)), "{text}");
    text
}

fn failure(change: impl Fn(&mut Command<'_>)) -> Failure {
    let (reader, writer) = descriptor::pipe().unwrap();
    let mut command = Command::new(b"/bin/sh", &[b"sh", b"-c", b"echo ran >&0"]);
    command.fds = vec![writer.as_fd()];
    change(&mut command);
    let mut child = command.spawn().unwrap();
    let failure = child.wait_started(LIMIT).unwrap().unwrap_err();
    assert_eq!(child.wait(LIMIT).unwrap(), Some(Exit::Status(127)));
    drop(writer);
    let mut text = String::new();
    std::fs::File::from(reader)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "", "the program ran");
    failure
}

fn root() -> bool {
    crate::accounts::effective_uid() == 0
}

fn nobody() -> Identity {
    Identity {
        uid: 65534,
        gid: 65533,
        groups: vec![65532, 7, 7],
    }
}

#[test]
fn the_program_has_exactly_the_descriptors_of_the_plan() {
    // Leaks without close-on-exec that exec would let through.
    // SAFETY: dup touches no memory; the descriptor is left open on purpose.
    let leak = unsafe { libc::dup(2) };
    assert!(leak > 2);
    let list = output(|_| {}, "ls /proc/self/fd; ls -l /proc/self/fd/0");
    // 3 is the directory that ls reads.
    assert!(list.starts_with("0\n1\n2\n3\n"), "{list}");
    assert!(list.ends_with("/dev/null\n"), "{list}");
}

#[test]
fn descriptors_may_trade_places() {
    let (a, b) = crate::socket::stream_pair().unwrap();
    let (c, d) = crate::socket::stream_pair().unwrap();
    // 0 to 4 in an order that overlaps whatever their numbers are.
    let mut fds = [b.as_fd(), d.as_fd(), a.as_fd(), c.as_fd()];
    fds.sort_by_key(|fd| std::cmp::Reverse(fd.as_raw_fd()));
    let inodes: Vec<String> = fds
        .iter()
        .map(|fd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap())
        .map(|link| link.to_str().unwrap().to_owned())
        .collect();
    let (reader, writer) = descriptor::pipe().unwrap();
    let script = b"for i in 0 1 2 3; do readlink /proc/self/fd/$i >&4; done";
    let mut command = Command::new(b"/bin/sh", &[b"sh", b"-c", script]);
    // readlink's own descriptors are the shell's.
    command.fds = fds.to_vec();
    command.fds.push(writer.as_fd());
    let script = b"exec 5>&4; for i in 0 2 3; do readlink /proc/$$/fd/$i >&5; done";
    command.args[2] = script.to_vec();
    let mut child = command.spawn().unwrap();
    assert_eq!(child.wait_started(LIMIT), Some(Ok(())));
    drop(writer);
    let mut text = String::new();
    std::fs::File::from(reader)
        .read_to_string(&mut text)
        .unwrap();
    child.wait(LIMIT).unwrap();
    let expected = [&inodes[0], &inodes[2], &inodes[3]].map(|i| format!("{i}\n"));
    assert_eq!(text, expected.concat());
}

#[test]
fn place_environment_and_process_group_are_as_asked() {
    let text = output(
        |c| {
            c.cwd = Some(b"/usr".to_vec());
            c.umask = Some(0o027);
            c.env = vec![(b"NAME".to_vec(), b"a=b".to_vec())];
            c.detached = true;
            c.priority = Some(7);
        },
        "pwd; umask; echo $NAME; nice; cut -d' ' -f5 /proc/$$/stat; echo $$; cut -d' ' -f6 /proc/$$/stat",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..4], ["/usr", "0027", "a=b", "7"]);
    assert_eq!(lines[4], lines[5]);
    // SAFETY: touches no memory.
    let session = unsafe { libc::getsid(0) };
    assert_eq!(lines[6], session.to_string());
}

#[test]
fn signals_are_at_their_defaults_and_unblocked() {
    let text = output(|_| {}, "cat /proc/self/status");
    // 32 and 33 are the C library's own: it lets nobody change them.
    let own = 0b11 << 31;
    for set in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let line = text.lines().find(|l| l.starts_with(set)).unwrap();
        let set = u64::from_str_radix(line[set.len()..].trim(), 16).unwrap();
        assert_eq!(set & !own, 0, "{line}");
    }
}

#[test]
fn the_identity_is_the_one_asked_for_and_root_is_gone() {
    if !root() {
        return;
    }
    let text = output(
        |c| {
            c.identity = Some(nobody());
            c.no_new_privs = true;
            c.drop_bounding_set = true;
        },
        "grep -E '^(Uid|Gid|Groups|Cap|NoNew)' /proc/self/status | tr -s '\\t ' ' '",
    );
    for line in [
        "Uid: 65534 65534 65534 65534",
        "Gid: 65533 65533 65533 65533",
        "Groups: 7 65532 ",
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in {text}");
    }
}

#[test]
fn whichever_step_fails_the_program_does_not_run() {
    let everything = |c: &mut Command<'_>| {
        c.detached = true;
        c.limits = vec![crate::rlimit::Resource::Core.limit().unwrap()];
        c.priority = Some(0);
        c.umask = Some(0o22);
        c.cwd = Some(b"/".to_vec());
        c.parent_death_signal = Some(signal::SIGKILL);
        if root() {
            c.chroot = Some(b"/".to_vec());
            c.drop_bounding_set = true;
            c.no_new_privs = true;
            c.identity = Some(nobody());
        }
    };
    for &step in Step::ALL {
        let of_root = [
            Step::Root,
            Step::BoundingSet,
            Step::NoNewPrivileges,
            Step::Groups,
            Step::Gid,
            Step::Uid,
            Step::Irreversible,
        ];
        if !root() && of_root.contains(&step) {
            continue;
        }
        let failure = failure(|c| {
            everything(c);
            c.fail_at = Some((step, libc::EAGAIN));
        });
        assert_eq!((failure.step, failure.errno), (step, libc::EAGAIN));
    }
}

#[test]
fn a_missing_program_and_a_missing_directory_are_told() {
    let missing = failure(|c| c.program = b"/no/such/program".to_vec());
    assert_eq!((missing.step, missing.errno), (Step::Exec, libc::ENOENT));
    assert!(missing
        .to_string()
        .starts_with("cannot execute its program"));
    let missing = failure(|c| c.cwd = Some(b"/no/such".to_vec()));
    assert_eq!(missing.step, Step::WorkingDirectory);
    assert!(Command::new(b"/bin/s\0h", &[]).spawn().is_err());
}
