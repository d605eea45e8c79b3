"""`cnnpref plan`: what is to be done, before it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from calling import Config, call, fail, net_of, succeed, unit_files
from drawings import drawings, write_pngs
from serving import Zoo

pytestmark = pytest.mark.usefixtures("in_tmp_path")
HEADINGS = ["layer", "method", "units", "there", "jobs", "disk", "memory", "s/unit", "time"]


def told(*arguments: str | Config) -> tuple[list[list[str]], str]:
    """The table, as cells, and the line below it; what the cells have in common is two blanks."""
    result = call("plan", *arguments)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("results/"))
    table = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[:end]]
    return table, lines[end]


@pytest.fixture
def every_method(tiny_config: Config, tiny_net: Path) -> Config:
    generator = net_of(tiny_net, "generator")
    methods = ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs"]
    return {**tiny_config, "methods": methods, "generator": generator}


def test_quick_counts_units_and_jobs_and_measures_nothing(tiny_config: Config) -> None:
    table, last = told(tiny_config, "--quick")
    assert table[0] == HEADINGS[:-2]
    assert [row[:5] for row in table[1:]] == [
        ["conv1", "gd", "6", "0", "2"],
        ["fire/expand", "gd", "4", "0", "1"],
        ["all", "1 at a time", "10", "0", "3"],
    ]
    assert last.startswith("results/tiny: layers 2, methods 1, unit files 10 (0 there), jobs ")
    assert not Path("results").exists()


def test_units_that_are_there_are_not_counted_again(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    files = unit_files()
    for name in ("conv1/1", "conv1/2"):  # of one batch
        files[name].unlink()
    table, last = told(tiny_config, "--quick")
    assert [row[2:5] for row in table[1:]] == [["6", "4", "1"], ["4", "4", "0"], ["10", "8", "1"]]
    assert "unit files 10 (8 there), jobs to compute the others 1," in last


def test_disk_is_that_of_unit_files_and_layer_files(tiny_config: Config) -> None:
    config = {**tiny_config, "layers": {"conv1": {}}}
    succeed("generate", config)
    succeed("collect", config)
    made = sum(path.stat().st_size for path in Path("results").rglob("*.h5"))
    said = next(row for row in told(config, "--quick")[0] if row[0] == "conv1")[5]
    assert said.endswith(" MB")
    assert float(said.removesuffix(" MB")) == pytest.approx(made / 1e6, abs=0.06)


def test_every_method_of_every_layer_is_timed(every_method: Config) -> None:
    table, _ = told(every_method)
    assert table[0] == HEADINGS
    series = table[1:-1]
    assert [row[:2] for row in series] == [
        [layer, method]
        for layer in ("conv1", "fire/expand")
        for method in ("gd", "lbfgs", "dgn_gd", "dgn_lbfgs")
    ]
    assert all(float(row[7]) > 0 for row in series)
    assert not Path("results").exists()


def test_more_iterations_take_longer(tiny_config: Config) -> None:
    def seconds(iterations: int) -> float:
        config = {**tiny_config, "options": {"gd": {"iter_n": iterations}}}
        return float(told(config)[0][1][7].replace(",", ""))

    assert seconds(200_000) > 100 * seconds(200)


def test_jobs_at_a_time_share_the_time_and_add_up_in_memory(tiny_config: Config) -> None:
    config: dict[str, Any] = {**tiny_config, "options": {"gd": {"iter_n": 10**6}}}
    one, many = (told(config, "--jobs", str(jobs))[0][-1] for jobs in (1, 40))
    assert (one[1], many[1]) == ("1 at a time", "40 at a time")
    assert float(many[6].split()[0]) == pytest.approx(40 * float(one[6].split()[0]), rel=0.05)
    assert (one[7].split()[1], many[7].split()[1]) in {
        *(("h", "h"), ("h", "min"), ("min", "min"), ("min", "s"))
    }


def test_a_finished_run_takes_no_time(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    table, _ = told(tiny_config)
    assert [len(row) for row in table[1:-1]] == [7, 7]
    assert table[-1][-1] == "0.0 s"


def test_weights_that_are_not_here_are_not_fetched(zoo: Zoo) -> None:
    config = {"net": {"zoo": "tiny"}, "layers": {"conv1": {}}, "methods": ["gd"]}
    result = call("plan", config)
    assert result.exit_code == 0
    assert result.stderr == "timed on cpu; random weights: net, not fetched yet\n"
    assert zoo.site.requests == []
    assert not zoo.cache.exists()


def test_a_net_that_is_too_slow_to_time_is_estimated(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnpref.jobs.timing.LIMIT", 1e-6)
    row = told({**tiny_config, "layers": {"conv1": {}}})[0][1]
    assert row[7].startswith("~")
    assert row[8].startswith("~")


def test_references_and_scores_have_their_lines(tiny_config: Config) -> None:
    write_pngs(Path("photos"), drawings(30))
    config = {**tiny_config, "references": {"images": "photos", "shard": 10}}

    def lines() -> list[str]:
        return call("plan", config, "--quick").stdout.splitlines()[-2:]

    images, scores = lines()
    assert images.startswith("references: images 30, parts 3 (0 there), jobs to compute the other")
    assert images.endswith("of one CPU core at most")
    assert scores.startswith("scores: layers 2 (0 there), jobs to compute the others 2, ~")
    for command in ("references", "generate", "collect", "scores"):
        succeed(command, config)
    assert lines() == [
        "references: images 30, parts 3 (3 there), jobs to compute the others 0",
        "scores: layers 2 (2 there), jobs to compute the others 0",
    ]


def test_an_unknown_device_is_one_line(tiny_config: Config) -> None:
    assert "no device 'cuda:99'" in fail("plan", tiny_config, "--device", "cuda:99")
