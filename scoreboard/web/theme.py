"""The accent colours of the pages, derived from one colour so that text on and in them is legible.

Contrast is the ratio of WCAG 2.2: 4.5 for text, 3 for the shape of a button.
"""

import colorsys

Colour = tuple[float, float, float]  # red, green and blue from 0 to 255

BLACK: Colour = (0.0, 0.0, 0.0)
WHITE: Colour = (255.0, 255.0, 255.0)
TEXT_CONTRAST = 4.5
SHAPE_CONTRAST = 3.0
STAGE_CONTRAST = 6.0  # the stage is read from the far end of a room
STEPS = 100  # of lightness
# The backgrounds of tokens.css, by scheme. The paper is the light one with the least contrast to
# dark text, and the raised stage the dark one with the least contrast to light text.
PAPER, CARD = "#f4f2ed", "#1a1916"
STAGE = "#2a2822"
SOFT_SHARE = 0.12  # of the accent in the background of a highlighted row

SHEET = """\
/* Derived from the setting BOARD_ACCENT, {accent}. */
:root,
:host {{
  --accent: {light.fill};
  --on-accent: {light.on_fill};
  --accent-text: var(--score-board-accent, {light.text});
  --accent-soft: {light.soft};
  --stage-accent: {stage};
}}

@supports (color: light-dark(#000, #fff)) {{
  :root,
  :host {{
    --accent: light-dark({light.fill}, {dark.fill});
    --on-accent: light-dark({light.on_fill}, {dark.on_fill});
    --accent-text: var(--score-board-accent, light-dark({light.text}, {dark.text}));
    --accent-soft: light-dark({light.soft}, {dark.soft});
  }}
}}
"""


class _Scheme:
    """The accent colours on a background, as #rrggbb."""

    def __init__(self, accent: Colour, background: Colour) -> None:
        soft = _mix(background, accent, SOFT_SHARE)
        fill = _legible(accent, [background], SHAPE_CONTRAST)
        # One of the two always has a contrast of at least 4.58.
        on_fill = WHITE if contrast(WHITE, fill) >= TEXT_CONTRAST else BLACK
        text = _legible(accent, [background, soft], TEXT_CONTRAST)
        self.fill, self.on_fill, self.text, self.soft = map(_hex, (fill, on_fill, text, soft))


def stylesheet(accent: str) -> str:
    """Return a stylesheet with the accent colours for this one, written as #rrggbb."""
    colour = parse(accent)
    light, dark = _Scheme(colour, parse(PAPER)), _Scheme(colour, parse(CARD))
    stage = _hex(_legible(colour, [parse(STAGE)], STAGE_CONTRAST))
    return SHEET.format(accent=accent, light=light, dark=dark, stage=stage)


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    lower, higher = sorted((_luminance(one), _luminance(other)))
    return (higher + 0.05) / (lower + 0.05)


def parse(text: str) -> Colour:
    """Return the colour that is written as #rrggbb."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _hex(colour: Colour) -> str:
    return "#" + bytes(round(channel) for channel in colour).hex()


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in (channel / 255 for channel in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return red, green, blue


def _legible(colour: Colour, backgrounds: list[Colour], least: float) -> Colour:
    """Return the colour, lighter or darker if that is needed for the contrast `least`."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in colour))
    is_dark = contrast(WHITE, backgrounds[0]) > contrast(BLACK, backgrounds[0])
    end = 1.0 if is_dark else 0.0
    for step in range(STEPS + 1):
        lighter = lightness + (end - lightness) * step / STEPS
        red, green, blue = colorsys.hls_to_rgb(hue, lighter, saturation)
        # As it is written, which rounds it.
        candidate = parse(_hex((red * 255, green * 255, blue * 255)))
        if all(contrast(candidate, background) >= least for background in backgrounds):
            return candidate
    return WHITE if is_dark else BLACK
