"""What a child says of errors that it did not expect."""

import errno
from pathlib import Path

import pytest

from workers.child import failure

REQUEST = {"kind": "train", "unit_id": "unit_1", "attempt": 2}
FULL = Path("/dev/full")  # every write to it fails as on a full disk


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_a_full_disk_has_a_code_of_its_own() -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        FULL.write_text("x")
    assert failure(raised.value, REQUEST)[0] == "disk_full"
    wrapped = RuntimeError(f"Error while serializing: I/O error: {raised.value.strerror} (os error {errno.ENOSPC})")
    assert failure(wrapped, REQUEST)[0] == "disk_full"


def test_an_unknown_error_tells_users_no_more_than_where_to_look() -> None:
    code, sentence = failure(ValueError("secret path"), REQUEST)
    assert code == "internal_error"
    assert "unit_1" in sentence
    assert "secret" not in sentence
