"""What each cipher engine reaches on one core with data in its cache: `keymoult speed`, as a user would ask.

Engines of one run only are compared: the clock of a shared machine differs from minute to minute.
"""

import json

from .peers import KEYMOULT
from .process import run

SUITE = "aes-256-xts"
UNITS = [4096, 512]


def measure(rounds):
    """{engine: {bytes of a data unit: {"encrypt" | "decrypt": [bytes per second of each round]}}}, AES-256-XTS."""
    results = {}
    for _ in range(rounds):
        for row in json.loads(run([KEYMOULT, "--json", "speed"]))["rows"]:
            if row["what"] == "crypto" and row["detail"] == SUITE:
                units = results.setdefault(row["engine"], {})
                units.setdefault(str(row["unit_bytes"]), {}).setdefault(row["direction"], []).append(row["bytes_per_s"])
    return results
