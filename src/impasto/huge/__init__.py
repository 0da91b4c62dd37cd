"""Pictures that do not fit into memory, from file to file. Needs ``impasto[huge]``.

import impasto
from impasto.huge import stylize_file
stylize_file(impasto.load(), "scan.tif", "painting.jpg", "painted.tif")
"""

from impasto.extras import explain_missing

with explain_missing(__name__):
    from impasto.huge.convert import KINDS, stylize_file

__all__ = ["KINDS", "stylize_file"]
