"""`egokeras list`: recipes and exports with a line each."""

import ast

EXAMPLE = "egokeras list"
TENSORFLOW = True


def add_arguments(parser):
    pass


def run(args):
    from egokeras import export, recipe

    for title, files in (("recipes (egokeras train NAME)", recipe.names()), ("exports (egokeras export RUN NAME)", export.names())):
        print(title)
        for name, path in files.items():
            print(f"  {name:24}{_first_line(path)}")


def _first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
