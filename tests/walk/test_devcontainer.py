"""The container of GitHub Codespaces and of editors: what is in it is what the project needs and runs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT  # noqa: E402

CONTAINER = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
COMMAND = (ROOT / "local/src/command.rs").read_text()
SETTINGS = (ROOT / "local/src/settings.rs").read_text()
README = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())


def feature(name):
    (version,) = [
        options["version"]
        for id, options in CONTAINER["features"].items()
        if re.fullmatch(rf"ghcr\.io/devcontainers/features/{name}:\d+", id)
    ]
    return version


def test_the_ports_are_those_of_cargo_run_and_of_the_app():
    constants = dict(re.findall(r"pub const (\w+): u16 = (\d+);", SETTINGS))
    arguments = re.findall(r"default_value_t = settings::(\w+)\)\]\s+(\w+): u16", COMMAND)
    ports = {name: int(constants[constant]) for constant, name in arguments}
    (app,) = re.findall(r'default_value = "http://localhost:(\d+)"\)\]\s+app_url', COMMAND)

    assert CONTAINER["forwardPorts"] == [ports["port"], ports["github_port"], int(app)]
    assert set(CONTAINER["portsAttributes"]) == {str(port) for port in CONTAINER["forwardPorts"]}
    # The local server answers `localhost` with its own port only.
    assert all(port["requireLocalPort"] for port in CONTAINER["portsAttributes"].values())


def test_the_page_says_how_the_ports_reach_the_browser():
    forward = " ".join(f"{port}:{port}" for port in CONTAINER["forwardPorts"])
    assert f"`gh codespace ports forward {forward}`" in README


def test_the_versions_are_those_that_the_project_needs():
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert feature("rust") == manifest["workspace"]["package"]["rust-version"]
    assert feature("node") == re.search(r"node-version: (\d+)", workflow)[1]
    # Debian 12 has Python 3.11, the version of CI.
    assert (feature("python"), CONTAINER["image"].split("-")[-1]) == ("os-provided", "bookworm")
    assert "python-version: '3.11'" in workflow
    # A tag that moves to another major version would change the container without a commit.
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/base:\d+-bookworm", CONTAINER["image"])


def test_the_command_of_the_container_builds_what_cargo_run_runs():
    command = CONTAINER["postCreateCommand"].split()
    assert command[:3] == ["cargo", "build", "--bin"]
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    listed = subprocess.run(metadata, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    targets = [target for package in json.loads(listed)["packages"] for target in package["targets"]]
    assert set(command[3:]) <= {target["name"] for target in targets if "bin" in target["kind"]}
