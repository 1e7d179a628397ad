"""What can be wrong with a message."""


class MalformedMessageError(ValueError):
    """A message that cannot be understood, and never will be.

    Attributes:
        field: where the fault lies, as a dotted path (`data.jobs[0].job_id`), or `body`.
        problem: what is wrong there.
        remedy: what whoever sent it should do.
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem} ({remedy})")
        self.field = field
        self.problem = problem
        self.remedy = remedy
