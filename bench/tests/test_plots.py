"""Plots and page from made-up figures: well-formed, complete, and bars and curves that are where the figures say."""

import os
import sys
import tempfile
import unittest
from xml.etree import ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), HERE]

import made_up  # noqa: E402
from lib import bars, curves, plots, report_wide, results  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def measured(rate, **more):
    figures = {"bytes_per_s": rate, "iops": rate / 4096, "bytes": 1 << 30, "client_cpu_percent": 50.0, "server_cpu_s": 1.0,
               "latency_us_p50": 50.0, "latency_us_p99": 400.0, "latency_us_p999": 5000.0, "latency_us_max": 90000.0}
    return dict(figures, **more)


def rotated(rate):
    return {"seconds": 1.0, "bytes_per_s": rate, "bytes_rewritten": 1 << 30, "batches": 16, "flushes": 16,
            "write_amplification": 1.002, "metadata_bytes": 1 << 20, "traced_syncs": None, "device_bytes_written": None,
            "device_flushes": None}


def raw():
    machine = {"cpu": "a <fast> one", "cores": 2, "cpu_flags": ["aes"], "memory_gib": 8, "kernel": "6", "load_before": 0.1,
               "backings": {"shm": "tmpfs"}, "fio": "fio", "nbdkit": "nbdkit", "qemu-nbd": "qemu-nbd"}
    servers = {"keymoult": [measured(2e9), measured(3e9)], "nbdkit file": [measured(1e9), measured(1e9)]}
    ways = {"no rotation": measured(1e8), "adaptive": measured(9e7, rotation_bytes_per_s=2e8)}
    return {"when": "now", "command": "bench/run", "machine": machine, "cells": {"shm": {"read-128k": servers}},
            "rotation": {"backing in memory (/dev/shm), verification off": [rotated(2e9)]},
            "beside": {"shm": {"client-randrw-4k": ways}}}


class Plots(unittest.TestCase):
    def test_every_plot_is_xml_with_title_and_description(self):
        found = plots.everything(raw())
        self.assertEqual(sorted(found), ["beside-shm.svg", "cells-shm.svg", "rotation.svg"])
        for name, text in found.items():
            root = ElementTree.fromstring(text)
            self.assertTrue(root.find(SVG + "title").text, name)
            self.assertTrue(root.find(SVG + "desc").text, name)
            self.assertIn("prefers-color-scheme", root.find(SVG + "style").text)

    def test_nothing_measured_nothing_drawn(self):
        self.assertEqual(plots.everything({"cells": {"shm": {"read-128k": {"keymoult": []}}}, "rotation": {}, "beside": {}}), {})

    def test_bars_are_as_long_as_their_medians(self):
        text = "".join(bars.panel(0, "", "GB/s", [bars.Bar("a", "mine", [2.0], ""), bars.Bar("b", "plain", [1.0], "")], str))
        widths = [float(rect.get("width")) for rect in ElementTree.fromstring("<svg>%s</svg>" % text).iter("rect")]
        self.assertAlmostEqual(widths[0], 2 * widths[1], delta=0.2)

    def test_the_goal_of_a_cell_is_the_peer_s_share_or_the_cap(self):
        rounds = lambda rate: [{"bytes_per_s": rate}]
        self.assertEqual(plots.goal({"nbdkit file": rounds(2e9)}, 1e9), (2.6, "target: 1.3 × plain"))
        capped = plots.goal({"nbdkit file": rounds(2e9), "keymoult null": rounds(2e9)}, 1e9)
        self.assertEqual(capped, (1.8, "target: 0.9 of keymoult null"))
        self.assertEqual(plots.goal({"no server": rounds(2e9), "nbdkit file": rounds(1e9)}, 1e9)[0], 1.9)
        self.assertIsNone(plots.goal({"keymoult": rounds(1e9)}, 1e9))

    def test_steps_are_round(self):
        self.assertEqual([bars.nice(top) for top in (1, 4, 7, 170)], [0.25, 1, 2, 50])

    def test_a_decade_of_the_rest_takes_the_same_width(self):
        steps = [curves.tail(mark) for mark in (90, 99, 99.9, 99.99)]
        for before, after in zip(steps, steps[1:]):
            self.assertAlmostEqual(after - before, 1)

    def test_old_figures_have_three_percentiles(self):
        self.assertEqual(plots.points(measured(1)), [(50, 50.0), (99, 400.0), (99.9, 5000.0)])
        new = measured(1, latency_us_percentiles=[[50, 1.0], [99.99, 2.0]])
        self.assertEqual(plots.points(new), [(50, 1.0), (99.99, 2.0)])


class Page(unittest.TestCase):
    def test_a_run_leaves_a_page_and_its_plots_and_none_of_an_earlier_one(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "plots"))
            stale = os.path.join(folder, "plots", "cells-disk.svg")
            open(stale, "w").close()
            results.write(folder, raw())
            self.assertFalse(os.path.exists(stale))
            with open(os.path.join(folder, "RESULTS.md")) as file:
                page = file.read()
            for name in os.listdir(os.path.join(folder, "plots")):
                self.assertIn("(plots/%s)" % name, page)
            self.assertIn("| keymoult | 2 | 3000.0 |", page)
            self.assertIn("not recorded by this run", page)

    def test_a_page_has_a_section_for_every_part_and_no_verdict_is_open_that_was_measured(self):
        with tempfile.TemporaryDirectory() as folder:
            results.write(folder, dict(raw(), wide=made_up.everything()))
            with open(os.path.join(folder, "RESULTS.md")) as file:
                page = file.read()
        for part in made_up.everything():
            self.assertIn("## %s\n" % report_wide.TABLES[part][0], page)
        for words in ("four connections", "fsync-heavy client", "stretch: XTS", "to serving", "growth", "wake-ups", "idle daemon"):
            row = next(line for line in page.splitlines() if line.startswith("| ") and words in line and "**" in line)
            self.assertNotIn("not measured", row)


if __name__ == "__main__":
    unittest.main()
