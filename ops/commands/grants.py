"""`tallyhook grants`."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SQL: Final = """\
-- Run by a superuser in Tallyhook's database, before the first `tallyhook migrate` and once more after it.
-- {owner} owns the schema: `tallyhook migrate`, `rebuild` and `replay offsets` connect as it.
-- {processes} owns nothing: gateway, relay, workers and every other command connect as it.
-- Passwords are yours to set: \\password {owner}, \\password {processes}
do $$
declare
  role text;
begin
  foreach role in array array['{owner}', '{processes}'] loop
    if not exists (select from pg_roles where rolname = role) then
      execute format('create role %I login', role);
    end if;
    execute format('grant connect, temporary on database %I to %I', current_database(), role);
  end loop;
  execute format('grant create on database %I to {owner}', current_database());
end $$;
-- If the schema exists already, everything in it that its role owns is transferred to the owner.
do $$
declare
  maker oid := (
    select relowner from pg_class where oid = to_regclass('public.alembic_version') and relowner <> '{owner}'::regrole
  );
  change text;
begin
  for change in
    select format('alter table %s owner to {owner}', c.oid::regclass) from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relowner = maker and c.relkind in ('r', 'p', 'v', 'm', 'S')
      and not exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
        and (d.deptype = 'e' or c.relkind = 'S' and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')))
    union all
    select format('alter routine %s owner to {owner}', p.oid::regprocedure) from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proowner = maker
      and not exists (
        select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop
    execute change;
  end loop;
end $$;
grant usage, create on schema public to {owner};
grant usage on schema public to {processes};
grant select, insert, update, delete on all tables in schema public to {processes};
grant usage, select on all sequences in schema public to {processes};
grant execute on all functions in schema public to {processes};
alter default privileges for role {owner} in schema public grant select, insert, update, delete on tables to {processes};
alter default privileges for role {owner} in schema public grant usage, select on sequences to {processes};
alter default privileges for role {owner} in schema public grant execute on functions to {processes};
do $$
begin
  if to_regclass('public.alembic_version') is not null then
    revoke insert, update, delete on public.alembic_version, public.schema_contracts from {processes};
  end if;
end $$;
"""


def grants(
    owner: Annotated[str, typer.Option(help="The role that migrates, and owns the tables.")] = "tallyhook_owner",
    processes: Annotated[str, typer.Option(help="The role of the processes, which owns nothing.")] = "tallyhook",
) -> None:
    """Print the SQL that makes two roles in Postgres, one for migrations and one for the processes; it changes nothing."""
    for name in (owner, processes):
        if not _NAME.fullmatch(name):
            raise typer.BadParameter(f"{name!r} is no name of lower-case letters, digits and underscores")
    if owner == processes:
        raise typer.BadParameter("the role of the processes must not be the one that owns the tables")
    print(sql_of(owner, processes), end="")


def sql_of(owner: str, processes: str) -> str:
    """The statements that make the two roles and give them their rights in the database in which they are run."""
    return _SQL.format(owner=owner, processes=processes)
