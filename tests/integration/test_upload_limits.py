"""What an upload may be: pixels, SVG, and that not one byte of it is changed."""

import hashlib
import struct
import zlib

import pytest
from PIL import Image

import helpers_api as api
import helpers_images as images
from helpers_http import check_problem


@pytest.fixture
def tenant(stack):
    return stack.make_key()


def png(width, height, frames=0):
    """A PNG of any size that is its header and a few bytes: what it unpacks to, nobody has ever seen."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    control = chunk(b"acTL", struct.pack(">II", frames, 0)) if frames else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + control +
            chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def gif(screen, frame, frames=1):
    one = struct.pack("<BHHHHBB", 0x2C, 0, 0, *frame, 0, 2) + b"\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0, 0, 0) + one * frames + b";"


def webp(width, height, frames):
    def size(n):
        return struct.pack("<I", n - 1)[:3]

    return (b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<IB", 10, 2) + b"\0\0\0" + size(width) + size(height) +
            (b"ANMF" + struct.pack("<I", 4) + b"abcd") * frames)


def jpeg(width, height):
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00\xff\xda"


# The default is 50,000,000.
BOMBS = {
    "png": png(50_000, 50_000), "png of one line": png(2**31 - 1, 1), "png just above": png(50_000_001, 1),
    "png of frames": png(1000, 1000, 51), "png of 2^32 frames": png(2**31 - 1, 2**31 - 1, 2**32 - 1),
    "gif": gif((65535, 65535), (1, 1)), "gif with a small screen": gif((1, 1), (65535, 65535)),
    "gif of frames": gif((1000, 1000), (1000, 1000), 51), "webp": webp(2**24, 2**24, 1),
    "webp of frames": webp(1000, 1000, 51), "jpeg": jpeg(65535, 65535),
}


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bombs(stack, tenant, name, form):
    problem = check_problem(stack.upload(tenant, BOMBS[name], form=form), 413, "too_large")
    assert "at most 50000000 pixels" in problem["detail"], problem
    assert stack.settled_files_of(tenant.user) == []


def test_just_small_enough(stack, tenant):
    for data in (png(31_250, 1600), png(1000, 1000, 50), gif((1000, 1000), (1000, 1000), 50), webp(1000, 1000, 50),
                 jpeg(7000, 7000)):
        stack.uploaded(tenant, data)


def test_too_long_for_its_width(stack, tenant):
    for data in (png(25, 1), gif((10, 241), (10, 241), 1), jpeg(1, 40)):
        problem = check_problem(stack.upload(tenant, data), 413, "too_large")
        assert problem["detail"] == "One side of the image is too long for the other.", problem
    stack.uploaded(tenant, png(24, 1))


def every_byte_kept():
    tags = Image.Exif()
    tags[0x010F], tags[0x0112], tags[0x8825] = "Camera", 6, {1: "N", 2: (52.0, 31.0, 12.0)}
    made = images.gradient(300, 200)
    yield "exif", images.encode(made, "JPEG", exif=tags, quality=91, icc_profile=b"profile" * 5000, comment=b"hello")
    yield "trailing bytes", images.encode(made, "PNG") + bytes(range(256)) * 4
    yield "webp", images.encode(made, "WEBP", exif=tags.tobytes())
    yield "animation", images.encode(made.convert("P"), "GIF", save_all=True, append_images=[made.convert("P")] * 3)
    yield "exif.jpg", images.data_file("exif.jpg")
    # Around the pieces in which files are written.
    for size in (4095, 4097, 262_143, 262_144, 262_145, 524_288, 1_048_576 + 511):
        yield f"{size} bytes", (images.data_file("exif.jpg") + bytes(number * 7 % 251 for number in range(4093)) * 257)[:size]


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
@pytest.mark.parametrize("name, data", every_byte_kept(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_byte_is_kept(stack, tenant, name, data, form):
    answer = stack.uploaded(tenant, data, form=form)
    assert hashlib.sha256(stack.stored(tenant.user, answer["source"])).hexdigest() == \
        hashlib.sha256(data).hexdigest() == answer["sha256"]


SVG = b"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><rect width="64" height="48" fill="#c33"/></svg>
"""


def test_svg_is_refused(stack, tenant):
    problem = check_problem(stack.upload(tenant, SVG, "a.svg", "image/svg+xml"), 415, "type_unsupported")
    assert "SVG" in problem["detail"]


@pytest.fixture(scope="module")
def lax(module_stack):
    return module_stack({"UPLOADS_ALLOW_SVG": "true", "UPLOADS_MAX_PIXELS": "2000000", "IMAGES_MAX_RATIO": "10"})


def test_svg_that_is_allowed(lax):
    tenant = lax.make_key()
    answer = lax.uploaded(tenant, SVG, filename="a.svg", content_type="image/svg+xml")
    assert answer["source"].endswith(".svg") and answer["content_type"] == "image/svg+xml"
    assert (answer["width"], answer["height"]) == (64, 48)
    assert lax.stored(tenant.user, answer["source"]) == SVG
    one = lax.get(f"{api.IMAGES}/{answer['id']}", tenant).json()
    assert (one["width"], one["height"], one["content_type"]) == (64, 48, "image/svg+xml")
    for bad in (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", b"<svg onload='x()'/>",
                b"<!DOCTYPE svg [<!ENTITY a 'a'>]><svg>&a;</svg>", b"<svg><image href='file:///etc/passwd'/></svg>",
                b"<html><svg/></html>", b"<svg>", SVG[:-8]):
        check_problem(lax.upload(tenant, bad), 415, "type_unsupported")
    check_problem(lax.upload(tenant, SVG.replace(b'"64"', b'"6400"').replace(b'"48"', b'"480"')), 413, "too_large")
    check_problem(lax.upload(tenant, SVG.replace(b"<rect", b" " * (4 << 20) + b"<rect")), 413, "too_large")
    assert len(lax.files_of(tenant.user)) == 1


def test_the_pixel_limit_is_a_setting(lax):
    tenant = lax.make_key()
    lax.uploaded(tenant, png(2000, 1000))
    check_problem(lax.upload(tenant, png(2001, 1000)), 413, "too_large")


def test_the_ratio_is_a_setting(lax):
    tenant = lax.make_key()
    lax.uploaded(tenant, png(100, 10))
    check_problem(lax.upload(tenant, png(101, 10)), 413, "too_large")
    check_problem(lax.upload(tenant, SVG.replace(b'"64"', b'"1em"').replace(b'"48"', b'"161"')), 413, "too_large")
    # Where SVG is taken, whatever is cut counts as enlarged: so much is 3172 x 3172 x 10.
    source = lax.uploaded(tenant, images.encode(images.gradient(101, 100), "PNG"))["source"]
    assert lax.get(f"/img/unsafe/rs:fill:3172:1/plain/{source}", tenant).status == 200
    check_problem(lax.get(f"/img/unsafe/rs:fill:3173:1/plain/{source}", tenant), 403, "option_forbidden")
