//! Writes one well-formed message of each kind, as a start for the fuzzers:
//! `cargo run -p wsgi-wire --example fuzz-seeds tests/fuzz/corpus`.

use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use wire::control::{
    ConfigurationRefusal, FromSupervisor, FromWorker, GroupAddress, GroupSetup, ReplacementReason,
    Syslog, ToSupervisor, ToWorker, WorkerSetup,
};
use wire::frame::{Kind, HEAD_LEN};
use wire::group::{
    Identity, InterpreterOptions, ListenerOptions, ProcessEnvironment, ProcessGroup, PythonOptions,
    ReplacementLimits, ResourceLimits, ScriptOwner, ServerFacts, Timeouts,
};
use wire::hook::{append_arguments, Answer, Role};
use wire::request::{Builder, Flags, Prologue};
use wire::response::{self, BodyFailure, End, Fail, File, Level, Log, Retry};

fn main() -> io::Result<()> {
    let root = env::args_os()
        .nth(1)
        .ok_or_else(|| io::Error::other("name a directory"))?;
    let root = Path::new(&root);
    write(root, "request", "whole", &request()[HEAD_LEN..])?;
    write(root, "request", "question", &question()[HEAD_LEN..])?;
    write(root, "response", "stream", &response())?;
    write(root, "response", "answer", &answers())?;
    let control = [
        ("begin", ToSupervisor::Begin(Box::new(facts())).encode()),
        (
            "group",
            ToSupervisor::Group(Box::new(group_setup())).encode(),
        ),
        ("stop", ToSupervisor::Stop(()).encode()),
        ("syslog", ToSupervisor::Syslog(syslog()).encode()),
        ("refused", FromSupervisor::Refused(refusal()).encode()),
        ("drain", ToWorker::Drain(15_000).encode()),
        (
            "leaving",
            FromWorker::AskReplacement(ReplacementReason::Stale).encode(),
        ),
        (
            "unusable",
            FromWorker::Unusable("no encodings".into()).encode(),
        ),
        (
            "loaded",
            FromWorker::Loaded(("/srv/shop.wsgi".into(), "".into())).encode(),
        ),
        ("setup", ToWorker::Setup(Box::new(setup())).encode()),
    ];
    for (name, packet) in control {
        write(root, "control", name, &packet.map_err(io::Error::other)?)?;
    }
    Ok(())
}

fn syslog() -> Syslog {
    Syslog {
        facility: 23,
        tag: "apache2".into(),
    }
}

fn write(root: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = root.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("seed-{name}")), bytes)
}

fn request() -> Vec<u8> {
    let mut out = Vec::new();
    let prologue = Prologue {
        flags: Flags(Flags::RELOAD),
        role: Role::Application,
        key: [7; 16],
        request_start: 1,
        queue_start: 2,
        sent: 3,
        content_length: Some(4),
        script: b"/srv/shop.wsgi",
        application_group: b"",
        callable: b"application",
    };
    let mut b = Builder::new(&mut out, &prologue).expect("short texts");
    b.known(4, b"/x").expect("few entries");
    b.named(b"HTTP_X_OWN", b"1").expect("few entries");
    b.finish(b"body").expect("small");
    out
}

fn question() -> Vec<u8> {
    let mut out = Vec::new();
    let prologue = Prologue {
        flags: Flags(Flags::RELOAD | Flags::BODY_WHOLE),
        role: Role::Password,
        key: [7; 16],
        request_start: 1,
        queue_start: 2,
        sent: 3,
        content_length: None,
        script: b"/srv/auth.py",
        application_group: b"",
        callable: b"check_password",
    };
    let b = Builder::new(&mut out, &prologue).expect("short texts");
    let mut body = Vec::new();
    append_arguments(&mut body, &[b"jane", b"secret"]).expect("short texts");
    b.finish(&body).expect("small");
    out
}

fn answers() -> Vec<u8> {
    let mut out = Vec::new();
    for answer in [
        Answer::None,
        Answer::Text(b"jane"),
        Answer::Names(vec![b"staff", b"editors"]),
        Answer::Choices([None, Some(b"app"), None]),
    ] {
        answer.append(&mut out).expect("small");
    }
    End::default().append(&mut out);
    out
}

fn response() -> Vec<u8> {
    let mut out = Vec::new();
    let fields = [(&b"Content-Type"[..], &b"text/plain"[..])];
    for (kind, status) in [(Kind::Interim, 103), (Kind::Head, 200)] {
        response::append_head(&mut out, kind, status, b"OK", fields.into_iter()).expect("small");
    }
    Log {
        level: Level::Error,
        text: b"one\ntwo",
    }
    .append(&mut out);
    File { offset: 1, len: 2 }.append(&mut out);
    Retry::Stale.append(&mut out);
    Fail {
        status: 500,
        text: b"x",
    }
    .append(&mut out);
    BodyFailure::Timeout.append(&mut out);
    End::default().append(&mut out);
    out
}

fn facts() -> ServerFacts {
    ServerFacts {
        apache_version: (2, (4, 71)),
        module_version: (6, (1, 1)),
        server_description: "Apache".into(),
        build_date: "today".into(),
        mpm_name: "event".into(),
        mpm_max_processes: 16,
        mpm_max_threads: 25,
        runtime: "/r.so".into(),
        default_python: "/usr/bin/python3".into(),
        parent_pid: 42,
        one_process: false,
    }
}

fn refusal() -> ConfigurationRefusal {
    ConfigurationRefusal {
        sentence: "no".into(),
        addresses: vec![GroupAddress {
            group: "shop".into(),
            socket_path: "/run/wsgi.sock".into(),
            key: [3; 16],
        }],
    }
}

fn group_setup() -> GroupSetup {
    GroupSetup {
        group: process_group(),
        socket_path: "/run/wsgi.sock".into(),
        key: [3; 16],
        log_level: 6,
    }
}

fn process_group() -> ProcessGroup {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    ProcessGroup {
        name: "shop".into(),
        id: 1,
        processes: 2,
        multiprocess: true,
        threads: 5,
        display_name: "(wsgi:shop)".into(),
        identity: Identity {
            switch: true,
            uid: 1001,
            gid: 1002,
            groups: vec![1002, 44],
            user: "user1".into(),
            user_home: "/home/user1".into(),
            no_new_privs: false,
        },
        environment: ProcessEnvironment {
            home: Some("/srv/shop".into()),
            chdir: None,
            chroot: None,
            umask: Some(0o22),
            lang: Some("C.UTF-8".into()),
            locale: None,
            variables: vec![("A".into(), "1".into())],
            clear_env: false,
        },
        python: PythonOptions {
            home: Some("/srv/shop/venv".into()),
            eggs: None,
            optimize: 0,
            dont_write_bytecode: true,
            hash_seed: Some("1".into()),
            warnings: vec!["error".into()],
            free_threading: false,
            destroy_interpreter: true,
            main_interpreter: interpreter_options(false),
            sub_interpreters: interpreter_options(true),
            application_groups: vec![("cart".into(), interpreter_options(true))],
        },
        resources: ResourceLimits {
            stack_size: Some(3),
            cpu_time: seconds(4),
            cpu_priority: -5,
            memory: Some(6),
            virtual_memory: None,
        },
        replacement: ReplacementLimits {
            maximum_requests: Some(1),
            maximum_requests_jitter: 2,
            max_rss: Some(8),
        },
        script_owner: ScriptOwner {
            user: Some(11),
            group: None,
        },
        timeouts: Timeouts {
            startup: seconds(1),
            deadlock: seconds(2),
            inactivity: None,
            request: seconds(4),
            interrupt: seconds(5),
            graceful: seconds(6),
            eviction: seconds(7),
            shutdown: seconds(8),
            restart_interval: seconds(9),
            socket: seconds(10),
            queue: Some(Duration::from_micros(11)),
        },
        listener: ListenerOptions {
            uid: 33,
            backlog: 100,
            send_buffer: Some(9),
            receive_buffer: None,
        },
        preload: vec![("/srv/shop.wsgi".into(), "".into())],
        global_reachable: true,
    }
}

fn setup() -> WorkerSetup {
    WorkerSetup {
        group: process_group(),
        key: [3; 16],
        server: facts(),
        generation: 2,
        earlier_keys: vec![[1; 16]],
        loaded_scripts: vec![("/srv/shop.wsgi".into(), "".into())],
        has_peers: true,
    }
}

fn interpreter_options(own_gil: bool) -> InterpreterOptions {
    InterpreterOptions {
        path: vec!["/srv/lib".into()],
        switch_interval: Some(Duration::from_millis(5)),
        own_gil,
        restrict_stdin: false,
        restrict_stdout: true,
        restrict_signal: true,
    }
}
