"""Runs put together: what is measured again is replaced whole, everything else stays, and each figure knows its run."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import merge, results  # noqa: E402


def raw(when, cpu="a", **figures):
    machine = {"cpu": cpu, "cpu_flags": ["aes"], "cores": 2, "kernel": "6", "load_before": 0.1, "keymoult": when}
    made = {"when": when, "command": "bench/run", "machine": machine,
            "cells": {}, "commands": {}, "rotation": {}, "beside": {}, "wide": {}, **figures}
    return dict(made, runs=[merge.as_run(made)])


OLD = raw("mon", cells={"shm": {"read-128k": {"keymoult": [1], "peer": [1]}, "write-128k": {"keymoult": [1]}}},
          wide={"multi": {"in": {"a": [1]}}})


class Merge(unittest.TestCase):
    def test_a_figure_is_replaced_whole_and_others_stay(self):
        both = merge.into(OLD, raw("tue", cells={"shm": {"read-128k": {"keymoult": [2]}}}, wide={"idle": {}}))
        self.assertEqual(both["cells"]["shm"], {"read-128k": {"keymoult": [2]}, "write-128k": {"keymoult": [1]}})
        self.assertEqual(sorted(both["wide"]), ["idle", "multi"])
        self.assertEqual([run["figures"] for run in both["runs"]],
                         [["cells/shm/write-128k", "wide/multi"], ["cells/shm/read-128k", "wide/idle"]])

    def test_a_run_of_which_nothing_is_left_is_forgotten(self):
        both = merge.into(raw("mon", wide={"idle": {"a": 1}}), raw("tue", wide={"idle": {"a": 2}}))
        self.assertEqual([run["when"] for run in both["runs"]], ["tue"])

    def test_more_rounds_follow_those_that_are_there(self):
        both = merge.into(OLD, raw("tue", wide={"multi": {"in": {"a": [2]}, "in_flight": 64}}), more=True)
        self.assertEqual(both["wide"]["multi"], {"in": {"a": [1, 2]}, "in_flight": 64})
        self.assertIn("wide/multi", both["runs"][0]["figures"])
        self.assertIn("wide/multi", both["runs"][1]["figures"])

    def test_figures_of_another_machine_are_refused(self):
        with self.assertRaises(SystemExit):
            merge.into(OLD, raw("tue", cpu="b"))

    def test_figures_from_before_there_were_runs_are_one_run(self):
        old = {key: value for key, value in OLD.items() if key != "runs"}
        self.assertEqual(merge.runs(old), OLD["runs"])
        self.assertEqual(results.of_run(OLD["runs"][0]["figures"]), ["cells in memory", "multi"])


if __name__ == "__main__":
    unittest.main()
