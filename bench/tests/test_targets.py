"""Verdicts on made-up figures: every kind of answer once, and nothing claimed where nothing was measured."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import beside, checks, ratios, reencrypt, targets  # noqa: E402

EMPTY = {"cells": {}, "rotation": {}, "beside": {}}


def rounds(*rates):
    return [{"bytes_per_s": rate} for rate in rates]


def turn(**more):
    return dict({"write_amplification": 1.002, "batches": 32, "flushes": 32, "traced_syncs": None, "bytes_per_s": 2.5e9}, **more)


class Ratios(unittest.TestCase):
    def test_round_by_round_against_the_fastest_of_that_round(self):
        servers = {"keymoult": rounds(10, 12), "nbdkit file": rounds(10, 3), "qemu-nbd raw": rounds(5, 6)}
        self.assertEqual(ratios.by_round(servers, "keymoult", ratios.PLAIN), [1.0, 2.0])

    def test_nothing_where_either_side_is_missing(self):
        self.assertIsNone(ratios.by_round({"keymoult": rounds(1)}, "keymoult", ratios.PLAIN))
        self.assertIsNone(ratios.by_round({"nbdkit file": rounds(1)}, "keymoult", ratios.PLAIN))
        self.assertIsNone(ratios.by_round({"keymoult": rounds(1), "nbdkit file": []}, "keymoult", ratios.PLAIN))


class Cells(unittest.TestCase):
    def check(self, limit=1.0, **servers):
        named = {name.replace("_", " "): figures for name, figures in servers.items()}
        return targets.against(named, "read-128k", ratios.PLAIN, limit, True)

    def test_reached_and_missed_by_how_much(self):
        self.assertAlmostEqual(self.check(keymoult=rounds(12), nbdkit_file=rounds(10)).margin, 0.2)
        missed = self.check(keymoult=rounds(8), nbdkit_file=rounds(10))
        self.assertFalse(missed.reached)
        self.assertIn("missed by 20 %", checks.worded(missed))
        self.assertIn("cap, which was not measured", missed.note)

    def test_our_null_server_caps_the_limit(self):
        capped = self.check(1.3, keymoult=rounds(9), nbdkit_file=rounds(10), keymoult_null=rounds(10))
        self.assertTrue(capped.reached)
        self.assertIn("caps", capped.note)
        free = self.check(1.3, keymoult=rounds(9), nbdkit_file=rounds(10), keymoult_null=rounds(100))
        self.assertFalse(free.reached)
        self.assertNotIn("caps", free.note)

    def test_rounds_on_both_sides_of_the_limit_are_told(self):
        self.assertIn("disagree", self.check(keymoult=rounds(9, 11, 12), nbdkit_file=rounds(10, 10, 10)).note)

    def test_three_of_four(self):
        good = {"keymoult": rounds(14), "nbdkit file": rounds(10)}
        bad = {"keymoult": rounds(10), "nbdkit file": rounds(10)}
        cells = dict(zip(targets.CELLS, (good, good, good, bad)))
        raw = dict(EMPTY, cells={"shm": cells})
        target = targets.cell_target(raw, "", "shm", ratios.PLAIN, 1.3, 3)
        self.assertEqual(checks.verdict(target), "reached (3 of 4)")
        cells[targets.CELLS[0]] = {}
        target = targets.cell_target(raw, "", "shm", ratios.PLAIN, 1.3, 3)
        self.assertEqual(checks.verdict(target), "not measured in full (2 of 4)")
        cells[targets.CELLS[0]] = bad
        target = targets.cell_target(raw, "", "shm", ratios.PLAIN, 1.3, 3)
        self.assertEqual(checks.verdict(target), "not reached (2 of 4)")


class Rotation(unittest.TestCase):
    def test_write_amplification_goes_by_the_granule(self):
        judge = lambda **more: targets.amplification([turn(**more)], "memory").reached
        self.assertTrue(judge(granule=4096))
        self.assertTrue(judge(granule=512, write_amplification=1.016))
        self.assertFalse(judge(granule=4096, write_amplification=1.016))
        self.assertTrue(judge())
        self.assertIsNone(judge(write_amplification=1.016))
        self.assertFalse(judge(write_amplification=1.03))
        self.assertFalse(judge(granule=0, write_amplification=2.0))

    def test_speed_by_place_and_verification(self):
        raw = dict(EMPTY, rotation={"backing in memory (/dev/shm), verification off": [turn()],
                                    "backing on disk, verification off": [turn(bytes_per_s=1e9)]})
        self.assertEqual(targets.rounds_of(raw, "disk", "off")[0]["bytes_per_s"], 1e9)
        self.assertEqual(targets.rounds_of(raw, "disk", "full"), [])
        self.assertTrue(targets.speed(targets.rounds_of(raw, "memory", "off"), "", 2.0).reached)


    def test_a_disk_is_held_against_its_own_limit_with_as_many_reads(self):
        raw = dict(EMPTY, rotation={"backing on disk, verification off": rounds(9e8), "backing on disk, verification full": rounds(9e8)},
                   disk_limit={"off": rounds(8e8, 1e9, 2e9)})
        self.assertTrue(targets.disk_limit(raw, "off").reached)
        self.assertIn("1.00 (0.80–2.00)", targets.disk_limit(raw, "off").note)
        self.assertIsNone(targets.disk_limit(raw, "full").reached)
        raw["disk_limit"]["off"] = rounds(3e8)
        self.assertIsNone(targets.disk_limit(raw, "off").reached)
        self.assertIn("no limit", targets.disk_limit(raw, "off").note)

    def test_peers_come_from_the_part_that_measures_them(self):
        peers = reencrypt.as_peers({"keymoult": [2.4e9], "cryptsetup reencrypt": [3e8]})
        self.assertEqual(list(peers["shm"]), ["cryptsetup reencrypt"])
        raw = dict(EMPTY, rotation={"backing in memory (/dev/shm), verification off": rounds(2.4e9)}, rotation_peers=peers)
        self.assertAlmostEqual(targets.rotation_peer(raw, "cryptsetup reencrypt", 7.0).margin, 8 / 7 - 1)
        self.assertEqual(reencrypt.as_peers({}), {})


class Beside(unittest.TestCase):
    alone = [{"bytes_per_s": 100e6, "latency_us_p99": 100, "latency_us_p999": 200}]
    judges = (targets.throughput, targets.p99, targets.p999, targets.own_speed, targets.held)

    def beside(self, **more):
        return dict({"bytes_per_s": 90e6, "latency_us_p99": 140, "latency_us_p999": 900, "rotation_bytes_per_s": 250e6,
                     "volume_bytes": 2 << 30, "held_bytes": 2 << 20}, **more)

    def test_all_conditions(self):
        for judge in self.judges:
            self.assertTrue(judge("", self.alone, [self.beside()]).reached)
        slow = self.beside(bytes_per_s=80e6, latency_us_p99=160, latency_us_p999=21000, rotation_bytes_per_s=199e6,
                           held_bytes=3 << 20)
        for judge in self.judges:
            self.assertFalse(judge("", self.alone, [slow]).reached)

    def test_rounds_are_compared_with_their_own_and_may_disagree(self):
        alone = self.alone + [{"bytes_per_s": 50e6, "latency_us_p99": 200, "latency_us_p999": 200}]
        found = targets.throughput("", alone, [self.beside(), self.beside(bytes_per_s=41e6)])
        self.assertEqual((found.figure, found.reached), ("0.86 (0.82–0.90) ×", True))
        self.assertIn("disagree", found.note)
        found = targets.p99("", alone, [self.beside(), self.beside(latency_us_p99=310)])
        self.assertEqual((found.figure, found.reached), ("1.48 (1.40–1.55) ×", True))
        self.assertIn("disagree", found.note)

    def test_older_runs_measured_once_and_did_not_record_what_was_held(self):
        figures = self.beside()
        del figures["held_bytes"]
        raw = dict(EMPTY, beside={"shm": {"client-randrw-4k": {"no rotation": self.alone[0], "adaptive": figures}}})
        _, alone, both = next(targets.pairs(raw))
        self.assertTrue(targets.p99("", alone, both).reached)
        self.assertIsNone(targets.held("", alone, both).reached)

    def test_what_is_held_follows_from_the_batches(self):
        self.assertEqual(beside.held({"bytes_rewritten": 100 << 20, "batches": 50}), 4 << 20)

    def test_the_middle_of_three_rounds(self):
        turns = [{"bytes_per_s": rate, "latency_us_max": rate, "latency_us_percentiles": [[50, rate], [99, 9]]} for rate in (3, 1, 2)]
        self.assertEqual(beside.middle(turns),
                         {"bytes_per_s": 2, "latency_us_max": 3, "latency_us_percentiles": [[50, 2], [99, 9]]})


class Nothing(unittest.TestCase):
    def test_no_figures_no_verdict(self):
        for target in targets.everything(EMPTY):
            self.assertEqual(checks.verdict(target), "not measured", target.text)


if __name__ == "__main__":
    unittest.main()
