"""The Faust applications of a worker, one for each of its roles, and the process that runs them until a signal."""

from collections.abc import Mapping
from typing import Final

from mode import Service

from runtime.process import Stop
from runtime.schema import SchemaWatch
from streams.member import Member
from streams.pages import add_pages
from streams.progress import Progress
from streams.role import Role
from streams.settings import StreamSettings
from streams.stopping import QuietWorker, Worker
from streams.tools import EX_SOFTWARE, Tools
from streams.transport import App

_FETCH_SIZE: Final = 1024 * 1024  # bytes of each partition that aiokafka holds; a record that is larger is fetched alone


def run(process: str, roles: Mapping[Role, StreamSettings], datadir: str, schema: SchemaWatch, stop: Stop) -> int:
    """Run a worker of these roles until it is stopped by a signal; returns the exit code."""
    first, *others = build_apps(process, roles, datadir, schema)
    worker = QuietWorker(first, *others, loglevel=None, redirect_stdouts=False, quiet=True)
    worker.stop_request = stop
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        return EX_SOFTWARE if worker.crash_reason else int(ended.code or 0)
    return 0


def build_apps(
    process: str, roles: Mapping[Role, StreamSettings], datadir: str, schema: SchemaWatch, before: Service | None = None
) -> list[App]:
    """
    Make an application for each role, with its agents and tools; the web server of the first one serves the pages of all.

    `before` starts before the tools of any role. Nothing connects until then.
    """
    members = [_member(role, settings, datadir, web=n == 0) for n, (role, settings) in enumerate(roles.items())]
    for member in members:
        if before:
            member.app.add_dependency(before)
        member.app.add_dependency(member.tools)
    add_pages(process, members, next(iter(roles.values())).kafka, schema)
    return [member.app for member in members]


def _member(role: Role, settings: StreamSettings, datadir: str, *, web: bool) -> Member:
    tools = Tools(role, settings)
    app = App(
        role.group,
        role.topics,
        tools.work,
        kafka=settings.kafka,
        retry=settings.streams_retry_max.total_seconds(),
        store="memory://",
        datadir=datadir,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        broker_session_timeout=settings.streams_session_timeout.total_seconds(),
        broker_heartbeat_interval=settings.streams_session_timeout.total_seconds() / 5,
        broker_commit_interval=settings.streams_commit_interval.total_seconds(),
        consumer_max_fetch_size=_FETCH_SIZE,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
        Worker=Worker,
        web_enabled=web,
        web_host=settings.streams_web_host,
        web_bind=settings.streams_web_host,
        web_port=settings.streams_web_port,
        web_stats_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_graph_enabled=False,
        web_metrics_enabled=False,
    )
    return Member(role, app, tools, Progress(app, role.name))
