"""Writing files atomically: under any name, whatever goes wrong, and with nothing left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nnfast.files import writing
from nnfast.files.writing import check_writable, replacing

posix = pytest.mark.skipif(os.name != "posix", reason="locks and links of POSIX")


def write(path, content=b"new"):
    with replacing(path) as file:
        file.write(content)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def longest(folder):
    """The longest possible file name in bytes."""
    return os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255


NAMES = ["a", "n e t.npz", ".hidden", "net.part", "\N{SNOWMAN}" * 85, *("n" * length for length in range(205, 256, 10))]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name[:5]}-{len(name)}")
def test_any_name_that_a_file_can_have_can_be_written(name, tmp_path):
    if len(os.fsencode(name)) > longest(tmp_path):
        pytest.skip("no file can have such a name here")
    for content in (b"first", b"second"):
        check_writable(tmp_path / name)
        write(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content
        assert names(tmp_path) == [name]


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX")
def test_names_that_are_no_text_can_be_written(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe" + b"\xe9" * 30)
    try:
        open(path, "xb").close()
    except OSError:
        pytest.skip("no file can have such a name here")
    check_writable(path)
    write(path)
    assert os.listdir(tmp_path) == [os.path.basename(path)]


def test_a_name_that_is_too_long_is_found_out_before(tmp_path):
    with pytest.raises(OSError):
        check_writable(tmp_path / ("n" * (longest(tmp_path) + 1)))
    assert names(tmp_path) == []


@pytest.mark.parametrize("check", [write, check_writable])
def test_places_where_no_file_can_be(check, tmp_path):
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / "no" / "net.npz", f"there is no folder {tmp_path / 'no'}"),
        (tmp_path / "file" / "net.npz", f"there is no folder {tmp_path / 'file'}"),
        (tmp_path, "it is a folder or device, not a file"),
        (f"{tmp_path}/new/", "it is a folder or device, not a file"),
        (f"{tmp_path}/file/", "it is a folder or device, not a file"),
        ("a\0b", "the name contains a null character"),
    ):
        with pytest.raises(OSError, match=message):
            check(path)
    assert names(tmp_path) == ["file"]


@posix
@pytest.mark.parametrize("check", [write, check_writable])
def test_links_that_lead_nowhere(check, tmp_path):
    """A link may be anywhere, and its target may be missing."""
    (tmp_path / "missing.npz").symlink_to(tmp_path / "gone" / "net.npz")
    (tmp_path / "loop.npz").symlink_to(tmp_path / "loop.npz")
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'gone'}"):
        check(tmp_path / "missing.npz")
    with pytest.raises(OSError, match="a link that leads back to itself"):
        check(tmp_path / "loop.npz")
    assert names(tmp_path) == ["loop.npz", "missing.npz"]


@posix
def test_a_link_to_no_file_yet_is_filled(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(Path("folder") / "net.npz")
    check_writable(tmp_path / "link")
    assert names(tmp_path / "folder") == []
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "net.npz").read_bytes() == b"new"


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to this user")
def test_what_is_closed_is_found_out_before(tmp_path):
    (tmp_path / "folder").mkdir(0o500)
    (tmp_path / "file").touch(0o400)
    for path in (tmp_path / "folder" / "net.npz", tmp_path / "file"):
        with pytest.raises(PermissionError):
            check_writable(path)


def test_a_check_leaves_all_as_it_was(tmp_path):
    (tmp_path / "older").write_bytes(b"older")
    before = (tmp_path / "older").stat()
    check_writable(tmp_path / "older")
    check_writable(tmp_path / "new")
    assert names(tmp_path) == ["older"]
    assert (tmp_path / "older").read_bytes() == b"older"
    assert (tmp_path / "older").stat().st_mtime == before.st_mtime


@posix
def test_a_check_removes_no_file_that_came_in_the_meantime(tmp_path, monkeypatch):
    path, fstat = tmp_path / "net.npz", os.fstat

    def other_is_quicker(file):
        made = fstat(file)
        if path.exists():
            monkeypatch.undo()
            write(path, b"another's")
        return made

    monkeypatch.setattr(os, "fstat", other_is_quicker)
    check_writable(path)
    assert path.read_bytes() == b"another's"


@posix
def test_an_older_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "net.npz"
    write(path)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_error_in_the_block_leaves_the_older_file(error, tmp_path):
    write(tmp_path / "net.npz", b"older")
    with pytest.raises(type(error)), replacing(tmp_path / "net.npz") as file:
        file.write(b"half")
        raise error
    assert names(tmp_path) == ["net.npz"]
    assert (tmp_path / "net.npz").read_bytes() == b"older"


# ---- leftovers of killed processes


WRITER = """
import sys
from nnfast.files.writing import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def start_writer(path):
    """Start a process that writes half of a file and waits."""
    command = [sys.executable, "-P", "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"writing"
    return process


@posix
def test_the_rest_of_a_killed_process_is_removed_by_the_next_and_that_of_a_live_one_is_not(tmp_path):
    path = tmp_path / "net.npz"
    with start_writer(path) as killed, start_writer(path) as alive, start_writer(tmp_path / "other.npz") as other:
        (left,) = (name for name in names(tmp_path) if name.startswith("other"))
        for process in (killed, other):
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(names(tmp_path)) == 3
        write(path)
        mine = [name for name in names(tmp_path) if name not in ("net.npz", left)]
        assert len(mine) == 1, "that of the live one"
        assert left in names(tmp_path), "that of another target, which its own next save removes"
        alive.communicate()
        assert alive.returncode == 0
    assert names(tmp_path) == ["net.npz", left]
    assert path.read_bytes() == b"half"
    write(tmp_path / "other.npz")
    assert names(tmp_path) == ["net.npz", "other.npz"]


@posix
def test_what_a_thread_is_writing_stays(tmp_path):
    path, writing, go_on = tmp_path / "net.npz", threading.Event(), threading.Event()

    def slow():
        with replacing(path) as file:
            file.write(b"slow")
            writing.set()
            go_on.wait(20)

    thread = threading.Thread(target=slow)
    thread.start()
    writing.wait(20)
    write(path, b"quick")
    assert len(names(tmp_path)) == 2
    go_on.set()
    thread.join()
    assert names(tmp_path) == ["net.npz"]
    assert path.read_bytes() == b"slow"


def leave(path, age=0.0):
    """Create what a killed process leaves behind, and files that only look like it."""
    start = writing._start_of_name(os.path.realpath(path))
    left = f"{start}01234567.part"
    Path(left).touch()
    Path(f"{start}01234567.more").touch()
    os.mkdir(f"{start}76543210.part")
    os.utime(left, (time.time() - age,) * 2)
    return os.path.basename(left)


@posix
def test_what_is_no_rest_of_ours_stays(tmp_path):
    left = leave(tmp_path / "net.npz")
    os.mkfifo(f"{writing._start_of_name(os.path.realpath(tmp_path / 'net.npz'))}abcdef01.part")
    before = names(tmp_path)
    write(tmp_path / "net.npz")
    assert names(tmp_path) == sorted({*before, "net.npz"} - {left})


@posix
def test_without_locks_nothing_is_removed_that_may_be_anothers(tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(95, "Operation not supported")

    left = leave(tmp_path / "net.npz")
    monkeypatch.setattr(writing.fcntl, "flock", no_locks)
    write(tmp_path / "net.npz")
    assert left in names(tmp_path)
    assert (tmp_path / "net.npz").read_bytes() == b"new"


@pytest.mark.parametrize(("age", "stays"), [(0, True), (2 * writing.FORGOTTEN, False)])
def test_on_windows_old_ones_are_removed(age, stays, tmp_path, monkeypatch):
    left = leave(tmp_path / "net.npz", age)
    monkeypatch.setattr(sys, "platform", "win32")
    write(tmp_path / "net.npz")
    assert (left in names(tmp_path)) == stays
    assert (tmp_path / "net.npz").read_bytes() == b"new"


@posix
def test_a_temporary_file_that_was_taken_for_a_rest_is_made_anew(tmp_path, monkeypatch):
    """Between its creation and its lock another process may have removed it."""
    flock, seen = writing.fcntl.flock, []

    def removed_before(file, operation):
        seen.append(names(tmp_path))
        if len(seen) == 1:
            os.remove(tmp_path / seen[0][0])
        flock(file, operation)

    monkeypatch.setattr(writing.fcntl, "flock", removed_before)
    write(tmp_path / "net.npz")
    assert names(tmp_path) == ["net.npz"]
    assert len(seen) == 2
