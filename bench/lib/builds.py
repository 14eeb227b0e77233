"""Finds or builds the program that a comparison names: a path, or a revision of this repository."""

import os
import subprocess

from .peers import ROOT
from .process import run, say


def program(name):
    """The absolute path of a keymoult program; says so and ends if there is none."""
    if os.path.isfile(name) and os.access(name, os.X_OK):
        return os.path.abspath(name)
    asked = subprocess.run(["git", "-C", ROOT, "rev-parse", "--verify", "--quiet", name + "^{commit}"],
                           stdout=subprocess.PIPE, text=True, check=False)
    if asked.returncode != 0:
        raise SystemExit("bench: %s is neither a program nor a revision" % name)
    return _built(asked.stdout.strip())


def _built(revision):
    folder = os.path.join(ROOT, "target", "regress", revision[:12])
    found = os.path.join(folder, "target", "release", "keymoult")
    if not os.path.isdir(folder):
        run(["git", "-C", ROOT, "worktree", "add", "--detach", folder, revision])
    if not os.path.exists(found):
        say("building %s" % revision[:12])
        env = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
        subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "keymoult", *_pieces(folder)], cwd=folder, env=env, check=True)
    return found


def _pieces(folder):
    """The example whose instructions are counted, in revisions that have it."""
    with open(os.path.join(folder, "Cargo.toml")) as manifest:
        return ["--example", "keymoult-pieces"] if '"keymoult-pieces"' in manifest.read() else []
