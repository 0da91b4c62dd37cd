"""How good, how fast and how steady models are, and the experiments of the AdaIN paper."""
