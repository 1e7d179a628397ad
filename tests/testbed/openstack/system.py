"""The Debian packages that the real OpenStack needs. Standard library only: the installer imports it."""

SYSTEM_PACKAGES = {
    "apache2": "apache2",
    "libapache2-mod-auth-openidc": "usr/lib/apache2/modules/mod_auth_openidc.so",
    "mariadb-server": "mariadbd",
    "nodejs": "node",
    "npm": "npm",
    "rabbitmq-server": "usr/lib/rabbitmq/bin/rabbitmq-server",
}
"""Package -> the file that shows it is installed: a program on the PATH, or a pattern below /."""
