//! Groups and directories for the unit tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::group::{
    Identity, InterpreterOptions, ListenerOptions, ProcessEnvironment, ProcessGroup, PythonOptions,
    ReplacementLimits, ResourceLimits, ScriptOwner, Timeouts,
};

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

/// A group with defaults that runs as whoever runs the test.
pub fn group(name: &str) -> ProcessGroup {
    ProcessGroup {
        name: name.into(),
        id: 1,
        processes: 1,
        multiprocess: false,
        threads: 15,
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
            deadlock: Some(Duration::from_secs(300)),
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
            uid: 0,
            backlog: 100,
            send_buffer: None,
            receive_buffer: None,
        },
        preload: Vec::new(),
        global_reachable: false,
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
