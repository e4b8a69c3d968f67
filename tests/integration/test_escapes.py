"""What a tenant can think of to get at another tenant's image, through the whole stack."""

import collections
import os

import pytest

import escapes
from helpers_signed import SigningKey
from helpers_standin import Standin, marker, seen

UNICODE, SPACED, NESTED = "кот и 猫.jpg", "a b (1) 50+.jpg", "2026/11/x.jpg"


class House:
    """Tenant A, the victim, and tenant B, who asks; a file and links beside their folders."""

    def __init__(self, stack):
        self.stack = stack
        self.victim, self.tenant = stack.make_key(), stack.make_key()
        self.uploads = stack.settings["UPLOADS_DIR"]
        own = stack.uploaded(self.tenant, marker("B"))["source"][len("local:///"):]
        name = stack.uploaded(self.victim, marker("A"))["source"][len("local:///"):]
        victim, tenant = str(self.victim.user.id), str(self.tenant.user.id)
        self.names = escapes.Names(victim, tenant, own, name, "root-marker.jpg", "link-marker.jpg", "link-folder",
                                   stack.image_servers[0].address.rpartition(":")[2], self.uploads)
        self.made = []
        self.put(self.names.root, marker("root"))
        for path, to in ((self.names.link, f"{victim}/{name}"), (self.names.folder, victim)):
            os.symlink(to, os.path.join(self.uploads, path))
            self.made.append(os.path.join(self.uploads, path))
        for other in (UNICODE, SPACED, NESTED):
            self.put(f"{tenant}/{other}", marker("B"))
            # And the same names, where a source that is not confined would find them.
            self.put(f"{victim}/{other}", marker("A"))
            self.put(other, marker("root"))

    def put(self, name, data):
        """Lays a file below the root that no upload could."""
        path = os.path.join(self.uploads, name)
        account = self.stack.layout.account
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            os.makedirs(folder)
        with open(path, "wb") as file:
            file.write(data)
        while folder != self.uploads:
            os.chown(folder, account.uid, account.gid)
            folder = os.path.dirname(folder)
        os.chown(path, account.uid, account.gid)
        self.made.append(path)

    def remove(self):
        for path in self.made:
            os.unlink(path)
        folder = os.path.join(self.uploads, "2026/11")
        os.rmdir(folder)
        os.rmdir(os.path.dirname(folder))

    def ask(self, target):
        """(status, whose image it is, None when it is none) as tenant B."""
        answer = self.stack.get(target, self.tenant)
        whose = seen(answer.body) if answer.body else None
        if answer.status == 200 and whose is None:
            whose = "?"
        return answer.status, whose


@pytest.fixture(scope="module")
def house(stack):
    own = House(stack)
    yield own
    own.remove()


def told(found, most=20):
    return "\n".join(str(one) for one in found[:most]) + (f"\n… {len(found)} in all" if len(found) > most else "")


def test_the_markers_are_told_apart(house):
    """Were they not, everything below would show nothing."""
    for whose, key, name in (("A", house.victim, house.names.name), ("B", house.tenant, house.names.own)):
        answer = house.stack.get(f"/img/unsafe/plain/local:///{name}", key)
        assert answer.status == 200 and seen(answer.body) == whose
    assert seen(marker("root")) == "root" and seen(b"nothing") is None


def test_the_variants_are_dangerous(house):
    """Asked of a server that confines nothing, many of them do reach what is another's: so it is the gateway that keeps
    them out below."""
    reached = collections.Counter()
    names = house.names._replace(victim="tenants/a", tenant="tenants/b", own="cat.jpg", name="secret.jpg",
                                 root="root.jpg")
    standin = Standin(KEY="", SALT="")
    try:
        for variant in escapes.variants(names):
            if not any(byte in variant.rest for byte in "\r\n"):
                reached[seen(standin.get("/unsafe/" + variant.rest).body), variant.kind] += 1
    finally:
        standin.close()
    assert sum(count for (whose, _), count in reached.items() if whose in ("A", "root")) >= 200, reached
    for kind in ("walk", "straight", "double"):
        assert reached["A", kind] >= 30, reached


def check_none_leaks(house, targets):
    """`targets`: pairs of a variant and what of it is asked for. Returns how often each status came."""
    leaks, odd, statuses = [], [], collections.Counter()
    for variant, target in targets:
        status, whose = house.ask(target)
        statuses[status] += 1
        if whose not in (None, "B"):
            leaks.append((variant, target, status, whose))
        if status not in (200, 400, 403, 404, 414, 415):
            odd.append((variant, target, status))
    assert not leaks, told(leaks)
    assert not odd, told(odd)
    # That B's own image came for a few of them is right: "local:///own?…" names it, for one.
    assert statuses[200] < statuses.total() / 20, statuses
    assert house.stack.get("/healthz").status == 200
    return statuses


def test_no_variant_reaches_what_is_not_the_tenants(house):
    found = list(escapes.variants(house.names))
    assert len(found) >= 2000 and len({variant.target for variant in found}) == len(found)
    assert {variant.encoding for variant in found} == set(escapes.ENCODINGS)
    assert {variant.kind for variant in found} == {"walk", "straight", "double", "remote"}
    check_none_leaks(house, ((variant, variant.target) for variant in found))


def test_none_does_with_a_signature(house):
    """The tenant may sign whatever they like with their own key."""
    key = SigningKey(house.stack, house.tenant.user)
    check_none_leaks(house, ((variant, key.signed(variant.rest)) for variant in escapes.variants(house.names)))
    for kind, target in escapes.honest(house.names, UNICODE, SPACED, NESTED):
        assert house.ask(key.signed(target[len("/img/unsafe/"):])) == (200, "B"), (kind, target)


def test_honest_variants_are_served(house):
    served, refused = collections.Counter(), collections.defaultdict(list)
    for kind, target in escapes.honest(house.names, UNICODE, SPACED, NESTED):
        status, whose = house.ask(target)
        assert whose in (None, "B"), (target, status, whose)
        if status == 200:
            served[kind] += 1
        else:
            refused[kind].append((status, target))
    assert served["narrow"] >= 90 and not refused["narrow"], told(refused["narrow"])
    assert not any(refused.values()), told([one for kind in refused.values() for one in kind])
    assert set(served) == {"narrow", "base64", "base64 with an extension", "options", "redenormalised", "escaped", "names"}


def test_what_may_be_taken_or_refused_is_the_tenants_own(house):
    for target in escapes.either_way(house.names):
        status, whose = house.ask(target)
        assert status in (200, 400, 403, 404) and whose in (None, "B"), (target, status, whose)


def test_names_that_another_tenant_has_too(house):
    """The same source is another file for each of them."""
    for key, whose in ((house.victim, "A"), (house.tenant, "B")):
        source = f"local:///{house.names.name if whose == 'A' else house.names.own}"
        assert seen(house.stack.get(f"/img/unsafe/w:16/plain/{source}@png", key).body) == whose
    for key, name in ((house.victim, house.names.own), (house.tenant, house.names.name)):
        assert house.stack.get(f"/img/unsafe/w:16/plain/local:///{name}@png", key).status == 404


def test_a_link_in_the_tenants_own_folder(house):
    """No upload makes one: it takes somebody who may write there. The image servers' own mount does not follow it."""
    if not house.stack.links_are_shut:
        pytest.skip("this system gives an unprivileged user no mounts of its own")
    link = os.path.join(house.uploads, house.names.tenant, "link.jpg")
    os.symlink(f"../{house.names.victim}/{house.names.name}", link)
    try:
        status, whose = house.ask("/img/unsafe/plain/local:///link.jpg")
    finally:
        os.unlink(link)
    assert (status, whose) == (404, None)
