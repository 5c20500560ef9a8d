"""Run many ``openstack`` commands in one process: argument lists in (JSON), outcomes out.

Starting the client takes seconds, each command only a fraction of one, and so do most of the waits
that ``--wait`` asks for: the client looks every second here, not every fifth.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys


def main() -> None:
    from openstackclient.shell import OpenStackShell
    from osc_lib import utils

    for wait in (utils.wait_for_status, utils.wait_for_delete):
        setattr(utils, wait.__name__, functools.partial(wait, sleep_time=1))
    outcomes = []
    for arguments in json.load(sys.stdin):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: object = OpenStackShell().run(arguments)
            except SystemExit as ended:
                code = ended.code
        outcomes.append({"code": code or 0, "out": out.getvalue(), "err": err.getvalue()})
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
