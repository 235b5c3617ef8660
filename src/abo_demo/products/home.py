"""Drawings of textiles, tools, toys, sports and other things about the house."""

from __future__ import annotations

from abo_demo.products.parts import LEAF, RIM, ball, pencil
from abo_demo.products.pen import DARK, PALE, STEEL, Pen, draws


@draws("PILLOW")
def pillow(p: Pen) -> None:
    p.blob([(2, 2), (50, 8), (98, 2), (93, 50), (98, 98), (50, 92), (2, 98), (7, 50)])
    for x, y, dx, dy in ((10, 10, 16, 14), (90, 10, -16, 14), (10, 90, 16, -14), (90, 90, -16, -14)):
        p.line([(x, y), (x + dx, y + dy)], 2, 0.65)
    p.dot(50, 50, 4.5, 0.6)


@draws("TOWEL")
def towel(p: Pen) -> None:
    p.box(4, 4, 96, 100, 2)
    for y in (70, 79):
        p.box(4, y, 96, y + 5, 0, 0.62)
    for x in range(8, 96, 8):
        p.line([(x, 93), (x, 100)], 2, 0.6)
    p.box(0, 0, 100, 7, 3, c=STEEL)


@draws("HOME_BED_AND_BATH")
def curtain(p: Pen) -> None:
    p.poly([(4, 6), (48, 6), (40, 56), (26, 72), (34, 100), (4, 100)])
    p.poly([(96, 6), (52, 6), (60, 56), (74, 72), (66, 100), (96, 100)])
    for side in (-1, 1):
        for x in (12, 22, 32):
            p.line(
                [(50 + side * (46 - x), 8), (50 + side * (48 - 0.55 * x), 66), (50 + side * (48 - 0.7 * x), 98)],
                2.2,
                0.65,
            )
        p.line([(50 + side * 45, 70), (50 + side * 22, 68)], 5, c=DARK)
    p.box(0, 0, 100, 6, 3, c=DARK)


@draws("HOME")
def picture_frame(p: Pen) -> None:
    p.box(0, 0, 100, 100, 2)
    p.box(15, 15, 85, 85, 0, c=(250, 250, 248))
    p.box(21, 21, 79, 79, 0, c=(166, 208, 236))
    p.dot(66, 34, 6, c=(252, 216, 90))
    p.poly([(21, 79), (21, 66), (40, 42), (56, 64), (66, 54), (79, 70), (79, 79)], c=(92, 150, 96))


@draws("STORAGE_BOX")
def storage_box(p: Pen) -> None:
    p.poly([(0, 24), (22, 0), (100, 0), (78, 24)], 1.15)
    p.poly([(78, 24), (100, 0), (100, 76), (78, 100)], 0.68)
    p.box(0, 24, 78, 100)
    p.box(28, 46, 50, 56, 4, c=DARK)


@draws("DESK_ORGANIZER")
def organizer(p: Pen) -> None:
    back = p.parts - min(p.parts, 5)
    for row, count, first in ((0, back, 5), (1, p.parts - back, 0)):
        for i in range(count):
            # The back row fills the gaps of the front row, and is higher.
            pencil(
                p,
                50 + (i - (count - 1) / 2) * 16 + (8 if row == 0 and back % 2 else 0),
                1 + 17 * row,
                60,
                4.4,
                first + i,
            )
    p.poly([(4, 46), (96, 46), (90, 100), (10, 100)])
    p.box(2, 44, 98, 54, 4, 0.78)


@draws("STORAGE_BASKET")
def basket(p: Pen) -> None:
    back = p.parts - min(p.parts, 5)
    for row, count, first in ((0, back, 5), (1, p.parts - back, 0)):
        for i in range(count):
            ball(p, 50 + (i - (count - 1) / 2) * 17.5, 12 + 21 * row, p.fit(9.2, 17.5, 23), first + i)
    p.blob([(2, 42), (50, 43), (98, 42), (92, 78), (74, 98), (26, 98), (8, 78)])
    p.box(0, 40, 100, 52, 5, 0.78)
    for y in (64, 78):
        p.line([(7, y), (93, y)], 2.2, 0.68)
    for x in (28, 50, 72):
        p.line([(x, 54), (50 + 0.75 * (x - 50), 96)], 2.2, 0.68)


@draws("PLANTER")
def planter(p: Pen) -> None:
    for x, y in ((14, 14), (32, 2), (68, 2), (86, 14), (50, 0)):
        dx = 9 if x < 50 else -9 if x > 50 else 7
        p.blob([(x, y), (x + dx, y + 20), (50, 52), (x - 0.4 * dx, y + 24)], c=LEAF)
    p.box(12, 46, 88, 100, 3)
    p.box(6, 42, 94, 56, 3, 0.82)


@draws("UMBRELLA")
def umbrella(p: Pen) -> None:
    p.line([(50, 40), (50, 88), (54, 96), (61, 97), (66, 88)], 4, c=DARK)
    p.poly([(50, 2), (100, 56), (84, 51), (67, 57), (50, 51), (33, 57), (16, 51), (0, 56)])
    p.poly([(50, 2), (67, 57), (50, 51), (33, 57)], 0.75)
    p.line([(50, 0), (50, 8)], 3, c=DARK)


@draws("CLOTHES_HANGER")
def hanger(p: Pen) -> None:
    p.line([(50, 44), (50, 30), (57, 24), (57, 10), (50, 4), (43, 12)], 4, c=STEEL)
    p.poly([(50, 34), (100, 88), (98, 100), (2, 100), (0, 88)])
    p.poly([(50, 56), (80, 88), (20, 88)], hole=True)


@draws("SPORTING_GOODS")
def sports_ball(p: Pen) -> None:
    p.oval(0, 0, 100, 100)
    p.line([(50, 0), (50, 100)], 3, 0.5)
    p.line([(0, 50), (100, 50)], 3, 0.5)
    p.line([(18, 12), (30, 32), (33, 50), (30, 68), (18, 88)], 3, 0.5)
    p.line([(82, 12), (70, 32), (67, 50), (70, 68), (82, 88)], 3, 0.5)


@draws("OFFICE_PRODUCTS")
def notebook(p: Pen) -> None:
    p.box(8, 3, 100, 100, 3, c=PALE)
    p.box(8, 0, 97, 97, 3)
    p.box(34, 20, 84, 40, 1, c=(250, 248, 240))
    p.line([(40, 27), (78, 27)], 2, c=DARK)
    p.line([(40, 33), (66, 33)], 2, c=DARK)
    for y in range(8, 96, 11):
        p.box(0, y, 16, y + 4, 2, c=DARK)


@draws("LOCK")
def lock(p: Pen) -> None:
    p.arc(16, 0, 84, 84, 180, 360, 11, c=STEEL)
    for x in (16, 69):
        p.box(x, 38, x + 15, 52, 0, c=STEEL)
    p.box(0, 44, 100, 100, 8)
    p.dot(50, 66, 7, c=RIM)
    p.poly([(46, 66), (54, 66), (58, 88), (42, 88)], c=RIM)


@draws("STORAGE_HOOK")
def wall_hook(p: Pen) -> None:
    p.line([(32, 34), (32, 76), (44, 92), (64, 92), (80, 78), (82, 58)], 14, 0.9)
    p.dot(82, 56, 8.5, 0.9)
    p.box(8, 0, 56, 56, 8)
    for y in (12, 44):
        p.dot(32, y, 4, c=DARK)


@draws("HARDWARE_HANDLE")
def handle(p: Pen) -> None:
    for x in (0, 82):
        p.box(x, 0, x + 18, 34, 3, 0.75)
    p.poly([(4, 20), (16, 20), (26, 66), (74, 66), (84, 20), (96, 20), (86, 96), (78, 100), (22, 100), (14, 96)])


@draws("TOOLS")
def hammer(p: Pen) -> None:
    p.box(42, 14, 60, 100, 5)
    p.box(42, 66, 60, 100, 5, 0.7)
    p.poly([(0, 18), (8, 6), (34, 0), (76, 2), (76, 26), (34, 24), (8, 22)], c=STEEL)
    p.box(78, 0, 100, 28, 2, c=STEEL)
    p.box(74, 4, 80, 24, 0, c=DARK)


@draws("TENT")
def tent(p: Pen) -> None:
    p.poly([(50, 0), (100, 100), (0, 100)])
    p.poly([(50, 26), (70, 100), (30, 100)], c=DARK)
    p.poly([(50, 26), (50, 34), (38, 100), (24, 100)], 0.75)
    p.line([(50, 0), (50, 26)], 2, 0.6)


@draws("PENNANT")
def pennant(p: Pen) -> None:
    p.poly([(4, 0), (100, 50), (4, 100)])
    p.poly([(4, 0), (20, 8.5), (20, 91.5), (4, 100)], c=PALE)
    p.box(0, 0, 5, 100, 2, c=DARK)
    p.poly([(44, 32), (49, 45), (62, 48), (50, 55), (47, 68), (40, 57), (28, 58), (36, 48), (31, 36), (41, 41)], 0.6)


@draws("GUITAR")
def guitar(p: Pen) -> None:
    p.box(42, 8, 58, 60, 1, c=(74, 50, 36))
    p.box(36, 0, 64, 12, 3, c=DARK)
    p.blob([(50, 44), (76, 46), (82, 58), (78, 66), (98, 78), (92, 96), (50, 100), (8, 96), (2, 78), (22, 66), (18, 58),
            (24, 46)])  # fmt: skip
    p.box(42, 8, 58, 60, 1, c=(74, 50, 36))
    p.dot(50, 66, 10, c=RIM)
    p.box(32, 86, 68, 90, 1, c=DARK)
    for x in (46, 54):
        p.line([(x, 8), (x, 86)], 1.2, c=PALE)


@draws("TOY_CAR")
def toy_car(p: Pen) -> None:
    p.blob([(18, 46), (30, 8), (44, 2), (64, 4), (80, 46), (50, 52)])
    p.poly([(26, 44), (34, 16), (48, 12), (48, 44)], c=(200, 226, 240))
    p.poly([(53, 12), (62, 14), (73, 44), (53, 44)], c=(200, 226, 240))
    p.box(0, 40, 100, 84, 8)
    p.box(94, 50, 100, 62, 3, c=(255, 238, 150))
    for x in (24, 76):
        p.dot(x, 82, 13, c=RIM)
        p.dot(x, 82, 6, c=STEEL)


@draws("TOY_ROBOT")
def robot(p: Pen) -> None:
    p.line([(50, 8), (50, 2)], 3, c=DARK)
    p.dot(50, 3, 4, c=(220, 50, 40))
    for x in (28, 56):
        p.box(x, 78, x + 16, 100, 2, 0.75)
    for x in (0, 86):
        p.box(x, 42, x + 14, 78, 5, 0.8)
    p.box(22, 8, 78, 36, 5)
    for x in (38, 62):
        p.dot(x, 20, 6, c=(255, 250, 200))
        p.dot(x, 20, 3, c=RIM)
    p.line([(38, 30), (62, 30)], 3, c=RIM)
    p.box(14, 38, 86, 82, 4)
    p.box(30, 48, 70, 68, 2, c=PALE)
    for x in (38, 50, 62):
        p.dot(x, 58, 3.4, c=DARK)


@draws("FAUCET")
def faucet(p: Pen) -> None:
    p.box(14, 92, 56, 100, 2, 0.8)
    p.box(24, 40, 46, 94, 3, 0.92)
    p.arc(24, 10, 94, 100, 180, 315, 18)
    p.poly([(74, 36), (92, 30), (96, 62), (76, 62)], 0.85)
    p.oval(0, 22, 34, 36, 0.75)
    p.blob([(84, 70), (90, 84), (84, 90), (78, 84)], c=(90, 170, 230))


@draws("PET_SUPPLIES")
def bone(p: Pen) -> None:
    p.box(16, 30, 84, 70, 3)
    for x in (0, 78):
        p.oval(x, 0, x + 22, 56)
        p.oval(x, 44, x + 22, 100)
    p.box(12, 31, 88, 69, 3)


@draws("DUMBBELL")
def dumbbell(p: Pen) -> None:
    p.box(20, 40, 80, 60, 2, c=STEEL)
    for x in (8, 76):
        p.box(x, 0, x + 16, 100, 5)
    for x in (0, 90):
        p.box(x, 20, x + 10, 80, 3, 0.78)
