# shellcheck shell=bash
# Make the cluster where there is none, then serve. Nobody needs a password: a fixture's data are nobody's secret.
# The cluster is made under another name, so that one whose making was killed is never taken for one.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username=postgres --auth=trust --encoding=UTF8 --no-sync >/dev/null
    echo "host all all samenet trust" >>"$PGDATA.new/pg_hba.conf"
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/run/postgresql -c jit=off
