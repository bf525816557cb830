"""Prepare a million labelled texts for training, beside Hugging Face datasets: seconds, CPU and memory of each step.

    python benchmarks/data.py [--rows 1000000] [--source ../shared/data/arxiv/train.parquet] [--repeat 3]
    python benchmarks/data.py --tokenise [--texts 20000]

Both sides read the same JSON lines, join title and abstract, leave out rows without text or label, split into three parts and
undersample the training part, each in a separate process. Labelwright also keeps equal texts in one part, and by default
near-duplicates too, which is measured separately; the peer does neither. With `--tokenise`, encoding through the cache is timed
beside a bare loop over lists in memory, in turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from data_cost import Laps, Side, measure
from data_peer import PLAIN, TUNED, prepare

SOURCE = Path(__file__).parents[2] / "shared/data/arxiv/train.parquet"


def main() -> None:
    """Run the chosen measurement and print the figures."""
    arguments = parse()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    if arguments.tokenise:
        from data_tokens import compare  # here, because the process of each side imports everything that this module imports

        compare(arguments.source, arguments.texts, rounds=arguments.repeat)
        return
    from data_rows import make_rows

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        make_rows(arguments.source, arguments.rows, file)
        print(f"{arguments.rows:,} rows, {file.stat().st_size / 1e9:.2f} GB of JSON lines")
        runs = run_in_turns(file, arguments.repeat)
        for name, laps in runs.items():
            show(name, laps)
        judge(runs)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--tokenise", action="store_true")
    parser.add_argument("--texts", type=int, default=20_000, help="texts to tokenise")
    return parser.parse_args()


def run_in_turns(file: Path, repeat: int) -> dict[str, list[Laps]]:
    """Run the sides in turns, so that other load on the machine affects all of them; return the laps by side."""
    sides: dict[str, Side] = {
        "labelwright": partial(read_split_undersample, near_duplicates=1.0),
        "labelwright, near-duplicates together": partial(read_split_undersample, near_duplicates=0.7),
        "datasets, row by row": partial(prepare, options=PLAIN),
        f"datasets, in batches, {TUNED.processes} processes": partial(prepare, options=TUNED),
    }
    compile_ahead()
    laps_by_side: dict[str, list[Laps]] = {name: [] for name in sides}
    for _ in range(repeat):
        for name, side in sides.items():
            laps_by_side[name].append(measure(side, file))
    return laps_by_side


def read_split_undersample(file: Path, folder: Path, *, near_duplicates: float) -> Iterator[str]:
    """Prepare with Labelwright; yield the name of each step when it is done."""
    from trainer.balance.strategies import balance
    from trainer.config.settings import BalanceConfig, DatasetConfig, SplitConfig
    from trainer.data.reading import read_examples
    from trainer.split.near_duplicates import groups
    from trainer.split.split import split

    yield "import"
    config = SplitConfig(near_duplicates=near_duplicates)
    examples = read_examples(DatasetConfig(uri=str(file), label_separator=" "), scratch=folder, seed=0).examples
    yield "read, clean, write texts"
    together = groups(examples, near_duplicates)
    yield "group equal texts" if near_duplicates == 1 else "group near-duplicates"
    parts = split(examples, together, config, seed=0, with_test=True)
    yield "split"
    kept = balance(parts.train, BalanceConfig(sampling="undersample"), seed=0).examples
    yield "undersample"
    write(kept, folder / "train.parquet")
    yield "write the training part"


def write(examples: object, file: Path) -> None:
    """Write texts and labels as Parquet, like the peer."""
    import polars as pl
    from polars.io.plugins import register_io_source

    from trainer.data.examples import WINDOW_ROWS, Examples

    assert isinstance(examples, Examples)
    names, targets = pl.Series(examples.labels), examples.targets
    schema = pl.Schema({"text": pl.String(), "labels": pl.List(pl.String())})

    def frames(*_: object) -> Iterator[pl.DataFrame]:
        for number, texts in enumerate(examples.text_series(WINDOW_ROWS)):
            some = targets[number * WINDOW_ROWS : (number + 1) * WINDOW_ROWS]
            rows, columns = some.nonzero()
            labels = pl.DataFrame({"row": rows, "label": names.gather(columns)}).group_by("row", maintain_order=True)
            yield pl.DataFrame({"text": texts, "labels": labels.agg("label")["label"]})

    register_io_source(frames, schema=schema).sink_parquet(file, compression="uncompressed", statistics=False)


def compile_ahead() -> None:
    """Compile numba's functions, so that no measured run does; the code is cached on disk."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        lines = (f'{{"title": "a{at}", "abstract": "b c d e", "categories": "{"xy"[at % 2]}"}}\n' for at in range(100))
        file.write_text("".join(lines))
        for near_duplicates in (0.7, 1.0):
            measure(partial(read_split_undersample, near_duplicates=near_duplicates), file)


def show(name: str, runs: list[Laps]) -> None:
    """Print the median of each step, and of all steps together."""
    print(f"\n{name} (median of {len(runs)})")
    for step in runs[0].seconds:
        print(f"  {step:28} {median(each.seconds[step] for each in runs):7.2f} s")
    print(f"  {'ready for training':28} {median(map(ready, runs)):7.2f} s")
    print(f"  {'and written':28} {median(map(written, runs)):7.2f} s wall {median(each.cpu for each in runs):7.2f} s CPU")
    print(f"  {'peak memory':28} {max(each.peak for each in runs):7,.0f} MB")


def judge(runs: dict[str, list[Laps]]) -> None:
    """Print the speed relative to each variant of the peer, turn by turn."""
    ours = runs["labelwright"]
    for name, theirs in runs.items():
        if name.startswith("datasets"):
            of_ready = median(ready(their) / ready(our) for their, our in zip(theirs, ours, strict=True))
            of_written = median(written(their) / written(our) for their, our in zip(theirs, ours, strict=True))
            print(f"\n{name}: {of_ready:.1f} times our seconds until ready, {of_written:.1f} until written (goal: 8)")
    print(f"our memory: {max(each.peak for each in ours):,.0f} MB (goal: 1,000)")


def ready(laps: Laps) -> float:
    """Return the seconds until training could start, without imports."""
    return sum(seconds for step, seconds in laps.seconds.items() if step not in ("import", "write the training part"))


def written(laps: Laps) -> float:
    """Return the seconds until the training part is in a file of its own too."""
    return ready(laps) + laps.seconds["write the training part"]


if __name__ == "__main__":
    main()
