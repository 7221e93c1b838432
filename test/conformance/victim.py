"""What the programs of the checks are written in.

A victim says what happens to it in the journal, one line each: "main ready", "main got TERM", "main done".
Signals that it watches are blocked and taken one by one, so that none coalesces in Python's own handler;
whether they count as caught or as waited for is a matter of their disposition.
"""
import os
import sys
import time
import _signal as signal  # package signal takes half as long again to load

NUMBER = {n[3:]: int(getattr(signal, n)) for n in dir(signal)
          if n.startswith("SIG") and n[3].isalpha() and n not in ("SIGCLD", "SIGPOLL", "SIGIOT", "SIGRTMIN", "SIGRTMAX")}
NUMBER.update({"RT%d" % n: n for n in range(34, 65)})
NAME = {number: name for name, number in NUMBER.items()}
CATCHABLE = [n for n in NUMBER if n not in ("KILL", "STOP", "CHLD")]

journal = os.open(os.environ["JOURNAL"], os.O_WRONLY)
watched = set()


def say(*words):
    os.write(journal, (" ".join(map(str, words)) + "\n").encode())


def _set(names, handler):
    for name in names:
        signal.signal(NUMBER[name], handler)


def catch(*names):
    """Has a handler for these, as SigCgt in /proc/self/status shows, and reports them."""
    wait_for(*names)
    _set(names, lambda *_: None)


def wait_for(*names):
    """Receives these by sigwait alone: no handler."""
    numbers = {NUMBER[n] for n in names}
    watched.update(numbers)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    _set(names, signal.SIG_DFL)


def ignore(*names):
    _set(names, signal.SIG_IGN)
    _forget(names)


def default(*names):
    _set(names, signal.SIG_DFL)
    _forget(names)


def _forget(names):
    numbers = {NUMBER[n] for n in names}
    watched.difference_update(numbers)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _next(seconds):
    if not watched:
        time.sleep(seconds)
        return None
    return signal.sigtimedwait(watched, seconds)


def serve(name, at_most=120, **on):
    """Reports every watched signal for ever. on says what else it does: (seconds, code) goes on for so long,
    reporting, says done and exits; a function is called."""
    say(name, "ready")
    end = time.monotonic() + at_most
    while time.monotonic() < end:
        info = _next(end - time.monotonic())
        if info is None:
            continue
        signal_name = NAME[info.si_signo]
        say(name, "got", signal_name)
        act = on.get(signal_name)
        if callable(act):
            act()
        elif act:
            finish(name, *act)
    os._exit(99)


def finish(name, seconds, code):
    """Works on for so long, reporting what still comes, says done and exits."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        info = _next(left)
        if info is not None:
            say(name, "got", NAME[info.si_signo])
    say(name, "done")
    os._exit(code)


def leave(code):
    return lambda: os._exit(code)


def fork(f, *args, **named):
    """Runs f in a child, which ends with it."""
    pid = os.fork()
    if pid == 0:
        try:
            f(*args, **named)
        except BaseException as e:
            say("victim failed:", repr(e).replace("\n", " "))
        os._exit(0)
    return pid


def orphan(f, *args, session=False, **named):
    """Runs f in a grandchild whose parent is gone when this returns, as a program that daemonizes does."""
    def parent():
        if session:
            os.setsid()
        fork(f, *args, **named)
    os.waitpid(fork(parent), 0)


def program(name, *signals, session=False, **on):
    """A child's whole life: catches signals and serves."""
    if session:
        os.setsid()
    default(*CATCHABLE)
    catch(*signals)
    serve(name, **on)


def run(argv):
    """Becomes another program."""
    os.execvp(argv[0], argv)
