"""A new machine, as far as a folder can be one: the tracked files, an empty HOME, the programs that a page names."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from pages import ROOT, Block, blocks

sys.path.insert(0, str(ROOT / "tests"))
from tree_copy import clone, link_or_copy  # noqa: E402

# What every Linux has, and the C compiler that Rust needs.
SYSTEM = """
    awk basename bash cat cc chmod cp curl cut date dirname echo env expr false find getconf grep gunzip gzip
    head hostname id kill ld ln ls mkdir mktemp mv nproc openssl perl printf ps pwd readlink rm rmdir sed seq sh
    sha256sum sleep sort tail tar tee test touch tr true uname uniq wc which xargs
""".split()
RUST = ["cargo", "rustc", "rustup"]
NODE = ["make", "node", "npm", "npx"]

# `cargo` that runs a `cambio` which is built already.
BUILT = """#!/bin/bash
[ "$1" = run ] || exec {cargo} "$@"
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
shift
exec {built} "$@"
"""

LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
    fcntl.ioctl(link, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
print("up", flush=True)
input()
"""


class Network:
    """A network with the loopback address alone, so that the ports of the pages are free.

    Where the machine does not allow one, the commands get the network of the machine, and its ports have to be free.
    """

    def __init__(self):
        self.enter, self.holder = [], None
        if not (shutil.which("unshare") and shutil.which("nsenter")):
            return
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        holder = subprocess.Popen(["unshare", *user, "--net", sys.executable, "-c", LOOPBACK_UP], **options)
        if holder.stdout.readline() == "up\n":
            self.holder = holder
            spaces = [f"--net=/proc/{holder.pid}/ns/net"]
            if user:
                spaces += [f"--user=/proc/{holder.pid}/ns/user", "--preserve-credentials"]
            self.enter = [shutil.which("nsenter"), *spaces, "--"]

    def close(self):
        if self.holder:
            self.holder.communicate("\n")


class Server:
    """A command that runs until Ctrl-C."""

    def __init__(self, command, process):
        self.command, self.process, self.lines = command, process, []
        self.reader = threading.Thread(target=lambda: self.lines.extend(process.stdout), daemon=True)
        self.reader.start()

    @property
    def output(self):
        return "".join(self.lines)

    def until(self, ready, seconds):
        """Waits until `ready` returns a value, and returns it."""
        end = time.monotonic() + seconds
        while not (value := ready()):
            assert self.process.poll() is None, f"{self.command} has ended:\n{self.output}"
            assert time.monotonic() < end, f"{self.command} is not ready after {seconds} s:\n{self.output}"
            time.sleep(0.2)
        return value

    def stop(self):
        """Presses Ctrl-C, and returns the exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.reader.join(5)
        return self.process.returncode


class Machine:
    """The new machine. Its clone is the folder `cambio`, beside which the pages have the app in `app`."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.clone, self.app = folder, clone(ROOT, folder), folder / "app"
        self.network, self.servers, self.taken, self.variables = Network(), [], set(), {}
        for name in ("app", "home", "bin"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "home").mkdir()

    def close(self):
        for server in self.servers:
            server.stop()
        self.network.close()

    def install(self, *programs: str, **scripts: str):
        """Puts the programs of the system and `programs` into PATH, and nothing else; `scripts` are written there."""
        path = self.folder / "bin"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for name in [*SYSTEM, *programs]:
            if found := shutil.which(name):
                (path / name).symlink_to(found)
        if "cargo" in programs and (built := os.environ.get("CAMBIO")):
            # As in tests/browser: a `cambio` to run in place of the one that cargo builds.
            scripts.setdefault("cargo", BUILT.format(cargo=shutil.which("cargo"), built=built))
        for name, text in scripts.items():
            (path / name).unlink(missing_ok=True)
            (path / name).write_text(text)
            (path / name).chmod(0o755)

    def env(self, **more: str) -> dict[str, str]:
        home = Path.home()
        return {
            "PATH": str(self.folder / "bin"),
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            # No page mentions these: they are where this machine has its toolchain and its downloads.
            "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
            "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
            "npm_config_cache": os.environ.get("npm_config_cache", str(home / ".npm")),
            "CARGO_NET_OFFLINE": "true",
            "NEXT_TELEMETRY_DISABLED": "1",
            **self.variables,
            **more,
        }

    def take(self, page: str, starts: str) -> Block:
        """Returns the block of `page` whose first line begins with `starts`, and remembers that a walk takes it."""
        found = [block for block in blocks(page) if block.starts.startswith(starts) and block not in self.taken]
        assert found, f"{page} has no block any more that begins with {starts!r}: correct the walk"
        self.taken.add(found[0])
        return found[0]

    def run(
        self, command: str, folder: Path | None = None, online: bool = False, fails: bool = False, **more: str
    ) -> str:
        """Runs a command or a block to its end, and returns what it prints, with its errors if it `fails`.

        The variables that it sets stay for the next one.
        """
        state = self.folder / "variables"
        script = f"set -o pipefail\n{command}\nstatus=$?\ndeclare -p >{state}\nexit $status"
        enter = [] if online else self.network.enter
        options = {"cwd": folder or self.clone, "env": self.env(**more), "stdin": subprocess.DEVNULL, "text": True}
        run = subprocess.run([*enter, shutil.which("bash"), "-c", script], capture_output=True, timeout=1800, **options)
        assert (run.returncode != 0) == fails, f"{command}\n{run.stdout}{run.stderr}"
        self.remember(state.read_text())
        return run.stdout + run.stderr if fails else run.stdout

    def remember(self, declared: str):
        """Keeps the variables that a block has set: lines such as `declare -- SECRET="…"`."""
        kept = ("BASH_EXECUTION_STRING", "IFS", "OLDPWD", "PWD", "SHLVL", *self.env())
        for name, value in re.findall(r'^declare -[-x] (\w+)="((?:[^"\\]|\\.)*)"$', declared, re.MULTILINE):
            if name not in kept or name in self.variables:
                self.variables[name] = re.sub(r"\\(.)", r"\1", value)

    def serve(self, command: str, url: str, folder: Path | None = None, seconds: int = 120, **more: str) -> Server:
        """Starts a command in a terminal of its own, and waits until `url` answers."""
        if not self.network.enter:
            status = self.get(url)
            assert not status, f"{url} answers already: stop what uses the port, or allow `unshare --net`"
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        argv = [*self.network.enter, shutil.which("bash"), "-c", command]
        process = subprocess.Popen(
            argv, cwd=folder or self.clone, env=self.env(**more), start_new_session=True, **options
        )
        server = Server(command, process)
        self.servers.append(server)
        server.until(lambda: self.get(url), seconds)
        return server

    def get(self, url: str, *options: str) -> str:
        """Returns the status and the body that `url` answers, or nothing."""
        curl = [shutil.which("curl"), "-s", "--max-time", "60", "-w", "\n%{http_code}"]
        command = [*self.network.enter, *curl, *options, url]
        done = subprocess.run(command, capture_output=True, text=True)
        body, _, status = done.stdout.rpartition("\n")
        return "" if status in ("", "000") else f"{status} {body}"

    def json(self, url: str, *options: str):
        return json.loads(self.get(url, *options).split(" ", 1)[1])


def shape(text: str) -> list[str]:
    """Returns the lines of what a command prints, with the same text for each id, time and port."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)
    text = re.sub(r"localhost:\d+", "localhost:<port>", text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]
