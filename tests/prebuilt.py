"""Dependencies that cargo has built for the tree, for a build of a copy of the tree."""

import shutil
import tomllib
from pathlib import Path


def packages(root: Path, files: list[str]) -> set[str]:
    """Returns the names of the workspace's packages, whose manifests are among `files`."""
    manifests = (root / path for path in files if Path(path).name == "Cargo.toml")
    read = (tomllib.loads(path.read_text()) for path in manifests if path.is_file())
    return {manifest["package"]["name"] for manifest in read if "package" in manifest}


def copy_dependencies(built: Path, target: Path, own: set[str]) -> bool:
    """Copies the dependencies in the folder `built` to a new target folder. Returns whether it copied any.

    The packages `own` are left out: cargo knows them by their place in the workspace, and would take those of the tree
    for those of the copy.
    """
    if target.exists() or not (built / "debug" / "deps").is_dir():
        return False

    def of_the_workspace(_: str, names: list[str]) -> list[str]:
        crates = {name: name.rsplit("-", 1)[0] for name in names}
        return [name for name, crate in crates.items() if {crate, crate.removeprefix("lib").replace("_", "-")} & own]

    for directory in (".fingerprint", "build", "deps"):
        try:
            folder = Path("debug") / directory
            shutil.copytree(built / folder, target / folder, symlinks=True, ignore=of_the_workspace)
        except shutil.Error:
            # Another build removed files meanwhile. Cargo builds what is missing.
            pass
    return True
