"""What the shop sells."""

from dataclasses import asdict, dataclass

CURRENCY = "EUR"


@dataclass(frozen=True)
class Product:
    """One product; the price is net, in cents."""

    sku: str
    name: str
    price_cents: int
    tax_percent: int

    def as_json(self) -> dict[str, object]:
        """What a client sees of it."""
        return {**asdict(self), "currency": CURRENCY}


PRODUCTS: dict[str, Product] = {
    product.sku: product
    for product in (
        Product("MUG-BLUE", "Blue mug", 1250, 19),
        Product("COF-500", "Café crème, 500 g", 990, 7),
        Product("BOOK-HTTP", "Hypertext in small bites", 2490, 7),
        Product("LAMP-01", "Desk lamp", 8900, 19),
        Product("CHAIR-9", "Office chair", 24900, 19),
        Product("CARD-25", "Gift card", 2500, 0),
    )
}


def search(words: str) -> list[Product]:
    """The products whose name holds `words`, whatever the case; all for an empty string."""
    return [p for p in PRODUCTS.values() if words.casefold() in p.name.casefold()]
