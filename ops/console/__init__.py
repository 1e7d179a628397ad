"""The web console: the live state of the installation, and dead letters to replay or discard.

- command: `lamplighter console` and `console operator`
- app: the ASGI application, its routes and handlers
- request_guard: checks of the Host header, the form's origin and its size; security headers
- connections: bounds connections that have not sent a whole request
- auth: identifies the user of a request; login and logout
- operators: the operators file, tokens and login sessions
- reader: reads both stores and the broker for the first page
- timeout_reader: reads in a thread, with a timeout
- view: the installation at one moment, as the first page shows it
- lamps: a node's power state as a lamp
- alerts: the conditions that need an operator
- live: one view for all open pages, and its changes as server-sent events
- pages: the pages of one node, one request, one job, events and the usage report
- attention: nodes on hold, out of service, or not as Slurm wants
- dead_letters: the pages of the dead letters
- hold_forms: the forms that place and lift holds
- render: the template environment
"""
