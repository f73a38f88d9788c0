"""`aei completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and file names.

    \b
    Examples:
      aei completion bash > ~/.local/share/bash-completion/completions/aei
      aei completion zsh > ~/.zfunc/_aei
      aei completion fish > ~/.config/fish/completions/aei.fish
    """
    chosen = get_completion_class(shell)
    assert chosen is not None
    click.echo(chosen(context.find_root().command, {}, "aei", "_AEI_COMPLETE").source())
