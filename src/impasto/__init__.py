"""Any picture in any style, at once.

    import impasto
    model = impasto.load()
    model.stylize("photo.jpg", "painting.jpg").save("painted.jpg")
"""

from impasto.errors import ImpastoError
from impasto.image import read_image, write_image
from impasto.style import Style, blend
from impasto.stylizer import Stylizer, load

__version__ = "0.1.0"
__all__ = ["ImpastoError", "Style", "Stylizer", "blend", "load", "read_image", "write_image"]
