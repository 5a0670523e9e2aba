"""``starft tune --from RUN``: checkpoint, alpha of WiSE-FT and temperature, chosen without training anew.

Temperature: Guo et al., ICML 2017, arXiv 1706.04599, equation 9. Deviation: it becomes part of the weights, as logits
over T are those of a head, or an exp(logit_scale), over T.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from starft.cli.interpolate import ALPHAS
from starft.cli.weight_scoring import Scorer
from starft.errors import ConfigError, RunFolderError
from starft.evaluation.kept_predictions import KeptPredictions
from starft.evaluation.rules import Candidate, Rule
from starft.files.atomic import is_taken, replace_file
from starft.reporting.console import Console
from starft.reporting.tuning import Row, ranking_table, trials_plot, trials_table
from starft.runs.ending import unfinished_note
from starft.runs.folder import check_writable
from starft.runs.layout import CHECKPOINTS
from starft.runs.validation import COLUMNS, Validation
from starft.safe_text import say
from starft.training.averaging import (
    BIAS,
    HEAD,
    Member,
    State,
    interpolate,
    next_command,
    pretrained_weights,
    read_member,
    read_weights,
    write_averaged,
)

SCALE = "logit_scale"
"""End of the name of CLIP's factor on similarities, a logarithm."""


def choose_from(run: Path, config: Path, rule: Rule, options: tuple[str, ...], out: Path) -> None:
    """Score each checkpoint at each alpha, choose by a rule, calibrate, and write that model as a checkpoint.

    Args:
        run: The run folder.
        config: Its config.
        rule: Chooses; the pull of a candidate is 1 - alpha.
        options: Of the command line, which change the config.
        out: Folder of ``chosen.ckpt``, the table and the picture.

    Raises:
        ConfigError: The run has no checkpoint.
        RunFolderError: What would be written exists already.
    """
    target = out / "chosen.ckpt"
    if is_taken(target):
        raise RunFolderError(f"{target} exists already; give another --out, or move it away.")
    members = [read_member(path) for path in sorted((run / CHECKPOINTS).glob("*.ckpt"))]
    if not members:
        raise ConfigError(f"{run} has no checkpoint to choose from; give the folder of a training.")
    check_writable(out)
    if note := unfinished_note(members[0].path):
        say(f"Note: {note}", file=sys.stderr)
    scorer, kept = Scorer(config, members[0], "validate", options), KeptPredictions()
    scorer.cli.trainer.callbacks.append(kept)  # type: ignore[attr-defined]
    start = pretrained_weights(members[0])
    places: dict[str, tuple[Member, float]] = {}
    found: dict[str, Validation] = {}
    seen: list[Candidate] = []
    for member in members:
        end = read_weights(member)
        for alpha in ALPHAS if member is members[0] else ALPHAS[1:]:  # all start at the same place
            title = f"{member.path.stem} {alpha:g}"
            metrics = scorer(interpolate(start, end, alpha))
            samples = {
                name: {column: getattr(item, column).numpy() for column in COLUMNS}
                for name, item in kept.samples().items()
            }
            places[title], found[title] = (member, alpha), Validation(metrics, samples)
            seen.append(Candidate(title, metrics, samples, 1 - alpha))
            if len(seen) == 1:  # the pre-trained weights
                rule.frozen = samples[rule.setting.id_set]
                rule.value(seen[0])  # refuses what it can't choose by
    chosen = rule.ranked(seen)[0]
    member, alpha = places[chosen.title]
    state = interpolate(start, read_weights(member), alpha)
    which = [item.name for item in scorer.eval_sets].index(rule.setting.id_set)
    labels = chosen.samples[rule.setting.id_set]["label"]
    logits = scorer.logits(which, state, torch.ones(len(labels), dtype=torch.bool))
    temperature = best_temperature(logits, labels)
    made_of = {"run": str(run), "checkpoint": str(member.path), "alpha": alpha, "temperature": temperature}
    write_averaged(target, member, cooled(state, temperature), made_of)
    rows = []
    for item in seen:
        values = {"checkpoint": places[item.title][0].path.name, "alpha": places[item.title][1]}
        numbers = rule.value(item), rule.id_accuracy(item)
        rows.append(Row(item.title, "full", values, found[item.title], *numbers, chosen=item is chosen))
    replace_file(out / "trials.csv", trials_table(rows).csv().encode())
    trials_plot(rows, rule.watches, out / "trials.png")
    Console(160).print(ranking_table(rows, rule.watches))
    say(f"Chosen: {member.path}, alpha {alpha:g}, temperature {temperature:.3g}: {target}")
    if command := next_command(target, [member]):
        say(command)


def best_temperature(logits: Tensor, labels: NDArray[np.int64]) -> float:
    """Return the temperature in [0.05, 20] with the least cross-entropy of ``logits / T``.

    It is 1 where all predictions are right: these say nothing of how sure a model may be, and the least cross-entropy
    lies at 0.

    Args:
        logits: Of validation images (n, L).
        labels: Their labels (n,).
    """
    scores, targets = logits.double(), torch.from_numpy(labels)
    if bool((scores.argmax(dim=1) == targets).all()):
        return 1.0

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(scores / math.exp(log_temperature), targets))

    return float(math.exp(minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded").x))


def cooled(state: State, temperature: float) -> dict[str, Tensor]:
    """Return weights whose logits are those of ``state`` over the temperature.

    Args:
        state: The student's weights, its linear head and the head's bias.
        temperature: Positive.
    """
    changed = {key: state[key] / temperature for key in (HEAD, BIAS) if key in state}
    if not changed:
        changed = {key: item - math.log(temperature) for key, item in state.items() if key.endswith(SCALE)}
    return {**state, **changed}
