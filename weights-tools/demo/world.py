"""A small world in which everything is known: one object on one ground, drawn by formula.

A scene is its factors alone. An image of it is computed at any size and of any window of the world, so that a crop
is drawn, not resized. Edges are anti-aliased by their distance to a pixel's centre."""
import math

import torch

SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "heart", "moon")
GROUNDS = ("plain", "gradient", "stripes", "checker")
OBJECT_HUES, GROUND_HUES = 12, 8
SIZES, PLACES = (0.4, 0.65), (-0.35, 0.35)  # of radius and centre: the object is within the picture
# By which part of a turn a shape is brought onto itself: what is left of its angle. 0: any.
SYMMETRY = torch.tensor([0, 4, 3, 5, 0, 4, 1, 1])


def scenes(n, generator):
    """n scenes: factor -> [n]. Classes are integers; size (a radius) and place are in half widths of the picture,
    which runs from -1 to 1, y down; angle and light (where it comes from) in radians."""
    classes = lambda k: torch.randint(k, (n,), generator=generator)
    uniform = lambda low, high: low + (high - low) * torch.rand(n, generator=generator)
    return {
        "shape": classes(len(SHAPES)),
        "hue": classes(OBJECT_HUES),
        "size": uniform(*SIZES),
        "x": uniform(*PLACES),
        "y": uniform(*PLACES),
        "angle": uniform(0, 2 * math.pi),
        "light": uniform(0, 2 * math.pi),
        "ground": classes(len(GROUNDS)),
        "ground_hue": classes(GROUND_HUES),
    }


def render(scene, size, centre=None, half=None, flip=None):
    """Images [n, 3, size, size] in 0 .. 1. Of the window of the world with this centre [n, 2] and half width [n],
    mirrored where flip [n] is true; without them, of the whole picture."""
    n = len(scene["shape"])
    grid = (torch.arange(size) + 0.5) * (2 / size) - 1
    half = torch.ones(n) if half is None else half
    pixel = (half * (2 / size))[:, None, None]
    across = grid.expand(n, size)
    if flip is not None:
        across = torch.where(flip[:, None], -across, across)
    x, y = half[:, None] * across, half[:, None] * grid
    if centre is not None:
        x, y = x + centre[:, :1], y + centre[:, 1:]
    x, y = x[:, None, :].expand(n, size, size), y[:, :, None].expand(n, size, size)

    at = lambda factor: scene[factor][:, None, None]
    light_x, light_y = at("light").cos(), at("light").sin()
    image = ground_colour(scene, x, y, pixel)
    image = image * (1 + 0.15 * (x * light_x + y * light_y))[:, None]

    dx, dy = (x - at("x")) / at("size"), (y - at("y")) / at("size")
    distance = lambda dx, dy: at("size") * shape_distance(scene, dx, dy)
    shadow = (0.5 - distance(dx + 0.45 * light_x, dy + 0.45 * light_y) / 0.25).clamp(0, 1)
    image = image * (1 - 0.5 * shadow)[:, None]

    towards = dx * light_x + dy * light_y
    body = hsv(scene["hue"] / OBJECT_HUES, 0.85, 0.9)[:, :, None, None] * (0.8 + 0.25 * towards)[:, None]
    from_gloss = (dx - 0.4 * light_x) ** 2 + (dy - 0.4 * light_y) ** 2
    body = body + 0.35 * torch.exp(-from_gloss / 0.08)[:, None]
    cover = (0.5 - distance(dx, dy) / pixel).clamp(0, 1)[:, None]
    return (image + cover * (body - image)).clamp(0, 1)


def picture(scene, size):
    """Images as bytes, uint8 [n, 3, size, size]."""
    return (render(scene, size) * 255).round().to(torch.uint8)


def hsv(hue, saturation, value):
    """Colours [n, 3] in 0 .. 1 of hues [n] in turns."""
    part = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    return value * (1 - saturation * (1 - ((part - 3).abs() - 1).clamp(0, 1)))


def ground_colour(scene, x, y, pixel):
    """[n, 3, h, w]: the ground's colour, darkened by its pattern."""
    def wave(u, period, width):  # a square wave of -1 and 1, its edges a pixel wide
        to_edge = ((u / period) % 1 - 0.5).abs() - 0.25
        return (to_edge * period / width * 2).clamp(-1, 1)

    patterns = [
        torch.zeros_like(x),
        -y.clamp(-1, 1),
        wave((x + y) * 0.5**0.5, 0.5, pixel),
        wave(x, 0.8, pixel) * wave(y, 0.8, pixel),
    ]
    pattern = torch.stack(patterns).gather(0, scene["ground"][None, :, None, None].expand(1, *x.shape))[0]
    colour = hsv(scene["ground_hue"] / GROUND_HUES + 1 / 24, 0.5, 1.0)
    return colour[:, :, None, None] * (0.66 + 0.16 * pattern)[:, None]


def shape_distance(scene, x, y):
    """Signed distance to the outline, negative within, at points in units of the object's size."""
    angle = scene["angle"][:, None, None]
    x, y = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
    out = torch.empty_like(x)
    for kind, distance in enumerate(DISTANCES):
        of_kind = (scene["shape"] == kind).nonzero()[:, 0]
        out[of_kind] = distance(x[of_kind], y[of_kind])
    return out


def disc(x, y):
    return torch.hypot(x, y) - 0.9


def box(x, y, half_width, half_height):
    dx, dy = x.abs() - half_width, y.abs() - half_height
    return torch.hypot(dx.clamp(min=0), dy.clamp(min=0)) + torch.maximum(dx, dy).clamp(max=0)


def square(x, y):
    return box(x, y, 0.78, 0.78)


def polygon(x, y, corners):
    """Of a regular polygon with its corners at radius 1: the distance to the nearest side's line."""
    side = 2 * math.pi / corners
    angle = (torch.atan2(x, -y) + side / 2) % side - side / 2
    return torch.hypot(x, y) * (angle.abs() - side / 2).cos() - math.cos(side / 2)


def triangle(x, y):
    return polygon(x, y, 3)


def star(x, y):
    """Folded onto one half of a ray, which is then bounded by one line from its tip to the notch."""
    fifth = 2 * math.pi / 5
    angle = ((torch.atan2(x, -y) + fifth / 2) % fifth - fifth / 2).abs()
    r, notch = torch.hypot(x, y), 0.45
    notch_x, notch_y = notch * math.sin(fifth / 2), notch * math.cos(fifth / 2)
    length = math.hypot(notch_x, notch_y - 1)
    # The line through the tip (0, 1) and the notch; the centre is within.
    return ((1 - notch_y) * r * angle.sin() + notch_x * (r * angle.cos() - 1)) / length


def ring(x, y):
    return (torch.hypot(x, y) - 0.7).abs() - 0.25


def cross(x, y):
    return torch.minimum(box(x, y, 0.95, 0.3), box(x, y, 0.3, 0.95))


def heart(x, y):
    """Two discs over a square that stands on its corner."""
    y = y + 0.08
    lobe = torch.hypot(x.abs() - 0.4, y + 0.25) - 0.52
    turned = box((x + y) * 0.5**0.5 - 0.1, (y - x) * 0.5**0.5 - 0.1, 0.565, 0.565)
    return torch.minimum(lobe, turned)


def moon(x, y):
    return torch.maximum(torch.hypot(x, y) - 0.95, 0.75 - torch.hypot(x - 0.5, y))


DISTANCES = (disc, square, triangle, star, ring, cross, heart, moon)
