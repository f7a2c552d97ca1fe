"""The local page: what is filled in becomes a request, what comes back is shown; over HTTP, and in Chromium."""

from __future__ import annotations

import html
import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from unitok.data.files import write_file
from unitok.errors import InputError
from unitok.request import Output, Request
from unitok.sequence import Segment
from unitok.serve.ask import MAX_CHARACTERS, MAX_SAMPLES, Form, graph_of, request_of
from unitok.values import Audio, Boxes, Graph, Image, Series
from unitok.vocabulary import EOS

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
GEOMETRY = '{"height": 8, "width": 8, "channels": 1}'
PICTURE = Image(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)


# ---- what is filled in ---------------------------------------------------------------------


def test_a_form_becomes_a_request(tmp_path):
    write_file(PICTURE, tmp_path / "three.png")
    write_file(PICTURE, tmp_path / "seven.png")
    write_file(Series(np.arange(4.0)), tmp_path / "past.csv")
    request = request_of(
        Form(
            prompt="{three} is 3. {image} is",
            files={"image": str(tmp_path / "seven.png"), "series": str(tmp_path / "past.csv")},
            graph="0 1\n1 2",
            more=[str(tmp_path / "three.png")],
            samples=3,
            temperature="0.5",
            constraints='{"choices": ["3", "7"]}',
            options={"top_k": 5},
        )
    )
    assert request.prompt == "{three:image} is 3. {image:image} is {series:series} {graph:graph}"
    assert set(request.fields) == {"three", "image", "series", "graph"}
    assert request.fields["graph"].num_edges == 2 and request.fields["series"].length == 4
    assert (request.num_samples, request.temperature, request.top_k) == (3, 0.5, 5)
    assert request.constraints == {"choices": ["3", "7"]}


def test_a_graph_is_an_edge_list_or_smiles():
    assert graph_of("0 1\n1 2\n2 0").num_edges == 3
    pytest.importorskip("rdkit")
    assert graph_of("CCO").num_nodes == 3


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(prompt="x" * (MAX_CHARACTERS + 1)), "prompt: 20,001 characters"),
        (Form(prompt="a", samples=MAX_SAMPLES + 1), "samples: 17"),
        (Form(prompt="a", temperature="warm"), "temperature: 'warm'"),
        (Form(prompt="a", temperature="-1"), "temperature: want at least 0"),
        (Form(prompt="a", constraints="{"), "constraints: not JSON"),
        (Form(prompt="a", constraints="[1]"), "constraints: want an object"),
        (Form(prompt="a", more=["virus.exe"]), "virus.exe"),
        (Form(prompt="a", graph="0 1 2 3 4"), "graph"),
        (Form(prompt="{", graph="0 1"), "brace"),
    ],
)
def test_wrong_forms_are_named(form, message):
    with pytest.raises(InputError, match=re.escape(message)):
        request_of(form)


# ---- what comes back --------------------------------------------------------------------------


def test_every_kind_of_value_is_drawn_and_text_is_escaped():
    from unitok.serve.show import segment_html

    drawn = lambda value, kind, request=None: segment_html(  # noqa: E731
        Segment(kind, value, np.zeros(1, np.int32)), request or Request(prompt="a")
    )
    assert "&lt;script&gt;" in drawn("<script>", "text") and "<script>" not in drawn(
        "<script>", "text"
    )
    assert "data:image/png;base64," in drawn(PICTURE, "image")
    sound = drawn(Audio(np.zeros(160, np.float32), 16000), "audio")
    assert "<audio controls" in sound and "data:audio/wav;base64," in sound
    series = Series(np.arange(6.0))
    assert "<svg" in drawn(series, "series")
    request = Request(prompt="{series}", fields={"series": series}, to="series@series")
    assert "forecast, channel 0" in drawn(series, "series", request)
    assert drawn(Graph(3, [[0, 1], [1, 2]]), "graph").count("<circle") == 3
    boxes = Boxes(np.array([[1, 2, 5, 6.0]]), ["<b>"])
    over = drawn(boxes, "coord", Request(prompt="{image}", fields={"image": PICTURE}))
    assert "<rect" in over and "<image" in over and "<b>" not in over
    broken = segment_html(Segment("image", None, np.zeros(1, np.int32), "no <grid>"), request)
    assert 'role="alert"' in broken and "&lt;grid&gt;" in broken


def test_tokens_wear_their_modality(predictor):
    from unitok.serve.show import answers_html

    vocabulary = predictor.vocabulary
    text = vocabulary.to_global("text", predictor.tokenizers["text"].encode("a dog"))
    marks = [vocabulary.begin("image"), vocabulary.end("image")]
    ids = np.concatenate([text, marks, [EOS]]).astype(np.int32)
    output = Output("a dog", predictor.composer.parse(ids), -1.0, ids)
    page = answers_html([output], Request(prompt="a"), vocabulary, predictor.tokenizers)
    own = {vocabulary.modality_id(name) - 2 for name in ("text", "image")}
    shown = set(re.findall(r'<span class="m(\d|-)"', page))
    assert shown == {*map(str, own), "-"}
    assert "&lt;image&gt;" in page and "&lt;/image&gt;" in page


# ---- over HTTP ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictor():
    from untrained import make_predictor

    return make_predictor(batch_sizes=(2,))


@pytest.fixture(scope="module")
def address(predictor):
    pytest.importorskip("gradio", reason="the extra `serve` is not installed")
    from unitok.serve.page import build_page, launch

    page = build_page(predictor, "UniTok: test", [("Draw {image}", "image")])
    yield launch(page)
    page.close()


def test_the_page_answers_over_http(address, tmp_path):
    from gradio_client import Client, handle_file

    assert address.startswith("http://127.0.0.1:")
    client = Client(address, verbose=False)
    write_file(PICTURE, tmp_path / "seven.png")
    picture = handle_file(str(tmp_path / "seven.png"))

    def ask(constraints: str) -> str:
        given = ["draw", "image", picture, None, None, "", None]  # as they stand on the page
        options = [2, "", 0, 0, 0, 1.0, 1.0, 1, "autoregressive", constraints]
        return client.predict(*given, *options, api_name="/generate")

    answer = ask(GEOMETRY)
    assert "Asked: draw {image:image}" in html.unescape(answer)
    pictures = re.findall(r'src="(data:image/png;base64,[^"]+)"', answer)
    assert len(pictures) == 2 and pictures[0] != pictures[1]
    refused = ask('{"hieght": 8}')
    assert 'role="alert"' in refused and "hieght" in refused


def test_uploads_are_limited_and_files_of_the_machine_are_not_served(address):
    body = b"x" * (17 << 20)
    mark = "UniTokBoundary"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="big.csv"\r\n\r\n'
    data = head.encode() + body + f"\r\n--{mark}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    upload = urllib.request.Request(f"{address}gradio_api/upload", data, kind)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(upload, timeout=60)
    assert refused.value.code == 413
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}gradio_api/file=/etc/passwd", timeout=60)
    assert refused.value.code in (403, 404)


# ---- in a browser -------------------------------------------------------------------------------


class Browser:
    """The page as a person uses it; what it fetches from elsewhere and what breaks in it is kept."""

    def __init__(self, page, address):
        self.page, self.foreign, self.errors = page, [], []
        local = (address, "data:", "blob:", address.replace("http", "ws"))
        page.on("request", lambda r: r.url.startswith(local) or self.foreign.append(r.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address, timeout=120_000)
        page.get_by_label("Prompt").first.wait_for(timeout=120_000)
        page.get_by_text("More", exact=True).click()

    def give(self, place, file):
        """A file into the page's input of that place: picture, sound, series."""
        with self.page.expect_response(
            lambda r: re.search(r"/upload(\?|$)", r.url), timeout=120_000
        ):
            self.page.locator("input[type=file]").nth(place).set_input_files(str(file))

    def ask(self, prompt, to, constraints, samples=1):
        """The answer's cards, once there are as many as asked for, of this prompt."""
        page = self.page
        page.get_by_label("Prompt").first.fill(prompt)
        target = page.get_by_label("Answer with")
        target.click()
        target.fill(to)
        target.press("Enter")
        page.get_by_label("number input for Samples").fill(str(samples))
        page.get_by_label("Constraints").fill(constraints)
        page.get_by_role("button", name="Generate").click()
        words = max(re.split(r"\{\w+\}", prompt), key=len).strip()
        page.locator("#answer .asked", has_text=words).wait_for(timeout=120_000)
        cards = page.locator("#answer .answer")
        assert cards.count() == samples
        return cards


@pytest.fixture
def browser(address):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `test-serve`")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as play:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = play.chromium.launch(executable_path=CHROMIUM, args=options)
        used = Browser(started.new_page(viewport={"width": 1280, "height": 900}), address)
        yield used
        started.close()
    assert not used.foreign and not used.errors


def test_pictures_in_chromium(browser, tmp_path):
    """Two pictures side by side, wide and narrow, and the tokens' colours."""
    write_file(PICTURE, tmp_path / "seven.png")
    browser.give(0, tmp_path / "seven.png")
    cards = browser.ask("draw", "image", GEOMETRY, samples=2)
    sides = cards.locator("img").evaluate_all(
        "images => images.map(i => [i.naturalWidth, i.naturalHeight, i.getBoundingClientRect().top])"
    )
    assert [side[:2] for side in sides] == [[8, 8], [8, 8]]
    assert sides[0][2] == sides[1][2], "two samples stand side by side"
    cards.locator("summary").first.click()
    colours = cards.locator(".tokens span").evaluate_all(
        "spans => [...new Set(spans.map(s => getComputedStyle(s).backgroundColor))]"
    )
    assert len(colours) == 2, "the image's colour and that of special ids"
    browser.page.set_viewport_size({"width": 390, "height": 844})
    browser.page.wait_for_timeout(300)
    assert browser.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_text_sound_series_and_graphs_in_chromium(browser, tmp_path):
    """Given as files and as text, asked for one after another: read, heard, plotted and drawn."""
    said = browser.ask("yes or no?", "text", '{"choices": ["yes", "no"]}')
    assert said.locator(".text").inner_text() in ("yes", "no")

    write_file(Series(np.sin(np.arange(20.0))), tmp_path / "past.csv")
    write_file(Audio(np.sin(np.arange(1600) / 5).astype(np.float32) / 2, 16000), tmp_path / "a.wav")
    browser.give(2, tmp_path / "past.csv")  # what has been given leaves the page's empty places
    browser.give(1, tmp_path / "a.wav")
    heard = browser.ask("an echo of {audio}", "audio", '{"length": 1600}').locator("audio")
    browser.page.wait_for_function("document.querySelector('#answer audio').readyState > 0")
    assert heard.evaluate("sound => sound.duration") == pytest.approx(0.1, abs=0.001)

    ahead = browser.ask("{series} goes on", "series@series", '{"length": 9}')
    assert "9 steps of 1 channels" in ahead.inner_text()
    lines = ahead.locator("svg .line")
    assert lines.count() == 2, "what was given and what follows"
    assert all(lines.nth(i).bounding_box()["width"] > 10 for i in range(2))

    browser.page.get_by_label("{graph}: an edge list").fill("0 1\n1 2")
    browser.page.get_by_label("Temperature").fill("10")  # random weights, colder, draw empty graphs
    drawn = browser.ask("like {graph}", "graph", '{"directed": true}', samples=16)
    sizes = []
    for card in drawn.all():
        said = re.findall(r"(\d+) nodes, (\d+) edges", card.inner_text())[0]
        sizes.append(tuple(map(int, said)))
        assert (card.locator("svg .node").count(), card.locator("svg .edge").count()) == sizes[-1]
    assert max(sizes) > (3, 1)


def test_serve_says_what_is_missing(capsys, tmp_path):
    from unitok.serve.main import main

    assert main([]) == 2 and "--checkpoint" in capsys.readouterr().err
    assert main([f"--checkpoint={tmp_path / 'nowhere'}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert Path(captured.err.split(": ")[1]).name == "config.json"
