"""Gunicorn's settings for every service, out of the environment.

The services read the command line themselves, so gunicorn may not be given any option there.
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
# Kept connections would hold up a stop for the default of 30 s.
graceful_timeout = 1
loglevel = "warning"
accesslog = os.environ["WSGI_ACCESS_LOG"]
access_log_format = '%(s)s %(D)s %(m)s "%(U)s" "%(q)s" "%(a)s"'
control_socket_disable = True
# Apache hands claims over in headers whose names have underscores. Clients cannot reach a service
# that believes them: Keystone's own port is known to Apache and the other services alone.
header_map = "dangerous"
# Nova asks Neutron about all servers of a listing in one URL, which grows beyond the default 4 KiB.
limit_request_line = 0
