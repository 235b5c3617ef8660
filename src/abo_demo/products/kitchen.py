"""Drawings of things for kitchen and table."""

from __future__ import annotations

from abo_demo.products.parts import LEAF, RIM, ball, candle, cookie, cup, egg, flower
from abo_demo.products.pen import DARK, STEEL, Pen, draws


@draws("VASE")
def vase(p: Pen) -> None:
    back = p.parts - min(p.parts, 5)
    row = p.parts - back
    heads = [(50 + (i - (back - 1) / 2) * 19, 7.0) for i in range(back)]
    heads += [(50 + (i - (row - 1) / 2) * 19, 24.0 if back else 14.0) for i in range(row)]
    for x, y in heads:
        p.line([(x, y), (50 + 0.2 * (x - 50), 50)], 1.8, c=LEAF)
    p.blob([(34, 44), (66, 44), (66, 54), (84, 74), (68, 97), (50, 99), (32, 97), (16, 74), (34, 54)])
    p.box(30, 42, 70, 48, 2, 0.85)
    p.line([(22, 68), (78, 68)], 2, 0.75)
    for index, (x, y) in enumerate(heads):
        flower(p, x, y, p.fit(7.5, 19, 17), index)


@draws("BOWL")
def bowl(p: Pen) -> None:
    p.box(32, 90, 68, 100, 2, 0.75)
    back = p.parts - min(p.parts, 5)
    row = p.parts - back
    p.blob([(0, 44), (50, 43), (100, 44), (88, 76), (68, 94), (32, 94), (12, 76)])
    p.oval(0, 32, 100, 54, 0.6)
    r = p.fit(9.6, 18, 24)
    for i in range(back):
        ball(p, 50 + (i - (back - 1) / 2) * 18, 13, r, i + 5, stem=True)
    for i in range(row):
        ball(p, 50 + (i - (row - 1) / 2) * 18, 37, r, i, stem=True)
    p.arc(0, 32, 100, 54, 0, 180, 2.5, 1.1)


@draws("SERVING_TRAY")
def tray(p: Pen) -> None:
    p.box(0, 0, 100, 100, 9)
    p.box(7, 9, 93, 91, 6, 0.72)
    for x in (1.5, 95.5):
        p.box(x, 38, x + 3, 62, 2, c=DARK)
    for (x, y), width, height in p.slots(10, 11, 90, 89):
        cup(p, x, y, p.fit(8.5, 0.76 * width, 0.76 * height))


@draws("PLATE")
def plate(p: Pen) -> None:
    p.oval(0, 0, 100, 100)
    p.oval(12, 12, 88, 88, 0.8)
    p.oval(15, 15, 85, 85, 0.98)
    for (x, y), width, height in p.slots(20, 18, 80, 82, per_row=4 if p.parts > 4 else 2):
        cookie(p, x, y, p.fit(7.4, width, height))


@draws("EGG_CARTON")
def egg_carton(p: Pen) -> None:
    p.box(0, 0, 100, 100, 6)
    for index in range(10):
        row, column = divmod(index, 5)
        x, y = 12 + column * 19, 29 + row * 42
        p.oval(x - 8, y - 17, x + 8, y + 17, 0.6)
        if index < p.parts:
            egg(p, x, y, 6.8, 15)


@draws("CANDLEHOLDER")
def candle_holder(p: Pen) -> None:
    p.poly([(40, 66), (60, 66), (56, 88), (44, 88)], 0.85)
    p.box(16, 86, 84, 100, 4, 0.9)
    p.box(0, 56, 100, 72, 4)
    for (x, _), width, _ in p.slots(2, 0, 98, 100, per_row=10):
        candle(p, x, 4, 57, min(4.5, 0.3 * width))


@draws("MUG")
def mug(p: Pen) -> None:
    p.ring(52, 20, 100, 78, 9, 0.85)
    p.box(0, 4, 74, 100, 9)
    p.oval(0, 0, 74, 14, 0.65)


@draws("BOTTLE")
def bottle(p: Pen) -> None:
    p.box(35, 0, 65, 10, 2, c=DARK)
    p.poly([(37, 9), (63, 9), (63, 24), (98, 40), (98, 60), (2, 60), (2, 40), (37, 24)])
    p.box(2, 38, 98, 100, 8)
    p.box(2, 54, 98, 82, 0, c=(244, 242, 234))
    p.line([(18, 63), (82, 63)], 3, c=DARK)
    p.line([(18, 72), (60, 72)], 3, c=STEEL)


@draws("JAR")
def jar(p: Pen) -> None:
    p.box(0, 22, 100, 100, 14)
    p.box(12, 14, 88, 26, 2, 0.8)
    p.box(6, 0, 94, 17, 3, c=STEEL)
    p.line([(6, 9), (94, 9)], 1.5, c=DARK)
    p.line([(14, 34), (86, 34)], 2, 0.7)


@draws("SAUTE_FRY_PAN")
def pan(p: Pen) -> None:
    p.box(50, 43, 100, 57, 6, c=DARK)
    p.dot(95, 50, 3, hole=True)
    p.oval(0, 0, 58, 100)
    p.oval(5, 8, 53, 92, 0.7)
    p.oval(8, 13, 50, 87, 0.9)


@draws("COOKING_POT")
def pot(p: Pen) -> None:
    p.ring(0, 44, 24, 66, 6, 0.8)
    p.ring(76, 44, 100, 66, 6, 0.8)
    p.blob([(10, 36), (90, 36), (90, 70), (76, 96), (24, 96), (10, 70)])
    p.oval(10, 12, 90, 52, 1.08)
    p.box(6, 34, 94, 45, 4, 0.75)
    p.box(42, 2, 58, 16, 5, c=DARK)


@draws("TEAPOT")
def teapot(p: Pen) -> None:
    p.ring(62, 28, 100, 76, 8, 0.85)
    p.poly([(0, 26), (10, 22), (30, 52), (34, 82), (20, 72)], 0.9)
    p.oval(17, 16, 83, 100)
    p.oval(34, 12, 66, 28, 0.8)
    p.dot(50, 8, 7, 0.9)


@draws("CUTTING_BOARD")
def cutting_board(p: Pen) -> None:
    p.box(0, 0, 100, 100, 8)
    p.box(84, 30, 92, 70, 6, hole=True)
    p.box(6, 9, 78, 91, 4, 0.7)
    p.box(9, 13, 75, 87, 3, 1.0)


@draws("TOASTER")
def toaster(p: Pen) -> None:
    for x in (20, 54):
        p.box(x, 0, x + 26, 40, 6, c=(214, 160, 92))
        p.box(x + 4, 6, x + 22, 40, 5, c=(242, 208, 150))
    for x in (12, 76):
        p.box(x, 92, x + 12, 100, c=DARK)
    p.box(0, 26, 100, 95, 14)
    p.box(94, 44, 100, 54, 2, c=DARK)
    p.line([(12, 80), (88, 80)], 2, 0.7)
    p.dot(80, 64, 6, c=DARK)


@draws("CANDLE")
def lit_candle(p: Pen) -> None:
    p.oval(38, 0, 62, 26, c=(232, 110, 30))
    p.oval(44, 9, 56, 25, c=(255, 224, 100))
    p.line([(50, 22), (50, 34)], 2.5, c=RIM)
    p.box(4, 34, 96, 100, 4)
    p.oval(4, 27, 96, 42, 0.75)
    p.line([(50, 22), (50, 35)], 2.5, c=RIM)


@draws("GOBLET")
def goblet(p: Pen) -> None:
    p.poly([(0, 0), (100, 0), (55, 54), (55, 90), (45, 90), (45, 54)])
    p.box(14, 90, 86, 100, 4, 0.85)
    p.poly([(4, 2), (96, 2), (84, 16), (16, 16)], 0.7)


@draws("PITCHER")
def pitcher(p: Pen) -> None:
    p.ring(54, 18, 100, 76, 8, 0.85)
    p.poly([(0, 4), (22, 0), (72, 0), (66, 30), (76, 96), (70, 100), (14, 100), (8, 96), (18, 30)])
    p.poly([(4, 5), (22, 2), (69, 2), (67, 10), (14, 14)], 0.65)


@draws("WASTE_BIN")
def waste_bin(p: Pen) -> None:
    p.poly([(4, 22), (96, 22), (84, 97), (16, 97)])
    p.box(18, 92, 82, 100, 3, 0.75)
    p.blob([(0, 24), (4, 12), (50, 4), (96, 12), (100, 24)], 0.88)
    p.box(36, 0, 64, 9, 4, c=DARK)
    p.box(36, 92, 64, 100, 2, c=DARK)
    for x in (34, 50, 66):
        p.line([(x, 34), (50 + 0.82 * (x - 50), 84)], 3, 0.72)


@draws("FUNNEL")
def funnel(p: Pen) -> None:
    p.poly([(0, 10), (100, 10), (58, 62), (54, 100), (46, 94), (42, 62)])
    p.oval(0, 0, 100, 20, 0.62)
    p.ring(0, 0, 100, 20, 2.5, 1.05)
