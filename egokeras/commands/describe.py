"""`egokeras describe`: what a recipe would train, without training it."""

import json

EXAMPLE = "egokeras describe report_convnet1d"
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("recipe", metavar="RECIPE", help="name or path of a recipe")
    parser.add_argument("changes", metavar="KEY=VALUE", nargs="*", help="fields to change, for example model.head=LSTMHead")
    parser.add_argument("--layers", action="store_true", help="also list the layers on which an early exit can sit")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--bibtex", action="store_true", help="print the BibTeX entry of the paper whose setting it is, and nothing else")


def run(args):
    from egokeras import recipe

    stages = recipe.load(args.recipe, args.changes)
    if args.bibtex:
        print(_bibtex(stages))
        return
    facts = [_facts(stage, stages, args.layers) for stage in stages]
    print(json.dumps(facts, indent=1) if args.json else "\n\n".join("\n".join(_lines(stage)) for stage in facts))


def _bibtex(stages):
    """Entries of the papers that the stages name, each once."""
    from egokeras.errors import InputError
    from egokeras.papers import bibtex

    named = dict.fromkeys(stage.paper for stage in stages if stage.paper)
    if not named:
        raise InputError(f"recipe {stages[-1].name!r} names no paper; its field `paper` would, by a key of egokeras.papers.PAPERS.")
    return "\n\n".join(map(bibtex, named))


def _facts(stage, stages, with_layers):
    """Inputs, outputs, parameters and MACs of one stage's student; random weights serve as well as trained ones."""
    import keras

    from egokeras import untrained
    from egokeras.compress.cost import cost

    built, assumed = untrained.build(stage, stages)
    parts = {part.name: _parameters(part) for part in built.layers if isinstance(part, keras.Model)}
    return {
        "name": stage.name,
        "assumed": assumed,
        "inputs": {name: [*tensor.shape[1:], str(tensor.dtype)] for name, tensor in built.input.items()},
        "outputs": {name: list(tensor.shape[1:]) for name, tensor in built.output.items()},
        "parameters": {**parts, "whole": _parameters(built)},
        **cost(built),
        **({"pruning": _pruned(stage.pruning, built)} if stage.pruning else {}),
        **({"layers": _layers(built)} if with_layers else {}),
    }


def _pruned(pruning, built):
    """What pruning would make of the kernels."""
    from egokeras.compress.prune import count

    pruning.check(built)
    kernels = pruning.kernels(built).values()
    sizes = [kernel.value.shape.num_elements() for kernel in kernels]
    zeros = sum(count(pruning.final, size) for size in sizes) if pruning.threshold == "layer" else count(pruning.final, sum(sizes))
    return {"kernels": len(sizes), "weights": sum(sizes), "zeros": zeros}


def _layers(built):
    """Name, shape and share of the multiply-accumulates so far, of the layers on which an exit can sit."""
    import itertools

    from egokeras.compress.cost import cost_by_layer
    from egokeras.models.with_exits import places, unnested

    flat = unnested(built)
    macs = cost_by_layer(flat)
    so_far = dict(zip(macs, itertools.accumulate(macs.values()), strict=True))
    whole = max(1, *so_far.values())
    return [[name, *tensor.shape[1:], so_far[name] / whole] for name, tensor in places(flat).items()]


def _parameters(part):
    count = part.count_params()
    return {"total": count, "trainable": sum(int(weight.value.shape.num_elements()) for weight in part.trainable_weights)}


def _lines(facts):
    yield facts["name"] + (f", assuming {', '.join(facts['assumed'])}; data.shards=FOLDER says better" if facts["assumed"] else "")
    for name, (*shape, dtype) in facts["inputs"].items():
        yield f"  input   {name:16}{' x '.join(map(str, shape))} {dtype}"
    for name, shape in facts["outputs"].items():
        yield f"  output  {name:16}{' x '.join(map(str, shape))}"
    for name, count in facts["parameters"].items():
        macs = f"{facts['macs'].get(name, 0) / 1e6:,.1f} M MACs a clip"
        yield f"  {name:24}{count['total']:>12,} parameters, {count['trainable']:,} trainable, {macs}"
    if "pruning" in facts:
        pruned, whole = facts["pruning"], facts["parameters"]["whole"]["total"]
        share = f"{pruned['zeros'] / pruned['weights']:.1%} of the weights of {pruned['kernels']} kernels"
        yield f"  {'zeros after pruning':24}{pruned['zeros']:>12,} of {whole:,} parameters, {share}"
    for name, *shape, share in facts.get("layers", []):
        yield f"  layer   {name:32}{' x '.join(map(str, shape)):20}{share:7.1%} of the MACs"
    yield f"  {'activation memory':24}{facts['activation_bytes'] / 1e6:>12,.1f} MB in float32 at the widest layer, for one clip"
