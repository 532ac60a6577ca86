"""JSON that another writer wrote is the same; one leaf that changed is found at its path."""

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from judging import view

from wiretape.replayer.compare.json_tree import compare_json
from wiretape.replayer.compare.json_value import canonical_json, parse_json
from wiretape.replayer.rules import spell_member

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.decimals(-1000, 1000, places=3).map(float)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4).filter(lambda name: name != "\0"), inner, max_size=4)
    ),
    max_leaves=12,
)


def rewritten(value: Any, chance: random.Random) -> str:
    """The value as another writer writes it: order, white space, escapes, zeros of fractions."""
    space = chance.choice(["", " ", "\n\t"])
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        members = [f"{text_of(n, chance)}:{space}{rewritten(value[n], chance)}" for n in names]
        return f"{{{space}{f',{space}'.join(members)}}}"
    if isinstance(value, list):
        return f"[{space}{f'{space},'.join(rewritten(v, chance) for v in value)}]"
    if isinstance(value, str):
        return text_of(value, chance)
    if isinstance(value, float):
        text = repr(value)
        return text if "e" in text else text + "0" * chance.randrange(3)
    return json.dumps(value)


def text_of(text: str, chance: random.Random) -> str:
    return json.dumps(text, ensure_ascii=chance.random() < 0.5)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=150, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_another_writer(value: Any, chance: random.Random) -> None:
    one = parse_json(json.dumps(value).encode())
    other = parse_json(rewritten(value, chance).encode())
    assert not compare_json(one, other, view())
    assert canonical_json(one) == canonical_json(other)


def leaves(value: Any, path: str = "$") -> list[tuple[str, Any, Any]]:
    """Path, container and key of each leaf inside of `value`."""
    found: list[tuple[str, Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        below = path + (spell_member(key) if isinstance(key, str) else f"[{key}]")
        if isinstance(inner, dict | list) and inner:
            found += leaves(inner, below)
        else:
            found.append((below, value, key))
    return found


def changed(value: Any) -> Any:
    """Another value of no class that is made anew."""
    match value:
        case None:
            return 0
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value + 0.5
        case str():
            return value + "!"
        case _:
            return 0


@settings(max_examples=150, deadline=None)
@given(VALUES.filter(lambda v: isinstance(v, dict | list) and v), st.data())
def test_one_changed_leaf(value: Any, data: st.DataObject) -> None:
    recorded = parse_json(json.dumps(value).encode())
    path, container, key = data.draw(st.sampled_from(leaves(value)))
    container[key] = changed(container[key])
    live = parse_json(json.dumps(value).encode())
    found = compare_json(recorded, live, view())
    # Two elements may by chance have become each other: then it is their array that differs.
    assert [d.place for d in found] == [path] or (
        len(found) == 1 and found[0].remedy and path.startswith(found[0].place)
    )
    assert canonical_json(recorded) != canonical_json(live)
