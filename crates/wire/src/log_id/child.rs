//! What an Apache child says about one request.
//!
//! Runs in: an Apache child (`src/child`); `MODULE_DEFECT` also in the parent (`crates/httpd`).

super::events! { CHILD:
    CONNECT_TIMED_OUT = 116 {
        level: "error",
        status: "503",
        when: "For as long as `connect-timeout=` allows nobody could take the connection to the process group: the listen queue stayed full, or nobody listens.",
        example: "WSGI0116: Unable to connect to process group 'shop' within 2 s (connect-timeout=): its listen queue stayed full: more requests come than its threads finish (processes=, threads=, listen-backlog=). (Resource temporarily unavailable (os error 11))",
        mend: "Queue full: find what the threads are waiting for (a database, another service); if they are simply busy, raise `processes=` or `threads=`. Nobody listens: the supervisor is gone, look for 0383 to 0385 above; or an application has shut the group's socket down, which a graceful restart makes anew.",
    }
    CONNECT_FAILED = 117 {
        level: "error",
        status: "503",
        when: "The socket of the process group cannot be used at all: it is not there, or may not be entered.",
        example: "WSGI0117: Unable to connect to process group 'shop' on '/run/apache2/wsgi.4711.shop.sock': No such file or directory (os error 2). The group has not been started, or its socket was removed, which a graceful restart mends.",
        mend: "See that nothing cleans the directory of WSGISocketPrefix, and that the user of Apache's children can enter it. A graceful restart makes a socket anew whose file was removed.",
    }
    RESPONSE_STALLED = 118 {
        level: "error",
        status: "504 (the response is broken off: its head had gone)",
        when: "The response had begun, and then nothing came from the application for the length of `socket-timeout=` (or Apache's `Timeout`).",
        example: "WSGI0118: Process group 'shop' sent nothing for 2 s (socket-timeout= or Timeout); its response had begun, 5 bytes of the body had come.",
        mend: "Look at what the application waits for between two pieces of its response. A stream that is silent on purpose needs a longer `socket-timeout=`.",
    }
    WORKER_DIED_DURING_RESPONSE = 119 {
        level: "error",
        status: "502 (the response is broken off: its head had gone)",
        when: "The worker went away in the middle of a response. The client sees a broken connection, not a short response.",
        example: "WSGI0119: The response of process group 'shop' broke off after 5 bytes: the worker died or was killed; the client is made to see it. The supervisor says: WSGI0339: worker 985 was killed by SIGSEGV (signal 11); it was running GET /report for 0.4 s; a successor is started.",
        mend: "See 0339, which is repeated here where the supervisor knew of it in time.",
    }
    RETRIES_EXHAUSTED = 124 {
        level: "error",
        status: "503",
        when: "One worker after the other gave the request back before the application had begun with it. It has not been run.",
        example: "WSGI0124: Process group 'shop' has handed this request back 10 times: its workers leave or die before they take the request up. The request has not been run.",
        mend: "Lines of the supervisor above say why workers leave: a script that changes again and again, `maximum-requests=` that is too low, a worker that crashes while it starts.",
    }
    UPLOAD_FAILED = 126 {
        level: "error",
        status: "400, 408 or 413",
        when: "The request body did not come to its end while the application read it: the client left (then the level is info) or was too slow, the body was too large, or its framing was broken.",
        example: "WSGI0126: The request body could not be read to its end: it is larger than LimitRequestBody allows.",
        mend: "Nothing, where clients leave. For larger bodies raise LimitRequestBody, for slow clients Timeout or RequestReadTimeout.",
    }
    EXECCGI_NOT_ALLOWED = 134 {
        level: "error",
        status: "403",
        when: "A script is reached by SetHandler or AddHandler in a directory without `Options ExecCGI`.",
        example: "WSGI0134: Options ExecCGI is off in this directory: /srv/shop/index.wsgi. Say Options +ExecCGI there, or lead to the script with WSGIScriptAlias.",
        mend: "Say `Options +ExecCGI` for the directory, or use WSGIScriptAlias.",
    }
    SCRIPT_MISSING = 135 {
        level: "error",
        status: "404",
        when: "The script file an alias leads to does not exist, or Apache's user cannot get to it.",
        example: "WSGI0135: Target WSGI script not found or unable to stat: /srv/shop/shop.wsgi. The user Apache's children run as must be able to enter every directory on the way.",
        mend: "Correct the path in WSGIScriptAlias, or give Apache's user the right to enter each directory on the way (`namei -l` shows them).",
    }
    SCRIPT_IS_DIRECTORY = 136 {
        level: "error",
        status: "403",
        when: "The path an alias leads to is a directory.",
        example: "WSGI0136: Attempt to invoke directory as WSGI application: /srv/shop/apps. An alias that ends in a slash needs a target that ends in one too.",
        mend: "Name the script file, or end both the URL and the target of WSGIScriptAlias in a slash.",
    }
    PATH_INFO_REFUSED = 137 {
        level: "error",
        status: "404",
        when: "The URL goes on behind the script, and `AcceptPathInfo Off` forbids that.",
        example: "WSGI0137: AcceptPathInfo off disallows user's path: /cart",
        mend: "Remove `AcceptPathInfo Off` where the application has URLs of its own below the script.",
    }
    TRANSFER_CODING_UNSUPPORTED = 138 {
        level: "error",
        status: "501",
        when: "The request body is sent with a transfer coding other than chunked.",
        example: "WSGI0138: Unexpected value for Transfer-Encoding of 'gzip' supplied; only chunked is known.",
        mend: "Nothing on the server: the client, or a proxy in front, has to change.",
    }
    CHUNKED_REFUSED = 139 {
        level: "error",
        status: "411",
        when: "The request body is chunked, and `WSGIChunkedRequest Off` forbids that.",
        example: "WSGI0139: Request requires chunked transfer encoding, but optional support for chunked transfer encoding has not been enabled (WSGIChunkedRequest Off).",
        mend: "Remove `WSGIChunkedRequest Off`, unless the application cannot read a body without Content-Length.",
    }
    CONTENT_LENGTH_INVALID = 141 {
        level: "error",
        status: "400",
        when: "The Content-Length of the request is no number.",
        example: "WSGI0141: Invalid Content-Length header value of 'many' was supplied.",
        mend: "Nothing on the server: the client is at fault.",
    }
    OWN_GROUP_RESTRICTED = 143 {
        level: "error",
        status: "500",
        when: "No process group is named for the request, and `WSGIRestrictEmbedded On` keeps requests out of the server's own group.",
        example: "WSGI0143: Embedded mode of mod_wsgi disabled by runtime configuration (WSGIRestrictEmbedded On), and no process group is named for this request. Name one with WSGIProcessGroup, in a <Directory> that holds the script, or with process-group= of its WSGIScriptAlias.",
        mend: "Define a group with WSGIDaemonProcess and name it as the line says. A WSGIProcessGroup in a `<Directory>` holds for scripts in that directory only.",
    }
    HEADER_FIELD_TOO_LONG = 144 {
        level: "error",
        status: "500",
        when: "The application set a response header longer than `header-buffer-size=` (32768 bytes).",
        example: "WSGI0144: Response header line too long from process group 'shop': X-Long has 40000 bytes, header-buffer-size= allows 32768.",
        mend: "Find out why the header is that long (often a cookie that holds a whole session); or raise `header-buffer-size=`.",
    }
    RESPONSE_TIMED_OUT = 145 {
        level: "error",
        status: "504",
        when: "No response began within `socket-timeout=` (or Apache's `Timeout`). The line says how far the request had come.",
        example: "WSGI0145: Process group 'shop' sent nothing for 2 s (socket-timeout= or Timeout); the application was running.",
        mend: "\"was running\": see what the application waits for, or raise `socket-timeout=`. \"had not begun\": all threads are taken; see what holds them, or raise `processes=` or `threads=`.",
    }
    WORKER_DIED_BEFORE_RESPONSE = 146 {
        level: "error",
        status: "502",
        when: "The worker died while the application ran, before its response began. The request is not sent again: nobody knows what it has done already.",
        example: "WSGI0146: A worker of process group 'shop' closed the connection without a response: it died or was killed while the request ran. The request is not sent again. The supervisor says: WSGI0339: worker 985 was killed by SIGSEGV (signal 11); it was running GET /report for 0.4 s; a successor is started.",
        mend: "See 0339, which is repeated here where the supervisor knew of it in time: signal 11 is a fault in a C extension, SIGKILL often the system for want of memory.",
    }
    CONNECTION_FAILED = 147 {
        level: "error",
        status: "502",
        when: "The system refused something about the connection to the worker.",
        example: "WSGI0147: The connection to process group 'shop' failed: Too many open files (os error 24).",
        mend: "The error in the line says what is short; often a limit of descriptors or memory of the system.",
    }
    RESPONSE_HEAD_INVALID = 148 {
        level: "error",
        status: "502",
        when: "What came from the worker as head of the response may not reach a client. Applications cannot bring this about: start_response refuses such heads.",
        example: "WSGI0148: A worker of process group 'shop' sent a malformed response head: a header name or value has a control character in it.",
        mend: "See that all three files of the module are of the same build; if they are, report it.",
    }
    GROUP_RESTRICTED = 149 {
        level: "error",
        status: "500",
        when: "WSGIRestrictProcess does not list the process group the request is to go to.",
        example: "WSGI0149: Daemon process called 'shop' cannot be accessed by this WSGI application: WSGIRestrictProcess does not list it.",
        mend: "Add the group to WSGIRestrictProcess, or choose a listed one with WSGIProcessGroup.",
    }
    GROUP_UNKNOWN = 150 {
        level: "error",
        status: "500",
        when: "WSGIProcessGroup, or process-group= of an alias, names a group that no WSGIDaemonProcess defines. Apache said so when it started too (0389).",
        example: "WSGI0150: process group \"blgo\" is not defined. Defined groups: \"shop\" (/etc/apache2/sites-enabled/s.conf:1), \"blog\" (/etc/apache2/sites-enabled/s.conf:2). Did you mean \"blog\"?",
        mend: "Correct the name, or define the group.",
    }
    GROUP_OF_OTHER_HOST = 152 {
        level: "error",
        status: "500",
        when: "The process group is defined inside a virtual host with another ServerName.",
        example: "WSGI0152: Daemon process called 'inner' cannot be accessed by this WSGI application: it is defined inside of a <VirtualHost> with another ServerName (/etc/apache2/sites-enabled/s.conf:24). Define it outside of <VirtualHost>.",
        mend: "Move the WSGIDaemonProcess out of the virtual host.",
    }
    RESPONSE_MALFORMED = 360 {
        level: "error",
        status: "502",
        when: "A worker sent bytes that are no response. The connection was dropped.",
        example: "WSGI0360: A worker of process group 'shop' sent what is no response: message is cut short. The connection to it was dropped.",
        mend: "See that all three files of the module are of the same build. An application that writes to descriptors it has not opened does this too.",
    }
    RESPONSE_BROKEN_OFF = 361 {
        level: "info",
        status: "500 (the response is broken off: its head had gone)",
        when: "The application raised after its response had begun. The exception itself is logged by the worker (0174).",
        example: "WSGI0361: The application in process group 'shop' failed after 5 bytes of its response body; the client is made to see that the response is not complete.",
        mend: "See the traceback above it.",
    }
    RESPONSE_SHORT = 362 {
        level: "error",
        status: "502 (the response is broken off: its head had gone)",
        when: "A worker ended a response with less than its Content-Length and did not say so itself (0301).",
        example: "WSGI0362: The application in process group 'shop' declared a Content-Length of 50 and sent 3 bytes; the client is made to see that the response is not complete.",
        mend: "Correct the Content-Length the application sets, or leave it out.",
    }
    DESCRIPTOR_NOT_A_FILE = 363 {
        level: "error",
        status: "502",
        when: "A worker passed a descriptor that is no regular file.",
        example: "WSGI0363: A worker of process group 'shop' passed a descriptor that cannot be sent: it is no regular file.",
        mend: "See that all three files of the module are of the same build; if they are, report it.",
    }
    BODY_TOO_LARGE = 364 {
        level: "error",
        status: "413",
        when: "The request declares a body larger than LimitRequestBody. The application is not called.",
        example: "WSGI0364: The request body of 2000000 bytes is larger than LimitRequestBody allows (1000000 bytes).",
        mend: "Raise LimitRequestBody for this place if such bodies are meant to be accepted.",
    }
    OWN_GROUP_NOT_STARTED = 365 {
        level: "error",
        status: "500",
        when: "No process group is named for the request, and nothing in the configuration showed Apache that a request can come to the server's own group: another module gave it to the handler `wsgi-script`.",
        example: "WSGI0365: No process group is named for this request, and the server's own group has not been started, because nothing in the configuration showed that a request comes to it. Say WSGIDaemonProcess %{GLOBAL}, or name a group of yours with WSGIProcessGroup.",
        mend: "Add the line it names. A WSGIProcessGroup in a `<Directory>` holds for scripts in that directory only.",
    }
    GROUP_WITHOUT_THREADS = 366 {
        level: "error",
        status: "500",
        when: "The request is to go to a group that is defined with `threads=0`.",
        example: "WSGI0366: Process group 'shop' is defined with threads=0 and serves no requests.",
        mend: "Give the group threads, or the request another group.",
    }
    ENVIRON_TOO_LARGE = 367 {
        level: "error",
        status: "400",
        when: "Headers and variables of the request exceed what can be sent to a worker. httpd's own limits are reached earlier unless they were raised.",
        example: "WSGI0367: The headers and variables of the request do not fit into 16 MiB and 4096 entries.",
        mend: "Lower LimitRequestFields and LimitRequestFieldSize to what the site needs.",
    }
    MODULE_DEFECT = 368 {
        level: "crit",
        status: "500",
        when: "The module has a defect and noticed it. What was being done failed; the process goes on.",
        example: "WSGI0368: a defect of mod_wsgi stopped a handler at src/child/handler.rs:50: index out of bounds. What was being done has failed, the process goes on; please report this line.",
        mend: "Report the line.",
    }
    STATUS_UNAVAILABLE = 369 {
        level: "error",
        status: "503",
        when: "Somebody asked for the status of process groups, and the supervisor did not tell.",
        example: "WSGI0369: The supervisor does not tell how process groups are: nobody listens at /run/apache2/wsgi.4711.status.sock. Look for lines of the supervisor in the error log.",
        mend: "Look for 0346 and 0382 to 0388 above. A supervisor that is there and does not answer within a second is stuck or starved of CPU: see what it does (`ps`, `strace -p`).",
    }
    EARLY_HINTS_OVER_HTTP2 = 370 {
        level: "info",
        status: "",
        when: "An application sent 103 Early Hints to an HTTP/2 client. Said once by each of Apache's children.",
        example: "WSGI0370: 103 Early Hints are sent over HTTP/2, where mod_http2 passes them on only with H2EarlyHints On",
        mend: "If clients do not see them: `H2EarlyHints On`.",
    }
    CLIENT_STALLED = 371 {
        level: "info",
        status: "",
        when: "A client took nothing of its response for the length of `response-socket-timeout=`, which is that of `socket-timeout=` and else Apache's `Timeout`. At most `response-buffer-size=` bytes were held for it.",
        example: "WSGI0371: The client took nothing of its response for 60 s (response-socket-timeout=, socket-timeout= or Timeout), after 524288 bytes; its connection is closed.",
        mend: "Nothing, where clients are slow or hostile; raise response-socket-timeout= for clients that pause on purpose.",
    }
    OUTSIDE_CHROOT = 372 {
        level: "error",
        status: "500",
        when: "A request leads to a script that does not lie below the `chroot=` of its process group.",
        example: "WSGI0372: /srv/shop/shop.wsgi does not lie below /srv/jail, the chroot= of its process group, whose processes see nothing else.",
        mend: "Put the script below that directory; WSGIScriptAlias has its path as seen from outside.",
    }
    FILE_DESCRIPTORS_USED_UP = 424 {
        level: "warn",
        status: "",
        when: "Many clients wait for files that applications passed on, or for what is in temporary files, and together these take as many descriptors as they may in one of Apache's children: a quarter of its limit of open files. Another file was copied to its client instead, while a thread of the process group waited. Said at most every ten minutes by each of Apache's children.",
        example: "WSGI0424: The files that clients wait for hold 256 descriptors of this Apache child, which is as many as they may (a quarter of its limit of open files). Meanwhile slow clients of files hold threads of process group 'shop'. Raise the limit of open files of Apache's service (LimitNOFILE= in systemd).",
        mend: "Raise the limit of open files of Apache's service (`LimitNOFILE=` in systemd), or have fewer connections for each child (`ThreadsPerChild`, `AsyncRequestWorkerFactor`). Until then nothing fails.",
    }
    PASSWORD_SCRIPT_NOT_GIVEN = 41 {
        level: "error",
        status: "500",
        when: "A user is to be authenticated by `AuthBasicProvider wsgi`, and no script is given for the place.",
        example: "WSGI0041: AuthBasicProvider wsgi is in effect, and no WSGIAuthUserScript.",
        mend: "Name the script with `WSGIAuthUserScript` in the same section.",
    }
    DIGEST_SCRIPT_NOT_GIVEN = 44 {
        level: "error",
        status: "500",
        when: "A user is to be authenticated by `AuthDigestProvider wsgi`, and no script is given for the place.",
        example: "WSGI0044: AuthDigestProvider wsgi is in effect, and no WSGIAuthUserScript.",
        mend: "Name the script with `WSGIAuthUserScript` in the same section.",
    }
    GROUP_SCRIPT_NOT_GIVEN = 58 {
        level: "error",
        status: "500",
        when: "`Require wsgi-group` is to be judged, and no script is given for the place.",
        example: "WSGI0058: Require wsgi-group is in effect, and no WSGIAuthGroupScript.",
        mend: "Name the script with `WSGIAuthGroupScript` in the same section.",
    }
    USER_IN_NO_GROUP = 59 {
        level: "info",
        status: "401 or 403, unless another line lets the user in",
        when: "A user is in no group at all, as the script of `WSGIAuthGroupScript` says, so that `Require wsgi-group` does not hold.",
        example: "WSGI0059: Authorization of user 'jane' to access '/reports' failed. User is not a member of any groups.",
        mend: "Nothing, where the user is to be kept out.",
    }
    USER_NOT_IN_GROUP = 60 {
        level: "info",
        status: "401 or 403, unless another line lets the user in",
        when: "A user is in none of the groups that `Require wsgi-group` names.",
        example: "WSGI0060: Authorization of user 'jane' to access '/reports' failed. User is not a member of designated groups.",
        mend: "Nothing, where the user is to be kept out. Names are compared without regard to case.",
    }
    ANSWER_MISPLACED = 409 {
        level: "error",
        status: "403 or 500",
        when: "A worker has answered a question about access, a password or groups with what is an answer to another one. Nobody is let in.",
        example: "WSGI0409: A worker of process group 'auth' has sent an answer that is none to check_password().",
        mend: "Find out who runs code in the group: its process may have been taken over.",
    }
    CLIENT_DENIED = 57 {
        level: "error",
        status: "403",
        when: "The script of `WSGIAccessScript` has denied a client, or has given no proper answer, which a line before this one explains.",
        example: "WSGI0057: Client denied by server configuration: '/srv/www/private/list.html'. /srv/auth/access.py of WSGIAccessScript says so, or has no answer.",
        mend: "Nothing, where the client is to be kept out.",
    }
    GROUP_NOT_FOR_HTACCESS = 407 {
        level: "error",
        status: "403 for an access script, else 500",
        when: "An `.htaccess` has a script answer a hook in a process group that the configuration does not allow for its place. Code of whoever writes the file would run as the user of that group.",
        example: "WSGI0407: an .htaccess has a script run in process group 'shop', whose processes it may not use: WSGIRestrictProcess does not list it for this place.",
        mend: "If the authors of the file may run code in that group, say `WSGIRestrictProcess` with the group's name in the `<Directory>` of the place.",
    }
    QUESTION_TOO_LONG = 408 {
        level: "error",
        status: "403 or 500",
        when: "The headers of a request, or what its user has given as name or password, exceed what a question to a worker can hold. httpd's own limits are reached earlier unless they were raised.",
        example: "WSGI0408: The headers of the request, or the name or the password of its user, are too long for a question to /srv/auth/users.py.",
        mend: "Lower LimitRequestFields and LimitRequestFieldSize to what the site needs.",
    }
    REQUEST_SPOOL_UNREADABLE = 425 {
        level: "error",
        status: "500",
        when: "A part of a request body that waited in a temporary file, because its client had sent it slowly, cannot be read back.",
        example: "WSGI0425: A part of the request body for process group 'shop' cannot be read back from its temporary file: Input/output error (os error 5); the application has got only the part before it.",
        mend: "Look for errors of the disk in the kernel's log (`dmesg`), or name a directory on another with `spool-directory=`.",
    }
    SPOOL_UNAVAILABLE = 440 {
        level: "warn",
        status: "",
        when: "A response for a slow client, or the request body of one, does not fit into memory, and cannot be written to a temporary file either: the directory is missing or not writable for Apache's user, or less than a twentieth of its file system is free. Said at most every ten minutes by each of Apache's children.",
        example: "WSGI0440: What does not fit into memory cannot be written to a temporary file in '/var/tmp': No space left on device (os error 28). Meanwhile slow clients of process group 'shop' hold its threads. Make room there, let Apache's user write there, or name another directory with spool-directory=.",
        mend: "Make room in the directory, or name another with `spool-directory=`. Until then nothing fails, but a slow client of a large response or with a large upload holds a thread.",
    }
    SPOOL_UNREADABLE = 441 {
        level: "error",
        status: "500 (the response is broken off: its head had gone)",
        when: "A part of a response that waited in a temporary file for a slow client cannot be read back.",
        example: "WSGI0441: A part of the response of process group 'shop' cannot be read back from its temporary file: Input/output error (os error 5); the client is made to see that the response is not complete.",
        mend: "Look for errors of the disk in the kernel's log (`dmesg`), or name a directory on another with `spool-directory=`.",
    }
}
