#!/bin/sh
# Create the secrets that compose.yaml mounts, unless they exist.
# Usage: secrets.sh [FOLDER]
# Without root, owners are given in a container of $LAMPLIGHTER_BASE_IMAGE, which may be named by digest.
set -eu
folder=${1:-$(dirname "$0")/secrets}
# The user of our image (see Dockerfile).
user=10001
umask 077
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
# A file with what comes in, whole or not at all, unless it exists.
keep() { [ -e "$1" ] || { cat >"$1.new" && [ -s "$1.new" ] && mv "$1.new" "$1"; }; }

# Those with a database user, and those with a broker user.
users='power tokens slurm snapshot resync audit notify console operator reader setup'
roles="hook relay $users"
for role in $roles; do
    random | keep "$role.password"
done
random | keep rabbitmq_admin
keep rabbitmq.conf <<END
default_vhost = lamplighter
default_user = admin
default_pass = $(cat rabbitmq_admin)
default_user_tags.administrator = true
END
random | keep postgres_password
# The database users; PostgreSQL creates them with the databases (`lamplighter database roles`).
if [ ! -e database.sql ]; then
    for role in $users; do
        password=$(random)
        echo "*:*:*:*:$password" >"$role.pgpass"
        echo "CREATE ROLE lamplighter_$role LOGIN PASSWORD '$password';"
    done >database.sql.new
    cat >>database.sql.new <<END
ALTER DATABASE lamplighter OWNER TO lamplighter_setup;
CREATE DATABASE audit OWNER lamplighter_setup;
END
    mv database.sql.new database.sql
fi
random | keep grafana_password
# What the RabbitMQ nodes of cluster.yaml know each other by.
random | keep erlang_cookie
# What the demo's Slurm daemons know each other by.
head -c 128 /dev/urandom | keep munge_key
# The password of the simulated cloud. Replace it with your own cloud's password or secret.
echo k9Wz3vQx7LrT2mYp8FhJ | keep cloud_secret

# Containers see the files with this owner and mode. Lamplighter refuses secrets that other users
# can read. RabbitMQ, PostgreSQL and Grafana read theirs under user ids that differ from image to image, so
# those files are readable by all; the mode of the folder keeps other users of this machine out.
ours='rabbitmq_admin cloud_secret munge_key'
for role in $roles; do ours="$ours $role.password"; done
for role in $users; do ours="$ours $role.pgpass"; done
mend="chmod 0444 rabbitmq.conf erlang_cookie postgres_password database.sql grafana_password && chmod 0400 $ours && chown $user $ours"
if [ "$(id -u)" = 0 ]; then
    sh -c "$mend"
else
    docker run --rm --network none --volume "$PWD:/secrets" --workdir /secrets \
        "${LAMPLIGHTER_BASE_IMAGE:-debian:trixie-slim}" sh -c "$mend"
fi
