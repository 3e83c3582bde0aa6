"""`npx cambio dev` from the packed tarballs: what they contain, and a first token in a fresh folder.

With RELEASE=1, the binary is that of `make package-server`, with the profile that is published. Without, it is the
debug build that the other tests have, and the tests of what is published only are left out.
"""

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from ports import free_ports  # noqa: E402

README = (ROOT / "clients/cambio/README.md").read_text()
VERSION = json.loads((ROOT / "clients/cambio/package.json").read_text())["version"]
PLATFORMS = ["linux-x64", "linux-arm64", "darwin-arm64", "darwin-x64"]
MB = 1_000_000
# The environment variable by which a test finds the processes that it started.
MARK = "CAMBIO_TEST_RUN"
PATIENCE = 60
IS_PUBLISHED = bool(os.environ.get("RELEASE"))
of_what_is_published = pytest.mark.skipif(not IS_PUBLISHED, reason="a debug build: make test-npx RELEASE=1")


def run(*command, cwd=ROOT, **more):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    return done.returncode, done.stdout, done.stderr


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def tarballs(tmp_path_factory):
    """A folder with the tarballs, by the command of the README."""
    folder = tmp_path_factory.mktemp("tarballs")
    (command,) = re.findall(r"^ {4}(make package package-server) APP=\.\./app$", README, re.MULTILINE)
    debug = [] if IS_PUBLISHED else ["DEBUG=1"]
    code, out, err = run(*shlex.split(command), "--no-print-directory", f"APP={folder}", *debug)
    assert code == 0, out + err
    return folder


@pytest.fixture(scope="module")
def server_tarball(tarballs):
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}[os.uname().machine]
    return tarballs / f"cambio-cli-{os.uname().sysname.lower()}-{machine}-{VERSION}.tgz"


@pytest.fixture(scope="module")
def app(tarballs):
    """A fresh folder, into which the line of the README has installed both packages."""
    (tarballs / "package.json").write_text('{"private": true}')
    (line,) = re.findall(r"^ {4}(npm install --save-dev \./cambio-cli-\*\.tgz)$", README, re.MULTILINE)
    code, out, err = run("bash", "-c", f"{line} --no-audit --no-fund", cwd=tarballs)
    assert code == 0, out + err
    return tarballs


# --- The packages -----------------------------------------------------------------------------------------------------


def contents(path):
    with tarfile.open(path) as archive:
        members = {member.name.removeprefix("package/"): member for member in archive.getmembers()}
        return members, {name: archive.extractfile(member).read() for name, member in members.items()}


def test_the_command_s_package_depends_on_that_of_each_platform(tarballs):
    _, files = contents(tarballs / f"cambio-cli-{VERSION}.tgz")

    manifest = json.loads(files["package.json"])
    assert manifest["name"] == "@cambio/cli" and manifest["version"] == VERSION
    assert manifest["bin"] == {"cambio": "dist/main.js"}
    assert manifest["optionalDependencies"] == {f"@cambio/cli-{platform}": VERSION for platform in PLATFORMS}
    assert manifest["publishConfig"] == {"access": "public", "provenance": True}
    for name in ("LICENSE-APACHE", "LICENSE-MIT"):
        assert files[name] == (ROOT / name).read_bytes()
    assert {"dist/main.js", "dist/dev.js", "README.md"} <= set(files)
    assert not [name for name in files if name.startswith(("test", "src", "node_modules", "pack.", "."))]


def test_the_server_s_package_is_for_this_platform_and_has_the_licences_of_its_crates(server_tarball):
    members, files = contents(server_tarball)

    manifest = json.loads(files["package.json"])
    system, machine = manifest["name"].removeprefix("@cambio/cli-").split("-")
    assert manifest["version"] == VERSION
    assert (manifest["os"], manifest["cpu"]) == ([system], [machine])
    assert manifest.get("libc") == (["glibc"] if system == "linux" else None)
    assert manifest["publishConfig"] == {"access": "public", "provenance": True}
    assert members["bin/cambio"].mode == 0o755
    for name in ("LICENSE-APACHE", "LICENSE-MIT"):
        assert files[name] == (ROOT / name).read_bytes()
    # Each crate with its licence, and the texts.
    licences = files["LICENSE-THIRD-PARTY"].decode()
    locked = set(re.findall(r'^name = "(.+)"\nversion = "(.+)"\nsource', (ROOT / "Cargo.lock").read_text(), re.MULTILINE))
    listed = re.findall(r"^(\S+) (\d\S*): (.+)$", licences, re.MULTILINE)
    assert len(listed) > 100 and {(name, version) for name, version, _ in listed} <= locked
    assert {"aws-lc-sys", "axum", "dynoxide-rs", "libsqlite3-sys", "rustls"} <= {name for name, _, _ in listed}
    assert "proptest" not in {name for name, _, _ in listed}
    assert not [name for name, _, licence in listed if licence == "see below"]
    for text in ("Apache License", "Permission is hereby granted", "OpenSSL"):
        assert text in licences


@of_what_is_published
def test_the_binary_has_at_most_25_mb_and_no_folder_of_the_machine_that_built_it(server_tarball):
    binary = contents(server_tarball)[1]["bin/cambio"]

    glibc = max((tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(\d\.\d+)\b", binary)), default=None)
    sizes = f"{len(binary) / MB:.1f} MB, packed {server_tarball.stat().st_size / MB:.1f} MB"
    print(f"\nbinary {sizes}; built here, it needs glibc {'.'.join(map(str, glibc or ('none',)))}")
    assert len(binary) <= 25 * MB, sizes
    # The folder of the crates' sources in a panic's place shows that places are there, and cut.
    assert b"/cargo/registry/src/" in binary
    for folder in (str(ROOT), str(Path.home())):
        assert folder.encode() + b"/" not in binary, folder


# --- The server -------------------------------------------------------------------------------------------------------


class Server:
    """A running `npx cambio dev`, at a terminal of its own."""

    def __init__(self, app, *arguments, command=("npx", "cambio", "dev")):
        self.port, self.github_port = free_ports(2)
        self.url, self.mark = f"http://localhost:{self.port}", uuid.uuid4().hex
        ports = ["--port", str(self.port), "--github-port", str(self.github_port)]
        self.output, self.status = "", None
        self.started = time.monotonic()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(app)
            environment = {**os.environ, MARK: self.mark}
            environment.pop("NO_COLOR", None)
            os.execvpe(command[0], [*command, *arguments, *ports], environment)
        self.until("Ctrl-C stops.")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.status is None:
            os.waitpid(self.pid, 0)
        os.close(self.terminal)

    def read(self, seconds):
        """Reads from the terminal. Returns whether it is still open."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return True
        try:
            read = os.read(self.terminal, 65536)
        except OSError:  # the last process at the terminal has ended
            return False
        self.output += read.decode(errors="replace").replace("\r", "")
        return bool(read)

    def until(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.output:
            assert self.read(0.05) and time.monotonic() < end, f"no {text!r} in\n{self.output}"

    def processes(self):
        """Returns the processes that carry the mark."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:  # ended meanwhile, or of another user
                continue
        return found

    def binary(self):
        """Returns the process of the local server itself."""
        (pid,) = [pid for pid in self.processes() if os.readlink(f"/proc/{pid}/exe").endswith("/bin/cambio")]
        return pid

    def stopped(self):
        """Waits for the end of the command, and returns its exit status."""
        end = time.monotonic() + PATIENCE
        while self.read(0.05):
            assert time.monotonic() < end, f"it does not stop:\n{self.output}"
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def leaves_nothing(self):
        end = time.monotonic() + 5
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)
        assert self.processes() == []
        for port in (self.port, self.github_port):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, port

    def printed(self, start):
        """Returns a command that the server printed, which begins like this."""
        (command,) = re.findall(rf"^  ({re.escape(start)}(?:.*\\\n)*.*)$", self.output, re.MULTILINE)
        return command

    def sign_in(self):
        """Runs the two printed commands in a shell. Returns the answer with the token, and the user."""
        commands = f"{self.printed('ANSWER=')}\n{self.printed('curl -s')}"
        code, out, err = run("bash", "-c", commands)
        assert code == 0, out + err
        answer, user = out.strip().splitlines()
        return json.loads(answer), json.loads(user)


def test_the_first_token_comes_after_the_installation(app):
    with Server(app) as server:
        ready = time.monotonic() - server.started
        answer, user = server.sign_in()
        print(f"\nready after {ready:.2f} s, token after {time.monotonic() - server.started:.2f} s")
        assert answer["user"]["id"] == user["id"] and answer["token_type"] == "Bearer"
        assert "<title>Cambio" in get(server.url)
        # The terminal is passed on: a line for each request, in colour.
        server.until("\x1b[32m200\x1b[0m")
        # In this folder there is no clone to run `cargo` in.
        assert "cargo" not in server.output
        assert "npx cambio dev --write-env .env.local" in server.output


@of_what_is_published
def test_the_server_starts_in_under_a_second_of_its_own_time(app):
    with Server(app) as server:
        ready = time.monotonic() - server.started
        fields = Path(f"/proc/{server.binary()}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])

    seconds = ticks / os.sysconf("SC_CLK_TCK")
    print(f"\nthe server used {seconds:.2f} s of the processor until it was ready, {ready:.2f} s after npx was started")
    assert seconds < 1


def test_the_users_and_keys_stay_in_the_folder_and_out_of_git(app):
    with Server(app) as server:
        _, user = server.sign_in()
    run("git", "init", "--quiet", cwd=app)

    assert ".cambio" not in run("git", "status", "--porcelain", "--untracked-files=all", cwd=app)[1]
    code, out, err = run("npx", "cambio", "dev", "admin", "users", "list", cwd=app)
    assert code == 0 and user["id"] in out, out + err


def test_the_environment_of_the_app_is_written_where_the_command_is_run(app):
    command = re.findall(r"^ {4}(npx cambio dev --write-env .+)$", README, re.MULTILINE)[0].split()
    with Server(app, command=command) as server:
        text = (app / ".env.local").read_text()

        assert text.startswith("# >>> cambio: written by `npx cambio dev --write-env`")
        for line in (f"CAMBIO_URL={server.url}", f"GITHUB_URL=http://localhost:{server.github_port}"):
            assert line in text.splitlines()
        assert "The environment of your app is in .env.local." in server.output


NPX = ("npx", "cambio", "dev")
BIN = ("node_modules/.bin/cambio", "dev")


@pytest.mark.parametrize("command", [NPX, BIN], ids=["npx", "bin"])
def test_ctrl_c_stops_the_server_and_nothing_is_left(app, command):
    with Server(app, command=command) as server:
        assert len(server.processes()) >= 2

        os.write(server.terminal, b"\x03")

        status = server.stopped()
        server.leaves_nothing()
        assert server.output.count("Stopped.") == 1
        assert not (app / ".cambio/running.json").exists()
        # npx itself ends with the signal, whatever the status of the command was.
        assert status == 0 or (command, status) == (NPX, -signal.SIGINT)


# npx leaves SIGINT to the terminal, which sends it to all, and passes SIGTERM on.
@pytest.mark.parametrize("command, name", [(BIN, "SIGINT"), (BIN, "SIGTERM"), (NPX, "SIGTERM")])
def test_a_signal_to_the_command_alone_stops_the_server_and_nothing_is_left(app, command, name):
    with Server(app, command=command) as server:
        os.kill(server.pid, getattr(signal, name))

        status = server.stopped()
        server.leaves_nothing()
        # npx ends before the server does, and with it the terminal.
        assert command == NPX or (status == 0 and server.output.count("Stopped.") == 1)


def test_the_end_of_the_server_is_the_end_of_the_command(app):
    with Server(app) as server:
        os.kill(server.binary(), signal.SIGKILL)

        assert server.stopped() == 128 + signal.SIGKILL
        server.leaves_nothing()


def test_a_port_in_use_is_named_with_the_option_that_chooses_another(app):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run("npx", "cambio", "dev", "--in-memory", "--port", str(port), "--github-port", "0", cwd=app)

    assert code == 1
    assert f"cambio: port {port} is in use; stop the program that uses it, or choose another port with --port" in err


def test_the_check_of_the_readme_ends_with_the_line_that_it_shows(app):
    section = README.split("\n## Check\n")[1].split("\n## ")[0]
    command, last = re.findall(r"^ {4}(.+)$", section, re.MULTILINE)
    assert command == "npx cambio dev demo"

    code, out, err = run(*command.split(), cwd=app)

    assert code == 0 and out.strip().splitlines()[-1] == last, out + err


@pytest.mark.parametrize(
    "arguments, status, text",
    [
        (["--help"], 0, "Usage: npx cambio dev [OPTIONS]"),
        (["--no-such-option"], 2, "Usage: npx cambio dev"),
        (["admin", "users", "find", "nobody@example.com"], 3, "nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_exit_status_of_the_server_is_that_of_npx(app, arguments, status, text):
    code, out, err = run("npx", "cambio", "dev", *arguments, cwd=app)

    assert code == status, out + err
    assert text in out + err


def test_without_the_package_of_the_platform_the_error_says_what_to_install(tarballs, tmp_path):
    (tmp_path / "package.json").write_text('{"private": true}')
    # As with --omit=optional: the package is there, and that of the platform is not.
    tarball = tarballs / f"cambio-cli-{VERSION}.tgz"
    code, out, err = run("npm", "install", "--omit=optional", "--no-audit", "--no-fund", str(tarball), cwd=tmp_path)
    assert code == 0, out + err

    code, out, err = run("npx", "cambio", "dev", cwd=tmp_path)

    assert (code, out) == (2, "")
    assert re.search(r"^cambio: the package @cambio/cli-\S+, .+ is not installed\.$", err, re.MULTILINE)
    assert "--omit=optional" in err and "make package-server" in err
