"""The command line and the web console: everything that an operator uses.

cli: the command `lamplighter`, its session, options, errors and output.
nodes: commands that power nodes on and off, create and delete servers, place holds, make images.
dead_letters: requests that failed permanently: replays and discards them.
site: commands for the installation: its processes, status, drift, snapshot, tokens, topology.
audit: commands that read and protect the audit log; the history of a request, and of a job.
report: usage and waste.
install: sets up an installation: `init`.
doctor: checks an installation: `doctor`.
console: the web console.
"""
