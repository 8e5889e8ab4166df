#!/usr/bin/env python3
"""Makes the pictures beside this file and expected.json: what Pillow's convert("RGB") gives for each
of them (hex of [h, w, 3]), and generated pictures cut by every preset. Needs Pillow and numpy."""

import io
import itertools
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's colour types


def noise(seed, *shape):
    """Bytes of a linear congruential generator, which the test has too."""
    state, values = seed, []
    for _ in range(int(np.prod(shape))):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    return np.array(values, np.uint8).reshape(shape)


def png(width, height, depth, colour_type, rows, **chunks):
    """A PNG file of unfiltered rows; Pillow cannot write most of these formats itself."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header)
    for name, data in chunks.items():
        body += chunk(name.encode(), data)
    body += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def pngs():
    def rows(*shape):
        return [row.tobytes() for row in noise(7, *shape)]
    # Across a 16-bit row: what a clip, a shift and a division by 257 each make different.
    wide = np.array([0, 1, 127, 255, 256, 383, 384, 32767, 32768, 65279, 65280, 65535], ">u2")
    key = struct.pack(">H", 256)
    palette = noise(5, 16 * 3).tobytes()
    indices = [bytes([0, 3, 7, 15, 2]), bytes([1, 4, 9, 0, 11])]
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    yield "grey", png(5, 3, 8, GREY, rows(3, 5))
    yield "grey_key", png(5, 3, 8, GREY, rows(3, 5), tRNS=b"\0\x50")
    yield "grey_1", png(11, 2, 1, GREY, rows(2, 2))
    yield "grey_2", png(7, 2, 2, GREY, rows(2, 2))
    yield "grey_4", png(5, 2, 4, GREY, rows(2, 3))
    yield "grey_alpha", png(5, 3, 8, GREY_ALPHA, rows(3, 10))
    yield "rgb", png(5, 3, 8, RGB, rows(3, 15))
    yield "rgb_key", png(2, 1, 8, RGB, [bytes([9, 8, 7, 6, 5, 4])], tRNS=b"\0\x09\0\x08\0\x07")
    yield "rgb_exif_6", png(5, 3, 8, RGB, rows(3, 15), eXIf=exif)
    yield "rgba", png(5, 3, 8, RGBA, rows(3, 20))
    yield "palette", png(5, 2, 8, PALETTE, indices, PLTE=palette)
    yield "palette_alpha", png(5, 2, 8, PALETTE, indices, PLTE=palette, tRNS=bytes([0, 128, 7, 40]))
    yield "palette_4", png(5, 2, 4, PALETTE, rows(2, 3), PLTE=palette)
    yield "grey_16", png(12, 1, 16, GREY, [wide.tobytes()])
    yield "grey_16_key", png(12, 1, 16, GREY, [wide.tobytes()], tRNS=key)
    yield "grey_alpha_16", png(12, 1, 16, GREY_ALPHA, [np.stack([wide, wide[::-1]], 1).tobytes()])
    yield "rgb_16", png(12, 1, 16, RGB, [np.stack([wide, wide[::-1], wide], 1).tobytes()])
    yield "rgb_16_key", png(12, 1, 16, RGB, [np.stack([wide] * 3, 1).tobytes()], tRNS=3 * key)
    yield "rgba_16", png(12, 1, 16, RGBA, [np.stack([wide, wide[::-1]] * 2, 1).tobytes()])


def jpegs():
    # Flat blocks of 8 x 8, in which all decoders agree to a unit or two; no symmetry.
    colours = np.array([[[230, 30, 40], [30, 200, 60], [40, 60, 220]],
                        [[240, 230, 40], [128, 128, 128], [10, 10, 10]]], np.uint8)
    blocks = Image.fromarray(colours.repeat(8, 0).repeat(8, 1))
    smooth = np.add.outer(np.arange(40) * 3, np.arange(56) * 2)[..., None] + np.array([0, 20, 40])
    smooth = Image.fromarray(smooth.astype(np.uint8))

    def encode(image, **options):
        file = io.BytesIO()
        image.save(file, "JPEG", **{"quality": 100, "subsampling": 0, "optimize": True} | options)
        return file.getvalue()
    yield "grey", encode(blocks.convert("L"))
    yield "cmyk", encode(blocks.convert("CMYK"))
    yield "subsampled", encode(smooth, subsampling=2, quality=90)
    yield "progressive", encode(blocks, progressive=True)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif_{orientation}", encode(blocks, exif=exif)


def resize(image, width, height, resample):
    """Rows first, then columns, as Pillow before version 13 has it for every shape, and all versions where the two passes
    are asked for one by one."""
    return image.resize((width, image.height), resample).resize((width, height), resample)


def rcdm(image, size):
    """RCDM's centre crop."""
    while min(image.size) >= 2 * size:
        image = resize(image, image.width // 2, image.height // 2, Image.Resampling.BOX)
    scale = size / min(image.size)
    image = resize(image, *(round(side * scale) for side in image.size), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def squash(image, size):
    return resize(image, size, size, Image.Resampling.BILINEAR)


def imagenet(image, size):
    """torchvision's Resize(256 for 224, bicubic) and CenterCrop."""
    short = size * 8 // 7
    image = resize(image, *(int(short * side / min(image.size)) for side in image.size), Image.Resampling.BICUBIC)
    left, top = (int(round((side - size) / 2.0)) for side in image.size)
    return image.crop((left, top, left + size, top + size))


# (2, 5, 5): a side of 12.5 pixels is to be rounded.
CROPS = [(1, 1, 3), (2, 5, 5), (2, 5, 4), (5, 2, 7), (7, 7, 7), (8, 9, 8), (15, 16, 8), (16, 16, 8), (17, 23, 8),
         (31, 33, 8), (33, 31, 5), (67, 45, 9), (20, 90, 8), (90, 20, 8), (3, 200, 6), (200, 3, 6)]


def main():
    warnings.filterwarnings("ignore", "Palette images with Transparency")
    pictures, crops = {}, []
    files = [(f"{n}.png", f) for n, f in pngs()] + [(f"{n}.jpg", f) for n, f in jpegs()]
    for name, file in files:
        (FOLDER / name).write_bytes(file)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
        pictures[name] = {"width": image.width, "height": image.height, "rgb": image.tobytes().hex()}
    for preset, (width, height, size) in itertools.product((rcdm, squash, imagenet), CROPS):
        image = Image.fromarray(noise(width * 1000 + height, height, width, 3))
        crop = preset(image, size).tobytes().hex()
        crops.append({"preset": preset.__name__, "width": width, "height": height, "size": size, "rgb": crop})
    expected = {"pictures": pictures, "crops": crops}
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
