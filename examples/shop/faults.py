"""The deliberate faults of the shop: one can be switched on, by name, to see it caught."""

# Name → what is wrong then. Each is asked for by its name at the one place that it breaks.
FAULTS: dict[str, str] = {
    "wrong-total": "the total in the answer to a new order leaves out the tax",
}


class Faults:
    """Which fault is on: the one named, or none."""

    def __init__(self, name: str | None = None) -> None:
        if name is not None and name not in FAULTS:
            raise ValueError(f"no fault is named {name!r}; there are: {', '.join(FAULTS)}")
        self._name = name

    def on(self, name: str) -> bool:
        """True where fault `name` is switched on; KeyError where the table lacks it."""
        FAULTS[name]
        return name == self._name
