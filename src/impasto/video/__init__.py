"""Clips: frames in, painted frames out, stable in time, with sound and subtitles kept. Needs ``impasto[video]``.

import impasto
from impasto.video import stylize_video
stylize_video(impasto.load(), "clip.mp4", "painting.jpg", "painted.mp4")
"""

from impasto.extras import explain_missing

with explain_missing(__name__):
    from impasto.video.convert import StoppedError, VideoResult, stylize_video
    from impasto.video.keys import KeyFrames
    from impasto.video.temporal import TemporalPainter

__all__ = ["KeyFrames", "StoppedError", "TemporalPainter", "VideoResult", "stylize_video"]
