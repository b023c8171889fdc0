# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is inside databases: schemas, extensions, and who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .declaration import Database, Declared, Extension, Schema
from .observe import Content, InstalledExtension, Observed, Offer
from .plan_databases import is_owner_known, owner_of
from .privileges import plan_privileges
from .problems import Problems
from .quoting import quote_identifier, quote_literal
from .step import Step

_DEFAULT_SCHEMA = "public"
#: In every database. Another template may bring more.
_TEMPLATE_SCHEMAS = frozenset({_DEFAULT_SCHEMA, "information_schema"})
_TEMPLATE_EXTENSIONS = frozenset({"plpgsql"})


def plan_content(declared: Declared, observed: Observed, *, user: str, problems: Problems) -> list[Step]:
    """Return the steps inside each database."""
    steps: list[Step] = []
    for database in declared.databases.values():
        found = observed.databases.get(database.name)
        if found is not None and found.content is None:
            continue  # A problem that was noted already.
        content = found.content if found is not None else None
        inside = _Inside(database, content, observed, owner_of(database, observed, user), problems)
        for schema in database.schemas:
            if schema.owner and not is_owner_known(schema.owner, declared, observed, user):
                problems.add(
                    f"Cannot make role {schema.owner!r} the owner of schema {schema.name!r} of database "
                    f"{database.name!r}: it is neither declared nor on the server; declare it under roles."
                )
        schemas, extensions = list(inside.plan_schemas()), list(inside.plan_extensions())
        steps += [*schemas, *extensions]
        steps += plan_privileges(
            database,
            declared,
            observed,
            owner=inside.owner,
            schemas=inside.schemas(),
            renewed={inside.schema_of(one) for one in inside.missing_extensions()},
            problems=problems,
        )
    return steps


@dataclass(frozen=True)
class _Inside:
    """One declared database and what is in it; ``content`` is None where it is not there yet."""

    database: Database
    content: Content | None
    observed: Observed
    owner: str
    problems: Problems

    @property
    def where(self) -> str:
        return f"in database {self.database.name!r}"

    def schemas(self) -> frozenset[str] | None:
        """Return the schemas that are there when the steps are done; None where nobody can know them all."""
        if self.content is None and (self.database.template or not self.observed.is_there):
            return None
        there = frozenset(self.content.schemas) if self.content is not None else _TEMPLATE_SCHEMAS
        fixed = {self.schema_of(extension) for extension in self.missing_extensions()}
        return there | {schema.name for schema in self.database.schemas} | fixed

    def plan_schemas(self) -> Iterator[Step]:
        for schema in self.database.schemas:
            found = self.content.schemas.get(schema.name) if self.content is not None else None
            if self.content is None and schema.name in _TEMPLATE_SCHEMAS:
                # It is made with the database, and its owner is the database's unless somebody else is declared.
                if schema.owner:
                    yield self._own_schema(schema, schema.owner, None)
            elif found is None:
                yield self._make_schema(schema)
            elif schema.owner and schema.owner != found.owner:
                yield self._own_schema(schema, schema.owner, found.owner)

    def _make_schema(self, schema: Schema) -> Step:
        owner = schema.owner or self.owner
        return Step(
            action="create",
            subject=f"schema {schema.name} in {self.database.name}",
            reasons=("it is not there",),
            statements=(
                f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema.name)} AUTHORIZATION {quote_identifier(owner)}",
            ),
            before=None,
            after={"owner": owner},
            database=self.database.name,
        )

    def _own_schema(self, schema: Schema, owner: str, found: str | None) -> Step:
        return Step(
            action="change",
            subject=f"schema {schema.name} in {self.database.name}",
            reasons=(f"owner: {found or 'of the template'} -> {owner}",),
            statements=(f"ALTER SCHEMA {quote_identifier(schema.name)} OWNER TO {quote_identifier(owner)}",),
            before=None if found is None else {"owner": found},
            after={"owner": owner},
            database=self.database.name,
        )

    def missing_extensions(self) -> list[Extension]:
        """Return the extensions to install, each behind those that it requires."""
        installed = self.content.extensions if self.content is not None else {}
        missing = {one.name: one for one in self.database.extensions if one.name not in installed}
        ordered: dict[str, Extension] = {}

        def put(extension: Extension, above: tuple[str, ...]) -> None:
            offer = self._offer(extension)
            for name in offer.requires if offer else ():
                if name in missing and name not in above:
                    put(missing[name], (*above, name))
            ordered.setdefault(extension.name, extension)

        for extension in missing.values():
            put(extension, (extension.name,))
        return list(ordered.values())

    def plan_extensions(self) -> Iterator[Step]:
        installed = self.content.extensions if self.content is not None else {}
        declared = {extension.name for extension in self.database.extensions}
        for extension in self.missing_extensions():
            self._check_install(extension, {*installed, *_TEMPLATE_EXTENSIONS, *declared})
            yield self._install(extension)
        for extension in self.database.extensions:
            if extension.name in installed:
                yield from self._change(extension, installed[extension.name])

    def schema_of(self, extension: Extension) -> str:
        """Return the schema that an extension is installed into."""
        offer = self._offer(extension)
        return (offer.schema if offer else None) or extension.schema or _DEFAULT_SCHEMA

    def _offer(self, extension: Extension) -> Offer | None:
        return self.observed.offers.get(extension.name, {}).get(extension.version)

    def _check_install(self, extension: Extension, around: set[str]) -> None:
        doing = f"Cannot install extension {extension.name!r} {self.where}"
        offers, offer = self.observed.offers.get(extension.name), self._offer(extension)
        if not self.observed.is_there:
            return
        if offers is None:
            self.problems.add(
                f"{doing}: the server does not offer it; use an image that has it, or take it out of the declaration."
            )
        elif offer is None:
            offered = ", ".join(sorted(version for version in offers if version)) or "none"
            self.problems.add(
                f"{doing} in version {extension.version}: the server offers {offered}; declare one of these."
            )
        else:
            self._check_offer(extension, offer, around, doing)

    def _check_offer(self, extension: Extension, offer: Offer, around: set[str], doing: str) -> None:
        # What a template of the user's brings along, nobody knows before.
        is_known = self.content is not None or not self.database.template
        for name in offer.requires if is_known else ():
            if name not in around:
                self.problems.add(
                    f"{doing}: it requires extension {name!r}, which is not declared; declare that one too."
                )
        if offer.schema and extension.schema and extension.schema != offer.schema:
            self.problems.add(
                f"{doing} into schema {extension.schema!r}: it can only be in {offer.schema!r}; leave its schema out."
            )
        schema, there = extension.schema or _DEFAULT_SCHEMA, self.schemas()
        # Its own schema an extension makes by itself.
        known = there is None or schema in (self._declared_schemas() | self._found_schemas())
        if not offer.schema and not known:
            self.problems.add(f"{doing}: there is no schema {schema!r}; declare it under the database's schemas.")

    def _declared_schemas(self) -> frozenset[str]:
        return frozenset(schema.name for schema in self.database.schemas)

    def _found_schemas(self) -> frozenset[str]:
        return frozenset(self.content.schemas) if self.content is not None else _TEMPLATE_SCHEMAS

    def _install(self, extension: Extension) -> Step:
        offer = self._offer(extension)
        words = [f"CREATE EXTENSION IF NOT EXISTS {quote_identifier(extension.name)}"]
        # One with a schema of its own takes no other; without a word the others would go by the session's path.
        words += [] if offer and offer.schema else [f"SCHEMA {quote_identifier(self.schema_of(extension))}"]
        words += [f"VERSION {quote_literal(extension.version)}"] if extension.version else []
        version = extension.version or (offer.version if offer else None)
        return Step(
            action="create",
            subject=f"extension {extension.name} in {self.database.name}",
            reasons=("it is not there",),
            statements=(" ".join(words),),
            before=None,
            after={"schema": self.schema_of(extension), **({"version": version} if version else {})},
            database=self.database.name,
        )

    def _check_update(self, extension: Extension, found: InstalledExtension, doing: str) -> None:
        offers = self.observed.offers.get(extension.name, {})
        if extension.version not in offers:
            offered = ", ".join(sorted(version for version in offers if version)) or "none"
            self.problems.add(f"{doing} and the server offers {offered}; declare one of these.")
        elif self.content is not None and not self.content.updatable.get(extension.name, False):
            self.problems.add(
                f"{doing} and the server knows no way from there; declare {found.version}, or drop and install it by "
                "hand with all that depends on it."
            )

    def _change(self, extension: Extension, found: InstalledExtension) -> Iterator[Step]:
        doing = f"Cannot change extension {extension.name!r} {self.where}"
        name, statements, reasons = quote_identifier(extension.name), [], []
        if extension.version and extension.version != found.version:
            self._check_update(extension, found, f"{doing} to version {extension.version}: it is {found.version}")
            reasons.append(f"version: {found.version} -> {extension.version}")
            statements.append(f"ALTER EXTENSION {name} UPDATE TO {quote_literal(extension.version)}")
        if extension.schema and extension.schema != found.schema:
            if not found.is_relocatable:
                self.problems.add(
                    f"{doing}: it is in schema {found.schema!r} and cannot be moved to {extension.schema!r}; "
                    f"declare {found.schema!r}, or drop and install it by hand with all that depends on it."
                )
            reasons.append(f"schema: {found.schema} -> {extension.schema}")
            statements.append(f"ALTER EXTENSION {name} SET SCHEMA {quote_identifier(extension.schema)}")
        if reasons:
            yield Step(
                action="change",
                subject=f"extension {extension.name} in {self.database.name}",
                reasons=tuple(reasons),
                statements=tuple(statements),
                before={"schema": found.schema, "version": found.version},
                after={
                    "schema": extension.schema or found.schema,
                    "version": extension.version or found.version,
                },
                database=self.database.name,
            )
