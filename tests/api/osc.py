"""Run many ``openstack`` commands in one process: argument lists in (JSON), outcomes out.

Starting the client takes seconds, each command only a fraction of one.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys


def main() -> None:
    from openstackclient.shell import OpenStackShell

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
