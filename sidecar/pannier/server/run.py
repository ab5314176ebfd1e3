"""`pannier sidecar`: one process, one event loop, until a signal ends it."""

from __future__ import annotations

import asyncio

from pannier import logs
from pannier.config.served import StoreTable
from pannier.server.life import Announce, Configuration, Sidecar
from pannier.server.settings import SidecarSettings


def serve(settings: SidecarSettings, *, announce: Announce) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code.

    Raises PannierError (a busy port, a missing token file, a configuration that cannot be used) in
    words for the person who started it.
    """
    import uvloop

    logs.configure(settings.log_format, settings.log_level)
    table = StoreTable()
    configuration = load(settings, table)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live(settings, table, configuration, announce))
    return 0


async def live(
    settings: SidecarSettings, table: StoreTable, configuration: Configuration, announce: Announce
) -> None:
    """One sidecar's life on the running loop."""
    await Sidecar(settings, table, configuration).run(announce)


def load(settings: SidecarSettings, table: StoreTable) -> Configuration:
    """Where this sidecar's stores come from. Raises ConfigurationRefused."""
    from pannier.config.live import LiveConfiguration

    stream = None
    if settings.operator is not None:
        from pannier.config.stream.dialing import StreamSettings

        stream = StreamSettings(
            operator=settings.operator,
            token_file=settings.operator_token_file,
            ca_file=settings.operator_ca_file,
            last_good_file=settings.last_good_file,
            last_good_max_age=settings.last_good_max_age,
        )
    configuration = LiveConfiguration(
        table,
        config=settings.config,
        secrets_dir=settings.secrets_dir,
        leak_threshold=settings.leak_threshold,
        stream=stream,
    )
    configuration.load()
    return configuration
