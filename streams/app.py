"""The Faust application of one worker, and the process that runs it until a signal."""

from typing import Final

from mode import Service

from runtime.process import Stop
from runtime.schema import SchemaWatch
from streams.pages import add_pages
from streams.role import Role
from streams.settings import StreamSettings
from streams.stopping import QuietWorker, Worker
from streams.tools import Tools
from streams.transport import App

_FETCH_SIZE: Final = 1024 * 1024  # bytes of each partition that aiokafka holds; a record that is larger is fetched alone


def run(role: Role, settings: StreamSettings, datadir: str, schema: SchemaWatch, stop: Stop) -> int:
    """Run a worker of the role until it is stopped by a signal; returns the exit code."""
    try:
        worker = QuietWorker(build_app(role, settings, datadir, schema), loglevel=None, redirect_stdouts=False, quiet=True)
        worker.asked = stop
        worker.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def build_app(role: Role, settings: StreamSettings, datadir: str, schema: SchemaWatch, *first: Service) -> App:
    """Make the application with its agents, tools and pages; `first` starts before them. Nothing connects until then."""
    tools = Tools(role, settings)
    app = App(
        role.group,
        role.topics,
        tools.work,
        kafka=settings.kafka,
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
        web_host=settings.streams_web_host,
        web_bind=settings.streams_web_host,
        web_port=settings.streams_web_port,
        web_stats_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_graph_enabled=False,
        web_metrics_enabled=False,
    )
    for service in (*first, tools):
        app.add_dependency(service)
    add_pages(app, role, settings, lambda: tools.heartbeats, schema)
    return app
