from __future__ import annotations

from xenia.xenstore.path import ROOT, Path
from xenia.xenstore.permissions import Permissions
from xenia.xenstore.tree import NO_CHILDREN, Node, Tree, chain, count_owners

OWNER_0 = Permissions(0)
OWNER_1 = Permissions(1)


def path(text: str) -> Path:
    return Path.parse(text.encode())


def leaf(value: bytes, permissions: Permissions = OWNER_0) -> Node:
    return Node(value, permissions, NO_CHILDREN, 1)


def tree() -> Tree:
    """/a/x and /b/y, where /b is domain 1's."""
    root = Node(
        b"",
        OWNER_0,
        {
            "a": Node(b"", OWNER_0, {"x": leaf(b"1")}, 1),
            "b": Node(b"", OWNER_1, {"y": leaf(b"2", OWNER_1)}, 1),
        },
        1,
    )
    return Tree.rooted(root)


def test_a_change_leaves_the_old_tree_and_shares_the_rest() -> None:
    old = tree()
    new = old.with_content(path("/a/x"), b"other", OWNER_0, 2)
    before, after = old.find(path("/a/x")), new.find(path("/a/x"))
    assert before is not None and before.value == b"1"
    assert after is not None and after.value == b"other"
    assert new.find(path("/b")) is old.find(path("/b"))
    assert new.find(path("/a")) is not old.find(path("/a"))


def test_the_generation_of_a_node_moves_with_its_own_value_and_names_only() -> None:
    old = tree()
    changed = old.with_content(path("/a/x"), b"other", OWNER_0, 2)
    grown = old.with_subtree(path("/a/z"), leaf(b""), 3)
    for new, expected in ((changed, 1), (grown, 3)):
        node = new.find(path("/a"))
        assert node is not None and node.generation == expected


def test_a_subtree_comes_and_goes_with_its_count() -> None:
    old = tree()
    assert dict(old.owned) == {0: 3, 1: 2}
    gone = old.with_subtree(path("/b"), None, 2)
    assert dict(gone.owned) == {0: 3}
    assert gone.find(path("/b/y")) is None
    back = gone.with_subtree(path("/b"), old.find(path("/b")), 3)
    assert dict(back.owned) == {0: 3, 1: 2}


def test_giving_a_node_away_moves_its_count() -> None:
    assert dict(tree().with_content(path("/a"), b"", OWNER_1, 2).owned) == {0: 2, 1: 3}


def test_removing_what_is_not_there_changes_nothing() -> None:
    old = tree()
    assert old.with_subtree(path("/c"), None, 2) is old


def test_the_nearest_node_is_found_on_the_way() -> None:
    where, node = tree().nearest(path("/b/y/z/w"))
    assert (where, node.value) == (path("/b/y"), b"2")
    assert tree().nearest(ROOT)[0] == ROOT


def test_a_domain_that_is_gone_leaves_no_trace() -> None:
    old = tree().with_content(path("/a/x"), b"1", Permissions.parse([b"n0", b"r1"]), 2)
    new, removed = old.without_domain(1, 3)
    assert removed == [path("/b")]
    kept = new.find(path("/a/x"))
    assert kept is not None and kept.permissions == OWNER_0
    assert new.owned == count_owners(new.root)


def test_the_deepest_path_there_can_be_is_no_trouble() -> None:
    deep = Path(tuple("a" * 1536))
    new = tree().with_subtree(path("/c"), chain(deep.names, b"bottom", OWNER_1, 2), 2)
    bottom = new.find(Path(("c", *deep.names[1:])))
    assert bottom is not None and bottom.value == b"bottom"
    assert new.owned[1] == 2 + 1536
    assert new.without_domain(1, 3)[0].owned == {0: 3}
