"""Run a recipe under a launcher, on one device or many.

accelerate launch --config_file accelerate_configs/multi_gpu.yaml recipes/distill.py recipes/sst2.yaml

Takes what `distilnlp distill` takes.
"""

import sys

from distilnlp.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["distill", *sys.argv[1:]]))
