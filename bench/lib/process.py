"""Running programs, and stopping by process id those that were started here."""

import os
import shutil
import subprocess
import sys


def need(*programs):
    """Ends with a hint if one of the programs is not installed."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        sys.exit("bench: not installed: %s. Run tools/setup." % ", ".join(missing))


def run(args, env=None, cwd=None):
    """Runs a program to its end and returns its standard output; raises with everything it said if it fails."""
    merged = dict(os.environ, **(env or {}))
    done = subprocess.run(args, env=merged, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("%s: exit %d\n%s\n%s" % (" ".join(map(str, args)), done.returncode, done.stdout, done.stderr))
    return done.stdout


def cpu_seconds(pid):
    """CPU time a running process has used so far, all its threads, in seconds."""
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop(child, seconds=30):
    """SIGTERM, and SIGKILL if that does not help."""
    child.terminate()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def say(text):
    """Progress, on standard error, so that standard output stays the report."""
    print(text, file=sys.stderr, flush=True)
