"""What the real cloud needs of the system. Standard library only, as the installer reads it."""

SYSTEM_PACKAGES = {
    "apache2": "apache2",
    "libapache2-mod-auth-openidc": "usr/lib/apache2/modules/mod_auth_openidc.so",
    "mariadb-server": "mariadbd",
    "nodejs": "node",
    "npm": "npm",
    "rabbitmq-server": "usr/lib/rabbitmq/bin/rabbitmq-server",
}
"""Debian package -> what it is wanted for: a program on the PATH, or else a pattern below /."""
