"""Request and response schemas of the admin endpoints."""

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from ..auth.names import MAX_NAME_LENGTH, check_username
from ..auth.schemas import (
    EMAIL,
    LINE,
    MAX_EMAIL_LENGTH,
    NAME_LENGTH,
    NEW_PASSWORD,
    EmailAddress,
    Username,
)
from ..http.fields import (
    BoardId,
    IntegerInRange,
    Moment,
    QuerySchema,
    Schema,
    ScoreValue,
    UserId,
)
from ..leaderboard.schemas import PageQuerySchema
from ..permissions import ROLES
from ..scores.policy import DECIMALS, has_few_decimals

MAX_ID, MAX_REASON_LENGTH = 2**63 - 1, 200
BOOLEAN = {"type": "boolean"}
STATUSES = ("active", "hidden", "suspended", "flagged")


def check_reason(reason: str) -> None:
    """Raise ValidationError unless the reason is one printable line of 1 to 200 characters."""
    if not 1 <= len(reason) <= MAX_REASON_LENGTH:
        raise ValidationError(f"Must be 1 to {MAX_REASON_LENGTH} characters long.")
    if not reason.isprintable() or not reason.strip():
        raise ValidationError("Must be printable, and more than spaces.")


def check_change(value: float) -> None:
    """Raise ValidationError unless the change has few enough decimals to be added exactly."""
    if not has_few_decimals(value):
        raise ValidationError(f"Must have at most {DECIMALS} decimals.")


class UserReferenceSchema(Schema):
    """The user id in a path."""

    user_id = UserId(required=True)


class ScoreReferenceSchema(Schema):
    """The score id in a path."""

    score_id = IntegerInRange(1, MAX_ID, required=True)


class MarksQuerySchema(QuerySchema):
    """The query of `GET /api/admin/marks`."""

    user_id = UserId()


class OverviewQuerySchema(QuerySchema):
    """The query of `GET /api/admin/overview`."""

    hours = fields.Integer(load_default=1, validate=validate.OneOf([1, 24]))


class AuditQuerySchema(QuerySchema):
    """The query of `GET /api/admin/audit`."""

    after = IntegerInRange(0, MAX_ID)
    process = fields.String(validate=validate.Length(1, 64))


class UsersQuerySchema(PageQuerySchema):
    """The query of `GET /api/admin/users`."""

    query = fields.String(load_default="", validate=[validate.Length(max=MAX_EMAIL_LENGTH), *LINE])
    role = fields.String(validate=validate.OneOf(list(ROLES)))
    status = fields.String(validate=validate.OneOf(STATUSES))


class ExportQuerySchema(QuerySchema):
    """The query of `GET /api/admin/boards/<board>/export.csv`."""

    season = IntegerInRange(1, 2**31 - 1, load_default=None)


class FeedQuerySchema(ExportQuerySchema):
    """The query of `GET /api/admin/boards/<board>/export.json`."""

    format = fields.String(
        load_default="ctftime",
        validate=validate.OneOf(["ctftime"]),
        metadata={"description": "`ctftime`, the scoreboard feed of CTFtime."},
    )


class NewUserSchema(Schema):
    """The body of `POST /api/admin/users`. The name may be a reserved one."""

    username = Username(required=True, validate=check_username, metadata=NAME_LENGTH)
    email = EmailAddress(validate=EMAIL)
    password = fields.String(validate=NEW_PASSWORD)
    role = fields.String(load_default="player", validate=validate.OneOf(list(ROLES)))


class UserChangesSchema(Schema):
    """The body of `PATCH /api/admin/users/<user_id>`. The name may be a reserved one."""

    username = Username(validate=check_username, metadata=NAME_LENGTH)
    email = EmailAddress(validate=EMAIL)
    role = fields.String(validate=validate.OneOf(list(ROLES)))


class RoleSchema(Schema):
    """The body of `POST /api/admin/users/<user_id>/role`."""

    role = fields.String(required=True, validate=validate.OneOf(list(ROLES)))


def _reason() -> fields.String:
    metadata = {"minLength": 1, "maxLength": MAX_REASON_LENGTH}
    return fields.String(required=True, validate=check_reason, metadata=metadata)


class VoidSchema(Schema):
    """The body of `POST /api/admin/scores/<score_id>/void`."""

    reason = _reason()


class ScoreByHandSchema(Schema):
    """The body of `POST /api/admin/scores`: a user by id or name, and a score or a change."""

    class Meta:
        """Options of the Marshmallow schema."""

        example: ClassVar[dict[str, Any]] = {
            "username": "ben",
            "score_value": 120,
            "reason": "counted again on paper",
        }

    user_id = UserId()
    username = Username(validate=[validate.Length(1, MAX_NAME_LENGTH), *LINE])
    board = BoardId(metadata={"description": "`main` if left out."})
    score_value = ScoreValue()
    change = ScoreValue(validate=check_change)
    reason = _reason()

    @validates_schema
    def check_choices(self, data: dict[str, Any], **kwargs: Any) -> None:
        """Raise ValidationError unless there is one user, and either a score or a change."""
        for first, second in (("user_id", "username"), ("score_value", "change")):
            if (first in data) == (second in data):
                raise ValidationError(f"Send either {first} or {second}.", first)


class _ModeratedSchema(Schema):
    """A user and its moderation status."""

    user_id = fields.String()
    username = fields.String()
    hidden = fields.Function(lambda user: user.hidden_at is not None, metadata=BOOLEAN)
    suspended = fields.Function(lambda user: user.suspended_at is not None, metadata=BOOLEAN)


class UserSchema(_ModeratedSchema):
    """A user, as moderators see it."""

    role = fields.String()


class ResetLinkSchema(Schema):
    """A link with which a user sets a new password."""

    url = fields.String()
    expires_at = Moment()


class VoidedSchema(Schema):
    """A voided score."""

    score_id = fields.Integer()
    user_id = fields.String()
    score_value = ScoreValue()
    created_at = Moment()
    voided_at = Moment()
    voided_by = fields.String()
    void_reason = fields.String()


class RestoredSchema(Schema):
    """A score that is no longer voided."""

    score_id = fields.Integer()
    user_id = fields.String()
    score_value = ScoreValue()
    created_at = Moment()


class FlagSchema(Schema):
    """An anomaly flag in the list of a user's flags."""

    rule = fields.String()
    detail = fields.String()
    created_at = Moment()


class ListedUserSchema(Schema):
    """A user, as admins find it."""

    user_id = fields.String(attribute="account.user_id")
    username = fields.String(attribute="account.username")
    email = fields.String(attribute="account.email", allow_none=True)
    role = fields.String(attribute="account.role")
    created_at = Moment(attribute="account.created_at")
    hidden_at = Moment(attribute="account.hidden_at", allow_none=True)
    suspended_at = Moment(attribute="account.suspended_at", allow_none=True)
    flags = fields.List(fields.Nested(FlagSchema))


class UsersSchema(Schema):
    """A page of the users that a search has found."""

    users = fields.List(fields.Nested(ListedUserSchema))
    next = fields.String(allow_none=True)


class MarkSchema(_ModeratedSchema):
    """An anomaly flag of a user, called a mark in the API."""

    rule = fields.String()
    hour = Moment()
    detail = fields.String()
    created_at = Moment()


class MarksSchema(Schema):
    """The newest anomaly flags."""

    marks = fields.List(fields.Nested(MarkSchema))


class ProcessSchema(Schema):
    """A process of the server. `dyno` is its name on the platform, "" without one."""

    name = fields.String()
    dyno = fields.String()
    since = Moment()


class LiveProcessSchema(ProcessSchema):
    """A process and its live connections."""

    connections = fields.Dict(keys=fields.String(), values=fields.Integer())


class MinuteSchema(Schema):
    """The score update attempts of one period, counted by outcome."""

    minute = Moment()
    accepted = fields.Integer()
    refused = fields.Dict(keys=fields.String(), values=fields.Integer())


class MonitoredSchema(Schema):
    """What is shown of all processes if `redis` is `ok`, else of the one that responds."""

    redis = fields.String(validate=validate.OneOf(["ok", "failing", "not used"]))
    process = fields.Nested(ProcessSchema)


class OverviewSchema(MonitoredSchema):
    """Recent activity, and the processes with their connections."""

    processes = fields.List(fields.Nested(LiveProcessSchema))
    step = fields.Integer()
    minutes = fields.List(fields.Nested(MinuteSchema))
    connections = fields.Dict(keys=fields.String(), values=fields.Integer())


class AuditSchema(MonitoredSchema):
    """The newest audit log lines, each with its `seq`."""

    lines = fields.List(fields.Dict())
    names = fields.Dict(keys=fields.String(), values=fields.String())


user_reference_schema = UserReferenceSchema()
score_reference_schema = ScoreReferenceSchema()
marks_query_schema = MarksQuerySchema()
overview_query_schema = OverviewQuerySchema()
audit_query_schema = AuditQuerySchema()
export_query_schema = ExportQuerySchema()
feed_query_schema = FeedQuerySchema()
new_user_schema = NewUserSchema()
user_changes_schema = UserChangesSchema()
users_query_schema = UsersQuerySchema()
role_schema = RoleSchema()
void_schema = VoidSchema()
user_schema = UserSchema()
listed_user_schema = ListedUserSchema()
users_schema = UsersSchema()
reset_link_schema = ResetLinkSchema()
score_by_hand_schema = ScoreByHandSchema()
restored_schema = RestoredSchema()
voided_schema = VoidedSchema()
marks_schema = MarksSchema()
overview_schema = OverviewSchema()
audit_schema = AuditSchema()
