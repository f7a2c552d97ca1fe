"""Real pages in a real browser, headless Chromium: the report of a run of five modalities, and a comparison."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_probes import save_run, small_config
from test_report import CURVES, VALUES, results

from unitok.config import SourceConfig, TaskConfig, Template, TokenizerConfig
from unitok.eval import compare, figures, likelihood, report, runner

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ITEMS = 4
# Appended to a copy of the page: what the browser made of it, written where --dump-dom shows it.
LOOK = """<script>
addEventListener("load", async () => {
  const sounds = await Promise.all([...document.querySelectorAll("audio")].map(sound => new Promise(done => {
    sound.onloadedmetadata = () => done("ready");
    sound.onerror = () => done("broken");
    sound.preload = "metadata";
    sound.load();
  })));
  const links = [...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute("href").slice(1));
  const seen = element => element.getBoundingClientRect().width > 0;
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  document.body.dataset.found = JSON.stringify({
    sounds, ids: [...document.querySelectorAll("[id]")].map(e => e.id), links: links.length,
    dangling: links.filter(id => !document.getElementById(id)),
    images: document.images.length, broken: [...document.images].filter(i => !i.naturalWidth).length,
    drawings: document.querySelectorAll("svg").length,
    unseen: [...document.querySelectorAll("img, svg, audio, table")].filter(e => !seen(e)).length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
});
</script>"""


@dataclasses.dataclass(frozen=True)
class Seen:
    """found: what LOOK measured; console: what was logged."""

    found: dict[str, Any]
    console: list[str]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """look(page, width) -> Seen. Skips where no Chromium is found that starts."""
    binary = next(filter(None, map(shutil.which, NAMES)), None)
    if binary is None:
        pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} is on the path")
    folder = tmp_path_factory.mktemp("browser")

    def look(page: str, width: int = 1200) -> Seen:
        file = folder / "page.html"
        file.write_text(page.replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900",
            "--virtual-time-budget=20000", "--enable-logging=stderr",
        ]  # fmt: skip
        done = subprocess.run(
            [binary, *flags, file.as_uri()], capture_output=True, text=True, timeout=120
        )
        found = re.search(r'data-found="([^"]*)"', done.stdout)
        if found is None:
            raise RuntimeError(f"{binary} showed nothing: {done.stderr[-500:]}")
        console = re.findall(r"CONSOLE[:(]\d+\)?\] (.*)", done.stderr)
        return Seen(json.loads(html.unescape(found[1])), console)

    try:
        look("<html><body></body></html>")
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Chromium does not start here: {error}")
    return look


def made(name: str, **options: Any) -> SourceConfig:
    return SourceConfig(kind="synthetic", options={"name": name, "size": 60, **options})


def ask(source: str, inputs: str, targets: str, *metrics: str, **more: Any) -> TaskConfig:
    template = Template(inputs=inputs, targets=targets)
    return TaskConfig(source=source, templates=[template], metrics=list(metrics), **more)


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The report of an untrained run of five modalities, and its comparison with a copy of itself."""
    small = small_config()
    config = dataclasses.replace(
        small,
        tokenizers={n: TokenizerConfig(name=n) for n in ("text", "image", "audio", "series", "graph")},
        sources={
            **small.sources,
            "beeps": made("sounds", kinds=["beeps"]),
            "seasons": made("curves", kinds=["seasons"]),
            "families": made("graphs", kinds=["families"]),
        },
        tasks={
            "read": small.tasks["read"],
            "hear": ask("beeps", "What? {audio}", "{caption:text}", "accuracy"),
            "play": ask("beeps", "Play {caption:text}.", "{audio}", "count", shows={"count": "count"}),
            "forecast": ask("seasons", "Continue: {past:series}", "{future:series@past}", "mase"),
            "build": ask("families", "Build a {family:text}.", "{graph}", "validity", "uniqueness"),
        },
        eval_items=ITEMS,
    )  # fmt: skip
    path, out = (tmp_path_factory.mktemp(name) for name in ("run", "compared"))
    save_run(path, config, 0)

    def evaluate(checkpoint: str, folder: Path) -> Path:
        if folder.name.endswith("-2"):
            shutil.copytree(out / folder.name.removesuffix("-2"), folder)
            return folder / "report.html"
        return runner.evaluate(checkpoint, folder, say=lambda _: None, probes=["calibration"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "BATCH_SIZES", (20,))
        patch.setattr(likelihood, "ROWS", 2)
        page = compare.evaluate_all([str(path), str(path)], out, evaluate)
    own = out / path.name / "report.html"
    return {"report": own.read_text("utf-8"), "comparison": page.read_text("utf-8")}


def test_a_broken_page_is_noticed(browser: Any) -> None:
    bad = '<img src="data:image/png;base64,AAAA"><audio src="data:audio/wav;base64,AAAA"></audio>'
    seen = browser(
        f'<html><body>{bad}<a href="#no">x</a><script>undefined_()</script><div style="width:3000px">x</div></body></html>'
    )
    assert any("undefined_ is not defined" in line for line in seen.console)
    assert seen.found["broken"] == 1 and seen.found["sounds"] == ["broken"]
    assert seen.found["dangling"] == ["no"] and seen.found["overflow"] > 1000


def test_every_value_is_shown(browser: Any) -> None:
    seen = browser(report.render(results(), CURVES, {"name": "x"}))
    assert seen.console == [] and seen.found["broken"] == 0 and seen.found["dangling"] == []
    kinds = [figures.show(value)["kind"] for value in VALUES.values()]
    assert seen.found["sounds"] == ["ready"] * kinds.count("audio")
    assert seen.found["images"] == kinds.count("image") + kinds.count("audio"), (
        "a sound has one too"
    )
    assert seen.found["unseen"] == 0 and seen.found["overflow"] <= 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 400], ids=["wide", "phone"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_the_page_is_whole(browser: Any, pages: dict[str, str], name: str, width: int) -> None:
    seen = browser(pages[name], width)
    assert seen.console == [], "a page of ours logs nothing"
    found = seen.found
    assert found["broken"] == 0 and found["dangling"] == [] and found["unseen"] == 0
    assert found["links"] >= 3 and found["images"] > ITEMS and found["drawings"] > 2 * ITEMS
    assert len(found["sounds"]) >= ITEMS and set(found["sounds"]) == {"ready"}
    assert found["overflow"] <= 0, "nothing lies beyond the window's edge"
    wanted = {
        "report": {"results", "task-1", "task-5", "likelihood", "probe-calibration", "loss", "tokenizers", "vocabulary", "config"},
        "comparison": {"scores", "calibration", "samples"},
    }  # fmt: skip
    assert wanted[name] <= set(found["ids"])
