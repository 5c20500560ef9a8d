"""Writes seeds: small CDs (NoCloud) with the name, users and keys of a new instance.

User data is ``#cloud-config`` followed by JSON, which is also YAML. So ``atoll-init`` of Atoll's
image and cloud-init of other images accept the same seed. A cloud that delivers user data itself
(by a config drive) uses only ``user_data``.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from atoll.errors import ConfigurationError


def user_data(
    *, user: str, authorized_key: str, host_key: str, host_key_public: str, hostname: str
) -> str:
    """The cloud-config of an instance. ``host_key``, a private key in OpenSSH format, is secret."""
    config = {
        "hostname": hostname,
        "users": [
            {
                "name": user,
                "ssh_authorized_keys": [authorized_key.strip()],
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "shell": "/bin/bash",
            }
        ],
        "ssh_pwauth": False,
        "disable_root": True,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {
            "ed25519_private": host_key.strip() + "\n",
            "ed25519_public": host_key_public.strip(),
        },
    }
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"


def seed_iso(
    path: Path,
    *,
    instance_id: str,
    user: str,
    authorized_key: str,
    host_key: str,
    host_key_public: str,
    hostname: str,
) -> Path:
    """Write the NoCloud CD to ``path`` (mode 0600, replaced in one step) and return the path.

    With a new ``instance_id`` the instance reads its identity again at its next boot. Keys are
    passed in private files, so that no process list shows them. Raises ``ConfigurationError`` if
    xorriso is missing.
    """
    data = user_data(
        user=user,
        authorized_key=authorized_key,
        host_key=host_key,
        host_key_public=host_key_public,
        hostname=hostname,
    )
    meta = json.dumps({"instance-id": instance_id, "local-hostname": hostname}) + "\n"
    # The directory has mode 0700, and is next to the target, which is replaced by a rename.
    with tempfile.TemporaryDirectory(prefix=".seed-", dir=path.parent) as name:
        folder = Path(name)
        (folder / "user-data").write_text(data)
        (folder / "meta-data").write_text(meta)
        image = folder / "seed.iso"
        # xorriso keeps the mode of an existing file.
        os.close(os.open(image, os.O_WRONLY | os.O_CREAT, 0o600))
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-volid", "cidata", "-joliet", "-rock"]
        files = [str(folder / "user-data"), str(folder / "meta-data")]
        try:
            subprocess.run(
                [*argv, "-output", str(image), *files], check=True, capture_output=True, text=True
            )
        except FileNotFoundError as error:
            raise ConfigurationError(
                "Writing an instance's seed needs xorriso.", hint="Run: apt-get install xorriso"
            ) from error
        except subprocess.CalledProcessError as error:
            raise ConfigurationError(f"xorriso failed: {error.stderr.strip()}", hint="") from error
        image.chmod(0o600)
        image.rename(path)
    return path
