"""Signed URLs as imgproxy's clients make them, for a key of the gateway."""

import base64
import collections
import hashlib
import hmac
import os

from helpers_standin import redenormalised
from helpers_standin import signature as sign

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


class SigningKey:
    """A new key with a signing key; more=… are options of `key create`."""

    def __init__(self, stack, user=None, **more):
        self.stack, self.user = stack, user or stack.make_user()
        arguments = [word for name, value in more.items() for word in (f"--{name}", value)]
        made = stack.done("key", "create", self.user.name, "--signing", *arguments)
        self.id, self.key = made["id"], made["key"]
        self.take(made)
        stack.settle()

    def take(self, made):
        """The pair of an answer of `key create` or `key rotate`, as the libraries of imgproxy take it."""
        self.pair = {"key": made["signing_key"], "salt": made["signing_salt"]}
        for text in self.pair.values():
            assert len(bytes.fromhex(text)) == 32 and text == text.lower()

    def signed(self, rest):
        """The target of "<options>/<source>"; the query, if any, is not signed."""
        key, salt = (bytes.fromhex(self.pair[name]) for name in ("key", "salt"))
        return f"/signed/{self.id}/{sign(redenormalised('/' + rest.partition('?')[0]), key, salt)}/{rest}"

    def put(self, name, data):
        """Lays a file into the tenant's folder, under a name that no upload gives."""
        folder = os.path.join(self.stack.settings["UPLOADS_DIR"], str(self.user.id))
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(data)
        account = self.stack.layout.account
        for item in (folder, path):
            os.chown(item, account.uid, account.gid)
