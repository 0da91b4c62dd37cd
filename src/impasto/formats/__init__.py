"""Picture files: what a format holds beside its pixels, and how samples become 8 bit sRGB."""
