"""`egokeras list`: recipes and exports with a line each."""

import ast

EXAMPLE = "egokeras list"
TENSORFLOW = True


def add_arguments(parser):
    pass


def run(args):
    from egokeras import export, recipe

    print("recipes (egokeras train NAME)")
    for name, path in recipe.names().items():
        never = "" if recipe.load(path)[-1].measured else " [never run at full size]"
        print(f"  {name:24}{_first_line(path)}{never}")
    print("exports (egokeras export RUN NAME)")
    for name, path in export.names().items():
        print(f"  {name:24}{_first_line(path)}")


def _first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
