"""The candidates of the bench: Cambio's functions, and the same routes in Node and in Python."""

import compileall
import os
import subprocess
import sys
from pathlib import Path

from runtime import Failure

BASELINES = Path(__file__).resolve().parent / "baselines"
NODE, PYTHON = BASELINES / "node", BASELINES / "python"
# The names of the functions in the baselines.
HANDLERS = {
    "me": ("me", "me"),
    "token-exchange": ("token", "token_exchange"),
    "authorizer": ("authorizer", "authorizer"),
}


def build_baselines():
    """Bundles the Node functions, and compiles the Python functions to bytecode, as a deployment would."""
    if not (NODE / "node_modules").is_dir():
        raise Failure(f"{NODE} has no node_modules: run `make setup`")
    built = subprocess.run(["npm", "run", "--silent", "build"], cwd=NODE, stdin=subprocess.DEVNULL)
    if built.returncode != 0 or not compileall.compile_dir(PYTHON, quiet=1):
        raise Failure("a baseline cannot be built")


def cambio(binaries, function):
    return [str(binaries[function])]


def node(_, function):
    return ["node", str(NODE / "bootstrap.mjs"), str(NODE / "dist" / f"{HANDLERS[function][0]}.mjs")]


def python(_, function):
    return [sys.executable, str(PYTHON / "bootstrap.py"), HANDLERS[function][1]]


# name → (binaries, function) → command. A command does not depend on the environment.
CANDIDATES = {"cambio": cambio, "node": node, "python": python}


def environment(settings):
    """The settings of a function, and what Lambda's runtimes for Node and Python find besides."""
    return {**settings, "AWS_DEFAULT_REGION": settings["AWS_REGION"], "PATH": os.environ["PATH"]}
