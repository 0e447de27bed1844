"""`distilnlp completion`: the completion of commands and flags, for a shell."""

import argparse

HELP = "print the completion of commands and flags for bash, zsh or fish"
HOW = """\
install it:
  bash   distilnlp completion bash > ~/.local/share/bash-completion/completions/distilnlp
  zsh    distilnlp completion zsh > a folder of $fpath, as _distilnlp
  fish   distilnlp completion fish > ~/.config/fish/completions/distilnlp.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    parser.epilog = HOW


def run(args: argparse.Namespace) -> None:
    """Print it."""
    import shtab

    from distilnlp.cli.commands import COMMANDS, parser_of

    whole = argparse.ArgumentParser(prog="distilnlp")
    commands = whole.add_subparsers()
    for name in COMMANDS:
        own = parser_of(name)
        commands.add_parser(name, parents=[own], add_help=False, conflict_handler="resolve", help=own.prog)
    print(shtab.complete(whole, shell=args.shell))
