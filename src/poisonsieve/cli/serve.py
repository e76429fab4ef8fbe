"""`poisonsieve serve`: run the guard as a service."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poisonsieve.cli import command, options

if TYPE_CHECKING:
    from poisonsieve.serve.settings import ServeSettings

KEYS_VARIABLE = "POISONSIEVE_API_KEYS"
DATABASE_VARIABLE = "POISONSIEVE_DB"
DEFAULT_DATABASE = "poisonsieve-quarantine.sqlite"

Database = Annotated[
    str,
    typer.Option(
        "--db",
        envvar=DATABASE_VARIABLE,
        show_envvar=True,
        help="Quarantine: an SQLite file, or a URL, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    ),
]


def serve(
    guard: Annotated[Path, typer.Argument(help="Guard folder, from `poisonsieve fit`.")],
    victim: Annotated[str | None, typer.Option(help="Model for /v1/classify. It never reads rejected texts.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.", min=0, max=65535)] = 8000,
    db: Database = DEFAULT_DATABASE,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"File of API keys, one per line; read again when it changes. Or set {KEYS_VARIABLE}."),
    ] = None,
    insecure_no_auth: Annotated[
        bool,
        typer.Option(
            "--insecure-no-auth", help="Listen beyond loopback without keys. RISK: anyone can call and decide."
        ),
    ] = False,
    hash_only: Annotated[
        bool, typer.Option("--hash-only", help="Keep hashes of rejected texts instead of the texts.")
    ] = False,
    keep_records: Annotated[int, typer.Option(help="Maximum number of records in the quarantine.", min=1)] = 100_000,
    keep_days: Annotated[float | None, typer.Option(help="Days to keep a record. Default: no limit.")] = None,
    reject_truncated: options.RejectTruncated = False,
    max_batch: Annotated[int, typer.Option(help="Maximum number of texts scored together.", min=1)] = 64,
    max_wait_ms: Annotated[
        float, typer.Option(help="Milliseconds that a text waits for others to be scored with.", min=0)
    ] = 5.0,
    max_queue: Annotated[int, typer.Option(help="Maximum number of unanswered texts; beyond it, 503.", min=1)] = 1024,
    timeout: Annotated[float, typer.Option(help="Maximum seconds per request; beyond them, 504.")] = 30.0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; see the guide.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Processor threads. Default: as many as affinity and quotas allow.", min=1)
    ] = None,
    backend: options.Backend = "torch",
    base: options.Base = None,
    allow_pickle: options.AllowPickle = False,
) -> None:
    """Serve the guard over HTTP: screen, classify, review rejected texts, and monitor the service.

    Texts of many requests are scored together. A rejected text is in the quarantine before its answer is sent. After
    SIGTERM or Ctrl-C, the service answers the requests it has accepted, and ends.

    Example: poisonsieve serve guard/ --victim victim/ --port 8000 --api-key-file keys.txt
    """
    given: dict[str, Any] = {
        "api_keys": tuple(key for key in os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split() if key),
        "api_key_file": api_key_file,
        "hash_only": hash_only,
        "quarantine_max_records": keep_records,
        "quarantine_max_days": keep_days,
        "max_batch_texts": max_batch,
        "max_wait_ms": max_wait_ms,
        "max_queue_texts": max_queue,
        "request_timeout_s": timeout,
    }
    with command.running(own_signals=True, waiting=True) as processors:
        command.require_extra("serve", "fastapi", "sqlalchemy", "uvicorn")
        settings = _settings(given, setting or [])
        from poisonsieve.serve.auth import Keys
        from poisonsieve.serve.running import address_of, bound_kernel_cache, listen, secured

        bound_kernel_cache()
        settings = secured(settings, host, insecure=insecure_no_auth)
        Keys(settings)  # before the model is loaded, so that keys that cannot be used are reported at once
        with listen(host, port) as sock:  # before the model is loaded, so that a port in use is reported at once
            from poisonsieve.guard import GuardedClassifier
            from poisonsieve.guard.folder import read_state
            from poisonsieve.models.openvino import check_backend
            from poisonsieve.serve.app import create_app
            from poisonsieve.serve.running import logging_on_stderr, run
            from poisonsieve.serve.service import GuardService
            from poisonsieve.serve.tables import open_database

            read_state(guard)  # no database for a guard that is not there
            check_backend(backend)
            engine = open_database(db)
            if threads is None:
                command.share(processors, beside_load=False)
            else:
                import torch

                torch.set_num_threads(threads)
            with logging_on_stderr():  # notices about the model belong in the service's log
                logging.getLogger("poisonsieve.serve").info(
                    "%s: loading the guard %s and the model behind it; requests wait until that is done",
                    *(address_of(sock), guard),
                )
                guarded = GuardedClassifier.from_pretrained(
                    guard,
                    victim,
                    base=base,
                    allow_pickle=allow_pickle,
                    backend=backend,
                    reject_truncated=reject_truncated,
                )
            run(create_app(GuardService(guarded, engine, settings, address=address_of(sock))), sock, settings)


def _settings(given: dict[str, Any], more: list[str]) -> ServeSettings:
    """Return the settings of the options and of ``--set``.

    Raises:
        ConfigError: a setting is unknown, out of range, or given twice.
    """
    from poisonsieve.errors import ConfigError
    from poisonsieve.serve.settings import ServeSettings, make_settings

    options = frozenset(given)
    for each in more:
        name, equals, value = each.partition("=")
        if name in given and name not in options:
            raise ConfigError(f"--set {each}: {name} is given twice; give one value")
        known = sorted(set(ServeSettings.model_fields) - set(given) - {"allowed_hosts"})
        if not equals or name not in known:
            raise ConfigError(f"--set {each}: give NAME=VALUE, where NAME is one of {', '.join(known)}")
        given[name] = value
    return make_settings(**given)
