"""The link that people open to join, and its QR code."""

import io
import re

import segno

from ..errors import InvalidInput

JOIN_CODE = re.compile(r"[A-Za-z0-9_-]{4,64}", re.ASCII)
QUIET_ZONE = 3  # modules; 4 is the standard, and the card around the code adds to it


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

    Raises InvalidInput if the text is too long for a QR code.
    """
    try:
        code = segno.make_qr(text, error="m")
    except segno.DataOverflowError as error:
        raise InvalidInput("The link is too long for a QR code.", {}) from error
    output = io.BytesIO()
    code.save(output, kind="svg", border=QUIET_ZONE, light="#fff", omitsize=True, xmldecl=False)
    return output.getvalue().decode()
