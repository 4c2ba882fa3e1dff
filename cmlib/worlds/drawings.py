"""What each toy looks like: a list of (distance, material) parts, painted in order, in a square from −1 to
1.
"""

from __future__ import annotations

from cmlib.worlds.sdf import arc, box, circle, ellipse, polygon, rotate, star_points

KINDS = ("ball", "block", "star", "car", "boat", "duck", "house", "robot")
COLORS = ("red", "blue", "yellow", "green", "purple", "orange")  # the first K are easy to tell apart
RGB = ((218, 45, 52), (46, 108, 222), (250, 208, 52), (58, 168, 78), (146, 72, 188), (246, 132, 30))

# A material is a grey level times the toy's own colour plus a fixed paint: (share of the toy's colour, fixed
# RGB).
MAIN, DARK, LIGHT = (1.0, (0, 0, 0)), (0.7, (0, 0, 0)), (0.62, (88, 88, 88))
WHITE, INK, STEEL, CREAM = (0, (250, 250, 248)), (0, (38, 36, 44)), (0, (158, 164, 174)), (0, (246, 236, 212))
GLASS, BEAK, WOOD, LAMP = (0, (176, 220, 244)), (0, (250, 146, 30)), (0, (142, 96, 56)), (0, (255, 240, 150))
CARD, CARD_DARK, CARD_LIGHT, TAPE = (
    (0, (196, 148, 98)),
    (0, (150, 108, 68)),
    (0, (216, 172, 122)),
    (0, (226, 204, 160)),
)


def _eyes(x, y, cx, cy, gap, r):
    """Two eyes with a spark, and a smile below."""
    return [(circle(x, y, cx - gap, cy, r), INK), (circle(x, y, cx + gap, cy, r), INK),
            (circle(x, y, cx - gap - r * 0.3, cy - r * 0.35, r * 0.38), WHITE),
            (circle(x, y, cx + gap - r * 0.3, cy - r * 0.35, r * 0.38), WHITE),
            (arc(x, y, cx, cy + r * 0.9, gap * 0.75, r * 0.36), INK)]


def ball(x, y):
    u, v = rotate(x, y, 25)
    return [(circle(x, y, 0, 0, 0.88), MAIN), (ellipse(u, v, 0, 0, 0.88, 0.3), WHITE),
            (ellipse(u, v, 0, 0, 0.8, 0.12), MAIN),
            (ellipse(x, y, -0.36, -0.5, 0.2, 0.13), WHITE)]


def block(x, y):
    return [
        (
            polygon(x, y, [(-0.8, -0.42), (0, -0.86), (0.8, -0.42), (0.8, 0.46), (0, 0.92), (-0.8, 0.46)]),
            MAIN,
        ),
        (polygon(x, y, [(-0.78, -0.43), (0, -0.84), (0.78, -0.43), (0, 0.0)]), LIGHT),
        (polygon(x, y, [(0.02, 0.03), (0.78, -0.4), (0.78, 0.44), (0.02, 0.88)]), DARK),
        (ellipse(x, y, 0, -0.43, 0.2, 0.11), WHITE),
        (ellipse(x, y, -0.54, 0.02, 0.1, 0.14), WHITE),
        (ellipse(x, y, -0.24, 0.48, 0.1, 0.14), WHITE),
        (ellipse(x, y, 0.4, 0.26, 0.12, 0.17), WHITE),
    ]


def star(x, y):
    return [(polygon(x, y, star_points(0.9, 0.46)) - 0.07, MAIN), *_eyes(x, y, 0, -0.02, 0.2, 0.11)]


def car(x, y):
    return [(circle(x, y, -0.5, 0.46, 0.27), INK), (circle(x, y, 0.48, 0.46, 0.27), INK),
            (polygon(x, y, [(-0.62, -0.08), (-0.4, -0.58), (0.3, -0.58), (0.62, -0.08)]) - 0.06, MAIN),
            (box(x, y, 0, 0.16, 0.94, 0.32, 0.18), MAIN), (box(x, y, 0, 0.28, 0.92, 0.06, 0.05), LIGHT),
            (polygon(x, y, [(-0.46, -0.1), (-0.3, -0.46), (-0.06, -0.46), (-0.06, -0.1)]), GLASS),
            (polygon(x, y, [(0.06, -0.1), (0.06, -0.46), (0.24, -0.46), (0.45, -0.1)]), GLASS),
            (circle(x, y, -0.5, 0.48, 0.25), INK), (circle(x, y, 0.48, 0.48, 0.25), INK),
            (circle(x, y, -0.5, 0.48, 0.12), STEEL), (circle(x, y, 0.48, 0.48, 0.12), STEEL),
            (circle(x, y, 0.8, 0.08, 0.1), LAMP)]


def boat(x, y):
    return [(box(x, y, 0, -0.25, 0.055, 0.6, 0.03), WOOD), (polygon(x, y, [(0.1, -0.86), (0.8, 0.14),
            (0.1, 0.14)]), WHITE),
            (polygon(x, y, [(-0.1, -0.7), (-0.66, 0.14), (-0.1, 0.14)]), MAIN),
            (polygon(x, y, [(0.1, -0.42), (0.42, -0.42), (0.56, -0.22), (0.1, -0.22)]), MAIN),
            (polygon(x, y, [(-0.9, 0.28), (0.9, 0.28), (0.58, 0.82), (-0.6, 0.82)]) - 0.04, MAIN),
            (box(x, y, 0, 0.34, 0.84, 0.07, 0.05), WHITE),
            (circle(x, y, -0.3, 0.62, 0.1), GLASS), (circle(x, y, 0.04, 0.62, 0.1), GLASS),
            (circle(x, y, 0.38, 0.62, 0.1), GLASS)]


def duck(x, y):
    return [(polygon(x, y, [(-0.7, 0.2), (-0.92, -0.26), (-0.36, 0.02)]) - 0.05, MAIN),
            (ellipse(x, y, -0.08, 0.36, 0.8, 0.5), MAIN),
            (circle(x, y, 0.26, -0.38, 0.46), MAIN), (polygon(x, y, [(0.64, -0.48), (0.95, -0.28),
            (0.62, -0.14)]) - 0.04, BEAK),
            (ellipse(x, y, -0.18, 0.34, 0.42, 0.24), DARK), (circle(x, y, 0.36, -0.48, 0.13), INK),
            (circle(x, y, 0.32, -0.53, 0.05), WHITE)]


def house(x, y):
    return [(box(x, y, 0.48, -0.56, 0.11, 0.28, 0.02), MAIN), (box(x, y, 0, 0.34, 0.68, 0.56, 0.04), CREAM),
            (polygon(x, y, [(-0.9, -0.08), (0, -0.86), (0.9, -0.08)]) - 0.05, MAIN),
            (box(x, y, -0.26, 0.54, 0.18, 0.36, 0.05), MAIN),
            (circle(x, y, -0.15, 0.56, 0.05), LAMP), (box(x, y, 0.3, 0.32, 0.22, 0.2, 0.03), GLASS),
            (box(x, y, 0.3, 0.32, 0.22, 0.025, 0.01), WHITE), (box(x, y, 0.3, 0.32, 0.025, 0.2, 0.01), WHITE),
            (circle(x, y, 0, -0.42, 0.13), GLASS)]


def robot(x, y):
    return [(box(x, y, 0, -0.78, 0.04, 0.14, 0.02), STEEL), (circle(x, y, 0, -0.88, 0.1), LAMP),
            (box(x, y, -0.22, 0.86, 0.17, 0.1, 0.05), STEEL), (box(x, y, 0.22, 0.86, 0.17, 0.1, 0.05), STEEL),
            (box(x, y, -0.66, 0.36, 0.14, 0.32, 0.12), MAIN), (box(x, y, 0.66, 0.36, 0.14, 0.32, 0.12), MAIN),
            (box(x, y, 0, 0.42, 0.48, 0.4, 0.1), MAIN), (box(x, y, 0, -0.32, 0.58, 0.38, 0.14), MAIN),
            (box(x, y, 0, -0.3, 0.44, 0.25, 0.1), CREAM), *_eyes(x, y, 0, -0.36, 0.2, 0.1),
            (box(x, y, 0, 0.4, 0.27, 0.17, 0.05), LAMP)]


def parcel(x, y):
    """Sealed: nothing about the toy inside can be seen; the ribbon's colour is drawn independently of it."""
    return [
        (box(x, y, 0, 0.08, 0.88, 0.8, 0.06), CARD),
        (box(x, y, 0, -0.56, 0.88, 0.16, 0.06), CARD_LIGHT),
        (box(x, y, 0, 0.16, 0.86, 0.11, 0.01), MAIN),
        (box(x, y, 0, 0.08, 0.11, 0.8, 0.01), MAIN),
        (box(x, y, 0.5, 0.58, 0.26, 0.17, 0.02), WHITE),
        (box(x, y, 0.5, 0.53, 0.18, 0.02, 0.01), INK),
        (box(x, y, 0.46, 0.63, 0.14, 0.02, 0.01), INK),
        (ellipse(*rotate(x + 0.27, y + 0.58, 22), 0, 0, 0.3, 0.17), MAIN),
        (ellipse(*rotate(x - 0.27, y + 0.58, -22), 0, 0, 0.3, 0.17), MAIN),
        (ellipse(*rotate(x + 0.27, y + 0.58, 22), 0, 0, 0.14, 0.06), DARK),
        (ellipse(*rotate(x - 0.27, y + 0.58, -22), 0, 0, 0.14, 0.06), DARK),
        (circle(x, y, 0, -0.52, 0.13), MAIN),
    ]


def carton(x, y):
    """Open, seen from above: four flaps folded out round a pale inside."""
    flaps = [polygon(x, y, [(-0.68, -0.68), (0.68, -0.68), (0.58, -0.95), (-0.58, -0.95)]),
             polygon(x, y, [(-0.68, 0.68), (0.68, 0.68), (0.58, 0.95), (-0.58, 0.95)]),
             polygon(x, y, [(-0.68, -0.68), (-0.68, 0.68), (-0.95, 0.58), (-0.95, -0.58)]),
             polygon(x, y, [(0.68, -0.68), (0.68, 0.68), (0.95, 0.58), (0.95, -0.58)])]
    return [*((flap, CARD_LIGHT) for flap in flaps), (box(x, y, 0, 0, 0.72, 0.72, 0.04), CARD_DARK),
            (box(x, y, 0.03, 0.03, 0.64, 0.64, 0.04), CREAM)]


DRAWINGS = {f.__name__: f for f in (ball, block, star, car, boat, duck, house, robot, parcel, carton)}
