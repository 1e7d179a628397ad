#!/bin/sh
# Make the secrets that compose.yaml mounts, where they are missing.
# Usage: secrets.sh [FOLDER]
#
# The files are readable for all because containers see them with this owner and mode, but under
# another user; the folder above them keeps everybody else on this machine out.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p -m 0700 "$folder"
cd "$folder"

make() { # FILE: takes its content from standard input
    [ -e "$1" ] || { cat >"$1.new" && chmod 0444 "$1.new" && mv "$1.new" "$1"; }
}
random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

random | make broker_password
random | make postgres_password
make rabbitmq.conf <<END
default_vhost = lamplighter
default_user = lamplighter
default_pass = $(cat broker_password)
default_user_tags.administrator = false
default_user_tags.monitoring = true
END
make pg_service.conf <<END
[state]
host=postgres
dbname=lamplighter
user=lamplighter
password=$(cat postgres_password)

[audit]
host=postgres
dbname=audit
user=lamplighter
password=$(cat postgres_password)
END
# The simulated cloud's; put your own cloud's password or secret here.
echo keeper-password | make cloud_secret
