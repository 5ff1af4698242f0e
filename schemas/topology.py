"""
The declared topology: every process, the topics that it reads, and the topics of its events.

All events go through the outbox, and the relay carries them to Kafka: `produces` names the topics that they reach. Workers take
the topics that they read from here, and a test compares `produces` with the events that they really append.
"""

from collections.abc import Collection, Iterator
from typing import Final, Literal, NamedTuple

from schemas.providers import providers
from schemas.topics import Topic, webhooks_of

GROUP_PREFIX: Final = "tallyhook-"
EVERY_ROLE: Final = "all"
"""The name that means every role."""


Kind = Literal["outside", "gateway", "relay", "worker"]
"""The kind of an agent; one that is outside calls the gateway, or is reached by effects."""
Tie = Literal["consumes", "produces", "feeds"]
"""An edge from a topic to an agent, from an agent through the relay to a topic, or from an agent to an agent without Kafka."""


class Agent(NamedTuple):
    """
    A process or an outside system that reads topics, writes to them, or both.

    `feeds` are the agents that it reaches without Kafka: a caller reaches the gateway, and a worker the targets of its effects.
    """

    name: str
    title: str
    kind: Kind
    consumes: tuple[Topic, ...] = ()
    produces: tuple[Topic, ...] = ()
    feeds: tuple[str, ...] = ()

    @property
    def group(self) -> str | None:
        """The consumer group that commits its offsets; None if it reads no topic."""
        return group_of(self.name) if self.consumes else None


class Edge(NamedTuple):
    """An edge between two names; topics and agents share no names."""

    source: str
    target: str
    tie: Tie

    @property
    def trouble(self) -> bool:
        """True if events pass here only when there is a fault."""
        return self.tie == "produces" and self.target in TROUBLE


def group_of(role: str) -> str:
    """The consumer group of the workers of a role."""
    return GROUP_PREFIX + role


def worker(role: str) -> Agent:
    """The declaration of a worker's role."""
    return AGENTS[role]


def workers() -> tuple[Agent, ...]:
    """The roles, in the order of the declaration."""
    return tuple(agent for agent in AGENTS.values() if agent.kind == "worker")


def process_of(roles: Collection[str]) -> str:
    """The name of a process that has these roles: `worker-payments`, `worker-payments-leads`, or `worker-all`."""
    return f"worker-{EVERY_ROLE if {agent.name for agent in workers()} <= {*roles} else '-'.join(roles)}"


def edges() -> Iterator[Edge]:
    """Every edge of the declared graph."""
    for agent in AGENTS.values():
        yield from (Edge(topic, agent.name, "consumes") for topic in agent.consumes)
        yield from (Edge(agent.name, topic, "produces") for topic in agent.produces)
        yield from (Edge(agent.name, fed, "feeds") for fed in agent.feeds)


TROUBLE: Final = (Topic.DEAD_LETTERS, Topic.ALERTS)
"""The topics of dead letters and of alerts, to which every worker writes."""
_CALLER: Final = ("gateway",)

AGENTS: Final = {
    agent.name: agent
    for agent in (
        *(Agent(provider.name, provider.title, "outside", feeds=_CALLER) for provider in providers()),
        Agent("partners", "Partners", "outside", feeds=_CALLER),
        Agent("services", "Your services", "outside", feeds=_CALLER),
        Agent(
            "gateway",
            "Gateway",
            "gateway",
            produces=(
                *(webhooks_of(provider.name) for provider in providers()),
                Topic.PARTNER_LEADS,
                Topic.LEAD_COMMANDS,
                Topic.PROPERTIES,
                Topic.CACHE_COMMANDS,
                Topic.NOTIFICATION_COMMANDS,
                Topic.CONFIG,
                Topic.BILLING_PAYMENTS,  # a payment that turns out to be mismatched when its expectation comes late
                Topic.ALERTS,
            ),
        ),
        Agent("relay", "Relay", "relay", produces=(Topic.ALERTS,)),
        Agent(
            "payments",
            "Payments",
            "worker",
            consumes=tuple(webhooks_of(provider.name) for provider in providers() if provider.settled_by == "payments"),
            produces=(
                *(webhooks_of(provider.name) for provider in providers() if provider.has_api),  # objects that it has fetched
                Topic.BILLING_PAYMENTS,
                Topic.BILLING_REFUNDS,
                Topic.BILLING_DISPUTES,
                Topic.BILLING_SUBSCRIPTIONS,
                Topic.BILLING_INVOICES,
                Topic.NOTIFICATION_COMMANDS,
                *TROUBLE,
            ),
        ),
        Agent(
            "leads",
            "Leads",
            "worker",
            consumes=(Topic.PARTNER_LEADS, Topic.LEAD_COMMANDS),
            produces=(Topic.PARTNER_LEADS, *TROUBLE),
            feeds=("crms",),
        ),
        Agent(
            "search",
            "Search",
            "worker",
            consumes=(Topic.PROPERTIES,),
            produces=TROUBLE,
            feeds=("elasticsearch",),
        ),
        Agent("cache", "Cache", "worker", consumes=(Topic.CACHE_COMMANDS,), produces=TROUBLE, feeds=("redis",)),
        Agent(
            "alerts",
            "Alerts",
            "worker",
            consumes=(Topic.ALERTS,),
            produces=(Topic.NOTIFICATION_COMMANDS, *TROUBLE),
        ),
        Agent(
            "notifications",
            "Notifications",
            "worker",
            consumes=(Topic.NOTIFICATION_COMMANDS,),
            produces=(Topic.NOTIFICATIONS, *TROUBLE),
            feeds=("channels",),
        ),
        Agent("crms", "Partners' CRMs", "outside"),
        Agent("elasticsearch", "Elasticsearch", "outside"),
        Agent("redis", "Redis", "outside"),
        Agent("channels", "Mail, SMS, push", "outside"),
    )
}
"""The agents, in the order of an event's way through the system."""
