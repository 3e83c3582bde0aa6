"""The functions as they ship: the builds that they need, and their deployment packages."""

import io
import zipfile

# Built by itself, because the SDK of S3 changes features of crates that the other functions share. The others are built
# by one command, because they have the same features together as each has alone (tests/features.py).
APART = ["rotate-keys"]
# A ZIP has no earlier time.
EPOCH = (1980, 1, 1, 0, 0, 0)


def groups(functions):
    """Returns the groups of these functions that one command of cargo builds each."""
    together = [function for function in functions if function not in APART]
    alone = [[function] for function in functions if function in APART]
    return [group for group in [together, *alone] if group]


def zipped(binary):
    """Returns the deployment package of a binary: an executable `bootstrap`, without the time of its build."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        entry = zipfile.ZipInfo("bootstrap", EPOCH)
        entry.create_system, entry.external_attr = 3, 0o100755 << 16  # Unix: a file that everyone may execute
        entry.compress_type = zipfile.ZIP_DEFLATED
        package.writestr(entry, binary, compresslevel=9)
    return written.getvalue()
