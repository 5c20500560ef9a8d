"""Writes seeds: the small CD (NoCloud) that tells a new instance its name, users and keys.

User data is ``#cloud-config`` followed by JSON, which is YAML: our image's ``atoll-init`` and any
image with the real cloud-init take the same seed. A cloud that delivers user data itself (config
drive) uses ``user_data`` alone.
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
    """The cloud-config of one instance. ``host_key`` (private, OpenSSH format) is a secret."""
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

    A new ``instance_id`` makes the instance take its identity anew at its next boot.
    Keys go through files that only we can read, never through a process list.
    Raises ``ConfigurationError`` where xorriso is missing.
    """
    data = user_data(
        user=user,
        authorized_key=authorized_key,
        host_key=host_key,
        host_key_public=host_key_public,
        hostname=hostname,
    )
    meta = json.dumps({"instance-id": instance_id, "local-hostname": hostname}) + "\n"
    # mkdtemp makes it 0700; beside the target, so that the last step is a rename
    with tempfile.TemporaryDirectory(prefix=".seed-", dir=path.parent) as name:
        folder = Path(name)
        (folder / "user-data").write_text(data)
        (folder / "meta-data").write_text(meta)
        image = folder / "seed.iso"
        # xorriso keeps the mode of a file that is there
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
