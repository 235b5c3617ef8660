"""Colors, materials and shapes as one English word."""

BASIC_COLORS = (
    "beige", "black", "blue", "brown", "gold", "gray", "green", "grey", "orange", "pink", "purple", "red",
    "silver", "turquoise", "white", "yellow",
)  # fmt: skip
COMMON_MATERIALS = ("ceramic", "cotton", "fabric", "glass", "leather", "metal", "plastic", "rubber", "wood")
COMMON_SHAPES = ("cylindrical", "oval", "rectangular", "round", "square", "triangular")


def color_word(text: str | None) -> str | None:
    """Return a color as one word: red for "Red", blue for "dark blue", None for "black/white" and "red rose"."""
    word = single_word(text)
    if word is None and text is not None:
        words = text.lower().split()
        if len(words) == 2 and words[1] in BASIC_COLORS and words[0].isalpha() and words[0] not in BASIC_COLORS:
            word = words[1]
    return "gray" if word == "grey" else word


def single_word(text: str | None) -> str | None:
    """Return a value in lower case if it is one word of 3 to 16 letters."""
    word = (text or "").strip().lower()
    return word if word.isascii() and word.isalpha() and 2 < len(word) <= 16 else None
