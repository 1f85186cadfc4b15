"""The link that people open to join, and its QR code."""

import io
import re

import segno

from ..errors import InvalidInput
from ..services import services

JOIN_CODE = re.compile(r"[A-Za-z0-9_-]{4,64}", re.ASCII)
# A host name has at most 253 characters. A QR code of a kilobyte takes a quarter of a second.
MAX_LINK_LENGTH = 350
LOCAL = re.compile(r"http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?/", re.ASCII)
QUIET_ZONE = 3  # modules; 4 is the standard, and the card around the code adds to it


def origin(requested: str) -> str:
    """Return the origin at which phones open the board: that of the requested root URL.

    Phones cannot open an address of the server's own machine, such as 127.0.0.1: in its place it is
    the address in the local network, if the server listens there.
    """
    is_local = LOCAL.fullmatch(requested)
    return (is_local and services().network_url) or requested.rstrip("/")


def link(origin: str, code: str = "") -> str:
    """Return the address of the board, with the join code in its fragment.

    Browsers do not send the fragment, so the code is in no log. Raises InvalidInput for a code that
    cannot be a JOIN_CODE.
    """
    if code and not JOIN_CODE.fullmatch(code):
        raise InvalidInput("A join code has 4 to 64 characters of A-Z a-z 0-9 _ -", {})
    return f"{origin}/#join={code}" if code else f"{origin}/"


def qr_code(text: str) -> str:
    """Return the QR code of the text as an SVG, dark on light in every theme.

    Blocks for some milliseconds. Raises InvalidInput if the text is too long.
    """
    if len(text) > MAX_LINK_LENGTH:
        raise InvalidInput("The link is too long for a QR code.", {})
    code = segno.make_qr(text, error="m")
    output = io.BytesIO()
    code.save(output, kind="svg", border=QUIET_ZONE, light="#fff", omitsize=True, xmldecl=False)
    return output.getvalue().decode()
