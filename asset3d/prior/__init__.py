"""Networks that know what things look like: a `type:` under `prior:` in a recipe is a file here."""
