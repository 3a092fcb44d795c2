"""Write docs/recipe.schema.json, by which editors complete and check recipes: python -m asset3d.schema [FILE]."""
import json
import sys
from pathlib import Path

from asset3d.recipe import Recipe


def schema() -> dict:
    """The JSON schema of a recipe, with every component that is installed."""
    result = Recipe.model_json_schema(by_alias=True)
    result["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    result["title"] = "asset3d recipe"
    return result


def text() -> str:
    return json.dumps(schema(), indent=1, sort_keys=True) + "\n"


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if target is None:
        print(text(), end="")
    else:
        target.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
