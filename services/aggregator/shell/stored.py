"""What is stored, as the tree of time asks for it: rows of the database and files of hours and days."""

from __future__ import annotations

from dataclasses import dataclass

from services.aggregator.core.block import Block
from services.aggregator.core.registry import Registry
from services.aggregator.core.tiers import DAY, HOUR, Node, parts_at
from services.aggregator.shell.database import RollupDatabase
from services.aggregator.shell.files import AggregateFiles


@dataclass(frozen=True, slots=True)
class Stored:
    """`as_writer`: read through the writer's connection (hold the consumer's lock), which sees what is not committed yet."""

    database: RollupDatabase
    files: AggregateFiles
    registry: Registry
    as_writer: bool

    def row(self, node: Node) -> Block | None:
        """The row of a minute, or of a held hour or day."""
        return self.database.row(node, self.registry, as_writer=self.as_writer)

    def file(self, node: Node) -> Block | None:
        """What the file of an hour or day holds."""
        return self.files.read(node, self.registry)

    def has_parts(self, node: Node) -> bool:
        """Whether an hour has minutes, a day minutes or files of hours."""
        if self.database.has_minutes(node, as_writer=self.as_writer):
            return True
        return node.level == DAY and any(self.files.exists(hour) for hour in parts_at(HOUR, node))
