"""Drawings of clothes, shoes, bags and jewelry."""

from __future__ import annotations

import math

from abo_demo.products.parts import ball
from abo_demo.products.pen import DARK, PALE, STEEL, Pen, draws

GOLD = (222, 178, 64)


@draws("SHOES")
def shoe(p: Pen) -> None:
    p.blob([(2, 78), (3, 40), (4, 6), (14, 2), (26, 16), (36, 6), (44, 10), (62, 44), (88, 54), (99, 70), (96, 84),
            (50, 86)])  # fmt: skip
    p.poly([(36, 8), (44, 10), (64, 46), (52, 56)], 0.7)
    for x, y in ((40, 17), (46, 28), (52, 39), (58, 49)):
        p.line([(x - 4, y + 6), (x + 7, y - 3)], 2.6, c=(252, 252, 252))
    p.line([(8, 48), (30, 74)], 4, 0.65)
    p.line([(18, 44), (40, 74)], 4, 0.65)
    p.box(0, 80, 100, 100, 7, c=PALE)
    p.line([(2, 90), (98, 90)], 1.6, c=DARK)


@draws("BOOT")
def boot(p: Pen) -> None:
    p.poly([(8, 2), (56, 2), (58, 48), (6, 86)])
    p.blob([(6, 88), (8, 46), (52, 42), (62, 54), (88, 62), (99, 76), (98, 90)])
    p.box(4, 0, 60, 14, 4, 0.75)
    for y in (24, 35, 46):
        p.line([(36, y), (58, y + 2)], 3, c=PALE)
    p.box(2, 87, 100, 96, 3, c=DARK)
    p.box(2, 90, 34, 100, 1, c=DARK)


@draws("SANDAL")
def sandal(p: Pen) -> None:
    p.blob([(30, 2), (70, 2), (98, 22), (92, 48), (78, 66), (84, 88), (60, 99), (34, 98), (18, 84), (20, 64), (6, 44),
            (4, 20)], 0.75)  # fmt: skip
    p.blob([(34, 5), (68, 5), (90, 23), (84, 47), (71, 66), (76, 86), (58, 95), (38, 94), (26, 82), (28, 64), (14, 43),
            (12, 22)], 1.05)  # fmt: skip
    p.line([(8, 54), (46, 20), (88, 54)], 8, c=DARK)
    p.dot(46, 20, 6, c=DARK)


@draws("HAT")
def hat(p: Pen) -> None:
    p.oval(0, 58, 100, 100, 0.82)
    p.blob([(22, 80), (26, 30), (38, 4), (50, 8), (62, 4), (74, 30), (78, 80), (50, 90)])
    p.poly([(24, 60), (76, 60), (78, 76), (50, 82), (22, 76)], c=DARK)


@draws("HANDBAG")
def handbag(p: Pen) -> None:
    p.ring(26, 0, 74, 72, 6, 0.75)
    p.poly([(8, 36), (92, 36), (100, 100), (0, 100)])
    p.poly([(8, 36), (92, 36), (84, 62), (50, 70), (16, 62)], 0.82)
    p.box(44, 60, 56, 74, 2, c=GOLD)


@draws("BACKPACK")
def backpack(p: Pen) -> None:
    p.ring(38, 0, 62, 18, 5, 0.7)
    for x in (0, 88):
        p.box(x, 50, x + 12, 90, 5, 0.75)
    p.box(6, 7, 94, 100, 22)
    p.line([(14, 42), (86, 42)], 3, 0.6)
    p.box(18, 54, 82, 92, 8, 0.8)
    p.line([(22, 63), (78, 63)], 3, c=STEEL)
    p.box(44, 22, 56, 30, 1, c=DARK)


@draws("SUITCASE")
def suitcase(p: Pen) -> None:
    for x in (32, 62):
        p.box(x, 0, x + 6, 24, c=STEEL)
    p.box(30, 0, 70, 6, 3, c=DARK)
    for x in (12, 74):
        p.box(x, 92, x + 14, 100, 4, c=DARK)
    p.box(0, 20, 100, 96, 9)
    for x in (16, 36, 57, 78):
        p.box(x, 28, x + 6, 88, 2, 0.72)


@draws("WALLET")
def wallet(p: Pen) -> None:
    p.box(10, 0, 84, 30, 2, c=(120, 176, 120))
    p.box(0, 10, 100, 100, 9)
    p.line([(2, 28), (98, 28)], 2.2, 0.65)
    p.box(66, 44, 100, 68, 6, 0.75)
    p.dot(76, 56, 4.5, c=GOLD)


@draws("SHIRT")
def shirt(p: Pen) -> None:
    p.poly([(30, 2), (70, 2), (100, 26), (86, 46), (76, 38), (76, 100), (24, 100), (24, 38), (14, 46), (0, 26)])
    p.oval(36, -8, 64, 14, 0.55)
    p.line([(24, 38), (27, 24)], 2, 0.65)
    p.line([(76, 38), (73, 24)], 2, 0.65)
    p.box(56, 34, 70, 50, 0, 0.75)


@draws("PANTS")
def jeans(p: Pen) -> None:
    p.poly([(10, 0), (90, 0), (100, 100), (62, 100), (50, 34), (38, 100), (0, 100)])
    p.box(10, 0, 90, 8, 1, 0.7)
    p.line([(50, 8), (50, 32)], 2.4, 0.6)
    p.line([(14, 20), (32, 9)], 2.4, 0.6)
    p.line([(86, 20), (68, 9)], 2.4, 0.6)
    p.dot(50, 4, 3, c=GOLD)


@draws("DRESS")
def dress(p: Pen) -> None:
    p.poly([(30, 0), (38, 0), (44, 12), (56, 12), (62, 0), (70, 0), (74, 18), (64, 40), (100, 100), (0, 100), (36, 40),
            (26, 18)])  # fmt: skip
    p.poly([(36, 38), (64, 38), (67, 46), (33, 46)], 0.62)
    for x in (28, 50, 72):
        p.line([(50 + 0.3 * (x - 50), 50), (x, 98)], 2, 0.75)


@draws("SOCKS")
def sock(p: Pen) -> None:
    p.blob(
        [(18, 1), (62, 1), (62, 30), (64, 56), (96, 72), (100, 90), (84, 99), (50, 94), (22, 76), (14, 56), (18, 24)]
    )
    p.box(14, 0, 66, 15, 3, 0.75)
    p.blob([(82, 68), (97, 74), (100, 90), (84, 99), (76, 90)], 0.75)
    p.blob([(15, 58), (30, 62), (34, 78), (22, 75)], 0.75)


@draws("WATCH")
def watch(p: Pen) -> None:
    p.box(28, 0, 72, 100, 5, 0.82)
    for y in (6, 13, 86, 93):
        p.dot(50, y, 2.5, c=DARK)
    p.box(90, 45, 100, 55, 1, c=STEEL)
    p.oval(2, 27, 98, 73)
    p.oval(14, 33, 86, 67, c=(250, 250, 246))
    p.line([(50, 50), (50, 38)], 3.4, c=DARK)
    p.line([(50, 50), (70, 53)], 3.4, c=DARK)


@draws("RING")
def ring(p: Pen) -> None:
    p.oval(0, 24, 100, 100)
    p.oval(17, 38, 83, 87, hole=True)
    p.poly([(28, 8), (40, 0), (60, 0), (72, 8), (50, 34)], c=(206, 232, 246))
    p.line([(28, 8), (72, 8)], 1.5, c=(90, 130, 160))
    p.line([(42, 8), (50, 32), (58, 8)], 1.5, c=(90, 130, 160))


@draws("NECKLACE")
def necklace(p: Pen) -> None:
    p.ring(6, 2, 94, 88, 6.5)
    p.poly([(40, 84), (60, 84), (66, 92), (50, 100), (34, 92)], 0.85)
    for index in range(p.parts):
        # The beads lie on the lower arc, left to right, and leave the pendant free.
        share = (index + 0.5) / p.parts
        angle = math.radians(208 - 236 * share)
        ball(p, 50 + 41 * math.cos(angle), 45 + 40 * math.sin(angle), p.fit(6.0, 17, 17), index)


@draws("BELT")
def belt(p: Pen) -> None:
    p.oval(0, 0, 100, 100, 0.9)
    p.oval(16, 16, 84, 84, hole=True)
    p.ring(18, 18, 82, 82, 11, 0.72)
    p.box(36, 74, 66, 100, 3, c=STEEL)
    p.box(42, 80, 60, 94, 1, 1.0)
    p.line([(42, 87), (58, 87)], 2.5, c=DARK)


@draws("EYEGLASSES")
def eyeglass(p: Pen) -> None:
    p.line([(38, 42), (50, 30), (62, 42)], 7, 0.9)
    for x in (0, 56):
        p.oval(x, 0, x + 44, 100)
        p.oval(x + 6, 14, x + 38, 86, c=(192, 214, 226))
        p.line([(x + 14, 62), (x + 27, 30)], 4, c=(240, 248, 252))
