#!/bin/sh
# Run once by the postgres image, when its volume is empty: a role and a database for each service, and none may open another's.
set -eu
for name in airflow celery mlflow ledger; do
  variable="$(echo "$name" | tr '[:lower:]' '[:upper:]')_DB_PASSWORD"
  export ROLE="$name" VARIABLE="$variable"
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres <<'SQL'
\getenv name ROLE
\getenv variable VARIABLE
\getenv password :variable
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
