"""Files that are whole or absent: atomic writes, checksums, JSON."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import pathlib
import re
import sys
import tempfile
import types

from egokeras.errors import InputError

UNFINISHED = ".unfinished"
LAYERS = "layers.json"  # in a folder of the layers of a model as files of their own: which they are
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}", re.DOTALL)  # as `tempfile` names them
_locks: list = []  # files whose locks this process holds


@contextlib.contextmanager
def atomic(path, mode="wb"):
    """Open a temporary file beside `path` for writing; it replaces `path` when the block ends well, else it is removed."""
    path = pathlib.Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        error.filename = str(path)  # what was asked for, not the name that we gave it for now
        raise
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        pathlib.Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = str(path)
        raise


@contextlib.contextmanager
def full_disk_said(path, advice):
    """Turn "no space left" inside the block into one sentence.

    Args:
        path: of what could not be written.
        advice: what to do once there is space again.

    Raises:
        InputError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{path}: {error.strerror}; free some space and {advice}.") from None


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path, value):
    """Write `value` as indented JSON with a final newline, atomically."""
    with atomic(path, "w") as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path):
    """Parse a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number of thousands of digits, or nested without end
        raise InputError(f"{path} is not valid JSON ({error}); restore it or make it again.") from None


def run_file(path):
    """The module in a Python file that the user named; nothing is left beside it, as an import would."""
    module = types.ModuleType(f"_file_{path.stem}", "")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)
    return module


def sha256(path):
    """SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def seal(record):
    """Checksum of a record of JSON without its own `seal`, so that what was altered in a file can be told."""
    rest = {key: value for key, value in record.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def fresh_folder(path):
    """Create and return `path`, or `path-2`, `path-3` ... if it exists: results are never overwritten."""
    return next(candidate for candidate in _numbered(path) if _made(candidate))


def claim_folder(path, free=lambda folder: True):
    """Like `fresh_folder`, but go on in a folder whose owner ended before `finish_folder`: what it prepared is still good.

    While the owner lives it holds a lock, so that two runs of one name never share a folder.

    Args:
        path: as for `fresh_folder`.
        free: whether a folder that is there may be gone on with.
    """
    for candidate in _numbered(path):
        made = _made(candidate)
        if (made or free(candidate)) and _lock(candidate / UNFINISHED, new=made, without=made):
            _sweep(candidate)
            return candidate
    raise AssertionError("there is always a next number")


def reclaim_folder(path, ours=lambda folder: True):
    """Of `path`, `path-2`, `path-3` ... the unfinished folder that was begun last, else the newest; and whether its owner had finished.

    Args:
        path: as for `claim_folder`.
        ours: whether a folder is what is looked for.

    Returns:
        (folder, finished), or None if there is none.

    Raises:
        InputError: another process is at work in it.
    """
    path = pathlib.Path(path)
    alike = re.compile(re.escape(path.name) + r"(-\d+)?")
    found = [folder for folder in path.parent.glob("*") if alike.fullmatch(folder.name) and folder.is_dir() and ours(folder)]
    if not found:
        return None
    unfinished = [folder for folder in found if (folder / UNFINISHED).exists()]
    candidates = sorted(unfinished, key=lambda folder: (folder / UNFINISHED).stat().st_mtime, reverse=True)
    for folder in candidates or [max(found, key=lambda folder: folder.stat().st_mtime)]:
        if _lock(folder / UNFINISHED, new=not unfinished, without=True):
            _sweep(folder)
            return folder, not unfinished
    raise InputError(f"{', '.join(map(str, candidates))}: in use by another process; wait for it, or end it.")


def take_folder(path):
    """Like `claim_folder` where it has to be this folder: make it, or go on in it whoever has begun it; True if its owner had finished.

    Raises:
        InputError: another process is at work in it.
    """
    path = pathlib.Path(path)
    made = _made(path)
    finished = not made and not (path / UNFINISHED).exists()
    if not _lock(path / UNFINISHED, new=made or finished, without=True):
        raise InputError(f"{path}: in use by another process; wait for it, or end it.")
    _sweep(path)
    return finished


def _sweep(folder):
    """Remove what `atomic` leaves when its process is killed."""
    for file in folder.rglob(".*"):
        if TEMPORARY.fullmatch(file.name) and file.is_file():
            file.unlink()


def finish_folder(path):
    """Say that the folder that `claim_folder` gave holds a result, which nothing will write over."""
    (pathlib.Path(path) / UNFINISHED).unlink()


@contextlib.contextmanager
def locked(path, waiting):
    """Hold a lock on a file, made for it and removed in the end, while the block runs; say `waiting` and wait if another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows: what the block writes must bear being written twice
        yield
        return
    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(waiting, file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                pass  # a file system without locks, as above
            if not _is_at(file, path):  # its owner removed it meanwhile
                continue
            try:
                yield
            finally:
                path.unlink()
            return


def _is_at(file, path):
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False


def _numbered(path):
    path = pathlib.Path(path)
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))


def _made(folder):
    """Whether the folder was not there and is now."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _lock(path, new, without=False):
    """Hold a lock on a file, made if `new`, for as long as this process lives; False if it is not there or another process has it.

    `without` is the answer where there are no locks: on Windows, and on file systems that have none.
    """
    try:
        import fcntl
    except ImportError:
        if new:
            path.touch()
        return without
    try:
        file = open(path, "a" if new else "r+")  # noqa: SIM115  open is what holds the lock
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):  # else its owner finished just now
            _locks.append(file)
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        file.close()
        return without
    file.close()
    return False
