from __future__ import annotations

from tracker.fake_github.faults import Fault, take


def test_the_first_fault_that_fits_is_used_up() -> None:
    faults = [Fault(kind="502", method="POST", path="/labels$"), Fault(kind="429", times=2)]

    fired = [take(faults, method="POST", path="/repos/a/b/issues/1/labels") for _ in range(4)]

    assert [fault and fault.kind for fault in fired] == ["502", "429", "429", None]


def test_method_and_path_must_both_fit() -> None:
    fault = Fault(kind="502", method="POST", path="/comments$")

    assert not fault.fits("GET", "/repos/a/b/issues/1/comments")
    assert not fault.fits("POST", "/repos/a/b/issues/1")
    assert fault.fits("POST", "/repos/a/b/issues/1/comments")


def test_only_reads_are_stale() -> None:
    fault = Fault(kind="stale")

    assert take([fault], method="PATCH", path="/x") is None
    assert take([fault], method="GET", path="/x") is fault
