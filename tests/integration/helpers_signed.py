"""Signed URLs as imgproxy's clients make them, for a key of the gateway."""

import base64
import collections
import hashlib
import hmac

Signer = collections.namedtuple("Signer", "id key user signing_key signing_salt")


def make_signer(stack, user=None, *more):
    """An API key that has a signing key."""
    user = user or stack.make_user()
    told = stack.done("key", "create", user.name, "--signing", *more)
    stack.settle()
    return Signer(told["id"], told["key"], user, told["signing_key"], told["signing_salt"])


def signature(signer, path):
    """imgproxy's: base64url(HMAC-SHA-256(key, salt + path)) without padding."""
    mac = hmac.new(bytes.fromhex(signer.signing_key), bytes.fromhex(signer.signing_salt) + path.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()


def signed(signer, path, of=None):
    """The gateway's path for an imgproxy path "/<options>/<source>"; `of`: what is signed, if it is spelled in another way."""
    return f"/signed/{signer.id}/{signature(signer, of or path)}{path}"


def base64_source(source):
    return base64.urlsafe_b64encode(source.encode()).rstrip(b"=").decode()
