"""Gunicorn's settings for all services, from the environment.

The services parse the command line themselves, so it cannot contain options for gunicorn.
"""

import os

wsgi_app = os.environ["WSGI_APPLICATION"]
bind = f"127.0.0.1:{os.environ['WSGI_PORT']}"
worker_class = "gthread"
workers = 1
threads = int(os.environ["WSGI_THREADS"])
worker_tmp_dir = os.environ["WSGI_FOLDER"]
timeout = 300
keepalive = 75
# Persistent connections would delay a stop by the default of 30 s.
graceful_timeout = 1
loglevel = "warning"
accesslog = os.environ["WSGI_ACCESS_LOG"]
access_log_format = '%(s)s %(D)s %(m)s "%(U)s" "%(q)s" "%(a)s"'
control_socket_disable = True
# Apache passes claims in headers with underscores in their names. Clients cannot send such headers
# to a service that trusts them: only Apache and the other services know Keystone's own port.
header_map = "dangerous"
# Nova's query to Neutron has all servers of a listing in one URL, longer than the default of 4 KiB.
limit_request_line = 0
