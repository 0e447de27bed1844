"""The arguments of a training that a recipe cannot set, because the runner decides them."""

# Each with what to use instead.
PUSHED = "set `push_to_hub` of the recipe, or after the run: distilnlp push OUTPUT USER/NAME"
RESERVED_ARGUMENTS = {
    "output_dir": "set `output` of the recipe",
    "resume_from_checkpoint": "run the same command again: it goes on where it stopped",
    "push_to_hub": PUSHED,
    **{f"hub_{name}": PUSHED for name in ("model_id", "strategy", "private_repo", "always_push", "revision")},
    "hub_token": "set the environment variable HF_TOKEN, or log in once with `hf auth login`",
    "seed": "set `seed` of the recipe",
    "parallelism_config": "start the command by `accelerate launch`: each process trains a whole student",
    "do_train": "leave it out",
    "do_eval": "leave it out",
    "do_predict": "leave it out",
}
