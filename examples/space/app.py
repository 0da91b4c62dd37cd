"""A demo of impasto in Gradio, as a Hugging Face Space shows it: a photo, a style by name or by a picture, painted."""

import gradio as gr

import impasto
from impasto.errors import ImpastoError

painter = impasto.load()
KEPT = [("the painting's", None), ("the photo's palette", "match"), ("the photo's own", "luminance")]


def paint(photo, style, own, strength, keep_color, stroke_size):
    if photo is None:
        raise gr.Error("Choose a photo first.", print_exception=False)
    try:
        return painter.stylize(
            photo, own or style, strength=strength, keep_color=keep_color, stroke_size=stroke_size, max_size=2048
        )
    except ImpastoError as error:  # one line, which says what to do
        raise gr.Error(str(error), print_exception=False) from None


with gr.Blocks(title="impasto") as demo:
    gr.Markdown("# impasto\nAny photo in the style of any picture, at once.")
    with gr.Row():
        with gr.Column():
            photo = gr.Image(label="Photo", type="filepath")
            style = gr.Dropdown(list(painter.gallery), value="hokusai-great-wave", label="Style")
            own = gr.Image(label="Or the style of a picture of yours", type="filepath")
            strength = gr.Slider(0, 1, 1, label="Strength")
            keep_color = gr.Radio(KEPT, value=None, label="Colours")
            stroke_size = gr.Slider(0.25, 4, 1, label="Stroke size")
            button = gr.Button("Paint", variant="primary")
        painted = gr.Image(label="Painted", format="png")
    button.click(paint, [photo, style, own, strength, keep_color, stroke_size], painted, api_name="paint")

if __name__ == "__main__":
    demo.launch()
