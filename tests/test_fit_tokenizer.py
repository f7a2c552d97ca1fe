"""`unitok fit`: a folder of pictures becomes a tokenizer folder; wrong use costs one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
from PIL import Image as Pillow

from unitok import tokenizers
from unitok.config import FitConfig, TokenizerConfig
from unitok.errors import InputError
from unitok.metrics.audio import si_sdr
from unitok.train import fit_tokenizer
from unitok.train import main as train_main
from unitok.values import Audio, Image

TINY = ["--steps=4", "--batch_size=8", "--patch=4", "--codes=8", "--width=8", "--depth=0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(20):
        Pillow.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8)).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.py").write_text("def get_config(:\n")
    return folder


def test_a_folder_of_pictures(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "fitted"
    assert fit_tokenizer.main(["image", f"--data={photos}", f"--out={out}", *TINY]) == 0
    printed = capsys.readouterr().out
    assert "fitting on 18 values, 2 held out" in printed and "PSNR" in printed
    tokenizer = tokenizers.load(out)
    assert tokenizer.num_codes == 8 and tokenizer.patch == 4
    assert fit_tokenizer.main(["image", f"--data={photos}", f"--out={out}", *TINY]) == 2
    assert "already" in capsys.readouterr().err


@pytest.fixture
def recipe(photos: Path, tmp_path: Path) -> Path:
    file = tmp_path / "recipe.py"
    file.write_text(
        "from unitok.config import TokenizerConfig\n"
        "from unitok.train.fit_tokenizer import read_values\n"
        "from pathlib import Path\n"
        "def get_config(): return TokenizerConfig(name='image', options={'patch': 8})\n"
        f"def get_values(): return read_values(Path({str(photos)!r}), 'image')\n"
        "def get_held_out(): return []\n"
    )
    return file


def test_a_recipe(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "fitted"
    assert fit_tokenizer.main([f"--config={recipe}", f"--out={out}", *TINY[:2], *TINY[3:]]) == 0
    assert tokenizers.load(out).patch == 8


def test_training_a_recipe_fits_the_tokenizer(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """`unitok train` of the same file, fields and seed: the same tokenizer, in the workdir."""
    small = ["fit.steps=4", "fit.batch_size=8", "options.codes=8", "options.width=8"]
    words = [f"--config={recipe}", *(f"--config.{word}" for word in [*small, "options.depth=0"])]
    assert train_main.main([*words, f"--workdir={tmp_path / 'run'}"]) == 0
    plain = [f"--config={recipe}", f"--out={tmp_path / 'fitted'}", *TINY[:2], *TINY[3:]]
    assert fit_tokenizer.main(plain) == 0
    trained = tokenizers.load(tmp_path / "run")
    assert trained.patch == 8
    assert trained.fingerprint == tokenizers.load(tmp_path / "fitted").fingerprint
    capsys.readouterr()
    for refused, message in (
        ([], "--workdir=DIR is missing"),
        (["--config.steps=3", f"--workdir={tmp_path / 'no'}"], "config.steps"),
        (["--config.options.cods=3", f"--workdir={tmp_path / 'no'}"], "did you mean 'codes'"),
    ):
        assert train_main.main([f"--config={recipe}", *refused]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image", "--data=PHOTOS", "--pach=2"], "did you mean 'patch'"),
        (["imag", "--data=PHOTOS"], "did you mean 'image'"),
        (["series", "--data=PHOTOS"], "nothing to fit"),
        (["image"], "--data"),
        (["image", "--data=PHOTOS/none.png"], "none.png"),
        (["image", "--data=PHOTOS/notes.txt"], "notes.txt"),
        (["image", "--data=PHOTOS", "--codes=few"], "image.codes"),
        (["image", "--data=PHOTOS", "extra"], "'extra'"),
        (["--config=PHOTOS/none.py"], "none.py"),
        (["--config=PHOTOS/notes.txt"], "not a Python file"),
        (["--config=PHOTOS/broken.py"], "broken.py, line 1"),
        ([], "--config=FILE"),
    ],
)
def test_wrong_use(
    arguments: list[str], message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [a.replace("PHOTOS", str(photos)) for a in arguments]
    assert fit_tokenizer.main([*arguments, f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["notes.txt", "notes.txt/fitted"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_fit(
    out: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(fit_tokenizer, "fit", lambda *_, **__: pytest.fail("was fitted"))
    assert fit_tokenizer.main(["image", f"--data={photos}", f"--out={photos / out}", *TINY]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "notes.txt" in line and "choose another --out" in line


def test_a_fit_that_fails_leaves_no_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new" / "deep", tmp_path / "there"):
        assert fit_tokenizer.main(["image", f"--data={photos}", f"--out={out}", "--codes=x"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_each_modality_is_summed_up_in_its_own_measure() -> None:
    text = fit_tokenizer.summary(tokenizers.build("text"), ["the cat sat on the mat", "é"])
    tokens = sum(len(tokenizers.build("text").encode(t)) for t in ("the cat sat on the mat", "é"))
    assert f"{24 / tokens:.2f} bytes a token" in text[-1]
    tone = (np.sin(np.arange(8000) / 9) / 2).astype(np.float32)
    silence = Audio(np.zeros(8000, np.float32), 8000)
    audio = tokenizers.build("audio")
    lines = fit_tokenizer.summary(audio, [Audio(tone, 8000), silence])
    same = soxr.resample(tone, 8000, 16_000)
    score = si_sdr(same, audio.decode(audio.encode(Audio(tone, 8000))).samples)
    assert lines[-1].startswith(f"SI-SDR {score:.2f} dB at 2.0") and "kbit/s" in lines[-1]
    assert fit_tokenizer.summary(audio, [silence])[-1].startswith("silence at")


def test_from_a_config_of_a_run() -> None:
    values = [Image(np.full((8, 8, 1), 25 * i, np.uint8)) for i in range(10)]
    config = TokenizerConfig(
        name="image",
        options={"patch": 4, "codes": 4, "width": 8, "depth": 0},
        fit=FitConfig(source="any", steps=3, batch_size=4),
    )
    lines: list[str] = []
    assert fit_tokenizer.fit(config, values, log=lines.append).num_codes == 4
    assert len(lines) == 3
    with pytest.raises(InputError, match="no images"):
        fit_tokenizer.fit(config, [])
