//! A supervisor with the test in the place of the Apache parent, and workers that do as told.

#![allow(dead_code)] // each test file is a program of its own and uses a part of this

use std::fs::{self, File, Permissions};
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use os::process::{Child, Exit};
use os::socket::{self, Wait};
use wire::control::{FromSupervisor, GroupAddress, GroupSetup, StatusSocket, ToSupervisor};
use wire::group::{
    Identity, InterpreterOptions, ListenerOptions, ProcessEnvironment, ProcessGroup, PythonOptions,
    ReplacementLimits, ResourceLimits, ScriptOwner, ServerFacts, Timeouts,
};
use wire::status::StatusReport;

/// Longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "never came about: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub struct Supervisor {
    pub process: Child,
    control: Option<OwnedFd>,
    directory: PathBuf,
    /// Told with the last refusal.
    pub addresses: Mutex<Vec<GroupAddress>>,
}

impl Supervisor {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("supervised-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let directory = directory.canonicalize().unwrap();
        // Workers of other users must get in.
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.join("runtime.so"), "").unwrap();
        fs::write(directory.join("worker.py"), include_str!("worker.py")).unwrap();
        File::create(directory.join("error.log")).unwrap();

        let program = env!("CARGO_BIN_EXE_mod_wsgi-supervisor");
        let (own, theirs) = socket::seqpacket_pair().unwrap();
        let null = os::descriptor::null().unwrap();
        let stderr = File::create(directory.join("stderr")).unwrap();
        let title = b"mod_wsgi-supervisor";
        let mut command = os::spawn::Command::new(program.as_bytes(), &[title]);
        command.env = vec![
            (b"PATH".to_vec(), b"/usr/bin:/bin".to_vec()),
            (b"INHERITED".to_vec(), b"yes".to_vec()),
        ];
        command.fds = vec![null.as_fd(), null.as_fd(), stderr.as_fd(), theirs.as_fd()];
        command.detached = true;
        let mut process = command.spawn().unwrap();
        assert_eq!(process.wait_started(PATIENCE), Some(Ok(())));
        socket::set_receive_timeout(own.as_fd(), Some(PATIENCE)).unwrap();
        Self {
            process,
            control: Some(own),
            directory,
            addresses: Mutex::default(),
        }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.join(relative)
    }

    /// The same, as text.
    pub fn text(&self, relative: &str) -> String {
        self.path(relative).into_os_string().into_string().unwrap()
    }

    /// Makes an empty file: what workers wait for.
    pub fn touch(&self, relative: &str) {
        File::create(self.path(relative)).unwrap();
    }

    fn bytes(&self, relative: &str) -> wire::codec::Bytes {
        self.path(relative)
            .into_os_string()
            .into_encoded_bytes()
            .into()
    }

    /// Makes a prefix whose Python is the fake worker.
    pub fn prefix(&self, name: &str) {
        let bin = self.path(name).join("bin");
        fs::create_dir_all(&bin).unwrap();
        let python = bin.join("python3");
        let worker = self.path("worker.py");
        let script = format!(
            "#!/bin/sh\nexec /usr/bin/python3 {} \"$@\"\n",
            worker.display()
        );
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, Permissions::from_mode(0o755)).unwrap();
    }

    /// A group whose Python lies in a directory of the same name, with `MODE` in its environment.
    pub fn group(&self, name: &str, mode: &str) -> GroupSetup {
        let mut group = process_group(name);
        group.python.home = Some(self.bytes(name));
        group.environment.variables = vec![("MODE".into(), mode.into())];
        GroupSetup {
            group,
            socket_path: self.bytes(&format!("{name}.sock")),
            key: [1; 16],
            log_level: 5,
        }
    }

    fn send(&self, message: &ToSupervisor, log: Option<&File>) {
        let packet = message.encode().unwrap();
        let control = self.control.as_ref().unwrap().as_fd();
        let log = log.map(AsFd::as_fd);
        socket::send(control, &[IoSlice::new(&packet)], log, Wait::AsSet).unwrap();
    }

    /// Sends a configuration and returns the refusal, if it was one.
    pub fn configure(&self, groups: &[GroupSetup]) -> Result<(), String> {
        let append = |path: PathBuf| File::options().append(true).open(path).unwrap();
        let log = append(self.path("error.log"));
        let facts = facts(self.bytes("runtime.so"));
        self.send(&ToSupervisor::Begin(Box::new(facts)), Some(&log));
        for group in groups {
            self.send(&ToSupervisor::Group(Box::new(group.clone())), None);
        }
        let status = StatusSocket {
            path: self.bytes("status.sock"),
            uid: os::accounts::effective_uid(),
        };
        self.send(&ToSupervisor::Status(status), None);
        self.send(&ToSupervisor::Commit(()), None);
        self.answer()
    }

    pub fn answer(&self) -> Result<(), String> {
        let mut buffer = vec![0; wire::control::MAX_MESSAGE];
        let control = self.control.as_ref().unwrap().as_fd();
        let len = socket::recv(control, &mut buffer, Wait::AsSet).unwrap();
        match FromSupervisor::decode(&buffer[..len]).unwrap() {
            FromSupervisor::Accepted(()) => Ok(()),
            FromSupervisor::Refused(why) => {
                *self.addresses.lock().unwrap() = why.addresses;
                Err(why.sentence.text().into_owned())
            }
        }
    }

    pub fn send_raw(&self, packet: &[u8]) {
        let control = self.control.as_ref().unwrap().as_fd();
        socket::send(control, &[IoSlice::new(packet)], None, Wait::AsSet).unwrap();
    }

    pub fn connect(&self, group: &str) -> std::io::Result<UnixStream> {
        let socket = UnixStream::connect(self.path(&format!("{group}.sock")))?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(socket)
    }

    /// What comes back for a line; `None` where the connection was cut.
    pub fn try_ask(&self, group: &str, line: &str) -> Option<Vec<u8>> {
        let mut socket = self.connect(group).ok()?;
        socket.write_all(format!("{line}\n").as_bytes()).ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    }

    /// What a worker answers. One that is about to leave may cut the connection, as a real one
    /// does not, and where none serves yet the supervisor answers with a frame: asks again then.
    pub fn ask(&self, group: &str, line: &str) -> String {
        let answer = eventually(line, || String::from_utf8(self.try_ask(group, line)?).ok());
        answer.trim().to_owned()
    }

    /// The process that answers.
    pub fn pid(&self, group: &str) -> u32 {
        self.ask(group, "pid").parse().unwrap()
    }

    /// Status and sentence of the refusal a connection gets.
    pub fn refusal(&self, group: &str) -> (u16, String) {
        eventually("refusal", || {
            let answer = self.try_ask(group, "pid")?;
            let (frame, payload, rest) = wire::frame::split(&answer).ok()??;
            assert!(frame.kind == wire::frame::Kind::Fail && rest.is_empty());
            let fail = wire::response::Fail::decode(payload).unwrap();
            Some((fail.status, String::from_utf8_lossy(fail.text).into_owned()))
        })
    }

    /// What it tells who asks how things are.
    pub fn status(&self) -> StatusReport {
        let mut socket = UnixStream::connect(self.path("status.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut report = Vec::new();
        socket.read_to_end(&mut report).unwrap();
        StatusReport::decode(&report).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("error.log")).unwrap()
    }

    /// Waits for a line of the error log.
    pub fn logged(&self, part: &str) -> String {
        eventually(&format!("{part:?} in the log"), || {
            let log = self.log();
            log.lines()
                .find(|line| line.contains(part))
                .map(str::to_owned)
        })
    }

    /// Lines of the error log with that in them.
    pub fn count_logged(&self, part: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(part))
            .count()
    }

    /// Processes whose parent is the supervisor.
    pub fn children(&self) -> Vec<u32> {
        children(self.process.pid())
    }

    /// Waits until these are its children.
    pub fn has_children(&self, count: usize) -> Vec<u32> {
        eventually(&format!("{count} children"), || {
            let children = self.children();
            (children.len() == count).then_some(children)
        })
    }

    pub fn stop(&self) {
        self.send(&ToSupervisor::Stop(()), None);
    }

    /// As if the Apache parent had died.
    pub fn abandon(&mut self) {
        self.control = None;
    }

    /// Waits for it to end, and sees that nothing of it is left.
    pub fn over(&mut self) {
        let exit = self.process.wait(PATIENCE).unwrap();
        assert_eq!(exit, Some(Exit::Status(0)), "{}", self.stderr());
        let sockets: Vec<_> = fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().ends_with(".sock"))
            .collect();
        assert!(sockets.is_empty(), "left: {sockets:?}");
        assert_eq!(self.stderr(), "");
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // While their parent is stopped, its children's numbers remain theirs.
        let _ = self.process.signal(os::signal::SIGSTOP);
        for child in self.children() {
            assert!(child > 1);
            let _ = std::process::Command::new("/bin/kill")
                .args(["-9", &child.to_string()])
                .stderr(std::process::Stdio::null())
                .status();
        }
        let _ = self.process.signal(os::signal::SIGKILL);
        let _ = self.process.wait(PATIENCE);
        if std::thread::panicking() {
            eprintln!("error log:\n{}", self.log());
            eprintln!("stderr:\n{}", self.stderr());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Processes with that parent, zombies left out.
pub fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let rest = &stat[stat.rfind(')').unwrap() + 2..];
        let mut fields = rest.split(' ');
        let state = fields.next().unwrap();
        if state != "Z" && fields.next().unwrap() == parent.to_string() {
            found.push(pid);
        }
    }
    found
}

/// Whether the process runs.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !stat[stat.rfind(')').unwrap()..].starts_with(") Z"))
}

pub fn kill(pid: u32) {
    let done = std::process::Command::new("/bin/kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(done.unwrap().success());
}

fn facts(runtime: wire::codec::Bytes) -> ServerFacts {
    ServerFacts {
        apache_version: (2, (4, 0)),
        module_version: (6, (1, 1)),
        server_description: "Apache".into(),
        build_date: "".into(),
        mpm_name: "event".into(),
        mpm_max_processes: 16,
        mpm_max_threads: 25,
        runtime,
        default_python: "/usr/bin/python3".into(),
        parent_pid: std::process::id(),
        one_process: false,
    }
}

fn process_group(name: &str) -> ProcessGroup {
    ProcessGroup {
        name: name.into(),
        id: 1,
        processes: 1,
        multiprocess: true,
        threads: 3,
        display_name: "".into(),
        identity: Identity {
            switch: false,
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            user: "".into(),
            user_home: "".into(),
            no_new_privs: false,
        },
        environment: ProcessEnvironment {
            home: None,
            chdir: None,
            chroot: None,
            umask: None,
            lang: None,
            locale: None,
            variables: Vec::new(),
            clear_env: false,
        },
        python: PythonOptions {
            home: None,
            eggs: None,
            optimize: 0,
            dont_write_bytecode: false,
            hash_seed: None,
            warnings: Vec::new(),
            free_threading: false,
            destroy_interpreter: true,
            main_interpreter: interpreter_options(),
            sub_interpreters: interpreter_options(),
            application_groups: Vec::new(),
        },
        resources: ResourceLimits {
            stack_size: None,
            cpu_time: None,
            cpu_priority: 0,
            memory: None,
            virtual_memory: None,
        },
        replacement: ReplacementLimits {
            maximum_requests: None,
            maximum_requests_jitter: 0,
            max_rss: None,
        },
        script_owner: ScriptOwner {
            user: None,
            group: None,
        },
        timeouts: Timeouts {
            startup: None,
            deadlock: None,
            inactivity: None,
            request: None,
            interrupt: None,
            graceful: Some(Duration::from_secs(15)),
            eviction: None,
            shutdown: Some(Duration::from_secs(5)),
            restart_interval: None,
            socket: None,
            queue: None,
        },
        listener: ListenerOptions {
            uid: os::accounts::effective_uid(),
            backlog: 100,
            send_buffer: None,
            receive_buffer: None,
        },
        preload: Vec::new(),
        global_reachable: false,
    }
}

fn interpreter_options() -> InterpreterOptions {
    InterpreterOptions {
        path: Vec::new(),
        switch_interval: None,
        own_gil: false,
        restrict_stdin: false,
        restrict_stdout: false,
        restrict_signal: true,
    }
}
