"""`fast_load` has the same results and errors as `load` of Marshmallow."""

from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import ValidationError

from scoreboard.models import MAX_SCORE
from scoreboard.scores.schemas import update_schema

USER = "0a1b2c3d-0000-4000-8000-00000000000f"
VALID = {"user_id": USER, "score_value": 7, "timestamp": "2026-01-01T00:00:00Z"}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)
fields = {
    "user_id": st.uuids().map(str) | st.just(USER.upper()) | anything,
    "score_value": st.sampled_from([-0.0, MAX_SCORE, MAX_SCORE + 1, 10**400])
    | st.integers(-9, 9)
    | st.floats()
    | anything,
    "timestamp": st.datetimes(timezones=st.none() | st.timezones()).map(str)
    | st.sampled_from(["2026-01-01", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00Z\0"])
    | anything,
}
bodies = (
    st.fixed_dictionaries(
        fields, optional={"nonce": st.from_regex(r"[\w-]{7,65}") | anything, "extra": anything}
    )
    | st.fixed_dictionaries({}, optional={**fields, "nonce": anything})
    | anything
)


def outcome(load, body):
    try:
        # As text, because NaN differs from itself, and 7 must differ from 7.0.
        return repr(load(body))
    except ValidationError as error:
        return error.messages_dict


@given(bodies)
@example(VALID)
@example({**VALID, "nonce": "abcdefgh"})
@example({**VALID, "nonce": None})
@example({"nonce": "abcdefgh", **VALID})
@example({**VALID, "extra": 1})
@example({})
def test_both_load_the_same(body):
    assert outcome(update_schema.fast_load, body) == outcome(update_schema.load, body)
