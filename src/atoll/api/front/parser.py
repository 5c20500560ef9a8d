"""Requests as waitress parses them; some that waitress accepts are refused.

A proxy in front of us may read an ambiguous request in another way than we do, and then take part
of one user's request for another's (request smuggling). So ambiguous requests are refused.
"""

from __future__ import annotations

from typing import Any, Final

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error

from atoll.api.frame.edge import is_host

LONGEST_LINE: Final = 8190
"""Bytes of the request line, as most servers and proxies have it."""
LARGEST_HEADER: Final = 64 * 1024
"""Bytes of request line and header fields together."""
MOST_FIELDS: Final = 100


class _LineTooLong(Error):  # type: ignore[misc]  # waitress has no types
    code, reason = 414, "URI Too Long"


class _FieldsTooMany(Error):  # type: ignore[misc]
    code, reason = 431, "Request Header Fields Too Large"


class RequestTimeout(Error):  # type: ignore[misc]
    """The request did not come whole within its time."""

    code, reason = 408, "Request Timeout"


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """One request, as it comes in."""

    def received(self, data: bytes) -> int:
        """Take bytes in; how many of them belong to this request."""
        taken: int = super().received(data)
        if self.completed:
            # Nothing more is wanted: there is no body, or it is refused unseen. waitress would
            # ask for it all the same, and then wait for what does not come.
            self.expect_continue = False
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Parse request line and header fields; what is wrong is in ``error`` or raised."""
        line, _, fields = header_plus.partition(b"\r\n")
        if len(line) > LONGEST_LINE:
            self._refuse(_LineTooLong(f"The request line is longer than {LONGEST_LINE} bytes."))
            return
        if fields.count(b"\r\n") > MOST_FIELDS + 1:
            self._refuse(_FieldsTooMany(f"There are more than {MOST_FIELDS} header fields."))
            return
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("A header field goes on in a second line.")
        encoded = b"\r\ntransfer-encoding:" in b"\r\n" + fields.lower()
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # waitress lets numbers and URLs through that Python refuses
            raise ParsingError("The request line or a header field is malformed.") from error
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("The protocol is neither HTTP/1.0 nor HTTP/1.1.")
        if encoded and ("CONTENT_LENGTH" in self.headers or self.version == "1.0"):
            raise ParsingError("Transfer-Encoding is ambiguous here.")
        self._check_host()

    def _check_host(self) -> None:
        host = self.headers.get("HOST")
        if host is None:
            if self.version == "1.1":
                raise ParsingError("The header field Host is missing.")
        elif not is_host(host):
            raise ParsingError("The header field Host is malformed.")

    def _refuse(self, error: Any) -> None:
        self.headers.clear()
        super().parse_header(b"GET / HTTP/1.0\r\n")
        self.error = error
