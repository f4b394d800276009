"""The command `doctor`."""

import click

from maskbatch.cli.standard_streams import quiet_libraries

_EXIT_COULD_NOT_RUN = 1


@click.command()
def doctor() -> None:
    """Check devices, codecs, versions and weights, and say how to solve each problem."""
    with quiet_libraries():
        from maskbatch.run.doctor import examine

        findings = examine()
    for finding in findings:
        click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.subject}: {finding.message}")
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(_EXIT_COULD_NOT_RUN)
