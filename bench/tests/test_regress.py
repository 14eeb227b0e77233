"""Comparing two builds: ratios, what is worse, and counts of instructions."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import compare, instructions  # noqa: E402


class Worse(unittest.TestCase):
    faster = {"cell": ([1.0, 2.0, 4.0], [1.2, 2.4, 4.8])}
    slower = {"cell": ([1.0, 2.0, 4.0], [0.8, 1.6, 9.9])}

    def test_rates_and_counts_are_worse_on_opposite_sides(self):
        self.assertEqual(compare.worse(self.slower, 0.05), ["cell"])
        self.assertEqual(compare.worse(self.faster, 0.05), [])
        self.assertEqual(compare.worse(self.faster, 0.05, more_is_worse=True), ["cell"])

    def test_the_median_within_tolerance_passes(self):
        self.assertEqual(compare.worse(self.slower, 0.25), [])
        self.assertEqual(compare.worse(self.slower, None), [])

    def test_a_row_has_both_medians_and_the_ratio_round_by_round(self):
        self.assertEqual(compare.row("cell", ([1e9, 3e9], [2e9, 3e9])), ["cell", "2.00 G", "2.50 G", "1.500 (1.000–2.000)"])


class Instructions(unittest.TestCase):
    def test_what_callgrind_says(self):
        self.assertEqual(instructions.collected("==7== Events    : Ir\n==7== Collected : 123456\n==7==\n"), 123456)

    def test_starting_and_ending_cancel(self):
        self.assertEqual(instructions.each(lambda times: 5000 + 37 * times, 100), 37)

    def test_only_what_both_builds_can_do_is_compared(self):
        self.assertEqual(instructions.shared({"a": 1, "b": 2}, {"b": 3, "c": 4}), {"b": ([2], [3])})


if __name__ == "__main__":
    unittest.main()
