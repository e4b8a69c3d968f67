"""gatewayctl: signing keys, remote sources and bounds of images; what they answer, what they refuse, and what the database
holds then."""

import ctypes
import decimal
import json
import re

import pytest

HEX = re.compile(r"[0-9a-f]{64}")
NO_MASTER = {"AUTH_MASTER_KEY": ""}


def generation(stack):
    return stack.sql("SELECT generation FROM policy_generation")[0][0]


def open_sealed(master, key_id, sealed):
    """What lies in api_keys.signing, by libcrypto and the text of the design; None when it does not open."""
    crypto = ctypes.CDLL("libcrypto.so.3")
    for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
        getattr(crypto, name).restype = ctypes.c_void_p
    context, out, n = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new()), ctypes.create_string_buffer(64), ctypes.c_int()
    aad = f"igw-signing-v1:{key_id}".encode()
    assert len(sealed) == 92
    try:
        assert crypto.EVP_DecryptInit_ex(context, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, bytes.fromhex(master), sealed[:12])
        assert crypto.EVP_DecryptUpdate(context, None, ctypes.byref(n), aad, len(aad))
        assert crypto.EVP_DecryptUpdate(context, out, ctypes.byref(n), sealed[12:76], 64)
        assert crypto.EVP_CIPHER_CTX_ctrl(context, 0x11, 16, sealed[76:])
        return out.raw if crypto.EVP_DecryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(n)) == 1 else None
    finally:
        crypto.EVP_CIPHER_CTX_free(context)


def stored(stack, key_id):
    value = stack.sql("SELECT signing FROM api_keys WHERE id = %s", (key_id,))[0][0]
    return None if value is None else bytes(value)


def check_stored(stack, made):
    """The row holds what was shown, for this row alone, and in no other form."""
    sealed = stored(stack, made["id"])
    secret = made["signing_key"] + made["signing_salt"]
    assert open_sealed(stack.settings["AUTH_MASTER_KEY"], made["id"], sealed).hex() == secret
    assert open_sealed(stack.settings["AUTH_MASTER_KEY"], made["id"] + 1, sealed) is None
    assert open_sealed("ab" * 32, made["id"], sealed) is None
    assert made["signing_key"] not in sealed.hex() and made["signing_salt"] not in sealed.hex()


def ctl_without_master(stack, *args):
    """gatewayctl with the stack's settings, but for the master key."""
    return stack.run_program("gatewayctl", "--config", stack.config, *args, env=NO_MASTER)


# ---- signing keys -----------------------------------------------------------------------------------------------------

def test_key_with_a_signing_key(stack):
    user = stack.make_user()
    made = stack.done("key", "create", user.name, "--signing", "--scopes", "read")
    assert made["signing"] is True and HEX.fullmatch(made["signing_key"]) and HEX.fullmatch(made["signing_salt"])
    assert made["signing_key"] != made["signing_salt"]
    check_stored(stack, made)
    plain = stack.done("key", "create", user.name)
    assert plain["signing"] is False and not {"signing_key", "signing_salt"} & set(plain)
    assert stored(stack, plain["id"]) is None
    listed = stack.done("key", "list", user.name)
    assert [key["signing"] for key in listed] == [True, False]
    assert not any({"signing_key", "signing_salt", "key"} & set(key) for key in listed)
    other = stack.done("key", "create", user.name, "--signing")
    assert other["signing_key"] != made["signing_key"] and other["signing_salt"] != made["signing_salt"]


def test_key_with_a_signing_key_for_people(stack):
    user = stack.make_user()
    result = stack.gatewayctl("key", "create", user.name, "--signing")
    assert (result.rc, result.err) == (0, "")
    _, key, signing, salt = result.out.splitlines()
    assert key.startswith("igw_")
    assert re.fullmatch("signing_key [0-9a-f]{64}", signing) and re.fullmatch("signing_salt [0-9a-f]{64}", salt)
    check_stored(stack, {"id": int(key.split("_")[1]), "signing_key": signing.split()[1], "signing_salt": salt.split()[1]})
    assert len(stack.gatewayctl("key", "create", user.name).out.splitlines()) == 2
    head, first, second = stack.gatewayctl("key", "list", user.name).out.splitlines()
    at = head.index("SIGNING")
    assert first[at:].split()[0] == "yes" and second[at:].split()[0] == "no"


def test_the_signing_key_is_nowhere_else(stack):
    user = stack.make_user()
    made = stack.done("key", "create", user.name, "--signing")
    for args in (("key", "list"), ("key", "list", "--json"), ("user", "show", user.name, "--json"), ("config", "show", "--json")):
        shown = str(stack.gatewayctl(*args))
        for secret in (made["signing_key"], made["signing_salt"], stack.settings["AUTH_MASTER_KEY"]):
            assert secret not in shown
    for (table,) in stack.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"):
        for secret in (made["signing_key"], made["signing_salt"]):
            assert stack.sql(f'SELECT count(*) FROM "{table}" AS t WHERE t::text LIKE %s', (f"%{secret}%",)) == [(0,)], table


def test_rotation_makes_new_signing_keys(stack):
    user = stack.make_user()
    old = stack.done("key", "create", user.name, "--signing")
    before = stored(stack, old["id"])
    made = stack.done("key", "rotate", old["id"], "--grace", "1h")
    assert made["replaces"] == old["id"] and made["signing"] is True
    assert {made["signing_key"], made["signing_salt"]} & {old["signing_key"], old["signing_salt"]} == set()
    check_stored(stack, made)
    assert stored(stack, old["id"]) == before, "the old one's signatures pass until it ends"
    plain = stack.done("key", "create", user.name)
    rotated = stack.done("key", "rotate", plain["id"])
    assert rotated["signing"] is False and "signing_key" not in rotated and stored(stack, rotated["id"]) is None
    text = stack.gatewayctl("key", "rotate", made["id"]).out
    assert re.search("^signing_key [0-9a-f]{64}\nsigning_salt [0-9a-f]{64}$", text, re.MULTILINE)


def test_without_a_master_key(stack):
    user = stack.make_user()
    made = stack.done("key", "create", user.name, "--signing")
    plain = stack.done("key", "create", user.name)
    count = "SELECT count(*) FROM api_keys WHERE user_id = %s AND is_active"
    for args in (("key", "create", user.name, "--signing"), ("key", "rotate", str(made["id"])), ("key", "rotate", str(made["id"]), "--json")):
        result = ctl_without_master(stack, *args)
        assert (result.rc, result.out) == (1, "") and "auth.master_key (AUTH_MASTER_KEY)" in result.err, result
        assert stack.sql(count, (user.id,)) == [(2,)]
    assert ctl_without_master(stack, "key", "rotate", str(plain["id"])).rc == 0
    assert ctl_without_master(stack, "key", "create", user.name).rc == 0
    assert ctl_without_master(stack, "key", "revoke", str(made["id"])).rc == 0


# ---- sources ----------------------------------------------------------------------------------------------------------

def test_source_add_list_remove(stack):
    user = stack.make_user()
    assert stack.done("source", "list", user.name) == []
    shop = stack.done("source", "add", user.name, "https://shop.example/images/", "--description", "the shop")
    assert set(shop) == {"id", "user", "user_id", "prefix", "description", "created_at"}
    assert (shop["user"], shop["user_id"], shop["prefix"], shop["description"]) == (
        user.name, user.id, "https://shop.example/images/", "the shop")
    bucket = stack.done("source", "add", user.id, "s3://bucket")
    assert (bucket["prefix"], bucket["description"]) == ("s3://bucket/", None)
    again = stack.gatewayctl("source", "add", user.name, "s3://bucket/")
    assert again.rc == 1 and f's3://bucket/ is on the list of "{user.name}" already' in again.err
    assert stack.done("source", "list", user.name) == [shop, bucket]
    assert stack.done("source", "remove", user.name, "s3://bucket") == bucket
    gone = stack.gatewayctl("source", "remove", user.name, "s3://bucket/")
    assert gone.rc == 1 and "s3://bucket/ is not on the list of" in gone.err
    assert stack.done("source", "remove", user.name, shop["id"]) == shop
    assert stack.done("source", "list", user.name) == []


def test_source_remove_takes_the_users_own_alone(stack):
    user, other = stack.make_user(), stack.make_user()
    theirs = stack.done("source", "add", other.name, "https://a.example/")
    for what in (theirs["id"], "https://a.example/", 0, 2**63, 2**64 - 1):
        result = stack.gatewayctl("source", "remove", user.name, what)
        assert (result.rc, result.out) == (1, ""), result
    assert stack.done("source", "list", other.name) == [theirs]


def test_sources_for_people(stack):
    user = stack.make_user()
    assert stack.gatewayctl("source", "list", user.name).out == f"the list is empty: {user.name} has no remote sources\n"
    assert stack.gatewayctl("source", "add", user.name, "https://b.example/x").out == (
        f"{user.name} may use images from https://b.example/x\n")
    stack.gatewayctl("source", "add", user.name, "https://a.example/", "--description", "first")
    head, first, second = stack.gatewayctl("source", "list", user.name).out.splitlines()
    assert head.split() == ["ID", "PREFIX", "DESCRIPTION", "CREATED"]
    assert first.split()[1:3] == ["https://a.example/", "first"] and second.split()[1:3] == ["https://b.example/x", "-"]
    assert stack.gatewayctl("source", "remove", user.name, first.split()[0]).out == (
        f"https://a.example/ is off the list of {user.name}\n")
    assert "which is empty now: they have no remote sources" in stack.gatewayctl(
        "source", "remove", user.name, "https://b.example/x").out


@pytest.mark.parametrize("prefix", [
    "", "7x", "https://", "a.example/", "ftp://a.example/", "local:///x", "https://user@a.example/",
    "https://a.example/#x", "https://a.example/\\x", "https://a.example/" + "x" * 600,
    "https://a.example/" + "x" * 2000,
])
def test_what_is_no_source(stack, prefix):
    user = stack.make_user()
    before = generation(stack)
    result = stack.gatewayctl("source", "add", user.name, prefix)
    assert (result.rc, result.out) == (1, "") and result.err.startswith("gatewayctl: "), result
    assert generation(stack) == before and stack.done("source", "list", user.name) == []


def test_one_source_too_many(stack):
    user = stack.make_user()
    stack.sql("INSERT INTO allowed_sources (user_id, prefix) SELECT %s, 'https://host-' || i || '.example/' "
              "FROM generate_series(1, 1000) AS i", (user.id,))
    result = stack.gatewayctl("source", "add", user.name, "https://a.example/")
    assert result.rc == 1 and "at most 1000 allowed sources" in result.err
    stack.done("source", "remove", user.name, "https://host-7.example/")
    stack.done("source", "add", user.name, "https://a.example/")
    assert len(stack.done("source", "list", user.name)) == 1000


# ---- bounds of images -------------------------------------------------------------------------------------------------

DEFAULTS = ["max_dimension", "max_dpr", "max_zoom", "max_blur", "max_quality", "require_expires"]


def image_row(stack, user):
    found = stack.sql("SELECT max_dimension, max_dpr, max_zoom, max_blur, max_quality, require_expires, presets "
                      "FROM image_policies WHERE user_id = %s", (user.id,))
    return found and tuple(float(each) if isinstance(each, decimal.Decimal) else each for each in found[0])


def test_bounds_of_a_user_without_a_row(stack):
    user = stack.make_user()
    shown = {"user": user.name, "user_id": user.id, "max_dimension": 4096, "max_dpr": 4, "max_zoom": 4, "max_blur": 50,
             "max_quality": 100, "require_expires": False, "presets": [], "defaults": DEFAULTS}
    assert stack.done("image", "show", user.name) == shown
    assert image_row(stack, user) == []
    env = {"IMAGES_MAX_DIMENSION": "100", "IMAGES_MAX_DPR": "2", "IMAGES_MAX_ZOOM": "3", "IMAGES_MAX_BLUR": "0",
           "IMAGES_MAX_QUALITY": "80", "IMAGES_REQUIRE_EXPIRES": "true"}
    found = json.loads(stack.run_program("gatewayctl", "--config", stack.config, "--json", "image", "show", user.name, env=env).out)
    assert found == {**shown, "max_dimension": 100, "max_dpr": 2, "max_zoom": 3, "max_blur": 0, "max_quality": 80,
                     "require_expires": True}


def test_image_set_changes_what_is_given(stack):
    user = stack.make_user()
    answer = stack.done("image", "set", user.name, "--max-dimension", 2000, "--max-dpr", "1.5", "--presets", "thumb,wide.2")
    assert answer == {"user": user.name, "user_id": user.id, "max_dimension": 2000, "max_dpr": 1.5, "max_zoom": 4, "max_blur": 50,
                      "max_quality": 100, "require_expires": False, "presets": ["thumb", "wide.2"],
                      "defaults": ["max_zoom", "max_blur", "max_quality", "require_expires"]}
    assert image_row(stack, user) == (2000, 1.5, None, None, None, None, ["thumb", "wide.2"])
    answer.update(max_zoom=1, max_blur=0.25, max_quality=85, require_expires=True, defaults=[])
    assert stack.done("image", "set", user.id, "--max-zoom", 1, "--max-blur", "0.25", "--max-quality", 85,
                      "--require-expires", "on") == answer
    assert image_row(stack, user) == (2000, 1.5, 1, 0.25, 85, True, ["thumb", "wide.2"])
    answer.update(require_expires=False, max_blur=0, presets=[])
    assert stack.done("image", "set", user.name, "--require-expires", "off", "--max-blur", 0, "--presets", "none") == answer
    assert image_row(stack, user) == (2000, 1.5, 1, 0, 85, False, None)
    assert stack.done("image", "show", user.name) == answer
    options = ("max-dimension", "max-dpr", "max-zoom", "max-blur", "max-quality", "require-expires", "presets")
    answer = stack.done("image", "set", user.name, *(word for name in options for word in ("--" + name, "default")))
    assert answer["defaults"] == DEFAULTS and answer["max_dpr"] == 4
    assert image_row(stack, user) == (None,) * 7


def test_image_set_takes_the_largest_numbers(stack):
    user = stack.make_user()
    answer = stack.done("image", "set", user.name, "--max-dimension", 10**6, "--max-dpr", 1000, "--max-zoom", "1000.000",
                        "--max-blur", "999.999", "--max-quality", 100)
    assert [answer[name] for name in DEFAULTS[:5]] == [10**6, 1000, 1000, 999.999, 100]
    presets = [f"{i:03}".rjust(64, "p") for i in range(100)]
    assert stack.done("image", "set", user.name, "--presets", ",".join(presets))["presets"] == presets
    assert stack.done("image", "set", user.name, "--max-dpr", "1.1")["max_dpr"] == 1.1
    assert '"max_dpr": 1.1,' in stack.run_ctl("--json", "image", "show", user.name).stdout


def test_images_for_people(stack):
    user = stack.make_user()
    result = stack.gatewayctl("image", "set", user.name, "--max-dpr", "2.05", "--max-blur", "0.3", "--presets", "a,b",
                              "--require-expires", "on")
    assert (result.rc, result.err) == (0, "")
    assert [line.split() for line in result.out.splitlines()] == [
        ["user", str(user.id), f"({user.name})"], ["BOUND", "VALUE", "FROM"], ["max_dimension", "4096", "setting"],
        ["max_dpr", "2.05", "user"], ["max_zoom", "4", "setting"], ["max_blur", "0.3", "user"],
        ["max_quality", "100", "setting"], ["require_expires", "yes", "user"], ["presets", "a,b", "user"]]
    assert stack.gatewayctl("image", "show", user.name).out == result.out


# (option, value, what the reason says): exit code 1.
WRONG = [
    *(("--max-dimension", value, "a number from 1 to 1000000, or `default`") for value in ("0", "-1", "x", "1.5", "1000001", "")),
    *((option, value, "a number from 1 to 1000 with at most three digits") for option in ("--max-dpr", "--max-zoom")
      for value in ("0", "0.999", "1000.001", "1.0000", "x", "-1", ".5", "")),
    *(("--max-blur", value, "a number from 0 to 1000 with") for value in ("-1", "1000.001", "none")),
    *(("--max-quality", value, "a number from 1 to 100, or `default`") for value in ("0", "101", "80.5")),
    *(("--require-expires", value, "on, off or `default`") for value in ("yes", "true", "", "ON")),
    *(("--presets", value, "a comma list of at most 100 names") for value in ("", ",", "a,", "a,a", "a b", "a:b", "x" * 65,
                                                                              ",".join(f"p{i}" for i in range(101)))),
]


@pytest.mark.parametrize("option, value, said", WRONG, ids=lambda value: str(value)[:20])
def test_bounds_that_are_refused(stack, option, value, said):
    result = stack.gatewayctl("image", "set", "demo", option, value)
    assert (result.rc, result.out) == (1, "") and said in result.err, result


# ---- all of them ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args", [
    ("source", "add", "nobody-at-all", "https://a.example/"), ("source", "list", "nobody-at-all"),
    ("source", "remove", "nobody-at-all", "1"), ("image", "show", "nobody-at-all"),
    ("image", "set", "nobody-at-all", "--max-dpr", "1"), ("source", "add", "demo", "https://a.example/", "--description", "x" * 1001),
], ids=" ".join)
def test_refused_with_a_reason(stack, args):
    result = stack.gatewayctl(*args)
    assert (result.rc, result.out) == (1, "") and len(result.err) > 20, result
    told = stack.gatewayctl(*args, "--json")
    assert told.rc == 1 and set(json.loads(told.err)) == {"error"}


@pytest.mark.parametrize("args", [
    ("source",), ("source", "add", "demo"), ("source", "list"), ("source", "remove", "demo"), ("image", "set", "demo"),
    ("image", "show"), ("key", "create", "demo", "--signing=yes"), ("key", "rotate", "1", "--signing"),
    ("image", "show", "demo", "--max-dpr", "1"),
], ids=" ".join)
def test_wrong_usage(stack, args):
    assert stack.gatewayctl(*args).rc == 2


def test_deleted_users(stack):
    user = stack.make_user()
    stack.done("user", "delete", user.name)
    for args in (("source", "add", user.id, "https://a.example/"), ("image", "set", user.id, "--max-dpr", 1),
                 ("image", "show", user.id), ("source", "list", user.id), ("key", "create", user.id, "--signing")):
        assert stack.gatewayctl(*args).rc == 1, args


def test_changes_are_changes_of_the_policy(stack):
    user = stack.make_user()
    for args in (("source", "add", user.name, "https://a.example/"), ("source", "remove", user.name, "https://a.example/"),
                 ("image", "set", user.name, "--max-quality", 80), ("image", "set", user.name, "--presets", "a"),
                 ("quota", "set", user.name, "--storage-mb", 5), ("key", "create", user.name, "--signing")):
        before = generation(stack)
        stack.done(*args)
        assert generation(stack) == before + 1, args
    before = generation(stack)
    stack.done("image", "set", user.name, "--presets", "a", "--max-quality", 80)
    assert generation(stack) == before
