"""Models for other programs: a training checkpoint as a model folder, a model for other runtimes and for cameras."""

from impasto.extras import explain_missing

with explain_missing(__name__):
    from impasto.export.checkpoint import INPUTS, OPSET, ContentGraph, content_graph, export, measure_reach, style_graph

__all__ = ["INPUTS", "OPSET", "ContentGraph", "content_graph", "export", "measure_reach", "style_graph"]
