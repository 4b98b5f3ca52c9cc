from __future__ import annotations

import pytest

from tracker.fake_github.access import grants


@pytest.mark.parametrize(
    ("held", "access", "expected"),
    [("write", "write", True), ("write", "read", True), ("read", "read", True), ("read", "write", False),
     ("admin", "write", True), (None, "read", False), ("", "read", False)],
)  # fmt: skip
def test_write_includes_read_and_nothing_else_is_granted(held: str | None, access: str, expected: bool) -> None:
    permissions = {} if held is None else {"issues": held}

    assert grants(permissions, "issues", access) is expected
    assert not grants(permissions, "checks", access)


def test_every_app_reads_metadata() -> None:
    assert grants({}, "metadata", "read")
    assert not grants({}, "metadata", "write")
