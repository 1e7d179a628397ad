#!/bin/sh
# Make the cluster and its database at the first start, then become the server.
set -eu
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp)
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        cat "$POSTGRES_PASSWORD_FILE" >"$secret"
    elif [ -n "${POSTGRES_PASSWORD:-}" ]; then
        printf '%s\n' "$POSTGRES_PASSWORD" >"$secret"
    else
        echo 'set POSTGRES_PASSWORD_FILE or POSTGRES_PASSWORD' >&2
        exit 1
    fi
    initdb --username="$user" --pwfile="$secret" --auth-local=trust --auth-host=scram-sha-256 >&2
    rm "$secret"
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    single() { postgres --single -j "$1" >&2; }
    [ "$database" = postgres ] || printf 'CREATE DATABASE "%s";\n' "$database" | single postgres
    for script in /docker-entrypoint-initdb.d/*.sql; do
        # Single-user mode wants an empty line after each statement.
        [ ! -e "$script" ] || sed -e '/^--/d' -e 's/;$/;\n/' "$script" | single "$database"
    done
fi
unset POSTGRES_PASSWORD
exec "$@"
