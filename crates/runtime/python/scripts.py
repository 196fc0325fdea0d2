"""Loads application scripts."""

import sys

from _mod_wsgi import log_id, module, native, report

try:
    # hashlib would load OpenSSL.
    from _md5 import md5
except ImportError:
    from hashlib import md5


def name_of(path):
    """Name of the module a script becomes; the same as the C module's."""
    import os

    return "_mod_wsgi_" + md5(os.fsencode(path), usedforsecurity=False).hexdigest()


def _new_module(path):
    """The module a script becomes, described as the import system describes one of that file: Flask
    finds its instance folder by that, and pkgutil, Jinja and importlib.resources find data. What
    runs is nevertheless what `load` has judged and compiled."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    name = name_of(path)
    script = module_from_spec(spec_from_file_location(name, path, loader=SourceFileLoader(name, path)))
    # The import system names none for other suffixes than .py, the C module None.
    script.__dict__.setdefault("__cached__", None)
    return script


# Who must own scripts and their directories: (uid, gid), of which one is None, or both.
required = (None, None)
group = ""


class NotTrusted(Exception):
    """The script is not run."""


def _open(path):
    """Opens the script for reading; where `required` asks for it, only if nobody else could have
    put it there. What is judged is what is open, not what a path leads to at some moment."""
    import os

    uid, gid = required
    if uid is None and gid is None:
        return open(path, "rb")
    directory = os.open(os.path.dirname(path) or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _judge(os.fstat(directory), os.path.dirname(path) or "/")

        def opener(name, flags):
            return os.open(name, flags | os.O_CLOEXEC, dir_fd=directory)

        file = open(os.path.basename(path), "rb", opener=opener)
    finally:
        os.close(directory)
    try:
        _judge(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def _judge(facts, path):
    uid, gid = required
    if uid is not None:
        kind, found, wanted, mask = "user", facts.st_uid, uid, 0o022
    else:
        kind, found, wanted, mask = "group", facts.st_gid, gid, 0o002
    if found != wanted:
        raise NotTrusted(
            f"{path} belongs to {kind} {found}, and script-{kind}= of process group '{group}' asks "
            f"for {wanted}"
        )
    if facts.st_mode & mask:
        raise NotTrusted(
            f"{path} has mode {facts.st_mode & 0o7777:04o}: others may write to it, which "
            f"script-{kind}= of process group '{group}' rules out"
        )


def _version(facts):
    """Which file a script is: modification time in microseconds, device and inode, as `Version` has
    them."""
    largest = (1 << 63) - 1
    return (facts.st_mtime_ns // 1000, facts.st_dev & largest, facts.st_ino & largest)


def _version_at(path):
    """Which file the path leads to, if there is one. One that may not be opened can still be told from
    one that takes its place."""
    import os

    try:
        return _version(os.stat(path))
    except OSError:
        return None


def load(path, where, in_request):
    """Runs the script. Returns its namespace and which file it was, or the report of why that failed,
    which file it was, if there was one, and the status for the client."""
    version = None
    try:
        with _open(path) as file:
            import os

            version = _version(os.fstat(file.fileno()))
            source = file.read()
        code = compile(source, path, "exec", 0, True)
    except NotTrusted as error:
        return f"{log_id.SCRIPT_OWNER_REFUSED}: {path} is not run: {error}", _version_at(path), 403
    except Exception as error:
        text, status = report.unreadable(error, path, where, in_request)
        return text, version or _version_at(path), status
    script = _new_module(path)
    sys.modules[script.__name__] = script
    try:
        exec(code, script.__dict__)
    except BaseException as error:
        sys.modules.pop(name_of(path), None)
        return report.failed_load(error, path, where, in_request), version, 500
    finally:
        module.keep_levels()
    script.__mtime__ = version[0]
    return script.__dict__, version


#: A service process has been asked to end.
leaving = False


def serve(path, where):
    """Runs a script of a service process. True where the process is to end. A script that calls
    sys.exit() of itself is through, and the next one runs, as in the C module."""
    try:
        if leaving:
            return True
        try:
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec", 0, True)
        except Exception as error:
            native.log(3, report.unreadable(error, path, where, False)[0])
            return False
        script = _new_module(path)
        sys.modules[script.__name__] = script
        try:
            exec(code, script.__dict__)
        except SystemExit:
            return leaving
        except BaseException as error:
            native.log(3, report.failed_load(error, path, where, False))
            return False
    except SystemExit:
        # A signal between two lines of ours.
        return True
    return leaving


def must_reload(namespace, path):
    """What the script's own `reload_required` says."""
    try:
        return bool(namespace["reload_required"](path))
    except Exception as error:
        text = f"reload_required() of {path} raised; the script is not reloaded"
        report.log(f"{log_id.RELOAD_HOOK_RAISED}: {text}", error)
        return False
