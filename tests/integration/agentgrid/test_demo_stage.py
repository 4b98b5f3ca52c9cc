"""The stage of the demos: our commands, from one process that has loaded them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from agentgrid.demo.stage import DemoFailedError, Stage


def test_every_command_has_output_and_exit_code_of_its_own_and_nothing_is_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Stage(folder=tmp_path / "demo", say=print) as stage:
        stage.empty()
        assert stage.manage("prepare_broker", "--json", capture=True) == '{"problems": []}\n'
        assert capfd.readouterr().out == ""
        stage.manage("prepare_broker")
        printed = capfd.readouterr().out
        assert "$ manage.py prepare_broker" in printed
        assert "The broker is ready." in printed
        with pytest.raises(DemoFailedError, match=r"`manage.py status` ended with 2; logs: .*\n.*manage.py migrate"):
            stage.manage("status", quiet=True)
        assert (tmp_path / "demo/state/broker").is_dir()
        children = psutil.Process().children()
        assert any("agentgrid.demo.commands" in child.cmdline() for child in children)
    assert not [child for child in children if child.is_running() and "agentgrid.demo.commands" in child.cmdline()]
    assert capfd.readouterr().err == ""
