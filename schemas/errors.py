"""The error for a message that cannot be read."""


class MalformedMessageError(ValueError):
    """A message that cannot be read, now or later.

    Attributes:
        field: the faulty field as a dotted path (`data.jobs[0].job_id`), or `body`.
        remedy: what the sender should do.
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem} ({remedy})")
        self.field = field
        self.problem = problem
        self.remedy = remedy
