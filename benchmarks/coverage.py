"""Show how often the interval of a rate holds the truth, for made-up sites.

    python benchmarks/coverage.py [--sites 2000]

Each site has some recordings, each recording some people. The chance that a person wears a mask varies between recordings
by a beta distribution, which gives the intra-cluster correlation. Prints the share of sites whose interval holds the true
rate, and the mean width.
"""

import argparse

import numpy as np

from maskbatch.reports.statistics import clustered_rate


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


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sites", type=int, default=2000)
    given = parser.parse_args()
    print("| true rate | correlation | recordings | coverage | width |\n|---|---|---|---|---|", flush=True)
    for rate in (0.8, 0.9, 0.95, 0.995):
        for correlation in (0.0, 0.1, 0.3):
            for clusters in (10, 50):
                held, width = coverage(rate, correlation, clusters, given.sites)
                print(f"| {rate} | {correlation} | {clusters} | {held:.3f} | {width:.3f} |", flush=True)


if __name__ == "__main__":
    main()
