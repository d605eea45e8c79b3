"""Which images there are, told apart by what they hold: in an order that files do not decide."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.foreign import read_file
from cnnpref.images.containers import SUFFIXES, contents, files_of, is_named, member_name
from cnnpref.images.pictures import Content

_LISTS = (".txt", ".lst", ".list")
_Entry = list[list[list[Any]]]
"""Of a container: [path, date (ns), size] of its files; [member, digest] of its members."""


@dataclass(frozen=True, order=True)
class Image:
    """An image.

    Attributes:
        sha256: of what it holds, 64 hexadecimal digits.
        container: the path of its file, archive or stack; or the name of a data set.
        member: where in the container; "" for a file of one image.
    """

    sha256: str
    container: str
    member: str

    @property
    def name(self) -> str:
        """The path of its file, or of its container with the place therein."""
        return member_name(self.container, self.member)


@dataclass(frozen=True)
class Index:
    """The images of a config.

    Attributes:
        images: ordered by their digests, each content once.
        skipped: {name: why it does not count}.
    """

    images: tuple[Image, ...]
    skipped: Mapping[str, str]


def find_images(places: Sequence[str]) -> Index:
    """All images in some places.

    Of images with the same content, the one of the first name counts. What files hold is read once
    and remembered, in the user's cache folder, by their dates and sizes.

    Args:
        places: folders, searched with all below them; files of images; archives; stacks; patterns
            of paths; text files that list any of these; `torchvision:CIFAR10:folder`; functions.

    Raises:
        UserError: a place does not exist or holds no image.
    """
    containers = dict.fromkeys(path for place in places for path in _containers(place))
    broken = [path for path in containers if _is_broken(path)]
    for path in broken:
        del containers[path]
    known = _Cache(places)
    found = [
        Image(digest, container, member)
        for container in containers
        for member, digest in known.members(container)
    ]
    known.save()
    if not found:
        raise UserError(f"references: no image in {', '.join(places)}; check the path")
    images, skipped = [], dict.fromkeys(broken, "a link to nothing")
    for _, alike in groupby(sorted(found), lambda image: image.sha256):
        first, *others = sorted(alike, key=lambda image: image.name)
        images.append(first)
        skipped.update({other.name: f"the same as {first.name}" for other in others})
    return Index(tuple(images), skipped)


def _is_broken(path: str) -> bool:
    return not is_named(path) and Path(path).is_symlink() and not _is(Path.exists, Path(path))


def read_images(images: Sequence[Image]) -> Iterator[tuple[Image, Content]]:
    """What images hold, container by container.

    Raises:
        UserError: a container cannot be read, or an image is not what it was when it was found.
    """
    for container, several in groupby(
        sorted(images, key=lambda image: image.container), lambda image: image.container
    ):
        wanted = {image.member: image for image in several}
        for member, content in contents(container, wanted):
            image = wanted.pop(member)
            if digest_of(content) != image.sha256:
                raise UserError(f"references: {image.name} has changed in the meantime; run again")
            yield image, content
        if wanted:
            missing = next(iter(wanted.values())).name
            raise UserError(f"references: {missing} is gone; run again")


def digest_of(content: Content) -> str:
    """Of what an image holds, 64 hexadecimal digits."""
    if isinstance(content, bytes):
        return sha256(content).hexdigest()
    head = f"{content.shape} {content.dtype.str} ".encode()
    return sha256(head + content.tobytes()).hexdigest()


def _containers(place: str, lists: tuple[Path, ...] = ()) -> Iterator[str]:
    """The containers in a place, sorted.

    Args:
        place: see `find_images`.
        lists: the text files that led there.

    Raises:
        UserError: there is nothing, a list leads to itself, or it is the root of the disk.
    """
    path = Path(place)
    if _is(Path.is_dir, path):
        found = sorted(str(p) for p in _below(path) if _is_shown(p.relative_to(path)))
    elif glob.has_magic(place) and not _is(Path.exists, path):
        matches = sorted(glob.glob(place, recursive=True))  # noqa: PTH207 - Path's knows no absolute
        found = [p for match in matches for p in _containers(match, lists)]
    elif path.suffix.lower() in _LISTS:
        if path.resolve() in lists:
            raise UserError(f"references: {place}: this list lists itself; take that line out")
        inner = (*lists, path.resolve())
        found = [p for line in _lines(path) for p in _containers(line, inner)]
    elif is_named(place) or _is(Path.is_file, path):
        found = [place]
    else:
        found = []
    if not found:
        what = (
            f"no image below it ({' '.join(SUFFIXES)})" if _is(Path.is_dir, path) else "not found"
        )
        raise UserError(f"references: {place}: {what}; check the path")
    yield from found


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    """Whether a path is of that kind; no, where it is too long or one may not look."""
    try:
        return kind(path)
    except OSError:
        return False


def _below(folder: Path) -> Iterator[Path]:
    """The files in a folder and below it, also where links lead; each folder once.

    Links to nothing count as files, so that they are missed.

    Raises:
        UserError: it is the root of the disk.
    """
    if folder.resolve() == Path(folder.resolve().anchor):
        raise UserError(f"references: {folder}: that is the whole disk; name a folder on it")
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        key = os.path.realpath(place)
        if key in seen:
            folders.clear()
            continue
        seen.add(key)
        folders.sort()
        paths = (Path(place, name) for name in files)
        yield from (path for path in paths if _is(Path.is_file, path) or not _is(Path.exists, path))


def _is_shown(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in path.parts)


def _lines(path: Path) -> Iterator[str]:
    """The places that a text file lists, relative to its folder or to the working directory.

    A word after the path, such as the class in Caffe's lists, is left out.
    """
    try:
        lines = read_file(path).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"references: {path}: cannot be read as a list: {error}") from None
    for line in (line.strip() for line in lines):
        if line and not line.startswith("#"):
            places = [text for text in (line, line.rpartition(" ")[0].strip()) if text]
            tried = [str(base / text) for text in places for base in (path.parent, Path())]
            yield next((each for each in tried if _is(Path.exists, Path(each))), line)


class _Cache:
    """What is known of containers, from one plan to the next."""

    def __init__(self, places: Sequence[str]) -> None:
        key = sha256(json.dumps([os.getcwd(), *places]).encode()).hexdigest()  # noqa: PTH109
        home = os.environ.get("CNNPREF_HOME")
        user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cnnpref")
        self._path = (Path(home) if home else user) / "images" / f"{key[:16]}.json"
        self._before: dict[str, _Entry] = {}
        with suppress(OSError, ValueError):
            self._before = json.loads(self._path.read_text("utf-8"))
        self._now: dict[str, _Entry] = {}

    def members(self, container: str) -> list[list[str]]:
        """The members of a container and their digests."""
        stamp = [_stamp(path) for path in files_of(container)]
        entry = self._before.get(container)
        if entry is None or entry[0] != stamp:
            entry = [stamp, [[name, digest_of(content)] for name, content in contents(container)]]
        self._now[container] = entry
        return entry[1]

    def save(self) -> None:
        """Write it, if there is anything new and it can be written."""
        if self._now != self._before:
            with suppress(UserError), replacing(self._path) as temporary:
                temporary.write_text(json.dumps(self._now), "utf-8")


def _stamp(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"references: {path}: {error.strerror}; check the path") from None
    return [str(path), status.st_mtime_ns, status.st_size]
