"""Show how often the interval of a rate holds the truth, for made-up sites.

    python benchmarks/coverage.py [--sites 2000] [--reviewed]

Each site has some recordings, each recording some people. The chance that a person wears a mask varies between recordings
by a beta distribution, which gives the intra-cluster correlation. Prints the share of sites whose interval holds the true
rate, and the mean width. With `--reviewed`, a stratified sample of each site is looked at by a perfect reviewer, and the
rate is corrected by it; the last column is the number of looks that plain sampling would need for the same width.
"""

import argparse

import numpy as np

from maskbatch.reports.corrections import Labelled, sampled_rate
from maskbatch.reports.statistics import clustered_rate

_PEOPLE, _IN_RECORDING, _Z = 4000, 20, 1.96


def coverage(rate: float, correlation: float, clusters: int, sites: int) -> tuple[float, float]:
    """Return the coverage and the mean width of the interval for sites of `clusters` recordings."""
    rng, held, width = np.random.default_rng(0), 0, 0.0
    for _ in range(sites):
        totals = 1 + rng.poisson(19, clusters)
        spread = (1 - correlation) / correlation if correlation else None
        chances = rng.beta(rate * spread, (1 - rate) * spread, clusters) if spread else np.full(clusters, rate)
        found = clustered_rate(rng.binomial(totals, chances), totals)
        held += found.low <= rate <= found.high
        width += found.high - found.low
    return held / sites, width / sites


def reviewed_coverage(rate: float, correlation: float, looks: int, sites: int) -> tuple[float, float]:
    """Return the coverage and the mean half width of the corrected rate, with a model that errs on about 3 % of people."""
    rng, held, half = np.random.default_rng(7), 0, 0.0
    spread = (1 - correlation) / correlation
    for _ in range(sites):
        chances = np.repeat(rng.beta(rate * spread, (1 - rate) * spread, _PEOPLE // _IN_RECORDING), _IN_RECORDING)
        masked = (rng.random(_PEOPLE) < chances).astype(np.float64)
        p_mask = 1 / (1 + np.exp(-(np.where(masked == 1, 4.0, -4.0) + rng.normal(0, 2.2, _PEOPLE))))
        distance = np.abs(p_mask - 0.5)
        judged = (distance > 0.15).astype(np.float64)
        verdict = np.where(judged == 0, 2, p_mask > 0.5)
        stratum = np.unique(verdict * 3 + np.digitize(distance, [0.35, 0.47]), return_inverse=True)[1]
        sizes = np.bincount(stratum)
        share = np.maximum(np.bincount(stratum, np.minimum(p_mask, 1 - p_mask)) / sizes, 0.02)
        weight = sizes * np.sqrt(share * (1 - share))
        numbers = np.minimum(np.maximum(2, np.round(looks * weight / weight.sum())).astype(int), sizes)
        seen = np.concatenate([rng.choice(np.flatnonzero(stratum == one), numbers[one], replace=False)
                               for one in range(len(sizes))])  # fmt: skip
        labelled = Labelled(stratum[seen], masked[seen], np.ones(len(seen)), p_mask[seen], judged[seen])
        found = sampled_rate(sizes, labelled, p_mask, judged)
        held += found.low <= masked.mean() <= found.high
        half += (found.high - found.low) / 2
    return held / sites, half / sites


def print_reviewed(sites: int) -> None:
    """Print the table of corrected rates."""
    print("| true rate | looks | coverage | half width | looks by plain sampling |\n|---|---|---|---|---|", flush=True)
    for rate in (0.8, 0.9, 0.95, 0.99, 0.995):
        for looks in (150, 500):
            held, half = reviewed_coverage(rate, 0.1, looks, sites)
            plain = _Z**2 * rate * (1 - rate) / half**2
            print(f"| {rate} | {looks} | {held:.3f} | {half:.4f} | {plain:.0f} |", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sites", type=int, default=2000)
    parser.add_argument("--reviewed", action="store_true")
    given = parser.parse_args()
    if given.reviewed:
        print_reviewed(given.sites)
        return
    print("| true rate | correlation | recordings | coverage | width |\n|---|---|---|---|---|", flush=True)
    for rate in (0.8, 0.9, 0.95, 0.99, 0.995):
        for correlation in (0.0, 0.1, 0.3):
            for clusters in (10, 50):
                held, width = coverage(rate, correlation, clusters, given.sites)
                print(f"| {rate} | {correlation} | {clusters} | {held:.3f} | {width:.3f} |", flush=True)


if __name__ == "__main__":
    main()
