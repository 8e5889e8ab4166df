"""A small world whose factors are all known: one object on one ground, drawn by formula.

A scene consists of its factors alone. Its image is computed at any size and for any window of the world, so a crop is
drawn, not resized. Edges are anti-aliased by their distance from a pixel's centre."""
import math

import torch

SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "heart", "moon")
GROUNDS = ("plain", "gradient", "stripes", "checker")
OBJECT_HUES, GROUND_HUES = 12, 8
SIZES, PLACES = (0.4, 0.65), (-0.35, 0.35)  # limits of radius and centre: the object stays in the picture
# The rotational symmetry n of each shape: 1/n of a turn maps the shape onto itself, so its angle is visible only
# up to that. 0 stands for any turn.
SYMMETRY = torch.tensor([0, 4, 3, 5, 0, 4, 1, 1])


def scenes(n, generator):
    """Returns n random scenes: factor -> [n]. Classes are integers. Size (a radius) and position are in half widths of
    the picture, which spans -1 to 1, with y pointing down. The angle and the direction of light are in radians."""
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
    """Renders images [n, 3, size, size] in 0 .. 1. They show the windows of the world with these centres [n, 2] and
    half widths [n], mirrored if flip [n] is true. Without these arguments, they show the whole picture."""
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
    """Renders images as bytes, uint8 [n, 3, size, size]."""
    return (render(scene, size) * 255).round().to(torch.uint8)


def hsv(hue, saturation, value):
    """Returns the colours [n, 3] in 0 .. 1 of hues [n] in turns."""
    part = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    return value * (1 - saturation * (1 - ((part - 3).abs() - 1).clamp(0, 1)))


def ground_colour(scene, x, y, pixel):
    """Returns the ground's colour, darkened by its pattern: [n, 3, h, w]."""
    def wave(u, period, width):  # a square wave between -1 and 1, with edges one pixel wide
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
    """Returns the signed distance to the outline, negative inside, at points in units of the object's size."""
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
    """Returns the distance to the nearest side's line, for a regular polygon with corners at radius 1."""
    side = 2 * math.pi / corners
    angle = (torch.atan2(x, -y) + side / 2) % side - side / 2
    return torch.hypot(x, y) * (angle.abs() - side / 2).cos() - math.cos(side / 2)


def triangle(x, y):
    return polygon(x, y, 3)


def star(x, y):
    """Folds the star onto one half of a ray, which is bounded by one line from its tip to the notch."""
    fifth = 2 * math.pi / 5
    angle = ((torch.atan2(x, -y) + fifth / 2) % fifth - fifth / 2).abs()
    r, notch = torch.hypot(x, y), 0.45
    notch_x, notch_y = notch * math.sin(fifth / 2), notch * math.cos(fifth / 2)
    length = math.hypot(notch_x, notch_y - 1)
    # The line through the tip (0, 1) and the notch. The centre is inside.
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
