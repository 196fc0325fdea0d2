//! Groups and directories for the unit tests.

use std::path::{Path, PathBuf};

use wire::group::{Group, Identity, Limits, Place, Python, Timeouts};

/// A group with defaults that runs as whoever runs the test.
pub fn group(name: &str) -> Group {
    Group {
        name: name.into(),
        id: 1,
        socket_path: "/nonexistent/s".into(),
        key: [1; 16],
        socket_uid: 0,
        listen_backlog: 100,
        processes: 1,
        processes_given: false,
        threads: 15,
        identity: Identity {
            switch: false,
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            user: "".into(),
            user_home: "".into(),
            no_new_privs: false,
        },
        place: Place {
            home: None,
            chdir: None,
            chroot: None,
            umask: None,
            lang: None,
            locale: None,
            env: Vec::new(),
            clear_env: false,
        },
        python: Python {
            home: None,
            path: Vec::new(),
            eggs: None,
            switch_interval: 0,
            optimize: 0,
            dont_write_bytecode: false,
            hash_seed: None,
            warnings: Vec::new(),
            restrict_stdin: false,
            restrict_stdout: false,
            restrict_signal: true,
            destroy_interpreter: true,
        },
        limits: Limits {
            maximum_requests: 0,
            maximum_requests_jitter: 0,
            stack_size: 0,
            cpu_time: 0,
            cpu_priority: 0,
            memory: 0,
            virtual_memory: 0,
            max_rss: 0,
            script_user: None,
            script_group: None,
            send_buffer: 0,
            receive_buffer: 0,
        },
        timeouts: Timeouts {
            startup: 0,
            deadlock: 300_000,
            inactivity: 0,
            request: 0,
            interrupt: 0,
            graceful: 15_000,
            eviction: 0,
            shutdown: 5_000,
            restart_interval: 0,
            socket: 0,
            queue: 0,
        },
        display_name: "".into(),
        preload: Vec::new(),
        global_reachable: false,
        log_level: 5,
    }
}

/// A directory that goes with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        let own = format!("supervisor-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(own);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
