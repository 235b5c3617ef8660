"""Drawings of furniture."""

from __future__ import annotations

from abo_demo.products.parts import book, hook, knob
from abo_demo.products.pen import DARK, PALE, STEEL, Pen, draws


@draws("CHAIR")
def chair(p: Pen) -> None:
    p.box(8, 0, 22, 100, 3, 0.9)
    p.box(80, 52, 94, 100, 3, 0.8)
    p.box(8, 4, 26, 54, 6)
    p.box(6, 46, 98, 60, 5)
    p.line([(15, 80), (87, 80)], 5, 0.75)


@draws("STOOL")
def stool(p: Pen) -> None:
    for x in (12, 76):
        p.box(x, 14, x + 12, 100, 2, 0.85)
    p.box(18, 58, 82, 66, 0, 0.75)
    p.box(44, 20, 55, 92, 2, 0.7)
    p.box(2, 0, 98, 20, 10)


@draws("BENCH")
def bench(p: Pen) -> None:
    for x in (6, 86):
        p.box(x, 0, x + 8, 100, 1, 0.8)
    for y in (2, 22):
        p.box(2, y, 98, y + 14, 3, 0.92)
    p.box(0, 48, 100, 64, 4)


@draws("TABLE")
def table(p: Pen) -> None:
    for x in (8, 84):
        p.poly([(x, 18), (x + 8, 18), (x + 6, 100), (x + 2, 100)], 0.85)
    p.box(10, 18, 90, 34, 0, 0.75)
    p.box(0, 0, 100, 20, 4)


@draws("DESK")
def desk(p: Pen) -> None:
    p.box(4, 12, 12, 100, 1, 0.85)
    p.box(56, 12, 96, 100, 1, 0.9)
    for y in (18, 46, 74):
        p.box(60, y, 92, y + 22, 2)
        p.box(71, y + 8, 81, y + 13, 2, c=DARK)
    p.box(0, 0, 100, 14, 2)


@draws("SOFA")
def sofa(p: Pen) -> None:
    for x in (10, 84):
        p.box(x, 88, x + 6, 100, c=DARK)
    p.box(8, 0, 92, 60, 10, 0.88)
    for x in (16, 50):
        p.box(x, 8, x + 34, 52, 6, 0.98)
        p.box(x, 50, x + 34, 70, 5, 1.08)
    p.box(10, 68, 90, 90, 3, 0.85)
    for x in (0, 84):
        p.box(x, 28, x + 16, 92, 8)


@draws("BED")
def bed(p: Pen) -> None:
    p.box(0, 0, 9, 100, 3, 0.8)
    p.box(90, 44, 98, 100, 3, 0.8)
    p.box(4, 62, 96, 88, 2)
    p.box(8, 42, 92, 64, 7, c=PALE)
    p.box(11, 28, 32, 46, 7, c=(250, 250, 250))
    p.poly([(40, 40), (92, 40), (92, 72), (40, 72)], 1.08)


@draws("DRESSER")
def dresser(p: Pen) -> None:
    for foot in (6, 86):
        p.box(foot, 90, foot + 8, 100, 0, 0.7)
    p.box(2, 6, 98, 92, 2, 0.9)
    p.box(0, 0, 100, 9, 2, 0.75)
    for top in (14, 53):
        p.box(6, top, 94, top + 34, 2)
    for (x, y), width, height in p.slots(8, 12, 92, 90):
        knob(p, x, y, p.fit(5.6, 0.8 * width, height))


@draws("CABINET")
def cabinet(p: Pen) -> None:
    p.box(6, 92, 18, 100, 0, 0.7)
    p.box(82, 92, 94, 100, 0, 0.7)
    p.box(2, 0, 98, 94, 2, 0.88)
    for x, handle in ((6, 40), (52, 55)):
        p.box(x, 5, x + 42, 90, 2)
        p.box(x + 8, 12, x + 34, 83, 1, 0.85)
        p.box(handle, 42, handle + 5, 56, 2, c=STEEL)


@draws("SHELF")
def shelf(p: Pen) -> None:
    p.box(0, 0, 100, 100, 1)
    for y in (8, 54):
        p.box(6, y, 94, y + 38, 0, 0.42)
    upper = min(p.parts, 5)
    for row, count in enumerate((upper, p.parts - upper)):
        bottom, left = 46 + 46 * row, 9.0
        for index in range(count):
            book(p, left, bottom, 13.5, 26 + 3 * ((index + row) % 3), index + 5 * row)
            left += 16.8


@draws("OTTOMAN")
def ottoman(p: Pen) -> None:
    p.oval(0, 0, 100, 100, 0.9)
    p.oval(6, 2, 94, 56, 1.06)
    for x in (24, 50, 76):
        p.line([(50, 28), (x * 1.1 - 5, 4 if x == 50 else 12)], 1.5, 0.7)
        p.line([(50, 28), (x * 1.1 - 5, 52 if x == 50 else 46)], 1.5, 0.7)
    p.dot(50, 28, 5, 0.6)


@draws("HOME_MIRROR")
def mirror(p: Pen) -> None:
    p.oval(0, 0, 100, 100)
    p.oval(11, 8, 89, 92, c=(206, 224, 232))
    p.line([(30, 58), (62, 24)], 5, c=(244, 250, 252))
    p.line([(40, 72), (74, 36)], 3, c=(244, 250, 252))


@draws("RUG")
def rug(p: Pen) -> None:
    for index in range(13):
        y = 3 + index * 7.6
        p.line([(0, y), (100, y)], 1.6, 0.85)
    p.box(5, 0, 95, 100, 0)
    p.box(11, 9, 89, 91, 0, 0.6)
    p.box(15, 14, 85, 86, 0, 1.0)
    p.poly([(50, 24), (78, 50), (50, 76), (22, 50)], 0.65)
    p.poly([(50, 36), (66, 50), (50, 64), (34, 50)], 1.1)


@draws("LAMP")
def lamp(p: Pen) -> None:
    p.box(45, 44, 55, 92, 1, c=STEEL)
    p.oval(2, 86, 98, 100, 0.8)
    p.poly([(36, 0), (64, 0), (100, 56), (0, 56)])
    p.line([(2, 53), (98, 53)], 3, 0.75)


@draws("LADDER")
def ladder(p: Pen) -> None:
    for index in range(5):
        y = 16 + index * 17.5
        half = 8 + 0.4 * y
        p.line([(50 - half, y), (50 + half, y)], 6, 0.8)
    p.poly([(38, 0), (50, 0), (14, 100), (0, 100)])
    p.poly([(62, 0), (50, 0), (86, 100), (100, 100)])
    p.box(36, 0, 64, 9, 2, 0.75)


@draws("COAT_RACK")
def coat_rack(p: Pen) -> None:
    p.box(0, 6, 100, 58, 4)
    p.box(2, 12, 98, 15, 0, 0.75)
    p.box(2, 50, 98, 53, 0, 0.75)
    for screw in (4, 96):
        p.dot(screw, 32, 2, c=DARK)
    for (x, _), width, _ in p.slots(7, 0, 93, 100, per_row=10):
        hook(p, x, 30, min(5.0, 0.3 * width), 64)
