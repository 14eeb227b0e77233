"""Made-up figures of the parts beyond cells and rotations, in the form the parts return."""


def rated(*rates):
    return [{"bytes_per_s": rate, "iops": rate / 4096} for rate in rates]


def multi(mine=3e9, many=3e9):
    def peers(number):
        return {"keymoult": [many if number == "64" else mine] * 2, "nbdkit file": [2e9, 2e9], "qemu-nbd raw": [1e9, 1e9]}

    fio = {number: {name: rated(*rates) for name, rates in peers(number).items()} for number in ("1", "4", "16", "64")}
    return {"copy": {"out": {number: peers(number) for number in ("1", "4", "16")}}, "fio": {"read-128k": fio}, "in_flight": 64}


def fsync(large=51, beside=1022):
    """Rotations of 4 and 32 batches with 19 fixed syncs; a client whose every flush is one sync."""
    def alone(batches, syncs):
        return [{"bytes_rewritten": batches << 26, "batches": batches, "flushes": batches + 2, "traced_syncs": syncs, "granule": 512}]

    both = {"client_iops": 250, "client_flushes": 1000, "client_writes": 1000, "syncs": beside, "batches": 16,
            "rotation_flushes": 3, "bytes_rewritten": 1 << 30}
    return {"sizes": {"small": alone(4, 23), "large": alone(32, large)},
            "client alone": {"client_iops": 300, "client_flushes": 600, "client_writes": 600, "syncs": 600},
            "client beside a rotation": both}


def speed(small=10e9, large=12e9):
    return {"vaes": {"512": {"encrypt": [small], "decrypt": [small * 2]}, "4096": {"encrypt": [large], "decrypt": [large]}},
            "portable": {"512": {"encrypt": [1e9], "decrypt": [1e9]}, "4096": {"encrypt": [1e9], "decrypt": [1e9]}}}


def vast(serving=0.05, resident=100 << 20, device=None):
    start = {"serving_s": serving, "memory": {"VmRSS": resident}, "memory_after_census": {"VmRSS": resident + (1 << 20)},
             "census_api_s": 0.01, "census_map_s": 0.2}
    made = {"create_s": 0.1, "tag_table_bytes": 60 << 20, "starts": {"warm": [start, start]}}
    if device:
        made = dict(made, device_bytes_per_s=device)
    return {"shm": {"15 TiB": made, "1 GiB": dict(made, tag_table_bytes=4096)}}


def growth(rate=lambda gib, generations, connections: 100e3):
    cases = {}
    for cell in ("randread-4k", "randwrite-4k"):
        for gib, generations in ((1, 1), (64, 1), (1, 16), (64, 16)):
            for connections in (1, 64):
                iops = rate(gib, generations, connections)
                cases["%d %d %d %s" % (gib, generations, connections, cell)] = {
                    "gib": gib, "generations": generations, "live": generations, "connections": connections, "cell": cell,
                    "rounds": [{"iops": iops}, {"iops": iops * 1.1}]}
    return cases


def costs(calls=1.0):
    mine = {"system calls": calls, "context switches": 0.5, "wake-ups given": 0.0, "server_cpu_us": 10.0, "requests": 1000}
    theirs = {"system calls": 2.0, "context switches": 1.0, "wake-ups given": 0.0, "server_cpu_us": 20.0, "requests": 1000}
    return {"read-128k": {"keymoult": mine, "nbdkit file": theirs, "nbdkit luks": theirs}}


def idle(switches=0):
    state = {"seconds": 4, "cpu_ticks": 0, "voluntary_switches": switches, "involuntary_switches": 0, "threads": 5,
             "memory": {"VmRSS": 12 << 20}}
    return {"keymoult": {"nobody connected": state, "one idle client": state}}


def everything():
    return {"multi": multi(), "fsync": fsync(), "speed": speed(), "open": vast(), "growth": growth(), "costs": costs(), "idle": idle()}
