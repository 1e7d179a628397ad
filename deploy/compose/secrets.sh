#!/bin/sh
# Make the secrets that compose.yaml mounts, where they are missing.
# Usage: secrets.sh [FOLDER]
set -eu
folder=${1:-$(dirname "$0")/secrets}
# The user of our image; see the Dockerfile.
user=10001
umask 077
mkdir -p "$folder"
cd "$folder"

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

if [ ! -e broker_password ]; then
    random >broker_password
    cat >rabbitmq.conf <<END
default_vhost = lamplighter
default_user = lamplighter
default_pass = $(cat broker_password)
default_user_tags.administrator = false
default_user_tags.monitoring = true
END
fi
if [ ! -e postgres_password ]; then
    random >postgres_password
    cat >pg_service.conf <<END
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
fi
# The simulated cloud's; put your own cloud's password or secret here.
[ -e cloud_secret ] || echo keeper-password >cloud_secret

# Containers see files with this owner and mode. Ours insist on secrets that nobody else may read.
# The servers read theirs as users whose numbers differ from image to image; the folder keeps
# everybody else on this machine out.
ours='broker_password pg_service.conf cloud_secret'
chmod 0444 rabbitmq.conf postgres_password
if [ "$(id -u)" = 0 ]; then
    chown "$user" $ours
else
    docker run --rm --volume "$PWD:/secrets" --workdir /secrets debian:trixie-slim chown "$user" $ours
fi
