"""The parts beyond the four cells by name, with the sizes that fit a full run and a quick one."""

from . import costs, flushes, growth, idle, multi, reencrypt, speed, vast
from .process import say


def short(args):
    """Seconds of a measurement where there are very many of them."""
    return max(1, args.seconds // 2)


def _open(places, args, backings):
    results = {}
    for backing in backings:
        with places.make(backing) as folder:
            results[backing] = vast.measure(backing, folder, args.rounds)
    return results


def _in_memory(work):
    def part(places, args, _):
        with places.make("shm") as folder:
            return work(folder, places.sizes["shm"], args)
    return part


def _fsync(places, args, _):
    """On disk even in a quick run: in memory a flush means nothing."""
    with places.make("disk") as folder:
        return flushes.measure(folder, places.sizes["disk"], args.seconds * 4)


PARTS = {
    "multi": _in_memory(lambda folder, size, args: multi.measure(folder, size, short(args), args.rounds)),
    "open": _open,
    "growth": _in_memory(lambda folder, size, args: growth.measure(folder, size // 4, short(args), args.rounds)),
    "idle": _in_memory(lambda folder, _, args: idle.measure(folder, args.seconds * 2)),
    "costs": _in_memory(lambda folder, size, args: costs.measure(folder, size, args.seconds)),
    "reencrypt": _in_memory(lambda folder, size, args: reencrypt.measure(folder, size, args.rounds)),
    "fsync": _fsync,
    "speed": lambda places, args, _: speed.measure(args.rounds),
}


def measure(parts, places, args, backings):
    """{part: what it returned}, JSON-able, of those in `parts` that are ours."""
    results = {}
    for part, work in PARTS.items():
        if part in parts:
            say(part)
            results[part] = work(places, args, backings)
    return results
