"""`parckit serve`: answers for pictures over HTTP."""

from pathlib import Path

from parckit.cli.choice import add_choice, add_overrides, choice, overrides
from parckit.cli.tables import tell
from parckit.options import verb_parser
from parckit.runtimes import open_session
from parckit.serve.access import TOKEN_VARIABLE, read_token
from parckit.serve.server import listen, make_server, run_until_stopped
from parckit.serve.settings import SETTINGS, ServeSettings


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("serve", description="Answer pictures over HTTP, until the process gets a signal to stop.")
    parser.add_argument("model", type=Path, help="a bundle's folder; or a checkpoint, which needs torch")
    add_choice(parser)
    add_overrides(parser)
    source = f"file with the token that clients must send; or set {TOKEN_VARIABLE}; without one, everybody may ask"
    parser.add_argument("--token_file", type=Path | None, default=None, help=source)
    parser.add_class_arguments(ServeSettings, instantiate=False)
    args = parser.read(argv)
    settings = ServeSettings(**{name: args[name] for name in SETTINGS})
    token = read_token(args.token_file)
    with listen(settings) as listening:
        first = open_session(args.model, **choice(args), threads=settings.engine_threads)
        # All sessions run the first one's artefact. To name it avoids the warning that several fit, for every session.
        named = choice(args)
        if args.model.is_dir():
            named["artefact"] = first.artefact
        others = [
            open_session(args.model, **named, threads=settings.engine_threads) for _ in range(settings.sessions - 1)
        ]
        server = make_server([first, *others], settings, overrides=overrides(args), token=token)
        host, port = listening.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        tell(f"{args.model} ({first.artefact} on {first.engine}) answers at {address}{settings.root_path}")
        tell(f"its page: {address}{settings.root_path}/docs; stop it with Ctrl-C or SIGTERM")
        run_until_stopped(server, listening)
