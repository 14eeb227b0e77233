"""What /proc says of a running process and all its threads."""

import os


def memory(pid):
    """Resident bytes: all of them, and by kind."""
    found = {}
    with open("/proc/%d/status" % pid) as status:
        for line in status:
            key, _, value = line.partition(":")
            if key in ("VmRSS", "VmHWM", "RssAnon", "RssFile", "RssShmem"):
                found[key] = int(value.split()[0]) * 1024
    return found


def activity(pid):
    """CPU ticks and context switches so far, summed over the threads that live."""
    total = {"ticks": 0, "voluntary": 0, "involuntary": 0, "threads": 0}
    folder = "/proc/%d/task" % pid
    for thread in os.listdir(folder):
        try:
            _add(total, os.path.join(folder, thread))
        except FileNotFoundError:
            continue
    return total


def _add(total, folder):
    with open(folder + "/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    with open(folder + "/status") as status:
        counts = dict(line.split(":", 1) for line in status if ":" in line)
    total["ticks"] += int(fields[11]) + int(fields[12])
    total["voluntary"] += int(counts["voluntary_ctxt_switches"])
    total["involuntary"] += int(counts["nonvoluntary_ctxt_switches"])
    total["threads"] += 1
