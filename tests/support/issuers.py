"""Another issuer of tokens: signs them, and serves its public keys on 127.0.0.1."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER, AUDIENCE = "https://issuer.example/", "scoreboard"


def new_key(algorithm="ES256"):
    """Return a new private key for this algorithm."""
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key_id, key, **members):
    """Return the public key as a JSON Web Key."""
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    algorithm = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
    public = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": key_id, "use": "sig", "alg": "RS256" if is_rsa else "ES256", **members}


class FakeIssuer:
    """Serves `keys`, private keys by their ids, as a key set; fails while `is_down`."""

    def __init__(self, keys):
        self.keys, self.is_down, self.fetches = dict(keys), False, 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.fetches += 1
                self.send_response(500 if issuer.is_down else 200)
                self.end_headers()
                self.wfile.write(json.dumps(issuer.key_set()).encode())

            def log_message(self, *args):
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.settings = {
            "JWT_JWKS": f"http://127.0.0.1:{self._server.server_port}/jwks.json",
            "JWT_ISSUER": ISSUER,
            "JWT_AUDIENCE": AUDIENCE,
        }

    def key_set(self):
        """Return the JSON Web Key Set."""
        return {"keys": [jwk(key_id, key) for key_id, key in self.keys.items()]}

    def token(self, subject="sub-1", key_id="ec", without=(), header=None, key=None, **claims):
        """Return a token of this subject, with these claims and headers."""
        key = key or self.keys[key_id]
        now = time.time()
        all_claims = {
            **{"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300},
            **claims,
        }
        return jwt.encode(
            {name: value for name, value in all_claims.items() if name not in without},
            key,
            "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256",
            headers={"kid": key_id, **(header or {})},
        )

    def stop(self):
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
