"""gatewayctl apply and export: what a policy file changes, what it says, what it refuses, and that nothing happens then."""

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time

import psycopg2
import psycopg2.extensions
import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
EXAMPLE = os.path.join(ROOT, "configs", "policy.example.yaml")
NONE = "/img/unsafe/w:1/plain/local:///none.jpg"
BOUND = 1.0


@pytest.fixture
def own(module_stack, _shared={}):
    """A stack of this file's own, without users and backends."""
    if "stack" not in _shared:
        _shared["stack"] = module_stack()
    stack = _shared["stack"]
    stack.sql("UPDATE api_keys SET revoked_at = now(), is_active = false WHERE revoked_at IS NULL")
    stack.sql("UPDATE users SET deleted_at = now(), is_active = false WHERE deleted_at IS NULL")
    stack.sql("DELETE FROM backends")
    return stack


@pytest.fixture
def folder():
    """One that the stack's user, too, may write into."""
    path = tempfile.mkdtemp(prefix="gateway-apply-")
    os.chmod(path, 0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def example(folder):
    """A copy of the example file, where the stack's user can read it."""
    path = shutil.copyfile(EXAMPLE, os.path.join(folder, "policy.example.yaml"))
    os.chmod(path, 0o644)
    return path


@pytest.fixture
def apply(own, folder):
    """apply(text, *options): the outcome of gatewayctl apply."""
    def run(text, *options):
        path = os.path.join(folder, "policy.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
        result = own.gatewayctl("apply", "-f", path, *options)
        return result._replace(err=result.err.replace(path, "policy.yaml"))
    return run


def applied(result):
    """The lines of one that went well."""
    assert result.rc == 0 and result.err == "", result
    return result.out.splitlines()


def generation(stack):
    return stack.sql("SELECT generation FROM policy_generation")[0][0]


def export(stack):
    result = stack.gatewayctl("export")
    assert result.rc == 0, result
    return result.out


def dump(stack):
    """Everything that the policy consists of."""
    return [stack.sql(query) for query in (
        "SELECT id, username, email, is_active, deleted_at FROM users ORDER BY id",
        "SELECT id, user_id, name, scopes, is_active, expires_at, revoked_at FROM api_keys ORDER BY id",
        "SELECT user_id, requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour FROM rate_limits ORDER BY 1",
        "SELECT user_id, monthly_requests, monthly_bandwidth_mb, storage_mb, reset_day FROM quotas ORDER BY 1",
        "SELECT user_id, max_dimension, max_dpr, presets FROM image_policies ORDER BY 1",
        "SELECT id, user_id, ip_cidr::text, description FROM ip_whitelist ORDER BY 1",
        "SELECT id, user_id, prefix, description FROM allowed_sources ORDER BY 1",
        "SELECT id, name, url, weight FROM backends ORDER BY 1", "SELECT generation FROM policy_generation")]


def user(name, *lines):
    """A file with one user; lines are those below the name."""
    return "\n".join(["users:", f"  - name: {name}", *(f"    {line}" for line in lines)]) + "\n"


def new_user(name, *lines):
    return user(name, f"email: {name}@example.invalid", *lines)


# ---- what it does -----------------------------------------------------------------------------------------------------

def test_the_example(own, folder, example):
    keys = os.path.join(folder, "keys")
    first = own.gatewayctl("apply", "-f", example, "--keys-file", keys)
    lines = applied(first)
    assert "+ user alice" in lines and "~ limit alice requests_per_minute default -> 600" in lines
    assert "~ image alice presets none -> card,thumbnail" in lines
    assert "+ allow alice 203.0.113.0/24" in lines and "+ source alice s3://alice-pictures/" in lines
    assert "+ key alice website" in lines and "+ backend img1" in lines
    assert "~ user bob disabled false -> true" in lines
    assert lines[-1] == f"new keys are in {keys}: 2"
    assert stat.S_IMODE(os.stat(keys).st_mode) == 0o600
    with open(keys, encoding="utf-8") as file:
        made = {key["name"]: key for key in map(json.loads, file)}
    assert set(made) == {"website", "editors"} and made["website"]["user"] == "alice"
    assert len(made["website"]["signing_key"]) == 64 and "signing_key" not in made["editors"]
    assert made["website"]["key"] not in first.out
    assert own.done("limit", "show", "alice")["burst"] == 50
    assert own.done("image", "show", "alice")["max_dpr"] == 2.5
    assert [entry["cidr"] for entry in own.done("allow", "list", "alice")] == ["203.0.113.0/24", "2001:db8::/32"]
    assert own.done("quota", "show", "alice")["shadow"] == ["bandwidth"]
    assert not own.done("user", "show", "bob")["is_active"]
    own.settle()
    assert own.gatewayctl("key", "list", "alice").out.count("website") == 1

    before = dump(own)
    again = own.gatewayctl("apply", "-f", example, "--keys-file", keys)
    assert again == (0, "no changes\n", "")
    assert own.gatewayctl("apply", "-f", example, "--prune").out == "no changes\n"
    assert dump(own) == before


def test_the_example_of_the_docs(own, apply):
    with open(os.path.join(ROOT, "docs", "gatewayctl.md"), encoding="utf-8") as file:
        text = re.search("```yaml\n(.*?)```", file.read(), re.S).group(1)
    lines = applied(apply(text, "--dry-run"))
    assert "+ key alice editors" in lines and "~ limit alice shadow none -> hour" in lines
    with open(EXAMPLE, encoding="utf-8") as file:
        keys = set(re.findall("^[ -]*([a-z_]+):", file.read(), re.M))
    assert keys <= set(re.findall("[a-z_]+", text))


def test_export_comes_back(own, apply, folder, example):
    assert applied(own.gatewayctl("apply", "-f", example, "--keys-file", os.path.join(folder, "keys")))
    alice = own.done("user", "show", "alice")
    own.sql("INSERT INTO api_keys (user_id, key_hash, name, scopes, expires_at) VALUES "
            "(%(id)s, 'a' || clock_timestamp(), NULL, '{upload,read}', now() + interval '1 day 1 millisecond'), "
            "(%(id)s, 'b' || clock_timestamp(), 'twice', '{admin}', NULL), "
            "(%(id)s, 'c' || clock_timestamp(), 'twice', '{read}', now() - interval '1 day'), "
            "(%(id)s, 'd' || clock_timestamp(), %(name)s, '{read}', NULL)",
            {"id": alice["id"], "name": "null: \"quoted\" # \u202e\u00fc\u2028\t\x7f end "})
    own.sql("INSERT INTO ip_whitelist (user_id, ip_cidr, description) VALUES (%(id)s, '::102:304/128', 'yes'), "
            "(%(id)s, '10.9.8.7', E'two\\nlines'), (%(id)s, '::ffff:0:0/96', '- [x]')", {"id": alice["id"]})
    text = export(own)
    assert export(own) == text
    before = dump(own)
    for options in ((), ("--prune",)):
        assert applied(apply(text, *options)) == ["no changes"]
        assert applied(apply(json.dumps(own.done("export")), *options)) == ["no changes"]
    assert dump(own) == before
    assert "igw_" not in text and "hash" not in text and "signing_key" not in text
    # What was there before comes back, also what had nothing of its own.
    for change in (("limit", "set", "bob", "--per-minute", "5", "--shadow", "hour"), ("quota", "set", "bob", "--storage-mb", "5"),
                   ("image", "set", "bob", "--presets", "x"), ("allow", "add", "bob", "10.0.0.0/8"), ("user", "enable", "bob"),
                   ("allow", "remove", "alice", "203.0.113.0/24"), ("limit", "set", "alice", "--burst", "7"),
                   ("backend", "set", "img1", "--weight", "1"), ("source", "add", "alice", "s3://b/")):
        own.done(*change)
    lines = applied(apply(text))
    assert sorted(lines) == sorted([
        "~ limit bob requests_per_minute 5 -> default", "~ limit bob shadow hour -> none", "~ quota bob storage_mb 5 -> default",
        "~ image bob presets x -> none", "- allow bob 10.0.0.0/8", "~ user bob disabled false -> true", "+ allow alice 203.0.113.0/24",
        "~ limit alice burst 7 -> 50", "~ backend img1 weight 1 -> 70", "- source alice s3://b/"])
    assert export(own) == text


def test_what_is_not_named_stays(own, apply):
    assert applied(apply(new_user("u", "limit: {requests_per_minute: 5, burst: 6}", "allow: [10.0.0.0/8, 192.0.2.1]"))) == [
        "+ user u", "~ limit u requests_per_minute default -> 5", "~ limit u burst default -> 6",
        "+ allow u 10.0.0.0/8", "+ allow u 192.0.2.1/32"]
    own.done("user", "add", "other", "--email", "other@example.invalid")
    before = own.sql("SELECT id, ip_cidr::text FROM ip_whitelist WHERE ip_cidr = '10.0.0.0/8'")
    assert applied(apply(user("u", "limit: {requests_per_minute: 7}"))) == ["~ limit u requests_per_minute 5 -> 7"]
    assert own.done("limit", "show", "u")["burst"] == 6
    assert applied(apply(user("u", "allow: [10.0.0.0/8, {cidr: 10.1.0.0/16, description: lab}]"))) == [
        "+ allow u 10.1.0.0/16", "- allow u 192.0.2.1/32"]
    assert own.sql("SELECT id, ip_cidr::text FROM ip_whitelist WHERE ip_cidr = '10.0.0.0/8'") == before
    assert applied(apply(user("u", "allow: [10.0.0.0/8, 10.1.0.0/16]"))) == ["~ allow u 10.1.0.0/16 description lab -> \"\""]
    assert applied(apply(user("u", "limit: default", "allow: []"))) == [
        "~ limit u requests_per_minute 7 -> default", "~ limit u burst 6 -> default", "- allow u 10.0.0.0/8",
        "- allow u 10.1.0.0/16"]
    assert {entry["username"] for entry in own.done("user", "list")} == {"u", "other"}


def test_keys(own, apply):
    made = apply(new_user("u", "keys:", "  - name: one", "  - {name: two, scopes: [admin, read], expires: 2037-01-01}"))
    lines = applied(made)
    assert lines[:3] == ["+ user u", "+ key u one", "+ key u two"]
    secrets = [line for line in lines if line.startswith("igw_")]
    assert len(secrets) == 2 and "it is shown this once" in made.out
    one, two = own.done("key", "list", "u")
    assert (one["scopes"], two["scopes"], two["expires_at"]) == (["read", "upload"], ["read", "admin"], "2037-01-01T00:00:00Z")
    own.settle()
    assert own.get(NONE, secrets[0]).code == "not_found"
    assert applied(apply(user("u", "keys: [{name: one, disabled: true, scopes: [read]}]"))) == [
        "~ key u one scopes read,upload -> read", "~ key u one disabled false -> true"]
    own.settle()
    assert own.get(NONE, secrets[0]).status in (401, 403)
    # By its id it can have another name.
    assert applied(apply(user("u", f"keys: [{{id: {two['id']}, name: three, expires: never}}]"))) == [
        f"~ key u {two['id']} name two -> three", f"~ key u {two['id']} expires 2037-01-01T00:00:00Z -> never"]
    # Only a list that is there takes keys away, and only with --prune; one that was rotated ends by itself.
    rotated = own.done("key", "create", "u", "--name", "rotated")
    fresh = own.done("key", "rotate", rotated["id"], "--grace", "1h")
    assert applied(apply(user("u"), "--prune")) == ["no changes"]
    assert applied(apply(user("u", "keys: [{name: three}]"))) == ["no changes"]
    assert applied(apply(user("u", "keys: [{name: three}]"), "--prune")) == ["- key u one", "- key u rotated"]
    states = {key["id"]: key["state"] for key in own.done("key", "list", "u")}
    assert states == {one["id"]: "revoked", two["id"]: "active", rotated["id"]: "rotated", fresh["id"]: "revoked"}
    # A name whose keys are all revoked is free.
    result = apply(user("u", "keys: [{name: one, signing: true}]"), "--json")
    assert result.rc == 0 and [key["name"] for key in result.out["keys"]] == ["one"], result
    assert result.out["changes"] == [{"change": "add", "what": "key", "user": "u", "name": "one"}]
    assert len(result.out["keys"][0]["signing_salt"]) == 64 and result.out["dry_run"] is False


def test_prune(own, apply):
    assert applied(apply("backends: [{name: a, url: 'http://a:1'}, {name: b, url: 'http://b:1', weight: 0}]\n" +
                         new_user("u") + "  - {name: v, email: v@x.y, keys: [{name: k}]}\n"))[:4] == [
        "+ user u", "+ user v", "+ key v k", "+ backend a"]
    assert applied(apply(user("u"))) == ["no changes"]
    assert applied(apply("users: [{name: u}]\nbackends: [{name: b, weight: 3}]", "--prune")) == [
        "- user v", "- backend a", "~ backend b weight 0 -> 3"]
    assert [entry["username"] for entry in own.done("user", "list")] == ["u"]
    assert own.sql("SELECT count(*) FROM api_keys k JOIN users u ON u.id = k.user_id WHERE u.username = 'v' "
                   "AND k.revoked_at IS NULL") == [(0,)]
    before = dump(own)
    refused = apply("users: []\nbackends: []", "--prune")
    assert refused == (1, "", "gatewayctl: policy.yaml:1: users: an empty list and --prune would delete every user\n"
                       "gatewayctl: policy.yaml:1: backends: an empty list and --prune would remove every backend\n")
    assert dump(own) == before


def test_dry_run(own, apply):
    before = dump(own)
    lines = applied(apply(new_user("u", "keys: [{name: k}]"), "--dry-run"))
    assert lines == ["+ user u", "+ key u k", "dry run: nothing was changed"]
    assert dump(own) == before


def from_standard_input(stack, text, stdout=subprocess.PIPE):
    return subprocess.run([stack.layout.program(stack.program("gatewayctl")), "--config", stack.config, "apply", "-f", "-"],
                          input=text, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, cwd="/", timeout=60,
                          env=stack.base_environment(), **stack.layout.account.popen_args())


def test_standard_input(own):
    done = from_standard_input(own, new_user("u"))
    assert (done.returncode, done.stdout) == (0, "+ user u\n"), done
    done = from_standard_input(own, "users: 1")
    assert done.stderr == "gatewayctl: (standard input):1: users: must be a list\n"


def test_keys_that_cannot_be_shown_are_not_made(own):
    before = dump(own)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = from_standard_input(own, new_user("u", "keys: [{name: k}]"), full)
    assert done.returncode == 1
    assert done.stderr == "gatewayctl: the keys cannot be written: No space left on device; nothing was changed\n"
    assert dump(own) == before


# ---- agents -----------------------------------------------------------------------------------------------------------

def test_agents_obey(own, apply):
    made = apply(new_user("u", "keys: [{name: k}]"), "--json")
    key = made.out["keys"][0]["key"]
    own.settle()
    assert own.get(NONE, key).code == "not_found"
    for text, code in ((user("u", "limit: {requests_per_minute: 1, burst: 1}"), "rate_limited"),
                       (user("u", "limit: default"), "not_found"),
                       (user("u", "allow: [192.0.2.0/24]"), "ip_not_allowed"), (user("u", "allow: []"), "not_found"),
                       (user("u", "disabled: true"), "user_inactive")):
        assert applied(apply(text))
        began = time.monotonic()
        while own.get(NONE, key).code != code:
            assert time.monotonic() - began < BOUND, code


def test_second_apply_tells_nobody(own, apply):
    text = new_user("u", "limit: {requests_per_minute: 5}", "image: {max_dpr: 1.50}", "sources: ['HTTPS://A.example:443']")
    listener = psycopg2.connect(own.settings["DB_DSN"])
    try:
        listener.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
        with listener.cursor() as cursor:
            cursor.execute("LISTEN gateway_policy")
        assert applied(apply(text))[0] == "+ user u"
        before = generation(own)
        listener.poll()
        assert listener.notifies
        listener.notifies.clear()
        assert applied(apply(text)) == ["no changes"]
        assert applied(apply(text, "--dry-run")) == ["no changes"]
        with listener.cursor() as cursor:
            cursor.execute("SELECT 1")
        listener.poll()
        assert not listener.notifies and generation(own) == before
    finally:
        listener.close()


# ---- refusals ---------------------------------------------------------------------------------------------------------

def test_all_errors_are_told_and_nothing_happens(own, apply):
    applied(apply(new_user("u", "keys: [{name: k}]")))
    before = dump(own)
    text = """users:
  - name: u
    limit: {requests_per_minute: 5, requests_per_minut: 6}
    quota: {reset_day: 32, storage_mb: -1}
  - name: fine
    email: fine@example.invalid
  - name: u
    colour: red
    allow: [10.0.0.1/8, 10.0.0.0/8, 10.0.0.0/8]
    disabled: maybe
    keys: [{scopes: [write]}]
  - {email: nobody@example.invalid}
"""
    refused = apply(text)
    assert (refused.rc, refused.out) == (1, "")
    assert refused.err.splitlines() == ["gatewayctl: policy.yaml:" + line for line in (
        "3: users.u.limit: requests_per_minut: unknown key; is requests_per_minute meant?",
        "4: users.u.quota.reset_day: \"32\" must be a number from 1 to 31, or default",
        "4: users.u.quota.storage_mb: \"-1\" must be a number from 0 to 8796093022207 (0: no limit), or default",
        "8: users.u: colour: unknown key",
        "9: users.u.allow: 10.0.0.1/8: bits behind the length are set; did you mean 10.0.0.0/8?",
        "10: users.u.disabled: \"maybe\" must be true or false",
        "11: users.u.keys.scopes: \"write\" must be read, upload or admin, each at most once",
        "12: users[4]: a user needs a name",
        "7: users.u: on line 2 too",
        "9: users.u.allow: 10.0.0.0/8 is on line 9 too")]
    as_json = apply(text, "--json")
    told = json.loads(as_json.err)
    assert as_json.rc == 1 and told["count"] == 10 and told["error"] == told["errors"][0] and len(told["errors"]) == 10
    assert dump(own) == before


def test_at_most_twenty_errors(apply):
    refused = apply("users: [" + "1,\n" * 30 + "]")
    lines = refused.err.splitlines()
    assert len(lines) == 21 and lines[-1] == "gatewayctl: policy.yaml: 10 more errors", lines


@pytest.mark.parametrize("text, error", [
    ("", "policy.yaml:1: the file is empty"),
    ("users:\n  - name: 'x\n", "policy.yaml:3: not YAML: found unexpected end of stream"),
    ("a: &a 1\nusers: *a\n", "policy.yaml:1: a: unknown key"),
    ("version: 2", "policy.yaml:1: version: \"2\" must be 1, the only version that there is"),
    ("users: [{name: x}]\n---\nusers: []", "policy.yaml:2: a second document: a policy is one"),
])
def test_no_policy(apply, text, error):
    refused = apply(text)
    assert refused.rc == 1 and refused.err.splitlines()[0] == f"gatewayctl: {error}", refused


def test_what_only_the_database_knows(own, apply):
    applied(apply(new_user("u", "keys: [{name: k}, {name: signs, signing: true}]") + "  - {name: v, email: v@x.y, keys: [{name: k}]}\n"))
    theirs = own.done("key", "list", "v")[0]["id"]
    own.done("key", "create", "u", "--name", "k")
    before = dump(own)
    refused = apply(f"""backends:
  - {{name: b}}
users:
  - name: u
    keys:
      - {{name: k}}
      - {{id: {theirs}}}
      - {{name: signs, signing: false}}
      - {{name: late, expires: 2020-01-01}}
  - {{name: w}}
  - name: x
    email: V@x.y
""")
    assert refused.rc == 1
    assert refused.err.splitlines() == ["gatewayctl: policy.yaml:" + line for line in (
        f"7: users.u.keys.id: the user has no key {theirs} that was not revoked; a key that is to be made has a name and no id",
        "6: users.u.keys.name: the user has 2 keys of the name \"k\": give the id of the one that is meant",
        "9: users.u.keys.expires: the key late is not there yet, and would have expired at 2020-01-01T00:00:00Z",
        "8: users.u.keys.signing: key signs was made with a signing key, and that stays so",
        "10: users.w.email: the user is not there yet, and needs one",
        "2: backends.b.url: the backend is not there yet, and needs one",
        "11: users.x.email: this address belongs to the user v")]
    assert dump(own) == before


def test_keys_file_that_is_there(own, apply, folder):
    path = os.path.join(folder, "keys")
    with open(path, "w", encoding="utf-8") as file:
        file.write("mine")
    before = dump(own)
    refused = apply(new_user("u", "keys: [{name: k}]"), "--keys-file", path)
    assert refused.rc == 1 and refused.err == f"gatewayctl: --keys-file {path}: File exists; nothing was changed\n"
    assert dump(own) == before
    with open(path, encoding="utf-8") as file:
        assert file.read() == "mine"


# ---- several at once, and many users -----------------------------------------------------------------------------------

def test_one_at_a_time(own, folder):
    """Each of them leaves a whole file behind it, whoever is last."""
    paths = []
    for number in range(6):
        paths.append(os.path.join(folder, f"{number}.yaml"))
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write("users:\n" + "".join(f"  - {{name: u{n}, email: u{n}@x.y, limit: {{burst: {number + 1}}}, "
                                            f"allow: [10.{number}.0.0/16]}}\n" for n in range(20)))
        os.chmod(paths[-1], 0o644)
    results = [None] * len(paths)

    def run(number):
        results[number] = own.gatewayctl("apply", "-f", paths[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.rc for result in results] == [0] * len(paths), results
    # The first made the users, and the others found them.
    assert sorted(result.out.count("+ user") for result in results) == [0] * 5 + [20]
    bursts = own.sql("SELECT DISTINCT burst FROM rate_limits l JOIN users u ON u.id = l.user_id WHERE u.deleted_at IS NULL")
    blocks = own.sql("SELECT DISTINCT ip_cidr::text FROM ip_whitelist w JOIN users u ON u.id = w.user_id WHERE u.deleted_at IS NULL")
    assert len(bursts) == 1 and blocks == [(f"10.{bursts[0][0] - 1}.0.0/16",)]


def test_ten_thousand_users(own, apply):
    text = "users:\n" + "".join(
        f"  - name: many{n}\n    email: many{n}@example.invalid\n    limit: {{requests_per_minute: {n + 1}}}\n"
        f"    quota: {{monthly_requests: 5}}\n    allow: [10.0.0.0/8, 192.0.2.{n % 256}]\n    sources: ['https://a{n}.example/']\n"
        for n in range(10000))
    times = []
    for wanted in (60000, 0, 1):
        began = time.monotonic()
        lines = applied(apply(text))
        times.append(time.monotonic() - began)
        assert len(lines) == max(wanted, 1) and (wanted > 0) == (lines != ["no changes"])
        if wanted == 0:
            own.done("limit", "set", "many77", "--burst", "9")
            text = text.replace("requests_per_minute: 78}", "requests_per_minute: 79}")
    began = time.monotonic()
    exported = export(own)
    times.append(time.monotonic() - began)
    assert exported.count("\n  - name: many") == 10000
    print("10,000 users: made in {:.1f} s, found the same in {:.1f} s, one changed in {:.1f} s, exported in {:.1f} s".format(*times))
    assert max(times) < 60
    own.settle(60)
