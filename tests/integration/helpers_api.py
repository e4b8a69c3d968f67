"""gateway-api alone, asked past HAProxy as HAProxy asks it."""

import os

import helpers_http as http

UPLOAD = "/api/v1/upload"
IMAGES = "/api/v1/images"


def start_api(make, settings=None):
    """A stack (of the fixture `fresh_stack` or `module_stack`) of which gateway-api alone runs."""
    stack = make(settings, start=False)
    stack.prepare()
    stack.start_parts("api")
    return stack


def head_of(stack, method, target, user, headers=(), limit=None, scopes="read,upload"):
    """The headers as HAProxy sends them."""
    mine = [("X-GW-Token", stack.settings["API_TOKEN"]), ("X-GW-User", str(user)), ("X-GW-Scopes", scopes), *headers]
    if limit is not None:
        mine.append(("X-GW-Storage-Limit", str(limit)))
    return method, target, mine


def ask(stack, method, target, user, body=None, **more):
    """One request; `more` as above."""
    return http.send_raw(stack.settings["API_BIND"], http.build(*head_of(stack, method, target, user, **more), body))


def upload(stack, user, data, form=False, **more):
    kind = "image/jpeg"
    if form:
        kind, data = http.multipart(data)
    return ask(stack, "POST", UPLOAD, user, data, headers=[("Content-Type", kind)], **more)


def folder_of(stack, user):
    return os.path.join(stack.settings["UPLOADS_DIR"], str(user))


BLOCK = 4096


def whole(size):
    """What a file of so many bytes counts as storage."""
    return max(1, -(-size // BLOCK)) * BLOCK


def used(stack, user):
    """What the user's files count, by the sizes that the file system says."""
    folder = folder_of(stack, user)
    if not os.path.isdir(folder):
        return 0
    return sum(whole(os.lstat(os.path.join(folder, name)).st_size) for name in os.listdir(folder))


def room(stack, user, limit):
    """Whether exactly the whole blocks of limit - used are left: one byte more is refused, and an upload of that many is
    only refused for what it is."""
    left = (limit - used(stack, user)) // BLOCK * BLOCK
    assert upload(stack, user, b"x" * (left + 1), limit=limit).status == 507
    answer = upload(stack, user, b"x" * left, limit=limit) if left > 0 else None
    assert answer is None or answer.status == 415, answer


def all_images(stack, user, limit=100):
    """Every page, one after the other."""
    found, after = [], ""
    while True:
        answer = ask(stack, "GET", f"{IMAGES}?limit={limit}" + (f"&after={after}" if after else ""), user)
        assert answer.status == 200, answer
        page = answer.json()
        assert sorted(page) == ["images", "next"] and len(page["images"]) <= limit, page
        found += page["images"]
        after = page["next"]
        if after is None:
            return found
