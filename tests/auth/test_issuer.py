"""Tokens of another issuer: which are accepted, where its keys come from, who their users are."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from scoreboard.auth import accounts, issuer, key_set, tokens
from scoreboard.concurrency import runtime
from scoreboard.ops import doctor
from tests.support import databases
from tests.support.api import submit
from tests.support.issuers import AUDIENCE, ISSUER, FakeIssuer, jwk, new_key
from tests.support.responses import status_and_code
from tests.support.servers import SECRETS, SignedInUser
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.tokens import bearer, mint

KEYS = {"ec": new_key(), "rsa": new_key("RS256")}
OTHER_KEY = new_key()
UPDATE = {"score_value": 7, "timestamp": "2026-01-01T00:00:00Z"}
INVALID = (401, "token_invalid")


@pytest.fixture
def signer():
    """Return an issuer with a key of each algorithm."""
    fake = FakeIssuer(KEYS)
    yield fake
    fake.stop()


@pytest.fixture
def settings(signer):
    return {**signer.settings, "JWT_AUTO_CREATE": "1"}


@pytest.fixture
def no_cooldown(monkeypatch):
    """Fetch the keys again for every unknown one."""
    monkeypatch.setattr(key_set, "COOLDOWN", 0)


def me(client, token):
    return client.get("/api/auth/me", headers=bearer(token))


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def forged(signer, **options):
    """Return a token with the claims of a valid one, made with these options of PyJWT."""
    claims = jwt.decode(signer.token(), options={"verify_signature": False})
    return jwt.encode(claims, headers={"kid": "ec"}, **options)


def signed_with_the_public_key(key_id):
    """Return what makes an HS256 token whose secret is the public key."""

    def make(signer):
        # PyJWT refuses to sign with such a key: this one is signed by hand.
        unsigned = forged(signer, key="s" * 32, algorithm="HS256").rpartition(".")[0]
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        signature = algorithm.sign(unsigned.encode(), public_pem(KEYS[key_id]))
        return f"{unsigned}.{jwt.utils.base64url_encode(signature).decode()}"

    return make


def with_header(header, key_id="ec"):
    """Return what makes a token of this key and replaces its header."""
    return lambda signer: replaced(signer.token(key_id=key_id), header)


def replaced(token, header):
    """Return the token with this header, and so with a wrong signature."""
    _, body, signature = token.split(".")
    head = jwt.utils.base64url_encode(json.dumps(header).encode()).decode()
    return f"{head}.{body}.{signature}"


def with_claims(**claims):
    return lambda signer: signer.token(**claims)


def without(name):
    return lambda signer: signer.token(without=[name])


NOW = time.time()
REFUSED = {
    "HS256 with the public EC key": signed_with_the_public_key("ec"),
    "HS256 with the public RSA key": signed_with_the_public_key("rsa"),
    "HS256 with our key for cursors": lambda s: forged(
        s, key=SECRETS["SECRET_KEY"], algorithm="HS256"
    ),
    "alg none": lambda s: forged(s, key=None, algorithm="none"),
    "RS512": lambda s: forged(s, key=KEYS["rsa"], algorithm="RS512"),
    "PS256": lambda s: forged(s, key=KEYS["rsa"], algorithm="PS256"),
    "the algorithm of another key": with_header({"alg": "ES256", "kid": "rsa"}, "rsa"),
    "an algorithm of an odd type": with_header({"alg": ["ES256"], "kid": "ec"}),
    "the key id of a key of another type": lambda s: s.token(key=KEYS["rsa"], key_id="ec"),
    "another key under a known id": lambda s: s.token(key=OTHER_KEY),
    "an unknown key id": lambda s: s.token(key=OTHER_KEY, key_id="other"),
    "no key id": with_header({"alg": "ES256"}),
    "a key id of an odd type": with_header({"alg": "ES256", "kid": ["ec"]}),
    "its key in the header": lambda s: s.token(
        key=OTHER_KEY, key_id="other", header={"jwk": jwk("other", OTHER_KEY)}
    ),
    "the address of its key in the header": lambda s: s.token(
        key=OTHER_KEY, key_id="other", header={"jku": s.settings["JWT_JWKS"]}
    ),
    "a critical header": lambda s: s.token(header={"crit": ["exp"]}),
    "another issuer": with_claims(iss="https://other.example/"),
    "the issuer without its slash": with_claims(iss=ISSUER.rstrip("/")),
    "another audience": with_claims(aud="other"),
    "a list without our audience": with_claims(aud=["other", f"{AUDIENCE}/"]),
    "an empty audience": with_claims(aud=[]),
    "an empty subject": with_claims(subject=""),
    "issued in the future": with_claims(iat=NOW + 3600),
    "not yet valid": with_claims(nbf=NOW + 3600),
    "a time as text": with_claims(exp=str(int(NOW) + 3600)),
    **{f"without {name}": without(name) for name in ("sub", "iss", "aud", "iat", "exp")},
    "longer than a token may be": with_claims(name="x" * 4096),
}


class TestTokens:
    @pytest.fixture
    def database_url(self, tmp_path):
        return databases.copied_sqlite(tmp_path)

    @pytest.mark.parametrize("key_id", KEYS)
    def test_a_token_of_each_algorithm_is_accepted(self, client, signer, key_id):
        first = me(client, signer.token(key_id=key_id))

        assert first.status_code == 200
        assert first.json["user_id"] == issuer.user_id_of(ISSUER, "sub-1")

    def test_a_list_of_audiences_may_contain_ours(self, client, signer):
        assert me(client, signer.token(aud=["other", AUDIENCE])).status_code == 200

    def test_a_token_with_a_single_defect_is_refused(self, client, signer):
        made = {defect: make(signer) for defect, make in REFUSED.items()}

        responses = {each: status_and_code(me(client, token)) for each, token in made.items()}

        assert responses == dict.fromkeys(REFUSED, INVALID)

    def test_an_expired_token_is_refused_without_leeway(self, client, signer):
        token = signer.token(exp=time.time() - 1)

        assert status_and_code(me(client, token)) == (401, "token_expired")

    def test_it_is_no_refresh_token(self, client, signer):
        response = client.post("/api/auth/refresh", headers=bearer(signer.token()))

        assert status_and_code(response) == (401, "token_type")

    def test_our_own_tokens_are_still_accepted(self, client, player):
        assert me(client, player.token).json["user_id"] == player.user_id

    def test_our_own_token_of_an_unknown_user_creates_nobody(self, client, app):
        user_id = issuer.user_id_of(ISSUER, "sub-1")

        assert status_and_code(me(client, mint(user_id, name="Ann"))) == INVALID
        assert accounts.by_id(user_id) is None

    def test_the_connections_of_a_token_end_when_it_expires(self, app, signer):
        expiry = time.time() + 60

        assert tokens.authenticate(signer.token(exp=expiry)).expires_at == expiry

    @pytest.mark.parametrize("claims", [{}, {"jti": "one"}], ids=["without a jti", "with one"])
    def test_signing_out_ends_the_token_alone(self, client, signer, claims):
        ended, other = signer.token(n=1, **claims), signer.token(n=2, **claims)
        me(client, ended)

        response = client.post("/api/auth/logout", headers=bearer(ended))

        assert response.status_code == 204
        assert status_and_code(me(client, ended)) == (401, "token_revoked")
        assert me(client, other).status_code == 200

    def test_another_signature_of_a_revoked_token_is_revoked(self, client, signer):
        token = signer.token()
        me(client, token)
        client.post("/api/auth/logout", headers=bearer(token))

        # (r, -s) is a valid ECDSA signature wherever (r, s) is.
        signed, _, signature = token.rpartition(".")
        raw = jwt.utils.base64url_decode(signature)
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        negated = (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
        other = f"{signed}.{jwt.utils.base64url_encode(raw[:32] + negated).decode()}"

        assert other != token
        assert status_and_code(me(client, other)) == (401, "token_revoked")

    def test_a_token_id_of_the_issuer_revokes_none_of_ours(self, client, signer, player):
        token = signer.token(jti=tokens.user_token_id(player.user_id))
        me(client, token)

        client.post("/api/auth/logout", headers=bearer(token))

        assert me(client, player.token).status_code == 200

    def test_ending_a_users_sessions_revokes_the_tokens_issued_before(self, client, signer, admin):
        old = signer.token(iat=time.time() - 5)
        user_id = me(client, old).json["user_id"]

        client.post(f"/api/admin/users/{user_id}/end-sessions", headers=admin.bearer, json={})

        assert status_and_code(me(client, old)) == (401, "token_revoked")
        assert me(client, signer.token()).status_code == 200

    def test_a_suspended_user_is_refused(self, client, app, signer):
        user_id = me(client, signer.token()).json["user_id"]
        accounts.change(user_id, suspended_at=datetime.now(UTC))

        assert status_and_code(me(client, signer.token())) == (401, "account_suspended")

    def test_the_role_in_the_database_counts(self, client, app, signer, player):
        token = signer.token(role="admin")
        user_id = me(client, token).json["user_id"]
        update = {"user_id": player.user_id, **UPDATE}
        before = submit(client, SignedInUser(user_id, token), update)

        accounts.change(user_id, role="scorer")

        assert status_and_code(before) == (401, "not_permitted")
        assert submit(client, SignedInUser(user_id, token), update).status_code == 200


class TestKeys:
    @pytest.fixture
    def database_url(self, tmp_path):
        return databases.copied_sqlite(tmp_path)

    def test_they_are_fetched_once_for_many_tokens(self, client, signer):
        responses = [me(client, signer.token(key_id=each, n=n)) for n in (1, 2) for each in KEYS]

        assert [each.status_code for each in responses] == [200] * 4
        assert signer.fetches == 1

    def test_unknown_ones_do_not_fetch_them_again_within_the_cooldown(self, client, signer):
        me(client, signer.token())

        for number in range(3):
            me(client, signer.token(key=OTHER_KEY, key_id=f"unknown-{number}"))

        assert signer.fetches == 1

    def test_a_new_one_is_accepted_and_a_removed_one_refused(self, client, signer, no_cooldown):
        old = signer.token()
        me(client, old)

        signer.keys = {"new": OTHER_KEY}

        assert me(client, signer.token(key_id="new")).status_code == 200
        assert status_and_code(me(client, old)) == INVALID

    def test_old_ones_are_fetched_again_in_the_background(self, client, signer, monkeypatch):
        me(client, signer.token())
        monkeypatch.setattr(key_set, "COOLDOWN", 0)
        monkeypatch.setattr(key_set, "MAX_AGE", 0)
        spawned = []
        monkeypatch.setattr(runtime, "spawn", lambda work, *args: spawned.append(work))

        response = me(client, signer.token(n=2))

        assert response.status_code == 200
        assert len(spawned) == 1
        spawned[0]()
        assert signer.fetches == 2

    def test_the_last_ones_are_kept_while_the_issuer_is_down(self, client, signer, no_cooldown):
        me(client, signer.token())
        signer.is_down = True

        unknown = me(client, signer.token(key=OTHER_KEY, key_id="new"))

        # It may be valid: a client that gets 401 would discard it.
        assert status_and_code(unknown) == (503, "overloaded")
        assert me(client, signer.token(n=2)).status_code == 200

    def test_the_first_ones_are_fetched_when_the_issuer_is_up_again(
        self, client, signer, no_cooldown
    ):
        signer.is_down = True
        update = {"user_id": issuer.user_id_of(ISSUER, "sub-1"), **UPDATE}
        user = SignedInUser(update["user_id"], signer.token())

        refused = submit(client, user, update)
        signer.is_down = False

        assert status_and_code(refused) == (500, "overloaded")
        assert submit(client, user, update).status_code == 200

    def test_a_file_with_them_is_read_again_after_a_change(self, tmp_path, make_app, no_cooldown):
        fake, path = FakeIssuer(KEYS), tmp_path / "jwks.json"
        fake.stop()
        path.write_text(json.dumps(fake.key_set()))
        app = make_app(**{**fake.settings, "JWT_JWKS": str(path), "JWT_AUTO_CREATE": "1"})
        first = me(app.test_client(), fake.token())

        fake.keys = {"new": OTHER_KEY}
        path.write_text(json.dumps(fake.key_set()))

        assert first.status_code == 200
        assert me(app.test_client(), fake.token(key_id="new")).status_code == 200

    def test_only_public_signing_keys_that_are_strong_enough_are_used(self, tmp_path):
        weak = rsa.generate_private_key(65537, 1024)
        private = jwt.algorithms.ECAlgorithm.to_jwk(OTHER_KEY, as_dict=True)
        secret = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0" * 8, "alg": "HS256"}
        listed = [
            jwk("good", KEYS["ec"]),
            jwk("for encryption", KEYS["rsa"], use="enc"),
            jwk("RS512", KEYS["rsa"], alg="RS512"),
            jwk("weak", weak),
            {**private, "kid": "private"},
            {**jwk("P-384", ec.generate_private_key(ec.SECP384R1())), "alg": "ES384"},
            secret,
            "no key",
        ]
        path = tmp_path / "jwks.json"
        path.write_text(json.dumps({"keys": listed}))

        assert list(key_set.fetch(str(path))) == ["good"]

    def test_the_doctor_reads_them(self, app, signer):
        found = doctor.issuer()
        signer.is_down = True
        missing = doctor.issuer()
        signer.is_down, signer.keys = False, {}
        empty = doctor.issuer()

        assert found == "keys for tokens of JWT_ISSUER: ec, rsa"
        assert [isinstance(each, doctor.Problem) for each in (found, missing, empty)] == [
            *(False, True, True)
        ]


class TestUsers:
    def test_concurrent_first_requests_create_one_user(self, app, signer, audit_lines):
        token = signer.token(preferred_username="Ann")
        with ThreadPoolExecutor(4) as pool:
            responses = list(pool.map(lambda _: me(app.test_client(), token), range(4)))

        assert {each.status_code for each in responses} == {200}
        assert [each.username for each in accounts.list_all()] == ["Ann"]
        joined = [line["code"] for line in audit_lines() if line.get("act") == "join"]
        assert joined.count("accepted") == 1

    def test_users_of_one_name_get_different_ones(self, app, client, signer):
        people = [me(client, signer.token(f"sub-{n}", name="Ann")).json for n in range(3)]

        names = [person["username"] for person in people]
        assert names[0] == "Ann"
        assert [name[:4] for name in names[1:]] == ["Ann-", "Ann-"]
        assert len({person["user_id"] for person in people}) == 3

    def test_a_name_comes_from_the_claims(self, client, signer):
        claims = [
            {"preferred_username": "ann", "name": "Ann Lee"},
            {"preferred_username": 7, "nickname": " Lee\u200b\n "},
            {"email": "bob@example.com"},
            {"preferred_username": "cleo@example.com"},
            {"name": "x" * 80},
            {"name": "Admin"},
            {"name": "\u200b\ud800"},
            {},
        ]

        people = [me(client, signer.token(f"sub-{n}", **each)) for n, each in enumerate(claims)]

        names = [person.json["username"] for person in people]
        assert names[:5] == ["ann", "Lee", "bob", "cleo", "x" * 64]
        assert [name.partition("-")[0] for name in names[5:]] == ["Admin", "player", "player"]
        assert names[5] != "Admin"

    def test_only_a_verified_free_address_is_stored(self, client, app, signer):
        accounts.create("Bob", "taken@example.com", None, "player")
        sent = [
            ("Ann@Example.com", True),
            ("taken@example.com", True),
            ("b@example.com", False),
            ("c@example.com", "true"),
            ("no address", True),
        ]

        people = [
            me(client, signer.token(email, name=f"Ann {n}", email=email, email_verified=verified))
            for n, (email, verified) in enumerate(sent)
        ]

        assert [person.json["username"] for person in people] == [f"Ann {n}" for n in range(5)]
        assert [person.json["email"] for person in people] == ["ann@example.com", *[None] * 4]

    def test_an_erased_user_does_not_come_back(self, client, app, signer):
        token = signer.token()
        me(client, token)
        client.delete("/api/auth/me", headers=bearer(token), json={})

        response = me(client, token)

        assert status_and_code(response) == INVALID
        assert accounts.list_all() == []

    def test_closed_joining_does_not_refuse_them(self, make_app, signer, settings):
        client = make_app(**settings, JOINING="closed").test_client()

        assert me(client, signer.token()).status_code == 200

    def test_new_ones_are_limited_per_address(self, make_app, signer, settings):
        client = make_app(**{**settings, "AUTH_RATE_LIMIT": "1/minute"}).test_client()
        known = signer.token("known")

        responses = [me(client, token) for token in (known, signer.token("new"), known)]

        assert [each.status_code for each in responses] == [200, 429, 200]

    def test_unknown_ones_are_refused_unless_they_are_created(self, make_app, signer):
        app = make_app(**signer.settings)
        client, token = app.test_client(), signer.token()
        command = ["users", "create", "ann", "ann@example.com", "--subject", "sub-1"]

        refused = me(client, token)
        with app.app_context():
            app.test_cli_runner().invoke(args=command, catch_exceptions=False)

        assert status_and_code(refused) == (401, "account_unknown")
        assert me(client, token).json["username"] == "ann"


def test_a_server_accepts_them_over_every_transport(start, closing):
    fake = FakeIssuer(KEYS)
    server = start("python wsgi.py", **fake.settings, JWT_AUTO_CREATE="1")
    user_ids = [issuer.user_id_of(ISSUER, subject) for subject in ("sub-1", "sub-2")]
    first, second = (fake.token(each, "rsa") for each in ("sub-1", "sub-2"))

    plain = closing(WebSocketClient(server.url, first))
    socket_io = closing(SocketIoClient(server.url, second))
    by_event = socket_io.submit({"user_id": user_ids[1], **UPDATE})
    by_http = server.send(first, {"user_id": user_ids[0], **UPDATE})
    plain.wait_for(lambda messages: "score_update" in [m["type"] for m in messages])
    for user_id in user_ids:
        server.flask("users", "suspend", accounts_name(server, user_id))
    fake.stop()

    assert (by_event["status"], by_http[0]) == (200, 200)
    assert [each.ended.wait(10) for each in (plain, socket_io)] == [True, True]
    assert plain.code == 4401
    assert fake.fetches == 1


def accounts_name(server, user_id):
    """Return the name of this user on the server."""
    lines = server.flask("users", "list").splitlines()
    return next(line.split()[2] for line in lines if line.startswith(user_id))
