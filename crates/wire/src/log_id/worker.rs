//! What the Python runtime in a worker says.
//!
//! Runs in: a worker (`crates/runtime`; its Python parts get these constants as the module
//! `_mod_wsgi.log_id`).

super::events! { WORKER:
    LOCALE_NOT_SET = 79 {
        level: "warn",
        status: "",
        when: "The system does not know the `locale=` of a group. The worker goes on.",
        example: "WSGI0079: locale=xx_XX.UTF-8 can't be set: unsupported locale setting; the C locale stays",
        mend: "`locale -a` lists what is there; C.UTF-8 always is.",
    }
    QUEUE_TIMED_OUT = 84 {
        level: "error",
        status: "504",
        when: "The request had waited for a thread of the group for longer than `queue-timeout=`. It was not run.",
        example: "WSGI0084: GET /report waited 31.0 s for a thread of process group 'shop', longer than queue-timeout=30, and was not run. 5 of 5 threads of the process are busy, 12 requests wait for the group",
        mend: "More requests come than the threads finish: raise `processes=` or `threads=`, or find what is slow.",
    }
    CALLABLE_MISSING = 89 {
        level: "error",
        status: "500",
        when: "The script was loaded and defines no `application` (or what WSGICallableObject names).",
        example: "WSGI0089: /srv/blog/blog.wsgi defines no callable named 'application', in the main interpreter of process group 'blog'. It does define app: WSGICallableObject chooses another name.",
        mend: "Say `from shop import app as application` in the script, or `WSGICallableObject app`.",
    }
    SCRIPT_UNREADABLE = 105 {
        level: "error",
        status: "500, or 503 where only the rights are missing",
        when: "A request needs the script, and the worker cannot read or compile it.",
        example: "WSGI0105: /srv/shop/shop.wsgi can't be read, in the main interpreter of process group 'shop': Permission denied",
        mend: "Mend the syntax error that is shown, or let the group's user read the file.",
    }
    SCRIPT_UNREADABLE_AT_START = 106 {
        level: "error",
        status: "500 once a request needs it",
        when: "The same as 0105, when a script is loaded as its worker starts.",
        example: "WSGI0106: /srv/shop/shop.wsgi can't be read, in the main interpreter of process group 'shop': Permission denied",
        mend: "Mend the syntax error that is shown, or let the group's user read the file.",
    }
    SCRIPT_EXITED = 107 {
        level: "error",
        status: "500",
        when: "The script called sys.exit() while it was loaded; frameworks do that at the end of a server of their own, such as app.run().",
        example: "WSGI0107: SystemExit(1) raised at /srv/blog/blog.wsgi line 2 while /srv/blog/blog.wsgi was loaded, in the main interpreter of process group 'blog'. A script must define its application and return. A call that starts a server of its own, such as app.run(), belongs under `if __name__ == '__main__':`.",
        mend: "Put the call it names under `if __name__ == '__main__':`.",
    }
    SCRIPT_EXITED_AT_START = 108 {
        level: "error",
        status: "500 once a request needs it",
        when: "The same as 0107, when a script is loaded as its worker starts.",
        example: "WSGI0108: SystemExit(3) raised at /srv/shop/shop.wsgi line 2 while /srv/shop/shop.wsgi was loaded, in the main interpreter of process group 'shop'. A script must define its application and return. A call that starts a server of its own, such as app.run(), belongs under `if __name__ == '__main__':`.",
        mend: "Put the call it names under `if __name__ == '__main__':`.",
    }
    SCRIPT_RAISED = 109 {
        level: "error",
        status: "500",
        when: "The script raised while it was loaded for a request. The traceback follows.",
        example: "WSGI0109: ModuleNotFoundError raised while /srv/shop/shop.wsgi was loaded, in the main interpreter of process group 'shop'",
        mend: "The last line of the traceback says what is wrong. A missing module: is it installed in the environment of python-home=, and is its directory in python-path= or home=?",
    }
    SCRIPT_RAISED_AT_START = 110 {
        level: "error",
        status: "500 once a request needs it",
        when: "The same as 0109, when a script is loaded as its worker starts.",
        example: "WSGI0110: ModuleNotFoundError raised while /srv/shop/shop.wsgi was loaded, in the main interpreter of process group 'shop'",
        mend: "The last line of the traceback says what is wrong. A missing module: is it installed in the environment of python-home=, and is its directory in python-path= or home=?",
    }
    CALLBACK_RAISED = 112 {
        level: "error",
        status: "",
        when: "A function the application subscribed to mod_wsgi's events raised. The traceback follows.",
        example: "WSGI0112: a callback for request_finished raised",
        mend: "Mend the function.",
    }
    APPLICATION_RAISED = 174 {
        level: "error",
        status: "500, or a broken response once it had begun",
        when: "The application raised. The traceback follows.",
        example: "WSGI0174: RuntimeError raised by /srv/shop/shop.wsgi, in the main interpreter of process group 'shop'",
        mend: "Mend the application.",
    }
    APPLICATION_EXITED = 175 {
        level: "error",
        status: "500, or a broken response once it had begun",
        when: "The application called sys.exit() during a request. Only the request ends.",
        example: "WSGI0175: SystemExit raised by /srv/shop/shop.wsgi, in the main interpreter of process group 'shop'",
        mend: "Take the call out, or return a response instead.",
    }
    CALLBACK_EXITED = 190 {
        level: "error",
        status: "",
        when: "A function the application subscribed to mod_wsgi's events called sys.exit(). It is ignored.",
        example: "WSGI0190: a callback for the event request_finished called sys.exit(): ignored",
        mend: "Take the call out.",
    }
    OWN_GIL_UNSUPPORTED = 198 {
        level: "warn",
        status: "",
        when: "WSGIPerInterpreterGIL is On for a process group whose Python is older than 3.12. Its interpreters share the GIL.",
        example: "WSGI0198: WSGIPerInterpreterGIL needs Python 3.12 or later, and this process group has 3.11: its interpreters share the GIL. Name a later Python with python-home=, or set WSGIPerInterpreterGIL Off",
        mend: "Give the group a later Python, or switch the directive off for it in a `<WSGIInterpreterOptions process-group=...>` section.",
    }
    SWITCH_INTERVAL_NOT_SET = 199 {
        level: "warn",
        status: "",
        when: "A `<WSGIInterpreterOptions application-group=...>` section sets WSGISwitchInterval for an interpreter that shares the GIL with others, which would get it too.",
        example: "WSGI0199: WSGISwitchInterval 0.01 of application group 'cart' is not set: its interpreter shares the GIL, and so the interval, with the others of the process. Set it for the process group, or give the interpreter a GIL of its own with WSGIPerInterpreterGIL On",
        mend: "Set the interval for the process group: `switch-interval=`, or a section without `application-group=`.",
    }
    FREE_THREADING_UNSUPPORTED = 200 {
        level: "warn",
        status: "",
        when: "WSGIFreeThreading is On for a process group whose Python has a GIL. It is served all the same, with the GIL.",
        example: "WSGI0200: WSGIFreeThreading On has no effect: this Python 3.13 is not built without the GIL, and this version of the module cannot load one that is. Take the line out",
        mend: "Take the line out.",
    }
    WORKER_DEFECT = 300 {
        level: "error",
        status: "500",
        when: "The runtime has a defect and noticed it. What was being done failed.",
        example: "WSGI0300: internal error at crates/runtime/src/worker/request.rs:120: index out of bounds",
        mend: "Report the line.",
    }
    CONTENT_LENGTH_NOT_REACHED = 301 {
        level: "error",
        status: "200, the response is broken off",
        when: "The application set a Content-Length and sent less. The connection is broken so that the client sees it.",
        example: "WSGI0301: the application declared a Content-Length and sent 47 bytes less; the client sees a broken response",
        mend: "Correct the Content-Length the application sets, or leave it out: it is added where it is known.",
    }
    RUNTIME_WITHOUT_SUPERVISOR = 302 {
        level: "error",
        status: "",
        when: "The runtime was loaded by something else than the supervisor.",
        example: "WSGI0302: this program is started by mod_wsgi and not by hand (descriptor 4: Bad file descriptor (os error 9))",
        mend: "Let Apache start it.",
    }
    WORKER_NOT_READY = 303 {
        level: "error",
        status: "503 while no other worker runs",
        when: "A worker cannot get ready. The supervisor's line (0335) has the same reason.",
        example: "WSGI0303: the worker got no instructions from the supervisor",
        mend: "Mend what the line names. It is tried again by itself.",
    }
    SHUTDOWN_TIMED_OUT = 304 {
        level: "error",
        status: "502 for requests that still ran",
        when: "A worker that was asked to leave has reached its limit, and ends although requests or shutdown hooks still run.",
        example: "WSGI0304: the worker leaves although shutdown hooks or requests still run after 5s",
        mend: "Raise `graceful-timeout=` or `shutdown-timeout=` if such requests are meant to end; look for a hook that does not come back.",
    }
    REQUEST_MALFORMED = 305 {
        level: "error",
        status: "500",
        when: "What came as a request cannot be understood.",
        example: "WSGI0305: the request can't be understood: message is cut short",
        mend: "See that all three files of the module are of the same build.",
    }
    REQUEST_KEY_WRONG = 306 {
        level: "error",
        status: "503",
        when: "A request came without the secret of this group. At most one such line a second.",
        example: "WSGI0306: a request without this group's key was dropped",
        mend: "Somebody else than this Apache connects to the group's socket: find out who.",
    }
    TOO_MANY_INTERPRETERS = 307 {
        level: "error",
        status: "500",
        when: "One worker would need more sub-interpreters than it keeps.",
        example: "WSGI0307: too many application groups in one process: see what WSGIApplicationGroup expands to",
        mend: "Do not make WSGIApplicationGroup depend on what clients can choose freely, such as %{HOST}.",
    }
    THREAD_NOT_CREATED = 308 {
        level: "error",
        status: "500",
        when: "The system, or Python, has no further thread for the worker.",
        example: "WSGI0308: a thread can't be started: Resource temporarily unavailable (os error 11)",
        mend: "Lower `threads=`, or raise the limits of the service (TasksMax= in systemd) and of the user.",
    }
    ACCEPT_FAILED = 309 {
        level: "error",
        status: "",
        when: "A worker cannot take connections, mostly because the application has used up its descriptors. At most one such line a second. It goes on by itself; if it lasts for two seconds, the process is replaced: see 0451.",
        example: "WSGI0309: a request thread can't take a connection, and tries again: Too many open files (os error 24)",
        mend: "Find files or sockets the application does not close; or raise the limit of open files of Apache's service (LimitNOFILE= in systemd).",
    }
    PEER_USER_REFUSED = 310 {
        level: "error",
        status: "",
        when: "Another user than Apache's connected to the group's socket. At most one such line a second.",
        example: "WSGI0310: a connection of user 1000 was dropped: only Apache's, 33, may connect",
        mend: "Find out who it was; see socket-user= if that user is meant to connect.",
    }
    CONNECTION_DROPPED = 311 {
        level: "error",
        status: "",
        when: "A connection brought no request in time, or what cannot be one. At most one such line a second.",
        example: "WSGI0311: a connection to the process group was dropped: it sent no request of this version",
        mend: "Somebody else than this Apache connects to the group's socket, or the files of the module are of different builds.",
    }
    INTERPRETER_NOT_CREATED = 312 {
        level: "error",
        status: "500",
        when: "Python cannot make the sub-interpreter of an application group.",
        example: "WSGI0312: no requests are served in sub-interpreter 'shop' of process group 'shop': MemoryError",
        mend: "The reason stands behind it. Where one application has the group to itself, `WSGIApplicationGroup %{GLOBAL}` needs no sub-interpreter.",
    }
    WORKER_ENDED_BY_DEFECT = 313 {
        level: "error",
        status: "502 for requests that were running",
        when: "The defect of 0300 was outside of any request, and the worker ends. A successor is started.",
        example: "WSGI0313: the worker ends after an internal error: index out of bounds",
        mend: "Report the line, and 0300 above it.",
    }
    REQUEST_FAILED_BY_DEFECT = 314 {
        level: "error",
        status: "500",
        when: "A request met the defect of 0300, which is in the log of the process group.",
        example: "WSGI0314: internal error in mod_wsgi, see the log of its process group",
        mend: "Report line 0300.",
    }
    PYTHON_PATH_NOT_ADDED = 315 {
        level: "warn",
        status: "",
        when: "A directory of `python-path=` or WSGIPythonPath cannot be added to sys.path.",
        example: "WSGI0315: python-path: /srv/lib can't be added to sys.path: PermissionError(13, 'Permission denied')",
        mend: "Correct the directory, or a .pth file in it.",
    }
    RELOAD_HOOK_RAISED = 316 {
        level: "error",
        status: "",
        when: "The script's own reload_required() raised. The script is not reloaded.",
        example: "WSGI0316: reload_required() of /srv/shop/shop.wsgi raised; the script is not reloaded",
        mend: "Mend the function.",
    }
    LOG_TEXT_LOST = 317 {
        level: "error",
        status: "",
        when: "The worker's log pipe stayed full for a second, and lines were left out rather than hold up requests.",
        example: "WSGI0317: 12 lines of log were left out: nobody read them",
        mend: "The supervisor could not keep up: see 0330, and whether the machine is overloaded.",
    }
    POST_HOOK_RAISED = 318 {
        level: "error",
        status: "",
        when: "A function in the list mod_wsgi.posthooks of environ raised after the response. The traceback follows; the other hooks are called all the same.",
        example: "WSGI0318: a post hook of /shop/cart raised",
        mend: "Mend the function.",
    }
    SCRIPT_FAILED_EARLIER = 319 {
        level: "error",
        status: "500, or what the first report says",
        when: "A request needs a script that could not be loaded earlier. It is not run a second time in the same interpreter, where half of it may have had its effect: the first report says what is wrong.",
        example: "WSGI0319: /srv/shop/shop.wsgi could not be loaded before: see the first report, in the main interpreter of process group 'shop'",
        mend: "Look further up for 0105 to 0110 about the same script. Once the file changes it is loaded again, in a new worker.",
    }
    CONNECTION_HEADER_DROPPED = 320 {
        level: "warn",
        status: "",
        when: "An application set a response header that speaks about the connection: Connection, Keep-Alive, Transfer-Encoding, TE, Trailer, Upgrade, Proxy-*. It was dropped, as in every later response. Said once for each application group of a process.",
        example: "WSGI0320: the application set the response header 'transfer-encoding', which is dropped, as all headers are that speak about the connection: Apache writes them. Said once.",
        mend: "Take the header out of the application. `Connection: close` is understood, and closes the connection.",
    }
    SCRIPT_LOADS_SLOWLY = 321 {
        level: "warn",
        status: "",
        when: "A script has been loading for 5 seconds and runs a server of its own, or has been loading for 15 seconds for whatever reason. Requests for it wait.",
        example: "WSGI0321: /srv/shop/shop.wsgi is still being loaded after 5.0 s for GET /: it has started a server of its own, run_simple (/srv/shop/venv/lib/python3.11/site-packages/werkzeug/serving.py:1093), called by <module> (/srv/shop/shop.py:53). A script must define its application and return: app.run() and its like belong under `if __name__ == '__main__':`",
        mend: "Put the call it names under `if __name__ == '__main__':`; or look at what the place it names waits for. `startup-timeout=` sets a limit.",
    }
    REQUEST_TIMED_OUT = 323 {
        level: "error",
        status: "504, or a broken response once it had begun",
        when: "A request ran longer than `request-timeout=`, and did not end within `interrupt-timeout=` where that is given. The client is answered, and the process is replaced. The stack of the thread follows.",
        example: "WSGI0323: GET /report has taken longer than request-timeout=60: 0.2 s in the queue, 60.0 s in the application /srv/shop/shop.wsgi, now in wait (/srv/shop/db.py:728), called by report (/srv/shop/views.py:210). 4 of 5 threads of the process are busy. The process is replaced",
        mend: "Look at the place it names; raise `request-timeout=` if such requests are meant to take that long.",
    }
    REQUEST_INTERRUPTED = 324 {
        level: "info",
        status: "504, or a broken response once it had begun",
        when: "A request ran longer than `request-timeout=`, and mod_wsgi.RequestTimeout was raised in its thread (said at level info, with the stack) and ended it. The process goes on.",
        example: "WSGI0324: GET /report has taken longer than request-timeout=60, and RequestTimeout has ended it: 0.2 s in the queue, 60.1 s in the application /srv/shop/shop.wsgi. 4 of 5 threads of the process are busy",
        mend: "Look at the stack that the line of the same number before it shows, at level info; raise `request-timeout=` if such requests are meant to take that long.",
    }
    DEADLOCK_TIMED_OUT = 325 {
        level: "error",
        status: "504, or a broken response once it had begun",
        when: "No thread of the process got Python's global lock for longer than `deadlock-timeout=`: an extension module keeps it while it waits. The process is replaced; requests that had not begun run elsewhere. The stacks of all threads follow.",
        example: "WSGI0325: Python's global lock was held for longer than deadlock-timeout=300 in process group 'shop'. 5 of 5 threads of the process are busy. The process is replaced. Its threads were at",
        mend: "Look for the thread whose stack ends in a call of an extension module, and for a newer version of that. Some hang in sub-interpreters: `WSGIApplicationGroup %{GLOBAL}`.",
    }
    LOAD_TIMED_OUT = 326 {
        level: "error",
        status: "504",
        when: "The first script a process was to load was not loaded within `startup-timeout=`. The process is replaced.",
        example: "WSGI0326: /srv/shop/shop.wsgi is still being loaded after 20.0 s (startup-timeout=20) for GET /, now in _float_ma (/srv/shop/venv/lib/python3.11/site-packages/numpy/core/getlimits.py:89), called by <module> (/srv/shop/shop.wsgi:1). 1 of 5 threads of the process are busy. The process is replaced",
        mend: "Look at the place it names. Modules that hang in sub-interpreters: `WSGIApplicationGroup %{GLOBAL}`.",
    }
    INACTIVITY_TIMED_OUT = 327 {
        level: "info",
        status: "",
        when: "There was no request for as long as `inactivity-timeout=` says. The process is replaced by one that has not loaded anything yet.",
        example: "WSGI0327: there was no request for longer than inactivity-timeout=600: the process is replaced",
        mend: "Nothing: that is what the option is for.",
    }
    SCRIPT_OWNER_REFUSED = 328 {
        level: "error",
        status: "403",
        when: "A script, or the directory it lies in, does not belong to whom `script-user=` or `script-group=` names, or may be written to by others. It is not run.",
        example: "WSGI0328: /srv/shop/shop.wsgi is not run: it belongs to user 0, and script-user= of process group 'shop' asks for 1001",
        mend: "Give script and directory to that user or group and take the right to write away from others: `chown`, `chmod go-w`.",
    }
    HASH_FUNCTION_MISSING = 46 {
        level: "error",
        status: "500",
        when: "A user is to be authenticated by Digest, and the script of `WSGIAuthUserScript` does not define `get_realm_hash(environ, user, realm)`.",
        example: "WSGI0046: /srv/auth/users.py does not define the function get_realm_hash(), in the main interpreter of process group 'auth'",
        mend: "Define the function, or say `AuthType Basic`.",
    }
    PASSWORD_FUNCTION_MISSING = 43 {
        level: "error",
        status: "500",
        when: "A user is to be authenticated by Basic, and the script of `WSGIAuthUserScript` does not define `check_password(environ, user, password)`.",
        example: "WSGI0043: /srv/auth/users.py does not define the function check_password(), in the main interpreter of process group 'auth'",
        mend: "Define the function, or say `AuthType Digest`.",
    }
    GROUP_UNENCODABLE = 49 {
        level: "error",
        status: "500",
        when: "`groups_for_user` has returned a str with a character that is not in latin-1. Nobody is let in by that.",
        example: "WSGI0049: groups_for_user() of /srv/auth/groups.py has returned a name that is not latin-1 text; return it as bytes",
        mend: "Return such names as bytes, encoded as they are in the configuration.",
    }
    GROUP_NOT_TEXT = 50 {
        level: "error",
        status: "500",
        when: "`groups_for_user` has returned a name that is neither str nor bytes. Nobody is let in by that.",
        example: "WSGI0050: groups_for_user() of /srv/auth/groups.py must return names of groups as str or bytes, and has returned int",
        mend: "Return a list of str.",
    }
    GROUPS_NOT_ITERABLE = 51 {
        level: "error",
        status: "500",
        when: "`groups_for_user` has returned something that has no items, such as None. Nobody is let in by that.",
        example: "WSGI0051: groups_for_user() of /srv/auth/groups.py must return an iterable of names, and has returned NoneType",
        mend: "Return a list of str; an empty one for a user in no group.",
    }
    GROUPS_FUNCTION_MISSING = 52 {
        level: "error",
        status: "500",
        when: "`Require wsgi-group` is to be judged, and the script of `WSGIAuthGroupScript` does not define `groups_for_user(environ, user)`.",
        example: "WSGI0052: /srv/auth/groups.py does not define the function groups_for_user(), in the main interpreter of process group 'auth'",
        mend: "Define the function.",
    }
    ACCESS_ANSWER_UNFIT = 55 {
        level: "error",
        status: "403",
        when: "`allow_access` has returned something else than True, False or None. The client is denied.",
        example: "WSGI0055: allow_access() of /srv/auth/access.py must return True, False or None, and has returned str",
        mend: "Return one of the three and nothing that is only like it: `return bool(...)`.",
    }
    ACCESS_FUNCTION_MISSING = 56 {
        level: "error",
        status: "403",
        when: "The script of `WSGIAccessScript` does not define `allow_access(environ, host)`. The client is denied.",
        example: "WSGI0056: /srv/auth/access.py does not define the function allow_access(), in the main interpreter of process group 'auth'",
        mend: "Define the function.",
    }
    USER_NAME_EMPTY = 176 {
        level: "error",
        status: "500",
        when: "`check_password` has returned an empty str as the user's name.",
        example: "WSGI0176: check_password() of /srv/auth/users.py has returned an empty user name",
        mend: "Return True to keep the name the user gave.",
    }
    PASSWORD_ANSWER_UNFIT = 177 {
        level: "error",
        status: "500",
        when: "`check_password` has returned something else than True, False, None or a str.",
        example: "WSGI0177: check_password() of /srv/auth/users.py must return True, False, None or a user name as str, and has returned int",
        mend: "Return one of these: `return bool(...)`.",
    }
    HASH_EMPTY = 178 {
        level: "error",
        status: "500",
        when: "`get_realm_hash` has returned an empty str or bytes.",
        example: "WSGI0178: get_realm_hash() of /srv/auth/users.py has returned an empty hash",
        mend: "Return None for a user who is not known.",
    }
    HASH_UNFIT = 179 {
        level: "error",
        status: "500",
        when: "`get_realm_hash` has returned something else than None, str or bytes.",
        example: "WSGI0179: get_realm_hash() of /srv/auth/users.py must return None or the hash as str or bytes, and has returned int",
        mend: "Return the MD5 of `user:realm:password` in hexadecimal digits, or None.",
    }
    HOOK_ANSWER_TOO_LONG = 405 {
        level: "error",
        status: "403 or 500",
        when: "A function for access, authentication or dispatch has returned a text of more than 8 KiB or with a NUL character in it, or more than 4096 groups or 32 KiB of their names.",
        example: "WSGI0405: groups_for_user() of /srv/auth/groups.py has returned text that is too long or holds a NUL character",
        mend: "Return the groups that the configuration asks for.",
    }
    CHOICE_UNFIT = 406 {
        level: "error",
        status: "500",
        when: "A function of the script of `WSGIDispatchScript` has returned something else than None, str or bytes.",
        example: "WSGI0406: process_group() of /srv/dispatch.py must return None or a name as str or bytes, and has returned int",
        mend: "Return the name, or None to leave what the configuration says.",
    }
    CPU_TIME_USED = 329 {
        level: "info",
        status: "",
        when: "A process has used as much processor time as `cpu-time-limit=` allows. It is replaced.",
        example: "WSGI0329: the process has used cpu-time-limit=600 and is replaced",
        mend: "Nothing: that is what the option is for. Requests that still run after `graceful-timeout=` are cut.",
    }
    CLIENT_NAMES_USED_UP = 423 {
        level: "error",
        status: "503",
        when: "Clients can choose the names of application groups here, and have chosen as many as a worker has sub-interpreters for: 64 beside those that the configuration names. Names are a client's where they hold a host that is no ServerName or ServerAlias, a port of `Host` that the server does not have, a SCRIPT_NAME behind an alias by regular expression, or a request variable. At most one such line a minute from a worker.",
        example: "WSGI0423: a request for application group 'shop.example.com:4711|' got 503, 17 of this kind since the last such line: clients choose these names, and the process has sub-interpreters for 64 of them already. Set UseCanonicalName On, give each host a ServerName or ServerAlias, or set WSGIApplicationGroup to a fixed name. The process is replaced, at most one of its group in five minutes",
        mend: "`WSGIApplicationGroup %{GLOBAL}` or another fixed name, which suits nearly every application; else UseCanonicalName On (for %{SERVER} and %{RESOURCE}) and a ServerName or ServerAlias for each host (for %{HOST}).",
    }
    LOAD_GIVEN_UP = 430 {
        level: "notice",
        status: "",
        when: "A script was changed while a load of it took longer than 5 seconds, or while the process was leaving. What the load would bring is out of date, and it may never end.",
        example: "WSGI0430: /srv/shop/shop.wsgi has changed while it was being loaded, for 12.5 s so far: that load is given up, the process is replaced, and requests that wait for it go to the successor",
        mend: "Nothing. Where the new script hangs too, WSGI0321 says what it does.",
    }
    SCRIPT_LOADED = 450 {
        level: "info",
        status: "",
        when: "A script was loaded: by which process group, in which interpreter, and how long that took.",
        example: "WSGI0450: /srv/shop/shop.wsgi was loaded in 1284 ms, in the main interpreter of process group 'shop'",
        mend: "Nothing. Where it takes long, `preload=` or WSGIImportScript has it done before there are requests.",
    }
    ACCEPT_KEEPS_FAILING = 451 {
        level: "error",
        status: "",
        when: "Requests have waited for two seconds while a worker could accept no connection, mostly because the application holds all descriptors of the process. A successor is started, which takes the requests that wait; those that run here have `graceful-timeout=` to finish.",
        example: "WSGI0451: the process could not take the requests that wait for process group 'shop' for 2.0 s: Too many open files (os error 24). Its limit of open files is 1024. 1 of 5 threads of the process are busy, 3 requests wait for the group. The process is replaced",
        mend: "Find files or sockets the application does not close: /proc/PID/fd shows what the successor collects. If it needs that many, raise the limit of open files of Apache's service (LimitNOFILE= in systemd).",
    }
    TOO_MANY_CALLBACKS = 464 {
        level: "error",
        status: "",
        when: "An application has subscribed to events, to the end of the process or to signals more than 1000 times in one interpreter. Further callbacks are ignored. Logged once for each kind and interpreter.",
        example: "WSGI0464: subscribe_events() was called more than 1000 times in one interpreter: the callback is ignored, and so are further ones. Subscribe once, where the module is imported, and not in each request.",
        mend: "Move the call out of the function that serves requests, to the level of the module.",
    }
    MODULE_NEEDS_MAIN_INTERPRETER = 471 {
        level: "error",
        status: "500",
        when: "An extension module says that it cannot be loaded in a sub-interpreter, or not in one that has a GIL of its own (WSGIPerInterpreterGIL). The line ends the report of the failure, 0109, 0110 or 0174.",
        example: "WSGI0471: module _ctypes cannot be loaded in a sub-interpreter that has a GIL of its own (/srv/shop/shop.wsgi:3: import ctypes). Give the application a process group of its own, with WSGIApplicationGroup %{GLOBAL}: it then has the main interpreter, in which every module works. Or set WSGIPerInterpreterGIL Off for it, if the module can share an interpreter's lock",
        mend: "Give the application a WSGIDaemonProcess of its own, and say `WSGIApplicationGroup %{GLOBAL}`.",
    }
}
