"""Contracts of the small vocabulary that every room of the harness shares: sizes of memory and installed versions."""

from __future__ import annotations

import pytest

from harness.installed import CORES, changed, versions
from harness.units import GIB, MIB, bytes_of, gib
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness


@pytest.mark.parametrize(
    "text, size", [("8GiB", 8 * GIB), ("1.5GB", 1_500_000_000), ("8000 MiB", 8000 * MIB), ("2MB", 2_000_000)]
)
def test_bytes_of_reads_a_number_and_a_unit(text, size):
    """Units are binary or decimal, and the number may have a fraction."""
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["much", "8", "8TiB", "-1GiB", "0GiB", ""])
def test_bytes_of_refuses_what_is_not_a_size(text):
    """The error quotes the text and shows the form that is expected."""
    with pytest.raises(ConfigError) as caught:
        bytes_of(text)
    assert caught.value.got == repr(text)
    assert "8GiB" in str(caught.value.expected)


@pytest.mark.parametrize("size, text", [(3 * GIB // 2, "1.5 GiB"), (GIB // 5, "0.2 GiB"), (50 * MIB, "50 MiB")])
def test_gib_chooses_the_unit_by_the_size(size, text):
    """Sizes below a tenth of a GiB are written in MiB."""
    assert gib(size) == text


def test_changed_names_versions_that_differ_but_not_the_cores():
    """A different version, a package that appeared and one that vanished are listed; the number of cores is not."""
    now = versions()
    then = {**now, "python": "2.7", CORES: "4711", "no-such-package": "1.0"}
    del then["numpy"]
    assert changed(then) == [
        "no-such-package was 1.0, is missing",
        f"numpy was missing, is {now['numpy']}",
        f"python was 2.7, is {now['python']}",
    ]
    assert changed(now) == []
