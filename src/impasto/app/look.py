"""The look and the words of the page: a calm sheet of paper, in the fonts that the reader's machine has."""

from __future__ import annotations

import html
from pathlib import Path

import gradio as gr

from impasto.errors import ImpastoError

#: Files that come with the page.
STATIC = Path(__file__).parent / "static"
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
_INK = gr.themes.Color(
    name="ink", c50="#eef2f6", c100="#d9e2ec", c200="#b6c7d8", c300="#8ba5bf", c400="#5f82a5", c500="#3f658c",
    c600="#2f5072", c700="#26415d", c800="#1e344b", c900="#162738", c950="#0e1a26",
)  # fmt: skip
THEME = gr.themes.Base(
    primary_hue=_INK, secondary_hue=_INK, neutral_hue="stone", font=_FONT, font_mono=["ui-monospace", "monospace"],
    radius_size="lg", spacing_size="md", text_size="md",
).set(
    body_background_fill="#faf9f6", body_background_fill_dark="#171614",
    body_text_color_subdued="#6b6660", body_text_color_subdued_dark="#b5afa8",
    block_info_text_color="#6b6660", block_info_text_color_dark="#b5afa8",
    block_border_width="1px", block_shadow="none", block_label_background_fill="transparent",
    button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
    button_primary_text_color="white", slider_color="*primary_500",
)  # fmt: skip
CSS = (STATIC / "page.css").read_text("utf-8")
HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def warn(error: ImpastoError) -> None:
    """Says over the page what went wrong, wherever the reader has scrolled to."""
    gr.Warning(_capitalize(str(error)), duration=8, title="That did not work")


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def line(text: str, wrong: bool = False) -> str:
    """Writes one line of HTML to go under the picture."""
    manner = 'class="wrong" role="alert"' if wrong else 'role="status"'
    return f"<p {manner}>{html.escape(_capitalize(text))}</p>"
