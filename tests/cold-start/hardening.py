"""What protects a running function and could be given up for speed: a random address, and a stack that unwinds."""

import struct
import tomllib
from pathlib import Path

from runtime import Failure

ROOT = Path(__file__).resolve().parents[2]
# ELF's `e_type` of an executable for one address, and of one for any address, which the system then chooses at random.
FIXED, ANYWHERE = 2, 3


def elf_type(executable):
    """`e_type` of an ELF file, from the first 18 bytes."""
    with open(executable, "rb") as file:
        header = file.read(18)
    if header[:4] != b"\x7fELF" or len(header) < 18:
        raise Failure(f"{executable} is no ELF file")
    return struct.unpack("<H" if header[5] == 1 else ">H", header[16:18])[0]


def check_executables(binaries):
    """Fails unless each executable, {function: path}, is position-independent."""
    fixed = [function for function, binary in binaries.items() if elf_type(binary) != ANYWHERE]
    if fixed:
        raise Failure(
            f"{', '.join(fixed)}: no position-independent executable, so its addresses are the same in every process."
            " Remove relocation-model and link arguments from .cargo/config.toml and RUSTFLAGS"
        )
    print(f"{len(binaries)} position-independent executables")


def aborting(manifest, config):
    """The places that make a build abort at a panic: profiles of Cargo.toml and of .cargo/config.toml, and flags."""
    found = []
    for file, text in (("Cargo.toml", manifest), (".cargo/config.toml", config)):
        read = tomllib.loads(text)
        profiles = read.get("profile", {}).items()
        found += [f"{file}: profile.{name}.panic" for name, of in profiles if of.get("panic", "unwind") != "unwind"]
        for name, table in [("build", read.get("build", {})), *read.get("target", {}).items()]:
            flags = table.get("rustflags", []) if isinstance(table, dict) else []
            if "panic=" in (flags if isinstance(flags, str) else " ".join(flags)):
                found.append(f"{file}: {name}.rustflags")
    return found


def check_profiles():
    """Fails if a profile aborts at a panic: one request that panics would then end the process of the others."""
    if found := aborting((ROOT / "Cargo.toml").read_text(), (ROOT / ".cargo/config.toml").read_text()):
        raise Failure(f"{', '.join(found)}: remove it, so that a request that panics is answered with an error")
