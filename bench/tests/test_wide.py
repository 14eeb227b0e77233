"""Verdicts, tables and plots of the parts beyond cells and rotations: each limit from both sides, on made-up figures."""

import os
import sys
import unittest
from xml.etree import ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE]

import made_up  # noqa: E402
from lib import checks, flushes, growth, lines, plots_wide, report_wide, targets_wide  # noqa: E402


def verdicts(judge, results):
    return [checks.verdict(target) for target in judge(results)]


class Verdicts(unittest.TestCase):
    def test_many_connections(self):
        self.assertEqual(verdicts(targets_wide.many, made_up.multi()), ["reached", "reached"])
        self.assertEqual(verdicts(targets_wide.many, made_up.multi(mine=2.3e9, many=2.3e9)), ["not reached (0 of 2)", "reached"])
        self.assertEqual(verdicts(targets_wide.many, made_up.multi(many=2.8e9)), ["reached", "not reached (1 of 2)"])

    def test_what_as_many_clients_can_move_at_most_is_enough(self):
        lost = made_up.multi(many=1.5e9)
        lost["fio"]["read-128k"]["64"]["keymoult null"] = made_up.rated(1.6e9, 1.6e9)
        self.assertEqual(verdicts(targets_wide.many, lost), ["reached", "reached"])
        lost["fio"]["read-128k"]["64"]["keymoult null"] = made_up.rated(1.9e9, 1.9e9)
        self.assertEqual(verdicts(targets_wide.many, lost), ["reached", "not reached (1 of 2)"])

    def test_the_number_of_connections_that_loses_most_is_judged(self):
        figure = list(targets_wide.many(made_up.multi(many=1e9)))[1].checks[1].figure
        self.assertIn("with 64 connections", figure)

    def test_fixed_syncs_of_a_rotation_are_not_counted_against_batches(self):
        self.assertEqual(flushes.split(made_up.fsync()["sizes"]), (1.0, 19.0))
        self.assertEqual(verdicts(targets_wide.flushes, made_up.fsync()), ["reached", "not reached"])
        self.assertEqual(verdicts(targets_wide.flushes, made_up.fsync(beside=1019)), ["reached", "reached"])
        self.assertEqual(verdicts(targets_wide.flushes, made_up.fsync(large=80))[0], "not reached")

    def test_syncs_that_cannot_be_traced_are_not_judged(self):
        results = made_up.fsync(large=None)
        self.assertEqual(verdicts(targets_wide.flushes, results), ["not measured", "not measured"])
        self.assertIn("not be traced", report_wide.flushes(results))

    def test_the_cipher_by_its_fastest_engine_and_slower_direction(self):
        self.assertEqual(verdicts(targets_wide.cipher, made_up.speed()), ["reached"])
        self.assertEqual(verdicts(targets_wide.cipher, made_up.speed(small=8e9)), ["not reached (1 of 2)"])

    def test_a_vast_volume(self):
        self.assertEqual(verdicts(targets_wide.vast, made_up.vast()), ["reached", "reached"])
        self.assertEqual(verdicts(targets_wide.vast, made_up.vast(serving=0.2))[0], "not reached")
        # 60 MiB at 0.6 GB/s are 105 ms more.
        self.assertEqual(verdicts(targets_wide.vast, made_up.vast(serving=0.2, device=[6e8, 5e8, 9e9]))[0], "reached")
        self.assertEqual(verdicts(targets_wide.vast, made_up.vast(serving=0.21, device=[6e8, 5e8, 9e9]))[0], "not reached")
        self.assertEqual(verdicts(targets_wide.vast, made_up.vast(resident=130 << 20))[1], "not reached (0 of 2)")

    def test_growth_judges_each_axis_by_itself(self):
        self.assertEqual(verdicts(targets_wide.growth, made_up.growth()), ["reached"])
        slower = made_up.growth(lambda gib, generations, connections: 80e3 if connections == 64 else 100e3)
        self.assertEqual(verdicts(targets_wide.growth, slower), ["not reached (4 of 6)"])
        near, far, ratios = growth.along(slower, "connections", "randread-4k")
        self.assertEqual((near, far), (1, 64))
        self.assertAlmostEqual(ratios[0], 0.8)
        self.assertAlmostEqual(growth.along(slower, "gib", "randread-4k")[2][1], 1.0)

    def test_costs_and_a_cost_nobody_has(self):
        self.assertEqual(verdicts(targets_wide.costs, made_up.costs()), ["reached"])
        self.assertEqual(verdicts(targets_wide.costs, made_up.costs(calls=2.5)), ["not reached (2 of 3)"])

    def test_an_idle_daemon_sleeps(self):
        self.assertEqual(verdicts(targets_wide.idle, made_up.idle()), ["reached"])
        self.assertEqual(verdicts(targets_wide.idle, made_up.idle(switches=1)), ["not reached (2 of 4)"])

    def test_nothing_measured(self):
        for target in [*targets_wide.everything({}), *targets_wide.flushes(None)]:
            self.assertEqual(checks.verdict(target), "not measured", target.text)


class Shown(unittest.TestCase):
    def test_every_part_has_a_table(self):
        for part, results in made_up.everything().items():
            self.assertIn("|---|", report_wide.TABLES[part][1](results), part)

    def test_every_plot_is_xml_and_shows_its_limits(self):
        found = plots_wide.everything(made_up.everything())
        self.assertEqual(sorted(found), ["costs.svg", "growth.svg", "multi.svg", "open.svg", "speed.svg"])
        for name, text in found.items():
            self.assertIsNotNone(ElementTree.fromstring(text), name)
            self.assertEqual("s-limitline\"" in text, name != "costs.svg", name)

    def test_a_line_begins_at_nothing_and_a_whisker_reaches_both_ends(self):
        text = "".join(lines.panel("", "", [1, 4], [lines.Line("a", "mine", {1: [1.0, 2.0, 4.0], 4: [4.0]}, {})]))
        root = ElementTree.fromstring("<svg>%s</svg>" % text)
        dots = [float(dot.get("cy")) for dot in root.iter("circle")]
        self.assertAlmostEqual(lines.FLOOR - dots[1], 2 * (lines.FLOOR - dots[0]), delta=0.3)
        whisker = next(line for line in root.iter("line") if line.get("class") == "s-mine")
        self.assertAlmostEqual(float(whisker.get("y2")), dots[1], delta=0.3)


if __name__ == "__main__":
    unittest.main()
