"""The signal scorer on a folder of labelled series: the benchmark's score at the best and at the product's own threshold.

The scorer gets time and value only, file by file. `5 folds` chooses the threshold on four fifths of the files and scores the
others; `family` on all other families. `online` asks again with the future cut off, and with a wild one: no score may change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.detection.nab_files import Labels, read_folder
from bench.detection.nab_score import PROFILES, Corpus, Profile, labelled
from bench.figures import Result
from bench.options import Options

Float64 = NDArray[np.float64]
Scorer = Callable[[Float64, Float64], Float64]

#: The product's threshold.
FIXED: Final = 1.0
FOLDS: Final = 5
#: Where a series is cut in the online check, and how much a score may differ.
_CUTS: Final = (0.31, 0.62, 0.93)
_SAME: Final = 1e-9
#: False alarms in one file closer than this many rows are one.
_ALARM_ROWS: Final = 30


def run(options: Options) -> list[Result]:
    """The tables; nothing without a folder."""
    if options.nab is None:
        return []
    files = read_folder(options.nab)
    scorer: Scorer = import_module("services.detector.evaluate").scores
    found = [np.asarray(scorer(file.t.copy(), file.values.copy()), np.float64) for file in files]
    corpus = Corpus([labelled(file.stamps, file.windows) for file in files])
    flat = corpus.flat(found)
    return [_overall(files, corpus, flat, scorer), _families(files, corpus, flat)]


def folds(files: Sequence[Labels], seed: int = 0) -> list[NDArray[np.bool_]]:
    """FOLDS masks over the files, each file in one."""
    place = np.random.default_rng(seed).permutation(len(files)) % FOLDS
    return [place == fold for fold in range(FOLDS)]


def held_out(corpus: Corpus, flat: Float64, profile: Profile, parts: Sequence[NDArray[np.bool_]]) -> float:
    """The score of all files, each at the threshold that is best for the files of the other parts."""
    total = 0.0
    for part in parts:
        if corpus.windows(~part):
            total += corpus.total(flat, profile, corpus.best(flat, profile, ~part).threshold, part)
    return corpus.normalised(total, profile)


def looks_ahead(scorer: Scorer, files: Sequence[Labels]) -> list[str]:
    """The files in which a score depends on what comes later."""
    guilty = []
    for file in files:
        whole = np.asarray(scorer(file.t.copy(), file.values.copy()))
        for share in _CUTS:
            cut = int(len(whole) * share)
            wild = file.values.copy()
            wild[cut:] = 1e6 - 7.0 * wild[cut:]
            parts = (scorer(file.t[:cut].copy(), file.values[:cut].copy()), scorer(file.t.copy(), wild)[:cut])
            if any(np.max(np.abs(np.asarray(part) - whole[:cut]), initial=0.0) > _SAME for part in parts):
                guilty.append(file.name)
                break
    return guilty


def _overall(files: Sequence[Labels], corpus: Corpus, flat: Float64, scorer: Scorer) -> Result:
    points = sum(len(file.t) for file in files)
    result = Result(
        "detection: nab",
        f"NAB score of {len(files)} files, {points:,} points, {corpus.windows()} windows",
        "nothing",
        1,
    )
    guilty = looks_ahead(scorer, files)
    result.notes.append(
        "online: no score depends on what comes later" if not guilty else f"LOOKS AHEAD: {', '.join(guilty)}"
    )
    by_family = [np.array([file.family == name for file in files]) for name in dict.fromkeys(f.family for f in files)]
    for name, profile in PROFILES.items():
        best = corpus.best(flat, profile)
        result.add(
            name,
            best=round(best.score, 2),
            threshold=round(best.threshold, 3),
            fixed=round(corpus.score(flat, profile, FIXED), 2),
            **{
                f"{FOLDS} folds": round(held_out(corpus, flat, profile, folds(files)), 2),
                "other families": round(held_out(corpus, flat, profile, by_family), 2),
                "online": int(not guilty),
            },
        )
    return result


def _families(files: Sequence[Labels], corpus: Corpus, flat: Float64) -> Result:
    result = Result(
        "detection: nab families", f"standard profile at SCORE = {FIXED:g}, the product's threshold", "nothing", 1
    )
    profile = PROFILES["standard"]
    for name in dict.fromkeys(file.family for file in files):
        chosen = np.array([file.family == name for file in files])
        rows = chosen[corpus.file]
        on = (flat >= FIXED) & rows
        windows = corpus.windows(chosen)
        hit = len(np.unique(corpus.window[on & (corpus.window >= 0)]))
        score = corpus.score(flat, profile, FIXED, chosen) if windows else ""
        result.add(
            name,
            files=int(chosen.sum()),
            windows=windows,
            found=hit,
            score=round(score, 2) if isinstance(score, float) else score,
            **{"false alarms": _alarms(np.flatnonzero(on & (corpus.window < 0)), corpus.file)},
        )
    return result


def _alarms(rows: NDArray[np.int64], file: NDArray[np.int64]) -> int:
    """False rows as alarms: one lasts for `_ALARM_ROWS` rows of its file."""
    alarms, last_file, begun = 0, -1, 0
    for row in rows.tolist():
        if file[row] != last_file or row - begun >= _ALARM_ROWS:
            alarms, last_file, begun = alarms + 1, int(file[row]), row
    return alarms
