"""Scan 300 photos from the disk and from an S3 server on this machine (moto), in turn, and print the ratio of the times.

    python benchmarks/storage.py --data ../shared/data --work /tmp/bench [--rounds 3]

The server is a program in Python on the same cores, so that it takes time from the scan: a real storage does not. Its own
CPU time is printed beside the ratio.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import boto3
import workloads

_PORT = 5432
_OWN = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_PORT}"}  # fmt: skip


def scan(source: str, out: Path) -> float:
    """Return the seconds of a scan."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "maskbatch", "scan", source, "--out", out, "--save", "none", "--quiet"]
    begun = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, **_OWN})
    return time.monotonic() - begun


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/bench"))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    photos = workloads.make("photos", given.data, given.work, workloads.Sizes()).path
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(_PORT)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(4)
        os.environ.update(_OWN)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for path in sorted(photos.iterdir()):
            client.upload_file(str(path), "bucket", f"photos/{path.name}")
        print("| disk, s | S3, s | S3 / disk | CPU time of the server, s |\n|---|---|---|---|")
        ratios = []
        for _ in range(given.rounds):
            disk = scan(str(photos), given.work / "storage-disk")
            before = cpu_seconds(server.pid)
            remote = scan("s3://bucket/photos", given.work / "storage-s3")
            ratios.append(remote / disk)
            print(
                f"| {disk:.1f} | {remote:.1f} | {ratios[-1]:.2f} | {cpu_seconds(server.pid) - before:.1f} |", flush=True
            )
        print(f"\nmedian {statistics.median(ratios):.2f}")
    finally:
        server.kill()


if __name__ == "__main__":
    main()
