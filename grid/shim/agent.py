"""The agent's birth: everything that happens between fork and exec."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from grid.shim.reaper import (
    ALL_SIGNALS,
    LIBC,
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
    set_oom_score,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OOM_SCORE = 500
"""Out of memory: the agent goes, not its keeper."""
CAPABILITY_VERSION_3 = 0x20080522
PR_CAP_AMBIENT_CLEAR_ALL = 4
NO_EXEC = 127


def spawn(spec: Mapping[str, Any], stdin: int, stdout: int, stderr: int) -> int:
    """Start the agent and return its pid once exec succeeded; raise OSError with what the child met."""
    shim, (report_in, report_out) = os.getpid(), os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)  # none is lost between fork and exec
    pid = os.fork()
    if pid == 0:
        try:
            become_agent(spec, (stdin, stdout, stderr), shim)
        except BaseException as error:  # whatever it was: never return into the shim's code
            os.write(report_out, describe(error).encode())
        finally:
            os._exit(NO_EXEC)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.close(report_out)
    failure = os.read(report_in, 4096).decode("utf-8", "replace")
    os.close(report_in)
    if failure:
        os.waitpid(pid, 0)
        number, _, text = failure.partition(" ")
        raise OSError(int(number), text)
    set_oom_score(pid, OOM_SCORE)  # again from here: an unprivileged child of ours cannot write its own
    return pid


def become_agent(spec: Mapping[str, Any], streams: tuple[int, int, int], shim: int) -> None:
    """Turn this child into the agent; does not return unless by an error."""
    os.setsid()
    for target, fd in enumerate(streams):
        os.dup2(fd, target)  # every other descriptor closes itself at exec
    set_oom_score("self", OOM_SCORE)
    for name, value in spec.get("rlimits", {}).items():
        limit(getattr(resource, f"RLIMIT_{name.upper()}"), int(value))
    lower_privileges(spec)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
    if os.getppid() != shim:
        os._exit(NO_EXEC)  # the shim died before the line above
    os.umask(0o022)
    os.chdir(spec["cwd"])
    for signum in ALL_SIGNALS:
        if signal.getsignal(signum) is signal.SIG_IGN:  # which survives exec; Python ignores SIGPIPE and SIGXFSZ
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])


def describe(error: BaseException) -> str:
    """An error as the parent will raise it: number, space, words."""
    if isinstance(error, OSError) and error.errno:
        what = f"{error.strerror}: {error.filename}" if error.filename else f"{error.strerror}"
        return f"{error.errno} {what}"
    return f"0 {error!r}"


def limit(kind: int, value: int) -> None:
    """Set a resource limit for good; a stricter one that we were born with stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def lower_privileges(spec: Mapping[str, Any]) -> None:
    """Become the agent's user, if it has one, and give up every capability for good.

    Root without capabilities is refused what the kernel asks them for: ptrace and /proc/PID/environ of processes that
    hold more or are not dumpable, files and processes of other users, mount. It still owns root's files.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)  # no set-uid program that we could not kill
    was_root = os.geteuid() == 0
    drop = was_root and spec.get("drop_caps", True)
    if drop:
        drop_bounding_set()
    if spec.get("uid") is not None:
        os.setgroups([])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
    if drop:
        empty_capabilities()


def drop_bounding_set() -> None:
    """Forbid this process and its children to gain a capability by exec. In vain without CAP_SETPCAP, see below."""
    with open("/proc/sys/kernel/cap_last_cap") as last:
        count = int(last.read()) + 1
    try:
        for number in range(count):
            prctl(PR_CAPBSET_DROP, number)
    except PermissionError:
        pass  # a container took CAP_SETPCAP: what holds then is no_new_privs, under which exec adds no capability


def empty_capabilities() -> None:
    """Clear the effective, permitted, inheritable and ambient sets."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    if LIBC.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset refused")
