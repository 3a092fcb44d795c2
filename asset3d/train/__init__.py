"""What can be learned: a `type:` under `train:` in a recipe is a file here. The loop is the stage `train`."""
