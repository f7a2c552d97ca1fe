"""The page itself: what can be given on the left, what comes back on the right. Gradio draws and serves it.

One endpoint, /generate, one request at a time: the model fills the machine as it is.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before the import: nothing calls home

import gradio as gr

from unitok.errors import InputError
from unitok.predictor import Predictor
from unitok.serve.ask import MAX_NEW_TOKENS, MAX_SAMPLES, Form, request_of, require_short
from unitok.serve.show import CSS, answers_html, error_html

LOOPBACK = "127.0.0.1"
MAX_UPLOAD = "16mb"
WAITING = 16  # requests that may queue
CONSTRAINTS = 'Constraints, as {"choices": ["yes", "no"]} or {"height": 16, "width": 16}'
SYSTEM_FONT = ("system-ui", "sans-serif")  # no font is fetched from anywhere
HINT = (
    "Write {image}, {audio}, {series} or {graph} where a value belongs; what is not named stands at "
    "the end. Further files go by their own names: three.png is {three}, so examples can stand in "
    "the prompt: {three} is 3. {image} is"
)


def build_page(predictor: Predictor, title: str, examples: list[tuple[str, str]]) -> gr.Blocks:
    """examples: (prompt, modality asked for), from the run's own tasks."""
    modalities = [name for name in predictor.vocabulary.modalities if name in predictor.tokenizers]

    def generate(*filled: Any) -> str:
        try:
            request = request_of(_form(*filled))
            require_short(len(predictor.interpreter.compose(request)))
            (outputs,) = predictor.generate_batch([request])
        except InputError as error:
            return error_html(str(error))
        return answers_html(outputs, request, predictor.vocabulary, predictor.tokenizers)

    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.Markdown(f"## {title}")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                prompt = gr.Textbox(label="Prompt", lines=3, placeholder="Which digit? {image}")
                gr.Markdown(HINT, elem_classes="hint")
                to = gr.Dropdown(
                    _targets(modalities), value="text", label="Answer with", allow_custom_value=True
                )
                button = gr.Button("Generate", variant="primary")
                given = _inputs(modalities)
                options = _options()
                if examples:
                    gr.Examples([list(e) for e in examples], [prompt, to], label="This run's tasks")
            with gr.Column(scale=3, min_width=320):
                answer = gr.HTML(label="Answer", elem_id="answer", min_height=120)
        filled = [prompt, to, *given, *options]
        button.click(generate, filled, answer, api_name="generate")
        prompt.submit(generate, filled, answer, api_visibility="private")
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    return page


def _form(
    prompt: str, to: str, image: str | None, audio: str | None, series: str | None, graph: str,
    more: list[str] | None, samples: float, temperature: str, seed: float, new_tokens: float,
    top_k: float, top_p: float, guidance: float, beams: float, method: str, constraints: str,
) -> Form:  # fmt: skip
    """The components' values, in the order of the page."""
    return Form(
        prompt=prompt or "",
        to=to or "text",
        files={"image": image, "audio": audio, "series": series},
        graph=graph or "",
        more=more or (),
        samples=int(samples),
        temperature=temperature or "",
        seed=int(seed or 0),
        max_new_tokens=int(new_tokens) if new_tokens else None,
        options={
            "top_k": int(top_k or 0),
            "top_p": top_p,
            "guidance": guidance,
            "beams": int(beams or 1),
            "method": method,
        },
        constraints=constraints or "",
    )


def _targets(modalities: list[str]) -> list[str]:
    """What can be asked for: each modality, text with values of one inside, and what goes on from a field."""
    others = [name for name in modalities if name != "text"]
    found = [*modalities, *(f"text+{name}" for name in others)]
    if "series" in others:
        found.append("series@series")
    if {"coord", "image"} <= set(others):
        found.append("coord@image")
    return found


def _inputs(modalities: list[str]) -> list[Any]:
    """What can be given; a modality without tokenizer in this run is not shown."""
    has = set(modalities).__contains__
    with gr.Accordion("Give a picture, a sound, a series, a graph", open=True):
        with gr.Row():
            image = gr.Image(
                type="filepath", label="{image}", height=190, sources=["upload", "clipboard"],
                visible=has("image"),
            )  # fmt: skip
            audio = gr.Audio(
                type="filepath", label="{audio}", sources=["upload", "microphone"],
                visible=has("audio"),
            )  # fmt: skip
        series = gr.File(
            type="filepath", label="{series}: csv, one row a time step", height=140,
            file_types=[".csv", ".tsv", ".npy"], visible=has("series"),
        )  # fmt: skip
        graph = gr.Textbox(
            label="{graph}: an edge list, one `0 1` a line, or SMILES", lines=2,
            visible=has("graph"),
        )  # fmt: skip
        more = gr.File(
            type="filepath", label="More files, by their names", height=140, file_count="multiple"
        )
    return [image, audio, series, graph, more]


def _options() -> list[Any]:
    samples = gr.Slider(1, MAX_SAMPLES, value=1, step=1, label="Samples")
    with gr.Row():
        temperature = gr.Textbox(label="Temperature", placeholder="0 for one text, else 1")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0)
    with gr.Accordion("More", open=False):
        new_tokens = gr.Number(
            0, label="New tokens at most (0: what the answer needs, or 256)", precision=0,
            minimum=0, maximum=MAX_NEW_TOKENS,
        )  # fmt: skip
        with gr.Row():
            top_k = gr.Number(0, label="top-k (0: all)", precision=0, minimum=0)
            top_p = gr.Number(1.0, label="top-p", minimum=0, maximum=1)
        with gr.Row():
            guidance = gr.Number(1.0, label="Guidance (1: none)", minimum=0)
            beams = gr.Number(1, label="Beams", precision=0, minimum=1, maximum=MAX_SAMPLES)
        method = gr.Radio(["autoregressive", "parallel"], value="autoregressive", label="Method")
        constraints = gr.Textbox(label=CONSTRAINTS)
    drawing = [new_tokens, top_k, top_p, guidance, beams, method, constraints]
    return [samples, temperature, seed, *drawing]


def launch(page: gr.Blocks, host: str = LOOPBACK, port: int | None = None) -> str:
    """Serve the page in threads of this process; returns its address. Nothing but `host` is bound, nothing
    is shared, no file of this machine is offered. Raises InputError where the port is taken."""
    theme = gr.themes.Base(font=SYSTEM_FONT, font_mono=("ui-monospace", "monospace"))
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, share=False, inbrowser=False, quiet=True,
            prevent_thread_lock=True, max_file_size=MAX_UPLOAD, ssr_mode=False, css=CSS,
            theme=theme, footer_links=[], strict_cors=True,
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"--port: {' '.join(str(error).split())}") from None
    return address
