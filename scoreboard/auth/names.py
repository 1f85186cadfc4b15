"""Rules for usernames: which are valid, which are reserved, and which count as equal."""

import re
import unicodedata

from marshmallow import ValidationError

MAX_NAME_LENGTH, MAX_KEY_LENGTH = 64, 256
# Only admins may assign these, so that users cannot impersonate operators.
RESERVED = frozenset({"admin", "moderator", "system", "root", "support", "scoreboard"})

# Code points with the property Default_Ignorable_Code_Point, missing in Python's unicodedata:
# https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt
_DEFAULT_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Printable by their category, but rendered blank: the Braille blank, the object replacement
# character, Egyptian blanks, the Khitan filler, the musical null notehead.
_BLANK = "\u2800\ufffc\U00013441\U00013442\U00016fe4\U0001d159"
_INVISIBLE = re.compile(f"[{_DEFAULT_IGNORABLE}{_BLANK}]")

_VISIBLE = rf"[^\s{_DEFAULT_IGNORABLE}{_BLANK}]"
_JOINER = "[\u200c\u200d]"
_VARIATION_SELECTOR = "[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
# A regional flag, for example Wales: https://www.unicode.org/reports/tr51/#def_emoji_tag_sequence
_FLAG = "(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"
_SELECTED = re.compile(f"(?<={_VISIBLE}){_VARIATION_SELECTOR}|{_FLAG}")
_JOINED = re.compile(f"(?<={_VISIBLE}){_JOINER}(?={_VISIBLE})")
# Emoji blocks: `isprintable` rejects emoji of a newer Unicode version than Python's.
_EMOJI = re.compile("[\U0001f000-\U0001faff]")


def name_key(username: str) -> str:
    """Return a key that is equal for names that look the same.

    The key ignores compatibility forms (NFKC), case, invisible characters and the number of
    spaces. It is empty for a name without visible characters.
    """
    visible = unicodedata.normalize("NFKC", _INVISIBLE.sub("", username))
    return " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())


def is_reserved(username: str) -> bool:
    """Whether only an admin may give this name to a user."""
    return name_key(username) in RESERVED


def is_valid(username: str) -> bool:
    """Whether `check_username` accepts the name."""
    try:
        check_username(username)
    except ValidationError:
        return False
    return True


def made_valid(text: str) -> str | None:
    """Return the text as a valid username, without what is invalid in it; None if none is left."""
    name = text.strip()
    if not is_valid(name):
        visible = _INVISIBLE.sub("", " ".join(text.split()))
        name = "".join(filter(str.isprintable, visible))[:MAX_NAME_LENGTH].strip()
    return name if is_valid(name) else None


def check_username(username: str) -> None:
    """Raise ValidationError unless the name, already stripped, can be displayed.

    Joiners are valid between two visible characters, variation selectors after one.
    """
    if not 1 <= len(username) <= MAX_NAME_LENGTH:
        raise ValidationError(f"Must be 1 to {MAX_NAME_LENGTH} characters long.")
    plain = _JOINED.sub("", _SELECTED.sub("", username))
    if _INVISIBLE.search(plain):
        raise ValidationError("Must be without invisible characters, except joiners in a word.")
    if not _EMOJI.sub("", plain).isprintable():
        raise ValidationError("Must be printable: no control characters, no unusual spaces.")
    if not any(unicodedata.category(character)[0] in "LNPSC" for character in username):
        raise ValidationError("Must have a character that can be seen.")
    if not 1 <= len(name_key(username)) <= MAX_KEY_LENGTH:
        raise ValidationError("Must be a name that can be written plainly.")
