//! What Apache's parent says about the configuration and the supervisor.
//!
//! Runs in: the Apache parent (`src/parent`), when a configuration is checked or brought into force
//! and when the supervisor ends.

super::events! { PARENT:
    FREE_THREADING_OF_INTERPRETER = 201 {
        level: "warn",
        status: "",
        when: "Apache is started or checked, and WSGIFreeThreading stands in a `<WSGIInterpreterOptions>` section with `application-group=`. It is ignored: it is for whole processes.",
        example: "WSGI0201: /etc/apache2/sites-enabled/s.conf:9 WSGIFreeThreading is ignored in a section with application-group=: it is for whole processes. Put it into one with process-group= alone.",
        mend: "Put it into a section with `process-group=` alone, or take it out.",
    }
    INSTALLED_FILE_MISSING = 380 {
        level: "error",
        status: "",
        when: "Apache is started or checked, and the supervisor or the Python runtime does not lie beside the module. Apache does not start.",
        example: "WSGI0380: mod_wsgi-supervisor is not beside the module (looked in /usr/lib/apache2/modules). Install it there: process groups cannot run without it.",
        mend: "Run scripts/install, or copy all three files of one build into the same directory.",
    }
    SOCKET_PATH_TOO_LONG = 381 {
        level: "error",
        status: "",
        when: "Apache is started or checked, and the path of a group's socket has more bytes than the system allows. Apache does not start.",
        example: "WSGI0381: the socket of process group \"shop\" would be /srv/a/very/long/path/wsgi.4711.shop.sock, which has 120 bytes; the system allows 107. Choose a shorter path with WSGISocketPrefix.",
        mend: "Set WSGISocketPrefix to a short path, such as /run/apache2/wsgi.",
    }
    SUPERVISOR_STOP_TIMED_OUT = 382 {
        level: "warn",
        status: "",
        when: "Apache stops, and the supervisor has not ended in the time it was given.",
        example: "WSGI0382: the supervisor (pid 4711) has not ended within 10 s; it is left to end by itself.",
        mend: "Look whether it is still there after a minute, and what it waits for; if so, report it.",
    }
    SUPERVISOR_GIVEN_UP = 383 {
        level: "alert",
        status: "503 for all process groups",
        when: "The supervisor ended again and again. It is not started any more.",
        example: "WSGI0383: the supervisor (pid 4711) ended with status or signal 9, for the 6th time within 60 s. It is not started again: process groups answer 503 until Apache is restarted.",
        mend: "Find out what ends it (the lines 0384 above have signal or status; the system's log tells of a lack of memory), then restart Apache.",
    }
    SUPERVISOR_DIED = 384 {
        level: "crit",
        status: "502 for requests that were running",
        when: "The supervisor ended although nobody asked it to. It is started again, with all groups.",
        example: "WSGI0384: the supervisor (pid 4711) ended with status or signal 9; starting it and all process groups again.",
        mend: "Find out what ended it: a person, or the system for want of memory. Otherwise report it.",
    }
    SUPERVISOR_NOT_RESTARTED = 385 {
        level: "alert",
        status: "503 for all process groups",
        when: "The supervisor ended and could not be started again.",
        example: "WSGI0385: the supervisor cannot be started from /usr/lib/apache2/modules/mod_wsgi-supervisor: Cannot allocate memory (os error 12). Process groups answer 503 until Apache is restarted.",
        mend: "Mend what the line names and restart Apache.",
    }
    RANDOM_BYTES_UNAVAILABLE = 386 {
        level: "error",
        status: "",
        when: "The system has no random bytes for the key of a process group. Apache does not start.",
        example: "WSGI0386: the system gives no secret: Function not implemented (os error 38)",
        mend: "The system call getrandom is missing or forbidden: look at the sandbox Apache runs in.",
    }
    SUPERVISOR_NOT_STARTED = 387 {
        level: "error",
        status: "",
        when: "Apache starts, and the supervisor cannot be started or refuses the configuration. Apache does not start.",
        example: "WSGI0387: process group 'shop' cannot listen at /run/nowhere/wsgi.793.shop.sock: No such file or directory (os error 2). WSGISocketPrefix names a place where root alone may write, such as /run/apache2/wsgi.",
        mend: "Mend what the line names and start Apache again.",
    }
    CONFIGURATION_NOT_APPLIED = 388 {
        level: "error",
        status: "503 for groups that changed",
        when: "Apache was restarted with a new configuration, and the supervisor could not bring it into force. Apache runs on.",
        example: "WSGI0388: the new configuration of process groups is not in force: the supervisor did not answer within 30 s. Their requests get 503 until a restart succeeds.",
        mend: "Mend what the line names and restart Apache once more.",
    }
    GROUP_OUT_OF_REACH = 389 {
        level: "warn",
        status: "",
        when: "Apache is started or checked, and a line of the configuration uses a process group that is not defined, or that it may not use.",
        example: "WSGI0389: /etc/apache2/sites-enabled/s.conf:7 uses process group \"blgo\", which is not defined. Defined groups: \"shop\" (/etc/apache2/sites-enabled/s.conf:1), \"blog\" (/etc/apache2/sites-enabled/s.conf:2). Did you mean \"blog\"? Requests that go there get 500.",
        mend: "Correct the name, define the group, or define it outside of the virtual host.",
    }
    DIRECTIVES_WITHOUT_EFFECT = 390 {
        level: "warn",
        status: "",
        when: "Apache is started or checked, and the configuration has directives this version accepts and does not act upon yet.",
        example: "WSGI0390: Accepted and checked, but without effect in this version: WSGITelemetryService (the first at /etc/apache2/sites-enabled/s.conf:2).",
        mend: "Nothing, if the site does not depend on them; see docs/directives for each.",
    }
    CONFIGURATION_REFUSED = 391 {
        level: "error",
        status: "",
        when: "Apache is started or checked, and the configuration as a whole cannot be served. Apache does not start; at a restart it ends, as with any error in its configuration: check with `apache2ctl configtest` first.",
        example: "WSGI0391: /etc/apache2/sites-enabled/s.conf:5 WSGIScriptAlias loads a script in process group \"blgo\", which is not defined. Defined groups: \"shop\" (/etc/apache2/sites-enabled/s.conf:1), \"blog\" (/etc/apache2/sites-enabled/s.conf:2). Did you mean \"blog\"?",
        mend: "Mend the line it names.",
    }
    SUPERVISOR_REPLACED = 392 {
        level: "notice",
        status: "",
        when: "The module and its companions were replaced by another version, and Apache was reloaded.",
        example: "WSGI0392: the supervisor (pid 4711) is of another version than the module; another one (pid 4712) has taken over, and the old one ends when its requests are finished.",
        mend: "Nothing.",
    }
    SOCKET_DIRECTORY_UNUSABLE = 393 {
        level: "error",
        status: "",
        when: "Apache is started or checked, and no socket can be made where the sockets of process groups are to be. Apache does not start.",
        example: "WSGI0393: the sockets of process groups cannot be made at /run/nowhere/wsgi: No such file or directory (os error 2). WSGISocketPrefix names a place where root alone may write, such as /run/apache2/wsgi.",
        mend: "Make the directory, and see that it and those above it are root's alone to write; or name another one with WSGISocketPrefix.",
    }
    ENV_FILE_UNUSABLE = 394 {
        level: "error",
        status: "",
        when: "Apache is started or checked, and the file of `env-file=` cannot be read, could be changed by somebody else, or has a line that is no variable. Apache does not start.",
        example: "WSGI0394: process group \"shop\": env-file=/etc/shop.env: line 3 is not NAME=value",
        mend: "Mend what the line names.",
    }
    RELATIVE_PYTHON_PATH = 462 {
        level: "warn",
        status: "",
        when: "Apache is started or checked, and `python-path=` of a process group names a directory without a slash in front. It is taken from the directory in which the workers start, which another option or user may change.",
        example: "WSGI0462: process group \"shop\" (/etc/apache2/sites-enabled/s.conf:1): python-path=lib is relative, so it is taken from the directory in which the workers start: /srv/shop/lib. Write it with a slash in front.",
        mend: "Write the path that the line shows, if it is the one that was meant.",
    }
    DROPPED_DIRECTIVE = 463 {
        level: "warn",
        status: "",
        when: "Apache is started or checked, and a line of the configuration is of mod_wsgi 4 (Debian 12 has 4.9.4), which later versions refuse. It is accepted and changes nothing.",
        example: "WSGI0463: /etc/apache2/mods-enabled/wsgi.conf:7: WSGILazyInitialization is a directive of mod_wsgi 4, which mod_wsgi 5 took away. It has no effect: Python never runs in Apache's parent or children. Take the line out.",
        mend: "Take the line out.",
    }
    OWN_GROUP_LEFT_OUT = 467 {
        level: "warn",
        status: "500, for requests that come to the group",
        when: "No directive of this module needs the server's own group, but another module's may send requests there (`SetHandler wsgi-script`, or `AllowOverride FileInfo`), and the group cannot be set up.",
        example: "WSGI0467: the server's own process group (%{GLOBAL}) is left out, and requests that come to it get 500: WSGI0380: libwsgi_runtime.so is not beside the module (looked in /usr/lib/apache2/modules). Install it there: process groups cannot run without it.",
        mend: "Mend what the line names. Where Python is not served, do not load the module, or say `WSGIRestrictEmbedded On`.",
    }
    APACHE_REQUEST_NOT_PASSED = 470 {
        level: "warn",
        status: "",
        when: "Apache is started or checked, and the configuration has `WSGIPassApacheRequest On`.",
        example: "WSGI0470: /etc/apache2/sites-enabled/s.conf:9 WSGIPassApacheRequest On has no effect: Python runs in no process of Apache, so environ has no apache.request_rec. Take the line out.",
        mend: "Take the line out. What an application needs of Apache's request comes in environ; `SetEnv` and `RewriteRule` add to it.",
    }
}
