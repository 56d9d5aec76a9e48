"""SYNTHETIC cases: the posterior is exact, and cases are what the net and the seed say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ttt_jax.tasks.diagnosis.case import LETTERS, NAME, CaseError, read_case
from ttt_jax.tasks.diagnosis.net import (
    CATEGORIES,
    DISTRACTORS,
    FAMILIES,
    FEATURES,
    ROOTS,
    SECTIONS,
    SIZES,
    Net,
    disease_splits,
    draw_net,
    family_splits,
    size_splits,
)
from ttt_jax.tasks.diagnosis.scoring import margin
from ttt_jax.tasks.diagnosis.sets import MIN_MARGIN, DiagnosisOptions, draw_case, make_tasks


def net(seed: int = 0, family: str = "graded", size: int = 5) -> Net:
    return draw_net(ROOTS, family, size, np.random.default_rng(seed))


def joint(n: Net) -> dict[tuple[int, tuple[bool, ...], tuple[bool, ...]], float]:
    """The probability of every disease, history and set of findings."""
    found = {}
    for history in product((False, True), repeat=len(n.history)):
        raw = [n.frequency[d] * np.prod([r for r, h in zip(n.ratio[d], history, strict=True) if h]) for d in range(5)]
        for d, findings in product(range(5), product((False, True), repeat=len(n.findings))):
            chance = 0.5 ** len(history) * raw[d] / sum(raw)
            for f, there in enumerate(findings):
                p = n.percent[d][f] / 100
                chance *= p if there else 1 - p
            found[d, history, findings] = chance
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_posterior_is_that_of_the_joint_distribution_summed_over_what_is_missing(family):
    n = net(1, family)
    everything = joint(n)
    assert sum(everything.values()) == pytest.approx(1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        _, evidence = n.sample(rng)
        known = {name: x for name, x in evidence.items() if name in n.history or rng.random() < 0.5}
        sums = np.zeros(5)
        for (d, history, findings), chance in everything.items():
            state = dict(zip(n.history, history, strict=True)) | {
                name: x for (_, name), x in zip(n.findings, findings, strict=True)
            }
            if all(state[name] == x for name, x in known.items()):
                sums[d] += chance
        exact = {disease.name: x for disease, x in zip(n.diseases, sums / sums.sum(), strict=True)}
        found = n.posterior(known | {"left-handedness": True})
        assert found == pytest.approx(exact)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_samples_have_the_frequencies_of_the_net():
    n, rng = net(3), np.random.default_rng(0)
    drawn = [n.sample(rng) for _ in range(4000)]
    _, name = n.findings[0]
    for d, disease in enumerate(n.diseases):
        of = [e[name] for x, e in drawn if x == disease]
        assert np.mean(of) == pytest.approx(n.percent[d][0] / 100, abs=4 * 0.5 / max(1, len(of)) ** 0.5)
    plain = [x for x, e in drawn if not any(e[h] for h in n.history)]
    for disease, frequency in zip(n.diseases, n.frequency, strict=True):
        share = plain.count(disease) / len(plain)
        assert share == pytest.approx(frequency / sum(n.frequency), abs=4 * 0.5 / len(plain) ** 0.5)


def test_a_case_states_all_that_its_posterior_rests_on():
    n = net(2, "noisy", 6)
    for seed in range(20):
        case = draw_case(n, np.random.default_rng(seed), f"x-{seed}")
        known = case.synthetic.known
        posterior = n.posterior(known)
        assert case.diagnosis == next(iter(posterior)) and margin(posterior) >= MIN_MARGIN
        assert set(n.history) <= set(known)
        for section, text in zip(SECTIONS, case.sections, strict=True):
            of = dict(dict(case.synthetic.evidence)[section])
            assert all(name in (*FEATURES[section], *DISTRACTORS[section]) for name in of)
            assert all(f"{name[0].upper()}{name[1:]}: {'yes' if x else 'no'}." in text for name, x in of.items())
            assert len(set(of) & set(DISTRACTORS[section])) == 1
        assert case.options[LETTERS.index(case.right)] == case.diagnosis and set(case.options) == set(
            list(posterior)[:4]
        )
        assert NAME in str(case) and case.diagnosis not in " ".join(case.sections)
    whole = [draw_case(n, np.random.default_rng(s), "x", missing=0.0).synthetic.known for s in range(5)]
    assert all(len(known) == len(n.history) + len(n.findings) + 3 for known in whole)


def test_the_handbook_tells_the_whole_net():
    n = net()
    lines = n.handbook().splitlines()
    for d, (disease, line) in enumerate(zip(n.diseases, lines, strict=True)):
        assert line.startswith(disease.name) and disease.category in line and disease.synonyms[0] in line
        assert f"{n.frequency[d]} in 100" in line
        assert all(f"{name} {n.percent[d][f]}%" in line for f, (_, name) in enumerate(n.findings))
    assert sum(n.frequency) <= 100 and min(n.frequency) >= 1
    assert {d.category for d in n.diseases} <= set(CATEGORIES)


def test_a_net_survives_json_and_bad_tables_are_refused():
    n = net()
    assert Net.from_json(n.to_json()) == n
    for change, message in (
        ({"frequency": [1]}, "5 diseases"),
        ({"percent": [[0] * 7] * 5}, "between 0 and 100"),
        ({"ratio": [[1.0]] * 5}, "every history item"),
        ({"frequency": [0] * 5}, "positive"),
        ({"diseases": "x"}, "net"),
    ):
        with pytest.raises(ValueError, match=message):
            Net.from_json(n.to_json() | change)


def test_splits_share_no_disease_family_or_size():
    for splits, count in (
        (disease_splits(), len(ROOTS)),
        (family_splits(), len(FAMILIES)),
        (size_splits(), len(SIZES)),
    ):
        parts = [set(of) for of in splits.values()]
        assert all(parts) and sum(map(len, parts)) == count == len(set.union(*parts))
    named = {}
    for split in size_splits():
        tasks = make_tasks(DiagnosisOptions(split, each=3))
        named[split] = {d.name for t in tasks for x in t.queries for d in x.problem.synthetic.net.diseases}
    assert not named["train"] & (named["development"] | named["test"]) and not named["development"] & named["test"]
    with pytest.raises(ValueError, match="held out of training"):
        DiagnosisOptions("train", sizes=size_splits()["test"])
    with pytest.raises(ValueError, match="nothing else tells"):
        DiagnosisOptions("test", handbook=False)
    with pytest.raises(ValueError, match="there are 3 names"):
        draw_net(ROOTS[:3], "sharp", 4, np.random.default_rng(0))
    assert min(map(len, disease_splits().values())) >= max(map(int, SIZES))


def test_tasks_come_from_the_seed_and_share_a_net():
    options = DiagnosisOptions("test", each=2, demos=3, handbook=False)
    first, second = make_tasks(options)
    assert make_tasks(options) == [first, second] and first != second
    cases = [x.problem for x in (*(x for x, _ in first.demos), *first.queries)]
    assert len({c.synthetic.net for c in cases}) == 1 and "Handbook" not in str(cases[0]) and NAME in first.id
    assert make_tasks(DiagnosisOptions("test", each=1, demos=3, handbook=False))[0] == first


def test_a_synthetic_record_that_does_not_fit_is_refused():
    record = draw_case(net(), np.random.default_rng(0), "x").to_json()
    assert read_case(record).synthetic is not None
    record[NAME]["net"]["frequency"] = [1]
    with pytest.raises(CaseError, match="SYNTHETIC: net"):
        read_case(record)
