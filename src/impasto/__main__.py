"""``python -m impasto``, also for launchers of several processes: ``accelerate launch -m impasto train ...``."""

from impasto.cli import main

main()
