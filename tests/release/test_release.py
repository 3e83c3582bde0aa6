"""What is published, and the release that publishes it: the package from npm's tarball, and a release in a copy."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import release  # noqa: E402
from release import PLACES, ROOT, Refused  # noqa: E402

CLIENT = ROOT / "clients/next-auth"
TARBALL = "./cambio-next-auth-*.tgz"


def run(*command, cwd=ROOT):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


def files_with_a_version():
    return sorted({file for file, _, _ in PLACES} | {"Cargo.lock", "CHANGELOG.md", "shared/README.md"})


@pytest.fixture
def tree(tmp_path):
    """The files that a release changes, and those that name the workspace's packages."""
    for file in {*files_with_a_version(), *release.tracked_files(ROOT)}:
        if file in files_with_a_version() or Path(file).name == "Cargo.toml":
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


# --- The version ------------------------------------------------------------------------------------------------------


def test_every_file_has_the_version_of_the_workspace():
    assert re.fullmatch(release.SEMVER, release.version_of(ROOT))
    # The nine functions and the other crates each have it in Cargo.lock.
    assert sum(place.startswith("Cargo.lock") for place in release.versions(ROOT)) > 12


@pytest.mark.parametrize("file", sorted({file for file, _, _ in PLACES} | {"Cargo.lock"}))
def test_a_file_with_another_version_is_noticed(tree, file):
    now, path = release.version_of(tree), tree / file
    pattern = next(pattern for f, pattern, _ in release.places(tree) if f == file)
    match = re.search(pattern, path.read_text(), re.MULTILINE)
    path.write_text(path.read_text().replace(match[0], match[0].replace(now, "7.7.7"), 1))

    with pytest.raises(Refused, match="7.7.7"):
        release.version_of(tree)


def test_a_release_sets_each_version_and_dates_the_changes(tree):
    changes = release.UNRELEASED.search((tree / "CHANGELOG.md").read_text())["changes"]

    release.edit(tree, "3.4.5", "2031-02-03")

    assert release.version_of(tree) == "3.4.5"
    log = (tree / "CHANGELOG.md").read_text()
    assert f"## Unreleased\n\n## 3.4.5 - 2031-02-03\n{changes}" in log
    assert 'package = "cambio", version = "3.4"' in (tree / "shared/README.md").read_text()
    # A file of another package that has the old version keeps it.
    old = (ROOT / "Cargo.lock").read_text().splitlines()
    new = (tree / "Cargo.lock").read_text().splitlines()
    assert {line for line in new if line not in old} == {'version = "3.4.5"'}
    for file in ("clients/next-auth/package.json", "clients/next-auth/package-lock.json"):
        assert json.loads((tree / file).read_text())["version"] == "3.4.5"


@pytest.mark.parametrize(
    "version, tags, reason",
    [
        ("1.2", [], "no version"),
        ("v1.2.0", [], "no version"),
        ("01.2.0", [], "no version"),
        ("1.2.0-next", [], "no version"),
        ("0.0.1", [], "comes before"),
        ("9.0.0", ["v9.0.0"], "the tag v9.0.0 is there"),
    ],
)
def test_a_version_that_cannot_be_released_is_refused(tree, version, tags, reason):
    with pytest.raises(Refused, match=reason):
        release.check(tree, version, tags)


def test_the_version_of_the_tree_can_be_released_once(tree):
    now = release.version_of(tree)

    release.check(tree, now, [])
    release.check(tree, "9.0.0-rc.1", [])

    with pytest.raises(Refused, match="is there"):
        release.check(tree, now, [f"v{now}"])
    release.edit(tree, "9.0.0", "2031-02-03")
    with pytest.raises(Refused, match="comes before"):
        release.check(tree, "9.0.0-rc.1", [])


def test_a_release_with_changed_behaviour_has_the_steps_of_an_upgrade(tree):
    log = tree / "CHANGELOG.md"
    text = "# Changelog\n\n## Unreleased\n\n### Upgrade\n\nIn this order:\n\n1. Deploy.\n\n### Changed\n\n- It is new.\n"

    for accepted in (text, text.replace("### Upgrade\n\nIn this order:\n\n1. Deploy.\n\n### Changed", "### Added")):
        log.write_text(accepted)
        release.check(tree, "9.0.0", [])

    for refused in (text.replace("Upgrade", "Added"), text.replace("1. Deploy", "Deploy")):
        log.write_text(refused)
        with pytest.raises(Refused, match="without `### Upgrade`"):
            release.check(tree, "9.0.0", [])


def test_a_release_without_changes_is_refused(tree):
    release.edit(tree, "9.0.0", "2031-02-03")

    with pytest.raises(Refused, match="nothing under `## Unreleased`"):
        release.check(tree, "9.0.1", [])


# --- The release ------------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(capfd):
    before = run("git", "status", "--porcelain")

    release.dry_run("9.8.7", "2031-02-03", [])

    assert "9.8.7 can be released; nothing was changed" in capfd.readouterr().out
    assert run("git", "status", "--porcelain") == before


@pytest.fixture
def repository(tree, monkeypatch):
    """A repository with what a release changes; the commands of the release are recorded in place of being run."""
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]):
        assert run("git", *command, cwd=tree)[0] == 0
    for setting in ("user.name", "user.email"):
        run("git", "config", setting, "x@y", cwd=tree)
    calls = []

    def recorded(*command, **_):
        calls.append(command)
        if command[0] == "git":
            assert run(*command, cwd=tree)[0] == 0, command

    monkeypatch.setattr(release, "ROOT", tree)
    monkeypatch.setattr(release, "run", recorded)
    return tree, calls


def test_a_release_checks_commits_and_tags_and_pushes_nothing(repository, capsys):
    tree, calls = repository

    release.release("9.8.7", "2031-02-03", [])

    assert [" ".join(call[:2]) for call in calls][:2] == [".ci/run", "cargo package"]
    assert all("push" not in call and "publish" not in call for call in calls)
    assert "git push --atomic origin" in capsys.readouterr().out
    assert run("git", "log", "-1", "--format=%s", cwd=tree)[1] == "release: 9.8.7\n"
    assert run("git", "tag", "--points-at", "HEAD", cwd=tree)[1] == "v9.8.7\n"
    assert run("git", "status", "--porcelain", "--untracked-files=no", cwd=tree)[1] == ""


def test_a_release_from_a_changed_tree_is_refused(repository):
    tree, calls = repository
    (tree / "CHANGELOG.md").write_text("changed")

    with pytest.raises(Refused, match="commit or stash"):
        release.release("9.8.7", "2031-02-03", [])

    assert calls == []


def test_nothing_is_committed_if_a_check_fails(repository, monkeypatch):
    tree, calls = repository

    def failing(*command, **_):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(release, "run", failing)
    with pytest.raises(Refused, match="Nothing is committed"):
        release.release("9.8.7", "2031-02-03", [])

    assert run("git", "log", "--format=%s", cwd=tree)[1] == "x\n"


# --- The packages -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A fresh folder with the tarball of `make package`."""
    folder = tmp_path_factory.mktemp("app")
    code, printed = run("make", "--no-print-directory", "package", f"APP={folder}")
    assert code == 0, printed
    return folder


def test_the_tarball_has_the_licences_and_what_its_manifest_names(app):
    (path,) = app.glob("cambio-next-auth-*.tgz")
    assert path.name == f"cambio-next-auth-{release.version_of(ROOT)}.tgz"
    with tarfile.open(path) as archive:
        files = {member.name.removeprefix("package/"): member for member in archive.getmembers()}
        manifest = json.load(archive.extractfile("package/package.json"))
        for name in ("LICENSE-APACHE", "LICENSE-MIT"):
            assert archive.extractfile(files[name]).read() == (ROOT / name).read_bytes()
    assert {"README.md", "dist/esm/index.js", "dist/cjs/index.js"} <= set(files)
    assert not [name for name in files if name.startswith(("test", "node_modules", "."))]
    assert manifest["publishConfig"] == {"access": "public", "provenance": True}
    assert manifest["keywords"] and manifest["license"] == "Apache-2.0 OR MIT"


def test_the_tarball_installs_in_a_fresh_folder_with_the_line_of_the_readme(app):
    readme = (CLIENT / "README.md").read_text()
    lines = re.findall(r"^ {4}npm install (.+)$", readme, re.MULTILINE)
    assert len(lines) == 4 and all(line.split()[0] == TARBALL for line in lines)
    (app / "package.json").write_text('{"private": true, "type": "module"}')

    # Without its second half, the library, which comes from a registry.
    code, printed = run("bash", "-c", f"npm install --offline --no-audit --no-fund {TARBALL}", cwd=app)

    assert code == 0, printed
    for load in ("await import", "createRequire(process.cwd() + '/')"):
        script = f"import {{ createRequire }} from 'node:module';\nconst m = {load}('@cambio/next-auth');\n"
        script += "console.log(Object.keys(m).length > 0);"
        assert run("node", "--input-type=module", "-e", script, cwd=app) == (0, "true\n")


def test_no_page_installs_a_package_from_npm():
    pages = [ROOT / file for file in release.tracked_files(ROOT) if file.endswith(".md")]
    assert [page for page in pages if re.search(r"npm install [^\n`]*@cambio/", page.read_text())] == []


def test_a_folder_that_is_not_there_is_named():
    code, printed = run("make", "--no-print-directory", "package", "APP=/nowhere/at/all")

    assert code != 0 and "there is no folder /nowhere/at/all" in printed


@pytest.mark.parametrize("project", ["clients/next-auth", "clients/cambio"])
def test_the_package_is_not_published_without_the_address_of_its_repository(project):
    code, printed = run("npm", "run", "--silent", "prepublishOnly", cwd=ROOT / project)

    assert code != 0 and "package.json has no repository" in printed


def test_the_crate_has_a_name_that_can_be_published_and_its_licences(tmp_path):
    code, printed = run("cargo", "package", "-p", "cambio", "--list", "--allow-dirty")

    assert code == 0, printed
    files = printed.splitlines()
    assert {"Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"} <= set(files)
    assert not [file for file in files if file.startswith("tests/")]
    # Everything that crates.io asks for but the repository.
    package = json.loads(run("cargo", "metadata", "--no-deps", "--format-version", "1")[1].splitlines()[-1])["packages"]
    (crate,) = [each for each in package if each["name"] == "cambio"]
    assert crate["description"] and crate["license"] and crate["keywords"] and crate["readme"]
    assert [target["name"] for target in crate["targets"] if target["kind"] == ["lib"]] == ["shared"]


# --- The workflows ----------------------------------------------------------------------------------------------------


def steps():
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield from ((path.name, name, step) for step in job.get("steps", [{"uses": job.get("uses")}]))


def test_every_action_is_pinned_to_a_commit():
    used = [(file, step["uses"]) for file, _, step in steps() if step.get("uses")]
    assert len(used) > 8
    for file, action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}|\./\.github/workflows/\w+\.yml", action), f"{file}: {action}"


def test_the_workflows_install_what_a_lock_file_names_and_run_no_script_of_a_package():
    installs = re.compile(r"\bnpm (?:ci|install|i|add|rebuild|exec)\b.*|\bnpx --yes\b.*")
    lines = [
        (file, line)
        for file, _, step in steps()
        for line in installs.findall(step.get("run", "").replace("\\\n", " "))
    ]
    assert len(lines) > 1
    for file, line in lines:
        assert "--ignore-scripts" in line, f"{file}: {line}"
        # Tarballs of this repository have no lock file; their dependencies are in that of the package.
        tarballs = [argument for argument in line.split()[2:] if not argument.startswith("-")]
        assert line.startswith("npm ci") or tarballs and all(name.endswith(".tgz") for name in tarballs), f"{file}: {line}"


def test_a_tag_alone_publishes_and_only_after_ci_and_the_budgets_of_all_functions():
    text = (ROOT / ".github/workflows/release.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["build"]["needs"] == ["ci", "functions", "npx", "optimized", "sam"]
    assert jobs["functions"]["steps"][-1] == {"run": "make test-release ALL=1"}
    assert jobs["npx"]["steps"][-1] == {"run": "make test-npx RELEASE=1"}
    assert jobs["optimized"]["steps"][-1] == {"run": "make test-rust RELEASE=1"}
    assert jobs["sam"]["steps"][-1] == {"run": "make test-release SAM=1"}
    publishing = [name for name, job in jobs.items() if re.search(r"(npm|cargo) publish|gh release", json.dumps(job))]
    assert sorted(publishing) == ["crate", "github", "npm"]
    for name, needs in {"crate": "build", "github": ["build", "dist"], "npm": ["build", "servers"]}.items():
        # Somebody approves it, and nothing else has the token.
        assert jobs[name]["environment"] == "release" and jobs[name]["needs"] == needs, name
    for _, name, step in steps():
        assert "secrets." not in json.dumps(step) or name in publishing, name


def test_a_release_builds_the_local_server_for_each_platform_before_the_command_that_needs_it():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    listed = re.search(r"PLATFORMS[^=]+= \[(.+)\];", (ROOT / "clients/cambio/src/platforms.ts").read_text())[1]
    platforms = re.findall(r'"([\w-]+)"', listed)

    assert jobs["servers"]["needs"] == "ci"
    built = {row["platform"]: row["machine"] for row in jobs["servers"]["strategy"]["matrix"]["include"]}
    assert len(platforms) == 4 and list(built) == platforms
    for platform, machine in built.items():
        # Each is built and tried on its own system, and on its own processor.
        assert machine.startswith("ubuntu" if platform.startswith("linux") else "macos"), platform
        assert machine.endswith("-arm") == (platform == "linux-arm64")
        assert machine.endswith("-intel") == (platform == "darwin-x64")
    (publish,) = [step["run"] for step in jobs["npm"]["steps"] if "npm publish" in step.get("run", "")]
    order = re.search(r"^for tarball in (.+)$", publish, re.MULTILINE)[1].split()
    assert order == [f"packages/cambio-{name}.tgz" for name in ("cli-{linux,darwin}-*", "cli-[0-9]*", "next-auth-*")]


def test_a_release_builds_a_deployment_for_each_architecture_and_attests_what_it_publishes():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    dist = jobs["dist"]

    built = {row["architecture"]: row["machine"] for row in dist["strategy"]["matrix"]["include"]}
    # Each on its own processor, and no other than the template has.
    assert built == {"x86_64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}
    steps = dist["steps"]
    (attest,) = [nth for nth, step in enumerate(steps) if "attest-build-provenance@" in step.get("uses", "")]
    (upload,) = [nth for nth, step in enumerate(steps) if "upload-artifact@" in step.get("uses", "")]
    assert attest < upload and steps[attest]["with"]["subject-path"] == steps[upload]["with"]["path"]
    assert {"run": "make dist DIST='--architecture ${{ matrix.architecture }}'"} in steps
    assert {"id-token": "write", "attestations": "write", "contents": "read"} == dist["permissions"]
    assert jobs["github"]["permissions"] == {"contents": "write"}
    assert jobs["github"]["steps"][-1]["run"].rstrip().endswith("dist/*.tar.gz")


def test_a_pull_request_runs_the_mutants_of_its_lines():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["mutants"]
    assert job["if"] == "github.event_name == 'pull_request'" and "pull_request" in workflow[True]
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == "make mutants MUTANTS='--diff ../changes.diff'"
