"""
Who says what to whom: every process, the topics that it reads, and those that its events go to. The one place that declares it.

Everything a process says goes through the outbox, and the relay carries it to Kafka: `produces` names the topics that the events
end up in. Workers take the topics they read from here, and a test holds `produces` to what they really append.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.topics import Topic

GROUP_PREFIX: Final = "tallyhook-"


class Kind(StrEnum):
    """What an agent is to the system."""

    OUTSIDE = "outside"
    """Not ours: who sends to us, and what our effects reach."""
    GATEWAY = "gateway"
    RELAY = "relay"
    WORKER = "worker"


class Agent(NamedTuple):
    """
    Somebody who reads topics, writes to them, or both.

    `feeds` are agents that it reaches without Kafka: who calls the gateway, and what a worker's effects reach.
    """

    name: str
    title: str
    kind: Kind
    consumes: tuple[Topic, ...] = ()
    produces: tuple[Topic, ...] = ()
    feeds: tuple[str, ...] = ()

    @property
    def group(self) -> str | None:
        """The consumer group whose offsets say how far it is; None for who reads nothing."""
        return group_of(self.name) if self.consumes else None


class Tie(StrEnum):
    """What an edge stands for."""

    CONSUMES = "consumes"
    """From a topic to an agent."""
    PRODUCES = "produces"
    """From an agent to a topic, through the outbox and the relay."""
    FEEDS = "feeds"
    """From an agent to an agent, without Kafka."""


class Edge(NamedTuple):
    """Who is tied to whom, by name; topics and agents share no names."""

    source: str
    target: str
    tie: Tie

    @property
    def trouble(self) -> bool:
        """Whether nothing goes this way while all is well."""
        return self.tie is Tie.PRODUCES and self.target in TROUBLE


def group_of(role: str) -> str:
    """The consumer group of the workers of a role."""
    return GROUP_PREFIX + role


def worker(role: str) -> Agent:
    """The declaration of a worker's role."""
    return AGENTS[role]


def workers() -> tuple[Agent, ...]:
    """The roles, in the order of the declaration."""
    return tuple(agent for agent in AGENTS.values() if agent.kind is Kind.WORKER)


def edges() -> Iterator[Edge]:
    """Every edge of the declared graph."""
    for agent in AGENTS.values():
        yield from (Edge(topic, agent.name, Tie.CONSUMES) for topic in agent.consumes)
        yield from (Edge(agent.name, topic, Tie.PRODUCES) for topic in agent.produces)
        yield from (Edge(agent.name, fed, Tie.FEEDS) for fed in agent.feeds)


TROUBLE: Final = (Topic.DEAD_LETTERS, Topic.ALERTS)
"""Where every worker says what it set aside, and that somebody should look."""
_CALLER: Final = ("gateway",)

AGENTS: Final = {
    agent.name: agent
    for agent in (
        Agent("stripe", "Stripe", Kind.OUTSIDE, feeds=_CALLER),
        Agent("razorpay", "Razorpay", Kind.OUTSIDE, feeds=_CALLER),
        Agent("partners", "Partners", Kind.OUTSIDE, feeds=_CALLER),
        Agent("services", "Your services", Kind.OUTSIDE, feeds=_CALLER),
        Agent(
            "gateway",
            "Gateway",
            Kind.GATEWAY,
            produces=(
                Topic.WEBHOOKS_STRIPE,
                Topic.WEBHOOKS_RAZORPAY,
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
        Agent("relay", "Relay", Kind.RELAY, produces=(Topic.ALERTS,)),
        Agent(
            "payments",
            "Payments",
            Kind.WORKER,
            consumes=(Topic.WEBHOOKS_STRIPE, Topic.WEBHOOKS_RAZORPAY),
            produces=(
                Topic.BILLING_PAYMENTS,
                Topic.BILLING_SUBSCRIPTIONS,
                Topic.BILLING_INVOICES,
                Topic.NOTIFICATION_COMMANDS,
                *TROUBLE,
            ),
        ),
        Agent(
            "leads",
            "Leads",
            Kind.WORKER,
            consumes=(Topic.PARTNER_LEADS, Topic.LEAD_COMMANDS),
            produces=(Topic.PARTNER_LEADS, *TROUBLE),
            feeds=("crms",),
        ),
        Agent(
            "search",
            "Search",
            Kind.WORKER,
            consumes=(Topic.PROPERTIES,),
            produces=TROUBLE,
            feeds=("elasticsearch",),
        ),
        Agent("cache", "Cache", Kind.WORKER, consumes=(Topic.CACHE_COMMANDS,), produces=TROUBLE, feeds=("redis",)),
        Agent(
            "alerts",
            "Alerts",
            Kind.WORKER,
            consumes=(Topic.ALERTS,),
            produces=(Topic.NOTIFICATION_COMMANDS, *TROUBLE),
        ),
        Agent(
            "notifications",
            "Notifications",
            Kind.WORKER,
            consumes=(Topic.NOTIFICATION_COMMANDS,),
            produces=(Topic.NOTIFICATIONS, *TROUBLE),
            feeds=("channels",),
        ),
        Agent("crms", "Partners' CRMs", Kind.OUTSIDE),
        Agent("elasticsearch", "Elasticsearch", Kind.OUTSIDE),
        Agent("redis", "Redis", Kind.OUTSIDE),
        Agent("channels", "Mail, SMS, push", Kind.OUTSIDE),
    )
}
"""In the order of their way through the system."""
