"""`crossport completion`: what a shell needs to complete commands and options."""

from typing import Annotated, Literal

from cyclopts import Parameter

from crossport.cli.session import Here

__all__ = ["completion"]


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Your shell.")], /, *, session: Here
) -> None:
    """Print completion for a shell.

    For example:

      crossport completion bash > ~/.local/share/bash-completion/completions/crossport

      crossport completion zsh > "${fpath[1]}/_crossport"
    """
    from crossport.cli.dispatch import application  # noqa: PLC0415 - it imports this module when asked to

    session.out.stdout.write(application(session.out).generate_completion(prog_name="crossport", shell=shell))
