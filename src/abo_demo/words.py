"""Words of the listings: marketplaces, brands, and colors, materials and shapes in five more languages."""

from __future__ import annotations

from dataclasses import dataclass

from abo_demo.vocabulary import COLORS, MATERIALS, SHAPES


@dataclass(frozen=True)
class Market:
    """A marketplace. language: its language tag; english: the tag of an English value there; weight: its share."""

    domain_name: str
    country: str
    language: str
    english: str
    weight: float

    @property
    def speaks_english(self) -> bool:
        """Return whether English is the marketplace's language."""
        return self.language.startswith("en")


ENGLISH_MARKETS: tuple[Market, ...] = (
    Market("amazon.com", "US", "en_US", "en_US", 32),
    Market("amazon.in", "IN", "en_IN", "en_IN", 25),
    Market("amazon.co.uk", "GB", "en_GB", "en_GB", 10),
    Market("amazon.ca", "CA", "en_CA", "en_CA", 5),
    Market("amazon.com.au", "AU", "en_AU", "en_AU", 3),
)
OTHER_MARKETS: tuple[Market, ...] = (
    Market("amazon.de", "DE", "de_DE", "en_GB", 7),
    Market("amazon.fr", "FR", "fr_FR", "en_GB", 5),
    Market("amazon.com.mx", "MX", "es_MX", "en_US", 5),
    Market("amazon.it", "IT", "it_IT", "en_GB", 4),
    Market("amazon.co.jp", "JP", "ja_JP", "en_US", 4),
)

HOUSE_BRAND = "AmazonBasics"
BRANDS: tuple[str, ...] = (
    "Amazon Essentials", "Rivet", "Stone & Beam", "find.", "Solimo", "Pinzon", "Ravenna Home", "AmazonCommercial",
    "Alder & Finch", "Kitesail", "Norrlund",
)  # fmt: skip
MODELS: tuple[str, ...] = (
    "Alva", "Brightwater", "Calder", "Dune", "Elm", "Fjord", "Grove", "Harbor", "Isle", "Juniper", "Kestrel", "Linden",
    "Marlow", "Nova", "Orchard", "Piper", "Quill", "Rowan", "Sable", "Tarn", "Umber", "Vesper", "Willow", "Yarrow",
)  # fmt: skip
STYLES: tuple[str, ...] = ("Modern", "Classic", "Casual", "Traditional", "Contemporary", "Industrial")

_COLORS = {
    "de_DE": "schwarz weiß grau rot blau grün gelb orange braun rosa lila beige türkis",
    "fr_FR": "noir blanc gris rouge bleu vert jaune orange marron rose violet beige turquoise",
    "es_MX": "negro blanco gris rojo azul verde amarillo naranja marrón rosa morado beige turquesa",
    "it_IT": "nero bianco grigio rosso blu verde giallo arancione marrone rosa viola beige turchese",
    "ja_JP": "黒 白 灰色 赤 青 緑 黄色 オレンジ 茶色 ピンク 紫 ベージュ ターコイズ",
}
_MATERIALS = {
    "de_DE": "Holz Metall Kunststoff Glas Stoff Leder Keramik",
    "fr_FR": "Bois Métal Plastique Verre Tissu Cuir Céramique",
    "es_MX": "Madera Metal Plástico Vidrio Tela Cuero Cerámica",
    "it_IT": "Legno Metallo Plastica Vetro Tessuto Pelle Ceramica",
    "ja_JP": "木 金属 プラスチック ガラス 布 革 陶器",
}
_SHAPES = {
    "de_DE": "Rund Quadratisch Rechteckig Oval Dreieckig Zylindrisch Abgewinkelt",
    "fr_FR": "Rond Carré Rectangulaire Ovale Triangulaire Cylindrique Coudé",
    "es_MX": "Redondo Cuadrado Rectangular Ovalado Triangular Cilíndrico Angulado",
    "it_IT": "Rotondo Quadrato Rettangolare Ovale Triangolare Cilindrico Angolato",
    "ja_JP": "丸型 正方形 長方形 楕円形 三角形 円筒形 L字型",
}
_PACKS = {
    "de_DE": "{}er-Packung",
    "fr_FR": "Lot de {}",
    "es_MX": "Paquete de {}",
    "it_IT": "Confezione da {}",
    "ja_JP": "{}個セット",
}
_PROMISES = {
    "de_DE": "Mit Sorgfalt entworfen und geprüft.",
    "fr_FR": "Conçu et contrôlé avec soin.",
    "es_MX": "Diseñado y revisado con cuidado.",
    "it_IT": "Progettato e controllato con cura.",
    "ja_JP": "丁寧に設計し、検査しています。",
}


def _pairs(english: tuple[str, ...], table: dict[str, str]) -> dict[tuple[str, str], str]:
    """Map (English word, language tag) to the translated word; ValueError if a line has too few or too many."""
    return {
        (word, language): translated
        for language, line in table.items()
        for word, translated in zip(english, line.split(), strict=True)
    }


_WORDS = _pairs(tuple(COLORS), _COLORS) | _pairs(MATERIALS, _MATERIALS) | _pairs(SHAPES, _SHAPES)


def translated(word: str, language: str) -> str:
    """Return a color, material or shape in a tag's language; English is capitalized, and en_GB and en_AU write Grey."""
    if not language.startswith("en"):
        return _WORDS[word, language]
    return "Grey" if word == "gray" and language in ("en_GB", "en_AU") else word.capitalize()


def pack(count: int, language: str) -> str:
    """Return a pack of so many pieces in a language other than English."""
    return _PACKS[language].format(count)


def promise(language: str) -> str:
    """Return a sentence in a language other than English that is unrelated to the picture."""
    return _PROMISES[language]
