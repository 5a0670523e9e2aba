"""Ranking: mutual information by hand counts, chance by permutation, and the embedded world's homes first."""

import json
from pathlib import Path

import numpy as np
import pytest

from starft.__main__ import main
from starft.captions.pool_files import load_pool
from starft.mini.world import HOMES
from starft.prompting.ranking import mutual_information, rank_phrases

CONFIG = """\
seed_everything: {seed}
model: {{model_name: starft-mini, pretrained: {pretrained}}}
data: {{class_path: starft.mini.MiniWorld, init_args: {{train_size: {size}}}}}
"""


def test_mutual_information_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    present = np.array([[1, 0, 0.5, 1], [1, 0, 0.5, 0], [0, 0, 0.5, 1], [0, 0, 0.5, 0], [0, 0, 0.5, 1], [0, 0, 0.5, 0]])
    entropy = -(1 / 3) * np.log2(1 / 3) - (2 / 3) * np.log2(2 / 3)  # a phrase that is in one class of three
    assert mutual_information(present.astype(float), labels) == pytest.approx([entropy, 0, 0, 0], abs=1e-12)


def test_ranking_knows_chance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    noise = rng.random((200, 3)).round()
    signal = (labels[:, None] < 3).astype(float)
    scores = np.concatenate([noise, signal, np.full((200, 1), 0.3)], axis=1)
    phrases = ["{} n0", "{} n1", "{} n2", "{} signal", "{} flat"]
    ranked = rank_phrases(phrases, scores, labels, [str(c) for c in range(10)], 200, 0)
    assert ranked[0].template == "{} signal"
    assert ranked[0].bits > 0.7
    assert ranked[0].p_value == pytest.approx(1 / 201)
    assert set(ranked[0].classes) == {"0", "1", "2"}
    by_name = {one.template: one for one in ranked}
    for name in ("{} n0", "{} n1", "{} n2"):
        assert by_name[name].chance > 0.01, "finite data give noise some bits"
        assert abs(by_name[name].bits) < 0.04, "which the correction takes off"
        assert by_name[name].p_value > 0.02
    assert by_name["{} flat"].bits == pytest.approx(0, abs=1e-9)
    assert by_name["{} flat"].p_value == 1.0
    assert ranked == rank_phrases(phrases, scores, labels, [str(c) for c in range(10)], 200, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_homes_come_before_scenes_that_tell_nothing(capsys: pytest.CaptureFixture[str], seed: int) -> None:
    Path("config.yaml").write_text(CONFIG.format(seed=seed, pretrained="mini", size=600))
    assert main(["prompts", "rank", "mini_scenes", "--config", "config.yaml", "--top", "6"]) == 0
    pool = load_pool("prompts/pools/mini_scenes-top.json")
    assert len(pool.templates) == 6
    assert {template.split(" ", 3)[-1].removeprefix("the ") for template in pool.templates} == set(HOMES.values())
    bits = pool.provenance["ranked"]["bits"]
    homes = [value for template, value in bits.items() if template in pool.templates]
    others = [value for template, value in bits.items() if template not in pool.templates]
    assert min(homes) > 10 * max(others)
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:11]] == [str(place) for place in range(1, 11)]
    picture = Path("prompts/pools/mini_scenes-top.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["prompts", "check", "prompts/pools/mini_scenes-top.json"]) == 0


@pytest.mark.slow
def test_the_same_ranking_twice_and_per_class_phrases() -> None:
    Path("config.yaml").write_text(CONFIG.format(seed=0, pretrained="mini", size=120))
    held = {
        "schema_version": 1, "name": "own", "description": "d", "templates": ["{} at dawn"],
        "per_class": {"duck": ["{} on a lake"], "owl": ["{} in a forest", "{} on a lake"]},
        "provenance": {"source": "llm"},
    }  # fmt: skip
    Path("own.json").write_text(json.dumps(held))
    words = ["prompts", "rank", "own.json", "--config", "config.yaml", "--top", "2", "--permutations", "20"]
    assert main([*words, "--out", "a.json"]) == 0
    assert main([*words, "--out", "b.json"]) == 0
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    assert len(load_pool("a.json").provenance["ranked"]["bits"]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mini_scenes"], "The following arguments are required: config. See `starft prompts rank --help`."),
        (["nope", "--config", "classes.yaml"], "No pool is called 'nope'"),
        (["mini_scenes", "--config", "classes.yaml"], "has no 'data' section; rank needs images"),
        (["mini_scenes", "--config", "nowhere.yaml"], "The config nowhere.yaml can't be read"),
        (["mini_scenes", "--config", "classes.yaml", "--top", "0"], "--top must be at least 1; got 0"),
        (["mini_scenes", "--config", "classes.yaml", "--permutations", "1"], "--permutations must be at least 20"),
        (["mini_scenes", "--config", "classes.yaml", "--plot", "a.txt"], "--plot must name a .png file; got a.txt"),
        (["mini_scenes", "--config", "classes.yaml", "--out", "there.json"], "there.json exists already; give another"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    Path("there.json").write_text("")
    assert main(["prompts", "rank", *words]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
