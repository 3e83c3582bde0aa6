"""The check of the executables and of the profiles, without a build."""

import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cold_start import Failure  # noqa: E402
from hardening import ANYWHERE, FIXED, ROOT, aborting, check_executables, check_profiles, elf_type  # noqa: E402


def executable(path, kind, order="<"):
    """A file with the header of an executable of 64 bits."""
    identity = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
    path.write_bytes(identity + struct.pack(f"{order}HH", kind, 62) + bytes(44))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_t210_a_function_at_a_fixed_address_is_named(tmp_path, order):
    me = executable(tmp_path / "me", ANYWHERE, order)
    check_executables({"me": me})

    fixed = executable(tmp_path / "token-exchange", FIXED, order)
    with pytest.raises(Failure, match="^token-exchange: no position-independent executable"):
        check_executables({"me": me, "token-exchange": fixed})


def test_t210_a_file_that_is_no_executable_is_refused(tmp_path):
    (tmp_path / "me").write_bytes(b"#!/bin/sh\nexit 0\n")
    with pytest.raises(Failure, match="is no ELF file"):
        elf_type(tmp_path / "me")


def test_t211_no_profile_aborts_at_a_panic():
    check_profiles()


@pytest.mark.parametrize(
    ("manifest", "config", "place"),
    [
        ('[profile.release]\npanic = "abort"', "", "Cargo.toml: profile.release.panic"),
        ('[profile.dist]\npanic = "immediate-abort"', "", "Cargo.toml: profile.dist.panic"),
        ("", '[profile.release]\npanic = "abort"', ".cargo/config.toml: profile.release.panic"),
        ("", '[build]\nrustflags = ["-C", "panic=abort"]', ".cargo/config.toml: build.rustflags"),
        ("", '[target.x86_64-unknown-linux-gnu]\nrustflags = "-Cpanic=abort"', "x86_64-unknown-linux-gnu.rustflags"),
    ],
)
def test_t211_a_profile_that_aborts_is_named(manifest, config, place):
    (found,) = aborting(manifest, config)
    assert found.endswith(place)


def test_t211_a_profile_that_unwinds_is_accepted():
    assert aborting('[profile.release]\npanic = "unwind"\nlto = "fat"', "") == []


def test_t211_a_profile_of_the_workspace_that_aborts_is_named():
    manifest, config = (ROOT / "Cargo.toml").read_text(), (ROOT / ".cargo/config.toml").read_text()
    changed = manifest.replace("[profile.release]\n", '[profile.release]\npanic = "abort"\n')
    assert aborting(changed, config) == ["Cargo.toml: profile.release.panic"]
