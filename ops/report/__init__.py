"""`lamplighter report`: usage and waste: how long nodes were powered on, for which jobs, and what was saved.

command: the command line.
question: what to report, and the data it is computed from.
inputs: reads outcomes, the configuration and sacct's output.
outcome: the fields of a round's outcome that a report needs.
runs: the runs of jobs and registrations of nodes that the snapshot worker reported.
orphans, strays: orphan nodes and stray servers that the resync worker found.
history: from a node's outcomes to the times that it was powered on. Pure.
spans: arithmetic on spans of time. Pure.
sums: adds up histories by group, cloud, user, ... Pure.
usage: one row of a report. Pure.
report: the whole report, ready to print.
chart: the report's chart. Pure.
page: the report as HTML.
"""
