"""Every architecture for text classification in the installed transformers is right, or refused in one true line."""

import pytest

from architectures import examine, names, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
#: What cannot be used, and why; anything else that is refused is a defect.
REFUSED = {"layoutlmv2": "not made here: .*detectron2", "mra": "the same answer"}


@pytest.mark.parametrize("name", names())
def test_an_architecture(name):
    import re

    found = examine(name)
    if found.refused:
        assert re.search(REFUSED.get(name, "nothing"), found.refused)
        assert "\n" not in found.row()
        return
    assert found.worst < 1e-3
    assert "full" in found.tunings
    assert found.name in table([found])
