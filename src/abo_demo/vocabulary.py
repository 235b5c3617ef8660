"""Colors, materials, shapes and product types of the demo catalog.

Every word is a single lower-case English word, and so can be an answer unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

COLORS: dict[str, tuple[int, int, int]] = {
    "black": (30, 30, 33),
    "white": (246, 246, 244),
    "gray": (136, 138, 141),
    "red": (206, 30, 36),
    "blue": (32, 82, 206),
    "green": (36, 142, 56),
    "yellow": (247, 214, 32),
    "orange": (243, 124, 22),
    "brown": (112, 67, 36),
    "pink": (247, 142, 184),
    "purple": (124, 46, 166),
    "beige": (222, 198, 156),
    "turquoise": (44, 196, 198),
}

MATERIALS: tuple[str, ...] = ("wood", "metal", "plastic", "glass", "fabric", "leather", "ceramic")

SHAPES: tuple[str, ...] = (
    "round", "square", "rectangular", "oval", "triangular", "cylindrical", "angled",
)  # fmt: skip

_LETTERS = {"w": "wood", "m": "metal", "p": "plastic", "g": "glass", "f": "fabric", "l": "leather", "c": "ceramic"}


@dataclass(frozen=True)
class ProductType:
    """One kind of product that the demo can draw.

    name: ABO's product_type value. noun, plural: common English names. shape: one of SHAPES, the silhouette when
    not stretched. aspect: width over height when not stretched. materials: plausible ones. part: plural noun of the
    countable contents, None without any. weight: relative frequency in the catalog.
    """

    name: str
    noun: str
    plural: str
    shape: str
    aspect: float
    materials: tuple[str, ...]
    part: str | None
    weight: float


def _types(table: str) -> tuple[ProductType, ...]:
    """Parse the table below, one product type per line; ValueError unless a line has eight fields."""
    found = []
    for line in table.strip().splitlines():
        name, noun, plural, shape, aspect, letters, part, weight = line.split()
        materials = tuple(_LETTERS[letter] for letter in letters)
        part_or_none = None if part == "-" else part
        found.append(ProductType(name, noun, plural, shape, float(aspect), materials, part_or_none, float(weight)))
    return tuple(found)


PRODUCT_TYPES: tuple[ProductType, ...] = _types("""
CELLULAR_PHONE_CASE   case         cases         rectangular 0.52 plwgf -        17
SHOES                 shoe         shoes         angled      1.70 lfp   -         7
VASE                  vase         vases         oval        0.62 gcmp  flowers   4
SHELF                 shelf        shelves       rectangular 1.10 wmg   books     3.6
BOWL                  bowl         bowls         oval        1.35 cwgmp fruits    3
SERVING_TRAY          tray         trays         rectangular 1.50 wmpc  cups      3
HANDBAG               handbag      handbags      square      1.00 lfp   -         2.6
CHAIR                 chair        chairs        angled      0.62 wmplf -         2.6
RUG                   rug          rugs          rectangular 1.45 flp   -         2.2
DRESSER               dresser      dressers      rectangular 1.25 wmp   knobs     2.2
COAT_RACK             rack         racks         rectangular 2.10 wmp   hooks     2
HOME                  frame        frames        square      1.00 wmpc  -         2
PILLOW                pillow       pillows       square      1.05 flp   -         1.8
LAMP                  lamp         lamps         triangular  0.70 wmcgf -         1.8
PLATE                 plate        plates        round       1.00 cpgwm cookies   1.8
DESK_ORGANIZER        organizer    organizers    cylindrical 0.70 wmplf pencils   1.8
BOOT                  boot         boots         angled      0.95 lfp   -         1.6
MUG                   mug          mugs          cylindrical 1.10 cgmpw -         1.6
SANDAL                sandal       sandals       oval        0.45 lfp   -         1.4
TV_REMOTE             remote       remotes       rectangular 0.42 pmw   buttons   1.4
NECKLACE              necklace     necklaces     oval        0.85 mpwgc beads     1.4
EGG_CARTON            carton       cartons       rectangular 1.90 pwfc  eggs      1.4
TABLE                 table        tables        rectangular 1.60 wmpg  -         1.4
SOFA                  sofa         sofas         rectangular 1.90 flp   -         1.3
BACKPACK              backpack     backpacks     rectangular 0.72 flp   -         1.2
SUITCASE              suitcase     suitcases     rectangular 0.66 pmfl  -         1.2
HAT                   hat          hats          oval        1.80 flp   -         1.1
STORAGE_BASKET        basket       baskets       oval        1.30 wfpm  balls     1.1
CANDLEHOLDER          candleholder candleholders rectangular 1.50 wmgc  candles   1.1
POWER_STRIP           strip        strips        rectangular 3.20 pmw   sockets   1.1
STORAGE_BOX           box          boxes         square      1.05 wpfm  -         1
BOTTLE                bottle       bottles       cylindrical 0.34 gpmc  -         1
LIGHT_BULB            bulb         bulbs         round       0.68 gpc   -         0.9
CLOCK                 clock        clocks        round       1.00 wmpc  -         0.9
WALLET                wallet       wallets       rectangular 1.30 lfp   -         0.8
HEADPHONES            headphone    headphones    round       0.95 pml   -         0.8
RING                  ring         rings         round       0.80 mcgwp -         0.8
CABINET               cabinet      cabinets      rectangular 0.66 wmp   -         0.7
STOOL                 stool        stools        square      0.90 wmpl  -         0.7
PLANTER               planter      planters      square      0.78 cpwm  -         0.7
JAR                   jar          jars          cylindrical 0.72 gcpm  -         0.7
SAUTE_FRY_PAN         pan          pans          round       1.75 mcg   -         0.6
TEAPOT                teapot       teapots       round       1.40 cgm   -         0.6
WATCH                 watch        watches       round       0.45 mlpf  -         0.6
TOWEL                 towel        towels        rectangular 0.70 flp   -         0.6
BENCH                 bench        benches       rectangular 2.10 wmpl  -         0.5
COOKING_POT           pot          pots          oval        1.35 mcg   -         0.5
SPEAKERS              speaker      speakers      rectangular 0.60 pwmf  -         0.5
CAMERA                camera       cameras       rectangular 1.35 pml   -         0.5
SHIRT                 shirt        shirts        square      1.10 flp   -         0.5
HOME_BED_AND_BATH     curtain      curtains      rectangular 0.80 fpl   -         0.5
UMBRELLA              umbrella     umbrellas     triangular  1.10 fpl   -         0.5
CLOTHES_HANGER        hanger       hangers       triangular  1.60 wmp   -         0.5
SPORTING_GOODS        ball         balls         round       1.00 lpf   -         0.5
OFFICE_PRODUCTS       notebook     notebooks     rectangular 0.76 lpfw  -         0.5
LOCK                  lock         locks         square      0.72 mpl   -         0.4
BATTERY               battery      batteries     cylindrical 0.40 mpc   -         0.4
COMPUTER_ADD_ON       mouse        mice          oval        0.62 pmwl  -         0.4
KEYBOARDS             keyboard     keyboards     rectangular 2.60 pmw   -         0.4
MONITOR               monitor      monitors      rectangular 1.30 pmw   -         0.4
EYEGLASSES            eyeglass     eyeglasses    oval        2.40 pmw   -         0.4
BED                   bed          beds          rectangular 1.50 wmfl  -         0.4
DESK                  desk         desks         rectangular 1.50 wmg   -         0.35
OTTOMAN               ottoman      ottomans      oval        1.25 flp   -         0.35
HOME_MIRROR           mirror       mirrors       oval        0.62 wmpc  -         0.35
LADDER                ladder       ladders       triangular  0.70 wmp   -         0.3
TENT                  tent         tents         triangular  1.50 fpl   -         0.3
DRESS                 dress        dresses       triangular  0.72 flp   -         0.3
PANTS                 jeans        jeans         rectangular 0.60 flp   -         0.3
SOCKS                 sock         socks         angled      0.80 flp   -         0.3
TOOLS                 hammer       hammers       angled      0.62 wmp   -         0.3
CUTTING_BOARD         board        boards        rectangular 1.40 wpgm  -         0.3
TOASTER               toaster      toasters      rectangular 1.40 mpc   -         0.3
CANDLE                candle       candles       cylindrical 0.60 cpg   -         0.3
GOBLET                goblet       goblets       triangular  0.66 gmcp  -         0.3
PITCHER               pitcher      pitchers      cylindrical 0.85 gcmp  -         0.3
WASTE_BIN             bin          bins          cylindrical 0.66 mpwf  -         0.3
FUNNEL                funnel       funnels       triangular  0.85 mpgc  -         0.3
BELT                  belt         belts         round       1.00 lfpm  -         0.3
STORAGE_HOOK          hook         hooks         angled      0.60 mpwc  -         0.3
HARDWARE_HANDLE       handle       handles       rectangular 2.40 mwpc  -         0.3
FLASHLIGHT            flashlight   flashlights   cylindrical 2.40 mpl   -         0.25
GAME_CONTROLLER       controller   controllers   oval        1.45 pml   -         0.25
FAN                   fan          fans          round       0.72 mpw   -         0.25
COUNTERTOP_MICROWAVE  microwave    microwaves    rectangular 1.60 mpc   -         0.25
GUITAR                guitar       guitars       oval        0.42 wpm   -         0.25
TOY_CAR               car          cars          rectangular 1.90 wmp   -         0.25
TOY_ROBOT             robot        robots        rectangular 0.68 wmp   -         0.25
FAUCET                faucet       faucets       angled      0.95 mpc   -         0.25
PET_SUPPLIES          bone         bones         oval        2.10 pfl   -         0.25
DUMBBELL              dumbbell     dumbbells     rectangular 2.00 mpc   -         0.25
CHARGING_ADAPTER      charger      chargers      square      0.80 pmc   -         0.25
PENNANT               pennant      pennants      triangular  1.50 fpl   -         0.25
""")

TYPE_BY_NAME: dict[str, ProductType] = {product.name: product for product in PRODUCT_TYPES}
