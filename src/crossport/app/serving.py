"""What the command ``serve`` does: settings and options together, then the server's own loop."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace

from crossport.app import log
from crossport.app.clock import SystemClock
from crossport.app.master_key import source_of
from crossport.app.serve import serve
from crossport.app.settings import Settings, checked_hosts, load
from crossport.cli.surroundings import ServeOptions

__all__ = ["serve_with"]


def serve_with(environment: Mapping[str, str], options: ServeOptions) -> None:
    """Serve as the options say; where they say nothing, as the environment and the settings file say."""
    chosen = dict(environment) | {"CROSSPORT_HOME": str(options.home)}
    if options.database_url_file:
        chosen["CROSSPORT_DATABASE_URL_FILE"] = options.database_url_file
    settings = load(chosen, root=os.geteuid() == 0)
    log.configure(settings.log_level)
    master = source_of(settings.master_key, os.environ)
    if options.embedded:
        os.chdir("/")
    wanted = _with(settings, options)
    asyncio.run(serve(wanted, SystemClock(), master=master, embedded=options.embedded, told=options.told))


def _with(settings: Settings, options: ServeOptions) -> Settings:
    return replace(
        settings,
        # An embedded server is for this machine's owner alone.
        listen="" if options.embedded else options.listen or settings.listen,
        partner_listen="" if options.embedded else settings.partner_listen,
        hosts=checked_hosts(options.hosts) if options.hosts else settings.hosts,
        idle_s=settings.idle_s if options.idle_s is None else options.idle_s,
    )
