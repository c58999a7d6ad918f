"""Goes on with a run that was interrupted, or with a finished one for more steps."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from petbox import outputs
from petbox.cli import program
from petbox.data.fetch import download
from petbox.errors import DataError, ModelError
from petbox.training import named_weights, runs
from petbox.training.options import TrainOptions as Options

SAVED = "options.json"


def steps_of_finished(options: Options) -> int:
    """The steps of the finished run that is to go on; 0 if there is none to be found."""
    if not options.out.exists():
        return 0
    trained = runs.steps(options.out)
    if not trained or not (options.out / SAVED).is_file():
        outputs.reject_existing(options.out)
    if not options.steps or options.steps <= trained:
        raise DataError(
            f"{options.out}: exists already, with {trained} steps; name more --steps to train it "
            "further, remove it, or name another"
        )
    return trained


def reopen(options: Options, trained: int) -> None:
    """Makes a finished run an unfinished one, without what its end had made."""
    run = runs.unfinished(options.out)
    if run.exists():
        raise ModelError(f"{run}: exists beside {options.out}; remove one of them")
    _compared(options.out, options, "steps")
    program.say(
        f"{options.out}: going on from step {trained} to {options.steps}; the learning rate is "
        f"that of a training of {options.steps} steps"
    )
    _save(options.out, options)
    for pattern in runs.OF_EVALUATION:
        for stale in options.out.glob(pattern):
            stale.unlink()
    outputs.remove(options.out / runs.AVERAGED)
    options.out.rename(run)


def begin(run: Path, options: Options) -> None:
    """Begins the run, or goes on with the unfinished one if it has the same options or more steps.

    A learning rate that falls with the steps is from then on that of their new number.
    """
    ahead = options.steps and options.steps > runs.steps(run)
    if _compared(run, options, *["steps"] * bool(ahead)):
        program.say(f"continuing {run}")
    _save(run, options)


def _chosen(options: Options) -> dict[str, str]:
    """The options that make a run what it is."""
    records = options.records and options.records.resolve()
    init = options.init
    if init and init not in named_weights.NAMES and not download.is_url(init):
        init = str(Path(init).resolve())
    values = asdict(replace(options, records=records, init=init))
    free = {"out", "report_every", "json"}
    if options.pipeline_config:
        free.add("preset")  # it is the file's
    return {name: str(value) for name, value in values.items() if name not in free}


def _compared(run: Path, options: Options, *changed: str) -> bool:
    """Whether the run was started before; rejects other options, except for `changed` ones."""
    if not (run / SAVED).is_file():
        return False
    chosen, found = _chosen(options), json.loads((run / SAVED).read_text())
    # A run that an older petbox started lacks newer options.
    before = {name: found.get(name, str(getattr(Options, name, None))) for name in chosen}
    if different := [n for n in chosen if chosen[n] != before[n] and n not in changed]:
        name = different[0]
        flag = "--" + name.rstrip("_").replace("_", "-")
        raise ModelError(
            f"{run}: was started with {flag} {before[name]}, not "
            f"{chosen[name]}; finish it with the same options or with more --steps, or remove it"
        )
    return True


def _save(run: Path, options: Options) -> None:
    with outputs.product(run / SAVED, replace=True) as partial:
        partial.write_text(json.dumps(_chosen(options), indent=1) + "\n")
