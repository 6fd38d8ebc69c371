"""Make neutron's schema: neutron_schema.py DATABASE.

Neutron's migrations do not run on SQLite, so the schema is made from the models, as neutron's own functional
tests do, with the rows that a migration would have added: the rules of a new security group.
"""

import sys
import uuid

import sqlalchemy as sa
from neutron.db.migration.models import head  # noqa: F401 - imports every model
from neutron_lib.db import model_base

engine = sa.create_engine("sqlite:///" + sys.argv[1])
model_base.BASEV2.metadata.create_all(engine)
tables = model_base.BASEV2.metadata.tables
rules, attributes = tables["securitygroupdefaultrules"], tables["standardattributes"]
with engine.begin() as connection:
    for direction in ("egress", "ingress"):
        for ethertype in ("IPv4", "IPv6"):
            row = attributes.insert().values(
                resource_type="security_group_default_rules", description="default", revision_number=0
            )
            connection.execute(
                rules.insert().values(
                    id=str(uuid.uuid4()),
                    standard_attr_id=connection.execute(row).inserted_primary_key[0],
                    direction=direction,
                    ethertype=ethertype,
                    remote_group_id="PARENT" if direction == "ingress" else None,
                    used_in_default_sg=True,
                    used_in_non_default_sg=direction == "egress",
                )
            )
