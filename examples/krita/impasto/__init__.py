"""impasto as a plug-in of Krita: put this folder and impasto.desktop into `pykrita` in Krita's folder of resources."""

from krita import Krita

from .plugin import Impasto

Krita.instance().addExtension(Impasto(Krita.instance()))
