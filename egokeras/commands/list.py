"""`egokeras list`: recipes and exports with a line each."""

import ast

EXAMPLE = "egokeras list"
TENSORFLOW = True


def add_arguments(parser):
    pass


def run(args):
    from egokeras import export, recipe

    recipes, exports = recipe.names(), export.names()
    width = 2 + max(map(len, (*recipes, *exports)))
    print("recipes (egokeras train NAME)")
    for name, path in recipes.items():
        never = "" if recipe.load(path)[-1].measured else " [never run at full size]"
        print(f"  {name:{width}}{_first_line(path)}{never}")
    print("exports (egokeras export RUN NAME)")
    for name, path in exports.items():
        print(f"  {name:{width}}{_first_line(path)}")


def _first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
