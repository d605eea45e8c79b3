"""`cnnpref scores`: tables of scores, from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch
from calling import Config, call, fail, net_of, succeed, unit_files
from drawings import write_pngs

from cnnpref.nets import open_net
from cnnpref.results.score_file import columns

FOLDER = Path("results/tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (30, 3, 4, 3)).astype(np.uint8)
    write_pngs(folder, noise.repeat(5, 1).repeat(4, 2))  # 15 x 16, of coarse grain
    return folder


pytestmark = pytest.mark.usefixtures("in_tmp_path")


@pytest.fixture
def run(tiny_config: Config, photos: Path) -> Config:
    """A config whose pictures are made, by 2 methods and 2 seeds, and its references."""
    config = {
        **tiny_config,
        "methods": ["gd", "lbfgs"],
        "seeds": 2,
        "labels": ["a", "b", "c", "d", "e", "f"],
        "references": str(photos),
        "options": {**tiny_config["options"], "lbfgs": {"maxiter": 3}},
    }
    for command in ("references", "generate", "collect"):
        succeed(command, config)
    return config


def test_units_with_similar_weights_have_a_table(run: Config) -> None:
    succeed("scores", run)
    table = polars.read_parquet(FOLDER / "scores" / "alike" / "conv1.parquet")
    assert table.columns == ["unit", "other", "cosine"]
    assert set(table["unit"]) | set(table["other"]) <= set(range(6))
    assert all(0 < cosine <= 1.001 for cosine in table["cosine"])
    (weights,) = open_net(run["net"]).unit_weights("conv1")
    unit, other, cosine = table.row(0)
    wanted = torch.cosine_similarity(weights[unit], weights[other], 0)
    assert cosine == pytest.approx(float(wanted), abs=1e-5)


def tables() -> dict[str, polars.DataFrame]:
    return {path.stem: polars.read_parquet(path) for path in (FOLDER / "scores").glob("*.parquet")}


def test_each_layer_has_a_table_and_the_run_has_one(run: Config) -> None:
    assert "scores.csv" in succeed("scores", run)
    found = tables()
    assert {name: len(table) for name, table in found.items()} == {"conv1": 24, "fire=expand": 16}
    for table in found.values():
        assert table.columns == list(columns(0))
    conv1 = found["conv1"]
    assert conv1["label"].to_list() == list("abcdef") * 4
    assert conv1["method"].to_list() == ["gd"] * 12 + ["lbfgs"] * 12
    assert conv1["seed"].to_list() == ([0] * 6 + [1] * 6) * 2
    fine = conv1.filter(conv1["status"] == "ok")
    assert len(fine) > 10
    for name in ("activation_8bit", "gain", "spectrum", "colour", "selectivity_z"):
        assert fine[name].null_count() == 0, name
    assert fine["diversity"].null_count() < 4  # null where the other seed failed
    assert conv1["judge_p"].null_count() == 24
    whole = polars.read_csv(FOLDER / "scores.csv")
    assert len(whole) == 40
    assert (
        whole["key"].to_list()
        == polars.concat(found[n] for n in ("conv1", "fire=expand"))["key"].to_list()
    )
    assert "all there and right" not in call("check", run).output  # sheets are missing
    assert "scores" not in call("check", run).stdout


def test_without_references_there_is_what_can_be_computed(
    tiny_config: Config,
) -> None:
    for command in ("generate", "collect", "scores"):
        succeed(command, tiny_config)
    table = tables()["conv1"].filter(polars.col("status") == "ok")
    known = {name for name in table.columns if table[name].null_count() < len(table)}
    keys = {"layer", "unit", "method", "key", "seed", "status"}
    assert known - {"iterations_95"} == keys | {"activation", "activation_8bit"}


def test_prints_the_best_first(run: Config) -> None:
    lines = call("scores", run, "--sort", "gain", "--top", "5").stdout.splitlines()
    head, *rows = [line.split() for line in lines]
    assert len(rows) == 5
    assert {"layer", "unit", "label", "gain", "keep"} < set(head)
    best = polars.concat(tables().values())["gain"].sort(descending=True, nulls_last=True)
    assert [row[head.index("gain")] for row in rows] == [f"{value:.4g}" for value in best[:5]]


def test_low_is_best_for_some_and_other_names_are_refused(run: Config) -> None:
    lines = call("scores", run, "--sort", "colour", "--top", "1").stdout.splitlines()
    lowest = polars.concat(tables().values())["colour"].min()
    assert f"{lowest:.4g}" in lines[1]
    message = fail("scores", run, "--sort", "gian")
    assert "did you mean 'gain'" in message
    assert "give one config" in fail("scores")


def test_only_what_is_missing_is_computed(run: Config) -> None:
    succeed("scores", run)
    before = tables()
    assert "pictures to score" not in succeed("scores", run)
    more = {**run, "methods": ["gd", "lbfgs"], "seeds": 3}
    for command in ("generate", "collect"):
        succeed(command, more)
    (FOLDER / "scores" / "conv1.parquet").unlink()  # as Snakemake does before the job
    log = succeed("scores", more)
    assert "conv1/gd: 0 pictures to score" in log
    assert "conv1/gd-seed2: 6 pictures to score" in log
    after = tables()["conv1"].filter(polars.col("seed") < 2).drop("diversity")
    assert after.equals(before["conv1"].drop("diversity"))


def test_a_damaged_part_is_computed_again(run: Config) -> None:
    succeed("scores", run)
    before = tables()["conv1"]
    (part,) = (FOLDER / "scores" / "parts").glob("conv1-*.parquet")
    part.write_bytes(part.read_bytes()[:500])
    (FOLDER / "scores" / "conv1.parquet").write_bytes(b"PAR1")
    assert "damaged" in call("check", run).stdout
    (FOLDER / "scores" / "conv1.parquet").unlink()
    assert "scoring again" in succeed("scores", run)
    assert tables()["conv1"].equals(before)


def test_scores_are_the_same_whatever_else_is_scored(run: Config) -> None:
    succeed("scores", run)
    whole = tables()["conv1"].filter((polars.col("unit") == 3) & (polars.col("method") == "gd"))
    alone = {**run, "results": "other", "layers": {"conv1": {"units": 3}}, "methods": ["gd"]}
    for command in ("references", "generate", "collect", "scores"):
        succeed(command, alone)
    found = polars.read_parquet("other/tiny/scores/conv1.parquet")
    assert found.equals(whole)


def test_units_that_failed_have_rows_without_scores(run: Config) -> None:
    dead = {**run, "methods": ["lbfgs"], "seeds": 1, "options": {"lbfgs": {"maxiter": 1}}}
    dead["layers"] = {"fc": {"units": "0-2"}}
    dead["net"] = {**run["net"], "mean": [300, 300, 300]}
    dead["labels"] = ["a", "b", "c", "d", "e"]
    for command in ("references", "generate", "collect", "scores"):
        succeed(command, dead)
    table = tables()["fc"]
    for row in table.to_dicts():
        if row["status"] != "ok":
            assert row["activation"] is row["gain"] is row["keep"] is None
    assert table["unit"].to_list() == [0, 1, 2]


def test_a_judge_and_nets_held_out_have_columns(run: Config, tiny_net: Path) -> None:
    judge = {**net_of(tiny_net), "layer": "conv1", "classes": {"a": 5, 1: 0}}
    asked = {**run, "judge": judge, "evaluate": [run["net"], {**net_of(tiny_net)}]}
    succeed("scores", asked)
    table = tables()["conv1"].filter(polars.col("status") == "ok")
    judged = table.filter(polars.col("judge_p").is_not_null())
    assert set(judged["unit"].to_list()) == {0, 1}
    assert judged["judge_p"].is_between(0, 1).all()
    assert set(judged["judge_top5"].to_list()) <= {0, 1}
    assert table["eval_0"].to_list() == table["activation_8bit"].to_list()
    assert table["eval_1"].null_count() == 0
    assert table["eval_1_rank"].is_between(1, 6).all()
    assert table.columns == list(columns(2))


def test_other_scores_and_the_former_ones_again(run: Config) -> None:
    succeed("scores", run)
    before = tables()
    former = set((FOLDER / "scores" / "parts").iterdir())
    other = {**run, "evaluate": [run["net"]]}
    succeed("scores", other)
    assert "eval_0" in tables()["conv1"].columns
    assert not any(path.exists() for path in former)
    assert call("check", run).exit_code != 0
    succeed("scores", run)
    assert all(table.equals(before[layer]) for layer, table in tables().items())


def test_a_table_older_than_its_layer_is_made_again(run: Config) -> None:
    succeed("scores", run)
    path = FOLDER / "scores" / "conv1.parquet"
    os.utime(path, (1, 1))
    assert "older than" in call("check", run).stdout
    succeed("scores", run)
    assert path.stat().st_mtime > 1


def test_a_layer_file_of_other_units_is_named(run: Config) -> None:
    fewer: dict[str, Any] = {**run, "layers": {"conv1": {"units": "0-2"}}}
    assert "run 'cnnpref collect'" in fail("scores", fewer)
    assert unit_files()
