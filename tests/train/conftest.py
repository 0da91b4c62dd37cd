import numpy as np
import pytest
from extras import ignored_without

collect_ignore_glob = ignored_without("torch", "accelerate")


@pytest.fixture
def style_losses(vgg19, photo, painting):
    """Measures how far two other pictures, painted in styles, are from the picture of the first of these."""
    from impasto.evaluate.metrics import Observer

    def measure(model, *styles):
        others = [np.ascontiguousarray(picture[::2, ::2]) for picture in (photo, painting)]
        observe = Observer()
        target = observe(styles[0].picture).style
        return [
            np.mean([observe(np.asarray(model.stylize(other, style))).style_loss(target) for other in others])
            for style in styles
        ]

    return measure
