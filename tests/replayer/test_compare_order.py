"""When elements of an array may come in another order."""

import json
from typing import Any

import pytest
from judging import U1, U2, U3, U4, U5, U6, U7, U8, compared

IDS = sorted([U1, U3, U5, U7])
OTHERS = sorted([U2, U4, U6, U8])


def found(recorded: Any, live: Any, rules: str = "") -> list[tuple[str, str]]:
    pair = (json.dumps(side).encode() for side in (recorded, live))
    return [(d.place, d.remedy) for d in compared(*pair, "application/json", rules)]


def listed(ids: list[str], names: str, **more: list[Any]) -> list[dict[str, Any]]:
    return [
        {"id": i, "name": n, **{key: values[at] for key, values in more.items()}}
        for at, (i, n) in enumerate(zip(ids, names, strict=True))
    ]


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (listed(IDS, "dbca"), listed(OTHERS, "cabd")),
        (listed(IDS[::-1], "dbca"), listed(OTHERS[::-1], "cabd")),
        # In lists as short as this, another order would speak against it.
        (listed(IDS[:3], "bca"), listed(OTHERS[:3], "cab")),
        ([{"order": {"id": i}, "n": n} for i, n in zip(IDS, "dbca", strict=True)],
         [{"order": {"id": i}, "n": n} for i, n in zip(OTHERS, "badc", strict=True)]),
        ({"top": IDS[2], "all": [{"id": i} for i in IDS]},
         {"top": OTHERS[0], "all": [{"id": i} for i in OTHERS]}),
    ],
)  # fmt: skip
def test_both_sides_sorted_by_a_generated_value(recorded: Any, live: Any) -> None:
    assert not found(recorded, live)


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ([1, 2, 3, 4], [1, 2, 4, 3]),
        (["a", "b", "c", "d"], ["d", "c", "b", "a"]),
        # Sorted by the id on one side only.
        (listed(IDS, "dbca"), listed(OTHERS[::-1], "cabd")),
        (listed([IDS[1], IDS[0], *IDS[2:]], "dbca"), listed(OTHERS, "cabd")),
        # The ids are the same, so nothing made their order anew.
        (listed(IDS, "abcd"), listed(IDS[::-1], "dcba")),
        # Two elements are always sorted by something.
        (listed(IDS[:2], "ab"), listed(OTHERS[:2], "ba")),
    ],
)
def test_only_the_order_differs(recorded: Any, live: Any) -> None:
    assert found(recorded, live) == [("$", "unordered")]


def test_an_order_of_creation_that_was_lost() -> None:
    before = [f"2023-11-14T22:13:1{n}Z" for n in range(4)]
    now = [f"2027-01-15T07:59:5{n}Z" for n in range(4)]
    recorded = listed(IDS, "dbca", at=before)
    assert not found(recorded, listed(OTHERS, "dbca", at=now))
    assert found(recorded, listed(OTHERS, "acbd", at=now[::-1])) == [("$", "unordered")]


def test_an_element_that_changed_is_found_where_it_is() -> None:
    recorded, live = listed(IDS, "dbca"), listed(OTHERS, "dbcX")
    assert found(recorded, live) == [("$[3].name", "")]
    assert found([1, 2, 3, 4, 5], [1, 2, 4, 5]) == [("$[2]", "")]
    assert found([1, 2, 4, 5], [1, 2, 3, 4, 5]) == [("$[2]", "")]
    assert found([[1], [2], [3]], [[1], [9], [3]]) == [("$[1][0]", "")]


def test_members_named_by_generated_values_have_no_order() -> None:
    assert not found({IDS[0]: 1, IDS[1]: 2}, {OTHERS[0]: 2, OTHERS[1]: 1})
    assert found({IDS[0]: 1, IDS[1]: 2}, {OTHERS[0]: 1, OTHERS[1]: 3}) == [(f'$["{IDS[1]}"]', "")]


UNORDERED = '[[unordered]]\njson = "$.tags"\n'


def test_a_rule_lets_elements_come_in_any_order() -> None:
    recorded = {"tags": ["a", "b", "b", {"x": 1}]}
    assert not found(recorded, {"tags": [{"x": 1}, "b", "a", "b"]}, UNORDERED)
    assert found(recorded, {"tags": [{"x": 1}, "b", "a", "a"]}, UNORDERED) == [("$.tags[2]", "")]
    assert found(recorded, {"tags": ["b", "a", "b"]}, UNORDERED) == [("$.tags[3]", "")]
    assert found({"tags": []}, {"tags": ["b"]}, UNORDERED) == [("$.tags[0]", "")]


def test_a_large_array_in_disorder_ends() -> None:
    recorded = [{"n": n, "x": [n]} for n in range(2000)]
    assert found(recorded, recorded[::-1])
