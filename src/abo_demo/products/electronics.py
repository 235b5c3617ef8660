"""Drawings of electronics and their accessories."""

from __future__ import annotations

from abo_demo.products.parts import RIM, socket
from abo_demo.products.pen import DARK, PALE, STEEL, Pen, draws

SCREEN = (36, 48, 66)
SHINE = (96, 124, 150)


@draws("CELLULAR_PHONE_CASE")
def phone_case(p: Pen) -> None:
    p.box(0, 0, 100, 100, 15)
    p.box(10, 5, 46, 30, 9, 0.66)
    p.dot(22, 12, 6, c=DARK)
    p.dot(22, 23, 6, c=DARK)
    p.dot(36, 17, 3.4, c=PALE)


@draws("HEADPHONES")
def headphone(p: Pen) -> None:
    p.arc(8, 0, 92, 110, 180, 360, 10)
    for x, inner in ((0, 20), (72, 70)):
        p.box(inner, 46, inner + 10, 96, 5, c=DARK)
        p.box(x, 44, x + 28, 100, 12)
        p.box(x + 7, 56, x + 21, 88, 7, 0.7)


@draws("SPEAKERS")
def speaker(p: Pen) -> None:
    p.box(0, 0, 100, 100, 6)
    p.oval(30, 7, 70, 31, c=DARK)
    p.oval(42, 14, 58, 24, c=STEEL)
    p.oval(12, 39, 88, 90, c=DARK)
    p.oval(22, 46, 78, 83, 0.8)
    p.oval(40, 58, 60, 71, c=DARK)


@draws("COMPUTER_ADD_ON")
def mouse(p: Pen) -> None:
    p.blob([(50, 0), (88, 10), (100, 48), (90, 86), (50, 100), (10, 86), (0, 48), (12, 10)])
    p.line([(4, 42), (50, 47), (96, 42)], 2.4, 0.55)
    p.line([(50, 2), (50, 46)], 2.4, 0.55)
    p.box(42, 14, 58, 36, 7, c=DARK)


@draws("KEYBOARDS")
def keyboard(p: Pen) -> None:
    p.box(0, 0, 100, 100, 6)
    for row in range(3):
        for column in range(9):
            x, y = 4 + column * 10.3, 8 + row * 22
            p.box(x, y, x + 8, y + 17, 1, 0.68)
    p.box(4, 74, 12, 91, 1, 0.68)
    p.box(24, 74, 76, 91, 1, 0.68)
    p.box(86, 74, 94, 91, 1, 0.68)


@draws("MONITOR")
def monitor(p: Pen) -> None:
    p.poly([(42, 74), (58, 74), (62, 96), (38, 96)], 0.8)
    p.box(24, 92, 76, 100, 3, 0.9)
    p.box(0, 0, 100, 80, 4)
    p.box(7, 8, 93, 66, 1, c=SCREEN)
    p.poly([(14, 8), (38, 8), (20, 66), (7, 66), (7, 40)], c=SHINE)
    p.dot(50, 73, 2, c=RIM)


@draws("CAMERA")
def camera(p: Pen) -> None:
    p.box(30, 0, 66, 26, 5, 0.85)
    p.box(78, 8, 92, 22, 2, c=DARK)
    p.box(0, 16, 100, 100, 9)
    p.box(0, 36, 100, 80, 0, 0.75)
    p.dot(48, 58, 29, c=STEEL)
    p.dot(48, 58, 25, c=RIM)
    p.dot(48, 58, 16, c=SCREEN)
    p.dot(43, 52, 5, c=(220, 234, 244))
    p.box(8, 22, 20, 31, 1, c=PALE)


@draws("TV_REMOTE")
def remote(p: Pen) -> None:
    p.box(0, 0, 100, 100, 14)
    p.box(14, 5, 86, 16, 3, c=RIM)
    for (x, y), width, height in p.slots(10, 20, 90, 96, per_row=2):
        r = p.fit(7.0, 0.8 * width, 0.8 * height)
        p.dot(x, y, r, c=RIM)
        p.dot(x, y, 0.76 * r, c=(246, 246, 242))


@draws("POWER_STRIP")
def power_strip(p: Pen) -> None:
    p.box(0, 0, 100, 100, 9)
    p.box(1.5, 30, 5, 70, 2, c=(220, 50, 40))
    for (x, y), width, _ in p.slots(6.5, 0, 98.5, 100, per_row=10):
        socket(p, x, y, p.fit(13.0, 0.85 * width, 85))


@draws("LIGHT_BULB")
def bulb(p: Pen) -> None:
    p.oval(0, 0, 100, 70)
    p.poly([(16, 54), (84, 54), (70, 80), (30, 80)])
    p.box(30, 76, 70, 94, 3, c=STEEL)
    for y in (81, 87):
        p.line([(30, y), (70, y)], 1.8, c=DARK)
    p.box(42, 93, 58, 100, 2, c=DARK)
    p.line([(38, 74), (36, 46), (46, 54), (54, 46), (64, 54), (62, 74)], 2.4, c=(255, 240, 150))


@draws("CLOCK")
def clock(p: Pen) -> None:
    p.oval(0, 0, 100, 100)
    p.oval(14, 14, 86, 86, c=(250, 250, 246))
    for x, y in ((50, 20), (80, 50), (50, 80), (20, 50)):
        p.dot(x, y, 3, c=DARK)
    p.line([(50, 50), (50, 27)], 4, c=RIM)
    p.line([(50, 50), (67, 60)], 4, c=RIM)
    p.dot(50, 50, 3.5, c=(200, 50, 40))


@draws("FAN")
def fan(p: Pen) -> None:
    p.box(44, 66, 56, 94, 2, c=STEEL)
    p.oval(18, 90, 82, 100, 0.85)
    p.oval(0, 0, 100, 72, c=PALE)
    for dx, dy in ((0, -1), (0.87, 0.5), (-0.87, 0.5)):
        cx, cy = 50 + 22 * dx, 36 + 17 * dy
        p.blob([(50, 36), (cx - 13 * dy, cy + 9 * dx), (50 + 42 * dx, 36 + 30 * dy), (cx + 17 * dy, cy - 12 * dx)], 0.9)
    p.ring(0, 0, 100, 72, 5)
    p.dot(50, 36, 7, c=DARK)


@draws("COUNTERTOP_MICROWAVE")
def microwave(p: Pen) -> None:
    for x in (6, 86):
        p.box(x, 92, x + 8, 100, c=DARK)
    p.box(0, 0, 100, 96, 4)
    p.box(6, 12, 68, 84, 3, c=SCREEN)
    p.poly([(16, 12), (30, 12), (14, 84), (6, 84), (6, 60)], c=SHINE)
    p.box(70, 12, 73, 84, 2, c=STEEL)
    p.box(78, 14, 95, 26, 1, c=(120, 220, 150))
    for y in (38, 54, 70):
        for x in (79, 88):
            p.box(x, y, x + 6, y + 9, 1, c=DARK)


@draws("BATTERY")
def battery(p: Pen) -> None:
    p.box(34, 0, 66, 10, 2, c=STEEL)
    p.box(0, 7, 100, 100, 6)
    p.box(0, 7, 100, 34, 6, c=(214, 168, 74))
    p.box(0, 28, 100, 36, 0, 0.8)
    p.box(42, 50, 58, 78, 0, c=PALE)
    p.box(24, 59, 76, 69, 0, c=PALE)


@draws("FLASHLIGHT")
def flashlight(p: Pen) -> None:
    p.box(0, 26, 74, 74, 4)
    p.poly([(64, 26), (84, 0), (96, 0), (96, 100), (84, 100), (64, 74)], 0.9)
    p.box(94, 2, 100, 98, 3, c=(255, 240, 160))
    p.box(38, 14, 54, 32, 4, c=DARK)
    for x in (6, 12, 18, 24):
        p.line([(x, 28), (x, 72)], 2.2, 0.6)


@draws("GAME_CONTROLLER")
def controller(p: Pen) -> None:
    p.blob([(18, 8), (50, 12), (82, 8), (97, 40), (100, 88), (86, 98), (66, 66), (34, 66), (14, 98), (0, 88), (3, 40)])
    p.box(15, 32, 35, 42, 1, c=DARK)
    p.box(21.5, 23, 28.5, 51, 1, c=DARK)
    for dx, dy, ink in (
        (0, -11, (220, 60, 50)),
        (0, 11, (60, 120, 210)),
        (-7.5, 0, (80, 180, 90)),
        (7.5, 0, (250, 210, 60)),
    ):
        p.dot(75 + dx, 37 + dy, 4.2, c=RIM)
        p.dot(75 + dx, 37 + dy, 3.2, c=ink)
    for x in (38, 62):
        p.dot(x, 56, 7, c=DARK)


@draws("CHARGING_ADAPTER")
def charger(p: Pen) -> None:
    for x in (28, 62):
        p.box(x, 0, x + 10, 28, 1, c=STEEL)
    p.box(0, 22, 100, 100, 10)
    p.box(34, 74, 66, 86, 2, c=RIM)
    p.poly([(54, 34), (36, 54), (49, 54), (44, 68), (64, 47), (51, 47)], 0.6)
