"""The verdict of a report: roles read off configs, sentences of numbers made by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import run_folders as fake
from starft.cli.report import gather
from starft.reporting.differences import difference_of, most_lost
from starft.reporting.methods import Cell
from starft.reporting.report_file import Content
from starft.reporting.roles import plain_of, role_of
from starft.reporting.verdict import ID, OOD, WORST, Differ, Method, numbers_of, shortcut_sentences, terms, verdict
from starft.runs.run_reader import find_runs
from starft.statistics import Difference, independent_difference, wilson_interval

CE, FLYP = {"class_path": "starft.losses.CrossEntropy"}, {"class_path": "starft.losses.Contrastive"}
SEEDS = "One seed: nothing is known of the spread between seeds; repeat with"


def config(
    checkpoint: str | None = "runs/x/checkpoints/last.ckpt", objective: Any = CE, **model: Any
) -> dict[str, Any]:
    return {"ckpt_path": checkpoint, "trainer": {"max_epochs": 8}, "model": {"objective": objective, **model}}


@pytest.mark.parametrize(
    ("held", "role"),
    [
        (config(None), "zero-shot"),
        ({"trainer": {"max_epochs": 0}}, "zero-shot"),
        (config(None, head_start="probe"), "other"),
        ({}, "other"),
        (config(), "CE"),
        (config(objective=FLYP, freeze_text_tower=False, freeze_image_blocks=0, head_start="zero_shot"), "FLYP"),
        (config(regularizers=[{"class_path": "starft.losses.L2SP"}]), "other"),
        (config(freeze_image_tower=True), "other"),
        (config(head_start="probe"), "other"),
        (config(objective={"class_path": "starft.losses.GroupDRO"}), "other"),
        (config(objective=CE | {"init_args": {"logit_adjustment": 1.0}}), "other"),
        (config(objective=CE | {"init_args": {"class_weights": "balanced"}}), "other"),
        (config(objective=CE | {"init_args": {"logit_adjustment": 0.0, "class_weights": None}}), "CE"),
        (config(objective=FLYP | {"init_args": {"positives": "class"}}), "other"),
        (config(objective=FLYP | {"init_args": {"positives": "diagonal"}}), "FLYP"),
        (config(layer_decay=0.65), "other"),
        (config(unscaled_head=True), "other"),
        (config(layer_decay=1.0, unscaled_head=False), "CE"),
        (config("runs/soup.ckpt"), "other"),
        (config() | {"trainer": {"callbacks": [{"class_path": "starft.callbacks.JTT"}]}}, "other"),
        (config() | {"trainer": {"callbacks": {"class_path": "lightning.pytorch.callbacks.Timer"}}}, "CE"),
        (config() | {"data": {"init_args": {"sampling": "group_balanced"}}}, "other"),
        (config() | {"data": {"init_args": {"sampling": "shuffle"}}}, "CE"),
    ],
)
def test_the_role_of_a_run_is_read_off_its_config(held: Mapping[str, Any], role: str) -> None:
    assert role_of(held) == role


def test_what_a_run_is_held_against_goes_by_its_objective() -> None:
    assert [plain_of(config(objective=one)) for one in (CE, FLYP)] == ["CE", "FLYP"]
    assert plain_of(config(objective={"class_path": "starft.losses.ReCalCon"})) == "FLYP"
    assert plain_of({}) == "CE"


def method(name: str, role: str, runs: int = 1, plain: str = "CE", model: str = "m", **values: float) -> Method:
    words = {"id": ID, "ood": OOD, "worst": WORST}
    cells = {words[key]: Cell(value, (value - 0.02, value + 0.02), None) for key, value in values.items()}
    return Method(name, role, plain, model, runs, cells)  # type: ignore[arg-type]


def differ(*methods: Method, half: float = 0.03) -> Differ:
    """Return differences of values, half an interval to each side."""
    by_name = {one.name: one for one in methods}

    def told(word: str, first: str, second: str) -> Difference | None:
        one, two = (by_name[name].cells.get(word) for name in (first, second))
        gain = one.value - two.value if one is not None and two is not None else None
        return Difference(gain, (gain - half, gain + half)) if gain is not None else None

    return told


def said(*methods: Method, **more: str) -> list[str]:
    return [f"{one.text} {one.command}".strip() for one in verdict(methods, differ(*methods), **more)]


ZERO = method("zero", "zero-shot", id=0.88, ood=0.87, worst=0.94)
PLAIN = method("ce", "CE", id=0.97, ood=0.73, worst=0.75)
OURS = method("ours", "other", id=0.96, ood=0.83, worst=0.95)


def test_a_method_is_held_against_zero_shot_and_plain_fine_tuning() -> None:
    assert said(OURS, PLAIN, ZERO, configs="ce=a,ours=b") == [
        "ours beats the zero-shot model (zero) in ID accuracy by 8.0 points (5.0 to 11.0), loses to it in OOD accuracy "
        "by 4.0 points (1.0 to 7.0) and shows no certain difference in worst-group accuracy "
        "(+1.0 points, -2.0 to +4.0).",
        "ours beats plain fine-tuning by cross-entropy (ce) in OOD accuracy by 10.0 points (7.0 to 13.0) and "
        "worst-group accuracy by 20.0 points (17.0 to 23.0) and shows no certain difference in ID "
        "accuracy (-1.0 points, -4.0 to +2.0).",
        f"{SEEDS} starft compare --configs ce=a,ours=b --seeds 0,1,2",
    ]


def test_where_nothing_is_certain_that_is_said() -> None:
    told = said(method("ours", "other", id=0.9, ood=0.8), method("zero", "zero-shot", id=0.9, ood=0.81))[0]
    assert told == (
        "ours shows no certain difference to the zero-shot model (zero) in ID accuracy "
        "(0.0 points, -3.0 to +3.0) and OOD accuracy (-1.0 points, -4.0 to +2.0)."
    )


def test_what_is_certain_by_a_hair_is_not_told_as_from_zero() -> None:
    ours, zero = method("ours", "other", id=0.9301), method("zero", "zero-shot", id=0.9)
    assert verdict([ours, zero], differ(ours, zero))[0].text.endswith("ID accuracy by 3.0 points (under 0.1 to 6.0).")


def test_plain_fine_tuning_alone_is_held_against_zero_shot() -> None:
    told = said(PLAIN, ZERO)
    assert told[0].startswith("ce beats the zero-shot model (zero) in ID accuracy by 9.0 points")
    assert len(told) == 2


def test_a_contrastive_method_is_held_against_flyp_of_the_same_model() -> None:
    flyp = method("flyp", "FLYP", plain="FLYP", id=0.9)
    ours = method("ours", "other", plain="FLYP", id=0.95)
    assert said(PLAIN, flyp, ours)[0].startswith("ours beats plain contrastive fine-tuning (flyp) in")
    assert "plain fine-tuning by cross-entropy (ce)" in said(PLAIN, ours)[0], "where there is no FLYP"
    other = method("large", "zero-shot", model="other", id=0.5)
    assert not any("beats the zero-shot model" in text for text in said(ours, flyp, other))


@pytest.mark.parametrize(
    ("one", "start", "then"),
    [
        (method("ce", "CE", id=0.9, worst=0.5), "ce reaches", "Add a zero-shot run: starft test --config c.yaml"),
        (
            method("zero", "zero-shot", id=0.9, worst=0.5),
            "zero is the pre-trained model, not tuned: it reaches",
            "Add a tuned run",
        ),
    ],
)
def test_one_run_is_told_and_compared_with_nothing(one: Method, start: str, then: str) -> None:
    told = said(one, config="c.yaml")
    assert told[0] == (
        f"{start} 90.0 % ID accuracy (88.0 to 92.0) and 50.0 % worst-group accuracy (48.0 to 52.0). "
        "It is compared with nothing."
    )
    assert told[1].startswith(then)
    assert [text.startswith(SEEDS) for text in told] == ([False, False, True] if one.role == "CE" else [False, False])


def test_of_nothing_nothing_is_said() -> None:
    assert verdict([], differ()) == []


def test_of_sixty_methods_the_best_is_told_and_what_it_cannot_be_told_from() -> None:
    """OOD .801 to .858, zero-shot .82, CE .7. Nearer than .0295 to the best: from .829; above zero-shot: from .85."""
    many = [method(f"m{at}", "other", id=0.9 if at else 0.96, ood=0.801 + at / 1000) for at in range(58)]
    many += [method("zero", "zero-shot", id=0.8, ood=0.82), method("ce", "CE", id=0.9, ood=0.7)]
    assert [one.text for one in verdict(many, differ(*many, half=0.0295))] == [
        "Best in ID accuracy: m0 with 96.0 % (94.0 to 98.0), certainly above each of the 59 others.",
        "Best in OOD accuracy: m57 with 85.8 % (83.8 to 87.8), which the data can't tell from m56, m55, m54 and 26 "
        "more; it is certainly above 30 others.",
        "Of 59 tuned methods 9 beat the zero-shot model (zero) in OOD accuracy, 1 lose to it, and 49 show no "
        "certain difference.",
        SEEDS,
    ]


def test_seeds_are_asked_for_of_those_that_have_one() -> None:
    several = method("ours", "other", runs=3, id=0.9)
    assert len(said(several, ZERO)) == 1, "the pre-trained model is the same with every seed"
    assert said(several, PLAIN, ZERO)[-1].startswith("One seed of ce: nothing is known")


# --- of runs ----------------------------------------------------------------------------------------------------------


def content_of(folder: Path) -> Content:
    return gather(find_runs([folder]))


def sets(id_right: int, ood_right: int, n: int = 1000) -> dict[str, dict[str, object]]:
    return {"id": fake.eval_set({"all": (id_right, n)}), "ood": fake.eval_set({"all": (ood_right, n)}, ood=True)}


def test_runs_are_told_apart_by_their_configs_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fake.write_run(Path("runs/base"), sets(800, 700), ckpt_path=None)
    fake.write_run(Path("runs/ours"), sets(900, 690))
    content = content_of(Path("runs"))
    first, seeds = content.told.verdict
    assert first.text.startswith("ours beats the zero-shot model (base) in ID accuracy by 10.0 points (6.9 to 13.1)")
    assert seeds.command == "starft compare --configs ours=runs/ours/config.yaml --seeds 0,1,2"
    assert content.told.terms.startswith("ID accuracy: of “id”; OOD accuracy: of “ood”. In brackets 95 % intervals")


def test_other_test_sets_are_not_compared(tmp_path: Path) -> None:
    fake.write_run(tmp_path / "a", sets(900, 800))
    fake.write_run(tmp_path / "b", sets(450, 300, 500))
    fake.write_run(tmp_path / "c", {**sets(900, 800), "far": fake.eval_set({"all": (1, 10)}, ood=True)})
    content = content_of(tmp_path)
    assert difference_of(content.methods, content.table, "id/acc", "a", "b") is None, "another size"
    assert difference_of(content.methods, content.table, "ood_acc", "a", "c") is None, "the mean over other sets"
    assert difference_of(content.methods, content.table, "id/acc", "a", "c") is not None


def test_the_mean_over_ood_sets_is_paired_set_by_set(tmp_path: Path) -> None:
    """The first is right 20 times more of 400 in one set, and never in the other: 0.025 more in the mean."""
    for name, right in (("a", 120), ("b", 100)):
        held = {"x": fake.eval_set({"all": (right, 400)}, ood=True), "y": fake.eval_set({"all": (50, 100)}, ood=True)}
        run = fake.write_run(tmp_path / name, held)
        fake.write_samples(run, "x", [at < right for at in range(400)], [0] * 400)
        columns = dict(np.load(run / "samples.npz"))
        more = {key: values[:100] for key, values in columns.items()} | {
            "set": np.full(100, "y"),
            "right": np.arange(100) < 50,
        }
        np.savez(run / "samples.npz", **{key: np.concatenate([values, more[key]]) for key, values in columns.items()})
    content = content_of(tmp_path)
    found = difference_of(content.methods, content.table, "ood_acc", "a", "b")
    assert found is not None
    assert found.value == pytest.approx(0.025)
    # half a sample in each cell: 20.5, 0.5 of 402 and 0.5, 0.5 of 102; the mean of two halves either error
    error = 1.96 / 2 * ((21 / 402 - (20 / 402) ** 2) / 400 + 1 / 102 / 100) ** 0.5
    assert found.interval == pytest.approx((20 / 402 / 2 - error, 20 / 402 / 2 + error), abs=0.002)
    assert content.table["a"]["ood_acc"].best  # type: ignore[union-attr]


def test_the_numbers_of_a_verdict_and_what_they_mean() -> None:
    columns = ["ood_acc", "id/acc", "id/worst_group_acc", "o/worst_group_acc", "g/worst_group_acc"]
    numbers = numbers_of(columns, "id/acc", ["o", "p"])
    assert numbers == {ID: "id/acc", OOD: "ood_acc", WORST: "g/worst_group_acc"}, "of a set made for it"
    assert terms(numbers, ["o", "p"]).startswith("ID accuracy: of “id”; OOD accuracy: the mean over “o” and “p”; worst")
    assert numbers_of(columns[1:4], "id/acc", ["o"])[WORST] == "id/worst_group_acc"
    assert numbers_of([], None, []) == {}


def test_a_group_that_falls_is_told_where_the_worst_groups_are_others(tmp_path: Path) -> None:
    """98 of 100 become 80, while the worst group, another one, stays at 80; of four groups at 98.75 % each."""
    for name, right in (("zero", (80, 95, 98, 96)), ("ours", (82, 94, 80, 96))):
        groups = {group: (good, 100) for group, good in zip(fake.GROUPS, right, strict=True)}
        fake.write_run(tmp_path / name, {"id": fake.eval_set(groups)}, ckpt_path="a.ckpt" if name == "ours" else None)
    told = content_of(tmp_path).told.verdict[0]
    one, two = wilson_interval(80, 100, 1 - 0.05 / 4), wilson_interval(98, 100, 1 - 0.05 / 4)
    assert one is not None
    assert two is not None
    low, high = (100 * abs(end) for end in independent_difference((0.8, one), (0.98, two)).interval)
    assert "no certain difference in worst-group accuracy (0.0 points" in told.text
    assert told.text.endswith(
        f" In the group “waterbird on land” it certainly loses, by 18.0 points ({high:.1f} to {low:.1f})."
    )
    runs = {name: [run] for name, run in zip(("ours", "zero"), find_runs([tmp_path]), strict=True)}
    assert most_lost(runs["zero"], runs["ours"], "id") is None, "it gains there"
    once = most_lost(runs["ours"], runs["zero"], "id")
    assert most_lost(runs["ours"] * 2, runs["zero"], "id") == once, "a seed that says the same takes nothing back"
    assert most_lost(runs["ours"], runs["zero"], "far") is None


def test_a_run_that_was_stopped_is_told(tmp_path: Path) -> None:
    for name in ("ce", "killed", "starft"):
        fake.write_run(tmp_path / name, sets(900, 800))
    (tmp_path / "ce" / "unfinished.json").write_text('{"step": 56, "steps": 120}')
    (tmp_path / "killed" / "unfinished.json").write_text('{"step": null, "steps": null}')
    content = content_of(tmp_path)
    assert content.told.verdict[-1].text == (
        "Not trained to the end, so not what the method can do: ce stopped after step 56 of 120 and killed not ended."
    )
    states = [run.state for run in find_runs([tmp_path])]
    assert states == ["training stopped after step 56 of 120", "training not ended", "whole"]
    (tmp_path / "ce" / "unfinished.json").write_text("[")
    assert find_runs([tmp_path])[0].state == "unfinished.json is damaged (JSONDecodeError)"


def test_runs_without_groups_lead_to_the_audit_and_have_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without, with_groups = fake.eval_set({"all": (8, 10)}), fake.eval_set({"a": (8, 10), "b": (3, 10)})

    def messages(run: Path) -> list[tuple[str, str]]:
        return [(item.text, item.command) for item in shortcut_sentences(find_runs([run]))]

    alone = fake.write_run(tmp_path / "it's alone", {"id": without})
    text = "No image has an attribute or a group, so shortcuts can't be measured. To look for them:"
    assert messages(alone) == [(text, """starft audit data --config 'it'"'"'s alone/config.yaml'""")]
    assert messages(fake.write_run(tmp_path / "groups", {"id": with_groups})) == []
    sketch = fake.eval_set({"all": (1, 2)}, ood=True)
    assert messages(fake.write_run(tmp_path / "ood", {"id": without, "sketch": sketch})) == []
    (alone / "audit").mkdir()
    (alone / "audit" / "audit.json").write_text('{"schema_version": 1, "verdict": "Strongest: lake.", "pools": []}')
    told = "By attributes inferred from the images (it's alone/audit): Strongest: lake."
    assert messages(alone) == [(told, "")]
    (alone / "audit" / "audit.json").write_text('{"schema_version": 0}')
    assert messages(alone)[0][0] == text, "what is damaged is left alone"
