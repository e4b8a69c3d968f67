"""Pictures made on the spot."""

import functools
import io
import os

from PIL import Image

import helpers

DATA = os.path.join(helpers.ROOT, "tests/unit/data/images")


def gradient(width, height):
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (across, down, Image.blend(across, down, 0.5)))


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@functools.lru_cache(maxsize=None)
def photograph(width=3000, height=2200):
    """As large as what a camera makes: gradients with the noise of a sensor."""
    noise = Image.merge("RGB", [Image.effect_noise((width, height), 60) for _ in range(3)])
    data = encode(Image.blend(gradient(width, height), noise, 0.35), "JPEG", quality=95)
    assert len(data) >= 4 << 20, len(data)
    return data


def data_file(name):
    """A file of tests/unit/data/images, which libvips, ImageMagick and PIL have made."""
    with open(os.path.join(DATA, name), "rb") as file:
        return file.read()


def decode(data):
    """The image, with all of its pixels decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
