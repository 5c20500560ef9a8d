"""Building: the cache, what is missing, what a failure leaves."""

from __future__ import annotations

import fcntl
import json
import py_compile
import queue
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.errors import ConfigurationError, ImageBuildFailed
from atoll.image import BuiltImage, build_image, find_image, list_requirements, recipe
from atoll.image.bootstrap import LogProgress
from atoll.image.commands import Runner
from atoll.image.recipe import make_recipe

SOURCES = ["deb http://127.0.0.1:9/debian bookworm main"]


def put_in_cache(folder: Path) -> Path:
    key = make_recipe("bookworm", SOURCES).key
    image = folder / "atoll-service-bookworm-0123.qcow2"
    image.write_bytes(b"disk")
    facts = {
        "file": image.name,
        "checksum": "0123",
        "key": key,
        "suite": "bookworm",
        "size_bytes": 4,
        "virtual_size_bytes": 1,
        "root_bytes": 1,
        "package_count": 1,
        "build_seconds": 1.0,
    }
    (folder / f"atoll-service-bookworm-{key}.json").write_text(json.dumps(facts))
    return image


def test_a_cached_image_is_returned_at_once(tmp_path: Path) -> None:
    image = put_in_cache(tmp_path)
    phases: list[tuple[str, float | None]] = []
    built = build_image(
        tmp_path,
        suite="bookworm",
        sources=SOURCES,
        progress=lambda phase, fraction: phases.append((phase, fraction)),
    )
    assert (built.path, built.cached, built.checksum) == (image, True, "0123")
    assert phases == [("cached", 1.0)]


@pytest.mark.parametrize("damage", ["truncated", "gone", "garbled facts"])
def test_a_damaged_cache_counts_as_none(tmp_path: Path, damage: str) -> None:
    image = put_in_cache(tmp_path)
    match damage:
        case "truncated":
            image.write_bytes(b"")
        case "gone":
            image.unlink()
        case _:
            next(tmp_path.glob("*.json")).write_text("{")
    assert find_image(tmp_path, make_recipe("bookworm", SOURCES)) is None


def test_all_missing_programs_are_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("atoll.image.commands._SYSTEM_PATH", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        build_image(tmp_path / "cache", suite="bookworm", sources=SOURCES)
    assert "mmdebstrap" in str(caught.value)
    assert "apt-get install --no-install-recommends" in caught.value.hint
    assert "qemu-utils" in caught.value.hint


def test_a_build_says_that_it_waits_only_while_another_runs(tmp_path: Path) -> None:
    phases: queue.Queue[str] = queue.Queue()

    def build() -> BuiltImage:
        return build_image(
            tmp_path,
            suite="bookworm",
            sources=SOURCES,
            progress=lambda phase, _: phases.put(phase),
        )

    with ThreadPoolExecutor() as pool, (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(build)
        assert phases.get(timeout=30) == "waiting for another build"
        put_in_cache(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result(timeout=30).cached
        assert phases.get(timeout=30) == "cached"


@pytest.mark.slow
def test_a_failed_build_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "build-of-a-killed-run").mkdir()
    phases: list[str] = []
    with pytest.raises(ImageBuildFailed, match="mmdebstrap ended with") as caught:
        build_image(
            tmp_path,
            suite="bookworm",
            sources=SOURCES,
            progress=lambda phase, _: phases.append(phase),
        )
    assert "127.0.0.1" in str(caught.value)
    assert set(phases) == {"installing packages"}  # nobody else builds, so it waits for nobody
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.root
@pytest.mark.slow
def test_what_a_killed_build_has_mounted_is_not_removed(tmp_path: Path) -> None:
    machines = tmp_path / "machine's own"
    machines.mkdir()
    (machines / "precious").touch()
    cache = tmp_path / "cache"
    (tmp_path / "disk").mkdir()
    cache.symlink_to("disk")
    place = cache / "build-of-a-killed-run" / "mmdebstrap.x" / "dev" / "shm"
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", machines, place], check=True)
    with pytest.raises(ImageBuildFailed, match="mmdebstrap ended with"):
        build_image(cache, suite="bookworm", sources=SOURCES)
    assert (machines / "precious").exists()
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_what_python_compiles_of_a_file_is_no_part_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Path(shutil.copytree(recipe.FILES, tmp_path / "files"))
    monkeypatch.setattr(recipe, "FILES", files)
    shutil.rmtree(files / "rootfs/usr/lib/atoll/__pycache__", ignore_errors=True)
    before = (make_recipe("bookworm", SOURCES).key, recipe.rootfs_tar())
    py_compile.compile(str(files / "rootfs/usr/lib/atoll/atoll-init"))
    assert (make_recipe("bookworm", SOURCES).key, recipe.rootfs_tar()) == before


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    run = Runner(tmp_path / "log", tmp_path)
    with pytest.raises(ImageBuildFailed, match="no such device"):
        run(["sh", "-c", "echo no such device; exit 3"])


def test_requirements_are_apt_packages() -> None:
    assert {"mmdebstrap", "qemu-utils", "xorriso", "syslinux"} <= set(list_requirements())


def test_progress_only_grows_and_reaches_the_end() -> None:
    log = LogProgress()
    lines = ["0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded."]
    lines += [f"Get:{n} http://x y" for n in (1, 2)] + ["Unpacking a", "Setting up a"]
    lines += ["0 upgraded, 120 newly installed, 0 to remove and 0 not upgraded."]
    lines += [f"Get:{n} http://x y" for n in range(120)]
    lines += [f"{verb} p{n}" for verb in ("Unpacking", "Setting up") for n in range(121)]
    seen = [log.feed(line) for line in lines]
    assert all(0 <= fraction <= 1 for fraction in seen)
    assert seen[-1] > 0.99


def test_a_program_may_answer_while_it_reads(tmp_path: Path) -> None:
    lines: list[str] = []
    many = "".join(f"line {number}\n" for number in range(50_000))
    Runner(tmp_path / "log", tmp_path)(["cat"], stdin=many, on_line=lines.append)
    assert "".join(lines) == many
