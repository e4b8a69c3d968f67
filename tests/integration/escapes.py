"""Ways in which a tenant may ask for what is not theirs, made the same way each time.

A variant is a request target, made of three things: a spelling of the source (how the URL names a file outside the
tenant's folder), an encoding of it (plain with percent escapes, base64 in pieces, …) and a position (the route, the
options before it, what follows it). Each spelling meets each encoding at least once; positions are drawn at random
from a fixed seed.

`honest()` makes URLs of the tenant's own files, in classes: a gateway that refuses everything leaks nothing, too.
"""

import base64
import collections
import random

# target: as it is sent, one character a byte; rest: what of it stands behind the route. The others are for counting and
# for messages.
Variant = collections.namedtuple("Variant", "target rest kind spelling encoding")
# own: a file in the tenant's folder; name: the same of the victim; root: a file beside the folders; link, folder: links
# beside the folders to the victim's file and folder; port: of an image server; uploads: the root's path.
Names = collections.namedtuple("Names", "victim tenant own name root link folder port uploads")

SEED = 20250

# {v}: the victim's id, {t}: the tenant's, {o}: the tenant's file, {n}: the victim's, {up}: some way to write "..",
# {s}: some way to write "/".
_WALKS = [
    "local:///{up}{s}{v}{s}{n}", "local:///.{s}{up}{s}{v}{s}{n}", "local:///{up}{s}{up}{s}uploads{s}{v}{s}{n}",
    "local:///{o}{s}{up}{s}{up}{s}{v}{s}{n}",
    "local:///{t}{s}{up}{s}{v}{s}{n}", "local:///x{s}{up}{s}{up}{s}{v}{s}{n}", "local:///{up}{s}{root}",
    "local:///{up}{s}{link}", "local:///{up}{s}{folder}{s}{n}",
    "local:///{up}{s}{s}{v}{s}{n}", "local://{up}{s}{v}{s}{n}", "local:{up}{s}{v}{s}{n}", "{up}{s}{v}{s}{n}",
    "local:///{up}{s}{v}{s}{up}{s}{v}{s}{n}",
    "local:///{up}{s}{v}{s}.{s}{n}", "local:///a:{s}{up}{s}{v}{s}{n}", "local:/{up}{s}{v}{s}{n}",
    "local:///{up}{s}{up}{s}{up}{s}{up}{s}{up}{uploads}{s}{v}{s}{n}",
]
# Ways to write ".." and "/". Those beyond ASCII look like them, or were taken for them by somebody once.
_UPS = ["..", "%2e%2e", "%2E%2E", ".%2e", "%2e.", "%252e%252e", "%25%32%65%25%32%65", "%c0%ae%c0%ae",
        "%e0%80%ae%e0%80%ae", "．．", "․․", "‥", "…",
        "..;", "..;a=b", "..%00", "..\x00", ". .", ".. ", " ..", "..\t", "...", "....", "..%20", "..%09",
        "%u002e%u002e", "&#46;&#46;", "0x2e0x2e",
        "..\u200b", ".\u0307.", "%2e%2e%2f..", "..\\..", "..\ufeff", "\\.\\.", "..%0a", "..\n", "%%32%65%%32%65"]
_SLASHES = ["/", "%2f", "%2F", "%252f", "%252F", "\\", "%5c", "%5C", "%255c", "//", "/./", "///", "/%2e/", "%c0%af",
            "%e0%80%af", "∕", "／", "⁄", "＼", "/\\", "\\/",
            "%2f%2f", "/%00/", ";/", "/;/", "/ /", "%u002f", "%ef%bc%8f"]
# Without walking: straight to the other folder.
_STRAIGHT = [
    "local:///{v}/{n}", "local:////{v}/{n}", "local://///{v}/{n}", "local:/{v}/{n}", "local:{v}/{n}",
    "local://{v}/{n}", "local://host/{v}/{n}",
    "local://{t}/{v}/{n}", "local://{t}/../{v}/{n}", "local://u:p@h:80/{v}/{n}", "local://@/{v}/{n}",
    "local://:@:/{v}/{n}", "local://[::1]/{v}/{n}",
    "local://h:80/{v}/{n}", "local://../{v}/{n}", "local://./{v}/{n}", "local://%2e%2e/{v}/{n}",
    "local://localhost//{v}//{n}", "local://h\\/{v}/{n}",
    "LOCAL:///{v}/{n}", "Local:///{v}/{n}", "lOcAl:///../{v}/{n}", "LOCAL://h/{v}/{n}", "local%3a///{v}/{n}",
    "local%3A///../{v}/{n}", "loca%6c:///../{v}/{n}",
    "local:%2f%2f%2f{v}%2f{n}", "local:\\\\\\..\\{v}\\{n}", "local:///\\..\\{v}\\{n}", " local:///{v}/{n}",
    "local :///{v}/{n}", "\tlocal:///{v}/{n}", "local:///{v}/{n} ",
    "file:///{uploads}/{v}/{n}", "file://{uploads}/{v}/{n}", "/{v}/{n}", "//{v}/{n}", "{v}/{n}",
    "local:///{uploads}/{v}/{n}", "local:local:///{v}/{n}", "local:///local:///{v}/{n}",
    "local:///{v}/{n}/", "local:///{v}/{n}//", "local:///{v}/{n}/.", "local:///{v}//{n}", "local:///{v}/./{n}",
    "local:///{t}/../{v}/{n}", "local:///{root}", "local:///{link}",
    "local:///{folder}/{n}", "local:///{t}", "local:///{v}", "local:///", "local:///.", "local:///..", "local:///../",
    "local:///../../", "local:///~/{v}/{n}", "local:///*",
    "local:///*/{n}", "local:///?/{n}", "local:///[0-9]/{n}", "local:///{v}:{n}", "local:///{v}|{n}",
    "local:///.part-{n}", "local:///.{n}", "local:///$HOME/{n}", "local:///`x`",
    "local:///0{v}/{n}", "local:///+{v}/{n}", "local:///{v}.0/{n}", "local:///%{v}/{n}",
]
# Two files in one: whoever splits elsewhere than the image server takes the wrong one.
_DOUBLE = [
    "local:///../{v}/{n}{x}/../../{t}/{o}", "local:///{o}{x}/../../{v}/{n}", "local:///{o}{x}/../{v}/{n}",
    "local:///../{v}/{n}{x}{o}", "local:///{o}{x}local:///../{v}/{n}",
    "local:///../{v}/{n}{x}/plain/local:///{o}", "local:///{o}{x}/plain/local:///../{v}/{n}", "local:///{o}{x}",
    "local://{x}/../{v}/{n}", "local:///{x}/../{v}/{n}",
]
_SPLITS = ["?", "%3f", "%3F", "%253F", "#", "%23", "%2523", "@", "%40", "@png", "%40png", "@png@jpg", "@@", ";", "&",
           "\x00", "%00", "%2500", "\n", "%0a", "%0d%0a", "\r\n", "\x7f",
           "%7f", "\x1b", "%1b", "\xa0", "%c2%a0", "\u202e", "\u2028", " ", "+", "%20", ",", "|", "\\", "%5c", ":",
           "::", "=", "!", "'", '"', "<", "{{", "^", "`", ".", ".png", "\udcff"]
# Other servers, and this one under its other names.
_REMOTE = [
    "http://127.0.0.1:{port}/health", "http://127.0.0.1:{port}/unsafe/plain/local:///{v}/{n}",
    "http://localhost:{port}/", "http://[::1]:{port}/", "http://0.0.0.0:{port}/health", "http://2130706433:{port}/",
    "http://0x7f000001:{port}/", "http://0177.0.0.1:{port}/", "http://127.1:{port}/", "http://127.0.0.1.:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/", "http://169.254.169.254/latest/meta-data/",
    "HTTP://127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/", "http://a@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@example.com/",
    "http://example.com@127.0.0.1:{port}/", "http://127.0.0.1\\@example.com:{port}/", "ftp://127.0.0.1/x",
    "gopher://127.0.0.1:{port}/_x", "data:image/png;base64,AAAA", "s3://bucket/{v}/{n}", "gs://bucket/{v}/{n}",
    "abs://container/{v}/{n}", "swift://a/c/{n}", "javascript:alert(1)", "jar:file:///{uploads}/{v}/{n}!/x",
    "unix:///{uploads}/{v}/{n}", "http+unix://x/{v}/{n}", "http://①②⑦.⓪.⓪.①:{port}/",
]


def _spellings(names):
    """(kind, text) of every source; bytes that are no UTF-8 stand as Python's surrogates."""
    values = {"v": names.victim, "t": names.tenant, "o": names.own, "n": names.name, "root": names.root,
              "link": names.link, "folder": names.folder,
              "port": names.port, "uploads": names.uploads}
    draw = random.Random(SEED)
    for up in _UPS:
        for walk in [_WALKS[0], *draw.sample(_WALKS[1:], 4)]:
            yield "walk", walk.format(up=up, s="/", **values)
    for slash in _SLASHES:
        for walk in [_WALKS[0], *draw.sample(_WALKS[1:], 3)]:
            yield "walk", walk.format(up="..", s=slash, **values)
    for _ in range(60):
        yield "walk", draw.choice(_WALKS).format(up=draw.choice(_UPS), s=draw.choice(_SLASHES), **values)
    for text in _STRAIGHT:
        yield "straight", text.format(**values)
    for split in _SPLITS:
        for text in [_DOUBLE[0], _DOUBLE[1], *draw.sample(_DOUBLE[2:], 2)]:
            yield "double", text.format(x=split, **values)
    for text in _REMOTE:
        yield "remote", text.format(**values)


def _bytes(text):
    return text.encode("utf-8", "surrogateescape")


def _latin(data):
    return data.decode("latin-1")


def _escape(data, keep, form="%{:02X}"):
    return "".join(chr(byte) if chr(byte) in keep else form.format(byte) for byte in data)


_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def _b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _pieces(text, size, between="/"):
    return between.join(text[i:i + size] for i in range(0, len(text), size))


def _loosened(text):
    """With the bits behind the last byte set, which say nothing."""
    return text[:-1] + (chr(ord(text[-1]) + 1) if text[-1] not in "zZ9_-" else text[-1])


def _plain(form):
    return lambda data, ext: "plain/" + form(data) + ("@" + ext if ext else "")


def _text(form):
    return lambda data, ext: form(_b64(data)) + ("." + ext if ext else "")


# Each makes the source part of a path of the bytes of a source URL and an extension ("" for none).
ENCODINGS = {
    "plain": _plain(_latin),
    "plain, escaped where needed": _plain(lambda data: _escape(data, _UNRESERVED + "/:?#[]@!$&'()*+,;=%")),
    "plain, specials escaped": _plain(lambda data: _escape(data, _UNRESERVED + "/:")),
    "plain, all but letters escaped": _plain(lambda data: _escape(data, _UNRESERVED[:62])),
    "plain, all escaped": _plain(lambda data: _escape(data, "", "%{:02x}")),
    "plain, escaped twice": _plain(lambda data: _escape(_escape(data, _UNRESERVED[:62]).encode(), _UNRESERVED[:62])),
    "plain, scheme and slashes as they are": _plain(lambda data: _escape(data, _UNRESERVED[:62] + "/:", "%{:02x}")),
    "base64": _text(lambda text: text),
    "base64, padded": lambda data, ext: _text(lambda text: text + "=" * (-len(text) % 4))(data, ext),
    "base64, in pieces": _text(lambda text: _pieces(text, 5)),
    "base64, in single letters": _text(lambda text: _pieces(text, 1)),
    "base64, empty pieces": _text(lambda text: "/" + _pieces(text, 7, "//") + "/"),
    "base64, of escapes": lambda data, ext: _b64(_escape(data,
                                                         _UNRESERVED + "/:").encode()) + ("." + ext if ext else ""),
    "base64, the other alphabet": _text(lambda text: text.replace("-", "+").replace("_", "/")),
    "base64, twice": lambda data, ext: _b64(_b64(data).encode()) + ("." + ext if ext else ""),
    "base64, loose last letter": _text(_loosened),
    "base64, escaped": _text(lambda text: "".join(f"%{ord(c):02X}" for c in text)),
    "base64 behind enc": lambda data, ext: "enc/" + _b64(data),
    "base64, a piece of the extension": lambda data, ext: _b64(data) + ".p/ng",
    "plain, capital": lambda data, ext: "PLAIN/" + _latin(data),
    "plain, twice": lambda data, ext: "plain/plain/" + _latin(data),
    "plain, escaped word": lambda data, ext: "%70lain/" + _latin(data),
    "neither": lambda data, ext: _latin(data),
}
ROUTES = ["/img/unsafe/", "/img//unsafe/", "/img/unsafe//", "/img/./unsafe/", "/img/x/../unsafe/",
          "/img/unsafe/../unsafe/", "/%69mg/unsafe/", "/img/%75nsafe/", "/IMG/unsafe/",
          "/img/insecure/", "/img/_/", "/img/" + "A" * 43 + "/", "//img/unsafe/", "/img/unsafe/./",
          "/img/unsafe/plain/../", "/img%2funsafe/", "/img/unsafe;x/", "http://gateway.test/img/unsafe/",
          "/img/unsafe/-/", "/api/v1/../../img/unsafe/"]
OPTIONS = ["", "rs:fit:16:16/", "w:16/", "w:16/h:16/q:50/", "rs%3Afit%3A16%3A16/", "rs:fit:10:10/rs:fit:16:16/",
           "f:png/", "raw:1/", "raw:t/w:1/", "pr:x/", "fn:eA:1/", "exp:0/", "exp:1/", "-/", "w:16//",
           ":/", "msr:1/", "w:16/../", "w:16/./", "w:16%2F", "cb:x/", "skp:jpg/", "att:1/", "wmu:aHR0cDovL2E/",
           "w:16/plain:1/", "rs:fit:16:16/local:1/"]
ENDS = ["", "?x=1", "?/plain/local:///{o}", "/", "#x", "%00", "%20", "@", "@png@jpg", ".png", "/.", "/..", "?", "%0a",
        "&x", "//", "@png/../../x", "=", "/{o}"]


def variants(names, count=2400):
    """`count` of them, or as many as there are spellings for: each spelling in each encoding comes first."""
    draw = random.Random(SEED + 1)
    spellings = list(dict.fromkeys(_spellings(names)))
    pairs = [(kind, text, encoding) for kind, text in spellings for encoding in ENCODINGS]
    draw.shuffle(pairs)
    # Every spelling at least once as it is, and in base64: most else is met before the source is even looked at.
    first = [(kind, text, encoding) for kind, text in spellings for encoding in ("plain, escaped where needed",
                                                                                 "base64")]
    seen = set()
    for kind, text, encoding in [*first, *pairs, *(draw.choices(pairs, k=count) if count > len(pairs) else ())]:
        if len(seen) >= count:
            return
        # Half of them in the plain position, so that the source is what is refused.
        plain = draw.random() < 0.5
        route = ROUTES[0] if plain or draw.random() < 0.5 else draw.choice(ROUTES)
        options = draw.choice(OPTIONS[:4]) if plain else draw.choice(OPTIONS)
        end = "" if plain or draw.random() < 0.5 else draw.choice(ENDS).replace("{o}", names.own)
        extension = draw.choice(("", "", "png", "jpg"))
        rest = options + ENCODINGS[encoding](_bytes(text), extension) + end
        if route + rest not in seen:
            seen.add(route + rest)
            yield Variant(route + rest, rest, kind, text, encoding)


# ---- the tenant's own -----------------------------------------------------------------------------------------------

NARROW_OPTIONS = ["", "w:16/", "h:16/", "rs:fill:16:16/", "resize:fit:16:16/", "s:16:16/", "size:16:16/",
                  "rt:fill/w:16/h:16/", "w:16/q:50/", "w:16/quality:90/", "f:png/", "format:webp/w:16/", "ext:jpg/",
                  "rs:fit:10:10/rs:fit:16:16/", "width:16/height:16/resizing_type:force/"]
WIDE_OPTIONS = ["g:no/w:16/", "g:sm/rs:fill:16:16/", "g:fp:0.5:0.5/", "gravity:ce:1:1/w:16/", "c:32:32/",
                "crop:0.5:0.5:no/w:16/", "dpr:2/w:8/", "z:0.5/", "zoom:0.5:0.5/", "el:1/w:80/", "ex:1/w:16/",
                "exar:1/w:16/",
                "mw:16/", "min-height:16/", "pd:0:0/", "padding:0/w:16/", "ar:1/", "auto_rotate:t/w:16/", "rot:90/",
                "rotate:180/w:16/", "fl:1:1/", "bg:ffffff/", "background:255:0:0/w:16/", "bl:1/", "blur:0.5/w:16/",
                "sh:0.5/",
                "pix:2/", "sm:1/", "kcr:1/", "scp:1/w:16/", "fq:jpg:50/", "mb:100000/", "cb:v1/w:16/",
                "cachebuster:x/", "exp:4102444800/", "expires:4102444800/w:16/", "exp:0/", "att:1/", "t:10/w:16/",
                "rs:fit:16:16:1/",
                "rs:fill:16:16:1:0/", "w:0/"]


def honest(names, unicode_name, spaced_name, nested_name):
    """(class, target) of the tenant's own files. "narrow": what every version of the gateway serves."""
    own, url = names.own, "local:///" + names.own
    text = _b64(url.encode())
    stem, dot, kind = own.partition(".")
    escaped = "".join(f"%{ord(c):02X}" for c in stem) + dot + kind
    for options in NARROW_OPTIONS:
        for end in ("", "@png", "@webp", "@jpg", "?query=1", "@png?/plain/local:///x"):
            yield "narrow", f"/img/unsafe/{options}plain/{url}{end}"
    for options in NARROW_OPTIONS:
        for form in (text, text + "=" * (-len(text) % 4), _pieces(text, 5), _pieces(text, 1), _pieces(text, 16)):
            yield "base64", f"/img/unsafe/{options}{form}"
            yield "base64 with an extension", f"/img/unsafe/{options}{form}.png"
    for options in WIDE_OPTIONS:
        yield "options", f"/img/unsafe/{options}plain/{url}"
        yield "options", f"/img/unsafe/{options}{text}.png"
    for options in ("w%3A16/", "rs%3Afit%3A16%3A16/", "w:16/h%3A16/"):
        yield "redenormalised", f"/img/unsafe/{options}plain/{url}@png"
        yield "redenormalised", f"/img/unsafe/{options}{text}"
    yield "redenormalised", f"/img/unsafe/w:16/plain/local:/{own}"
    yield "redenormalised", f"/img/unsafe/plain/local:/{own}@png"
    for source in (f"local:///{escaped}", f"local%3A///{own}", f"local:%2F%2F%2F{own}",
                   "".join(f"%{ord(c):02x}" for c in url)):
        yield "escaped", f"/img/unsafe/w:16/plain/{source}"
        yield "escaped", f"/img/unsafe/plain/{source}@png"
    for name in (unicode_name, spaced_name, nested_name):
        data = f"local:///{name}".encode()
        for options in ("", "w:16/", "rs:fill:16:16/"):
            yield "names", f"/img/unsafe/{options}{_b64(data)}"
            yield "names", f"/img/unsafe/{options}{_b64(data)}.png"
            yield "names", f"/img/unsafe/{options}plain/{_escape(data, _UNRESERVED + '/:')}"
            yield "names", f"/img/unsafe/{options}plain/{_escape(data, _UNRESERVED + '/:')}@png"


def either_way(names):
    """Of the tenant's own files, in forms that may be taken or refused: what comes must be their own."""
    url = "local:///" + names.own
    text = _b64(url.encode())
    for path in (f"plain/{url}@", f"/plain/{url}", f"w:16//{text}", f"{text}.", f"{text}.p/ng",
                 f"//{_pieces(text, 6, '//')}", f"{_pieces(text, 4)}//.png", f"fn:x/{text}", f"skp:jpg/{text}",
                 f"wm:0.5:ce/{text}", f"eth:1/{text}", f"ph:1/{text}", f"{text}==", f"w:+16/{text}", f"w:016/{text}",
                 f"el:yes/{text}", f"plain/{url}%3Fx", f"plain/{url}?x", f"{_b64((url + '?x').encode())}"):
        yield f"/img/unsafe/{path}"
