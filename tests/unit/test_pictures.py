"""Pictures: what a person sees of images, from the trial to the page."""

from __future__ import annotations

import base64
import io
import json
import re
import sqlite3
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from tests.support.bundles import made_run, members, repacked
from tests.unit import test_reports as made
from threatspec.claims import CampaignVerdict
from threatspec.cli import main
from threatspec.errors import ThreatspecError
from threatspec.records import (
    MOST_SIDE,
    Ledger,
    Picture,
    PictureStage,
    Shipper,
    Storage,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
    png_bytes,
    png_read,
    restore,
)
from threatspec.reports import collect, render_html, render_markdown
from threatspec.reports._pictures import Gallery, within
from threatspec.reports.bundle import open_bundle, verify_bundle, write_bundle
from threatspec.runners._pictures import pictures_of
from threatspec.subjects import Request

Bytes = NDArray[np.uint8]


class Shift:
    """Makes every channel brighter, or darker."""

    def __init__(self, by: int) -> None:
        self.by = by

    def edit(self, image: Bytes, request: Request) -> Bytes:
        return np.clip(image.astype(int) + self.by, 0, 255).astype(np.uint8)


class Fails:
    def edit(self, image: Bytes, request: Request) -> Bytes:
        raise ThreatspecError("TS-IMAGE", "it cannot be used")


def trial(first: int = 0) -> Trial:
    work = {"units": (first, first + 9)}
    return Trial(id="generate", kind=TrialKind.GENERATE, subject="s", needs=(), work=work)


def requests(*refs: str) -> list[Request]:
    return [Request(f"item/{n}", "which ?", image=ref) for n, ref in enumerate(refs)]


def kept(asked: list[Request], edit: Any = None, provider: Any = None) -> tuple[Picture, ...]:
    attacked = [replace(one, pixels=(edit,) if edit else ()) for one in asked]

    def receive(found: Any) -> list[Request]:
        return [replace(r, pixels=(*r.pixels, provider)) if provider else r for r in found]

    return pictures_of(trial(), asked, attacked, receive, Path())


def pixels(picture: Picture) -> Bytes:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.png))))


# files


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 3), (224, 224, 1), (2, 224, 3)])
def test_what_is_written_is_read_by_us_and_by_pillow(shape: tuple[int, int, int]) -> None:
    data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    png = png_bytes(data.tobytes(), *shape)
    assert png_read(png) == (data.tobytes(), *shape)
    seen = np.asarray(Image.open(io.BytesIO(png))).reshape(shape)
    assert (seen == data).all()


def chunk(kind: bytes, content: bytes) -> bytes:
    head = struct.pack(">I", len(content)) + kind + content
    return head + struct.pack(">I", zlib.crc32(kind + content))


def torn_files() -> dict[str, bytes]:
    good = png_bytes(bytes(12), 2, 2, 3)
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = zlib.compress(bytes(10**6))
    small = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    palette = struct.pack(">IIBBBBB", 2, 2, 8, 3, 0, 0, 0)

    def file(head: bytes, data: bytes) -> bytes:
        return good[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    return {
        "nothing": b"",
        "text": b"<script>",
        "cut": good[:-5],
        "flipped": good[:20] + bytes([good[20] ^ 1]) + good[21:],
        "huge": file(head, bomb),
        "more than it says": file(small, bomb),
        "palette": file(palette, zlib.compress(bytes(6))),
        "filtered": file(small, zlib.compress(b"\1" + bytes(6) + b"\0" + bytes(6))),
        "no head": good[:8] + chunk(b"IEND", b""),
    }


@pytest.mark.parametrize("name", torn_files())
def test_no_other_file_is_a_picture(name: str) -> None:
    with pytest.raises(ValueError, match="picture"):
        png_read(torn_files()[name])
    text = base64.b64encode(torn_files()[name]).decode()
    with pytest.raises(ValidationError):
        Picture(item="a", stage=PictureStage.CLEAN, image="photo:cat", height=2, width=2, png=text)


# trials


def test_three_requests_are_kept_before_and_after(tmp_path: Path) -> None:
    found = kept(requests(*(f"mnist5k:{n}" for n in range(5))), Shift(16), Shift(-4))
    assert [(p.item, p.stage.value) for p in found] == [
        (f"item/{n}", stage) for n in range(3) for stage in ("clean", "attacked", "received")
    ]
    clean, attacked, received = map(pixels, found[:3])
    assert (attacked.astype(int) == np.minimum(clean.astype(int) + 16, 255)).all()
    assert (received.astype(int) == attacked.astype(int) - 4).all()
    assert [p.change for p in found[:3]] == [None, 16, 12]
    assert all(not p.own for p in found)


def test_what_nobody_changed_is_shown_once() -> None:
    assert [p.stage.value for p in kept(requests("mnist5k:1"))] == ["clean"]
    assert [p.stage.value for p in kept(requests("mnist5k:1"), None, Shift(3))] == [
        "clean", "received",
    ]  # fmt: skip


def test_requests_that_look_alike_are_kept_once() -> None:
    found = kept(requests("mnist5k:1", "mnist5k:1", "mnist5k:2"))
    assert [p.item for p in found] == ["item/0", "item/2"]


def test_a_provider_whose_edit_fails_hides_nothing_of_the_attack() -> None:
    found = kept(requests("mnist5k:1"), Shift(5), Fails())
    assert [p.stage.value for p in found] == ["clean", "attacked"]


def test_images_that_are_alike_are_purified_once() -> None:
    done = []

    class Counts(Shift):
        def edit(self, image: Bytes, request: Request) -> Bytes:
            done.append(request.item)
            return super().edit(image, request)

    kept(requests(*["mnist5k:1"] * 9, "mnist5k:2"), Shift(5), Counts(3))
    assert done == ["item/0", "item/9"]


def test_later_looks_and_texts_keep_nothing() -> None:
    asked = requests("mnist5k:1")
    assert pictures_of(trial(10), asked, asked, list, Path()) == ()
    assert kept([Request("a", "hello")]) == ()


def test_an_image_that_the_attacker_brought_is_shown_from_what_it_was() -> None:
    asked = [Request("a", "tell me")]
    attacked = [replace(asked[0], image="photo:chelsea", pixels=(Shift(2),))]
    clean, changed = pictures_of(trial(), asked, attacked, list, Path())
    assert (clean.stage, changed.stage, changed.change) == ("clean", "attacked", 2)
    assert clean.image == "photo:chelsea"


def test_an_image_that_the_attack_resized_stands_beside_the_clean_one_so_resized() -> None:
    class Halves:
        def edit(self, image: Bytes, request: Request) -> Bytes:
            return np.asarray(Image.fromarray(image).resize((225, 150), Image.Resampling.BICUBIC))

    clean, attacked = kept(requests("photo:chelsea"), Halves())
    assert (clean.height, clean.width) == (attacked.height, attacked.width) == (150, 225)
    assert attacked.change == 0
    assert clean.png == attacked.png


def test_an_image_that_cannot_be_used_is_left_out(tmp_path: Path) -> None:
    found = kept(requests("mnist5k:99999", "mnist5k:1"))
    assert [p.item for p in found] == ["item/1"]
    assert kept(requests("mnist5k:1"), Fails()) == ()


@pytest.mark.parametrize("shape", [(300, 451, 3), (1, 1000, 1), (448, 448, 3), (2000, 1, 1)])
def test_a_large_image_is_kept_small_and_keeps_its_means(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    image = np.full(shape, 77, dtype=np.uint8)
    Image.fromarray(image.squeeze(2) if shape[2] == 1 else image).save(tmp_path / "a.png")
    asked = [Request("a", "what ?", image="file:a.png")]
    [picture] = pictures_of(trial(), asked, asked, list, tmp_path)
    assert max(pixels(picture).shape) <= MOST_SIDE
    assert (picture.height, picture.width) == shape[:2]
    assert (pixels(picture) == 77).all()
    assert picture.own


# records


def pictured(reply: str = "velmar") -> made.MadeCampaign:
    """A made campaign whose attacked trials have shown an image, and with warnings."""
    campaign = made.a_campaign(reply=reply)
    for name, result in campaign.results.items():
        benchmark = "restricted" if "restricted" in name else "benign"
        if campaign.trials[name].kind is TrialKind.GENERATE and "finetune" in name:
            photos = [f"{benchmark}/{n:03}" for n in range(2)]
            asked = [Request(item, "what ?", image="photo:chelsea") for item in photos[:1]]
            asked += [Request(photos[1], "what ?", image="mnist5k:7")]
            found = kept(asked, Shift(8), Shift(-3))
            campaign.results[name] = result.model_copy(update={"pictures": found})
        if campaign.trials[name].kind is TrialKind.ATTACK:
            says = "TS-IMAGE: the processor crops 12 % of the change away"
            campaign.results[name] = result.model_copy(update={"warnings": (says,)})
    return campaign


@pytest.fixture(scope="module")
def campaign() -> made.MadeCampaign:
    return pictured()


@pytest.fixture(scope="module")
def verdict(campaign: made.MadeCampaign) -> CampaignVerdict:
    return made.five_verdicts(campaign)


@pytest.fixture(scope="module")
def run(campaign: made.MadeCampaign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign.write(tmp_path_factory.mktemp("pictures") / "run")


def shown_by(campaign: made.MadeCampaign) -> str:
    return next(name for name, found in campaign.results.items() if found.pictures)


def test_a_ledger_gives_back_what_it_was_given(run: Path, campaign: made.MadeCampaign) -> None:
    name = shown_by(campaign)
    with Ledger.open(run) as ledger:
        assert ledger.pictures(name) == campaign.results[name].pictures
        assert ledger.pictures("another") == ()
        assert ledger.results()[name].pictures == ()


def test_pictures_are_shipped_and_restored(
    run: Path, campaign: made.MadeCampaign, tmp_path: Path
) -> None:
    storage = Storage(tmp_path / "storage")
    Shipper(run, storage).ship()
    restore(storage, tmp_path / "other")
    name = shown_by(campaign)
    with Ledger.open(tmp_path / "other") as ledger:
        assert ledger.pictures(name) == campaign.results[name].pictures


def test_a_ledger_that_was_begun_before_pictures_goes_on(tmp_path: Path) -> None:
    campaign = made.a_campaign()
    with Ledger.create(tmp_path, campaign.plan):
        pass
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("DROP TABLE pictures")
    name = next(iter(campaign.trials))
    with Ledger.open(tmp_path) as ledger:
        assert ledger.pictures(name) == ()
    shown = kept(requests("mnist5k:1"))
    with Ledger.open(tmp_path, writable=True) as ledger:
        done = TrialResult(trial=name, status=TrialStatus.DONE, pictures=shown)
        ledger.record(done, made.ATTEMPT)
        assert ledger.pictures(name) == shown


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose first asking trial has shown a photograph and a file of its own."""
    run = made_run(tmp_path_factory.mktemp("shown"))
    with Ledger.open(run) as ledger:
        asked = (t for t in ledger.plan.trials.values() if t.kind is TrialKind.GENERATE)
        trial_ = next(asked).id
        head = ledger.results()[trial_]
    home = f"TS-IMAGE: {Path.home()}/cat.png is cropped"
    text = head.model_copy(update={"warnings": (home,)}).model_dump_json(exclude_defaults=True)
    [clean] = kept(requests("photo:chelsea"))
    own = clean.model_copy(update={"image": "file:cat.png", "item": "own"})
    with sqlite3.connect(run / "ledger.sqlite") as db:
        rows = [(trial_, one.model_dump_json()) for one in (clean, own)]
        db.executemany("INSERT INTO pictures VALUES (?,?)", rows)
        db.execute("UPDATE results SET json = ? WHERE trial = ?", (text, trial_))
    return run


@pytest.mark.parametrize("with_generations", [False, True])
def test_a_bundle_has_pictures_but_own_files_only_with_generations(
    with_generations: bool, shown: Path, tmp_path: Path
) -> None:
    target = tmp_path / "a.tsb"
    write_bundle(shown, target, with_generations=with_generations)
    with open_bundle(target) as bundle:
        found = [one.image for one in bundle.pictures()]
        warnings = [w for result in bundle.results.values() for w in result.warnings]
        assert not verify_bundle(bundle).failed
    assert found == ["photo:chelsea", "file:cat.png"][: 1 + with_generations]
    assert warnings == ["TS-IMAGE: <path> is cropped"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"trial":"nobody"}',
        b'{"trial":"TRIAL","item":"a","stage":"clean","image":"photo:a","height":1,"width":1,'
        b'"png":"PHNjcmlwdD4="}',
    ],
)
def test_a_bundle_with_anything_else_in_its_place_is_refused(
    line: bytes, shown: Path, tmp_path: Path
) -> None:
    target = tmp_path / "a.tsb"
    write_bundle(shown, target)
    content = members(target)
    trial_ = json.loads(content["pictures.jsonl"].splitlines()[0])["trial"]
    content["pictures.jsonl"] = line.replace(b"TRIAL", trial_.encode()) + b"\n"
    with pytest.raises(ThreatspecError) as error:
        open_bundle(repacked(tmp_path / "b.tsb", content))
    assert error.value.code == "TS-BUNDLE"
    assert "pictures.jsonl" in error.value.message


# reports


def page(run: Path, campaign: made.MadeCampaign, verdict: CampaignVerdict) -> str:
    with Ledger.open(run) as ledger:
        return render_html(campaign.evidence, verdict, collect(ledger, verdict))


def test_the_page_shows_clean_change_attacked_and_received(
    run: Path, campaign: made.MadeCampaign, verdict: CampaignVerdict
) -> None:
    text = page(run, campaign, verdict)
    [first, *_] = re.findall(r'<figure class="shown">.*?</figure>', text, re.S)
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', first)
    clean, change, attacked, received = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int) for data, _ in images
    )
    assert all("restricted/000" in alt for _, alt in images)
    assert len({alt for _, alt in images}) == 4
    # 300 x 451 pixels are kept as means of 3 x 3; a change of 8 is drawn 15 times as strong
    assert change.shape == (100, 150, 3)
    assert (change == np.clip(128 + 15 * (attacked - clean), 0, 255)).all()
    assert "change, 15 times as strong" in first
    assert "at most 8/255 from the clean one" in first
    assert "300 × 451 pixels" in first
    assert (received <= attacked).all()
    assert "velmar" in first
    assert "img-src data:;" in text


def test_warnings_stand_in_every_report_once_with_their_trials(
    run: Path, campaign: made.MadeCampaign, verdict: CampaignVerdict
) -> None:
    # three procedures on two arms: three replicates of two, one of a deterministic one
    wanted = "TS-IMAGE: the processor crops 12 % of the change away (14 trials)"
    assert page(run, campaign, verdict).count(wanted) == len(verdict.claims)
    terminal = made.flat(made.on_terminal(campaign.evidence, verdict))
    assert terminal.count(f"warning {wanted}") == len(verdict.claims)
    markdown = render_markdown(campaign.evidence, verdict)
    assert markdown.count("crops 12 % of the change away") == len(verdict.claims)


def test_markdown_points_to_the_page_where_there_are_images(
    run: Path, campaign: made.MadeCampaign, verdict: CampaignVerdict
) -> None:
    with Ledger.open(run) as ledger:
        details = collect(ledger, verdict)
    assert "threatspec report --html" in render_markdown(campaign.evidence, verdict, details)
    assert "Images" not in render_markdown(campaign.evidence, verdict)


def test_a_page_holds_no_more_than_a_browser_opens(
    run: Path, campaign: made.MadeCampaign, verdict: CampaignVerdict
) -> None:
    with Ledger.open(run) as ledger:
        found = collect(ledger, verdict).pictures
    assert len(found) > 2
    some = list(within(found, found[0].size))
    assert some[0] == found[0]
    assert some[1] == Gallery(found[1].claim, found[1].cell, (), len(found[1].shown))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["show", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_show_names_images_and_warnings(
    run: Path, campaign: made.MadeCampaign, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = "cell-lora-finetune-defended-0"
    shown = said(capsys, cell, "--run", str(run))
    assert "warning: TS-IMAGE: the processor crops" in shown
    assert "images of" in shown
    shown = said(capsys, cell, "--run", str(run), "--prompt", "restricted/000")
    assert "image      clean: photo:chelsea, 300 x 451 pixels" in shown
    assert "attacked: photo:chelsea, 300 x 451 pixels, changed by at most 8/255" in shown
    whole = said(capsys, cell, "--run", str(run), "--prompt", "restricted/000", "--json")
    assert '"stage": "received"' in whole
