//! What the supervisor says about groups and workers.
//!
//! Runs in: the supervisor (`crates/supervisor`).

super::events! { SUPERVISOR:
    LOG_LINES_LOST = 330 {
        level: "warn",
        status: "",
        when: "An error log could not be written as fast as workers wrote; lines were left out rather than hold up requests.",
        example: "WSGI0330: 84 lines were lost because this log could not be written fast enough",
        mend: "See whether the disk is full or slow, or the program behind a piped log is stuck; and what writes so much.",
    }
    SOCKET_NOT_REMOVED = 332 {
        level: "warn",
        status: "",
        when: "A group ended, and the file of its socket could not be removed.",
        example: "WSGI0332: process group 'shop': cannot remove its socket /run/apache2/wsgi.4711.shop.sock: Read-only file system (os error 30)",
        mend: "Remove the file by hand once its directory can be written again.",
    }
    WORKER_NOT_STARTED = 333 {
        level: "error",
        status: "503 while no other worker runs",
        when: "A process was made for a worker, and something on the way to its Python failed: the user, a limit, a directory, the program itself.",
        example: "WSGI0333: process group 'shop': a worker cannot change to the working directory: Permission denied (os error 13)",
        mend: "Mend what the line names. It is tried again by itself.",
    }
    GROUP_AVAILABLE_AGAIN = 334 {
        level: "notice",
        status: "",
        when: "A group that could not be served has a worker again.",
        example: "WSGI0334: process group 'shop': is served again",
        mend: "Nothing.",
    }
    WORKER_STARTUP_FAILED = 335 {
        level: "error",
        status: "503 while no other worker runs",
        when: "A worker's Python started and then found that it cannot serve.",
        example: "WSGI0335: process group 'shop': the worker can't come up: the interpreter can't be set up: ImportError: No module named 'encodings'",
        mend: "Mend what the line names. It is tried again by itself.",
    }
    WORKER_MESSAGE_MALFORMED = 336 {
        level: "error",
        status: "502 for requests that were running",
        when: "A worker wrote into its conversation with the supervisor what does not belong there. It is killed and replaced.",
        example: "WSGI0336: process group 'shop': worker 4711 broke off its conversation with an unknown message; killed",
        mend: "Look for code in the application that writes to descriptors it has not opened (descriptor 4 is the conversation).",
    }
    DESCRIPTORS_CLOSED = 337 {
        level: "warn",
        status: "",
        when: "An application closed descriptors that are not its own; daemons do that when they detach. The worker is replaced.",
        example: "WSGI0337: process group 'shop': worker 4711 has closed the descriptors it was given and is replaced. Applications must not close descriptors they have not opened",
        mend: "Find the loop in the application that closes all descriptors (`os.closerange`, python-daemon).",
    }
    WORKER_DIED_WHILE_STARTING = 338 {
        level: "error",
        status: "503 while no other worker runs",
        when: "A worker ended before it was ready: its Python could not start, or the script ended the process while it was loaded.",
        example: "WSGI0338: process group 'shop': /srv/shop/venv/bin/python was killed by SIGSEGV (signal 11) before the worker was ready; what it wrote stands above",
        mend: "Read what stands above it. Try by hand, as the group's user: `sudo -u USER /srv/shop/venv/bin/python -c 'import the_application'`.",
    }
    WORKER_DIED = 339 {
        level: "error",
        status: "502 for requests that were running",
        when: "A worker that served requests ended without being asked to. A successor is started at once.",
        example: "WSGI0339: process group 'shop': worker 985 was killed by SIGSEGV (signal 11); it was running GET /report for 0.4 s and 2 other requests; a successor is started",
        mend: "Signal 11 or 6: a fault in a C extension, often one that does not work in sub-interpreters (try `WSGIApplicationGroup %{GLOBAL}`). Signal 9: somebody, or the system for want of memory: then the line says so where the kernel counts such deaths, and its own log has more. A status: the application called os._exit.",
    }
    PROCESS_NOT_CREATED = 340 {
        level: "error",
        status: "503 while no other worker runs",
        when: "The system makes no more processes.",
        example: "WSGI0340: process group 'shop': no process could be made: Resource temporarily unavailable (os error 11)",
        mend: "Raise the limit of processes of Apache's service (TasksMax= in systemd), or find what uses them up. It is tried again by itself.",
    }
    PYTHON_UNUSABLE = 341 {
        level: "error",
        status: "503 while no other worker runs",
        when: "The Python of a group cannot run the group's application: python-home names no environment, it cannot be read by the group's user, its base installation is gone, or it is too old.",
        example: "WSGI0341: process group 'shop': python-home=/srv/shop/env does not exist. Make it (python3 -m venv /srv/shop/env), or correct the path",
        mend: "The line says what is wrong and, where there is one, the command that mends it. It is tried again by itself.",
    }
    STARTUP_TIMED_OUT = 342 {
        level: "error",
        status: "503 while no other worker runs",
        when: "A worker was not ready within `startup-timeout=`.",
        example: "WSGI0342: process group 'shop': a worker was not ready within 300 s and is ended",
        mend: "See what the script waits for while it is loaded, or raise `startup-timeout=`.",
    }
    WORKER_KILLED = 343 {
        level: "warn",
        status: "502 for requests that still ran",
        when: "A worker that was asked to leave did not, within `shutdown-timeout=`.",
        example: "WSGI0343: process group 'shop': worker 4711 did not leave in time and is killed",
        mend: "Look for a shutdown hook or a C extension that does not come back.",
    }
    APACHE_PARENT_DIED = 344 {
        level: "notice",
        status: "",
        when: "Apache's parent was killed. Supervisor and workers leave with it.",
        example: "WSGI0344: the Apache parent is gone: all workers are ended",
        mend: "Start Apache again; find out who killed it.",
    }
    GROUP_UNAVAILABLE = 345 {
        level: "error",
        status: "503 with Retry-After",
        when: "A request came for a group that has no worker at the moment and no prospect of one, or that ends: it is no longer configured, or Apache stops or is restarted without grace (`apache2ctl restart`) while clients ask. The supervisor itself answers, so that nobody waits.",
        example: "WSGI0345: process group 'shop' has no worker: python-home=/srv/shop/env does not exist. Make it (python3 -m venv /srv/shop/env), or correct the path (WSGI0341)",
        mend: "Mend the fault that the line names; the log has the number behind it once, with more, when it began. A group that ends with Apache needs nothing: prefer `apache2ctl graceful`, which turns no request away.",
    }
    SUCCESSOR_CANNOT_LOAD = 347 {
        level: "error",
        status: "",
        when: "A graceful restart, or the replacement of a worker, would put a worker into service that cannot load a script which its predecessors serve. It is not put into service; they go on. Where no worker has loaded a script (one of WSGIImportScript was broken from the start, say), the line says so. The traceback follows, once.",
        example: "WSGI0347: process group 'shop': a successor cannot load its scripts and is not put into service: the workers of before go on with what they have loaded. It is tried again until it works",
        mend: "Mend the script the traceback names, or remove its file if it is no longer used; nothing else is needed.",
    }
    SUPERVISOR_SUPERSEDED = 348 {
        level: "notice",
        status: "",
        when: "The module was replaced by one of another version and Apache was reloaded: a supervisor of that version is started, and the one of before finishes its requests and ends.",
        example: "WSGI0348: another version of the supervisor takes over; this one (pid 4711) ends when its requests are finished",
        mend: "Nothing.",
    }
    STATUS_SOCKET_FAILED = 346 {
        level: "warn",
        status: "503 for requests of `wsgi-status`",
        when: "The socket by which Apache's children ask the supervisor how things are cannot be made. Everything else goes on.",
        example: "WSGI0346: there is no status socket, so nobody can see how process groups are: /run/apache2/wsgi.4711.status.sock exists and is not a socket",
        mend: "See what lies at that path, and who may write to the directory of WSGISocketPrefix; then reload Apache.",
    }
    SCRIPT_LEFT_OUT = 431 {
        level: "error",
        status: "",
        when: "A worker ended, or was not ready within `startup-timeout=`, while it loaded a script before it was ready, and no other worker serves the group. The next worker leaves that script out, so that the group's other scripts are served.",
        example: "WSGI0431: process group 'shop': worker 4711 exited with status 3 while it loaded /srv/shop/shop.wsgi before it was ready; what it wrote stands above. The next worker does not load that script before there is a request for it, so that the group's other scripts are served",
        mend: "Mend the script: it must neither end its process nor hang. A script of WSGIImportScript that was left out is loaded again after a reload of Apache.",
    }
    WORKERS_NOT_AS_CONFIGURED = 460 {
        level: "notice",
        status: "503 once a worker of the new configuration could not be started",
        when: "A graceful restart changed who or where a group's workers are or what limits they have (user=, group=, supplementary-groups=, no-new-privs=, home=, chroot=, umask=, cpu-time-limit=, cpu-priority=, memory-limit=, virtual-memory-limit=, script-user=, script-group=, Apache's User) or where they listen (WSGISocketPrefix). Those that ran finish what they have begun and take nothing else, because who serves a request is decided by what is configured now.",
        example: "WSGI0460: process group 'shop': user, home changed, so the workers of before take no more requests: these wait until a worker of the new configuration is ready",
        mend: "Nothing. If requests then get 503, the next line of the group says why no worker could be started.",
    }
    MODULE_REMOVED = 461 {
        level: "notice",
        status: "",
        when: "Apache was reloaded with a configuration that does not load the module (`a2dismod wsgi`). The supervisor and the workers leave within about a second; requests that run are finished first. Apache may say of the supervisor's end that a long lost child came home (AH00488).",
        example: "WSGI0461: Apache serves a configuration without the module: the supervisor (pid 4711) and its workers end when their requests are finished",
        mend: "Nothing, if that was meant. Else load the module again and reload Apache.",
    }
}
