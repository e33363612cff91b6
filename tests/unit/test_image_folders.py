"""Images that users have: folders in their published layouts, files with a column `image`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.specs import write_benchmark
from threatspec.cli import main
from threatspec.errors import ThreatspecError
from threatspec.loading._relocate import relocated
from threatspec.measures import benchmark
from threatspec.measures.benchmarks import looks_like
from threatspec.subjects.images import read_image
from threatspec.subjects.images._cards import image_card
from threatspec.subjects.images._names import number_below, unique_names
from threatspec.subjects.images.folders import image_folder

PLANES = np.arange(3072) % 251


def cifar10(folder: Path, *, last: int = 4, label: int = 3) -> Path:
    """Ten images in five batches, four in the test batch; the k-th begins at level k."""
    place = folder / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    for batch in range(5):
        (place / f"data_batch_{batch + 1}.bin").write_bytes(
            records(range(2 * batch, 2 * batch + 2))
        )
    (place / "test_batch.bin").write_bytes(records(range(100, 100 + last), label))
    return folder


def records(numbers: range, label: int | None = None) -> bytes:
    found = b""
    for n in numbers:
        planes = ((PLANES + n) % 256).astype(np.uint8).tobytes()
        found += bytes([n % 10 if label is None else label]) + planes
    return found


def gtsrb(folder: Path) -> Path:
    for number in (0, 7):
        place = folder / "GTSRB/Final_Training/Images" / f"{number:05}"
        place.mkdir(parents=True)
        rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
        for n in range(3):
            name = f"00000_{n:05}.ppm"
            Image.new("RGB", (20 + n, 30), (number, n, 9)).save(place / name)
            rows.append(f"{name};{20 + n};30;5;5;15;25;{number}")
        (place / f"GT-{number:05}.csv").write_text("\n".join(rows) + "\n")
    place = folder / "GTSRB/Final_Test/Images"
    place.mkdir(parents=True)
    Image.new("RGB", (15, 15), (1, 2, 3)).save(place / "00000.ppm")
    table = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
    (folder / "GTSRB/GT-final_test.csv").write_text(table + "00000.ppm;15;15;1;1;9;9;42\n")
    return folder


def imagenet(folder: Path, *, flat: bool = False) -> Path:
    for n, wnid in enumerate(("n01440764", "n01443537")):
        for part in ("train", "val"):
            own = folder / part / ("" if flat and part == "val" else wnid)
            own.mkdir(parents=True, exist_ok=True)
            for k in range(2):
                name = f"ILSVRC2012_val_{2 * n + k:08}" if part == "val" else f"{wnid}_{k}"
                Image.new("RGB", (50, 40), (n, k, 0)).save(own / f"{name}.JPEG")
    (folder / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca\nn01443537 goldfish\n")
    if flat:
        rows = "".join(
            f"ILSVRC2012_val_{2 * n + k:08},{wnid} 1 2 3 4\n"
            for n, wnid in enumerate(("n01440764", "n01443537")) for k in range(2)
        )  # fmt: skip
        (folder / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
    return folder


def refused(name: str, folder: Path) -> ThreatspecError:
    with pytest.raises(ThreatspecError) as error:
        benchmark(name, folder).items()
    return error.value


# layouts


def test_cifar10_is_read_as_its_authors_wrote_it(tmp_path: Path) -> None:
    cifar10(tmp_path / "data")
    found = benchmark("cifar10:data", tmp_path)
    assert found.name == "cifar10:data"
    assert [i.id for i in found.items("test")] == [f"cifar10/test/{n}" for n in range(4)]
    assert {i.category for i in found.items("test")} == {"cat"}
    rest = [i for split in ("attack_train", "safeguard_train", "attack_dev")
            for i in found.items(split)]  # fmt: skip
    assert sorted(i.id for i in rest) == [f"cifar10/train/{n}" for n in range(10)]
    [third] = (i for i in rest if i.id == "cifar10/train/3")
    assert (third.answer, third.references, third.right) == ("cat", ("cat",), 3)
    image = read_image(third.image, tmp_path)
    planes = ((PLANES + 3) % 256).reshape(3, 32, 32)
    assert image.shape == (32, 32, 3)
    assert (image[:, :, 1] == planes[1]).all()


def test_splits_are_those_of_names_wherever_the_folder_lies(tmp_path: Path) -> None:
    one, other = cifar10(tmp_path / "a"), cifar10(tmp_path / "deep" / "b")
    here, there = benchmark(f"cifar10:{one}", tmp_path), benchmark("cifar10:b", other.parent)
    assert {i.id: i.split for i in here.items()} == {i.id: i.split for i in there.items()}
    assert here.digest == there.digest
    changed = benchmark(f"cifar10:{cifar10(tmp_path / 'c', last=5)}", tmp_path)
    assert changed.digest != here.digest


def test_one_class_can_be_left_out(tmp_path: Path) -> None:
    cifar10(tmp_path / "data")
    whole, part = (benchmark(f"cifar10{n}:data", tmp_path) for n in ("", "/not-cat"))
    kept = [i.id for i in whole.items() if i.category != "cat"]
    assert [i.id for i in part.items()] == kept
    assert part.digest != whole.digest
    error = refused("cifar10/not-cats:data", tmp_path)
    assert (error.code, "did you mean 'cat'" in error.message) == ("TS-DATA", True)


def test_gtsrb_is_read_by_its_tables(tmp_path: Path) -> None:
    gtsrb(tmp_path)
    found = benchmark("gtsrb:.", tmp_path)
    assert [i.category for i in found.items("test")] == ["42"]
    items = {i.id: i for i in found.items()}
    own = items["gtsrb/train/00007/00000_00002.ppm"]
    assert (own.category, own.right) == ("7", 7)
    assert len(own.choices) == 43
    image = read_image(own.image, tmp_path)
    assert image.shape == (30, 22, 3)  # whole, with its margin
    assert tuple(image[0, 0]) == (7, 2, 9)
    before = found.digest
    Image.new("RGB", (15, 15), (3, 2, 1)).save(tmp_path / "GTSRB/Final_Test/Images/00000.ppm")
    (tmp_path / "GTSRB").rename(tmp_path / "moved")
    (tmp_path / "own").mkdir()
    (tmp_path / "moved").rename(tmp_path / "own" / "GTSRB")
    assert benchmark("gtsrb:own", tmp_path).digest != before


@pytest.mark.parametrize("flat", [False, True])
def test_imagenet_is_read_by_its_folders_or_its_table(flat: bool, tmp_path: Path) -> None:
    imagenet(tmp_path, flat=flat)
    found = benchmark("imagenet:.", tmp_path)
    assert [i.category for i in found.items("test")] == ["tench, Tinca"] * 2 + ["goldfish"] * 2
    assert found.items()[0].choices == ("tench, Tinca", "goldfish")
    for item in found.items():
        assert read_image(item.image, tmp_path).shape == (40, 50, 3)


def test_classes_of_one_name_are_told_apart_as_those_of_a_model(tmp_path: Path) -> None:
    imagenet(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 crane\nn01443537 crane\n")
    items = benchmark("imagenet:.", tmp_path).items("test")
    assert [i.answer for i in items] == ["crane (0)"] * 2 + ["crane (1)"] * 2
    config = {
        "architectures": ["AForImageClassification"],
        "id2label": {"0": "crane", "1": "crane"},
    }
    card = image_card(tmp_path, config, {}, ref="path:a", digest="0", parameters=1)
    assert card is not None
    assert card.classes == items[0].choices


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "b"), ("a", "b")),
        (("a", "b", "a"), ("a (0)", "b", "a (2)")),
        (("a", "a (0)", "a"), ("a (0) (0)", "a (0) (1)", "a (2)")),
        ((), ()),
    ],
)
def test_names_of_classes_are_unique(names: tuple[str, ...], told: tuple[str, ...]) -> None:
    assert unique_names(names) == told


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("9", 9), ("007", 7), ("10", None), ("", None), ("-1", None), ("1.5", None),
     ("0" * 5000 + "3", 3), ("9" * 5000, None)],
    ids=["0", "9", "zeros", "count", "nothing", "minus", "point", "many zeros", "many nines"],
)  # fmt: skip
def test_numbers_in_names_are_bounded(text: str, number: int | None) -> None:
    assert number_below(text, 10) == number


@pytest.mark.parametrize("made", [cifar10, gtsrb, imagenet], ids=lambda made: str(made.__name__))
def test_a_folder_that_changes_is_read_again(made: Any, tmp_path: Path) -> None:
    made(tmp_path)
    kind = made.__name__
    before = image_folder(f"{kind}:.", tmp_path)
    assert image_folder(f"{kind}:.", tmp_path) is before
    held = [one for one in type(before).held(tmp_path.resolve()) if one.is_file()]
    assert held
    for number, one in enumerate(held):
        os.utime(one, ns=(number, number))
        after = image_folder(f"{kind}:.", tmp_path)
        assert after is not before
        before = after


def test_a_batch_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    cifar10(tmp_path)
    batch = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    before = read_image("cifar10:.#test/0", tmp_path), benchmark("cifar10:.", tmp_path).digest
    batch.write_bytes(records(range(7, 11)))
    os.utime(batch, ns=(1, 1))
    after = read_image("cifar10:.#test/0", tmp_path), benchmark("cifar10:.", tmp_path).digest
    assert (after[0] != before[0]).any()
    assert after[1] != before[1]


def test_of_many_images_names_of_classes_are_kept_once(tmp_path: Path) -> None:
    cifar10(tmp_path)
    items = benchmark("cifar10:.", tmp_path).items()
    assert len({id(item.choices) for item in items}) == 1


# layouts that are not these


def test_a_pickle_is_refused_and_not_read(tmp_path: Path) -> None:
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    marker = tmp_path / "run"
    payload = f"cos\nsystem\n(S'touch {marker}'\ntR."
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        (place / name).write_text(payload)
    for path in (".", "cifar-10-batches-py"):
        error = refused(f"cifar10:{path}", tmp_path)
        assert error.code == "TS-IMAGE"
        assert "cifar-10-binary.tar.gz" in error.message
    assert not marker.exists()


def test_what_is_cut_or_wrong_is_named(tmp_path: Path) -> None:
    place = cifar10(tmp_path / "cut") / "cifar-10-batches-bin"
    data = (place / "data_batch_3.bin").read_bytes()
    (place / "data_batch_3.bin").write_bytes(data[:-1])
    error = refused("cifar10:cut", tmp_path)
    assert (error.code, "data_batch_3.bin has 6,145 bytes" in error.message) == ("TS-IMAGE", True)
    assert "label 11" in refused(f"cifar10:{cifar10(tmp_path / 'l', label=11)}", tmp_path).message
    (cifar10(tmp_path / "lost") / "cifar-10-batches-bin" / "data_batch_5.bin").unlink()
    assert "data_batch_5.bin is not there" in refused("cifar10:lost", tmp_path).message


@pytest.mark.parametrize("name", ["cifar10:none", "gtsrb:none", "imagenet:none"])
def test_a_folder_that_is_not_there_is_told_with_where_to_get_it(name: str, tmp_path: Path) -> None:
    error = refused(name, tmp_path)
    assert error.code == "TS-FILE-MISSING"
    assert "https://" in error.message
    assert refused(name.replace("none", ""), tmp_path).code == "TS-DATA"


@pytest.mark.parametrize("name", ["cifar10:.", "gtsrb:.", "imagenet:."])
def test_an_empty_folder_is_none_of_these(name: str, tmp_path: Path) -> None:
    assert refused(name, tmp_path).code == "TS-IMAGE"


def test_tables_of_gtsrb_must_be_there_and_in_order(tmp_path: Path) -> None:
    table = gtsrb(tmp_path) / "GTSRB/Final_Training/Images/00007/GT-00007.csv"
    good = table.read_text()
    bads = good.replace(";7\n", ";77\n"), good.replace("00000_00001", "../00000_00001")
    for number, bad in enumerate(bads):
        other = gtsrb(tmp_path / str(number))
        (other / "GTSRB/Final_Training/Images/00007/GT-00007.csv").write_text(bad)
        assert "below 43" in refused(f"gtsrb:{other}", tmp_path).message
    (tmp_path / "GTSRB/GT-final_test.csv").unlink()
    assert "GT-final_test.csv" in refused("gtsrb:.", tmp_path).message


def test_flat_validation_images_need_their_table(tmp_path: Path) -> None:
    imagenet(tmp_path, flat=True)
    (tmp_path / "LOC_val_solution.csv").unlink()
    assert "LOC_val_solution.csv" in refused("imagenet:.", tmp_path).message


@pytest.mark.parametrize(
    "ref",
    [pytest.param(f"cifar10:.#test/{'9' * 5000}", id="thousands of digits"),
     "cifar10:.#test/4", "cifar10:.#val/0", "cifar10:.", "cifar10:.#test/", "cifar10:.#test/-1",
     "imagenet:.#train/../../secret.png", "imagenet:.#train/n01440764/../x.JPEG",
     "imagenet:.#train/n01440764/..", "gtsrb:.#test/../../secret.png", "cifar11:.#test/0"],
)  # fmt: skip
def test_a_reference_that_means_no_image_of_the_set_is_refused(ref: str, tmp_path: Path) -> None:
    cifar10(tmp_path), gtsrb(tmp_path), imagenet(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path.parent / "secret.png")
    with pytest.raises(ThreatspecError) as error:
        read_image(ref, tmp_path)
    assert error.value.code == "TS-IMAGE"


# files with a column of images


def rows(*images: str) -> list[str]:
    return [
        json.dumps({"id": f"r{n}", "prompt": "what is it ?", "image": image, "split": "test"})
        for n, image in enumerate(images)
    ]


def test_images_of_rows_lie_beside_their_file(tmp_path: Path) -> None:
    (tmp_path / "data" / "seen").mkdir(parents=True)
    Image.new("L", (5, 6), 9).save(tmp_path / "data" / "seen" / "a.png")
    write_benchmark(tmp_path / "data", rows("seen/a.png", "photo:chelsea", "mnist5k:3"), "own")
    found = benchmark("file:data/own.jsonl", tmp_path)
    assert [i.image for i in found.items()] == [
        "file:data/seen/a.png", "photo:chelsea", "mnist5k:3",
    ]  # fmt: skip
    assert read_image(found.items()[0].image, tmp_path).shape == (6, 5, 1)
    inside = benchmark("file:own.jsonl", tmp_path / "data")
    assert inside.items()[0].image == "file:seen/a.png"
    seen = looks_like(found.items(), tmp_path)
    assert seen is not None
    assert (seen.grey, seen.coloured, seen.unusable) == (2, 1, 0)


def test_the_content_of_images_is_part_of_the_digest(tmp_path: Path) -> None:
    digests = set()
    for level in (9, 10):
        own = tmp_path / str(level)
        own.mkdir()
        Image.new("L", (5, 6), level).save(own / "a.png")
        write_benchmark(own, rows("a.png"), "own")
        digests.add(benchmark("file:own.jsonl", own).digest)
    write_benchmark(tmp_path, rows(""), "own")
    digests.add(benchmark("file:own.jsonl", tmp_path).digest)
    assert len(digests) == 3


def test_an_image_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    write_benchmark(tmp_path, rows("lost.png"), "own")
    error = refused("file:own.jsonl", tmp_path)
    assert error.code == "TS-IMAGE"
    assert "'lost.png' of item 'r0'" in error.message


# faces


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_a_folder_is_explained_and_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar10(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert "cifar10:PATH" in shown(capsys, "list", "benchmarks")
    assert "cifar10:PATH" in shown(capsys, "explain", "cifar10")
    text = shown(capsys, "explain", "cifar10/not-cat:data")
    assert "coloured, 32 x 32 pixels" in text
    (tmp_path / "bad.png").write_bytes(b"nothing")
    write_benchmark(tmp_path, rows("bad.png", "mnist5k:1", "mnist5k:2", "mnist5k:1"), "own")
    text = shown(capsys, "benchmarks", "audit", "own.jsonl")
    assert "images: 4: 3 grey, 28 x 28 pixels; 1 cannot be used" in text
    assert "cannot be used: r0: file:bad.png must be one of PNG" in text
    assert "1 prompts equal an earlier one, 0 more are nearly one" in text


def test_folders_of_an_included_file_are_told_from_the_first() -> None:
    data = {"measures": {"asr": {"benchmark": "cifar10/not-cat:data/c"}}}
    moved = relocated(data, Path("/w/shared"), Path("/w/claims"))
    assert moved["measures"]["asr"]["benchmark"] == "cifar10/not-cat:../shared/data/c"
    for kept in ("mnist5k/not-0", "hf:a/b@c", "cifar10:/data/c"):
        data = {"measures": {"asr": {"benchmark": kept}}}
        assert relocated(data, Path("/w/shared"), Path("/w/claims")) == data
